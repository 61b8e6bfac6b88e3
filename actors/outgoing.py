"""The one queue through which everything of a session leaves, in the order in which the calls were made."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

import pybase64

from antiphon.actors.config import Dialect
from antiphon.actors.messages import AudioChunk
from antiphon.actors.undo import Undoable
from antiphon.protocol import (
    ClientEvent,
    ResponseCreate,
    encode_client_event,
)

Entry = AudioChunk | ClientEvent | dict[str, Any]

# The JSON around the audio never changes, and base64 needs no escaping: no encoder has to look at it.
_APPEND_HEAD = b'{"type":"input_audio_buffer.append","audio":"'
_APPEND_TAIL = b'"}'


def encode_entry(entry: Entry, dialect: Dialect) -> bytes:
    """The frame's text for an entry of the queue: an event struct, a dict, or an `AudioChunk`."""
    if isinstance(entry, AudioChunk):
        return b"".join((_APPEND_HEAD, pybase64.b64encode(entry.data), _APPEND_TAIL))
    return encode_client_event(entry, dialect)


class OutgoingQueue(Undoable):
    """Frames waiting for the socket: a replay in front, then everything else in call order.

    Audio that can't be sent is a ring: beyond `audio_limit_ms` the oldest audio is dropped, and counted.

    Args:
        audio_limit_ms: Milliseconds of audio to hold.
    """

    def __init__(self, audio_limit_ms: float) -> None:
        self._audio_limit_ms = audio_limit_ms
        self._replay: deque[Entry] = deque()
        self._waiting: deque[Entry] = deque()
        # The frame of which the socket took only a part, and whether it belongs to the replay.
        self._partial: tuple[Entry, bool] | None = None
        self._audio_ms = 0.0

    def __len__(self) -> int:
        return len(self._replay) + len(self._waiting) + (self._partial is not None)

    @property
    def audio_ms(self) -> float:
        """Milliseconds of audio that wait."""
        return self._audio_ms

    def push(self, entry: Entry) -> None:
        """Append an entry; what the socket doesn't take has to fit in: see `drop_excess`."""
        self._waiting.append(entry)
        if isinstance(entry, AudioChunk):
            self._audio_ms += entry.ms

    def drop_excess(self) -> float:
        """Drop the oldest audio beyond the limit.

        Returns:
            Milliseconds of it.
        """
        dropped = 0.0
        while self._audio_ms > self._audio_limit_ms:
            index, ms = next(
                (index, entry.ms)
                for index, entry in enumerate(self._waiting)
                if isinstance(entry, AudioChunk)
            )
            del self._waiting[index]
            self._audio_ms -= ms
            dropped += ms
        return dropped

    def begin_replay(self, entries: Iterable[Entry]) -> None:
        """Put these in front of everything that waits."""
        self._replay.extend(entries)

    def next(self) -> Entry | None:
        """Take the next entry to write; None when there is none or the socket is still busy with one."""
        if self._partial is not None:
            return None
        if self._replay:
            return self._replay.popleft()
        if not self._waiting:
            return None
        entry = self._waiting.popleft()
        if isinstance(entry, AudioChunk):
            self._audio_ms -= entry.ms
        return entry

    def withdraw(self, event_id: str) -> bool:
        """Take a response.create out again; False when it has been written, or begun to be."""
        for entry in self._waiting:
            if isinstance(entry, ResponseCreate) and entry.event_id == event_id:
                self._waiting.remove(entry)
                return True
        return False

    def hold(self, entry: Entry, replayed: bool) -> None:
        """The socket took only a part of this entry; nothing follows until `drained`."""
        self._partial = (entry, replayed)

    @property
    def held(self) -> bool:
        """Whether the socket is still busy with an entry."""
        return self._partial is not None

    @property
    def replaying(self) -> bool:
        """Whether the next entry belongs to the replay."""
        return bool(self._replay)

    def drained(self) -> Entry | None:
        """The socket has taken the rest: the entry that is now written."""
        held, self._partial = self._partial, None
        return None if held is None else held[0]

    def connection_lost(self) -> None:
        """Forget the replay, and keep for the next connection what was written only in part.

        Who ordered the replay knows what of it was not written, and orders another.
        """
        self._replay.clear()
        held, self._partial = self._partial, None
        if held is not None and not held[1]:
            entry = held[0]
            self._waiting.appendleft(entry)
            if isinstance(entry, AudioChunk):
                self._audio_ms += entry.ms

    def clear(self) -> None:
        """Forget everything."""
        self._replay.clear()
        self._waiting.clear()
        self._partial = None
        self._audio_ms = 0.0
