"""Sample rate conversion of a stream: a polyphase FIR filter that remembers where it was.

A ratio of up/down means: put up - 1 zeros after each sample, low-pass, keep each down-th. The filter passes 0
to 0.42 of the lower rate (within 0.1 dB) and stops what lies from 0.58 on (by 80 dB); between them it falls.
"""

from __future__ import annotations

from math import gcd

import numpy as np

from antiphon.actors.audio.filters import Float32Array, kernel_for
from antiphon.actors.audio.frame import MAX_RATE, MIN_RATE, Int16Array
from antiphon.actors.undo import Undoable

MAX_TERM = 640


def reduced_ratio(in_rate: int, out_rate: int) -> tuple[int, int]:
    """The ratio out_rate / in_rate in lowest terms, as (up, down).

    Raises:
        ValueError: If a rate lies outside 8,000 to 192,000 Hz, or a term is above 640.
    """
    for rate in (in_rate, out_rate):
        if not MIN_RATE <= rate <= MAX_RATE:
            raise ValueError(f"sample rate {rate}: it must be from {MIN_RATE} to {MAX_RATE}")
    divisor = gcd(in_rate, out_rate)
    up, down = out_rate // divisor, in_rate // divisor
    if max(up, down) > MAX_TERM:
        raise ValueError(
            f"can't resample from {in_rate} to {out_rate} Hz: their ratio in lowest terms is {up}/{down}, "
            f"and neither term may be above {MAX_TERM}; use a standard rate"
        )
    return up, down


class Resampler(Undoable):
    """Converts one mono stream from one rate to another.

    Output aligns with the input in time: the filter's delay is taken off. What all pushes and the flush
    return, put together, does not depend (beyond 1 LSB) on how the input was cut, and lasts as long as the
    input, to the nearest sample. It holds state: use it from one thread at a time.

    Args:
        in_rate: Hz, 8,000 to 192,000.
        out_rate: Hz, likewise, and not the same.

    Raises:
        ValueError: If the rates are equal or their ratio is not supported (see `reduced_ratio`).
    """

    _received: int

    def __init__(self, in_rate: int, out_rate: int) -> None:
        self._up, self._down = reduced_ratio(in_rate, out_rate)
        if in_rate == out_rate:
            raise ValueError(f"both rates are {in_rate} Hz: there is nothing to resample")
        self._kernel = kernel_for(self._up, self._down)
        self._reset()

    def push(self, x: Float32Array | Int16Array) -> Int16Array:
        """Filter the next samples.

        Args:
            x: 1-D; float32 within -1 to 1 (finite; what comes out beyond full scale is clipped), or int16.

        Returns:
            The outputs that are complete, 1-D int16, perhaps none.
        """
        received = self._received + len(x)
        ready = -((self._kernel.delay - received * self._up) // self._down)
        out = self._run(x, max(ready, 0))
        self._received = received
        return out

    def flush(self) -> Int16Array:
        """End the stream: the outputs still due, 1-D int16. The next push begins a new stream."""
        total = (2 * self._received * self._up + self._down) // (2 * self._down)
        tail = self._run(np.empty(0, np.int16), total)
        self._reset()
        return tail

    def _reset(self) -> None:
        # the input from where the window of the block in progress begins
        self._pending: Float32Array = np.zeros(self._kernel.lead, np.float32)
        self._received = 0  # inputs of this stream
        self._sent = 0  # outputs of this stream

    def _run(self, x: Float32Array | Int16Array, until: int) -> Int16Array:
        """Take x in and return the outputs up to number `until`; input that is missing counts as zero.

        A block in progress is worked out anew on each call and given out as far as it is ready. That costs a
        row of the product, and saves the stream a block's delay.
        """
        kernel = self._kernel
        first = self._sent // kernel.block_out
        rows = -(-until // kernel.block_out) - first if until > self._sent else 0
        kept = len(self._pending)
        have = kept + len(x)
        window = np.zeros(max(have, (rows - 1) * kernel.block_in + kernel.width), np.float32)
        window[:kept] = self._pending
        if x.dtype == np.int16:
            window[kept:have] = x
        else:
            np.multiply(x, np.float32(32768), out=window[kept:have])
        if not rows:
            self._pending = window[:have]
            return np.empty(0, np.int16)
        start = first * kernel.block_out
        out = kernel.apply(window, rows)[self._sent - start : until - start]
        samples = np.rint(out, out=out).clip(-32768, 32767, out=out).astype(np.int16)
        done = (until // kernel.block_out - first) * kernel.block_in
        self._pending = window[done:have].copy()  # the view would keep the whole window alive
        self._sent = until
        return samples
