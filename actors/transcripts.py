"""Input transcription: what the user says, as it becomes known."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable

import msgspec

import antiphon.protocol as p
from antiphon.actors.events import MetricsMetadata, TranscriptionMetrics
from antiphon.actors.undo import Undoable, UndoDict

# Of so many parts and items, not more, is held what their server may never come back to.
REMEMBERED = 512


class Transcript(msgspec.Struct, frozen=True):
    """What was said in a content part.

    Attributes:
        text: The words.
        confidence: The transcriber's, 0 to 1; None if it gave none.
        is_final: Whether it is whole, and not what there was when transcription failed.
    """

    text: str
    confidence: float | None = None
    is_final: bool = True


class Transcripts(Undoable):
    """Transcripts that are not in the conversation: partial ones, and those that came before their items."""

    def __init__(self) -> None:
        self._partial: UndoDict[tuple[str, int], str] = UndoDict()
        self._early: UndoDict[str, dict[int, Transcript]] = UndoDict()

    def add(self, item_id: str, content_index: int, delta: str) -> str:
        """Append a delta; returns the text so far."""
        text = self._partial.get((item_id, content_index), "") + delta
        self._partial[item_id, content_index] = text
        self._partial.keep_newest(REMEMBERED)
        return text

    def finish(self, item_id: str, content_index: int) -> str | None:
        """Forget a partial transcript; returns its text, or None if there was none."""
        text: str | None = self._partial.pop((item_id, content_index), None)
        return text

    def hold(self, item_id: str, content_index: int, transcript: Transcript) -> None:
        """Keep a transcript until its item comes."""
        self._early[item_id] = {**self.early(item_id), content_index: transcript}
        self._early.keep_newest(REMEMBERED)

    def early(self, item_id: str) -> dict[int, Transcript]:
        """What is held for an item, by content part."""
        return self._early.get(item_id, {})

    def take_early(self, item_id: str) -> dict[int, Transcript]:
        """What was held for an item, by content part; it is held no longer."""
        held: dict[int, Transcript] = self._early.pop(item_id, {})
        return held

    def clear(self) -> None:
        """Forget all of them."""
        self._partial.clear()
        self._early.clear()


def confidence(logprobs: Iterable[p.LogProb] | object | None) -> float | None:
    """exp of the mean log probability, 0 to 1; None when there is none."""
    if not isinstance(logprobs, list) or not logprobs:
        return None
    return math.exp(sum(entry.logprob for entry in logprobs) / len(logprobs))


def transcription_metrics(
    event: p.ConversationItemInputAudioTranscriptionCompleted, label: str, metadata: MetricsMetadata
) -> TranscriptionMetrics | None:
    """What a transcription cost; None if the server doesn't say."""
    usage = event.usage
    request_id = p.given(event.event_id, "")
    if isinstance(usage, p.TranscriptionDurationUsage):
        return TranscriptionMetrics(
            timestamp=time.time(),
            request_id=request_id,
            label=label,
            metadata=metadata,
            audio_duration=usage.seconds,
        )
    if not isinstance(usage, p.TranscriptionTokensUsage):
        return None
    details = usage.input_token_details
    return TranscriptionMetrics(
        timestamp=time.time(),
        request_id=request_id,
        label=label,
        metadata=metadata,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        total_tokens=usage.total_tokens,
        input_audio_tokens=p.given(details.audio_tokens, 0) if isinstance(details, p.Wire) else 0,
    )
