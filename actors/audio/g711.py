"""G.711, the telephone's eight-bit companding, by table look-up.

The tables hold ITU-T G.711's values at 16-bit scale: mu-law's 14-bit levels times 4, A-law's 13-bit ones
times 8. They are built on first use; the functions are pure and may be called from any thread.

The standard leaves open to which side a sample on a decision value goes. Here mu-law mirrors the positive
side, and A-law, where zero itself is a decision value, mirrors it at -0.5, as telephony code commonly does.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from antiphon.actors.audio.frame import Int16Array

_BIAS = 132  # shifts mu-law's segments so that each begins at a power of two
_ULAW_CLIP = 32635  # the largest magnitude that still fits in 15 bits once the bias is added


def encode_ulaw(pcm: Int16Array) -> bytes:
    """Encode int16 samples of any shape as mu-law, one byte each."""
    return _ulaw_codes()[pcm.view(np.uint16)].tobytes()


def decode_ulaw(data: bytes) -> Int16Array:
    """Decode mu-law bytes to a read-only 1-D int16 array of the same length."""
    return _look_up(_ulaw_levels(), data)


def encode_alaw(pcm: Int16Array) -> bytes:
    """Encode int16 samples of any shape as A-law, one byte each."""
    return _alaw_codes()[pcm.view(np.uint16)].tobytes()


def decode_alaw(data: bytes) -> Int16Array:
    """Decode A-law bytes to a read-only 1-D int16 array of the same length."""
    return _look_up(_alaw_levels(), data)


def _look_up(levels: Int16Array, data: bytes) -> Int16Array:
    pcm = levels[np.frombuffer(data, np.uint8)]
    pcm.flags.writeable = False
    return pcm


def _all_samples() -> NDArray[np.int32]:
    """Every int16, in the order of its bits read as uint16, which is how the code tables are indexed."""
    return np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32)


def _segment(magnitude: NDArray[np.int32]) -> NDArray[np.int32]:
    """0 for magnitudes below 256, and one more for each doubling."""
    exponent: NDArray[np.int32] = np.frexp(magnitude)[1]
    return np.maximum(exponent - 8, 0)


@cache
def _ulaw_codes() -> NDArray[np.uint8]:
    pcm = _all_samples()
    magnitude = np.minimum(np.abs(pcm), _ULAW_CLIP) + _BIAS
    segment = _segment(magnitude)
    step = (magnitude >> (segment + 3)) & 15
    codes: NDArray[np.int32] = ~(np.where(pcm < 0, 0x80, 0) | (segment << 4) | step)
    return codes.astype(np.uint8)


@cache
def _ulaw_levels() -> Int16Array:
    code = ~np.arange(256)
    magnitude = ((((code & 15) << 3) + _BIAS) << ((code >> 4) & 7)) - _BIAS
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


@cache
def _alaw_codes() -> NDArray[np.uint8]:
    pcm = _all_samples()
    magnitude = np.where(pcm < 0, ~pcm, pcm)
    segment = _segment(magnitude)
    step = (magnitude >> (np.maximum(segment, 1) + 3)) & 15  # the two lowest segments have equal steps
    codes: NDArray[np.int32] = (np.where(pcm < 0, 0, 0x80) | (segment << 4) | step) ^ 0x55
    return codes.astype(np.uint8)


@cache
def _alaw_levels() -> Int16Array:
    code = np.arange(256) ^ 0x55
    segment = (code >> 4) & 7
    magnitude: NDArray[np.int64] = ((code & 15) << 4) + np.where(segment, 0x108, 8)
    magnitude <<= np.maximum(segment - 1, 0)
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)
