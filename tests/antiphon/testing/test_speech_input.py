"""What `synthesize` and `transcribe` say to input that they can't use, and what `antiphon.testing` offers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import antiphon.testing
from antiphon.testing import synthesize, transcribe

SAMPLES = np.ones(2400, np.int16)


@pytest.mark.parametrize(
    ("samples", "names", "fix"),
    [
        (np.ones((2400, 2), np.int16), r"shape \(2400, 2\)", r"samples\[:, 0\]"),
        (np.ones((0, 2), np.int16), r"shape \(0, 2\)", r"samples\[:, 0\]"),
        (np.ones((1, 1, 5), np.int16), r"shape \(1, 1, 5\)", "one channel"),
        (np.ones(2400), "float64", "32767"),
        (np.ones(2400, np.float32), "float32", "32767"),
        (np.ones(2400, np.int32), "int32", r"astype\(np\.int16\)"),
        (np.ones(2400, np.uint8), "uint8", r"astype\(np\.int16\)"),
        ([1, 2, 3], "list", "NumPy array"),
        (b"\x00\x00", "bytes", "np.frombuffer"),
    ],
)
def test_samples_that_are_no_mono_int16_are_refused(samples: Any, names: str, fix: str) -> None:
    with pytest.raises(ValueError, match=f"samples.*{names}.*{fix}"):
        transcribe(samples, 24_000)


@pytest.mark.parametrize("rate", [0, -5, 7_000, 24_000.0, "24000", None])
@pytest.mark.parametrize("samples", [SAMPLES, SAMPLES[:0]], ids=["some", "none"])
def test_a_rate_that_is_none_is_refused_even_without_samples(samples: Any, rate: Any) -> None:
    with pytest.raises(ValueError, match=f"rate.*{rate}.*8000"):
        transcribe(samples, rate)


def test_other_byte_orders_and_strides_are_heard_all_the_same() -> None:
    said, rate = synthesize("What time is it?")
    stereo = np.stack([said, said], axis=1)
    assert transcribe(stereo[:, 0], rate) == transcribe(said.astype(">i2"), rate) == "what time is it"


@pytest.mark.parametrize("text", [None, 5, b"hello"])
def test_a_text_that_is_none_is_refused(text: Any) -> None:
    with pytest.raises(ValueError, match=rf"text.*{type(text).__name__}.*str"):
        synthesize(text)


@pytest.mark.parametrize("speed", [float("nan"), float("inf"), "fast", None, 0.0, -1.0])
def test_a_speed_that_is_none_is_refused(speed: Any) -> None:
    with pytest.raises(ValueError, match=rf"speed.*{speed}.*0\.5 to 2\.0"):
        synthesize("Hello.", speed=speed)


@pytest.mark.parametrize("text", ["", " \n"])
def test_of_nothing_there_is_no_sound(text: str) -> None:
    samples, rate = synthesize(text)
    assert (samples.shape, samples.dtype, rate) == ((0,), np.int16, 24_000)
    assert transcribe(samples, rate) == ""


def test_names_that_are_loaded_later_are_listed() -> None:
    assert set(antiphon.testing.__all__) <= set(dir(antiphon.testing))
    for name in antiphon.testing.__all__:
        assert getattr(antiphon.testing, name) is not None
