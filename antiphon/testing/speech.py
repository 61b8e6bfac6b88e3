"""Speech out of text and text out of speech, offline. The models are loaded once per process, when first needed."""

from __future__ import annotations

import operator
import threading
from functools import lru_cache
from typing import Any, Final

import numpy as np

from antiphon.actors.audio import Int16Array
from antiphon.actors.audio.frame import MAX_RATE, MIN_RATE
from antiphon.actors.audio.resample import reduced_ratio
from antiphon.testing.brains.base import Sound
from antiphon.testing.extras import require
from antiphon.testing.recognizer import RATE, Recognizer

VOICE_RATE: Final = 24_000
_LEVEL: Final = 32767.0
_CACHED: Final = 256

_loading = threading.Lock()
_speaking = threading.Lock()


def synthesize(text: str, *, speed: float = 1.0) -> tuple[Int16Array, int]:
    """Speak a text.

    Args:
        text: English. Of "" or spaces there is no sound.
        speed: 0.5 to 2.0, 1.0 is normal; what is slower or faster is taken for the nearest of these.

    Returns:
        The samples (read-only, mono, int16; the same for the same text each time) and their rate, 24000 Hz.

    Raises:
        ValueError: The text is no str, or the speed no number above 0.
    """
    if not isinstance(text, str):
        raise ValueError(f"text is of type {type(text).__name__}: give a str")
    if not isinstance(speed, int | float) or not 0 < speed < float("inf"):
        raise ValueError(f"speed is {speed!r}: give a number from 0.5 to 2.0")
    return _spoken(text, min(2.0, max(0.5, float(speed)))), VOICE_RATE


def transcribe(samples: Int16Array, rate: int) -> str:
    """Return what is said in mono int16 audio: lower case, no punctuation; "" if nothing is.

    Args:
        samples: 1-D.
        rate: Samples per second, a usual one from 8,000 Hz up.

    Raises:
        ValueError: The samples are no 1-D array of int16, or the rate can't be used.
    """
    sound = Sound(_mono(samples), _usable(rate))
    return _recognizer().transcribe(sound)


def warm() -> None:
    """Load the models."""
    _voice()
    _recognizer()


def _mono(samples: Int16Array) -> Int16Array:
    if not isinstance(samples, np.ndarray):
        raise ValueError(
            f"samples are of type {type(samples).__name__}: give a NumPy array of int16; "
            "of bytes, np.frombuffer(data, np.int16) makes one"
        )
    if samples.ndim != 1:
        raise ValueError(
            f"samples have the shape {samples.shape}: give one channel, of shape (samples,); "
            "of (samples, channels), samples[:, 0] is one"
        )
    if samples.dtype.newbyteorder("=") != np.int16:
        way = "(samples * 32767)" if samples.dtype.kind == "f" else "samples"
        held = "from -1 to 1" if samples.dtype.kind == "f" else "from -32768 to 32767"
        raise ValueError(
            f"samples have the dtype {samples.dtype}: give int16; if they are {held}, {way}.astype(np.int16)"
        )
    return samples.astype(np.int16, copy=False)


def _usable(rate: int) -> int:
    try:
        number = operator.index(rate)  # takes NumPy's integers too, but no float
    except TypeError:
        raise ValueError(f"rate is {rate!r}: give an int from {MIN_RATE} to {MAX_RATE}") from None
    reduced_ratio(number, RATE)
    return number


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
