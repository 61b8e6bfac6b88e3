"""What every test gets: a check that it leaves nothing behind."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from typing import Any

import pykka
import pytest

from antiphon.actors.engine import Engine

# How long threads that end by themselves may take: idle pool threads wait this long for more work.
GRACE_SECONDS = 2.0


def pytest_collection_finish() -> None:
    """Put what the imports brought (70,000 objects of the SDK alone) out of the collector's sight."""
    gc.collect()
    gc.freeze()


def _our_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("antiphon-")}


def _actors() -> set[pykka.ActorRef[Any]]:
    return set(pykka.ActorRegistry.get_all())


def _sessions() -> int:
    return 0 if Engine._default is None else Engine._default.sessions


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """After each test no thread of ours may live, no actor be registered, no session be counted."""
    threads, actors = _our_threads(), _actors()
    yield
    if _sessions() or _actors() - actors:
        # A session that the test dropped ends when it is collected.
        gc.collect()
    for thread in _our_threads() - threads:
        thread.join(GRACE_SECONDS)
    left = [thread.name for thread in _our_threads() - threads if thread.is_alive()]
    assert not left, f"threads left behind: {left}"
    assert not _actors() - actors, f"actors left behind: {_actors() - actors}"
    assert not _sessions(), f"{_sessions()} sessions left behind"
