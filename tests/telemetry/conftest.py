"""Servers for conversations that are watched."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

from telemetry_harness import SECRET

from antiphon.testing import LocalServer

Serve = Callable[..., LocalServer]


@pytest.fixture(autouse=True)
def _short_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test waits until the threads of its pools have ended: let those give up waiting for work sooner."""
    monkeypatch.setattr("antiphon.actors.pool.IDLE_SECONDS", 0.05)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers; they stop after the test."""
    servers: list[LocalServer] = []

    def start(brain: object, **options: object) -> LocalServer:
        server = LocalServer(brain, **{"api_key": SECRET, "pace": 100, **options})  # type: ignore[arg-type]
        server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()
