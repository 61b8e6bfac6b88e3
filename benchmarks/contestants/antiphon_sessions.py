"""antiphon, through its public names."""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING, Any

from benchmarks.measure import (
    PATIENCE_S,
    Server,
    Window,
    age_ms,
    check,
    check_density,
    check_tone,
    rss_growth,
    rss_mb,
    threads,
    tone_frames,
)
from benchmarks.wire import stamped_push

if TYPE_CHECKING:
    from antiphon import GenerationCreatedEvent, RealtimeModel, RealtimeSession


def _model(server: Server, name: str) -> RealtimeModel:
    from antiphon import RealtimeModel

    return RealtimeModel(base_url=server.http, api_key="benchmark", model=name)


def _generations(session: RealtimeSession) -> queue.SimpleQueue[GenerationCreatedEvent]:
    made: queue.SimpleQueue[GenerationCreatedEvent] = queue.SimpleQueue()
    session.on("generation_created", made.put)
    return made


def _speech_started(session: RealtimeSession) -> threading.Event:
    heard = threading.Event()
    session.on("input_speech_started", lambda _: heard.set())
    return heard


def _warm_up(server: Server, session: RealtimeSession) -> None:
    """Wait until all is loaded that a first session loads in the background: `start` counts it, others don't."""
    heard = _speech_started(session)
    for _ in range(20):
        session.push_audio(bytes(960), 48_000, 1)
    session.commit_audio()
    check(heard.wait(PATIENCE_S), "no answer to the first commit")
    server.ask("forget")


def inbound(server: Server, deltas: int) -> dict[str, Any]:
    """A burst of audio, to int16 samples."""
    from benchmarks import wire

    with _model(server, f"inbound-{deltas}") as model:
        session = model.session().wait_open()
        _warm_up(server, session)
        made = _generations(session)
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
    with _model(server, "sink") as model:
        session = model.session().wait_open()
        _warm_up(server, session)
        heard = _speech_started(session)
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
    model = _model(server, "sink")
    made = time.perf_counter()
    imported_rss = rss_mb()
    session = model.session()
    heard = _speech_started(session)
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


def _consume(made: queue.SimpleQueue[GenerationCreatedEvent], latencies: list[float]) -> None:
    message = made.get(timeout=PATIENCE_S).message_stream.get(PATIENCE_S)
    latencies.extend(age_ms(frame.data) for frame in message.audio_stream)


def density(server: Server, sessions: int, seconds: int) -> dict[str, Any]:
    """Many sessions at real-time pace: one thread pushes for all, and each has a thread that takes its audio."""
    with _model(server, f"density-{seconds * 10}") as model:
        with model.session() as first:
            _warm_up(server, first)
        before = rss_mb()
        alive = [model.session() for _ in range(sessions)]
        queues = [_generations(session) for session in alive]
        for session in alive:
            session.wait_open()
        time.sleep(0.5)
        after = rss_mb()
        latencies: list[list[float]] = [[] for _ in alive]
        consumers = [
            threading.Thread(target=_consume, args=pair) for pair in zip(queues, latencies, strict=True)
        ]
        for consumer in consumers:
            consumer.start()
        with Window(server) as window:
            for session in alive:
                session.clear_audio()
            due = time.monotonic()
            for turn in range(seconds * 100):
                if turn == seconds * 50:
                    engine_threads = threads() - len(consumers)
                for session in alive:
                    session.push_audio(stamped_push(), 24_000, 1)
                due += 0.01
                time.sleep(max(0.0, due - time.monotonic()))
            for consumer in consumers:
                consumer.join(PATIENCE_S)
        figures = check_density(server, window, sessions, seconds, latencies)
    return figures | {"threads": engine_threads, **rss_growth(before, after, sessions)}
