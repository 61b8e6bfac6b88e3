"""Tells speech from silence in a stream of audio."""

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from antiphon.actors.audio import Int16Array, Resampler
from antiphon.testing.extras import require

_RATE = 8000  # the detector works at 8 kHz inside
_FRAME_MS = 20
_FRAME = _RATE * _FRAME_MS // 1000
_ONSET_WINDOW = 8  # frames looked at for the beginning of speech,
_ONSET_VOICED = 5  # and how many of them must be voiced
_RESUME_VOICED = 3  # frames in a row that break a pause
_QUIET_RMS = 60.0  # below this (-55 dBFS) nothing counts as speech
_FLOOR_RISE = 1.01  # how fast the noise floor follows upwards, per frame


@dataclass(frozen=True, slots=True)
class SpeechEdge:
    """Speech begins or ends.

    Attributes:
        started: Whether it begins.
        at_ms: When, in ms of the stream.
    """

    started: bool
    at_ms: int


class SpeechDetector:
    """Finds where speech begins and ends; works on what it is given, knows no clock.

    Args:
        rate: The stream's rate, 8000 or 24000 Hz.
        threshold: 0.0 to 1.0; the higher, the louder and clearer speech must be.
        silence_ms: How much silence ends speech.
        origin_ms: Where in the session's audio the stream begins.
    """

    def __init__(self, rate: int, threshold: float, silence_ms: int, origin_ms: float = 0.0) -> None:
        mode = 1 if threshold < 0.35 else 2 if threshold < 0.65 else 3
        self._vad: Any = require("webrtcvad", "local").Vad(mode)
        self._resampler = None if rate == _RATE else Resampler(rate, _RATE)
        self._pending: Int16Array = np.zeros(0, np.int16)
        self._margin = 1.0 + 3.0 * threshold  # how far above the noise floor speech is
        self._silence_frames = max(1, round(silence_ms / _FRAME_MS))
        self._origin_ms = origin_ms
        self._frames = 0
        self._floor = 300.0
        self._recent: deque[bool] = deque(maxlen=_ONSET_WINDOW)
        self._voiced_run = 0
        self._silent = 0
        self.speaking = False

    def feed(self, samples: Int16Array) -> list[SpeechEdge]:
        """Take in the next samples and return the edges found in them, in order."""
        fresh = samples if self._resampler is None else self._resampler.push(samples)
        self._pending = np.concatenate([self._pending, fresh])
        edges: list[SpeechEdge] = []
        used = len(self._pending) // _FRAME * _FRAME
        for start in range(0, used, _FRAME):
            edge = self._frame(self._pending[start : start + _FRAME])
            if edge is not None:
                edges.append(edge)
        self._pending = self._pending[used:].copy()
        return edges

    def _voiced(self, frame: Int16Array) -> bool:
        rms = float(np.sqrt(np.mean(np.square(frame, dtype=np.float64))))
        voiced: bool = (
            rms > _QUIET_RMS
            and rms > self._floor * self._margin
            and self._vad.is_speech(frame.tobytes(), _RATE)
        )
        if rms < self._floor:
            self._floor = max(rms, 1.0)
        elif not self.speaking:
            self._floor = min(self._floor * _FLOOR_RISE, rms)
        return voiced

    def _frame(self, frame: Int16Array) -> SpeechEdge | None:
        voiced = self._voiced(frame)
        self._frames += 1
        if not self.speaking:
            self._recent.append(voiced)
            if sum(self._recent) < _ONSET_VOICED:
                return None
            first = self._frames - len(self._recent) + self._recent.index(True)
            self.speaking = True
            self._silent = self._voiced_run = 0
            return SpeechEdge(True, self._ms(first))
        self._voiced_run = self._voiced_run + 1 if voiced else 0
        if self._voiced_run >= _RESUME_VOICED:
            self._silent = 0
        else:
            self._silent += 1
        if self._silent < self._silence_frames:
            return None
        self.speaking = False
        self._recent.clear()
        return SpeechEdge(False, self._ms(self._frames))

    def _ms(self, frames: int) -> int:
        return round(self._origin_ms + frames * _FRAME_MS)
