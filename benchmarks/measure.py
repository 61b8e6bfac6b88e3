"""What the workers measure with. Standard library only: the `start` case counts what a contestant imports."""

from __future__ import annotations

import base64
import json
import math
import os
import socket
import time
from collections.abc import Sequence
from typing import Any, Self

from benchmarks import wire

PAGE = os.sysconf("SC_PAGE_SIZE")
PATIENCE_S = 60.0


class WrongWork(Exception):
    """A contestant did not do what it is measured for; its figures don't count."""


def check(ok: bool, what: str) -> None:
    """Refuse figures of work that was not done."""
    if not ok:
        raise WrongWork(what)


def rss_mb() -> float:
    """Resident memory of this process, MB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE / 1e6


def rss_growth(before_mb: float, after_mb: float, sessions: int) -> dict[str, float]:
    """What a session takes; of a few sessions it would be noise."""
    return {"rss_session_kb": (after_mb - before_mb) * 1000 / sessions} if sessions >= 10 else {}


def threads() -> int:
    """Threads of this process, those of native libraries included."""
    return len(os.listdir("/proc/self/task"))


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of all values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]


class Server:
    """The load server, as a worker sees it.

    Args:
        port: Where it listens.
    """

    def __init__(self, port: int) -> None:
        self.host = f"127.0.0.1:{port}"
        self.http = f"http://{self.host}/v1"
        self.ws = f"ws://{self.host}/v1"
        self._control = socket.create_connection(("127.0.0.1", port))
        self._lines = self._control.makefile("rb")

    def ask(self, command: str) -> dict[str, Any]:
        """Ask for "stats" or "audio", or to "forget" what came in."""
        self._control.sendall(command.encode() + b"\n")
        answer: dict[str, Any] = json.loads(self._lines.readline())
        return answer


class Window:
    """CPU of this process (all threads), wall time, and the server's CPU share, between enter and exit."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.cpu_s = self.wall_s = self.server_share = 0.0

    def __enter__(self) -> Self:
        self._before = self._server.ask("stats")
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu_s = time.process_time() - self._cpu
        self.wall_s = time.perf_counter() - self._wall
        after = self._server.ask("stats")
        spent = after["cpu_s"] - self._before["cpu_s"]
        self.server_share = spent / (after["wall_s"] - self._before["wall_s"])

    def per_event(self, events: int) -> dict[str, float]:
        """Figures for a burst."""
        return {
            "cpu_us": self.cpu_s * 1e6 / events,
            "wall_us": self.wall_s * 1e6 / events,
            "server_share": self.server_share,
        }

    def per_second(self, seconds: float) -> dict[str, float]:
        """Figures for so many seconds of audio."""
        return {"cpu_ms": self.cpu_s * 1000 / seconds, "server_share": self.server_share}


def age_ms(samples: Any) -> float:
    """Since the stamp in the first samples of a delta was written."""
    return wire.age_ms(samples[:3].tobytes(), time.monotonic_ns())


def check_density(
    server: Server, window: Window, sessions: int, seconds: int, latencies: list[list[float]]
) -> dict[str, float]:
    """The figures of `density`, unless audio is missing in either direction."""
    counts = {len(one) for one in latencies}
    check(counts == {seconds * 10}, f"sessions got {sorted(counts)} deltas in place of {seconds * 10}")
    audio = server.ask("audio")
    # less than one chunk of each may still be gathered
    pushed, got = sessions * seconds * wire.RATE, audio["samples"]
    check(0 <= pushed - got <= sessions * wire.RATE // 10, f"{got} of {pushed} samples arrived")
    into = [one for several in latencies for one in several]
    out = audio["ages_ms"]
    return {
        **window.per_second(sessions * seconds),
        "p50_ms": percentile(into, 0.5),
        "p99_ms": percentile(into, 0.99),
        "max_ms": max(into),
        "push_p50_ms": percentile(out, 0.5),
        "push_p99_ms": percentile(out, 0.99),
    }


# -- outbound: a tone that survives resampling and mixing ------------------------------------------------------

TONE_HZ = 440.0


def tone_frames(rate: int, channels: int) -> list[bytes]:
    """One second of a tone in frames of 10 ms, s16le, interleaved; of two channels the right one is silent."""
    import numpy as np

    wave = 16_000 * np.sin(2 * np.pi * TONE_HZ * np.arange(rate) / rate)
    sound = np.zeros((rate, channels), "<i2")
    sound[:, 0] = wave
    size = rate // 100 * channels * 2
    data = sound.tobytes()
    return [data[at : at + size] for at in range(0, len(data), size)]


def check_tone(server: Server, seconds: float, channels: int, wire_rate: int = 24_000) -> None:
    """Refuse unless all of the tone reached the server, at the right pitch and level.

    A client may hold back 100 ms at the end (its resampler's tail).
    """
    import numpy as np

    audio = server.ask("audio")
    heard_s = audio["samples"] / wire_rate
    check(abs(heard_s - seconds) <= 0.1, f"{heard_s:.2f} s of audio on the wire in place of {seconds:.0f} s")
    sound = np.frombuffer(base64.b64decode(audio["excerpt"]), "<i2").astype(float)
    pitch = float(np.argmax(np.abs(np.fft.rfft(sound)))) * wire_rate / len(sound)
    check(abs(pitch - TONE_HZ) <= 2, f"the tone is at {pitch:.0f} Hz in place of {TONE_HZ:.0f}")
    level, wanted = float(np.sqrt(np.mean(sound**2))), 16_000 / math.sqrt(2) / channels
    check(0.9 < level / wanted < 1.1, f"the tone's level is {level / wanted:.2f} of what it should be")
