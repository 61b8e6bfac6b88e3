"""The API's names for audio formats, and the codecs behind them."""

import numpy as np

from antiphon.actors.audio import Int16Array, Resampler, WireCodec, codec_for
from antiphon.protocol.azure import AUDIO_FORMATS
from antiphon.testing.brains.base import Sound


def codec_of(format_type: str) -> WireCodec:
    """The codec of a GA format type, such as "audio/pcm"."""
    return codec_for(AUDIO_FORMATS[format_type])


def at_rate(sound: Sound, rate: int) -> Int16Array:
    """The samples of a sound at another rate; at its own rate, exactly its samples."""
    if sound.rate == rate or not len(sound.samples):
        return sound.samples
    resampler = Resampler(sound.rate, rate)
    return np.concatenate([resampler.push(sound.samples), resampler.flush()])
