"""The playback ledger: what was queued to be heard, and what was heard.

The application's audio callback takes samples out with `read`; the engine puts them in and, when the user
talks over the model, cuts. The two sides never wait for each other: they share a track, whose every field has
one writer, and a cut puts a new track in its place.
"""

from __future__ import annotations

import threading
from collections import deque
from itertools import islice
from typing import Protocol

import msgspec
import numpy as np

from antiphon.actors.audio import Int16Array, Resampler
from antiphon.actors.runtime import forbid_blocking

# At a cut the sound fades out over this long, so that it doesn't click.
FADE_MS = 5.0
# `played_ms` answers for so many items; older ones are forgotten.
HISTORY = 1000


class Cut(msgspec.Struct, frozen=True):
    """How far an item was heard when playback was cut.

    Attributes:
        item_id: The item.
        heard_ms: Milliseconds of it that the player had taken.
    """

    item_id: str
    heard_ms: int


class _Item:
    """How much there is of an item, and how much of it was heard."""

    __slots__ = ("beside", "finished", "id", "marked_ms", "queued_ms", "resampler", "taken")

    def __init__(self, item_id: str) -> None:
        self.id = item_id
        # Written by the engine only.
        self.queued_ms = 0.0
        self.finished = False
        self.beside = False
        self.resampler: Resampler | None = None
        # Samples in the player's rate; written by the reader only.
        self.taken = 0
        # Written by the application of a remote player only.
        self.marked_ms = 0.0


class _Track:
    """What is queued from one cut to the next, in samples of the player's rate."""

    __slots__ = ("queue", "queued", "taken")

    def __init__(self) -> None:
        self.queue: deque[_Segment] = deque()
        self.queued = 0  # written by the engine only
        self.taken = 0  # written by the reader only


class PlaybackTap(Protocol):
    """Hears what is heard, on the player's thread and the engine's, so it must return at once."""

    def heard(self, item_id: str, start_ms: float, end_ms: float) -> None:
        """The player has taken this stretch of an item."""

    def marked(self, item_id: str, start_ms: float, end_ms: float) -> None:
        """A remote player has said that it played this stretch of an item."""

    def cut(self, item_id: str, heard_ms: int) -> None:
        """Playback of an item was cut."""


class _Segment:
    """Samples of one item."""

    __slots__ = ("item", "samples", "track")

    def __init__(self, item: _Item, track: _Track, samples: Int16Array) -> None:
        self.item = item
        self.track = track
        self.samples = samples


class Playback:
    """What the model says, on its way to a loudspeaker or a remote player.

    `read` and `read_into` are made for an audio callback: they take no lock and fill with silence. Use them
    from one thread at a time; everything else is thread-safe. An application whose player is elsewhere, on a phone
    for instance, calls `use_remote_player`, takes the audio from the messages' `audio_stream`, and says with
    `mark_played` what was heard.

    Args:
        wire_rate: Samples per second of the model's audio.
    """

    def __init__(self, wire_rate: int) -> None:
        self._wire_rate = wire_rate
        self._rate = wire_rate
        # Of a recording, while one is made.
        self.tap: PlaybackTap | None = None
        self._channels = 1
        self._touched = False
        self._marked = False
        # All items that are remembered, oldest first; those that a cut would be about.
        self._items: dict[str, _Item] = {}
        self._open: dict[str, _Item] = {}
        # Written by the engine only.
        self._track = _Track()
        self._unfinished = 0
        # Written by the reader only.
        self._reading = self._track
        self._current: _Segment | None = None
        self._offset = 0
        self._underruns = 0
        self._has_read = False
        self._sounding = False  # whether the last block ended with sound
        # A lock for each waiting thread, held until there is nothing left to wait for. Letting go of a lock
        # never waits, as an Event's set() may.
        self._waiters: deque[threading.Lock] = deque()

    # -- the application's side ------------------------------------------------------------------------

    def configure(self, sample_rate: int, num_channels: int = 1) -> None:
        """Set the player's format; call it before the first response. Mono at the wire's rate until then.

        Args:
            sample_rate: The device's rate in Hz; the model's audio is resampled to it.
            num_channels: 1 to 8; all channels carry the same sound.

        Raises:
            ValueError: The rate can't be converted, or the channel count is out of range.
        """
        if not 1 <= num_channels <= 8:
            raise ValueError(f"num_channels must be from 1 to 8, not {num_channels}")
        if sample_rate != self._wire_rate:
            # Designs the filter, which takes its time: here and not on an engine thread.
            Resampler(self._wire_rate, sample_rate)
        self._touched = True
        self._channels = num_channels
        self._rate = sample_rate

    def use_remote_player(self) -> None:
        """Declare that the sound is played elsewhere and nothing will be read here; call it before the first response.

        The messages' `audio_stream` then brings all audio up to a cut, and none that comes after it.
        """
        self._touched = self._marked = True

    @property
    def sample_rate(self) -> int:
        """The player's rate in Hz."""
        return self._rate

    @property
    def num_channels(self) -> int:
        """The player's channels."""
        return self._channels

    @property
    def underruns(self) -> int:
        """How many blocks had to be filled with silence in the middle of an item."""
        return self._underruns

    @property
    def queued_ms(self) -> float:
        """Milliseconds of audio that wait to be read."""
        track = self._track
        return (track.queued - track.taken) * 1000 / self._rate

    def read(self, n_samples: int) -> Int16Array:
        """Take the next samples; silence where there are none.

        Args:
            n_samples: How many per channel, 0 or more.

        Returns:
            int16, shape (n_samples,) for one channel, else (n_samples, channels).

        Raises:
            ValueError: A negative number.
        """
        if n_samples < 0:
            raise ValueError(f"n_samples must be 0 or more, not {n_samples}")
        shape = (n_samples,) if self._channels == 1 else (n_samples, self._channels)
        block = np.zeros(shape, np.int16)
        self._fill(block)
        return block

    def read_into(self, block: Int16Array) -> int:
        """Fill a block with the next samples, and with silence where there are none.

        Args:
            block: int16, writable, shape (samples, channels), or for one channel (samples,).

        Returns:
            How many samples per channel were sound.

        Raises:
            ValueError: The block is not as described; nothing was taken.
        """
        if not isinstance(block, np.ndarray) or block.dtype != np.int16:
            kind = block.dtype if isinstance(block, np.ndarray) else type(block).__name__
            raise ValueError(
                f"block must be an int16 numpy array, not {kind}; np.frombuffer(buffer, np.int16) wraps a buffer"
            )
        channels = self._channels
        if block.shape[1:] != (channels,) and (block.ndim != 1 or channels != 1):
            wanted = f"(samples, {channels})" + (" or (samples,)" if channels == 1 else "")
            raise ValueError(
                f"block has the shape {block.shape}; for {channels} channels it must be {wanted}; "
                "configure(sample_rate, num_channels) sets the channels"
            )
        if not block.flags.writeable:
            raise ValueError("block is read-only; give an array that can be written to")
        return self._fill(block)

    def mark_played(self, item_id: str, ms: float) -> None:
        """Say how far a remote player has played an item; what was said before is never taken back.

        Args:
            item_id: The item.
            ms: Milliseconds from its beginning.
        """
        self._touched = self._marked = True
        item = self._items.setdefault(item_id, _Item(item_id))
        before, item.marked_ms = item.marked_ms, max(ms, item.marked_ms)
        tap = self.tap
        if tap is not None and item.marked_ms > before:
            tap.marked(item_id, before, item.marked_ms)
        self._wake_if_drained()

    def played_ms(self, item_id: str) -> float:
        """How far an item has been heard, in milliseconds; 0 for one that is not known."""
        item = self._items.get(item_id)
        return 0.0 if item is None else self._heard_ms(item)

    def wait_drained(self, timeout: float) -> bool:
        """Wait until everything that was queued has been read, or marked as played by a remote player.

        Args:
            timeout: Seconds.

        Returns:
            False when something was left after that time.

        Raises:
            RealtimeError: Called on an engine thread.
        """
        if self._is_drained():
            return True
        forbid_blocking("wait_drained")
        waiter = threading.Lock()
        waiter.acquire()
        self._waiters.append(waiter)
        # It may have happened before the reader could know of this waiter.
        self._wake_if_drained()
        if waiter.acquire(timeout=min(max(timeout, 0.0), threading.TIMEOUT_MAX)):
            return True
        try:
            self._waiters.remove(waiter)
        except ValueError:
            return True  # woken at the last moment
        return False

    # -- the engine's side -------------------------------------------------------------------------------

    @property
    def attached(self) -> bool:
        """Whether the application plays through the ledger."""
        return self._touched

    @property
    def remote(self) -> bool:
        """Whether the sound is played elsewhere."""
        return self._marked and not self._has_read

    def attach(self) -> None:
        """The application has asked for the ledger."""
        self._touched = True

    def write(self, item_id: str, samples: Int16Array, beside: bool = False) -> None:
        """Queue audio of an item.

        Args:
            item_id: The item.
            samples: int16, 1-D, at the wire's rate.
            beside: Whether the item is in no conversation, so that a cut is nothing to tell anyone of.
        """
        item = self._open.get(item_id)
        if item is None:
            item = self._begin(item_id, beside)
        item.queued_ms += len(samples) * 1000 / self._wire_rate
        self._append(item, samples if item.resampler is None else item.resampler.push(samples))

    def finish(self, item_id: str) -> None:
        """No more audio of this item will come."""
        item = self._open.get(item_id)
        if item is None or item.finished:
            return
        item.finished = True
        self._unfinished -= 1
        if item.resampler is not None:
            self._append(item, item.resampler.flush())
        self._wake_if_drained()

    def cut(self) -> list[Cut]:
        """Drop what waits; returns how far each item of the conversation that was not heard to its end was heard.

        What `read` hands out while this runs may be counted late: by one block at most.
        """
        self._track = _Track()
        self._unfinished = 0
        cuts = [
            Cut(item_id, int(min(self._heard_ms(item), item.queued_ms)))
            for item_id, item in self._open.items()
            if not item.beside and not self._is_heard(item)
        ]
        self._open.clear()
        self._wake_if_drained()
        tap = self.tap
        if tap is not None:
            for cut in cuts:
                tap.cut(cut.item_id, cut.heard_ms)
        return cuts

    def _begin(self, item_id: str, beside: bool) -> _Item:
        for old_id, old in list(self._open.items()):
            if self._is_heard(old):
                del self._open[old_id]
        for old_id in list(self._items)[:-HISTORY]:
            if old_id not in self._open:
                self._items.pop(old_id, None)
        item = self._open[item_id] = self._items.setdefault(item_id, _Item(item_id))
        item.beside, item.finished = beside, False
        if self._rate != self._wire_rate:
            item.resampler = Resampler(self._wire_rate, self._rate)
        self._unfinished += 1
        return item

    def _append(self, item: _Item, samples: Int16Array) -> None:
        track = self._track
        if self.remote:
            # Nobody is going to read it, nor what came before the first mark.
            if track.queued:
                self._track = _Track()
        elif len(samples):
            # First, so that nobody sees it taken before it is there.
            track.queued += len(samples)
            track.queue.append(_Segment(item, track, samples))

    def _heard_ms(self, item: _Item) -> float:
        return max(item.taken * 1000 / self._rate, item.marked_ms)

    def _is_heard(self, item: _Item) -> bool:
        # The resampler may round a sample away.
        return item.finished and self._heard_ms(item) >= item.queued_ms - 1

    def _is_drained(self) -> bool:
        if self.remote:
            return all(map(self._is_heard, tuple(self._open.values())))
        track = self._track
        return track.taken >= track.queued

    def _wake_if_drained(self) -> None:
        if not self._waiters or not self._is_drained():
            return
        while self._waiters:
            try:
                self._waiters.popleft().release()
            except IndexError:
                return  # another thread was faster

    # -- the reader's side ---------------------------------------------------------------------------------

    def _fill(self, block: Int16Array) -> int:
        self._has_read = True
        track = self._track
        if track is not self._reading:
            self._fade_out()
            self._reading = track
        filled = 0
        wanted = len(block)
        while filled < wanted:
            segment = self._current
            if segment is None:
                try:
                    segment = track.queue.popleft()
                except IndexError:
                    break
                self._current, self._offset = segment, 0
            count = min(wanted - filled, len(segment.samples) - self._offset)
            samples = segment.samples[self._offset : self._offset + count]
            block[filled : filled + count] = samples if block.ndim == 1 else samples[:, None]
            filled += count
            self._offset += count
            tap, item = self.tap, segment.item
            if tap is not None and item.id:  # the soft end after a cut belongs to no item
                tap.heard(item.id, item.taken * 1000 / self._rate, (item.taken + count) * 1000 / self._rate)
            segment.item.taken += count
            segment.track.taken += count
            if self._offset >= len(segment.samples):
                self._current = None
        self._sounding = filled == wanted if wanted else self._sounding
        if filled < wanted:
            block[filled:] = 0
            if self._unfinished > 0:
                self._underruns += 1
        self._wake_if_drained()
        return filled

    def _fade_out(self) -> None:
        """After a cut: what was going to be heard next ends softly, and counts as heard by nobody."""
        pieces = [] if self._current is None else [self._current.samples[self._offset :]]
        pieces += [segment.samples for segment in islice(self._reading.queue, 2)]
        self._current = None
        if pieces and self._sounding:
            length = int(self._rate * FADE_MS / 1000)
            tail = np.concatenate(pieces)[:length]
            ramp = np.linspace(1.0, 0.0, len(tail), dtype=np.float32)
            self._current, self._offset = _Segment(_Item(""), _Track(), (tail * ramp).astype(np.int16)), 0
