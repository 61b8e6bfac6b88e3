"""livekit-plugins-openai's RealtimeModel, on one asyncio loop, as livekit-agents runs it."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Self

from benchmarks.checks import check_density, check_tone, tone_frames, turns
from benchmarks.measure import PATIENCE_S, Server, Window, age_ms, check, rss_growth, rss_mb, threads
from benchmarks.wire import stamped_push


def make_model(server: Server, name: str, client: Any = None) -> Any:
    """One that talks to the load server."""
    from livekit.plugins.openai.realtime import RealtimeModel

    return RealtimeModel(base_url=server.http, api_key="benchmark", model=name, http_session=client)


def generations(session: Any) -> asyncio.Queue[Any]:
    """A session's generations, as they come."""
    made: asyncio.Queue[Any] = asyncio.Queue()
    session.on("generation_created", made.put_nowait)
    return made


def speech_started(session: Any) -> asyncio.Event:
    """Set when the session tells of speech."""
    heard = asyncio.Event()
    session.on("input_speech_started", lambda _: heard.set())
    return heard


async def answered(heard: asyncio.Event) -> None:
    """Wait for speech to be told of."""
    await asyncio.wait_for(heard.wait(), PATIENCE_S)
    heard.clear()


async def warm_up(server: Server, session: Any) -> None:
    """The same as antiphon gets: a resampled push, a commit, an answer."""
    from livekit import rtc

    heard = speech_started(session)
    for _ in range(20):
        session.push_audio(rtc.AudioFrame(bytes(960), 48_000, 1, 480))
    session.commit_audio()
    await answered(heard)
    server.ask("forget")


async def first_message(made: asyncio.Queue[Any]) -> Any:
    """The next generation's message."""
    generation = await asyncio.wait_for(made.get(), PATIENCE_S)
    return await anext(aiter(generation.message_stream))


def inbound(server: Server, deltas: int) -> dict[str, Any]:
    """A burst of audio, to int16 samples."""
    return asyncio.run(_inbound(server, deltas))


async def _inbound(server: Server, deltas: int) -> dict[str, Any]:
    import numpy as np

    from benchmarks import wire

    model = make_model(server, f"inbound-{deltas}")
    session = model.session()
    made = generations(session)
    await warm_up(server, session)
    taken = words = 0
    with Window(server) as window:
        session.clear_audio()
        message = await first_message(made)
        async for frame in message.audio_stream:
            samples = np.frombuffer(frame.data, np.int16)
            check(len(samples) == wire.DELTA_SAMPLES and samples[0] == taken, f"delta {taken} is wrong")
            taken += 1
        async for _ in message.text_stream:
            words += 1
    await session.aclose()
    await model.aclose()
    check(taken == deltas and words == wire.transcripts(deltas), f"{taken} deltas, {words} transcripts")
    return window.per_event(taken + words)


def outbound(server: Server, rate: int, channels: int, seconds: int) -> dict[str, Any]:
    """A tone in pushes of 10 ms as fast as they are taken, until the server has the last of it."""
    return asyncio.run(_outbound(server, rate, channels, seconds))


async def _outbound(server: Server, rate: int, channels: int, seconds: int) -> dict[str, Any]:
    from livekit import rtc

    frames = tone_frames(rate, channels)
    model = make_model(server, "sink")
    session = model.session()
    await warm_up(server, session)
    heard = speech_started(session)
    with Window(server) as window:
        for _ in range(seconds):
            for number, frame in enumerate(frames):
                session.push_audio(rtc.AudioFrame(frame, rate, channels, rate // 100))
                if number % 10 == 9:
                    await asyncio.sleep(0)  # let the sender run; at each push it would only cost more
        session.commit_audio()
        await answered(heard)
    await session.aclose()
    await model.aclose()
    check_tone(server, seconds, channels)
    return window.per_second(seconds)


def start(server: Server) -> dict[str, Any]:
    """Import, make a model, get a first answer, then load the resampler."""
    return asyncio.run(_start(server))


async def _start(server: Server) -> dict[str, Any]:
    began = time.perf_counter()
    model = make_model(server, "sink")
    made = time.perf_counter()
    imported_rss = rss_mb()
    session = model.session()
    heard = speech_started(session)
    session.clear_audio()
    await answered(heard)
    ready = time.perf_counter()
    session_rss = rss_mb()
    from livekit import rtc

    for frame in tone_frames(48_000, 1):
        session.push_audio(rtc.AudioFrame(frame, 48_000, 1, 480))
    session.commit_audio()
    await answered(heard)
    await session.aclose()
    await model.aclose()
    return {
        "import_ms": (made - began) * 1000,
        "ready_ms": (ready - made) * 1000,
        "rss_import_mb": imported_rss,
        "rss_session_mb": session_rss,
        "rss_resampler_mb": rss_mb(),
    }


class Crowd:
    """Many sessions at real-time pace: one task pushes for all, and each has a task that takes its audio.

    Args:
        server: The load server.
        sessions: How many.
        seconds: How long each time.
    """

    def __init__(self, server: Server, sessions: int, seconds: int) -> None:
        self.server = server
        self.sessions = sessions
        self.seconds = seconds
        self.threads = 0
        self.late_ms = 0.0

    async def __aenter__(self) -> Self:
        import aiohttp

        # Its own client stops at 100 connections.
        self._client = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        self._model = make_model(self.server, f"density-{self.seconds * 10}", self._client)
        first = self._model.session()
        await warm_up(self.server, first)
        await first.aclose()
        before = rss_mb()
        self._alive = [self._model.session() for _ in range(self.sessions)]
        self._queues = [generations(session) for session in self._alive]
        await asyncio.sleep(1.0 + self.sessions / 100)
        self.rss = rss_growth(before, rss_mb(), self.sessions)
        return self

    async def __aexit__(self, *_: object) -> None:
        for session in self._alive:
            await session.aclose()
        await self._model.aclose()
        await self._client.close()

    def begin(self) -> None:
        """Start to talk."""
        self.latencies: list[list[float]] = [[] for _ in self._alive]
        self._tasks = [
            asyncio.create_task(self._consume(*pair))
            for pair in zip(self._queues, self.latencies, strict=True)
        ]
        self._tasks.append(asyncio.create_task(self._push()))

    async def join(self) -> None:
        """Wait until all is said."""
        await asyncio.wait_for(asyncio.gather(*self._tasks), PATIENCE_S)

    async def _push(self) -> None:
        from livekit import rtc

        due = time.monotonic()
        for turn, (beginning, talking) in enumerate(turns(self._alive, self.seconds)):
            if turn == self.seconds * 50:
                self.threads = threads()
            for session in beginning:
                session.clear_audio()
            for session in talking:
                session.push_audio(rtc.AudioFrame(stamped_push(), 24_000, 1, 240))
            due += 0.01
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        self.late_ms = max(0.0, time.monotonic() - due) * 1000

    async def _consume(self, made: asyncio.Queue[Any], latencies: list[float]) -> None:
        import numpy as np

        message = await first_message(made)
        latencies.extend(
            [age_ms(np.frombuffer(frame.data, np.int16)) async for frame in message.audio_stream]
        )


def density(server: Server, sessions: int, seconds: int) -> dict[str, Any]:
    """Full-duplex sessions at real-time pace."""
    return asyncio.run(_density(server, sessions, seconds))


async def _density(server: Server, sessions: int, seconds: int) -> dict[str, Any]:
    async with Crowd(server, sessions, seconds) as crowd:
        with Window(server) as window:
            crowd.begin()
            await crowd.join()
            # The last chunk of each may still be gathered.
            server.await_chunks(sessions * (seconds * 10 - 1))
        figures = check_density(server, window, sessions, seconds, crowd.latencies)
    return figures | {"threads": crowd.threads, "late_ms": crowd.late_ms, **crowd.rss}
