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
        modules: In `benchmarks.contestants`; a case's function is in one of them.
        peer: The package that it is, looked for in the peers' interpreter; None for what runs in ours.
    """

    title: str
    modules: tuple[str, ...]
    peer: str | None = None


ANTIPHON = Contestant("antiphon", ("antiphon_sessions", "antiphon_turns", "antiphon_actors"))
FLOOR = Contestant("bare loop", ("floor",))
PYKKA = Contestant("pykka ThreadingActor", ("pykka_actors",))
OPENAI = Contestant("openai-python sync", ("openai_sync",), "openai")
OPENAI_ASYNC = Contestant("openai-python async", ("openai_async",), "openai")
LIVEKIT = Contestant(
    "livekit-plugins-openai", ("livekit_sessions", "livekit_turns"), "livekit.plugins.openai"
)


@dataclass(frozen=True)
class Goal:
    """antiphon's figure is to be at most `limit`: times the other's, or by itself."""

    figure: str
    limit: float
    against: Contestant | None = None


@dataclass(frozen=True)
class Case:
    """One function of the contestants with parameters.

    Attributes:
        name: On the command line; several cases may share it.
        title: In the table.
        parameters: Of the function.
        contestants: Who takes part, antiphon first.
        figures: Name → heading, in the table's order.
        goals: Of issue 5.
        quick: Other parameters with --quick; None: the case is left out then.
        function: In the contestants' modules, unless it is called like the case.
        tls: Over wss:// in place of ws://.
        rounds: At most so many, for what is not worth more time.
        limit_s: How long one run may take.
    """

    name: str
    title: str
    parameters: dict[str, Any]
    contestants: Sequence[Contestant]
    figures: dict[str, str]
    goals: Sequence[Goal] = ()
    quick: dict[str, Any] | None = None
    function: str = ""
    tls: bool = False
    rounds: int = 3
    limit_s: float = 60.0


_BOTH = (ANTIPHON, LIVEKIT)
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
    "p99_ms": "in p99 ms",
    "max_ms": "in max ms",
    "push_p50_ms": "out p50 ms",
    "push_p99_ms": "out p99 ms",
    "late_ms": "late ms",
    "threads": "threads",
    "rss_session_kb": "RSS KB/session",
}
_BARGE_IN = {
    "silent_p50_ms": "silent p50 ms",
    "silent_p99_ms": "silent p99 ms",
    "cut_p50_ms": "truncate p50 ms",
    "cut_p99_ms": "truncate p99 ms",
    "turns": "turns",
}
_REPLY = {
    "ask_p50_ms": "to the wire p50 ms",
    "ask_p99_ms": "to the wire p99 ms",
    "answer_p50_ms": "to the caller p50 ms",
    "answer_p99_ms": "to the caller p99 ms",
}
_RECONNECT = {
    "p50_ms": "p50 ms",
    "max_ms": "max ms",
    "dialling_ms": "first to last dial ms",
    "crowd": "dials in 10 ms",
}
_CONTEXT = {"same_ms": "no change ms", "changed_ms": "20 changes ms", "frames": "frames"}
_FAIRNESS = {
    "quiet_p99_ms": "alone p99 ms",
    "flooded_p99_ms": "flooded p99 ms",
    "added_ms": "added ms",
    "flood_per_s": "flood deltas/s",
}


def _inbound(*, tls: bool) -> Case:
    return Case(
        "tls" if tls else "inbound",
        "a burst of 2,000 deltas of 100 ms, 500 pieces of transcript, to int16 samples"
        + (", over wss://" if tls else ""),
        {"deltas": 2000},
        (ANTIPHON, LIVEKIT, OPENAI, OPENAI_ASYNC, FLOOR),
        _INBOUND | _SHARE,
        [
            Goal(figure, limit, other)
            for other, limit in ((LIVEKIT, 0.35), (OPENAI, 0.2), (FLOOR, 2.0))
            for figure in _INBOUND
        ],
        None if tls else {"deltas": 2000},
        "inbound",
        tls,
    )


def _outbound(rate: int, channels: int, *goals: Goal, quick: bool = False) -> Case:
    sound = {"rate": rate, "channels": channels, "seconds": 20}
    return Case(
        "outbound",
        f"20 s in 10 ms pushes, {rate / 1000:g} kHz {'stereo' if channels == 2 else 'mono'}",
        sound,
        _BOTH,
        _OUTBOUND | _SHARE,
        goals,
        sound if quick else None,
        rounds=3 if goals else 1,
    )


def _density(
    sessions: int,
    *goals: Goal,
    tls: bool = False,
    quick: dict[str, Any] | None = None,
    rounds: int = 3,
    contestants: Sequence[Contestant] = _BOTH,
) -> Case:
    title = f"{sessions:,} full-duplex session{'s' * (sessions > 1)}, real-time pace"
    return Case(
        "tls" if tls else "density",
        title + (", over wss://" if tls else ""),
        {"sessions": sessions, "seconds": 4},
        contestants,
        _DENSITY | _SHARE,
        goals,
        quick,
        "density",
        tls,
        rounds,
    )


def _reconnect(sessions: int, items: int, quick: bool = False) -> Case:
    parameters = {"sessions": sessions, "items": items}
    title = f"{sessions} dropped session{'s' * (sessions > 1)}, {items:,} items each, to session_reconnected"
    return Case(
        "reconnect",
        title,
        parameters,
        _BOTH,
        _RECONNECT,
        quick=parameters if quick else None,
        rounds=2,
    )


def _context(items: int, quick: bool = False) -> Case:
    parameters = {"items": items, "changes": 10}
    return Case(
        "context",
        f"update_chat_ctx on {items:,} items: with no change; with 10 taken out and 10 put in, to the last word on it",
        parameters,
        _BOTH,
        _CONTEXT,
        [Goal(figure, 1.0, LIVEKIT) for figure in _CONTEXT],
        parameters if quick else None,
        rounds=2,
        limit_s=20.0,
    )


_THREADS = Goal("threads", 8)
_RSS = Goal("rss_session_kb", 120)

CASES = (
    _inbound(tls=False),
    _outbound(48_000, 1, Goal("cpu_ms", 0.3, LIVEKIT), quick=True),
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
            Goal("import_ms", 0.12, LIVEKIT),
            Goal("rss_session_mb", 0.4, LIVEKIT),
            Goal("rss_resampler_mb", 0.75, LIVEKIT),
        ),
        {},
    ),
    _density(1, rounds=1),
    _density(50, _THREADS, _RSS, quick={"sessions": 50, "seconds": 1}, rounds=1),
    _density(100, Goal("cpu_ms", 0.6, LIVEKIT), Goal("p99_ms", 2.0), _THREADS, _RSS),
    _density(300, Goal("p99_ms", 5.0), _THREADS, _RSS, rounds=2),
    _density(1000, _THREADS, _RSS, rounds=1),
    _inbound(tls=True),
    _density(100, Goal("cpu_ms", 0.6, LIVEKIT), Goal("p99_ms", 2.0), tls=True, rounds=2),
    Case(
        "barge-in",
        "speech_started on the wire to silence, and to truncate on the wire; 100 other sessions talk",
        {"busy": 100, "seconds": 5, "turn_deltas": 20},
        _BOTH,
        _BARGE_IN | _SHARE,
        [
            Goal(f"{what}_{share}_ms", limit)
            for what in ("silent", "cut")
            for share, limit in (("p50", 1.0), ("p99", 5.0))
        ],
        {"busy": 20, "seconds": 1, "turn_deltas": 20},
        rounds=2,
    ),
    Case(
        "reply",
        "generate_reply to response.create on the wire; response.created on the wire to the caller",
        {"replies": 1000},
        _BOTH,
        _REPLY | _SHARE,
        (Goal("ask_p99_ms", 2.0), Goal("answer_p99_ms", 2.0)),
        {"replies": 200},
    ),
    _reconnect(1, 0),
    _reconnect(1, 100, quick=True),
    _reconnect(1, 1000),
    _reconnect(100, 10),
    _context(100, quick=True),
    _context(1000),
    _context(10_000),
    Case(
        "actors",
        "messages between two actors of a session; from another thread; a question and its answer",
        {"messages": 20_000},
        (ANTIPHON, PYKKA),
        {"hop_us": "hop µs", "tell_us": "tell µs", "ask_us": "ask µs"},
        [Goal(figure, 1.0, PYKKA) for figure in ("hop_us", "tell_us", "ask_us")],
        {"messages": 20_000},
        "mailboxes",
    ),
    Case(
        "actors",
        "an actor that raised, to the first message that it handles again; no backoff",
        {"times": 100},
        (ANTIPHON, PYKKA),
        {"p50_ms": "restart p50 ms", "p99_ms": "restart p99 ms"},
        (Goal("p50_ms", 1.0, PYKKA),),
        {"times": 20},
        "restart",
    ),
    Case(
        "actors",
        "20 sessions at real-time pace, alone and beside one that floods",
        {"sessions": 20, "seconds": 2},
        _BOTH,
        _FAIRNESS | _SHARE,
        (Goal("added_ms", 2.0),),
        {"sessions": 20, "seconds": 1},
        "fairness",
        rounds=2,
    ),
)
