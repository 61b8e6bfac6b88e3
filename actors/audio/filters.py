"""The low-pass filters behind `Resampler`: their taps, and two ways to apply them.

For a ratio up/down the taps stand at `up` times the input rate; output m lies `m * down` such steps along.
Which taps meet real samples, not the zeros between them, repeats every `up` outputs. So a block of outputs is
a window of the input times one constant matrix, the bank, and BLAS does that several times faster than
`scipy.signal.upfirdn` does the same sum. A large ratio's bank is big and mostly zeros: there upfirdn wins. No usual
rate has such a ratio, so most programs never pay for loading scipy.signal: a second, 70 MB, and other threads stalled.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, pi
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Float32Array: TypeAlias = NDArray[np.float32]
Apply: TypeAlias = Callable[[Float32Array, int], Float32Array]

_PASS_EDGE = 0.42  # of the lower rate
_STOP_EDGE = 0.58
_STOP_DB = 82.0  # 80 are promised, and Kaiser's formula is an estimate
_KAISER_BETA = 0.1102 * (_STOP_DB - 8.7)  # Kaiser's formula, for more than 50 dB
_MIN_BLOCK = 24  # outputs; fewer make the product too thin for BLAS, more waste it on zeros
# Multiplications in one product. OpenBLAS takes several threads for more, which wait for each other in a busy loop:
# twice the CPU, and a jolt for the other threads. It also bounds the memory that a push of many minutes takes.
_MAX_PRODUCT = 480_000
_MAX_BANK = 100_000  # entries; from about there on upfirdn is faster, for 100 ms of input


@dataclass(frozen=True, slots=True)
class Kernel:
    """A ratio's filter, cut into blocks. Immutable; shared by all resamplers of that ratio.

    Attributes:
        delay: The filter's group delay, in steps of `up` times the input rate.
        lead: Input samples before the stream's first that the first block's window covers.
        block_in: Input samples from one block's window to the next.
        block_out: Outputs of a block.
        width: Input samples in a window.
        apply: Takes input that begins with a block's window and covers the windows of n blocks, and n.
            Returns a new float32 array of their n * block_out outputs.
    """

    delay: int
    lead: int
    block_in: int
    block_out: int
    width: int
    apply: Apply


# A child that is forked while a thread imports would wait for that import for ever; so the fork waits.
_importing = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_importing.acquire, after_in_parent=_importing.release, after_in_child=_importing.release
    )


def preload() -> None:
    """Import scipy.signal, which takes most of a second, before a resampler of a large ratio needs it. Any thread."""
    with _importing:
        import scipy.signal  # noqa: F401


def design(up: int, down: int) -> NDArray[np.float64]:
    """The filter's taps: an odd number, symmetric, with a gain of `up` that makes good for the zeros.

    It is what scipy.signal's `kaiserord` and `firwin` make, without the second that importing them takes.
    """
    lower = 1 / max(up, down)  # the lower rate, where the taps' own rate is 1
    transition = (_STOP_EDGE - _PASS_EDGE) * lower
    count = ceil((_STOP_DB - 7.95) / (2.285 * 2 * pi * transition) + 1) | 1
    cutoff = (_STOP_EDGE + _PASS_EDGE) * lower  # of the taps' Nyquist frequency
    ideal = cutoff * np.sinc(cutoff * (np.arange(count) - count // 2))
    shape = ideal * np.kaiser(count, _KAISER_BETA)
    taps: NDArray[np.float64] = shape * (up / shape.sum())
    return taps


class Geometry:
    """How the stream of a ratio (in lowest terms) is cut into blocks.

    Attributes:
        up, down: The ratio.
        taps: See `design`.
        delay, lead, block_in, block_out, width: As in `Kernel`.
        offset: Where a block's first output lies, in steps from its window's begin.
    """

    def __init__(self, up: int, down: int) -> None:
        self.up, self.down = up, down
        self.taps = design(up, down)
        self.delay = len(self.taps) // 2
        repeats = -(-_MIN_BLOCK // up)
        self.block_in = repeats * down
        self.block_out = repeats * up
        history = (len(self.taps) - 1) // up  # inputs before its newest that an output can depend on
        self.lead = history - self.delay // up
        self.offset = history * up + self.delay % up
        self.width = (self.offset + (self.block_out - 1) * down) // up + 1

    def kernel(self, apply: Apply) -> Kernel:
        """The finished kernel, given the way to apply it."""
        return Kernel(self.delay, self.lead, self.block_in, self.block_out, self.width, apply)


@lru_cache(maxsize=64)
def kernel_for(up: int, down: int) -> Kernel:
    """The kernel for a ratio in lowest terms, by whichever method is faster. Any thread."""
    geometry = Geometry(up, down)
    small = geometry.width * geometry.block_out <= _MAX_BANK
    return bank_kernel(geometry) if small else upfirdn_kernel(geometry)


def bank_kernel(geometry: Geometry) -> Kernel:
    """The filter as a matrix product."""
    width, block_in, block_out = geometry.width, geometry.block_in, geometry.block_out
    bank = np.zeros((width, block_out), np.float32)
    for output in range(block_out):
        newest, phase = divmod(geometry.offset + output * geometry.down, geometry.up)
        taps = geometry.taps[phase :: geometry.up]
        bank[newest + 1 - len(taps) : newest + 1, output] = taps[::-1]

    rows = max(1, _MAX_PRODUCT // bank.size)

    def apply(x: Float32Array, blocks: int) -> Float32Array:
        step = x.itemsize
        # what as_strided does, at a tenth of its price
        windows = np.ndarray((blocks, width), np.float32, x, strides=(block_in * step, step))
        out = np.empty((blocks, block_out), np.float32)
        for first in range(0, blocks, rows):
            part = slice(first, first + rows)
            # BLAS takes no overlapping rows, and a copy made here is cheaper than matmul's own
            np.matmul(np.ascontiguousarray(windows[part]), bank, out=out[part])
        return out.reshape(-1)

    return geometry.kernel(apply)


def upfirdn_kernel(geometry: Geometry) -> Kernel:
    """The filter as `scipy.signal.upfirdn`: the reference, and the way for large ratios."""
    preload()
    from scipy.signal import upfirdn

    up, down, block_out = geometry.up, geometry.down, geometry.block_out
    # upfirdn keeps each down-th step from the window's begin; zeros before the taps put ours on that grid
    skip = -(-geometry.offset // down)
    taps = np.pad(geometry.taps, (skip * down - geometry.offset, 0)).astype(np.float32)

    def apply(x: Float32Array, blocks: int) -> Float32Array:
        return upfirdn(taps, x, up, down)[skip : skip + blocks * block_out]

    return geometry.kernel(apply)
