"""Scripted servers and sessions at them. What the sessions sent is checked against the SDK."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# The SDK oracle is shared with the tests of the protocol, the makers of server events with those of the actors.
sys.path.insert(0, str(Path(__file__).parents[1] / "protocol"))
sys.path.insert(0, str(Path(__file__).parents[1] / "actors"))

from contract_line import KEY, MARK, Line
from openai.types.realtime import RealtimeClientEvent
from scripted_server import ScriptedServer
from sdk_oracle import misfit

Dial = Callable[..., Line]


@pytest.fixture(autouse=True)
def _short_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test waits until the threads of its pools have ended: let those give up waiting for work sooner."""
    monkeypatch.setattr("antiphon.actors.pool.IDLE_SECONDS", 0.002)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [
        "OPENAI_API_KEY",
        "OPENAI_BASE_URL",
        "AZURE_OPENAI_API_KEY",
        "AZURE_OPENAI_ENDPOINT",
        "OPENAI_API_VERSION",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "http_proxy",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
    ]:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as made:
        yield made


@pytest.fixture
def line_to(server: ScriptedServer, caplog: pytest.LogCaptureFixture) -> Iterator[Dial]:
    """Makes sessions that are not started. What the GA ones send must fit the SDK, and no log line has the key."""
    lines: list[Line] = []

    def make(**options: Any) -> Line:
        lines.append(Line(server, **options))
        return lines[-1]

    caplog.set_level(logging.DEBUG, "antiphon")
    yield make
    for line in lines:
        line.model.close()
    if all(line.session._actors.spec.dialect == "ga" for line in lines):
        check_frames(server)
    assert KEY not in caplog.text


@pytest.fixture
def dial(line_to: Dial) -> Dial:
    """Makes sessions and opens them."""
    return lambda **options: line_to(**options).open()


@pytest.fixture
def line(dial: Dial) -> Line:
    """An open session without turn detection."""
    return dial()


def check_frames(server: ScriptedServer) -> None:
    """Assert that every frame that the tests looked at is one of the SDK's."""
    for peer in server.peers:
        for event in peer.seen:
            if event["type"] != MARK and not event.get("foreign"):
                problem = misfit(RealtimeClientEvent, event)
                assert problem is None, f"{event['type']}: {problem}"
