"""What browsers are shown: kept for those who come later, and sent to those who watch, by server-sent events."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from typing import Any

WAITING = 500  # messages for one viewer; who is slower comes back, and gets what there is by then


class Board:
    """Facts by kind and key. Thread-safe; whoever publishes never waits for those who watch."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._facts: dict[tuple[str, str], dict[str, Any]] = {}
        self._viewers: set[queue.Queue[str]] = set()

    def publish(self, kind: str, key: str = "", **facts: Any) -> None:
        """Show something, or more of what has the same kind and key."""
        with self._lock:
            whole = self._facts.setdefault((kind, key), {"kind": kind, "key": key})
            whole.update(facts)
            for viewer in tuple(self._viewers):
                try:
                    viewer.put_nowait(_message(whole))
                except queue.Full:
                    self._viewers.discard(viewer)

    def clear(self) -> None:
        """Begin anew, with the fact "clear"."""
        with self._lock:
            self._facts.clear()
        self.publish("clear")

    def watch(self) -> Iterator[str]:
        """All that there is so far and then what comes, as the body of a text/event-stream."""
        viewer: queue.Queue[str] = queue.Queue(WAITING)
        with self._lock:
            self._viewers.add(viewer)
            so_far = [_message(facts) for facts in self._facts.values()]
        try:
            yield from so_far
            while viewer in self._viewers:
                try:
                    yield viewer.get(timeout=5.0)
                except queue.Empty:
                    yield ":\n\n"  # shows whether anybody is still there
        finally:
            with self._lock:
                self._viewers.discard(viewer)


def _message(facts: dict[str, Any]) -> str:
    return f"data: {json.dumps(facts)}\n\n"
