"""From the frames that an app pushes to the wire's samples: mono, at the wire's rate."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter

import numpy as np

from antiphon.actors.audio.frame import AudioData, AudioFrame, Int16Array
from antiphon.actors.audio.resample import Resampler, reduced_ratio
from antiphon.actors.undo import Undoable

_SILENCE: Int16Array = np.empty(0, np.int16)
_SILENCE.flags.writeable = False


def to_frame(
    data: AudioFrame | AudioData, sample_rate: int | None = None, num_channels: int | None = None
) -> AudioFrame:
    """The argument of `push_audio`, either form, as a frame.

    Args:
        data: A frame, which comes back as it is, or what `AudioFrame` takes.
        sample_rate: Hz; needed unless data is a frame.
        num_channels: 1 if not given.

    Raises:
        ValueError: As `AudioFrame` does; or the rate is missing, or contradicts the frame's own.
    """
    if isinstance(data, AudioFrame):
        if sample_rate not in (None, data.sample_rate) or num_channels not in (None, data.num_channels):
            raise ValueError(f"{data!r} has its own sample_rate and num_channels: leave them out")
        return data
    if sample_rate is None:
        raise ValueError("sample_rate is missing: raw audio doesn't tell its rate")
    return AudioFrame(data, sample_rate, 1 if num_channels is None else num_channels)


def check_rates(in_rate: int, wire_rate: int) -> None:
    """Raise the ValueError that filtering in_rate to wire_rate would; it costs nothing and loads no scipy."""
    reduced_ratio(in_rate, wire_rate)


class WireAudio(Undoable):
    """One stream of pushed audio on its way to the wire: averaged to mono and resampled.

    It holds the resampler's state, so use it from one thread at a time.

    Args:
        wire_rate: The wire's samples per second.
    """

    def __init__(self, wire_rate: int = 24_000) -> None:
        self._wire_rate = wire_rate
        self._rate = wire_rate
        self._resampler: Resampler | None = None

    def push(self, frame: AudioFrame) -> Int16Array:
        """Convert the next frame.

        Returns:
            The wire samples that are ready, 1-D int16; the filter holds some back until more follows or
            `flush`. Mono audio at the wire's rate is the frame's own data. If the rate differs from that of
            the frame before, the old filter's tail comes first.

        Raises:
            ValueError: If the rate can't be converted (see `check_rates`); the stream is as it was.
        """
        return self._convert(frame.data, frame.sample_rate)

    def push_many(self, frames: Sequence[AudioFrame]) -> Int16Array:
        """Like pushing one after the other, but neighbours of equal format pass the filter in one go.

        Raises:
            ValueError: As `push` does; the frames before the bad one count as pushed, and their output is
                lost, so check the rates first.
        """
        parts = []
        for (rate, _), group in groupby(frames, attrgetter("sample_rate", "num_channels")):
            data = [frame.data for frame in group]
            parts.append(self._convert(data[0] if len(data) == 1 else np.concatenate(data), rate))
        return _join(parts)

    def flush(self) -> Int16Array:
        """End the stream: what the filter still held, 1-D int16. A push after it begins a new stream."""
        return _SILENCE if self._resampler is None else self._resampler.flush()

    def _convert(self, data: Int16Array, rate: int) -> Int16Array:
        tail = _SILENCE if rate == self._rate else self._change_rate(rate)
        if self._resampler is None:
            return _join([tail, _to_mono(data)])
        return _join([tail, self._resampler.push(_to_mono(data))])

    def _change_rate(self, rate: int) -> Int16Array:
        resampler = None if rate == self._wire_rate else Resampler(rate, self._wire_rate)
        tail = self.flush()
        self._rate, self._resampler = rate, resampler
        return tail


def _to_mono(data: Int16Array) -> Int16Array:
    if data.ndim == 1:
        return data
    # a product with equal weights, which takes a tenth of the time of mean(axis=1)
    weights = np.full(data.shape[1], 1 / data.shape[1], np.float32)
    mono: Int16Array = np.rint(data.astype(np.float32) @ weights).astype(np.int16)
    return mono


def _join(parts: list[Int16Array]) -> Int16Array:
    """Concatenate, but hand a lone part through as it is: 24 kHz mono is never copied."""
    full = [part for part in parts if part.size]
    if len(full) == 1:
        return full[0]
    return np.concatenate(full) if full else _SILENCE
