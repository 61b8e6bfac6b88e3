"""What the page shows and plays of the voices: loudness, and one compressed audio file."""

from __future__ import annotations

import io
import wave
from importlib import import_module
from typing import NamedTuple

import numpy as np
import pybase64
from numpy.typing import NDArray

from antiphon.actors.audio import Int16Array
from antiphon.report.picture import Wave

# A bin of 10 ms is narrower than a pixel until a screen shows less than 20 s. Long calls get wider ones, so that the
# page stays small.
BINS_PER_SECOND = 100
MAX_BINS = 400_000
# Below this, of 32767 (-60 dBFS), nobody hears anything: synthetic voices begin with silence, often 200 ms of it.
AUDIBLE = 33
# Speech is clear at this quality of Vorbis, and half an hour of it takes 10 MB. (Opus takes as much, and four times as
# long to make; FLAC takes 60 MB.)
COMPRESSION = 0.9
# libsndfile's Vorbis encoder keeps what it is given on the stack: pieces.
BLOCK = 1 << 16


class Sound(NamedTuple):
    """An audio file, and its media type."""

    data: bytes
    type: str


def waves(mix: Int16Array, rate: int) -> tuple[Wave, Wave]:
    """How loud the user and the model are.

    Args:
        mix: int16, shape (samples, 2), the user left.
        rate: Samples per second.
    """
    width = max(rate // BINS_PER_SECOND, -(-len(mix) // MAX_BINS))
    whole = len(mix) - len(mix) % width
    bins = mix[:whole].reshape(-1, width, 2)
    # In int32: the negative of the least int16 is none.
    peaks = np.maximum(bins.max(axis=1).astype(np.int32), -bins.min(axis=1).astype(np.int32))
    return _wave(peaks[:, 0], rate / width), _wave(peaks[:, 1], rate / width)


def _wave(peaks: NDArray[np.int32], rate: float) -> Wave:
    loudest = max(int(peaks.max(initial=0)), 1)
    scaled = np.sqrt(peaks / loudest) * 255
    return Wave(peaks=pybase64.b64encode(scaled.astype(np.uint8).tobytes()).decode(), rate=rate)


def first_audible(voice: Int16Array) -> int | None:
    """Where the first sample stands that can be heard; None if there is none.

    Args:
        voice: int16, shape (samples,).
    """
    # Not by np.abs: the negative of the least int16 is none.
    loud = (voice > AUDIBLE) | (voice < -AUDIBLE)
    return int(loud.argmax()) if loud.any() else None


def encode(mix: Int16Array, rate: int) -> Sound:
    """Both voices as a file that browsers play: Vorbis in Ogg if soundfile is installed, else WAV.

    Args:
        mix: int16, shape (samples, 2).
        rate: Samples per second.
    """
    try:
        soundfile = import_module("soundfile")
    except (ImportError, OSError):  # OSError: libsndfile itself is missing
        return Sound(_wav(mix, rate), "audio/wav")
    file = io.BytesIO()
    with soundfile.SoundFile(
        file, "w", rate, channels=2, format="OGG", subtype="VORBIS", compression_level=COMPRESSION
    ) as writer:
        for start in range(0, len(mix), BLOCK):
            writer.write(mix[start : start + BLOCK])
    return Sound(file.getvalue(), "audio/ogg")


def _wav(mix: Int16Array, rate: int) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(2)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(mix.tobytes())
    return file.getvalue()
