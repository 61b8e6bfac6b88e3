from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from antiphon.actors.audio import AudioFrame, VideoFrame

MONO = np.array([0, 1, -1, 32767, -32768, 300], np.int16)


def test_the_frame_holds_what_it_was_given() -> None:
    frame = AudioFrame(MONO, 24_000)
    assert frame.data.tolist() == MONO.tolist()
    assert (frame.sample_rate, frame.num_channels, frame.samples_per_channel) == (24_000, 1, 6)
    assert frame.duration == 6 / 24_000
    assert frame.to_bytes() == MONO.astype("<i2").tobytes()


@pytest.mark.parametrize(
    "data",
    [MONO, MONO.reshape(3, 2), MONO.tobytes(), bytearray(MONO.tobytes()), memoryview(MONO.tobytes())],
    ids=["interleaved", "columns", "bytes", "bytearray", "memoryview"],
)
def test_every_form_of_stereo_is_the_same_frame(data: Any) -> None:
    frame = AudioFrame(data, 48_000, 2)
    assert frame.data.tolist() == [[0, 1], [-1, 32767], [-32768, 300]]
    assert frame.samples_per_channel == 3
    assert frame.to_bytes() == MONO.tobytes()


def test_one_column_is_mono() -> None:
    assert AudioFrame(MONO.reshape(-1, 1), 8000).data.shape == (6,)


def test_an_empty_frame_is_a_frame() -> None:
    assert AudioFrame(b"", 8000, 2).data.shape == (0, 2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_are_scaled_and_clipped(dtype: type[np.floating[Any]]) -> None:
    data = np.array([0, 0.5, -0.5, 1, -1, 7, -7, 1 / 32768], dtype)
    expected = [0, 16384, -16384, 32767, -32768, 32767, -32768, 1]
    assert AudioFrame(data, 16_000).data.tolist() == expected


@given(arrays(np.int16, st.integers(0, 50)))
def test_int16_survives_the_way_through_floats(pcm: np.ndarray[Any, np.dtype[np.int16]]) -> None:
    assert np.array_equal(AudioFrame(pcm.astype(np.float32) / 32768, 8000).data, pcm)


@pytest.mark.parametrize(
    "data",
    [MONO, MONO[::2], MONO.reshape(2, 3).T, MONO / 40000, MONO.tobytes(), bytearray(MONO.tobytes())],
    ids=["writable", "strided", "transposed", "float", "bytes", "bytearray"],
)
def test_the_data_can_not_be_written_to(data: Any) -> None:
    channels = data.shape[1] if getattr(data, "ndim", 1) == 2 else 1
    frame = AudioFrame(data, 8000, channels)
    assert frame.data.dtype == np.int16
    assert frame.data.flags.c_contiguous
    with pytest.raises(ValueError, match="read-only"):
        frame.data[0] = 5


@pytest.mark.parametrize("kind", [np.array, lambda pcm: bytearray(pcm.tobytes())], ids=["array", "bytearray"])
def test_the_caller_may_reuse_its_buffer(kind: Any) -> None:
    buffer = kind(MONO)
    frame = AudioFrame(buffer, 8000)
    buffer[0] = 99
    assert frame.data[0] == 0


def test_read_only_data_is_not_copied() -> None:
    pcm = MONO.copy()
    pcm.flags.writeable = False
    raw = MONO.tobytes()
    assert AudioFrame(pcm, 8000).data is pcm
    assert np.shares_memory(AudioFrame(pcm, 8000, 2).data, pcm)
    assert np.shares_memory(AudioFrame(raw, 8000).data, np.frombuffer(raw, np.int16))


def test_a_memoryview_with_gaps_is_read_as_its_bytes() -> None:
    assert AudioFrame(MONO.data[::2], 8000).data.tolist() == MONO[::2].tolist()


def test_wrap_takes_the_array_as_it_is() -> None:
    frame = AudioFrame._wrap(MONO, 24_000, 1)
    assert frame.data is MONO
    assert (frame.sample_rate, frame.num_channels) == (24_000, 1)


def test_a_rate_may_be_one_of_numpys_integers() -> None:
    frame = AudioFrame(MONO, np.int64(8000))  # type: ignore[arg-type]
    assert type(frame.sample_rate) is int


def test_the_repr_is_short() -> None:
    frame = AudioFrame(np.zeros(2400, np.int16), 24_000)
    assert repr(frame) == "AudioFrame(2400 samples, sample_rate=24000, num_channels=1)"


def test_a_frame_has_no_other_attributes() -> None:
    with pytest.raises(AttributeError):
        AudioFrame(MONO, 8000).note = "x"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("data", "rate", "channels", "message"),
    [
        ([0, 1], 8000, 1, "audio data is of type list: give a NumPy array or s16le bytes"),
        ("ab", 8000, 1, "audio data is of type str"),
        (None, 8000, 1, "type NoneType"),
        (b"abc", 8000, 1, "3 bytes, an odd count"),
        (b"abcdef", 8000, 2, "3 samples, not a whole number of 2-channel frames"),
        (MONO[:5], 8000, 2, "5 samples, not a whole number"),
        (np.zeros(4, np.float32).data, 8000, 1, "a memoryview of format 'f': give bytes or int16"),
        (MONO.astype(np.int32), 8000, 1, "dtype int32: give int16, or float32"),
        (MONO.astype(np.uint8), 8000, 1, "dtype uint8"),
        (MONO.astype(">i2"), 8000, 1, "dtype >i2"),
        (MONO.astype(np.float16), 8000, 1, "dtype float16"),
        (MONO.astype(np.complex64), 8000, 1, "dtype complex64"),
        (np.array([0, np.nan]), 8000, 1, "NaN or infinity"),
        (np.array([0, -np.inf], np.float32), 8000, 1, "NaN or infinity"),
        (MONO.reshape(3, 2), 8000, 1, r"shape \(3, 2\) with num_channels=1"),
        (MONO.reshape(2, 3), 8000, 2, r"shape \(2, 3\) with num_channels=2"),
        (MONO.reshape(1, 3, 2), 8000, 2, r"shape \(1, 3, 2\)"),
        (np.array(3, np.int16), 8000, 1, r"shape \(\) with num_channels=1"),
        (MONO, 8000, 0, "num_channels is 0: it must be from 1 to 8"),
        (MONO, 8000, 9, "num_channels is 9"),
        (MONO, 8000, -1, "num_channels is -1"),
        (MONO, 8000, 1.0, "num_channels is 1.0: give an int"),
        (MONO, 7999, 1, "sample_rate is 7999: it must be from 8000 to 192000"),
        (MONO, 192_001, 1, "sample_rate is 192001"),
        (MONO, 24_000.0, 1, "sample_rate is 24000.0: give an int from 8000 to 192000"),
        (MONO, "24k", 1, "sample_rate is '24k'"),
        (MONO, None, 1, "sample_rate is None"),
    ],
)
def test_bad_audio_is_refused_by_name(data: Any, rate: Any, channels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AudioFrame(data, rate, channels)


PICTURE = np.zeros((4, 6, 3), np.uint8)
JPEG = b"\xff\xd8\xff\xe0rest"
PNG = b"\x89PNG\r\n\x1a\nrest"


def test_a_picture_is_kept_safe_from_its_caller() -> None:
    picture = PICTURE.copy()
    frame = VideoFrame(picture)
    picture[0, 0, 0] = 9
    assert isinstance(frame.data, np.ndarray)
    assert frame.data[0, 0, 0] == 0
    assert not frame.data.flags.writeable
    assert repr(frame) == "VideoFrame(6x4, encoding='rgb')"


@pytest.mark.parametrize(("data", "encoding"), [(JPEG, "jpeg"), (PNG, "png"), (bytearray(PNG), "png")])
def test_an_encoded_picture_is_kept_as_bytes(data: Any, encoding: Any) -> None:
    frame = VideoFrame(data, encoding)
    assert frame.data == bytes(data)
    assert repr(frame) == f"VideoFrame({len(data)} bytes, encoding={encoding!r})"


@pytest.mark.parametrize(
    ("data", "encoding", "message"),
    [
        (PICTURE.astype(np.float32), "rgb", r"not float32 \(4, 6, 3\)"),
        (PICTURE[:, :, 0], "rgb", r"not uint8 \(4, 6\)"),
        (np.zeros((4, 6, 4), np.uint8), "rgb", r"not uint8 \(4, 6, 4\)"),
        (np.zeros((0, 6, 3), np.uint8), "rgb", "the picture is empty"),
        (JPEG, "rgb", "not a bytes"),
        (JPEG, "png", "no png file: it begins with ff d8 ff e0"),
        (PNG, "jpeg", "no jpeg file"),
        (b"", "jpeg", "begins with nothing"),
        (PICTURE, "jpeg", "a jpeg picture is bytes, not a ndarray"),
        (JPEG, "gif", "encoding is 'gif': use 'rgb', 'jpeg' or 'png'"),
    ],
)
def test_a_bad_picture_is_refused_by_name(data: Any, encoding: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VideoFrame(data, encoding)
