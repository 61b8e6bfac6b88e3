"""From the engine to the user's callbacks: in order, one at a time per session, on threads that may block."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from antiphon.actors.forking import abandon_in_child
from antiphon.actors.logs import Origin, about, enter, get_logger
from antiphon.actors.runtime import forbid_blocking
from antiphon.actors.streams import StreamEnded

if TYPE_CHECKING:
    from antiphon.actors.runtime import Runtime

logger = get_logger("antiphon.callbacks")

Callback = TypeVar("Callback", bound=Callable[..., Any])

# Events for taps only. A frame as it was on the wire: (connection, bytes).
FRAME_RECEIVED = "frame_received"
FRAME_SENT = "frame_sent"
# A connection begins, after a handshake of so many seconds: (connection, seconds).
CONNECTED = "connected"
# It ends, but not because the session was closed: (connection, reason, the server's close code or None, whether the
# session decided so).
DISCONNECTED = "disconnected"

# Playback was cut with something left to be heard: ("speech" or "interrupt", a `Cut` for each item).
CUT = "playback_cut"
# The truncation of an item has been written: the item's id.
TRUNCATED = "item_truncated"

# How many calls one borrowed thread makes before it lets another session have it.
CALLS_AT_ONCE = 100


class Tap(Protocol):
    """Hears of events on the thread on which they happen, so it must return at once."""

    def put(self, name: str, payload: Any) -> None:
        """An event has happened."""

    def close(self) -> None:
        """No more will come."""


class EventStream:
    """A blocking iterator over a session's events; ends when the session does.

    When more than `maxsize` events wait, the oldest is dropped and counted in `dropped`.
    """

    def __init__(self, maxsize: int) -> None:
        self._events: deque[tuple[str, Any]] = deque(maxlen=maxsize or None)
        self._changed = threading.Condition()
        self._closed = False
        self.dropped = 0
        abandon_in_child(self)

    def get(self, timeout: float | None = None) -> tuple[str, Any]:
        """Take the next event, as (name, payload).

        Args:
            timeout: Seconds to wait; None waits until the session ends.

        Raises:
            TimeoutError: None came in time.
            StreamEnded: The session has ended and all events were taken.
            RealtimeError: Called on an engine thread.
        """
        with self._changed:
            if not self._events and not self._closed:
                forbid_blocking("EventStream.get")
                if not self._changed.wait_for(lambda: bool(self._events) or self._closed, timeout):
                    raise TimeoutError(f"no event came within {timeout:g} s")
            if not self._events:
                raise StreamEnded
            return self._events.popleft()

    def close(self) -> None:
        """End the stream; what waits in it can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def abandon(self) -> None:
        """End the stream in a child that was forked."""
        self._changed = threading.Condition()
        self._closed = True

    def put(self, name: str, payload: Any) -> None:
        """Append an event. For the engine."""
        with self._changed:
            if self._events.maxlen is not None and len(self._events) == self._events.maxlen:
                self.dropped += 1
            self._events.append((name, payload))
            self._changed.notify()

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return self

    def __next__(self) -> tuple[str, Any]:
        try:
            return self.get()
        except StreamEnded:
            raise StopIteration from None


class _Subscription:
    """A callback and what it is subscribed for; `active` until it leaves."""

    __slots__ = ("active", "callback", "once")

    def __init__(self, callback: Callable[..., Any], once: bool) -> None:
        self.callback = callback
        self.once = once
        self.active = True

    def call(self, payload: Any) -> None:
        """Call it, unless it has left since the event."""
        if self.active or self.once:
            self.callback(payload)


class Emitter:
    """A session's subscriptions and its queue of calls to make.

    Thread-safe. Calls run in order and one at a time, on threads of the engine's user pool; a slow one
    delays only its own session, one that raises is logged.

    Args:
        runtime: Whose pool runs the callbacks.
        names: The events that exist.
        origin: What the records are attributed to that callbacks log.
    """

    def __init__(self, runtime: Runtime, names: frozenset[str], origin: Origin | None = None) -> None:
        self._runtime = runtime
        self._origin = origin or Origin("-")
        self._names = names
        # Replaced, never changed, so that emit needs no lock to read it.
        self._callbacks: dict[str, tuple[_Subscription, ...]] = {}
        self._taps: dict[str, tuple[Tap, ...]] = {}
        self._lock = threading.Lock()
        self._calls: queue.SimpleQueue[Callable[[], Any]] = queue.SimpleQueue()
        self._running = False
        self._closed = False
        # By event streams, once they are closed.
        self._dropped = 0
        self._runner: int | None = None
        self._idle = threading.Condition(self._lock)

    # -- subscribing ---------------------------------------------------------------------------------

    def on(self, name: str, callback: Callback, once: bool = False) -> Callback:
        """Call `callback(payload)` at each event of this name (at the next one only, with `once`)."""
        self._check(name)
        if not callable(callback):
            raise ValueError(f"the callback for {name} must be callable, not {callback!r}")
        with self._lock:
            self._callbacks = {
                **self._callbacks,
                name: (*self._callbacks.get(name, ()), _Subscription(callback, once)),
            }
        return callback

    def off(self, name: str, callback: Callable[..., Any]) -> None:
        """Stop calling `callback`, also for what is queued; nothing if it wasn't subscribed."""
        self._check(name)
        with self._lock:
            for entry in self._callbacks.get(name, ()):
                if entry.callback == callback:
                    entry.active = False
            self._callbacks = {
                **self._callbacks,
                name: tuple(entry for entry in self._callbacks.get(name, ()) if entry.active),
            }

    def stream(self, names: tuple[str, ...], maxsize: int) -> EventStream:
        """A blocking iterator over the events of these names; of all names when none is given."""
        for name in names:
            self._check(name)
        stream = EventStream(maxsize)
        self.attach(stream, names or self._names)
        return stream

    def attach(self, tap: Tap, names: Iterable[str]) -> None:
        """Have the tap told of the events of these names until the session ends; at its end it is closed."""
        with self._lock:
            closed = self._closed
            if not closed:
                self._taps = dict(self._taps)
                for name in names:
                    self._taps[name] = (*self._taps.get(name, ()), tap)
        if closed:
            tap.close()

    def detach(self, tap: Tap) -> None:
        """Tell the tap of nothing more; nothing if it isn't attached."""
        with self._lock:
            self._taps = {
                name: tuple(other for other in taps if other is not tap) for name, taps in self._taps.items()
            }

    def wants(self, name: str) -> bool:
        """Whether anybody listens to this event."""
        return bool(self._callbacks.get(name) or self._taps.get(name))

    def _check(self, name: str) -> None:
        if name not in self._names:
            known = ", ".join(sorted(self._names))
            raise ValueError(f"a session has no event {name!r}; its events are {known}")

    # -- emitting ------------------------------------------------------------------------------------

    def emit(self, name: str, payload: Any) -> None:
        """Queue the calls for an event; returns at once."""
        for tap in self._taps.get(name, ()):
            tap.put(name, payload)
        for entry in self._callbacks.get(name, ()):
            if not entry.once or self._take_out(name, entry):
                self.run(lambda entry=entry: entry.call(payload))  # type: ignore[misc]

    def _take_out(self, name: str, entry: _Subscription) -> bool:
        """End a subscription that is for one event; False when it ended before."""
        with self._lock:
            if not entry.active:
                return False
            entry.active = False
            kept = tuple(other for other in self._callbacks.get(name, ()) if other is not entry)
            self._callbacks = {**self._callbacks, name: kept}
            return True

    def run(self, call: Callable[[], Any]) -> None:
        """Queue a call behind the events that were emitted before."""
        with self._lock:
            self._calls.put(call)
            if self._running:
                return
            self._running = True
        try:
            self._runtime.run_user_code(self._run_calls)
        except RuntimeError as error:
            with self._lock:
                self._running = False
            with about(self._origin):
                logger.error("callbacks wait for the next event: %s", error)

    def close(self) -> None:
        """End the event streams and other taps; calls that are queued still run."""
        with self._lock:
            self._closed = True
            taps = self._all_taps()
            self._dropped = _dropped_by(taps)
            self._taps = {}
        for tap in taps:
            tap.close()

    def abandon(self) -> None:
        """Call nobody any more, in a child that was forked."""
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._calls = queue.SimpleQueue()
        self._running = False
        self._closed = True
        self._callbacks, self._taps = {}, {}

    def flush(self, timeout: float) -> bool:
        """Wait until all queued calls have run; True at once from within one of them."""
        if self._runner == threading.get_ident():
            return True
        deadline = time.monotonic() + timeout
        with self._lock:
            return self._idle.wait_for(lambda: not self._running, max(0.0, deadline - time.monotonic()))

    @property
    def waiting(self) -> int:
        """How many calls are queued."""
        return self._calls.qsize()

    @property
    def dropped(self) -> int:
        """How many events fell out of full event streams."""
        with self._lock:
            return self._dropped if self._closed else _dropped_by(self._all_taps())

    def _all_taps(self) -> set[Tap]:
        return {tap for group in self._taps.values() for tap in group}

    def _run_calls(self) -> None:
        self._runner = threading.get_ident()
        before = enter(self._origin)
        try:
            for _ in range(CALLS_AT_ONCE):
                with self._lock:
                    if self._calls.empty():
                        self._running = False
                        self._idle.notify_all()
                        return
                    call = self._calls.get_nowait()
                try:
                    call()
                except BaseException:
                    # SystemExit from a callback must not end the pool's thread, nor the session.
                    logger.exception("a callback raised")
                del call
        finally:
            self._runner = None
            enter(before)
        self._runtime.run_user_code(self._run_calls)


def _dropped_by(taps: Iterable[Tap]) -> int:
    return sum(tap.dropped for tap in taps if isinstance(tap, EventStream))
