"""What the workers measure with. Standard library only: the `start` case counts what a contestant imports."""

from __future__ import annotations

import json
import math
import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

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


def fastest_ms(work: Callable[[], object], times: int = 5) -> float:
    """The shortest of several runs; of work that takes seconds, of one."""
    shortest = math.inf
    for _ in range(times):
        began = time.perf_counter()
        work()
        shortest = min(shortest, (time.perf_counter() - began) * 1000)
        if shortest > 1000:
            break
    return shortest


class Frame(NamedTuple):
    """What the server got: from which connection, when it was read, the event."""

    peer: int
    at_ns: int
    event: dict[str, Any]


def spread(name: str, values: Sequence[float]) -> dict[str, float]:
    """Two figures: the median and the 99th percentile of these values."""
    return {f"{name}p50_ms": percentile(values, 0.5), f"{name}p99_ms": percentile(values, 0.99)}


class Server:
    """The load server, as a worker sees it.

    Args:
        port: Of the API.
        control: The port of the control connection.
        tls: Whether the API is wss://; its authority is in SSL_CERT_FILE.
    """

    def __init__(self, port: int, control: int, tls: bool) -> None:
        self.port, self.tls = port, tls
        self.host = f"127.0.0.1:{port}"
        self.http = f"http{'s' * tls}://{self.host}/v1"
        self.ws = f"ws{'s' * tls}://{self.host}/v1"
        self._control = socket.create_connection(("127.0.0.1", control))
        self._lines = self._control.makefile("rb")

    def ask(self, command: str) -> Any:
        """Give a command, see `load_server`."""
        self._control.sendall(command.encode() + b"\n")
        return json.loads(self._lines.readline())

    def frames(self, kind: str, count: int, since_ns: int = 0) -> list[Frame]:
        """The small frames of a kind that came in, once there are as many as there must be."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            frames = [
                Frame(peer, at, json.loads(text))
                for peer, at, text in self.ask("frames")
                if at > since_ns and f'"{kind}"' in text
            ]
            if len(frames) >= count or time.monotonic() > deadline:
                check(len(frames) == count, f"{len(frames)} {kind} on the wire in place of {count}")
                return frames
            time.sleep(0.02)

    def await_chunks(self, count: int) -> None:
        """Wait until so many frames of audio came in, of clients that may be late."""
        deadline = time.monotonic() + PATIENCE_S
        while (got := self.ask("chunks")) < count:
            check(time.monotonic() < deadline, f"{got} of {count} chunks of audio arrived")
            time.sleep(0.1)


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
