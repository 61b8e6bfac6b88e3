"""Threads for work that may block: users' callbacks and tools, handshakes, name look-ups."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from antiphon.actors.logs import get_logger

logger = get_logger("antiphon.pool")

# An idle thread ends after this long, so that nothing is left behind when the last session ends.
IDLE_SECONDS = 0.5


class BlockingPool:
    """A pool that grows on demand and shrinks to nothing.

    Thread-safe. Work that raises is logged and costs only itself, `SystemExit` included.

    Args:
        name: Prefix of the threads' names.
        limit: Most threads at once; work beyond that waits its turn.
    """

    def __init__(self, name: str, limit: int = 64) -> None:
        self._name = name
        self._limit = limit
        self._work: deque[Callable[[], None]] = deque()
        self._idle = 0
        self._threads: set[threading.Thread] = set()
        self._made = 0
        lock = threading.Lock()
        # Two, so that who waits for the end doesn't take the wake-up of who waits for work.
        self._has_work = threading.Condition(lock)
        self._has_ended = threading.Condition(lock)

    @property
    def threads(self) -> int:
        """How many threads there are."""
        return len(self._threads)

    @property
    def waiting(self) -> int:
        """How much work waits for a thread."""
        return len(self._work)

    def run(self, work: Callable[[], None]) -> None:
        """Run `work` on a thread of the pool; returns at once.

        Raises:
            RuntimeError: The system has no more threads, and the pool has none; `work` will not run.
        """
        with self._has_work:
            self._work.append(work)
            if self._idle >= len(self._work) or len(self._threads) >= self._limit:
                self._has_work.notify()
                return
            self._made += 1
            thread = threading.Thread(target=self._serve, name=f"{self._name}-{self._made}", daemon=True)
            self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:
            if not self._can_do_without(thread, work):
                raise

    def _can_do_without(self, thread: threading.Thread, work: Callable[[], None]) -> bool:
        """A thread could not be started: leave the work to those that live, or take it back."""
        with self._has_work:
            self._threads.discard(thread)
            self._has_ended.notify_all()
            if self._threads or work not in self._work:
                logger.warning("no more threads can be started; %d do the work", len(self._threads))
                return True
            self._work.remove(work)
            return False

    def join(self, timeout: float) -> bool:
        """Wait until no thread of the pool is left; False when some are still busy after `timeout` s."""
        with self._has_ended:
            return self._has_ended.wait_for(lambda: not self._threads, timeout)

    def _serve(self) -> None:
        while True:
            with self._has_work:
                if not self._work:
                    self._idle += 1
                    self._has_work.wait_for(lambda: bool(self._work), IDLE_SECONDS)
                    self._idle -= 1
                if not self._work:
                    self._threads.discard(threading.current_thread())
                    self._has_ended.notify_all()
                    return
                work = self._work.popleft()
            try:
                work()
            except BaseException:
                # A user's SystemExit or KeyboardInterrupt must end neither the pool nor the process.
                logger.exception("work on thread %s raised", threading.current_thread().name)
            del work
