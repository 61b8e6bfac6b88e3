"""openai-python's synchronous realtime client, used as its README does."""

from __future__ import annotations

import base64
import time
from typing import Any

from benchmarks.measure import Server, Window, check, rss_mb


def _client(server: Server) -> Any:
    from openai import OpenAI

    return OpenAI(api_key="benchmark", base_url=server.http, websocket_base_url=server.ws)


def inbound(server: Server, deltas: int) -> dict[str, Any]:
    """A burst of audio, to int16 samples."""
    import numpy as np

    from benchmarks import wire

    taken = words = 0
    with _client(server).realtime.connect(model=f"inbound-{deltas}") as connection, Window(server) as window:
        connection.input_audio_buffer.clear()
        for event in connection:
            if event.type == "response.output_audio.delta":
                samples = np.frombuffer(base64.b64decode(event.delta), np.int16)
                good = len(samples) == wire.DELTA_SAMPLES and samples[0] == taken
                check(good, f"delta {taken} is wrong")
                taken += 1
            elif event.type == "response.output_audio_transcript.delta":
                words += 1
            elif event.type == "response.done":
                break
    check(taken == deltas and words == wire.transcripts(deltas), f"{taken} deltas, {words} transcripts")
    return window.per_event(taken + words)


def start(server: Server) -> dict[str, Any]:
    """Import, make a client, get a first answer."""
    began = time.perf_counter()
    client = _client(server)
    made = time.perf_counter()
    imported_rss = rss_mb()
    with client.realtime.connect(model="sink") as connection:
        connection.input_audio_buffer.clear()
        for event in connection:
            if event.type == "input_audio_buffer.speech_started":
                break
        ready = time.perf_counter()
        check(event.type == "input_audio_buffer.speech_started", "no answer")
    return {
        "import_ms": (made - began) * 1000,
        "ready_ms": (ready - made) * 1000,
        "rss_import_mb": imported_rss,
        "rss_session_mb": rss_mb(),
    }
