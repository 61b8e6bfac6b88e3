"""The io thread: timers, sockets, wake-ups, and faults that must cost only themselves."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from antiphon.actors.io_loop import IoLoop, Timer
from antiphon.actors.runtime import on_engine_thread

DEADLINE = 5.0


@pytest.fixture
def loop() -> Iterator[IoLoop]:
    made = IoLoop("antiphon-io-test")
    made.start()
    yield made
    made.stop()
    made.thread.join(DEADLINE)
    assert not made.thread.is_alive()


def on_loop(loop: IoLoop) -> None:
    """Wait until the loop has done all that it was asked to do before."""
    done = threading.Event()
    loop.call_later(0, done.set)
    assert done.wait(DEADLINE)


class Reader:
    """A socket's owner that keeps what it reads."""

    def __init__(self) -> None:
        self.sock, self.peer = socket.socketpair()
        self.sock.setblocking(False)
        self.read = b""
        self.changed = threading.Condition()
        self.writable = threading.Event()
        self.loop_ended = threading.Event()
        self.threads: set[int] = set()

    def fileno(self) -> int:
        return self.sock.fileno()

    def on_readable(self) -> None:
        with self.changed:
            self.threads.add(threading.get_ident())
            self.read += self.sock.recv(65536)
            self.changed.notify_all()

    def on_writable(self) -> None:
        self.writable.set()

    def on_loop_end(self) -> None:
        self.loop_ended.set()

    def wait_for(self, data: bytes) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.read == data, DEADLINE), self.read

    def close(self) -> None:
        self.sock.close()
        self.peer.close()


@pytest.fixture
def reader() -> Iterator[Reader]:
    made = Reader()
    yield made
    made.close()


# -- timers -------------------------------------------------------------------------------------------


def test_timers_fire_in_the_order_in_which_they_are_due(loop: IoLoop) -> None:
    fired: list[int] = []
    done = threading.Event()
    loop.call_later(0.03, done.set)
    for delay in (3, 1, 2, 1):
        loop.call_later(delay / 200, lambda delay=delay: fired.append(delay))  # type: ignore[misc]
    assert done.wait(DEADLINE)
    assert fired == [1, 1, 2, 3]


def test_a_timer_is_not_early_and_runs_on_the_io_thread(loop: IoLoop) -> None:
    seen: list[tuple[float, int, bool]] = []
    done = threading.Event()

    def fire() -> None:
        seen.append((time.monotonic(), threading.get_ident(), on_engine_thread()))
        done.set()

    began = time.monotonic()
    loop.call_later(0.02, fire)
    assert done.wait(DEADLINE)
    ((when, ident, marked),) = seen
    assert when - began >= 0.02
    assert ident == loop.thread.ident
    assert marked
    assert not on_engine_thread()


def test_an_earlier_timer_wakes_a_loop_that_waits_for_a_later_one(loop: IoLoop) -> None:
    loop.call_later(60.0, lambda: None)
    on_loop(loop)
    done = threading.Event()
    loop.call_later(0.0, done.set)
    assert done.wait(DEADLINE)


def test_a_cancelled_timer_does_nothing_and_keeps_nothing_alive(loop: IoLoop) -> None:
    fired: list[str] = []
    timer = loop.call_later(0.01, lambda: fired.append("cancelled"))
    timer.cancel()
    timer.cancel()
    done = threading.Event()
    loop.call_later(0.02, done.set)
    assert done.wait(DEADLINE)
    assert fired == []
    assert timer._callback is None


def test_a_timer_fires_once() -> None:
    fired: list[int] = []
    timer = Timer(lambda: fired.append(1))
    timer.fire()
    timer.fire()
    assert fired == [1]


def test_timers_set_by_timers_fire(loop: IoLoop) -> None:
    done = threading.Event()
    loop.call_later(0, lambda: loop.call_later(0, lambda: loop.call_later(0, done.set)))
    assert done.wait(DEADLINE)


def test_a_timer_that_raises_costs_only_itself(loop: IoLoop, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise RuntimeError("in a timer")

    loop.call_later(0, fail)
    on_loop(loop)
    assert "in a timer" in caplog.text
    on_loop(loop)


# -- sockets ------------------------------------------------------------------------------------------


def test_what_arrives_is_read_on_the_io_thread(loop: IoLoop, reader: Reader) -> None:
    loop.watch(reader, read=True, write=False)
    reader.peer.sendall(b"one")
    reader.wait_for(b"one")
    reader.peer.sendall(b"two")
    reader.wait_for(b"onetwo")
    assert reader.threads == {loop.thread.ident}


def test_what_arrived_before_the_watch_is_read(loop: IoLoop, reader: Reader) -> None:
    reader.peer.sendall(b"early")
    loop.watch(reader, read=True, write=False)
    reader.wait_for(b"early")


def test_interest_can_change(loop: IoLoop, reader: Reader) -> None:
    loop.watch(reader, read=False, write=True)
    assert reader.writable.wait(DEADLINE)
    loop.watch(reader, read=False, write=False)
    on_loop(loop)
    reader.writable.clear()
    reader.peer.sendall(b"later")
    on_loop(loop)
    on_loop(loop)
    assert not reader.writable.is_set()
    assert reader.read == b""
    loop.watch(reader, read=True, write=False)
    reader.wait_for(b"later")


def test_forget_then_close_on_the_io_thread(loop: IoLoop, reader: Reader) -> None:
    loop.watch(reader, read=True, write=False)
    closed = threading.Event()
    idents: list[int] = []

    def close() -> None:
        idents.append(threading.get_ident())
        reader.sock.close()
        closed.set()

    loop.forget(reader, close)
    assert closed.wait(DEADLINE)
    assert idents == [loop.thread.ident]
    assert reader.peer.recv(1) == b""
    # Late calls about a socket that is closed do nothing.
    loop.watch(reader, read=True, write=True)
    loop.forget(reader, lambda: None)
    on_loop(loop)


def test_a_descriptor_that_is_used_again_belongs_to_its_new_owner(loop: IoLoop) -> None:
    first, second = Reader(), Reader()
    loop.watch(first, read=True, write=False)
    on_loop(loop)
    descriptor = first.fileno()
    # Closed without a word: the kernel gives the number to the next socket.
    first.sock.close()
    taken = socket.socket(fileno=socket.dup(second.fileno()))
    try:
        if taken.fileno() == descriptor:
            second.sock.close()
            second.sock = taken
            loop.watch(second, read=True, write=False)
            second.peer.sendall(b"mine")
            second.wait_for(b"mine")
            assert first.read == b""
        else:
            pytest.fail(f"the kernel gave {taken.fileno()}, not {descriptor}")
    finally:
        done = threading.Event()
        loop.forget(second, done.set)
        assert done.wait(DEADLINE)
        taken.close()
        first.close()
        second.close()


def test_an_owner_that_fails_is_no_longer_watched_and_the_others_are(
    loop: IoLoop, reader: Reader, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Reader):
        calls = 0

        def on_readable(self) -> None:
            self.calls += 1
            raise RuntimeError("broken owner")

    broken = Broken()
    loop.watch(broken, read=True, write=False)
    loop.watch(reader, read=True, write=False)
    broken.peer.sendall(b"x")
    on_loop(loop)
    reader.peer.sendall(b"fine")
    reader.wait_for(b"fine")
    on_loop(loop)
    assert broken.calls == 1
    assert caplog.text.count("no longer watched") == 1
    broken.close()


def test_a_call_that_fails_costs_only_itself(
    loop: IoLoop, reader: Reader, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("in a call")

    loop.forget(reader, fail)
    on_loop(loop)
    assert "in a call" in caplog.text


# -- wake-ups -----------------------------------------------------------------------------------------


def test_calls_from_many_threads_all_run(loop: IoLoop) -> None:
    count = 200
    ran: list[int] = []
    done = threading.Semaphore(0)
    reader = Reader()

    def ask(number: int) -> None:
        for n in range(count):
            loop.forget(reader, lambda: (ran.append(number), done.release()))  # type: ignore[func-returns-value]
            if n % 20 == 0:
                loop.call_later(0, done.release)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    for _ in range(4 * count + 4 * count // 20):
        assert done.acquire(timeout=DEADLINE)
    assert sorted(ran) == sorted(list(range(4)) * count)
    reader.close()


class Interrupted:
    """The loop's end of its wake-up socket; before the next read, it lets another thread go first."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.before_next_read: Callable[[], None] | None = None

    def recv(self, size: int) -> bytes:
        interruption, self.before_next_read = self.before_next_read, None
        if interruption is not None:
            thread = threading.Thread(target=interruption)
            thread.start()
            thread.join(DEADLINE)
        return self.sock.recv(size)

    def close(self) -> None:
        self.sock.close()


class Selector(selectors.DefaultSelector):
    """Says when the loop has nothing to do but wait."""

    def __init__(self) -> None:
        super().__init__()
        self.asleep = threading.Event()

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            self.asleep.set()
        return super().select(timeout)


def test_a_wake_up_between_the_mark_and_the_read_is_not_lost(reader: Reader) -> None:
    # Its byte would be read away while the flag says that one is on its way: no `_wake` would wake any more.
    loop = IoLoop("antiphon-io-test")
    selector, receiver = Selector(), Interrupted(loop._receiver)
    loop._selector.close()
    loop._selector = selector
    selector.register(loop._receiver, selectors.EVENT_READ, None)
    loop._receiver = receiver  # type: ignore[assignment]
    second, third = threading.Event(), threading.Event()

    def interrupt() -> None:
        selector.asleep.clear()
        loop.forget(reader, second.set)

    receiver.before_next_read = interrupt
    loop.start()
    try:
        loop.call_later(0, lambda: None)
        assert second.wait(DEADLINE)
        assert selector.asleep.wait(DEADLINE)
        loop.forget(reader, third.set)
        assert third.wait(1.0)
    finally:
        loop._stopping = True
        loop._sender.send(b"\0")
        loop.thread.join(DEADLINE)


# -- the end ------------------------------------------------------------------------------------------


def test_stop_runs_what_was_asked_for_before_and_frees_everything(reader: Reader) -> None:
    loop = IoLoop("antiphon-io-test")
    loop.start()
    loop.watch(reader, read=True, write=False)
    closed = threading.Event()
    loop.forget(reader, closed.set)
    loop.stop()
    loop.stop()
    loop.thread.join(DEADLINE)
    assert not loop.thread.is_alive()
    assert closed.is_set()
    assert not reader.loop_ended.is_set()
    assert loop._receiver.fileno() == -1
    assert loop._sender.fileno() == -1
    # Late calls don't raise.
    loop.call_later(0, lambda: None)
    loop.watch(reader, read=True, write=False)
    loop.stop()


def test_who_is_still_watched_is_told_of_the_end_and_late_calls_are_done_at_once(reader: Reader) -> None:
    loop = IoLoop("antiphon-io-test")
    loop.start()
    loop.watch(reader, read=True, write=False)
    loop.stop()
    loop.thread.join(DEADLINE)
    assert reader.loop_ended.is_set()
    closed: list[int] = []
    loop.forget(reader, lambda: closed.append(1))
    assert closed == [1]


def test_a_loop_with_nothing_to_do_sleeps(loop: IoLoop) -> None:
    on_loop(loop)
    before = time.process_time()
    # Nothing comes: this only lets time pass in which a loop that polls would show.
    assert not threading.Event().wait(0.2)
    assert time.process_time() - before < 0.1
