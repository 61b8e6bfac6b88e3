"""Servers for conversations over real sockets. What the engine sends to them is checked against the SDK."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# The SDK oracle is shared with the tests of the protocol.
sys.path.insert(0, str(Path(__file__).parents[1] / "protocol"))

from e2e_harness import KEY, check_frames

from antiphon.testing import LocalServer

Serve = Callable[..., LocalServer]


@pytest.fixture(autouse=True)
def _short_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test waits until the threads of its pools have ended: let those give up waiting for work sooner."""
    monkeypatch.setattr("antiphon.actors.pool.IDLE_SECONDS", 0.05)


@pytest.fixture
def serve(caplog: pytest.LogCaptureFixture) -> Iterator[Serve]:
    """Starts servers. After the test every frame that they received must fit the SDK, and no log line has the key.

    A start costs milliseconds: the voice's models are loaded once per process.
    """
    servers: list[LocalServer] = []

    def start(brain: object = "parrot", **options: object) -> LocalServer:
        server = LocalServer(brain, **{"api_key": KEY, **options})  # type: ignore[arg-type]
        server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()
    for server in servers:
        check_frames(server)
    assert KEY not in caplog.text
