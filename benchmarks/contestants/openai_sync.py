"""openai-python's synchronous realtime client, used as its README does."""

from __future__ import annotations

import base64
import time
from typing import Any

from benchmarks import wire
from benchmarks.measure import Server, Window, check, rss_mb


def _client(server: Server) -> Any:
    from openai import OpenAI

    return OpenAI(api_key="benchmark", base_url=server.http, websocket_base_url=server.ws)


class Burst:
    """What both clients do with the events of a burst."""

    def __init__(self) -> None:
        import numpy as np

        self._np = np
        self.taken = self.words = 0

    def take(self, event: Any) -> bool:
        """To int16 samples; True after the last event."""
        if event.type == "response.output_audio.delta":
            samples = self._np.frombuffer(base64.b64decode(event.delta), self._np.int16)
            good = len(samples) == wire.DELTA_SAMPLES and samples[0] == self.taken
            check(good, f"delta {self.taken} is wrong")
            self.taken += 1
        elif event.type == "response.output_audio_transcript.delta":
            self.words += 1
        return bool(event.type == "response.done")

    def figures(self, window: Window, deltas: int) -> dict[str, float]:
        """Unless something is missing."""
        whole = self.taken == deltas and self.words == wire.transcripts(deltas)
        check(whole, f"{self.taken} deltas, {self.words} transcripts")
        return window.per_event(self.taken + self.words)


def inbound(server: Server, deltas: int) -> dict[str, Any]:
    """A burst of audio, to int16 samples."""
    with _client(server).realtime.connect(model=f"inbound-{deltas}") as connection:
        burst = Burst()
        with Window(server) as window:
            connection.input_audio_buffer.clear()
            for event in connection:
                if burst.take(event):
                    break
    return burst.figures(window, deltas)


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
