"""Speech out of text and text out of speech, offline. The models are loaded once per process, when first needed."""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import Any, Final

import numpy as np

from antiphon.actors.audio import Int16Array
from antiphon.testing.brains.base import Sound
from antiphon.testing.extras import require
from antiphon.testing.recognizer import Recognizer

VOICE_RATE: Final = 24_000
_LEVEL: Final = 32767.0
_CACHED: Final = 256

_loading = threading.Lock()
_speaking = threading.Lock()


def synthesize(text: str, *, speed: float = 1.0) -> tuple[Int16Array, int]:
    """Speak a text.

    Args:
        text: English.
        speed: 0.5 to 2.0, 1.0 is normal.

    Returns:
        The samples (read-only, mono, int16; the same for the same text each time) and their rate, 24000 Hz.
    """
    return _spoken(text, min(2.0, max(0.5, speed))), VOICE_RATE


def transcribe(samples: Int16Array, rate: int) -> str:
    """Return what is said in mono int16 audio: lower case, no punctuation; "" if nothing is.

    Args:
        samples: 1-D.
        rate: Samples per second, a usual one from 8,000 Hz up.
    """
    return _recognizer().transcribe(Sound(samples, rate))


def warm() -> None:
    """Load the models."""
    _voice()
    _recognizer()


@lru_cache(maxsize=_CACHED)
def _spoken(text: str, speed: float) -> Int16Array:
    voice = _voice()
    with _speaking:
        audio = voice(text, speed=speed, seed=0)
    samples: Int16Array = (np.clip(audio, -1.0, 1.0) * _LEVEL).astype(np.int16)
    samples.flags.writeable = False
    return samples


def _voice() -> Any:
    with _loading:
        return _load_voice()


def _recognizer() -> Recognizer:
    with _loading:
        return _load_recognizer()


@lru_cache(maxsize=1)
def _load_voice() -> Any:
    voice = require("hibari", "local").Hibari()
    voice("Hello.")  # the first sentence takes half a second more than the others
    return voice


@lru_cache(maxsize=1)
def _load_recognizer() -> Recognizer:
    return Recognizer()
