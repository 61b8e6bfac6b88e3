"""What every test gets: a check that it leaves nothing behind."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator

import pykka
import pytest

from antiphon.actors.engine import Engine

# How long threads that end by themselves may take: idle pool threads wait this long for more work.
GRACE_SECONDS = 2.0

# The SDK brings 70,000 objects; looking through them after each test would cost more than the test.
gc.freeze()


def _our_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("antiphon-")}


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """After each test no thread of ours may live, no actor be registered, no session be counted."""
    before = _our_threads()
    actors_before = set(pykka.ActorRegistry.get_all())
    yield
    gc.collect()
    for thread in _our_threads() - before:
        thread.join(GRACE_SECONDS)
    left = [thread.name for thread in _our_threads() - before if thread.is_alive()]
    assert not left, f"threads left behind: {left}"
    actors = [actor for actor in pykka.ActorRegistry.get_all() if actor not in actors_before]
    assert not actors, f"actors left behind: {actors}"
    default = Engine._default
    assert default is None or default.sessions == 0, f"{default.sessions} sessions left behind"
