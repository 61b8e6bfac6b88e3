"""antiphon, through its public names."""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING, Any

from benchmarks.checks import check_density, check_tone, tone_frames, turns
from benchmarks.measure import PATIENCE_S, Server, Window, age_ms, check, rss_growth, rss_mb, threads
from benchmarks.wire import stamped_push

if TYPE_CHECKING:
    from antiphon import GenerationCreatedEvent, RealtimeModel, RealtimeSession


def make_model(server: Server, name: str) -> RealtimeModel:
    """One that talks to the load server."""
    from antiphon import RealtimeModel

    return RealtimeModel(base_url=server.http, api_key="benchmark", model=name)


def generations(session: RealtimeSession) -> queue.SimpleQueue[GenerationCreatedEvent]:
    """A session's generations, as they come."""
    made: queue.SimpleQueue[GenerationCreatedEvent] = queue.SimpleQueue()
    session.on("generation_created", made.put)
    return made


def speech_started(session: RealtimeSession) -> threading.Event:
    """Set when the session tells of speech."""
    heard = threading.Event()
    session.on("input_speech_started", lambda _: heard.set())
    return heard


def warm_up(server: Server, session: RealtimeSession) -> None:
    """Wait until all is loaded that a first session loads in the background: `start` counts it, others don't."""
    heard = speech_started(session)
    for _ in range(20):
        session.push_audio(bytes(960), 48_000, 1)
    session.commit_audio()
    check(heard.wait(PATIENCE_S), "no answer to the first commit")
    server.ask("forget")


def inbound(server: Server, deltas: int) -> dict[str, Any]:
    """A burst of audio, to int16 samples."""
    from benchmarks import wire

    with make_model(server, f"inbound-{deltas}") as model:
        session = model.session().wait_open()
        warm_up(server, session)
        made = generations(session)
        taken = words = 0
        with Window(server) as window:
            session.clear_audio()
            message = made.get(timeout=PATIENCE_S).message_stream.get(PATIENCE_S)
            for frame in message.audio_stream:
                samples = frame.data
                check(len(samples) == wire.DELTA_SAMPLES and samples[0] == taken, f"delta {taken} is wrong")
                taken += 1
            for _ in message.text_stream:
                words += 1
    check(taken == deltas and words == wire.transcripts(deltas), f"{taken} deltas, {words} transcripts")
    return window.per_event(taken + words)


def outbound(server: Server, rate: int, channels: int, seconds: int) -> dict[str, Any]:
    """A tone in pushes of 10 ms as fast as they are taken, until the server has the last of it."""
    frames = tone_frames(rate, channels)
    with make_model(server, "sink") as model:
        session = model.session().wait_open()
        warm_up(server, session)
        heard = speech_started(session)
        with Window(server) as window:
            for _ in range(seconds):
                for frame in frames:
                    session.push_audio(frame, rate, channels)
            session.commit_audio()
            check(heard.wait(PATIENCE_S), "the server did not confirm the end")
        check_tone(server, seconds, channels)
    return window.per_second(seconds)


def start(server: Server) -> dict[str, Any]:
    """Import, make a model, get a first answer, then load the resampler."""
    began = time.perf_counter()
    model = make_model(server, "sink")
    made = time.perf_counter()
    imported_rss = rss_mb()
    session = model.session()
    heard = speech_started(session)
    session.clear_audio()
    check(heard.wait(PATIENCE_S), "no answer")
    ready = time.perf_counter()
    session_rss = rss_mb()
    for frame in tone_frames(48_000, 1):
        session.push_audio(frame, 48_000, 1)
    heard.clear()
    session.commit_audio()
    check(heard.wait(PATIENCE_S), "no answer to the commit")
    model.close()
    return {
        "import_ms": (made - began) * 1000,
        "ready_ms": (ready - made) * 1000,
        "rss_import_mb": imported_rss,
        "rss_session_mb": session_rss,
        "rss_resampler_mb": rss_mb(),
    }


class Crowd:
    """Many sessions at real-time pace: one thread pushes for all, and each has a thread that takes its audio.

    Args:
        server: The load server.
        sessions: How many.
        seconds: How long each time.
    """

    def __init__(self, server: Server, sessions: int, seconds: int) -> None:
        self.sessions = sessions
        self.seconds = seconds
        self.model = make_model(server, f"density-{seconds * 10}")
        with self.model.session() as first:
            warm_up(server, first)
        before = rss_mb()
        self.alive = [self.model.session() for _ in range(sessions)]
        self._queues = [generations(session) for session in self.alive]
        for session in self.alive:
            session.wait_open(PATIENCE_S)
        time.sleep(0.5)
        self.rss = rss_growth(before, rss_mb(), sessions)
        self.engine_threads = 0
        self.late_ms = 0.0

    def begin(self) -> None:
        """Start to talk."""
        self.latencies: list[list[float]] = [[] for _ in self.alive]
        self._threads = [
            threading.Thread(target=self._consume, args=pair)
            for pair in zip(self._queues, self.latencies, strict=True)
        ]
        self._threads.append(threading.Thread(target=self._push))
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait until all is said."""
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def _push(self) -> None:
        due = time.monotonic()
        for turn, (beginning, talking) in enumerate(turns(self.alive, self.seconds)):
            if turn == self.seconds * 50:
                ours = sum(thread.is_alive() for thread in self._threads)
                # The main thread is ours too.
                self.engine_threads = threads() - ours - 1
            for session in beginning:
                session.clear_audio()
            for session in talking:
                session.push_audio(stamped_push(), 24_000, 1)
            due += 0.01
            time.sleep(max(0.0, due - time.monotonic()))
        self.late_ms = max(0.0, time.monotonic() - due) * 1000

    def _consume(self, made: queue.SimpleQueue[GenerationCreatedEvent], latencies: list[float]) -> None:
        message = made.get(timeout=PATIENCE_S).message_stream.get(PATIENCE_S)
        latencies.extend(age_ms(frame.data) for frame in message.audio_stream)


def density(server: Server, sessions: int, seconds: int) -> dict[str, Any]:
    """Full-duplex sessions at real-time pace."""
    crowd = Crowd(server, sessions, seconds)
    with crowd.model:
        with Window(server) as window:
            crowd.begin()
            crowd.join()
            # The last chunk of each may still be gathered.
            server.await_chunks(sessions * (seconds * 10 - 1))
        figures = check_density(server, window, sessions, seconds, crowd.latencies)
    return figures | {"threads": crowd.engine_threads, "late_ms": crowd.late_ms, **crowd.rss}
