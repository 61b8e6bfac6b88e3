"""Threads for work that may block: users' callbacks and tools, handshakes, name look-ups."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

logger = logging.getLogger("antiphon.pool")

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
        self._changed = threading.Condition()

    def run(self, work: Callable[[], None]) -> None:
        """Run `work` on a thread of the pool; returns at once."""
        with self._changed:
            self._work.append(work)
            if self._idle >= len(self._work) or len(self._threads) >= self._limit:
                self._changed.notify()
                return
            self._made += 1
            thread = threading.Thread(target=self._serve, name=f"{self._name}-{self._made}", daemon=True)
            self._threads.add(thread)
        thread.start()

    def join(self, timeout: float) -> bool:
        """Wait until no thread of the pool is left; False when some are still busy after `timeout` s."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._threads, timeout)

    def _serve(self) -> None:
        while True:
            with self._changed:
                if not self._work:
                    self._idle += 1
                    self._changed.wait_for(lambda: bool(self._work), IDLE_SECONDS)
                    self._idle -= 1
                if not self._work:
                    self._threads.discard(threading.current_thread())
                    self._changed.notify_all()
                    return
                work = self._work.popleft()
            try:
                work()
            except BaseException:
                # A user's SystemExit or KeyboardInterrupt must end neither the pool nor the process.
                logger.exception("work on thread %s raised", threading.current_thread().name)
            del work
