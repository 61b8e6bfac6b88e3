"""Every block of Python in the documentation and in the README runs."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from docs_snippets import Page, pages, run

from antiphon.testing import LocalServer


@pytest.fixture(autouse=True)
def _short_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test waits until the threads of its pools have ended: let those give up waiting for work sooner."""
    monkeypatch.setattr("antiphon.actors.pool.IDLE_SECONDS", 0.05)


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, id=page.name, marks=[pytest.mark.full] if page.full else []) for page in pages()],
)
def test_every_snippet_runs(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    with LocalServer(page.brain, pace=20) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-local")
        run(page, server.url)
    # A callback that raises is logged, not raised.
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_there_are_snippets() -> None:
    assert len([page for page in pages() if page.name.startswith("docs/")]) >= 12
