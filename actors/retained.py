"""Input audio that was sent and that a new server would have to hear again."""

from __future__ import annotations

from collections import deque
from typing import Any

import antiphon.protocol as p
from antiphon.actors.messages import AudioChunk
from antiphon.actors.undo import Undoable

# Speech is reported some time after it began: so much more than the padding is kept while nobody speaks.
DETECTION_MS = 1000.0


class RetainedAudio(Undoable):
    """What was sent on this connection and not yet committed by the server, oldest first.

    With turn detection off that is everything since the last commit that the server confirmed, with the
    commits that it has not confirmed in their places. With it on, it is what was said since the speech in
    progress began, or, while the server reports none, what came after the last turn and may still be the
    beginning of speech: what the server had no time to report, and all since it was last heard, as the
    connection may be dead since.

    Args:
        limit_ms: Milliseconds to hold at most.
    """

    def __init__(self, limit_ms: float) -> None:
        self._limit_ms = limit_ms
        # Each chunk with the place of its end on the server's clock of input audio, commits as None.
        self._entries: deque[tuple[AudioChunk | None, float]] = deque()
        self._held_ms = 0.0
        # What the limit has cost of the audio that a new server would have to hear.
        self._lost_ms = 0.0
        self._clock_ms = 0.0
        self._speech_start_ms: float | None = None
        # Where the turn ends that the server is about to commit, and up to where all is committed.
        self._turn_end_ms: float | None = None
        self._settled_ms = 0.0
        # Where the clock stood when the server was last heard.
        self._heard_ms = 0.0
        self._idle_ms: float | None = None
        # Handed over for a replay and not written yet: a drop in the middle of it must not cost them.
        self._replaying: deque[Any] = deque()

    @property
    def held_ms(self) -> float:
        """Milliseconds of audio held."""
        return self._held_ms

    def detect_turns(self, prefix_padding_ms: float | None) -> None:
        """The server detects turns, with so much padding; None: it doesn't."""
        self._idle_ms = None if prefix_padding_ms is None else prefix_padding_ms + DETECTION_MS
        if self._idle_ms is None:
            self._speech_start_ms = None
        self._trim()

    def server_heard(self) -> None:
        """The connection lives: what the server would have reported by now was no speech."""
        self._heard_ms = self._clock_ms
        if self._is_silent:
            self._lost_ms = 0.0
        self._trim()

    def written(self, chunk: AudioChunk) -> None:
        """A chunk was sent."""
        self._entries.append((chunk, self._clock_ms + chunk.ms))
        self._clock_ms += chunk.ms
        self._held_ms += chunk.ms
        if self._replaying and self._replaying[0] is chunk:
            self._replaying.popleft()
        self._trim()

    def commit_written(self) -> None:
        """A commit was sent."""
        if self._replaying and not isinstance(self._replaying[0], AudioChunk):
            self._replaying.popleft()
        self._entries.append((None, self._clock_ms))

    def clear_written(self) -> None:
        """A clear was sent: what the server would have cleared is forgotten."""
        while self._entries and self._entries[-1][0] is not None:
            self._drop(self._entries.pop())
        self._speech_start_ms = None
        self._lost_ms = 0.0

    def speech_started(self, audio_start_ms: float) -> None:
        """The server heard speech, from here on (its padding is counted in)."""
        self._speech_start_ms = audio_start_ms

    def speech_stopped(self, audio_end_ms: float) -> None:
        """The server heard the end of speech: what comes after it is not part of the turn."""
        self._turn_end_ms = audio_end_ms

    def committed(self) -> None:
        """The server committed: by our commit if one is open, else by its own turn detection."""
        self._settled_ms = self._clock_ms if self._turn_end_ms is None else self._turn_end_ms
        if any(chunk is None for chunk, _ in self._entries):
            entry = self._entries.popleft()
            while self._drop(entry):
                entry = self._entries.popleft()
            self._settled_ms = entry[1]
        self._turn_end_ms = None
        self._speech_start_ms = None
        self._lost_ms = 0.0
        self._trim()

    def connection_lost(self) -> None:
        """What a replay did not get to is to be said at the next one, after what it did."""
        for entry in self._replaying:
            if isinstance(entry, AudioChunk):
                self._clock_ms += entry.ms
                self._held_ms += entry.ms
                self._entries.append((entry, self._clock_ms))
            else:
                self._entries.append((None, self._clock_ms))
        self._replaying.clear()

    def take_for_replay(self) -> list[Any]:
        """What a new connection has to hear, in order; its clock starts afresh.

        The chunks are counted again as they are written to the new connection.
        """
        entries: list[Any] = []
        for chunk, end_ms in self._entries:
            if chunk is not None:
                if self._is_wanted(end_ms):
                    entries.append(chunk)
            elif entries and isinstance(entries[-1], AudioChunk):
                # Without its audio, a commit would be one of nothing.
                entries.append(p.InputAudioBufferCommit())
        self._entries.clear()
        self._held_ms = self._clock_ms = 0.0
        if self._speech_start_ms is not None:
            # The new server hears the speech from its first sample on, before it says so.
            self._speech_start_ms = 0.0
        self._turn_end_ms, self._settled_ms, self._heard_ms = None, 0.0, 0.0
        self._replaying = deque(entries)
        return entries

    def take_lost_ms(self) -> float:
        """Milliseconds of uncommitted audio that were beyond the limit; they count once."""
        lost, self._lost_ms = self._lost_ms, 0.0
        return lost

    def _is_wanted(self, end_ms: float) -> bool:
        if self._idle_ms is None:
            return True
        return end_ms > (self._settled_ms if self._speech_start_ms is None else self._speech_start_ms)

    @property
    def _is_silent(self) -> bool:
        """Whether the server detects turns and reports no speech."""
        return self._idle_ms is not None and self._speech_start_ms is None

    def _trim(self) -> None:
        limit = self._limit_ms
        if self._idle_ms is not None and self._is_silent:
            limit = min(limit, self._idle_ms + self._clock_ms - self._heard_ms)
        while self._held_ms > limit and self._entries:
            chunk, end_ms = entry = self._entries.popleft()
            if chunk is not None and limit == self._limit_ms and self._is_wanted(end_ms):
                self._lost_ms += chunk.ms
            self._drop(entry)

    def _drop(self, entry: tuple[AudioChunk | None, float]) -> bool:
        """Count an entry out; False for a commit."""
        if entry[0] is None:
            return False
        self._held_ms -= entry[0].ms
        return True
