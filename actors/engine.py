"""The engine: the io thread, the workers and the pools that all sessions of a process share."""

from __future__ import annotations

import itertools
import os
import queue
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal

from antiphon.actors.audio import preload as load_scipy
from antiphon.actors.errors import RealtimeError
from antiphon.actors.forking import abandon_in_child
from antiphon.actors.io_loop import IoLoop, Timer
from antiphon.actors.pool import BlockingPool
from antiphon.actors.runtime import mark_engine_thread
from antiphon.actors.stats import EngineStats
from antiphon.actors.supervision import EngineConfig

if TYPE_CHECKING:
    from antiphon.actors.strand import Strand
    from antiphon.actors.transport import Connector

POOL_LIMIT = 64


class _Threads:
    """The threads of one period of activity, from the first session to the end of the last."""

    def __init__(self, config: EngineConfig) -> None:
        self.io = [IoLoop(f"antiphon-io-{n}") for n in range(config.io_threads)]
        self._runnable: queue.SimpleQueue[Strand | None] = queue.SimpleQueue()
        self._workers = [
            threading.Thread(target=self._work, name=f"antiphon-worker-{n}", daemon=True)
            for n in range(0 if config.dispatcher == "thread" else config.workers)
        ]
        # With dispatcher="thread": the queue of each session's own thread.
        self._own: dict[Strand, queue.SimpleQueue[Strand | None]] | None = (
            {} if config.dispatcher == "thread" else None
        )
        self._lock = threading.Lock()
        for loop in self.io:
            loop.start()
        for worker in self._workers:
            worker.start()

    def schedule(self, strand: Strand) -> None:
        if self._own is None:
            self._runnable.put(strand)
        else:
            self._queue_of(strand).put(strand)

    @property
    def workers(self) -> int:
        return len(self._workers) if self._own is None else len(self._own)

    @property
    def strands_waiting(self) -> int:
        with self._lock:
            queues = [self._runnable] if self._own is None else list(self._own.values())
        return sum(waiting.qsize() for waiting in queues)

    def stop(self) -> None:
        for loop in self.io:
            loop.stop()
        for _ in self._workers:
            self._runnable.put(None)
        with self._lock:
            for own in (self._own or {}).values():
                own.put(None)

    def join(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        threads = [loop.thread for loop in self.io] + self._workers
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)

    def _work(self) -> None:
        mark_engine_thread()
        while (strand := self._runnable.get()) is not None:
            strand.run()

    def _queue_of(self, strand: Strand) -> queue.SimpleQueue[Strand | None]:
        assert self._own is not None
        with self._lock:
            own = self._own.get(strand)
            if own is None:
                own = self._own[strand] = queue.SimpleQueue()
                threading.Thread(
                    target=self._work_alone, args=(own,), name=f"antiphon-{strand.name}", daemon=True
                ).start()
            return own

    def _work_alone(self, own: queue.SimpleQueue[Strand | None]) -> None:
        mark_engine_thread()
        while (strand := own.get()) is not None:
            strand.run()
            if strand.closed:
                with self._lock:
                    (self._own or {}).pop(strand, None)
                return


class Engine:
    """Threads, timers and sockets for any number of sessions.

    One engine serves a whole process well; models share `Engine.default()` unless they are given
    another. Threads exist only while a session lives. Thread-safe. In a child that is forked, an engine is idle: the
    sessions stay with the parent.

    Args:
        workers: Threads on which sessions run; at least 1. Python code runs on one core at a time, so
            more than 2 seldom help.
        io_threads: Threads that watch sockets; at least 1.
        tool_workers: Tools that may run at once, of all sessions together; at least 1.
        dispatcher: "pool": sessions share the workers; "thread": each session has a thread of its own, for
            debugging.
        preload: Load scipy in the background when the first session begins, for those who push audio at an unusual
            rate (the first push would take a second). The usual ones, 8 to 192 kHz, never need it.

    Raises:
        ValueError: A number is below 1, or the dispatcher is unknown.
    """

    _default: ClassVar[Engine | None] = None
    _default_lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(
        self,
        *,
        workers: int = EngineConfig().workers,
        io_threads: int = EngineConfig().io_threads,
        tool_workers: int = EngineConfig().tool_workers,
        dispatcher: Literal["pool", "thread"] = "pool",
        preload: bool = False,
    ) -> None:
        counts = {"workers": workers, "io_threads": io_threads, "tool_workers": tool_workers}
        for name, value in counts.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if dispatcher not in ("pool", "thread"):
            raise ValueError(f"dispatcher must be pool or thread, not {dispatcher!r}")
        self._config = EngineConfig(dispatcher=dispatcher, **counts)
        self.io_may_work = dispatcher == "pool"
        self._become_idle()
        self._sessions_begun = 0
        self._closed = False
        self._preload = preload
        self._connections = itertools.count()
        # Here, not at the top: websocket-client takes 30 ms to import and is only needed from now on.
        from antiphon.actors.dialling import WebSocketConnector

        self.connector: Connector = WebSocketConnector(self)
        abandon_in_child(self)

    def _become_idle(self) -> None:
        self._changed = threading.Condition()
        self._threads: _Threads | None = None
        # The threads that were stopped last; they may still be ending.
        self._last: _Threads | None = None
        self._sessions: dict[object, Callable[[float], None]] = {}
        self._user_pool = BlockingPool("antiphon-user", POOL_LIMIT)
        self._tool_pool = BlockingPool("antiphon-tool", self._config.tool_workers)
        self._dial_pool = BlockingPool("antiphon-dial", POOL_LIMIT)

    def abandon(self) -> None:
        """Begin anew in a child that was forked: the sessions and threads stay with the parent."""
        self._become_idle()

    @classmethod
    def default(cls) -> Engine:
        """The engine that models share when they are given none; made on first use."""
        with cls._default_lock:
            if cls._default is None:
                cls._default = cls()
            return cls._default

    @property
    def sessions(self) -> int:
        """How many sessions are alive."""
        return len(self._sessions)

    def stats(self) -> EngineStats:
        """How much there is of everything, and how much waits; works at any time, also after `close`."""
        threads = self._threads
        return EngineStats(
            sessions=len(self._sessions),
            sessions_begun=self._sessions_begun,
            threads={
                "io": 0 if threads is None else len(threads.io),
                "worker": 0 if threads is None else threads.workers,
                "user": self._user_pool.threads,
                "tool": self._tool_pool.threads,
                "dial": self._dial_pool.threads,
            },
            strands_waiting=0 if threads is None else threads.strands_waiting,
            callbacks_waiting=self._user_pool.waiting,
            tools_waiting=self._tool_pool.waiting,
            handshakes_waiting=self._dial_pool.waiting,
        )

    def close(self, timeout: float = 5.0) -> bool:
        """Refuse new sessions, end those that live, and stop the threads.

        Args:
            timeout: Seconds for all of it.

        Returns:
            Whether everything has ended.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            self._closed = True
            ends = list(self._sessions.values())
        for end in ends:
            # Half the time for a peer that doesn't answer, the rest for the threads.
            end(timeout / 2)
        with self._changed:
            self._changed.wait_for(lambda: not self._sessions, timeout * 0.75)
            threads, self._threads = self._threads or self._last, None
        if threads is not None:
            threads.stop()
        ended = threads is None or threads.join(max(0.0, deadline - time.monotonic()))
        return self.join(max(0.0, deadline - time.monotonic())) and ended

    def join(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for the threads of an idle engine to end."""
        deadline = time.monotonic() + timeout
        pools = (self._user_pool, self._tool_pool, self._dial_pool)
        return all(pool.join(max(0.0, deadline - time.monotonic())) for pool in pools)

    # -- one session's life, as the supervisor reports it ----------------------------------------------

    def acquire(self, session: object, end: Callable[[float], None]) -> None:
        """Count a session in; starts the threads for the first one.

        Args:
            session: Which one.
            end: Begins to end it; called by `close`.

        Raises:
            RealtimeError: The engine was closed.
        """
        with self._changed:
            if self._closed:
                raise RealtimeError("this engine is closed; make a new one, or use Engine.default()")
            self._sessions[session] = end
            self._sessions_begun += 1
            if self._threads is None:
                self._threads = _Threads(self._config)
            load, self._preload = self._preload, False
        if load:
            self._dial_pool.run(load_scipy)

    def release(self, session: object) -> None:
        """Count a session out; stops the threads after the last one."""
        with self._changed:
            self._sessions.pop(session, None)
            self._changed.notify_all()
            if self._sessions or self._threads is None:
                return
            self._last, self._threads = self._threads, None
            threads = self._last
        threads.stop()

    # -- Runtime ------------------------------------------------------------------------------------

    def now(self) -> float:
        """Monotonic time in seconds."""
        return time.monotonic()

    def schedule(self, strand: Strand) -> None:
        """Queue a strand for a worker."""
        threads = self._threads
        if threads is not None:
            threads.schedule(strand)

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` on the io thread in `delay` seconds."""
        threads = self._threads
        if threads is None:
            return Timer(callback)
        return threads.io[0].call_later(delay, callback)

    def run_user_code(self, work: Callable[[], None]) -> None:
        """Run a user's callback on a thread that may block."""
        self._user_pool.run(work)

    def run_tool(self, work: Callable[[], None]) -> None:
        """Run a tool on a thread that may block; waits its turn when all are busy."""
        self._tool_pool.run(work)

    def run_handshake(self, work: Callable[[], None]) -> None:
        """Run a handshake on a thread that may block."""
        self._dial_pool.run(work)

    def choose_io(self) -> IoLoop:
        """The io thread for the next connection.

        Raises:
            RealtimeError: No session is alive, so there is no io thread.
        """
        threads = self._threads
        if threads is None:
            raise RealtimeError("the engine is not running")
        return threads.io[next(self._connections) % len(threads.io)]


def _renew_lock() -> None:
    # After a fork: a thread that isn't in the child may have held it.
    Engine._default_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
