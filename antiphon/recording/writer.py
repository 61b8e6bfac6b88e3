"""The thread that writes all recordings of the process."""

from __future__ import annotations

import atexit
import os
import threading
from typing import Protocol

# How long a note may wait before it is written, at most; what a killed process loses. Recorded sessions are never
# idle, so writing by the clock costs less than waking the thread for every note.
INTERVAL = 0.2
# What a slow disk may hold up the end of the process.
FINISH_SECONDS = 2.0


class Recording(Protocol):
    """What the thread writes."""

    def write(self) -> bool:
        """Write what has been noted. Returns whether there is more to come. Must not raise."""


class Writer:
    """Lends one thread, "antiphon-recording", to all recordings; it lives while there are any. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recordings: list[Recording] = []
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._finishing = False

    def add(self, recording: Recording) -> None:
        """Write this recording every `INTERVAL` seconds until it says that it is done."""
        with self._lock:
            self._recordings.append(recording)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="antiphon-recording", daemon=True)
                self._thread.start()

    def wake(self) -> None:
        """Write now: a recording has come to its end."""
        self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.wait(INTERVAL)
            self._wake.clear()
            self._write_all()
            with self._lock:
                if self._finishing or not self._recordings:
                    self._thread = None
                    return

    def _write_all(self) -> None:
        for recording in list(self._recordings):
            if not recording.write():
                with self._lock:
                    self._recordings.remove(recording)

    def finish(self) -> None:
        """The process ends: write what was noted last, and end the thread."""
        self._finishing = True
        thread = self._thread
        if thread is not None:
            self.wake()
            thread.join(FINISH_SECONDS)


_writer = Writer()


def shared_writer() -> Writer:
    """The writer of this process."""
    return _writer


def _forget() -> None:
    # After a fork the child has the parent's recordings but not the thread, and must not write into its files.
    global _writer
    _writer = Writer()


atexit.register(lambda: _writer.finish())
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
