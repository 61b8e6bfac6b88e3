"""Partial transcripts, confidence, and what a transcription costs."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import antiphon.protocol as p
from antiphon.actors.events import MetricsMetadata
from antiphon.actors.transcripts import Transcripts, confidence, transcription_metrics

WHOSE = MetricsMetadata(model_name="gpt-realtime", model_provider="test")


def completed(usage: p.TranscriptionUsage | msgspec.UnsetType | None) -> p.ServerEvent:
    return p.ConversationItemInputAudioTranscriptionCompleted(
        item_id="u", transcript="hi", usage=usage, event_id="event_7"
    )


def test_deltas_accumulate_per_item_and_content_part() -> None:
    transcripts = Transcripts()
    assert transcripts.add("a", 0, "to") == "to"
    assert transcripts.add("a", 1, "not") == "not"
    assert transcripts.add("b", 0, "else") == "else"
    assert transcripts.add("a", 0, " be") == "to be"
    assert transcripts.finish("a", 0) == "to be"
    assert transcripts.finish("a", 0) is None
    assert transcripts.add("a", 1, " to be") == "not to be"


def test_all_partial_transcripts_can_be_forgotten() -> None:
    transcripts = Transcripts()
    transcripts.add("a", 0, "to")
    transcripts.clear()
    assert transcripts.finish("a", 0) is None
    assert transcripts.add("a", 0, "be") == "be"


@given(st.lists(st.floats(-20, 0), min_size=1, max_size=20))
def test_confidence_is_exp_of_the_mean_log_probability(logprobs: list[float]) -> None:
    sure = confidence([p.LogProb(token="x", logprob=one) for one in logprobs])
    assert sure is not None
    assert 0 <= sure <= 1
    assert sure == pytest.approx(math.exp(math.fsum(logprobs) / len(logprobs)))


@pytest.mark.parametrize("nothing", [None, p.NOT_GIVEN, []])
def test_without_log_probabilities_there_is_no_confidence(nothing: object) -> None:
    assert confidence(nothing) is None


def test_a_transcription_billed_by_tokens() -> None:
    usage = p.TranscriptionTokensUsage(
        total_tokens=30,
        input_tokens=20,
        output_tokens=10,
        input_token_details=p.TranscriptionInputTokenDetails(text_tokens=3, audio_tokens=17),
    )
    metrics = transcription_metrics(completed(usage), "label", WHOSE)  # type: ignore[arg-type]
    assert metrics is not None
    assert (metrics.input_tokens, metrics.output_tokens, metrics.total_tokens) == (20, 10, 30)
    assert (metrics.input_audio_tokens, metrics.audio_duration) == (17, 0.0)
    assert (metrics.request_id, metrics.label, metrics.metadata) == ("event_7", "label", WHOSE)


def test_a_transcription_billed_by_duration() -> None:
    metrics = transcription_metrics(completed(p.TranscriptionDurationUsage(seconds=2.5)), "label", WHOSE)  # type: ignore[arg-type]
    assert metrics is not None
    assert (metrics.audio_duration, metrics.total_tokens) == (2.5, 0)


@pytest.mark.parametrize("usage", [None, p.NOT_GIVEN])
def test_a_transcription_whose_cost_is_not_said(usage: None) -> None:
    assert transcription_metrics(completed(usage), "label", WHOSE) is None  # type: ignore[arg-type]
