"""What is said to the server: sentences in a quiet room."""

from __future__ import annotations

import base64
import functools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from antiphon.testing import synthesize

RATE = 24_000
NOISE = 60.0  # RMS of a quiet room, of 32767

Samples = NDArray[np.int16]


@functools.cache
def spoken(text: str, quiet_s: float = 0.9) -> Samples:
    """A sentence with quiet around it, 24 kHz mono; the same array each time."""
    quiet = np.zeros(int(RATE * quiet_s))
    sentence, rate = synthesize(text)
    assert rate == RATE
    clean = np.concatenate([quiet, sentence, quiet])
    noise = np.random.default_rng(1).normal(0.0, NOISE, len(clean))
    return (clean + noise).clip(-32768, 32767).astype(np.int16)


def chunks(samples: Samples, ms: int = 100) -> Iterator[str]:
    """Base64 for `input_audio_buffer.append`."""
    size = RATE * ms // 1000
    for at in range(0, len(samples), size):
        yield base64.b64encode(samples[at : at + size].tobytes()).decode()
