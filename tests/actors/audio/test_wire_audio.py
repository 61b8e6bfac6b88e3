from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from antiphon.actors.audio import AudioFrame, Resampler, WireAudio, check_rates, preload, to_frame


def frame(seed: int, length: int, rate: int = 24_000, channels: int = 1) -> AudioFrame:
    pcm = np.random.default_rng(seed).integers(-20_000, 20_000, length * channels, np.int16)
    return AudioFrame(pcm, rate, channels)


def filtered(data: NDArray[np.int16], rate: int, wire_rate: int = 24_000) -> NDArray[np.int16]:
    resampler = Resampler(rate, wire_rate)
    return np.concatenate([resampler.push(data), resampler.flush()])


def test_mono_at_the_wires_rate_passes_bit_exact_and_uncopied() -> None:
    wire, pushed = WireAudio(), frame(0, 240)
    assert wire.push(pushed) is pushed.data
    assert wire.push_many([pushed]) is pushed.data
    assert wire.flush().size == 0


def test_many_frames_at_the_wires_rate_are_strung_together() -> None:
    frames = [frame(seed, 240) for seed in range(10)]
    assert np.array_equal(WireAudio().push_many(frames), np.concatenate([f.data for f in frames]))


def test_nothing_pushed_is_nothing() -> None:
    wire = WireAudio()
    assert wire.push_many([]).shape == (0,)
    assert wire.push(AudioFrame(b"", 24_000)).shape == (0,)
    assert wire.flush().dtype == np.int16


def test_channels_are_averaged() -> None:
    stereo = AudioFrame(
        np.array([[100, 200], [-5, -6], [32767, 32767], [-32768, -32768]], np.int16), 24_000, 2
    )
    assert WireAudio().push(stereo).tolist() == [150, -6, 32767, -32768]


@pytest.mark.parametrize("channels", range(1, 9))
def test_equal_channels_average_to_themselves(channels: int) -> None:
    mono = np.arange(-32768, 32768, 7, dtype=np.int16)
    pushed = AudioFrame(np.repeat(mono, channels), 24_000, channels)
    assert np.array_equal(WireAudio().push(pushed), mono)


def test_stereo_is_as_long_as_mono() -> None:
    wire = WireAudio()
    out = np.concatenate([wire.push(frame(1, 4800, 48_000, 2)), wire.flush()])
    assert out.shape == (2400,)


def test_the_filter_runs_on_across_pushes() -> None:
    whole = frame(2, 4410, 44_100)
    wire = WireAudio()
    parts = [wire.push(AudioFrame(part, 44_100)) for part in np.split(whole.data, 10)]
    out = np.concatenate([*parts, wire.flush()])
    assert np.abs(out.astype(int) - filtered(whole.data, 44_100)).max() <= 1


def test_a_change_of_rate_flushes_the_old_filter_first() -> None:
    first, second, third = frame(3, 480, 48_000), frame(4, 160, 16_000), frame(5, 240)
    wire = WireAudio()
    out = [wire.push(first), wire.push(second), wire.push(third), wire.flush()]
    expected = [filtered(first.data, 48_000), filtered(second.data, 16_000), third.data]
    assert np.array_equal(np.concatenate(out), np.concatenate(expected))
    assert out[3].size == 0


def test_a_change_of_channels_does_not_disturb_the_filter() -> None:
    mono = frame(6, 960, 48_000)
    wire = WireAudio()
    second_half = AudioFrame(np.repeat(mono.data[480:], 2), 48_000, 2)
    out = np.concatenate(
        [wire.push(AudioFrame(mono.data[:480], 48_000)), wire.push(second_half), wire.flush()]
    )
    assert np.abs(out.astype(int) - filtered(mono.data, 48_000)).max() <= 1


FORMATS = st.sampled_from([(24_000, 1), (24_000, 2), (48_000, 1), (48_000, 2), (16_000, 1), (44_100, 1)])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 500), FORMATS), max_size=12), st.sampled_from([8000, 24_000]))
def test_push_many_equals_push_by_push(pushes: list[tuple[int, tuple[int, int]]], wire_rate: int) -> None:
    frames = [frame(length, length, *fmt) for length, fmt in pushes]
    one, many = WireAudio(wire_rate), WireAudio(wire_rate)
    expected = np.concatenate([*(one.push(f) for f in frames), one.flush()])
    got = np.concatenate([many.push_many(frames), many.flush()])
    assert got.shape == expected.shape
    assert np.abs(got.astype(int) - expected).max(initial=0) <= 1


def test_a_flush_ends_the_stream_and_the_next_begins_anew() -> None:
    wire, pushed = WireAudio(8000), frame(7, 480)
    once = np.concatenate([wire.push(pushed), wire.flush()])
    again = np.concatenate([wire.push(pushed), wire.flush()])
    assert len(once) == 160
    assert np.array_equal(once, again)


def test_a_refused_frame_leaves_the_stream_as_it_was() -> None:
    wire, good = WireAudio(), frame(8, 480, 48_000)
    head = wire.push(good)
    with pytest.raises(ValueError, match="24001"):
        wire.push(frame(9, 10, 24_001))
    assert np.array_equal(np.concatenate([head, wire.flush()]), filtered(good.data, 48_000))


def test_check_rates_refuses_what_the_filter_would() -> None:
    check_rates(44_100, 24_000)
    check_rates(24_000, 24_000)
    with pytest.raises(ValueError, match="44101 to 24000"):
        check_rates(44_101, 24_000)


def test_to_frame_takes_frames_and_raw_audio() -> None:
    pushed = frame(10, 4, 48_000, 2)
    assert to_frame(pushed) is pushed
    assert to_frame(pushed, 48_000, 2) is pushed
    raw = to_frame(pushed.to_bytes(), 48_000, 2)
    assert np.array_equal(raw.data, pushed.data)
    assert to_frame(pushed.to_bytes(), 16_000).num_channels == 1


@pytest.mark.parametrize(
    ("data", "rate", "channels", "message"),
    [
        (b"ab", None, None, "sample_rate is missing"),
        (b"abc", 8000, None, "odd count"),
        (b"ab", 8000, 0, "num_channels is 0"),
        ([1, 2], 8000, 1, "of type list"),
        (frame(0, 1), 8000, None, "has its own sample_rate"),
        (frame(0, 1), None, 2, "has its own sample_rate"),
    ],
)
def test_to_frame_refuses(data: Any, rate: Any, channels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_frame(data, rate, channels)


def test_no_scipy_for_the_usual_rates() -> None:
    """Importing it costs a second and 70 MB."""
    code = """
import sys
import antiphon.actors.audio as audio
for wire_rate in (24_000, 8_000):
    for rate in (8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000, 176_400, 192_000):
        audio.WireAudio(wire_rate).push(audio.AudioFrame(bytes(480), rate))
        audio.WireAudio(rate).push(audio.AudioFrame(bytes(480), wire_rate))
audio.check_rates(37_500, 24_000)
assert not any(name.partition(".")[0] == "scipy" for name in sys.modules)
audio.preload()
assert "scipy.signal" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_preload_may_be_called_again() -> None:
    preload()
    preload()
    assert "scipy.signal" in sys.modules
