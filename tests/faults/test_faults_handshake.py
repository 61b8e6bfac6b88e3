"""Handshakes that come to nothing: refused, unanswered, answered with something else, or taken back at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from faults_harness import DEADLINE, Line
from proxy import FaultProxy
from reliability import Measure, Row, row

from antiphon import ConnectOptions, Engine, RealtimeError
from antiphon.testing import LocalServer, Script

GIVE_UP_SOON = ConnectOptions(max_retry=2, retry_interval=0.05, timeout=0.3)
EVERY_ATTEMPT = (
    "connecting; a recoverable `error` for each attempt; after the last one not recoverable, and closed"
)
ALL_ATTEMPTS = "(`max_retry` + 1) · `timeout` + `first_retry` + `max_retry` · `retry_interval` · 1.2"
AT_ONCE = "one `error`, not recoverable, with the hint what to check; closed; no further attempt"


@dataclass(frozen=True)
class Case:
    """A way for handshakes to fail.

    Attributes:
        known: Its row in the table.
        words: What the errors say.
        make: Does it to the proxy; returns options for the model.
        attempts: How many are made.
    """

    known: Row
    words: str
    make: Callable[[FaultProxy], dict[str, Any]]
    attempts: int = 3


def answered(status: str) -> Callable[[FaultProxy], dict[str, Any]]:
    """Answers handshakes with this status line's end."""

    def make(proxy: FaultProxy) -> dict[str, Any]:
        proxy.answer = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
        return {}

    return make


def refused(proxy: FaultProxy) -> dict[str, Any]:
    """Nobody listens."""
    proxy.fault = "refuse"
    return {}


def unanswered(proxy: FaultProxy) -> dict[str, Any]:
    """The connection is taken, the request too, and that is all."""
    proxy.fault = "black-hole"
    return {}


def unknown_name(_: FaultProxy) -> dict[str, Any]:
    """No name server knows this one."""
    return {"base_url": "http://nowhere.invalid/v1"}


def no_tls(proxy: FaultProxy) -> dict[str, Any]:
    """TLS is asked for where none is spoken."""
    return {"base_url": f"https://127.0.0.1:{proxy.port}/v1"}


CASES = [
    Case(row("handshake refused", sees=EVERY_ATTEMPT, bound=ALL_ATTEMPTS, within=4), "refused", refused),
    Case(
        row("handshake answered 401", sees=AT_ONCE, bound="handshake", within=2),
        "401: .*key",
        answered("401 Unauthorized"),
        1,
    ),
    Case(
        row("handshake answered 403", sees=AT_ONCE, bound="handshake", within=2),
        "403: .*access",
        answered("403 Forbidden"),
        1,
    ),
    Case(
        row("handshake answered 429", sees=EVERY_ATTEMPT, bound=ALL_ATTEMPTS, within=4),
        "429: too many",
        answered("429 Too Many Requests"),
    ),
    Case(
        row("handshake answered 503", sees=EVERY_ATTEMPT, bound=ALL_ATTEMPTS, within=4),
        "HTTP 503",
        answered("503 Service Unavailable"),
    ),
    Case(
        row("handshake never answered", sees=EVERY_ATTEMPT, bound=ALL_ATTEMPTS, within=5),
        "did not answer",
        unanswered,
    ),
    Case(
        row("DNS failure", sees=EVERY_ATTEMPT, bound=ALL_ATTEMPTS, within=5),
        "could not be resolved|did not answer",
        unknown_name,
    ),
    Case(row("TLS failure", sees=EVERY_ATTEMPT, bound=ALL_ATTEMPTS, within=4), "TLS with", no_tls),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.known.fault.replace(" ", "-"))
def test_a_handshake_that_fails_ends_the_session_after_the_attempts_that_make_sense(
    proxy: FaultProxy, engine: Engine, measure: Measure, case: Case
) -> None:
    options = case.make(proxy)
    with measure(case.known):
        line = Line(proxy, engine, conn_options=GIVE_UP_SOON, **options)
        waiting = line.session.generate_reply()
        line.wait_state("closed")
        with pytest.raises(RealtimeError, match=case.words):
            line.session.wait_open(DEADLINE)
        with pytest.raises(RealtimeError, match=case.words):
            waiting.result(DEADLINE)
    assert [event.recoverable for event in line.of("error")] == [True] * (case.attempts - 1) + [False]
    assert [event.new for event in line.of("state_changed")] == ["closed"]
    assert engine.sessions == 0


@pytest.mark.parametrize(
    "make", [refused, unanswered, answered("429 Too Many Requests"), answered("503 Busy")]
)
def test_a_server_that_comes_to_its_senses_gets_everything_once(
    proxy: FaultProxy, engine: Engine, server: LocalServer, make: Callable[[FaultProxy], dict[str, Any]]
) -> None:
    make(proxy)
    patient = ConnectOptions(max_retry=100, retry_interval=0.05, timeout=0.3)
    line = Line(proxy, engine, conn_options=patient)
    waiting = line.session.generate_reply()
    line.wait_until(lambda: len(line.errors()) >= 2)
    proxy.answer = None
    proxy.fault = "forward"
    assert waiting.result(DEADLINE).done.result(DEADLINE).status == "completed"
    newest = server.log.received()[-1].connection
    assert [record.type for record in server.log.received(connection=newest)] == [
        "session.update",
        "response.create",
    ]
    assert line.of("session_reconnected") == []
    line.session.close()


KICKED_1008 = row(
    "accepted, then closed at once with 1008",
    sees="one `error`, not recoverable; closed; no further attempt",
    bound="handshake",
    within=2,
)
KICKED_1011 = row(
    "accepted, then closed at once with 1011",
    sees="open → reconnecting and a recoverable `error` for each attempt; after the last one closed",
    bound=ALL_ATTEMPTS,
    within=4,
)


@pytest.mark.parametrize(("code", "known", "attempts"), [(1008, KICKED_1008, 1), (1011, KICKED_1011, 3)])
def test_a_server_that_accepts_and_closes_at_once_is_not_dialled_for_ever(
    engine: Engine, measure: Measure, code: int, known: Row, attempts: int
) -> None:
    kick = Script.parse(f"""
        [[turn]]
        wait = "connect"
        do = [{{ close = {code}, reason = "go away" }}]
    """)
    with LocalServer(kick) as server, FaultProxy(("127.0.0.1", server.port)) as proxy:
        with measure(known):
            line = Line(proxy, engine, conn_options=GIVE_UP_SOON)
            line.wait_state("closed")
            with pytest.raises(RealtimeError, match=f"code {code}, go away"):
                line.session.wait_open(DEADLINE)
        assert [event.recoverable for event in line.of("error")] == [True] * (attempts - 1) + [False]
        assert proxy.accepted == attempts
        assert engine.sessions == 0
