"""A made-up call of one minute, in which everything happens; and a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import CHROMIUM, Page, chromium
from scenes import write_call


@pytest.fixture(scope="session")
def minute(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recording of a minute."""
    return write_call(tmp_path_factory.mktemp("minute") / "call.jsonl", 1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a recording goes."""
    return tmp_path / "call.jsonl"


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A window of Chromium, for all tests."""
    if CHROMIUM is None:
        pytest.skip("needs the program `chromium` (Debian: apt-get install chromium)")
    with chromium(tmp_path_factory.mktemp("chromium")) as page:
        yield page
