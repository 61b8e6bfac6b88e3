"""The two media values that users hand in and get back: `AudioFrame` and `VideoFrame`.

Both are checked once, where they are made, so that nothing behind them has to check again.
"""

from __future__ import annotations

import operator
from typing import Any, Literal, Self, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

Int16Array: TypeAlias = NDArray[np.int16]
AudioData: TypeAlias = NDArray[Any] | bytes | bytearray | memoryview
VideoEncoding: TypeAlias = Literal["rgb", "jpeg", "png"]

_Scalar = TypeVar("_Scalar", np.int16, np.uint8)

MIN_RATE = 8_000
MAX_RATE = 192_000
MAX_CHANNELS = 8
# As far beyond ±1 as filters go: that is clipped without a word.
OVERSHOOT = 2.0

_S16_FORMATS = ("B", "b", "c", "h", "<h")  # bytes, or the samples themselves
_MAGIC = {"jpeg": b"\xff\xd8\xff", "png": b"\x89PNG\r\n\x1a\n"}


class AudioFrame:
    """A stretch of PCM audio that nobody can change any more.

    Args:
        data: An ndarray of int16, float32 or float64 (floats span -1 to 1; what lies beyond is clipped),
            shape (samples,) or (samples, channels), a 1-D array of several channels being interleaved; or
            s16le bytes, interleaved. A writable buffer is copied, so that the caller may reuse it; int16 or
            bytes that are read-only and contiguous are kept as they are.
        sample_rate: Samples per second and channel, 8,000 to 192,000.
        num_channels: 1 to 8.

    Raises:
        ValueError: If an argument is none of the above, or a float is NaN or infinite. The message names what
            was wrong and how to put it right.

    Attributes:
        data: Read-only C-contiguous int16: (samples,) if there is one channel, else (samples, channels).
        sample_rate: Hz.
        num_channels: 1 to 8.

    Frames are not written to after they are made, so any thread may read them.
    """

    __slots__ = ("data", "num_channels", "sample_rate")

    data: Int16Array
    sample_rate: int
    num_channels: int

    def __init__(self, data: AudioData, sample_rate: int, num_channels: int = 1) -> None:
        self.sample_rate = _checked_int("sample_rate", sample_rate, MIN_RATE, MAX_RATE)
        self.num_channels = _checked_int("num_channels", num_channels, 1, MAX_CHANNELS)
        samples = _to_int16(data) if isinstance(data, np.ndarray) else _from_bytes(data)
        self.data = _freeze(_shape(samples, self.num_channels))

    @classmethod
    def _wrap(cls, data: Int16Array, sample_rate: int, num_channels: int) -> Self:
        """Make a frame of data that is known to be good: read-only, contiguous, rightly shaped int16.

        For the engine, which makes one per audio delta; nothing is checked.
        """
        frame = object.__new__(cls)
        frame.data = data
        frame.sample_rate = sample_rate
        frame.num_channels = num_channels
        return frame

    @property
    def samples_per_channel(self) -> int:
        """How many samples each channel has."""
        return len(self.data)

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return len(self.data) / self.sample_rate

    def to_bytes(self) -> bytes:
        """The audio as s16le, channels interleaved."""
        return self.data.astype("<i2", copy=False).tobytes()

    def __repr__(self) -> str:
        return (
            f"AudioFrame({self.samples_per_channel} samples, sample_rate={self.sample_rate}, "
            f"num_channels={self.num_channels})"
        )


class VideoFrame:
    """One picture.

    Args:
        data: For "rgb" a uint8 ndarray of shape (height, width, 3), copied if it is writable; for "jpeg" and
            "png" the encoded file as bytes, which is passed on as it is.
        encoding: "rgb", "jpeg" or "png".

    Raises:
        ValueError: If data is not of the kind that the encoding says; encoded files are told by their first
            bytes.

    Attributes:
        data: The read-only array, or the bytes.
        encoding: As given.

    Any thread may read it.
    """

    __slots__ = ("data", "encoding")

    data: NDArray[np.uint8] | bytes
    encoding: VideoEncoding

    def __init__(
        self, data: NDArray[np.uint8] | bytes | bytearray | memoryview, encoding: VideoEncoding = "rgb"
    ) -> None:
        if encoding == "rgb":
            self.data = _checked_picture(data)
        elif encoding in _MAGIC:
            self.data = _checked_file(data, encoding)
        else:
            raise ValueError(f"encoding is {encoding!r}: use 'rgb', 'jpeg' or 'png'")
        self.encoding = encoding

    def __repr__(self) -> str:
        if isinstance(self.data, bytes):
            return f"VideoFrame({len(self.data)} bytes, encoding={self.encoding!r})"
        height, width, _ = self.data.shape
        return f"VideoFrame({width}x{height}, encoding={self.encoding!r})"


def _checked_int(name: str, value: int, low: int, high: int) -> int:
    try:
        number = operator.index(value)  # takes NumPy's integers too, but no float
    except TypeError:
        raise ValueError(f"{name} is {value!r}: give an int from {low} to {high}") from None
    if not low <= number <= high:
        raise ValueError(f"{name} is {number}: it must be from {low} to {high}")
    return number


def _from_bytes(data: bytes | bytearray | memoryview) -> Int16Array:
    if not isinstance(data, bytes | bytearray | memoryview):
        raise ValueError(f"audio data is of type {type(data).__name__}: give a NumPy array or s16le bytes")
    view = memoryview(data)
    if view.format not in _S16_FORMATS:
        raise ValueError(f"audio data is a memoryview of format {view.format!r}: give bytes or int16")
    if view.nbytes % 2:
        raise ValueError(f"audio data has {view.nbytes} bytes, an odd count: s16le takes two bytes a sample")
    flat = data if view.c_contiguous else view.tobytes()
    return np.frombuffer(flat, "<i2").astype(np.int16, copy=False)


def _to_int16(array: NDArray[Any]) -> Int16Array:
    if array.dtype == np.int16:
        return array
    if array.dtype not in (np.float32, np.float64):
        raise ValueError(
            f"audio data has dtype {array.dtype}: give int16, or float32 or float64 between -1 and 1"
        )
    if not np.isfinite(array).all():
        raise ValueError("audio data contains NaN or infinity: replace them, for example with np.nan_to_num")
    # 32768 rather than 32767, so that int16 / 32768 as a float comes back as the same int16
    scaled: Int16Array = np.rint(np.clip(array * 32768, -32768, 32767)).astype(np.int16)
    return scaled


def is_on_another_scale(data: object) -> bool:
    """Whether these are floats so far beyond ±1 that they can't be a filter's overshoot."""
    return (
        isinstance(data, np.ndarray)
        and data.dtype.kind == "f"
        and data.size > 0
        and float(np.abs(data).max()) > OVERSHOOT
    )


def _shape(samples: Int16Array, channels: int) -> Int16Array:
    if samples.ndim == 1:
        if samples.size % channels:
            raise ValueError(
                f"audio data has {samples.size} samples, not a whole number of {channels}-channel frames: "
                "pass whole frames, or the right num_channels"
            )
        return samples if channels == 1 else samples.reshape(-1, channels)
    if samples.ndim != 2 or samples.shape[1] != channels:
        raise ValueError(
            f"audio data has shape {samples.shape} with num_channels={channels}: "
            "give (samples,) or (samples, num_channels)"
        )
    return samples.reshape(-1) if channels == 1 else samples


def _freeze(array: NDArray[_Scalar]) -> NDArray[_Scalar]:
    """The array itself if it is read-only and contiguous, else a copy that is."""
    if array.flags.writeable or not array.flags.c_contiguous:
        array = array.copy(order="C")
        array.flags.writeable = False
    return array


def _checked_picture(data: object) -> NDArray[np.uint8]:
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 3 or data.shape[2] != 3:
        found = f"{data.dtype} {data.shape}" if isinstance(data, np.ndarray) else f"a {type(data).__name__}"
        raise ValueError(f"an rgb picture is a uint8 array of shape (height, width, 3), not {found}")
    if data.size == 0:
        raise ValueError(f"the picture is empty: its shape is {data.shape}")
    return _freeze(data)


def _checked_file(data: object, encoding: str) -> bytes:
    if not isinstance(data, bytes | bytearray | memoryview):
        raise ValueError(f"a {encoding} picture is bytes, not a {type(data).__name__}")
    file = bytes(data)
    if not file.startswith(_MAGIC[encoding]):
        raise ValueError(f"the data is no {encoding} file: it begins with {file[:8].hex(' ') or 'nothing'}")
    return file
