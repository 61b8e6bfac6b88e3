from __future__ import annotations

from math import gcd
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import firwin, kaiserord

from antiphon.actors.audio import Resampler
from antiphon.actors.audio.filters import Geometry, bank_kernel, design, upfirdn_kernel
from antiphon.actors.audio.resample import reduced_ratio

DEVICE_RATES = [
    8000,
    11_025,
    12_000,
    16_000,
    22_050,
    32_000,
    44_100,
    48_000,
    88_200,
    96_000,
    176_400,
    192_000,
]
PAIRS = [
    *((rate, 24_000) for rate in DEVICE_RATES),
    *((24_000, rate) for rate in DEVICE_RATES),
    *((rate, 8000) for rate in (16_000, 44_100, 48_000)),
    (8000, 11_025),  # 441/320: a ratio that upfirdn takes
]
AMPLITUDE = 0.9


def one_shot(in_rate: int, out_rate: int, x: NDArray[Any]) -> NDArray[np.int16]:
    resampler = Resampler(in_rate, out_rate)
    return np.concatenate([resampler.push(x), resampler.flush()])


def noise(seed: int, length: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(-1, 1, length).astype(np.float32)


def in_chunks(in_rate: int, out_rate: int, x: NDArray[Any], cuts: list[int]) -> NDArray[np.int16]:
    resampler = Resampler(in_rate, out_rate)
    return np.concatenate([*(resampler.push(part) for part in np.split(x, sorted(cuts))), resampler.flush()])


def assert_same(a: NDArray[np.int16], b: NDArray[np.int16]) -> None:
    assert a.shape == b.shape
    assert np.abs(a.astype(int) - b).max(initial=0) <= 1


@st.composite
def rate_pairs(draw: st.DrawFn) -> tuple[int, int]:
    """Any two rates that are supported, the odd ratios among them."""
    up = draw(st.integers(1, 640))
    down = draw(st.integers(1, 640).filter(lambda down: down != up))
    least, most = -(-8000 // min(up, down)), 192_000 // max(up, down)
    assume(least <= most)
    unit = draw(st.integers(least, most))
    return up * unit, down * unit


@pytest.mark.parametrize(("in_rate", "out_rate"), PAIRS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_chunking_changes_nothing(in_rate: int, out_rate: int, data: st.DataObject) -> None:
    length = data.draw(st.integers(0, 1500))
    x = noise(data.draw(st.integers(0, 9)), length)
    cuts = data.draw(st.lists(st.integers(0, length), max_size=40))
    assert_same(in_chunks(in_rate, out_rate, x, cuts), one_shot(in_rate, out_rate, x))


@pytest.mark.parametrize(("in_rate", "out_rate"), [(48_000, 24_000), (44_100, 24_000), (8000, 24_000)])
def test_sample_by_sample_is_the_same_too(in_rate: int, out_rate: int) -> None:
    x = noise(1, 700)
    assert_same(in_chunks(in_rate, out_rate, x, list(range(700))), one_shot(in_rate, out_rate, x))


@settings(max_examples=40, deadline=None)
@given(rates=rate_pairs(), length=st.integers(0, 3000), cut=st.integers(0, 3000))
def test_any_supported_ratio_keeps_the_length_and_the_cut(
    rates: tuple[int, int], length: int, cut: int
) -> None:
    x = noise(2, length)
    whole = one_shot(*rates, x)
    assert abs(len(whole) - round(length * rates[1] / rates[0])) <= 1
    assert_same(in_chunks(*rates, x, [min(cut, length)]), whole)


@settings(max_examples=40, deadline=None)
@given(rates=rate_pairs(), blocks=st.integers(1, 5))
def test_the_matrix_product_equals_upfirdn(rates: tuple[int, int], blocks: int) -> None:
    geometry = Geometry(*reduced_ratio(*rates))
    fast, reference = bank_kernel(geometry), upfirdn_kernel(geometry)
    x = noise(3, geometry.width + (blocks - 1) * geometry.block_in)
    expected = reference.apply(x, blocks)
    assert expected.shape == (blocks * geometry.block_out,)
    np.testing.assert_allclose(fast.apply(x, blocks), expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize(("in_rate", "out_rate"), PAIRS)
def test_the_taps_are_those_that_scipy_designs(in_rate: int, out_rate: int) -> None:
    up, down = reduced_ratio(in_rate, out_rate)
    lower = 1 / max(up, down)
    count, beta = kaiserord(82.0, (0.58 - 0.42) * lower * 2)
    expected = firwin(count | 1, (0.58 + 0.42) / 2 * lower, window=("kaiser", beta), fs=1.0) * up
    np.testing.assert_allclose(design(up, down), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("in_rate", "out_rate"), PAIRS)
def test_the_taps_keep_the_promised_response(in_rate: int, out_rate: int) -> None:
    up, down = reduced_ratio(in_rate, out_rate)
    taps = design(up, down)
    assert len(taps) % 2 == 1
    np.testing.assert_allclose(taps, taps[::-1])
    size = 64 << len(taps).bit_length()
    response = np.abs(np.fft.rfft(taps, size)) / up
    frequency = np.arange(len(response)) / size * max(up, down)  # in units of the lower rate
    passed = 20 * np.log10(response[frequency <= 0.42])
    assert np.abs(passed).max() < 0.1
    assert response[frequency >= 0.58].max() < 1e-4


def tone(frequency: float, rate: int, count: int) -> NDArray[np.float32]:
    angle = 2 * np.pi * frequency / rate * np.arange(count)
    samples: NDArray[np.float64] = AMPLITUDE * np.sin(angle)
    return samples.astype(np.float32)


def loudest(signal: NDArray[Any]) -> float:
    """The amplitude of the strongest sinusoid in it, against the test tone's."""
    window = np.blackman(len(signal))
    return float(np.abs(np.fft.rfft(signal * window)).max() * 2 / window.sum() / (AMPLITUDE * 32768))


def steady(out: NDArray[np.int16], out_rate: int, lower: int) -> slice:
    """What lies clear of the tone's beginning and end, where any filter rings."""
    margin = 40 * out_rate // lower
    return slice(margin, len(out) - margin)


@pytest.mark.parametrize(("in_rate", "out_rate"), PAIRS)
@pytest.mark.parametrize("edge", [0.013, 0.21, 0.3, 0.42])
def test_a_tone_passes_in_place_and_without_images(in_rate: int, out_rate: int, edge: float) -> None:
    lower = min(in_rate, out_rate)
    frequency = edge * lower
    out = one_shot(in_rate, out_rate, tone(frequency, in_rate, in_rate // 10))
    part = steady(out, out_rate, lower)
    angle = 2 * np.pi * frequency / out_rate * np.arange(len(out))[part]
    basis = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    fit = np.linalg.lstsq(basis, out[part].astype(float), rcond=None)[0]
    gain = fit / (AMPLITUDE * 32768)
    assert abs(20 * np.log10(np.hypot(*gain))) < 0.1
    assert abs(np.arctan2(gain[1], gain[0])) < 1e-3  # radians: input and output tell the same time
    assert loudest(out[part] - basis @ fit) < 1e-4


@pytest.mark.parametrize(("in_rate", "out_rate"), [pair for pair in PAIRS if pair[1] * 0.58 < pair[0] * 0.5])
def test_a_tone_that_would_alias_is_gone(in_rate: int, out_rate: int) -> None:
    for frequency in np.linspace(0.58 * out_rate, 0.499 * in_rate, 12):
        out = one_shot(in_rate, out_rate, tone(frequency, in_rate, in_rate // 10))
        assert loudest(out[steady(out, out_rate, out_rate)]) < 1e-4


def test_a_push_of_many_seconds_equals_short_ones() -> None:
    x = noise(7, 48_000 * 5)
    assert_same(one_shot(48_000, 24_000, x), in_chunks(48_000, 24_000, x, list(range(0, len(x), 4800))))


def test_int16_and_float_are_the_same_input() -> None:
    pcm = (noise(4, 999) * 30_000).astype(np.int16)
    as_float = pcm.astype(np.float32) / 32768
    assert np.array_equal(one_shot(44_100, 24_000, pcm), one_shot(44_100, 24_000, as_float))


def test_what_exceeds_full_scale_is_clipped() -> None:
    square = np.repeat(np.array([32767, -32768] * 10, np.int16), 40)
    out = one_shot(48_000, 24_000, square)
    assert (out.max(), out.min()) == (32767, -32768)  # a wrapped overshoot would show inside the plateaus
    plateau = out.reshape(20, 20)[1:-1:2, 4:16]
    assert (plateau < -31_000).all()


@pytest.mark.parametrize(("in_rate", "out_rate"), [(48_000, 24_000), (8000, 11_025)])
def test_after_a_flush_the_next_stream_begins_from_zero(in_rate: int, out_rate: int) -> None:
    resampler = Resampler(in_rate, out_rate)
    resampler.push(noise(5, 777))
    resampler.flush()
    x = noise(6, 500)
    again = np.concatenate([resampler.push(x), resampler.flush()])
    assert np.array_equal(again, one_shot(in_rate, out_rate, x))
    assert resampler.flush().size == 0


def test_output_follows_input_closely() -> None:
    """What is held back is half the filter's length, not a block of the matrix product besides."""
    resampler = Resampler(11_025, 24_000)
    resampler.push(np.zeros(1000, np.int16))
    assert 0 < resampler.flush().size <= 17 * 24_000 / 11_025


def test_the_ratio_is_reduced() -> None:
    assert reduced_ratio(44_100, 24_000) == (80, 147)
    assert reduced_ratio(11_025, 24_000) == (320, 147)
    assert all(max(reduced_ratio(*pair)) <= 640 for pair in PAIRS)


@pytest.mark.parametrize(
    ("in_rate", "out_rate", "message"),
    [
        (24_001, 24_000, "from 24001 to 24000 Hz.* 24000/24001.* above 640"),
        (641 * 25, 640 * 25, "16025 to 16000 Hz.*640/641"),
        (7000, 24_000, "sample rate 7000: it must be from 8000 to 192000"),
        (24_000, 200_000, "sample rate 200000"),
        (24_000, 24_000, "both rates are 24000 Hz"),
    ],
)
def test_an_unsupported_ratio_is_refused(in_rate: int, out_rate: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Resampler(in_rate, out_rate)


def test_terms_of_640_are_the_last_supported() -> None:
    unit = 30
    assert gcd(640, 639) == 1
    assert len(one_shot(640 * unit, 639 * unit, np.zeros(640, np.int16))) == 639
