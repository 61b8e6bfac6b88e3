"""Streams and futures that a generation hands out (contract §6, Streams; §3 and §10 on threads)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from antiphon import RealtimeError, TimedString
from antiphon.actors.runtime import mark_engine_thread
from antiphon.actors.streams import SessionFuture, Stream, StreamEnded

DEADLINE = 10.0


def on_engine_thread(call: Callable[[], Any]) -> Any:
    """What a call returns, or the exception that it raises, on a thread on which nothing may block."""
    outcome: list[Any] = []

    def run() -> None:
        mark_engine_thread()
        try:
            outcome.append(call())
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(DEADLINE)
    assert outcome, "the call blocks"
    return outcome[0]


# -- Stream --------------------------------------------------------------------------------------------


def test_items_come_in_order_and_then_the_end() -> None:
    stream: Stream[int] = Stream()
    for number in range(3):
        stream.put(number)
    stream.end()
    assert list(stream) == [0, 1, 2]
    assert list(stream) == []
    with pytest.raises(StreamEnded):
        stream.get()


def test_what_had_arrived_can_be_taken_after_the_end() -> None:
    stream: Stream[int] = Stream()
    stream.put(1)
    stream.end()
    assert stream.closed
    assert stream.get() == 1


def test_nothing_comes_after_the_end() -> None:
    stream: Stream[int] = Stream()
    stream.end()
    stream.put(1)
    stream.end()
    assert list(stream) == []


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_get_gives_up_after_the_timeout(timeout: float) -> None:
    stream: Stream[int] = Stream()
    with pytest.raises(TimeoutError):
        stream.get(timeout)
    stream.put(1)
    assert stream.get(timeout) == 1


def test_a_reader_that_waits_gets_what_is_put() -> None:
    stream: Stream[int] = Stream()
    got: list[int] = []
    reader = threading.Thread(target=lambda: got.extend(stream), daemon=True)
    reader.start()
    for number in range(100):
        stream.put(number)
    stream.end()
    reader.join(DEADLINE)
    assert not reader.is_alive()
    assert got == list(range(100))


def test_several_readers_share_the_items_and_all_find_the_end() -> None:
    stream: Stream[int] = Stream()
    got: list[list[int]] = [[] for _ in range(4)]
    readers = [threading.Thread(target=lambda mine=mine: mine.extend(stream), daemon=True) for mine in got]
    for reader in readers:
        reader.start()
    for number in range(1000):
        stream.put(number)
    stream.end()
    for reader in readers:
        reader.join(DEADLINE)
    assert not any(reader.is_alive() for reader in readers)
    assert sorted(number for mine in got for number in mine) == list(range(1000))
    assert all(mine == sorted(mine) for mine in got)


def test_get_raises_instead_of_blocking_an_engine_thread() -> None:
    stream: Stream[int] = Stream()
    assert isinstance(on_engine_thread(stream.get), RealtimeError)
    stream.put(1)
    assert on_engine_thread(stream.get) == 1
    stream.end()
    assert on_engine_thread(lambda: list(stream)) == []


def test_repr_tells_whether_it_is_open() -> None:
    stream: Stream[int] = Stream()
    assert "open" in repr(stream)
    stream.end()
    assert "closed" in repr(stream)


# -- SessionFuture ---------------------------------------------------------------------------------------


def test_done_callbacks_run_where_the_session_says_and_not_before() -> None:
    calls: list[Callable[[], object]] = []
    seen: list[Any] = []
    future: SessionFuture[int] = SessionFuture(calls.append)
    future.add_done_callback(seen.append)
    future.set_result(1)
    assert seen == []
    calls.pop()()
    assert seen == [future]


def test_a_done_callback_of_a_settled_future_runs_there_too() -> None:
    calls: list[Callable[[], object]] = []
    future: SessionFuture[int] = SessionFuture(calls.append)
    future.set_exception(RealtimeError("x"))
    future.add_done_callback(lambda done: done.exception(0))
    assert len(calls) == 1


def test_a_cancel_is_reported_once_and_only_when_it_took_effect() -> None:
    cancels: list[None] = []
    future: SessionFuture[int] = SessionFuture(lambda call: call(), lambda: cancels.append(None))
    assert future.cancel()
    assert future.cancel()
    assert len(cancels) == 1
    settled: SessionFuture[int] = SessionFuture(lambda call: call(), lambda: cancels.append(None))
    settled.set_result(1)
    assert not settled.cancel()
    assert len(cancels) == 1


def test_result_raises_instead_of_blocking_an_engine_thread() -> None:
    future: SessionFuture[int] = SessionFuture(lambda call: call())
    assert isinstance(on_engine_thread(lambda: future.result(DEADLINE)), RealtimeError)
    future.set_result(1)
    assert on_engine_thread(lambda: future.result(DEADLINE)) == 1


def test_exception_raises_instead_of_blocking_an_engine_thread() -> None:
    future: SessionFuture[int] = SessionFuture(lambda call: call())
    assert isinstance(on_engine_thread(lambda: future.exception(0.1)), RealtimeError)


def test_result_gives_up_after_the_timeout() -> None:
    future: SessionFuture[int] = SessionFuture(lambda call: call())
    with pytest.raises(TimeoutError):
        future.result(0.01)


# -- the rest ----------------------------------------------------------------------------------------------


def test_a_timed_string_is_a_string() -> None:
    timed = TimedString("hey", 1.5)
    assert timed == "hey"
    assert "".join([timed, TimedString(" you")]) == "hey you"
    assert timed.start_time == 1.5
    assert TimedString("hey").start_time is None
