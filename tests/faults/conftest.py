"""Servers, the proxy in front of them, sessions through it; and the table that the tests write."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import reliability
from faults_harness import DEADLINE, Line
from proxy import FaultProxy
from reliability import Measure, Row

from antiphon import Engine
from antiphon.actors import pool
from antiphon.testing import LocalServer


@pytest.fixture(autouse=True)
def _impatient_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each test waits for its threads to end.
    monkeypatch.setattr(pool, "IDLE_SECONDS", 0.02)


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with LocalServer("parrot", pace=100.0) as made:
        yield made


@pytest.fixture
def proxy(server: LocalServer) -> Iterator[FaultProxy]:
    with FaultProxy(("127.0.0.1", server.port)) as made:
        yield made


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine()
    yield made
    assert made.close(DEADLINE)


@pytest.fixture
def line(proxy: FaultProxy, engine: Engine) -> Iterator[Line]:
    made = Line(proxy, engine, input_audio_transcription=None)
    made.session.wait_open(DEADLINE)
    yield made
    proxy.fault = "forward"
    made.session.close()
    assert made.session.state == "closed"
    assert made.of("actor_restarted") == []


@pytest.fixture
def measure() -> Measure:
    """Times the block that goes from a fault to its end, holds it to the row's bound, and notes it in the row."""

    @contextmanager
    def timed(row: Row) -> Iterator[None]:
        began = time.monotonic()
        yield
        seconds = time.monotonic() - began
        assert seconds < row.within, f"{row.fault}: {seconds:.2f} s"
        row.measured = max(seconds, row.measured or 0.0)

    return timed


def pytest_sessionfinish(exitstatus: int) -> None:
    """Write the page if that was asked for and nothing failed."""
    if os.environ.get(reliability.WRITE) and exitstatus == 0:
        reliability.write_faults()
