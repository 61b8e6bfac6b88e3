"""Hypothesis strategies for our own structs, for what a client sends: values that the API allows."""

import typing
from typing import Any, get_args, get_origin

import msgspec
from hypothesis import strategies as st
from msgspec import UNSET
from sdk_oracle import JSON, TEXT, arms

import antiphon.protocol as p

NO_UNKNOWN = (p.UnknownItem, p.UnknownObject)


def maybe(*values: str) -> st.SearchStrategy[Any]:
    return st.sampled_from([UNSET, None, *values])


def parts(*kinds: str, **extra: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    part = st.builds(p.ContentPart, type=st.sampled_from(kinds), text=optional(TEXT), **extra)
    return st.lists(part, max_size=3)


def optional(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.just(UNSET) | st.none() | inner


MODALITIES = st.sampled_from([UNSET, None, ["audio"], ["text"]])
TOKENS = optional(st.integers(1, 4096) | st.just("inf"))
INCLUDE = st.sampled_from([UNSET, None, [], ["item.input_audio_transcription.logprobs"]])
STATUS = st.sampled_from(["", "completed", "incomplete", "in_progress"])
VARIABLES = optional(st.dictionaries(TEXT, TEXT, max_size=2))

# What the annotations can't say: enumerations, and fields that hang together.
FIELDS: dict[tuple[type, str], st.SearchStrategy[Any]] = {
    (p.NoiseReduction, "type"): st.sampled_from(["near_field", "far_field"]),
    (p.AudioTranscription, "delay"): maybe("minimal", "low", "medium", "high", "xhigh"),
    (p.SemanticVad, "eagerness"): maybe("low", "medium", "high", "auto"),
    (p.Reasoning, "effort"): maybe("minimal", "low", "medium", "high", "xhigh"),
    (p.Prompt, "variables"): VARIABLES,
    (p.McpToolDef, "connector_id"): maybe("connector_gmail", "connector_dropbox"),
    (p.McpToolDef, "allowed_callers"): st.sampled_from([UNSET, None, ["direct"]]),
    (p.McpToolDef, "require_approval"): maybe("always", "never")
    | st.deferred(lambda: ours(p.McpApprovalFilter)),
    (p.RealtimeSessionConfig, "output_modalities"): MODALITIES,
    (p.RealtimeSessionConfig, "max_output_tokens"): TOKENS,
    (p.RealtimeSessionConfig, "include"): INCLUDE,
    (p.RealtimeSessionConfig, "tracing"): maybe("auto") | st.deferred(lambda: ours(p.Tracing)),
    (p.RealtimeSessionConfig, "truncation"): maybe("auto", "disabled")
    | st.deferred(lambda: ours(p.RetentionRatioTruncation)),
    (p.TranscriptionSessionConfig, "include"): INCLUDE,
    (p.ResponseCreateParams, "output_modalities"): MODALITIES,
    (p.ResponseCreateParams, "max_output_tokens"): TOKENS,
    (p.ResponseCreateParams, "metadata"): VARIABLES,
    (p.ResponseCreateParams, "input"): optional(st.lists(st.deferred(lambda: ours(p.Item)), max_size=2)),
}
for holder in (p.RealtimeSessionConfig, p.ResponseCreateParams):
    FIELDS[holder, "tool_choice"] = maybe("auto", "none", "required") | st.deferred(
        lambda: ours(p.ToolChoiceFunction) | ours(p.ToolChoiceMcp)
    )
for item in (p.FunctionCallItem, p.FunctionCallOutputItem):
    FIELDS[item, "status"] = STATUS
    FIELDS[item, "object"] = st.sampled_from(["", "realtime.item"])

# Structs whose fields depend on each other.
WHOLE: dict[type, st.SearchStrategy[Any]] = {
    p.AudioFormat: st.sampled_from(
        [
            p.AudioFormat(type="audio/pcm", rate=24000),
            p.AudioFormat(type="audio/pcm"),
            p.AudioFormat(type="audio/pcmu"),
            p.AudioFormat(type="audio/pcma"),
        ]
    ),
    p.McpError: st.builds(
        p.McpError, type=st.sampled_from(["http_error", "protocol_error"]), code=st.integers(0, 9)
    )
    | st.builds(p.McpError, type=st.just("tool_execution_error"), message=TEXT),
    p.MessageItem: st.one_of(
        st.builds(p.MessageItem, role=st.just("system"), content=parts("input_text"), status=STATUS),
        st.builds(
            p.MessageItem,
            role=st.just("user"),
            id=TEXT,
            content=parts(
                "input_text",
                "input_audio",
                "input_image",
                audio=optional(TEXT),
                transcript=optional(TEXT),
                image_url=optional(TEXT),
                detail=maybe("auto", "low", "high"),
            ),
        ),
        st.builds(
            p.MessageItem,
            role=st.just("assistant"),
            id=TEXT,
            object=st.just("realtime.item"),
            content=parts("output_text", "output_audio", audio=optional(TEXT), transcript=optional(TEXT)),
        ),
    ),
}

# An id is required by the API for these, and "" is our "not given".
NON_EMPTY = st.text(min_size=1, max_size=8)


def ours(annotation: Any) -> st.SearchStrategy[Any]:
    """Values for one of our annotations, or instances of one of our structs."""
    options = [arm for arm in arms(annotation) if arm not in NO_UNKNOWN]
    if len(options) > 1:
        return st.one_of([ours(option) for option in options])
    (plain,) = options
    if plain in WHOLE:
        return WHOLE[plain]
    if isinstance(plain, type) and issubclass(plain, msgspec.Struct):
        return st.deferred(lambda: structs(plain))
    if get_origin(plain) is list:
        return st.lists(ours(get_args(plain)[0]), max_size=2)
    if get_origin(plain) is dict:
        return st.dictionaries(TEXT, ours(get_args(plain)[1]), max_size=2)
    return {
        str: TEXT,
        int: st.integers(0, 10_000),
        float: st.floats(0, 2),
        bool: st.booleans(),
        type(None): st.none(),
        msgspec.UnsetType: st.just(UNSET),
        Any: JSON,
    }[plain]


def structs(struct: type[Any]) -> st.SearchStrategy[Any]:
    """Instances of one of our structs."""
    hints = typing.get_type_hints(struct)
    chosen = {}
    for field in msgspec.structs.fields(struct):
        key = (struct, field.name)
        strategy = FIELDS[key] if key in FIELDS else ours(hints[field.name])
        if field.name == "id" and struct not in (p.MessageItem, p.FunctionCallItem, p.FunctionCallOutputItem):
            strategy = NON_EMPTY
        chosen[field.name] = strategy
    return st.builds(struct, **chosen)


CLIENT_EVENTS = {name: structs(struct) for name, struct in p.CLIENT_EVENTS.items()}
