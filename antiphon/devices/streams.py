"""The microphone and the loudspeaker: what PortAudio's callbacks do, which is little."""

from __future__ import annotations

import queue
import time
from typing import Any, Final

import numpy as np

from antiphon.actors.audio import Int16Array
from antiphon.actors.playback import Playback
from antiphon.devices.portaudio import BLOCK_S, DeviceStream, Which

_FULL_SCALE: Final = 32768
# Five seconds: whoever takes the blocks has then been stuck for that long.
_MOST_BLOCKS: Final = 250
# How long a room goes on sounding, for half-duplex.
_ROOM_S: Final = 0.25


def peak(samples: Int16Array) -> float:
    """The highest sample of a block, 0 to 1."""
    return max(int(samples.max()), -int(samples.min())) / _FULL_SCALE if len(samples) else 0.0


class Microphone(DeviceStream):
    """Hands blocks from the callback to one thread.

    They go through a `SimpleQueue`, whose `put` never waits, and not straight to the session, whose `push_audio`
    takes a lock that another thread may hold.

    Attributes:
        dropped: Blocks that were lost because nobody took them.
    """

    def __init__(self, which: Which) -> None:
        super().__init__("input", which)
        self.dropped = 0
        self._recorded: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def take(self, timeout: float) -> Int16Array | None:
        """The next block, shape (samples, channels); None when none came in time, or after `wake`."""
        try:
            block = self._recorded.get(timeout=timeout)
        except queue.Empty:
            return None
        if block is None:
            return None
        samples = np.frombuffer(block, np.int16)
        self.level = peak(samples)
        return samples.reshape(-1, self.channels)

    def wake(self) -> None:
        """Let `take` return at once."""
        self._recorded.put(None)

    def _opening(self) -> None:
        # What an old device recorded may have another format.
        while not self._recorded.empty():
            self._recorded.get_nowait()

    def _handle(self, data: Any) -> None:
        if self._recorded.qsize() >= _MOST_BLOCKS:
            self.dropped += 1
            return
        self._recorded.put(bytes(data))


class Speaker(DeviceStream):
    """Plays the ledger.

    Args:
        which: The device.
        playback: The session's ledger. A new device at another rate gets it configured anew.
    """

    def __init__(self, which: Which, playback: Playback) -> None:
        super().__init__("output", which)
        self._playback = playback
        self._sounds_until = 0.0

    @property
    def sounding(self) -> bool:
        """Whether sound is on its way through the device, or in the room."""
        return time.monotonic() < self._sounds_until

    def _opening(self) -> None:
        playback = self._playback
        if (playback.sample_rate, playback.num_channels) != (self.rate, self.channels):
            playback.configure(self.rate, self.channels)

    def _handle(self, data: Any) -> None:
        self._fill(np.frombuffer(data, np.int16))

    def _fill(self, block: Int16Array) -> None:
        shaped = block if self.channels == 1 else block.reshape(-1, self.channels)
        if self._playback.read_into(shaped):
            self._sounds_until = time.monotonic() + self.latency_s + BLOCK_S + _ROOM_S
            self.level = peak(block)
        else:
            self.level = 0.0
