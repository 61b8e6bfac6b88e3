"""The io thread: one selector over all sockets, and all timers."""

from __future__ import annotations

import heapq
import itertools
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from antiphon.actors.forking import abandon_in_child
from antiphon.actors.logs import get_logger
from antiphon.actors.runtime import mark_engine_thread

logger = get_logger("antiphon.io")


class Pollable(Protocol):
    """A socket's owner, as the io thread sees it."""

    def fileno(self) -> int:
        """The descriptor to watch."""

    def on_readable(self) -> None:
        """Read what there is, without blocking."""

    def on_writable(self) -> None:
        """Write what is waiting, without blocking."""

    def on_loop_end(self) -> None:
        """The loop has ended: nobody watches the socket any more, so let go of it."""


class Timer:
    """A callback that is due at a time; `cancel` makes it do nothing."""

    __slots__ = ("_callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Forget the callback, and whatever it keeps alive."""
        self._callback = None

    def fire(self) -> None:
        """Call the callback unless cancelled."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class IoLoop:
    """A thread that waits for sockets and clocks, and never for anything else.

    All methods but `run` may be called from any thread.

    Args:
        name: The thread's name.
    """

    def __init__(self, name: str) -> None:
        self._selector = selectors.DefaultSelector()
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._sender.setblocking(False)
        self._selector.register(self._receiver, selectors.EVENT_READ, None)
        self._lock = threading.Lock()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._calls: deque[Callable[[], None]] = deque()
        self._awake = False
        self._stopping = False
        self._ended = False
        self.thread = threading.Thread(target=self.run, name=name, daemon=True)
        abandon_in_child(self)

    def start(self) -> None:
        """Start the thread."""
        self.thread.start()

    def stop(self) -> None:
        """Have the thread end; what it still watches is told so."""
        self._stopping = True
        self._wake()

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` on the io thread in `delay` seconds; it must return at once."""
        timer = Timer(callback)
        due = time.monotonic() + delay
        with self._lock:
            heapq.heappush(self._timers, (due, next(self._order), timer))
            first = self._timers[0][2] is timer
        if first:
            self._wake()
        return timer

    def watch(self, pollable: Pollable, *, read: bool, write: bool) -> None:
        """Watch a socket from now on, or change what it is watched for (neither: stop watching)."""
        self._call(lambda: self._set_interest(pollable, pollable.fileno(), read, write))

    def forget(self, pollable: Pollable, then: Callable[[], None]) -> None:
        """Stop watching a socket, then call `then` on the io thread (the place to close it)."""
        descriptor = pollable.fileno()

        def forget_and_continue() -> None:
            self._set_interest(pollable, descriptor, read=False, write=False)
            then()

        self._call(forget_and_continue)

    def abandon(self) -> None:
        """Let go of the descriptors in a child that was forked. The kernel's selector is the parent's too."""
        self._lock = threading.Lock()
        self._ended = True
        self._close_descriptors()

    def _close_descriptors(self) -> None:
        self._selector.close()
        self._receiver.close()
        self._sender.close()

    # -- the thread ---------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until `stop`."""
        mark_engine_thread()
        try:
            while not self._stopping:
                for key, mask in self._selector.select(self._patience()):
                    if key.data is None:
                        self._drain_wakeups()
                        continue
                    self._serve(key.data, mask)
                self._run_calls()
                self._fire_timers()
        finally:
            self._end()

    def _end(self) -> None:
        with self._lock:
            self._ended = True
        self._run_calls()
        watched = [key.data for key in self._selector.get_map().values() if key.data is not None]
        self._close_descriptors()
        for pollable in watched:
            pollable.on_loop_end()

    def _serve(self, pollable: Pollable, mask: int) -> None:
        try:
            if mask & selectors.EVENT_WRITE:
                pollable.on_writable()
            if mask & selectors.EVENT_READ:
                pollable.on_readable()
        except Exception:
            # A fault in one session's transport must not end the thread that serves all of them.
            logger.exception("a socket's owner failed; it is no longer watched")
            self._set_interest(pollable, pollable.fileno(), read=False, write=False)

    def _set_interest(self, pollable: Pollable, descriptor: int, read: bool, write: bool) -> None:
        if descriptor < 0 or self._ended:
            return
        mask = (selectors.EVENT_READ if read else 0) | (selectors.EVENT_WRITE if write else 0)
        known = self._selector.get_map().get(descriptor)
        if known is not None and known.data is not pollable:
            # The descriptor number was reused after a close that nobody announced.
            self._selector.unregister(descriptor)
            known = None
        if not mask:
            if known is not None:
                self._selector.unregister(descriptor)
        elif known is None:
            self._selector.register(descriptor, mask, pollable)
        elif known.events != mask:
            self._selector.modify(descriptor, mask, pollable)

    def _patience(self) -> float | None:
        with self._lock:
            if self._calls or self._stopping:
                return 0.0
            if not self._timers:
                return None
            return max(0.0, self._timers[0][0] - time.monotonic())

    def _fire_timers(self) -> None:
        now = time.monotonic()
        while True:
            with self._lock:
                if not self._timers or self._timers[0][0] > now:
                    return
                timer = heapq.heappop(self._timers)[2]
            try:
                timer.fire()
            except Exception:
                logger.exception("a timer failed")

    def _call(self, function: Callable[[], None]) -> None:
        with self._lock:
            ended = self._ended
            if not ended:
                self._calls.append(function)
        if ended:
            function()
        else:
            self._wake()

    def _run_calls(self) -> None:
        while self._calls:
            try:
                self._calls.popleft()()
            except Exception:
                logger.exception("a call on the io thread failed")

    def _wake(self) -> None:
        if threading.get_ident() == self.thread.ident:
            return
        with self._lock:
            if self._awake:
                return
            self._awake = True
        try:
            self._sender.send(b"\0")
        except OSError:
            # The buffer is full of wake-ups already, or the loop has ended.
            pass

    def _drain_wakeups(self) -> None:
        try:
            self._receiver.recv(4096)
        except BlockingIOError:
            pass
        # Only now: a wake-up that comes between the two costs one idle turn; the other way round its byte would
        # be read away while the flag says that one is on its way, and nobody would wake the loop again.
        with self._lock:
            self._awake = False
