"""The playback ledger: what was queued to be heard, and what was heard.

The application's audio callback takes samples out with `read`; the engine puts them in and, when the user
talks over the model, cuts. The two sides share a deque and a few counters and never wait for each other:
each counter has one writer, and taking or adding a segment is one operation of the interpreter.
"""

from __future__ import annotations

import threading
from collections import deque

import msgspec
import numpy as np

from antiphon.actors.audio import Int16Array, Resampler, check_rates
from antiphon.actors.runtime import forbid_blocking

# At a cut the sound fades out over this long, so that it doesn't click.
FADE_MS = 5.0


class Cut(msgspec.Struct, frozen=True):
    """How far an item was heard when playback was cut.

    Attributes:
        item_id: The item.
        heard_ms: Milliseconds of it that the player had taken.
    """

    item_id: str
    heard_ms: int


class _Segment:
    """Samples of one item, in the player's rate."""

    __slots__ = ("item_id", "samples")

    def __init__(self, item_id: str, samples: Int16Array) -> None:
        self.item_id = item_id
        self.samples = samples


class _Item:
    """What the engine has queued of an item, in milliseconds, and whether more will come."""

    __slots__ = ("finished", "queued_ms")

    def __init__(self) -> None:
        self.queued_ms = 0.0
        self.finished = False


class Playback:
    """What the model says, on its way to a loudspeaker or a remote player.

    `read` and `read_into` are made for an audio callback: they never block and fill with silence. Use them
    from one thread at a time; everything else is thread-safe.

    Args:
        wire_rate: Samples per second of the model's audio.
    """

    def __init__(self, wire_rate: int) -> None:
        self._wire_rate = wire_rate
        self._rate = wire_rate
        self._channels = 1
        self._resampler: Resampler | None = None
        self._queue: deque[_Segment] = deque()
        self._touched = False
        # Written by the reader only.
        self._current: _Segment | None = None
        self._offset = 0
        self._played: dict[str, int] = {}
        self._underruns = 0
        # Written by the engine only.
        self._items: dict[str, _Item] = {}
        self._marked: dict[str, float] = {}
        self._epoch = 0
        self._seen_epoch = 0
        self._drained = threading.Event()
        self._drained.set()

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
            check_rates(self._wire_rate, sample_rate)
        self._touched = True
        self._channels = num_channels
        self._rate = sample_rate
        self._resampler = None if sample_rate == self._wire_rate else Resampler(self._wire_rate, sample_rate)

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
        """How often `read` had to fill with silence in the middle of an item."""
        return self._underruns

    @property
    def queued_ms(self) -> float:
        """Milliseconds of audio that wait to be read."""
        waiting = sum(len(segment.samples) for segment in tuple(self._queue))
        current = self._current
        if current is not None:
            waiting += len(current.samples) - self._offset
        return waiting * 1000 / self._rate

    def read(self, n_samples: int) -> Int16Array:
        """Take the next samples; silence where there are none.

        Args:
            n_samples: How many per channel.

        Returns:
            int16, shape (n_samples,) for one channel, else (n_samples, channels).
        """
        shape = (n_samples,) if self._channels == 1 else (n_samples, self._channels)
        block = np.zeros(shape, np.int16)
        self.read_into(block)
        return block

    def read_into(self, block: Int16Array) -> int:
        """Fill a block with the next samples, and with silence where there are none.

        Args:
            block: int16, shape (samples,) or (samples, channels).

        Returns:
            How many samples per channel were sound.
        """
        filled = 0
        wanted = len(block)
        if self._seen_epoch != self._epoch:
            self._seen_epoch = self._epoch
            filled = self._fade_out(block)
        while filled < wanted:
            segment = self._current
            if segment is None:
                try:
                    segment = self._queue.popleft()
                except IndexError:
                    break
                self._current, self._offset = segment, 0
            count = min(wanted - filled, len(segment.samples) - self._offset)
            self._copy(block, filled, segment.samples[self._offset : self._offset + count])
            filled += count
            self._offset += count
            self._played[segment.item_id] = self._played.get(segment.item_id, 0) + count
            if self._offset >= len(segment.samples):
                self._current = None
        if filled < wanted:
            block[filled:] = 0
            if any(not item.finished for item in tuple(self._items.values())):
                self._underruns += 1
            if not self._queue:
                self._drained.set()
        return filled

    def mark_played(self, item_id: str, ms: float) -> None:
        """Say how far a remote player has played an item; what was said before is never taken back.

        Args:
            item_id: The item.
            ms: Milliseconds from its beginning.
        """
        self._touched = True
        self._marked[item_id] = max(ms, self._marked.get(item_id, 0.0))

    def played_ms(self, item_id: str) -> float:
        """How far an item has been heard, in milliseconds."""
        read = self._played.get(item_id, 0) * 1000 / self._rate
        return max(read, self._marked.get(item_id, 0.0))

    def wait_drained(self, timeout: float) -> bool:
        """Wait until everything that was queued has been read; False after `timeout` seconds.

        Raises:
            RealtimeError: Called on an engine thread.
        """
        if not self._drained.is_set():
            forbid_blocking("wait_drained")
        return self._drained.wait(timeout)

    # -- the engine's side -------------------------------------------------------------------------------

    @property
    def attached(self) -> bool:
        """Whether the application plays through the ledger."""
        return self._touched

    def attach(self) -> None:
        """The application has asked for the ledger."""
        self._touched = True

    def write(self, item_id: str, samples: Int16Array) -> None:
        """Queue audio of an item, at the wire's rate."""
        item = self._items.get(item_id)
        if item is None:
            self._forget_heard_items()
            item = self._items[item_id] = _Item()
        item.queued_ms += len(samples) * 1000 / self._wire_rate
        if self._resampler is not None:
            samples = self._resampler.push(samples)
        self._append(item_id, samples)

    def finish(self, item_id: str) -> None:
        """No more audio of this item will come."""
        item = self._items.get(item_id)
        if item is None or item.finished:
            return
        item.finished = True
        if self._resampler is not None:
            self._append(item_id, self._resampler.flush())

    def cut(self) -> list[Cut]:
        """Drop what waits; returns how far each item that was not heard to its end was heard.

        What `read` hands out while this runs may be counted late: by one block at most.
        """
        self._queue.clear()
        self._epoch += 1
        self._drained.set()
        if self._resampler is not None:
            self._resampler.flush()
        cuts = [
            Cut(item_id, int(min(self.played_ms(item_id), item.queued_ms)))
            for item_id, item in self._items.items()
            if not self._is_heard(item_id, item)
        ]
        self._items.clear()
        return cuts

    def _is_heard(self, item_id: str, item: _Item) -> bool:
        # The resampler may round a sample away.
        return item.finished and self.played_ms(item_id) >= item.queued_ms - 1

    def _forget_heard_items(self) -> None:
        for item_id, item in list(self._items.items()):
            if self._is_heard(item_id, item):
                del self._items[item_id]

    def _append(self, item_id: str, samples: Int16Array) -> None:
        if len(samples):
            self._drained.clear()
            self._queue.append(_Segment(item_id, samples))

    # -- the reader's helpers ------------------------------------------------------------------------------

    def _fade_out(self, block: Int16Array) -> int:
        """After a cut: let the segment that was being read end softly; what follows was dropped already."""
        segment, self._current = self._current, None
        if segment is None:
            return 0
        count = min(int(self._rate * FADE_MS / 1000), len(segment.samples) - self._offset, len(block))
        tail = segment.samples[self._offset : self._offset + count]
        ramp = np.linspace(1.0, 0.0, count, dtype=np.float32)
        self._copy(block, 0, (tail * ramp).astype(np.int16))
        return count

    def _copy(self, block: Int16Array, at: int, samples: Int16Array) -> None:
        if block.ndim == 1:
            block[at : at + len(samples)] = samples
        else:
            block[at : at + len(samples)] = samples[:, None]
