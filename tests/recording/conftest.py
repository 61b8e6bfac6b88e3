"""Servers and sessions whose calls are recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from recording_harness import KEY

from antiphon import RealtimeModel
from antiphon.testing import LocalServer

MakeModel = Callable[..., RealtimeModel]


@pytest.fixture(autouse=True)
def _short_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test waits until the threads of its pools have ended: let those give up waiting for work sooner."""
    monkeypatch.setattr("antiphon.actors.pool.IDLE_SECONDS", 0.05)


@pytest.fixture
def parrot() -> Iterator[LocalServer]:
    """A server that says back what it heard, at once."""
    with LocalServer("parrot", api_key=KEY, pace=1000.0) as server:
        yield server


@pytest.fixture
def make_model() -> Iterator[MakeModel]:
    """Makes models at a server; they are closed after the test."""
    made: list[RealtimeModel] = []

    def make(server: LocalServer, **options: object) -> RealtimeModel:
        model = RealtimeModel(base_url=server.url, api_key=KEY, **options)  # type: ignore[arg-type]
        made.append(model)
        return model

    yield make
    for model in made:
        model.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a recording goes."""
    return tmp_path / "call.jsonl"
