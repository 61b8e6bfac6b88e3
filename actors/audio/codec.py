"""What the wire's audio formats mean in bytes and samples."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from antiphon.actors.audio.frame import Int16Array
from antiphon.actors.audio.g711 import decode_alaw, decode_ulaw, encode_alaw, encode_ulaw


@dataclass(frozen=True, slots=True)
class WireCodec:
    """One audio format of the wire. Stateless; any thread may use it.

    Attributes:
        name: "pcm16", "g711_ulaw" or "g711_alaw".
        rate: Samples per second, mono.
        bytes_per_sample: 2 or 1.
        encode: Turns a mono int16 array into the wire's bytes.
        decode: Turns the wire's bytes into a read-only mono int16 array, which for pcm16 is a view of them.
            Raises ValueError if the bytes are not whole samples.
    """

    name: str
    rate: int
    bytes_per_sample: int
    encode: Callable[[Int16Array], bytes]
    decode: Callable[[bytes], Int16Array]

    def ms_to_samples(self, ms: float) -> int:
        """The number of samples in so many milliseconds, to the nearest."""
        return round(ms * self.rate / 1000)

    def samples_to_ms(self, samples: int) -> float:
        """The length of so many samples in milliseconds."""
        return samples * 1000 / self.rate


_WIRE_PCM16 = np.dtype("<i2")


def codec_for(name: str) -> WireCodec:
    """The codec of that name.

    Raises:
        ValueError: If there is none; the message lists the names.
    """
    try:
        return _CODECS[name]
    except KeyError:
        raise ValueError(f"audio format {name!r} is unknown: use one of {', '.join(_CODECS)}") from None


def _encode_pcm16(pcm: Int16Array) -> bytes:
    return pcm.astype("<i2", copy=False).tobytes()


def _decode_pcm16(data: bytes) -> Int16Array:
    if len(data) % 2:
        raise ValueError(f"pcm16 audio has {len(data)} bytes, an odd count: it takes two bytes a sample")
    samples: Int16Array = np.frombuffer(data, _WIRE_PCM16)
    return samples if sys.byteorder == "little" else samples.astype(np.int16)


_CODECS = {
    codec.name: codec
    for codec in (
        WireCodec("pcm16", 24_000, 2, _encode_pcm16, _decode_pcm16),
        WireCodec("g711_ulaw", 8_000, 1, encode_ulaw, decode_ulaw),
        WireCodec("g711_alaw", 8_000, 1, encode_alaw, decode_alaw),
    )
}
