"""A jitter buffer for RTP: puts sound where its timestamps say."""

from __future__ import annotations

import numpy as np

from antiphon.actors.audio import Int16Array

# In samples of 8 kHz: how long sound waits for what overtook it, and what the buffer holds.
DELAY, SPAN = 480, 4000
# So many packets late in a row, and the sender's clock is no longer the one that it was.
LATE_PACKETS = 5


class JitterBuffer:
    """Half a second of sound. Order doesn't matter, twice is once, and what doesn't come is silence.

    Sequence numbers aren't needed for that: the timestamp says where a packet's sound belongs, also after a pause in
    which a telephone that suppresses silence sends nothing. One thread uses it.
    """

    def __init__(self) -> None:
        self._window = np.zeros(SPAN, np.int16)
        self._head: int | None = None  # the timestamp of the window's first sample
        self._late = 0

    def put(self, timestamp: int, samples: Int16Array) -> None:
        """Place a packet's sound; begin anew when the sender's clock has jumped or drifted away.

        Args:
            timestamp: The packet's, modulo 2**32.
            samples: int16, shape (samples,), at most `SPAN - DELAY`.
        """
        at = SPAN if self._head is None else (timestamp - self._head + 2**31) % 2**32 - 2**31
        self._late = self._late + 1 if at < 0 else 0
        if at + len(samples) > SPAN or self._late > LATE_PACKETS:
            self._window[:] = 0
            self._head, self._late, at = timestamp - DELAY, 0, DELAY
        if at >= 0:
            self._window[at : at + len(samples)] = samples

    def take(self, count: int) -> Int16Array:
        """The next samples, int16, shape (count,)."""
        taken = self._window[:count].copy()
        self._window[:-count] = self._window[count:]
        self._window[-count:] = 0
        self._head = None if self._head is None else self._head + count
        return taken
