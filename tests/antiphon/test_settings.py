"""What may be written for an option, and what is refused with the option's name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from antiphon import settings
from antiphon.actors.config import ConnectOptions, Timeouts
from antiphon.protocol import (
    NOT_GIVEN,
    AudioTranscription,
    NoiseReduction,
    Reasoning,
    RetentionRatioTruncation,
    SemanticVad,
    ServerVad,
    TokenLimits,
    ToolChoiceFunction,
    ToolChoiceMcp,
    Tracing,
)

GOOD: list[tuple[Callable[[Any], Any], Any, Any]] = [
    (settings.turn_detection, None, None),
    (settings.turn_detection, ServerVad(threshold=0.3), ServerVad(threshold=0.3)),
    (settings.turn_detection, SemanticVad(eagerness="high"), SemanticVad(eagerness="high")),
    (settings.turn_detection, {"type": "server_vad"}, ServerVad()),
    (
        settings.turn_detection,
        {"type": "server_vad", "threshold": 1, "idle_timeout_ms": None, "create_response": False},
        ServerVad(threshold=1.0, idle_timeout_ms=None, create_response=False),
    ),
    (
        settings.turn_detection,
        {"type": "semantic_vad", "eagerness": "auto", "interrupt_response": False},
        SemanticVad(eagerness="auto", interrupt_response=False),
    ),
    # A beta object has fields of both kinds: those of the other kind are dropped.
    (
        settings.turn_detection,
        {
            "type": "server_vad",
            "threshold": 0.5,
            "prefix_padding_ms": 300,
            "silence_duration_ms": 200,
            "eagerness": "auto",
            "create_response": True,
            "interrupt_response": True,
        },
        ServerVad(
            threshold=0.5,
            prefix_padding_ms=300,
            silence_duration_ms=200,
            create_response=True,
            interrupt_response=True,
        ),
    ),
    (
        settings.turn_detection,
        {"type": "semantic_vad", "eagerness": "low", "threshold": 0.5, "silence_duration_ms": None},
        SemanticVad(eagerness="low"),
    ),
    (settings.noise_reduction, None, None),
    (settings.noise_reduction, "near_field", NoiseReduction(type="near_field")),
    (settings.noise_reduction, "far_field", NoiseReduction(type="far_field")),
    (settings.noise_reduction, {"type": "far_field"}, NoiseReduction(type="far_field")),
    (settings.noise_reduction, NoiseReduction(type="near_field"), NoiseReduction(type="near_field")),
    (settings.transcription, None, None),
    (
        settings.transcription,
        {"model": "whisper-1", "language": "de"},
        AudioTranscription(model="whisper-1", language="de"),
    ),
    (settings.tracing, None, None),
    (settings.tracing, "auto", "auto"),
    (settings.tracing, {"workflow_name": "w"}, Tracing(workflow_name="w")),
    (settings.truncation, None, None),
    (settings.truncation, "auto", "auto"),
    (settings.truncation, "disabled", "disabled"),
    (
        settings.truncation,
        {"type": "retention_ratio", "retention_ratio": 0.8, "token_limits": {"post_instructions": 9}},
        RetentionRatioTruncation(retention_ratio=0.8, token_limits=TokenLimits(post_instructions=9)),
    ),
    (settings.truncation, {"retention_ratio": 1}, RetentionRatioTruncation(retention_ratio=1.0)),
    (settings.reasoning, {"effort": "low"}, Reasoning(effort="low")),
    (settings.reasoning, None, None),
    (settings.tool_choice, None, None),
    (settings.tool_choice, "required", "required"),
    (settings.tool_choice, {"type": "function", "name": "f"}, ToolChoiceFunction(name="f")),
    (settings.tool_choice, {"type": "function", "function": {"name": "f"}}, ToolChoiceFunction(name="f")),
    (settings.tool_choice, ToolChoiceFunction(name="f"), ToolChoiceFunction(name="f")),
    (settings.tool_choice, {"type": "mcp", "server_label": "s"}, ToolChoiceMcp(server_label="s")),
    (settings.modalities, ["text"], ("text",)),
    (settings.modalities, ("audio", "text"), ("audio", "text")),
    (settings.modalities, {"audio"}, ("audio",)),
    (settings.speed, 0.25, 0.25),
    (settings.speed, 1, 1.0),
    (settings.speed, 1.5, 1.5),
    (settings.max_output_tokens, None, None),
    (settings.max_output_tokens, "inf", "inf"),
    (settings.max_output_tokens, 1, 1),
    (settings.max_output_tokens, 4096, 4096),
]


@pytest.mark.parametrize(("read", "given", "made"), GOOD)
def test_what_may_be_written(read: Callable[[Any], Any], given: Any, made: Any) -> None:
    result = read(given)
    assert result == made
    assert type(result) is type(made)


BAD: list[tuple[Callable[[Any], Any], Any, str]] = [
    (settings.turn_detection, {}, "turn_detection.type"),
    (settings.turn_detection, {"type": "none"}, "turn_detection.type"),
    (settings.turn_detection, {"type": None}, "turn_detection.type"),
    (settings.turn_detection, {"type": ["server_vad"]}, "turn_detection.type"),
    (settings.turn_detection, "server_vad", "turn_detection"),
    (settings.turn_detection, False, "turn_detection"),
    (settings.turn_detection, {"type": "server_vad", "treshold": 0.5}, "turn_detection.*treshold"),
    (settings.turn_detection, {"type": "server_vad", 1: 2}, "turn_detection"),
    (settings.turn_detection, {"type": "server_vad", "threshold": "0.5"}, "turn_detection.*threshold"),
    (settings.turn_detection, {"type": "server_vad", "threshold": 1.1}, "turn_detection.threshold"),
    (settings.turn_detection, {"type": "server_vad", "threshold": -0.1}, "turn_detection.threshold"),
    (settings.turn_detection, {"type": "server_vad", "threshold": float("nan")}, "turn_detection.threshold"),
    (settings.turn_detection, ServerVad(threshold=2), "turn_detection.threshold"),
    (settings.turn_detection, ServerVad(threshold=True), "turn_detection.threshold"),
    (settings.turn_detection, ServerVad(prefix_padding_ms=-1), "turn_detection.prefix_padding_ms"),
    (settings.turn_detection, ServerVad(silence_duration_ms=-1), "turn_detection.silence_duration_ms"),
    (settings.turn_detection, ServerVad(idle_timeout_ms=0), "turn_detection.idle_timeout_ms"),
    (settings.turn_detection, SemanticVad(eagerness="eager"), "turn_detection.eagerness"),
    (settings.turn_detection, {"type": "semantic_vad", "eagerness": "eager"}, "turn_detection.eagerness"),
    (settings.turn_detection, {"type": "semantic_vad", "create_response": "yes"}, "create_response"),
    (settings.noise_reduction, "mid_field", "input_audio_noise_reduction.type"),
    (settings.noise_reduction, {"type": "mid_field"}, "input_audio_noise_reduction.type"),
    (settings.noise_reduction, {"typ": "near_field"}, "input_audio_noise_reduction.*typ"),
    (settings.noise_reduction, {}, "input_audio_noise_reduction.type"),
    (settings.noise_reduction, 3, "input_audio_noise_reduction"),
    (settings.transcription, {"modell": "x"}, "input_audio_transcription.*modell"),
    (settings.transcription, {"model": 3}, "input_audio_transcription"),
    (settings.transcription, "whisper-1", "input_audio_transcription"),
    (settings.tracing, "manual", "tracing"),
    (settings.tracing, {"workflow": "w"}, "tracing.*workflow"),
    (settings.truncation, "always", "truncation"),
    (settings.truncation, {"retention_ratio": 1.1}, "truncation.retention_ratio"),
    (settings.truncation, {"type": "retention_ratio"}, "truncation"),
    (settings.truncation, {"type": "other", "retention_ratio": 0.5}, "truncation.*type"),
    (settings.truncation, RetentionRatioTruncation(retention_ratio=-1.0), "truncation.retention_ratio"),
    (settings.truncation, {"retention_ratio": 0.5, "token_limits": {"after": 1}}, "token_limits.*after"),
    (
        settings.truncation,
        {"retention_ratio": 0.5, "token_limits": {"post_instructions": -1}},
        "token_limits.post_instructions",
    ),
    (settings.reasoning, "low", "reasoning"),
    (settings.reasoning, {"effort": "some"}, "reasoning.effort"),
    (settings.reasoning, {"effort": 3}, "reasoning"),
    (settings.tool_choice, "any", "tool_choice"),
    (settings.tool_choice, {"type": "function"}, "tool_choice"),
    (settings.tool_choice, {"type": "function", "name": ""}, "tool_choice"),
    (settings.tool_choice, {"type": "function", "function": {"name": 3}}, "tool_choice"),
    (settings.tool_choice, {"type": "mcp"}, "tool_choice"),
    (settings.tool_choice, ["auto"], "tool_choice"),
    (settings.modalities, [], "modalities"),
    (settings.modalities, "audio", "modalities"),
    (settings.modalities, ["audio", "video"], "modalities"),
    (settings.modalities, None, "modalities"),
    (settings.modalities, [["audio"]], "modalities"),
    (settings.speed, 0.2, "speed"),
    (settings.speed, 1.6, "speed"),
    (settings.speed, "1", "speed"),
    (settings.speed, True, "speed"),
    (settings.speed, None, "speed"),
    (settings.speed, NOT_GIVEN, "speed"),
    (settings.speed, float("nan"), "speed"),
    (settings.max_output_tokens, 0, "max_response_output_tokens"),
    (settings.max_output_tokens, 4097, "max_response_output_tokens"),
    (settings.max_output_tokens, "all", "max_response_output_tokens"),
    (settings.max_output_tokens, True, "max_response_output_tokens"),
    (settings.max_output_tokens, 1.5, "max_response_output_tokens"),
    (settings.UPDATABLE["voice"], None, "voice"),
    (settings.UPDATABLE["voice"], "", "voice"),
    (settings.UPDATABLE["voice"], 7, "voice"),
]


@pytest.mark.parametrize(("read", "given", "words"), BAD)
def test_what_is_refused_with_the_options_name(read: Callable[[Any], Any], given: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read(given)


@pytest.mark.parametrize("name", ["pcm16", "g711_ulaw", "g711_alaw"])
def test_audio_formats(name: str) -> None:
    assert settings.audio_format("input_audio_format", name) == name


@pytest.mark.parametrize("bad", ["pcm", "", None, 16, "PCM16", NOT_GIVEN])
def test_a_bad_audio_format_is_named(bad: Any) -> None:
    with pytest.raises(ValueError, match="output_audio_format"):
        settings.audio_format("output_audio_format", bad)


def test_changes_reads_all_or_nothing() -> None:
    given = {"speed": 1.2, "voice": NOT_GIVEN, "tracing": None, "turn_detection": {"type": "server_vad"}}
    assert settings.changes(given) == {"speed": 1.2, "tracing": None, "turn_detection": ServerVad()}
    with pytest.raises(ValueError, match="tool_choice"):
        settings.changes({"speed": 1.2, "tool_choice": "any"})


def test_a_shorthand_is_not_changed_by_reading_it() -> None:
    given = {"type": "semantic_vad", "eagerness": "low", "threshold": 0.5}
    settings.turn_detection(given)
    assert given == {"type": "semantic_vad", "eagerness": "low", "threshold": 0.5}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_retry": -1}, "max_retry"),
        ({"retry_interval": -0.1}, "retry_interval"),
        ({"timeout": 0}, "timeout"),
    ],
)
def test_connect_options_out_of_range_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ConnectOptions(**options)


def test_connect_options_and_timeouts_have_the_contracts_defaults() -> None:
    assert ConnectOptions() == ConnectOptions(max_retry=3, retry_interval=2.0, timeout=10.0)
    assert ConnectOptions(max_retry=0, retry_interval=0).max_retry == 0
    assert Timeouts() == Timeouts(
        reply=10,
        reply_wait=30,
        chat_ctx=5,
        close=5,
        first_retry=0.1,
        ping_interval=20,
        ping_timeout=10,
        uptime=5,
        audio_ring=30,
    )


@pytest.mark.parametrize("name", Timeouts.__struct_fields__)
@pytest.mark.parametrize("value", [0, -1.0, float("nan")])
def test_every_time_limit_must_be_positive_and_is_named(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        Timeouts(**{name: value})
