"""What the actors need from the world: time, scheduling, threads for blocking work, and sockets.

Two implementations exist: `actors.engine.Engine` with real threads, and the deterministic driver of
`antiphon.testing`, where a test turns the clock by hand.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from antiphon.actors.errors import RealtimeError

if TYPE_CHECKING:
    from antiphon.actors.strand import Strand
    from antiphon.actors.transport import Connector


class Cancellable(Protocol):
    """A timer that has been set."""

    def cancel(self) -> None:
        """Forget the timer; harmless when it has fired already."""


@runtime_checkable
class Runtime(Protocol):
    """The services under a session. All methods may be called from any thread.

    Attributes:
        connector: Opens connections.
        io_may_work: Whether the thread that reads a socket may run the session for what is done in no time.
    """

    connector: Connector
    io_may_work: bool

    def now(self) -> float:
        """Monotonic time in seconds."""

    def schedule(self, strand: Strand) -> None:
        """Have `strand.run()` called soon, on a worker. A strand is never scheduled twice at once."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> Cancellable:
        """Call `callback` in `delay` seconds, on a thread that must not be kept waiting."""

    def acquire(self, session: object, end: Callable[[float], None]) -> None:
        """Count a session in; the services work from now on.

        Args:
            session: Which one.
            end: Begins to end it, given the seconds that a polite end may take; called when the services are to
                stop before it has.
        """

    def release(self, session: object) -> None:
        """Count a session out; after the last one the services may end."""

    def run_user_code(self, work: Callable[[], None]) -> None:
        """Run a callback on a thread that may block."""

    def run_tool(self, work: Callable[[], None]) -> None:
        """Run a tool on a thread that may block; waits its turn when all are busy."""


_engine_thread = threading.local()


def mark_engine_thread() -> None:
    """Declare the calling thread one on which nothing may block (io and worker threads)."""
    _engine_thread.mark = True


def on_engine_thread() -> bool:
    """Whether the calling thread is one of the engine's own."""
    return getattr(_engine_thread, "mark", False)


def forbid_blocking(what: str) -> None:
    """Raise instead of deadlocking when a blocking call is made on an engine thread.

    Args:
        what: The call, as its user knows it.

    Raises:
        RealtimeError: The caller is on an io or worker thread.
    """
    if on_engine_thread():
        raise RealtimeError(
            f"{what} would block an engine thread and deadlock the session; call it from a callback "
            "or a thread of your own"
        )
