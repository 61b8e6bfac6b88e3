"""livekit-plugins-openai's RealtimeModel, on one asyncio loop, as livekit-agents runs it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

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


def _model(server: Server, name: str) -> Any:
    from livekit.plugins.openai.realtime import RealtimeModel

    return RealtimeModel(base_url=server.http, api_key="benchmark", model=name)


def _generations(session: Any) -> asyncio.Queue[Any]:
    made: asyncio.Queue[Any] = asyncio.Queue()
    session.on("generation_created", made.put_nowait)
    return made


def _speech_started(session: Any) -> asyncio.Event:
    heard = asyncio.Event()
    session.on("input_speech_started", lambda _: heard.set())
    return heard


async def _answered(heard: asyncio.Event) -> None:
    await asyncio.wait_for(heard.wait(), PATIENCE_S)
    heard.clear()


async def _warm_up(server: Server, session: Any) -> None:
    """The same as antiphon gets: a resampled push, a commit, an answer."""
    from livekit import rtc

    heard = _speech_started(session)
    for _ in range(20):
        session.push_audio(rtc.AudioFrame(bytes(960), 48_000, 1, 480))
    session.commit_audio()
    await _answered(heard)
    server.ask("forget")


async def _first_message(made: asyncio.Queue[Any]) -> Any:
    generation = await asyncio.wait_for(made.get(), PATIENCE_S)
    return await anext(aiter(generation.message_stream))


def inbound(server: Server, deltas: int) -> dict[str, Any]:
    """A burst of audio, to int16 samples."""
    return asyncio.run(_inbound(server, deltas))


async def _inbound(server: Server, deltas: int) -> dict[str, Any]:
    import numpy as np

    from benchmarks import wire

    model = _model(server, f"inbound-{deltas}")
    session = model.session()
    made = _generations(session)
    await _warm_up(server, session)
    taken = words = 0
    with Window(server) as window:
        session.clear_audio()
        message = await _first_message(made)
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
    model = _model(server, "sink")
    session = model.session()
    await _warm_up(server, session)
    heard = _speech_started(session)
    with Window(server) as window:
        for _ in range(seconds):
            for number, frame in enumerate(frames):
                session.push_audio(rtc.AudioFrame(frame, rate, channels, rate // 100))
                if number % 10 == 9:
                    await asyncio.sleep(0)  # let the sender run; at each push it would only cost more
        session.commit_audio()
        await _answered(heard)
    await session.aclose()
    await model.aclose()
    check_tone(server, seconds, channels)
    return window.per_second(seconds)


def start(server: Server) -> dict[str, Any]:
    """Import, make a model, get a first answer, then load the resampler."""
    return asyncio.run(_start(server))


async def _start(server: Server) -> dict[str, Any]:
    began = time.perf_counter()
    model = _model(server, "sink")
    made = time.perf_counter()
    imported_rss = rss_mb()
    session = model.session()
    heard = _speech_started(session)
    session.clear_audio()
    await _answered(heard)
    ready = time.perf_counter()
    session_rss = rss_mb()
    from livekit import rtc

    for frame in tone_frames(48_000, 1):
        session.push_audio(rtc.AudioFrame(frame, 48_000, 1, 480))
    session.commit_audio()
    await _answered(heard)
    await session.aclose()
    await model.aclose()
    return {
        "import_ms": (made - began) * 1000,
        "ready_ms": (ready - made) * 1000,
        "rss_import_mb": imported_rss,
        "rss_session_mb": session_rss,
        "rss_resampler_mb": rss_mb(),
    }


async def _consume(made: asyncio.Queue[Any], latencies: list[float]) -> None:
    import numpy as np

    message = await _first_message(made)
    latencies.extend([age_ms(np.frombuffer(frame.data, np.int16)) async for frame in message.audio_stream])


def density(server: Server, sessions: int, seconds: int) -> dict[str, Any]:
    """Many sessions at real-time pace: one task pushes for all, and each has a task that takes its audio."""
    return asyncio.run(_density(server, sessions, seconds))


async def _density(server: Server, sessions: int, seconds: int) -> dict[str, Any]:
    from livekit import rtc

    model = _model(server, f"density-{seconds * 10}")
    first = model.session()
    await _warm_up(server, first)
    await first.aclose()
    before = rss_mb()
    alive = [model.session() for _ in range(sessions)]
    queues = [_generations(session) for session in alive]
    await asyncio.sleep(1.0 + sessions / 100)
    after = rss_mb()
    latencies: list[list[float]] = [[] for _ in alive]
    consumers = [asyncio.create_task(_consume(*pair)) for pair in zip(queues, latencies, strict=True)]
    with Window(server) as window:
        for session in alive:
            session.clear_audio()
        due = time.monotonic()
        for turn in range(seconds * 100):
            if turn == seconds * 50:
                its_threads = threads()
            for session in alive:
                session.push_audio(rtc.AudioFrame(stamped_push(), 24_000, 1, 240))
            due += 0.01
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        await asyncio.wait_for(asyncio.gather(*consumers), PATIENCE_S)
    figures = check_density(server, window, sessions, seconds, latencies)
    for session in alive:
        await session.aclose()
    await model.aclose()
    return figures | {"threads": its_threads, **rss_growth(before, after, sessions)}
