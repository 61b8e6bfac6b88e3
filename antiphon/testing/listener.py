"""The input side of a session: the audio buffer, and where the turns of the user begin and end in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from antiphon.actors.audio import Int16Array, WireCodec
from antiphon.testing.apierror import ApiError
from antiphon.testing.brains.base import Sound
from antiphon.testing.ids import new_id
from antiphon.testing.sessionconfig import Json
from antiphon.testing.vad import SpeechDetector
from antiphon.testing.wirecodec import codec_of

_KEPT_MS: Final = 60_000  # of silence, for a commit by hand while turn detection is on
_MIN_COMMIT_MS: Final = 100
_PATIENCE_MS: Final = {"high": 300, "auto": 500, "medium": 500, "low": 1000}
_SEMANTIC_PREFIX_MS: Final = 300


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """The user started to speak."""

    item_id: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """The user stopped; `sound` is the turn."""

    item_id: str
    at_ms: int
    sound: Sound


@dataclass(frozen=True, slots=True)
class IdleTimeout:
    """Nothing was said for too long; `sound` is the silence."""

    item_id: str
    start_ms: int
    end_ms: int
    sound: Sound


Heard: TypeAlias = TurnStarted | TurnEnded | IdleTimeout


class Listener:
    """Buffers what the client sends and cuts it into turns. Its clock is the audio itself."""

    def __init__(self, audio_input: Json) -> None:
        self._codec: WireCodec = codec_of(audio_input["format"]["type"])
        self._config: Json | None = None
        self._detector: SpeechDetector | None = None
        self._chunks: list[Int16Array] = []
        self._start = 0.0  # where the buffer begins, ms of the session's audio
        self._now = 0.0  # where it ends
        self._turn: str | None = None
        self._turn_start = 0.0
        self._idle_from: float | None = None
        self.configure(audio_input)

    def configure(self, audio_input: Json) -> None:
        """Take over a new configuration; another format empties the buffer."""
        codec = codec_of(audio_input["format"]["type"])
        if codec is not self._codec:
            self._codec = codec
            self._detector = None
            self.clear()
        config = audio_input["turn_detection"]
        if config == self._config and (config is None or self._detector is not None):
            return
        self._config = config
        self._turn = None
        self._idle_from = None
        if config is None:
            self._detector = None
            return
        semantic = config["type"] == "semantic_vad"
        silence = _PATIENCE_MS[config["eagerness"]] if semantic else config["silence_duration_ms"]
        threshold = 0.5 if semantic else config["threshold"]
        self._detector = SpeechDetector(codec.rate, threshold, silence, self._now)

    def append(self, data: bytes) -> list[Heard]:
        """Take in the next audio and return what happened in it, in order.

        Raises:
            ApiError: The bytes are no whole samples.
        """
        try:
            samples = self._codec.decode(data)
        except ValueError:
            message = "Invalid 'audio'. Expected base64-encoded audio bytes of whole samples."
            raise ApiError(message, "invalid_value", "audio") from None
        self._chunks.append(samples)
        self._now += self._codec.samples_to_ms(len(samples))
        if self._detector is None:
            return []
        heard = [self._edge(edge.started, edge.at_ms) for edge in self._detector.feed(samples)]
        if self._turn is None:
            self._forget_before(self._now - _KEPT_MS)
            heard += self._idle()
        return heard

    def commit(self) -> Sound:
        """Take everything out of the buffer.

        Raises:
            ApiError: There is less than 100 ms of audio in it.
        """
        if self._now - self._start < _MIN_COMMIT_MS:
            message = (
                "Error committing input audio buffer: buffer too small. Expected at least 100ms of audio, "
                f"but buffer only has {self._now - self._start:.2f}ms of audio."
            )
            raise ApiError(message, "input_audio_buffer_commit_empty")
        self._turn = None
        return self._take(self._start, self._now)

    def clear(self) -> None:
        """Empty the buffer."""
        self._chunks.clear()
        self._start = self._now
        self._turn = None

    def agent_speaks_until(self, length_ms: float | None) -> None:
        """The agent's audio ends `length_ms` from now (`None`: not yet known); then the idle time begins."""
        self._idle_from = None if length_ms is None else self._now + length_ms

    def _edge(self, started: bool, at_ms: int) -> Heard:
        assert self._config is not None
        if started:
            padding = self._config.get("prefix_padding_ms", _SEMANTIC_PREFIX_MS)
            self._turn_start = max(self._start, at_ms - padding)
            self._turn = new_id("item")
            self._idle_from = None
            return TurnStarted(self._turn, round(self._turn_start))
        item_id = self._turn or new_id("item")
        self._turn = None
        return TurnEnded(item_id, at_ms, self._take(max(self._start, self._turn_start), at_ms))

    def _idle(self) -> list[Heard]:
        timeout: int | None = self._config.get("idle_timeout_ms") if self._config else None
        if timeout is None or self._idle_from is None or self._now < self._idle_from + timeout:
            return []
        start = max(self._start, self._idle_from)
        self._idle_from = None
        item_id = new_id("item")
        return [IdleTimeout(item_id, round(start), round(self._now), self._take(start, self._now))]

    def _take(self, start_ms: float, end_ms: float) -> Sound:
        """Cut a stretch out; what is before it is forgotten, what is after it stays."""
        audio = self._joined()
        first = self._codec.ms_to_samples(start_ms - self._start)
        last = self._codec.ms_to_samples(end_ms - self._start)
        self._chunks = [audio[last:]]
        taken = audio[first:last]
        self._start = self._now - self._codec.samples_to_ms(len(audio[last:]))
        return Sound(taken, self._codec.rate)

    def _forget_before(self, ms: float) -> None:
        if ms - self._start > _KEPT_MS / 2:
            self._take(ms, ms)

    def _joined(self) -> Int16Array:
        return np.concatenate(self._chunks) if self._chunks else np.zeros(0, np.int16)
