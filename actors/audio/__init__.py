"""Audio of the engine: frames, resampling, the wire's formats. Importing it loads no scipy."""

from antiphon.actors.audio.codec import WireCodec, codec_for
from antiphon.actors.audio.filters import preload
from antiphon.actors.audio.frame import (
    AudioData,
    AudioFrame,
    Int16Array,
    VideoEncoding,
    VideoFrame,
    is_on_another_scale,
)
from antiphon.actors.audio.g711 import decode_alaw, decode_ulaw, encode_alaw, encode_ulaw
from antiphon.actors.audio.resample import Resampler
from antiphon.actors.audio.wire_audio import WireAudio, check_rates, to_frame

__all__ = [
    "AudioFrame",
    "VideoFrame",
    "AudioData",
    "Int16Array",
    "VideoEncoding",
    "WireAudio",
    "to_frame",
    "is_on_another_scale",
    "check_rates",
    "WireCodec",
    "codec_for",
    "Resampler",
    "preload",
    "encode_ulaw",
    "decode_ulaw",
    "encode_alaw",
    "decode_alaw",
]
