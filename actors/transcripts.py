"""Input transcription: what the user says, as it becomes known."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable

import antiphon.protocol as p
from antiphon.actors.events import MetricsMetadata, TranscriptionMetrics
from antiphon.actors.undo import Undoable, UndoDict


class Transcripts(Undoable):
    """Partial transcripts by item and content part."""

    def __init__(self) -> None:
        self._partial: UndoDict[tuple[str, int], str] = UndoDict()

    def add(self, item_id: str, content_index: int, delta: str) -> str:
        """Append a delta; returns the text so far."""
        text = self._partial.get((item_id, content_index), "") + delta
        self._partial[item_id, content_index] = text
        return text

    def finish(self, item_id: str, content_index: int) -> str | None:
        """Forget a partial transcript; returns its text, or None if there was none."""
        text: str | None = self._partial.pop((item_id, content_index), None)
        return text

    def clear(self) -> None:
        """Forget all of them."""
        self._partial.clear()


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
