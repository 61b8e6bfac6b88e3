"""What is measured: the contestants, the cases, their figures and goals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Contestant:
    """One that is measured.

    Attributes:
        title: In the table.
        module: In `benchmarks.contestants`.
        peer: The package that it is, looked for in the peers' interpreter; None for ours.
    """

    title: str
    module: str
    peer: str | None = None


ANTIPHON = Contestant("antiphon", "antiphon_sessions")
FLOOR = Contestant("bare loop", "floor")
OPENAI = Contestant("openai-python sync", "openai_sync", "openai")
LIVEKIT = Contestant("livekit-plugins-openai", "livekit_sessions", "livekit.plugins.openai")


@dataclass(frozen=True)
class Goal:
    """antiphon's figure is to be at most `ratio` times the other's."""

    figure: str
    against: Contestant
    ratio: float


@dataclass(frozen=True)
class Case:
    """One function of the contestants, the one called like the case, with parameters.

    Attributes:
        name: On the command line; several cases may share it.
        title: In the table.
        parameters: Of the function.
        contestants: Who takes part.
        figures: Name → heading, in the table's order.
        goals: Of issue 5.
        quick: Other parameters with --quick; None: the case is left out then.
    """

    name: str
    title: str
    parameters: dict[str, Any]
    contestants: Sequence[Contestant]
    figures: dict[str, str]
    goals: Sequence[Goal] = ()
    quick: dict[str, Any] | None = None


_SHARE = {"server_share": "server CPU"}
_INBOUND = {"cpu_us": "CPU µs/event", "wall_us": "wall µs/event"}
_OUTBOUND = {"cpu_ms": "CPU ms/s of audio"}
_START = {
    "import_ms": "import ms",
    "ready_ms": "first answer ms",
    "rss_import_mb": "RSS MB",
    "rss_session_mb": "with a session",
    "rss_resampler_mb": "with resampler",
}
_DENSITY = {
    "cpu_ms": "CPU ms/session-s",
    "p50_ms": "in p50 ms",
    "p99_ms": "p99",
    "max_ms": "max",
    "push_p50_ms": "out p50 ms",
    "push_p99_ms": "p99",
    "threads": "threads",
    "rss_session_kb": "RSS KB/session",
}


def _outbound(rate: int, channels: int, *goals: Goal, quick: bool = False) -> Case:
    sound = {"rate": rate, "channels": channels}
    return Case(
        "outbound",
        f"20 s in 10 ms pushes, {rate / 1000:g} kHz {'stereo' if channels == 2 else 'mono'}",
        {**sound, "seconds": 20},
        (ANTIPHON, LIVEKIT),
        _OUTBOUND | _SHARE,
        goals,
        {**sound, "seconds": 20} if quick else None,
    )


def _density(sessions: int, *goals: Goal, quick: dict[str, Any] | None = None) -> Case:
    parameters = {"sessions": sessions, "seconds": 5}
    title = f"{sessions} full-duplex session{'s' * (sessions > 1)}, real-time pace"
    return Case("density", title, parameters, (ANTIPHON, LIVEKIT), _DENSITY | _SHARE, goals, quick)


CASES = (
    Case(
        "inbound",
        "a burst of 2,000 deltas of 100 ms, 500 pieces of transcript, to int16 samples",
        {"deltas": 2000},
        (ANTIPHON, LIVEKIT, OPENAI, FLOOR),
        _INBOUND | _SHARE,
        (
            *(Goal(figure, LIVEKIT, 0.35) for figure in _INBOUND),
            *(Goal(figure, OPENAI, 0.2) for figure in _INBOUND),
            *(Goal(figure, FLOOR, 2.0) for figure in _INBOUND),
        ),
        {"deltas": 2000},
    ),
    _outbound(48_000, 1, Goal("cpu_ms", LIVEKIT, 0.3), quick=True),
    _outbound(48_000, 2),
    _outbound(44_100, 1),
    _outbound(16_000, 1),
    _outbound(24_000, 1),
    Case(
        "start",
        "import and construct, then the first answer on loopback",
        {},
        (ANTIPHON, LIVEKIT, OPENAI),
        _START,
        (
            Goal("import_ms", LIVEKIT, 0.12),
            Goal("rss_session_mb", LIVEKIT, 0.4),
            Goal("rss_resampler_mb", LIVEKIT, 0.75),
        ),
        {},
    ),
    _density(1),
    _density(50, quick={"sessions": 50, "seconds": 1}),
    _density(100, Goal("cpu_ms", LIVEKIT, 0.6)),
)
