"""How commands that run until they are stopped learn of it."""

from __future__ import annotations

import signal
import threading
from types import FrameType


def stop_signal() -> threading.Event:
    """An event that Ctrl-C and SIGTERM set from now on."""
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    return stopped
