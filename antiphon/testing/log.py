"""A record of everything that a server received and sent, for tests to look at and wait for."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import msgspec

Direction: TypeAlias = Literal["received", "sent"]


@dataclass(frozen=True, slots=True)
class Record:
    """One frame.

    Attributes:
        at: When, by `time.monotonic()`.
        connection: The connection's index, from 0, in the order in which they were opened.
        direction: "received" (from the client) or "sent" (to it).
        type: The event's type as it was on the wire; "" if the frame is no event.
        frame: The frame, audio included.
    """

    at: float
    connection: int
    direction: Direction
    type: str
    frame: bytes = field(repr=False)

    @property
    def event(self) -> dict[str, Any]:
        """The event, decoded."""
        decoded: dict[str, Any] = msgspec.json.decode(self.frame)
        return decoded


class _Head(msgspec.Struct):
    type: str = ""


_HEAD = msgspec.json.Decoder(_Head)


def frame_type(frame: bytes) -> str:
    """The type of the event in a frame, "" if it is none."""
    try:
        return _HEAD.decode(frame).type
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return ""


class EventLog:
    """Keeps the frames of all connections in order. Any thread may use it.

    Args:
        limit: How many frames are kept; `None` for all.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._changed = threading.Condition()
        self._records: deque[Record] = deque(maxlen=limit)
        self._total = 0

    def add(self, connection: int, direction: Direction, kind: str, frame: bytes) -> None:
        """Note a frame."""
        record = Record(time.monotonic(), connection, direction, kind, frame)
        with self._changed:
            self._records.append(record)
            self._total += 1
            self._changed.notify_all()

    def all(self) -> list[Record]:
        """Every frame that is kept, oldest first."""
        with self._changed:
            return list(self._records)

    def received(self, kind: str | None = None, connection: int | None = None) -> list[Record]:
        """The frames received: of this type, on this connection, or all."""
        return self._select("received", kind, connection)

    def sent(self, kind: str | None = None, connection: int | None = None) -> list[Record]:
        """The frames sent: of this type, on this connection, or all."""
        return self._select("sent", kind, connection)

    def wait_for(self, predicate: Callable[[Record], bool], timeout: float = 5.0) -> Record:
        """Wait for a frame, and return the first that the predicate accepts; one that is there already counts.

        Args:
            predicate: Called with each frame once. It must not use the log.
            timeout: Seconds.

        Raises:
            TimeoutError: None came in time; the message lists the types of what came.
        """
        deadline = time.monotonic() + timeout
        seen = 0
        with self._changed:
            while True:
                fresh = min(self._total - seen, len(self._records))
                for index in range(len(self._records) - fresh, len(self._records)):
                    if predicate(self._records[index]):
                        return self._records[index]
                seen = self._total
                left = deadline - time.monotonic()
                if left <= 0:
                    came = ", ".join(f"{one.direction} {one.type}" for one in list(self._records)[-20:])
                    raise TimeoutError(f"no such frame within {timeout:g} s; the last ones: {came or 'none'}")
                self._changed.wait(left)

    def wait_received(self, kind: str, timeout: float = 5.0, *, connection: int | None = None) -> Record:
        """Wait for a frame of this type from the client."""
        return self.wait_for(_wanted("received", kind, connection), timeout)

    def wait_sent(self, kind: str, timeout: float = 5.0, *, connection: int | None = None) -> Record:
        """Wait for a frame of this type to the client."""
        return self.wait_for(_wanted("sent", kind, connection), timeout)

    def _select(self, direction: Direction, kind: str | None, connection: int | None) -> list[Record]:
        wanted = _wanted(direction, kind, connection)
        return [record for record in self.all() if wanted(record)]


def _wanted(direction: Direction, kind: str | None, connection: int | None) -> Callable[[Record], bool]:
    return lambda record: (
        record.direction == direction
        and kind in (None, record.type)
        and connection in (None, record.connection)
    )
