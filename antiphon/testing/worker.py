"""The thread on which a connection's brain works, so that the reading thread never waits for it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

JOIN_TIMEOUT = 1.0


class Worker:
    """Runs jobs one after the other on a thread of its own, which starts with the first job.

    Args:
        name: The thread's name.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stopped = False

    def submit(self, job: Callable[[], None]) -> None:
        """Run a job after those that were submitted before. Call from one thread at a time."""
        if self._stopped:
            return
        self._jobs.put(job)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Finish the job that runs, drop the others, and end the thread."""
        self._stopped = True
        self._jobs.put(None)
        if self._thread is not None:
            self._thread.join(JOIN_TIMEOUT)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None and not self._stopped:
            job()
