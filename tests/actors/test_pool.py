"""Threads for work that may block: they grow on demand, and nothing is left behind."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator

import pytest

from antiphon.actors.pool import BlockingPool

DEADLINE = 10.0


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[BlockingPool]:
    """A small pool, which must be able to end."""
    monkeypatch.setattr("antiphon.actors.pool.IDLE_SECONDS", 0.02)
    made = BlockingPool("antiphon-test", limit=4)
    yield made
    assert made.join(DEADLINE)


def test_work_runs_on_a_thread_of_the_pool(pool: BlockingPool) -> None:
    names: list[str] = []
    done = threading.Event()
    pool.run(lambda: (names.append(threading.current_thread().name), done.set()))
    assert done.wait(DEADLINE)
    assert names[0].startswith("antiphon-test-")


def test_work_that_blocks_does_not_hold_up_other_work(pool: BlockingPool) -> None:
    # All four must be inside at once to get through.
    barrier = threading.Barrier(4)
    passed = [threading.Event() for _ in range(4)]

    def work(mine: threading.Event) -> None:
        barrier.wait(DEADLINE)
        mine.set()

    for event in passed:
        pool.run(lambda event=event: work(event))
    assert all(event.wait(DEADLINE) for event in passed)


def test_work_beyond_the_limit_waits_its_turn(pool: BlockingPool) -> None:
    gate = threading.Event()
    started = threading.Semaphore(0)
    extra = threading.Event()
    for _ in range(4):
        pool.run(lambda: (started.release(), gate.wait(DEADLINE)))
    for _ in range(4):
        assert started.acquire(timeout=DEADLINE)
    pool.run(extra.set)
    running = [t for t in threading.enumerate() if t.name.startswith("antiphon-test-")]
    assert len(running) == 4
    assert not extra.is_set()
    gate.set()
    assert extra.wait(DEADLINE)


def test_an_idle_thread_is_used_again(pool: BlockingPool) -> None:
    names: set[str] = set()
    for _ in range(20):
        done = threading.Event()
        pool.run(lambda done=done: (names.add(threading.current_thread().name), done.set()))
        assert done.wait(DEADLINE)
    # Two, when the first has not yet come back to wait while the second is asked for; not twenty.
    assert len(names) <= 4


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_work_that_raises_costs_only_itself(
    pool: BlockingPool, error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise error("on purpose")

    done = threading.Event()
    with caplog.at_level(logging.ERROR, "antiphon.pool"):
        pool.run(fail)
        assert pool.join(DEADLINE)
        pool.run(done.set)
        assert done.wait(DEADLINE)
    assert len(caplog.records) == 1


def test_join_says_when_some_are_busy(pool: BlockingPool) -> None:
    gate = threading.Event()
    pool.run(lambda: gate.wait(DEADLINE))
    assert not pool.join(0.01)
    gate.set()


def test_everything_runs_once_whoever_asks(pool: BlockingPool) -> None:
    ran: list[int] = []
    lock = threading.Lock()

    def work(number: int) -> None:
        with lock:
            ran.append(number)

    def ask(base: int) -> None:
        for number in range(base, base + 250):
            pool.run(lambda number=number: work(number))

    askers = [threading.Thread(target=ask, args=(base,)) for base in range(0, 1000, 250)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join(DEADLINE)
    assert pool.join(DEADLINE)
    assert sorted(ran) == list(range(1000))


def test_work_that_asks_for_more_work_gets_it(pool: BlockingPool) -> None:
    done = threading.Event()

    def again(left: int) -> None:
        if left:
            pool.run(lambda: again(left - 1))
        else:
            done.set()

    again(50)
    assert done.wait(DEADLINE)


def test_when_no_thread_can_be_started_those_that_live_do_the_work(
    pool: BlockingPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, done = threading.Event(), threading.Event()
    pool.run(lambda: gate.wait(DEADLINE))
    monkeypatch.setattr(threading.Thread, "start", refuse_to_start)
    pool.run(done.set)
    gate.set()
    assert done.wait(DEADLINE)


def test_when_there_is_no_thread_at_all_the_caller_is_told_and_the_pool_works_later(
    pool: BlockingPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    never, done = threading.Event(), threading.Event()
    with monkeypatch.context() as starved:
        starved.setattr(threading.Thread, "start", refuse_to_start)
        for _ in range(5):
            with pytest.raises(RuntimeError, match="start new thread"):
                pool.run(never.set)
        assert pool.join(0)
    pool.run(done.set)
    assert done.wait(DEADLINE)
    assert pool.join(DEADLINE)
    assert not never.is_set()


def test_who_waits_for_the_end_does_not_keep_work_waiting(
    pool: BlockingPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("antiphon.actors.pool.IDLE_SECONDS", 2.0)
    first = threading.Event()
    pool.run(first.set)
    assert first.wait(DEADLINE)
    waiter = threading.Thread(target=pool.join, args=(DEADLINE,))
    waiter.start()
    began = time.monotonic()
    for _ in range(20):
        done = threading.Event()
        pool.run(done.set)
        assert done.wait(DEADLINE)
    assert time.monotonic() - began < 2.0
    waiter.join(2 * DEADLINE)


def refuse_to_start(_: threading.Thread) -> None:
    """What Thread.start does when the system has no more threads."""
    raise RuntimeError("can't start new thread")
