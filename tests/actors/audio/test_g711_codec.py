"""G.711 against the standard's own tables, and the wire's formats.

The reference below is built from the decision values of Recommendation G.711, tables 1a and 2a, and knows no
bit tricks: each segment has sixteen equal steps, each segment's step is twice the one before, and a code's
level is the middle of its step.
"""

from __future__ import annotations

import importlib
import warnings
from bisect import bisect_right
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.actors.audio import (
    codec_for,
    decode_alaw,
    decode_ulaw,
    encode_alaw,
    encode_ulaw,
)

EVERY_SAMPLE = np.arange(-32768, 32768).astype(np.int16)
EVERY_CODE = bytes(range(256))


def ulaw_table() -> tuple[list[int], list[int]]:
    """Decision values where each of the 128 steps begins, and levels, at 14-bit scale."""
    begins, levels = [0], [0]
    edge = 1
    for segment in range(8):
        width = 2 << segment
        for _ in range(15 if segment == 0 else 16):
            begins.append(edge)
            levels.append(edge + width // 2)
            edge += width
    assert edge == 8159  # x_128, the virtual decision value
    return begins, levels


def alaw_table() -> tuple[list[int], list[int]]:
    """The same for A-law, in units of half its finest step, a 4096th of full scale."""
    begins, levels = [], []
    edge = 0
    for segment in range(8):
        width = 2 << max(segment - 1, 0)
        for _ in range(16):
            begins.append(edge)
            levels.append(edge + width // 2)
            edge += width
    assert edge == 4096
    return begins, levels


def reference_ulaw(sample: int) -> int:
    begins, _ = ulaw_table()
    step = bisect_right(begins, abs(sample) / 4) - 1
    return (0x7F if sample < 0 else 0xFF) - step


def reference_alaw(sample: int) -> int:
    begins, _ = alaw_table()
    step = bisect_right(begins, abs(sample + 0.5) / 8) - 1  # away from zero, itself a decision value
    return ((0x00 if sample < 0 else 0x80) | step) ^ 0x55  # even bits inverted


SPOTS = sorted(
    {0, 32767, -32768}
    | {sign * (edge * 4) + off for edge in ulaw_table()[0] for sign in (1, -1) for off in (-1, 0, 1)}
    | {sign * (edge * 8) + off for edge in alaw_table()[0] for sign in (1, -1) for off in (-1, 0, 1)}
)


def test_ulaw_encodes_by_the_decision_values() -> None:
    assert list(encode_ulaw(np.array(SPOTS, np.int16))) == [reference_ulaw(spot) for spot in SPOTS]


def test_alaw_encodes_by_the_decision_values() -> None:
    assert list(encode_alaw(np.array(SPOTS, np.int16))) == [reference_alaw(spot) for spot in SPOTS]


@pytest.mark.parametrize("encode", [encode_ulaw, encode_alaw])
def test_codes_change_nowhere_but_at_the_decision_values(encode: Callable[..., bytes]) -> None:
    codes = np.frombuffer(encode(EVERY_SAMPLE), np.uint8)
    changes = EVERY_SAMPLE[1:][np.diff(codes.astype(int)) != 0]
    assert len(changes) == 255
    assert set(changes.tolist()) <= set(SPOTS)


def test_ulaw_decodes_to_the_standards_levels() -> None:
    _, levels = ulaw_table()
    expected = [-4 * levels[0x7F - code] for code in range(128)] + [
        4 * levels[0xFF - code] for code in range(128, 256)
    ]
    assert decode_ulaw(EVERY_CODE).tolist() == expected


def test_alaw_decodes_to_the_standards_levels() -> None:
    _, levels = alaw_table()
    plain = [code ^ 0x55 for code in range(256)]
    expected = [(8 if code & 0x80 else -8) * levels[code & 0x7F] for code in plain]
    assert decode_alaw(EVERY_CODE).tolist() == expected


def test_levels_keep_their_codes() -> None:
    assert encode_alaw(decode_alaw(EVERY_CODE)) == EVERY_CODE
    assert encode_ulaw(decode_ulaw(EVERY_CODE)) == EVERY_CODE.replace(b"\x7f", b"\xff")  # minus zero


@pytest.fixture(scope="module")
def audioop() -> ModuleType:
    """Python's own codec, until 3.12."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return importlib.import_module("audioop")
        except ImportError:
            pytest.skip("this Python has no audioop")


def test_audioop_agrees(audioop: ModuleType) -> None:
    raw = EVERY_SAMPLE.tobytes()
    assert audioop.ulaw2lin(EVERY_CODE, 2) == decode_ulaw(EVERY_CODE).tobytes()
    assert audioop.alaw2lin(EVERY_CODE, 2) == decode_alaw(EVERY_CODE).tobytes()
    assert audioop.lin2alaw(raw, 2) == encode_alaw(EVERY_SAMPLE)
    fourteen_bits = EVERY_SAMPLE[EVERY_SAMPLE % 4 == 0]  # it drops the two bits below by rounding down
    assert audioop.lin2ulaw(fourteen_bits.tobytes(), 2) == encode_ulaw(fourteen_bits)


@pytest.mark.parametrize(
    ("name", "rate", "width"), [("pcm16", 24_000, 2), ("g711_ulaw", 8000, 1), ("g711_alaw", 8000, 1)]
)
def test_each_format_states_its_numbers(name: str, rate: int, width: int) -> None:
    codec = codec_for(name)
    assert (codec.name, codec.rate, codec.bytes_per_sample) == (name, rate, width)
    assert len(codec.encode(np.zeros(10, np.int16))) == 10 * width
    assert codec.ms_to_samples(100) == rate // 10
    assert codec.samples_to_ms(rate // 10) == 100


@given(st.integers(0, 10**9), st.sampled_from(["pcm16", "g711_ulaw"]))
def test_samples_survive_the_way_through_milliseconds(samples: int, name: str) -> None:
    codec = codec_for(name)
    assert codec.ms_to_samples(codec.samples_to_ms(samples)) == samples


def test_pcm16_is_s16le_and_exact() -> None:
    codec = codec_for("pcm16")
    raw = codec.encode(EVERY_SAMPLE)
    assert raw == EVERY_SAMPLE.astype("<i2").tobytes()
    decoded = codec.decode(raw)
    assert np.array_equal(decoded, EVERY_SAMPLE)
    assert np.shares_memory(decoded, np.frombuffer(raw, np.uint8))


@pytest.mark.parametrize("name", ["pcm16", "g711_ulaw", "g711_alaw"])
def test_decoded_audio_is_read_only(name: str) -> None:
    codec = codec_for(name)
    assert not codec.decode(bytes(8)).flags.writeable
    assert codec.decode(b"").shape == (0,)


def test_half_a_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="3 bytes, an odd count"):
        codec_for("pcm16").decode(b"abc")


def test_an_unknown_format_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'opus' is unknown: use one of pcm16, g711_ulaw, g711_alaw"):
        codec_for("opus")
