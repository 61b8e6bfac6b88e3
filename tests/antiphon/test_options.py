"""Options on the wire: the first session.update in many combinations, and every difference afterwards.

The official SDK's models are the oracle for the GA dialect: a frame must parse, and hold no key that the SDK
doesn't know. Azure's dated dialect is written down here field by field, as Azure's reference has it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.realtime import SessionUpdateEvent

import antiphon.protocol as p
from antiphon import (
    AudioTranscription,
    NoiseReduction,
    Prompt,
    RealtimeModel,
    Reasoning,
    RetentionRatioTruncation,
    SemanticVad,
    ServerVad,
    Tracing,
)
from antiphon.actors.config import SessionOptions, changed_update, first_update
from antiphon.testing import Driver, FakeWire

# What the SDK's models don't know and the API takes all the same: none so far.
UNKNOWN_TO_THE_SDK: set[str] = set()


def unknown_keys(value: Any, path: str = "$") -> Iterator[str]:
    """Keys that the SDK's models have no field for."""
    if isinstance(value, pydantic.BaseModel):
        for key in value.model_extra or {}:
            yield f"{path}.{key}"
        for name in type(value).model_fields:
            yield from unknown_keys(getattr(value, name), f"{path}.{name}")
    elif isinstance(value, list):
        for inner in value:
            yield from unknown_keys(inner, path)


def check_with_the_sdk(frame: dict[str, Any]) -> None:
    parsed = SessionUpdateEvent.model_validate(frame)
    assert set(unknown_keys(parsed)) == UNKNOWN_TO_THE_SDK


# -- the first frame ----------------------------------------------------------------------------------

CHOICES: dict[str, list[Any]] = {
    "model": ["gpt-realtime", "other"],
    "voice": ["marin", "my-voice"],
    "modalities": [("audio",), ("text",), ("text", "audio")],
    "input_audio_transcription": [
        None,
        AudioTranscription(model="whisper-1"),
        AudioTranscription(model="gpt-4o-mini-transcribe", language="de", prompt="words"),
    ],
    "input_audio_noise_reduction": [
        None,
        NoiseReduction(type="near_field"),
        NoiseReduction(type="far_field"),
    ],
    "turn_detection": [
        None,
        ServerVad(),
        ServerVad(
            threshold=0.5,
            prefix_padding_ms=300,
            silence_duration_ms=200,
            idle_timeout_ms=6000,
            create_response=True,
            interrupt_response=False,
        ),
        SemanticVad(eagerness="high", create_response=False),
    ],
    "speed": [0.25, 1.0, 1.5],
    "max_response_output_tokens": ["inf", 1, 4096],
    "tool_choice": [
        None,
        "none",
        "required",
        p.ToolChoiceFunction(name="f"),
        p.ToolChoiceMcp(server_label="s"),
    ],
    "tracing": [None, "auto", Tracing(workflow_name="w", group_id="g", metadata={"a": 1})],
    "truncation": [None, "auto", "disabled", RetentionRatioTruncation(retention_ratio=0.5)],
    "reasoning": [None, Reasoning(effort="low")],
    "input_audio_format": ["pcm16", "g711_ulaw", "g711_alaw"],
    "output_audio_format": ["pcm16", "g711_ulaw", "g711_alaw"],
    "prompt": [None, Prompt(id="p"), Prompt(id="p", version="1", variables={"a": "b"})],
    "parallel_tool_calls": [None, True, False],
    "include": [None, ("item.input_audio_transcription.logprobs",)],
}

option_sets = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in CHOICES.items()}).map(
    lambda chosen: SessionOptions(**chosen)
)


def frame_of(session: Any, dialect: Any = "ga") -> dict[str, Any]:
    event = p.SessionUpdate(event_id="e", session=session)
    frame: dict[str, Any] = msgspec.json.decode(p.encode_client_event(event, dialect))
    return frame


@settings(max_examples=400, deadline=None)
@given(option_sets, st.none() | st.text(max_size=5))
def test_the_first_frame_is_what_the_sdk_sends(options: SessionOptions, instructions: str | None) -> None:
    frame = frame_of(first_update(options, instructions))
    check_with_the_sdk(frame)
    session = frame["session"]
    assert session["type"] == "realtime"
    assert session["model"] == options.model
    assert session["output_modalities"] == (["audio"] if "audio" in options.modalities else ["text"])
    assert set(session["audio"]) == {"input", "output"}
    assert set(session["audio"]["input"]) == {"format", "noise_reduction", "transcription", "turn_detection"}
    assert set(session["audio"]["output"]) == {"format", "speed", "voice"}
    always = {"type", "model", "output_modalities", "audio", "max_output_tokens", "tool_choice", "tracing"}
    when_set = {
        "truncation": options.truncation,
        "reasoning": options.reasoning,
        "prompt": options.prompt,
        "parallel_tool_calls": options.parallel_tool_calls,
        "include": options.include,
        "instructions": instructions,
    }
    assert set(session) == always | {name for name, value in when_set.items() if value is not None}
    assert session.get("instructions") == instructions
    if options.tool_choice is None:
        assert session["tool_choice"] == "auto"


# -- differences --------------------------------------------------------------------------------------

# Each option that can change: two values, the place on the wire, what the second is there, and whether None
# switches it off.
UPDATABLE: list[tuple[str, Any, Any, tuple[str, ...], Any, bool]] = [
    ("voice", "marin", "cedar", ("audio", "output", "voice"), "cedar", False),
    ("speed", 1.0, 1.25, ("audio", "output", "speed"), 1.25, False),
    (
        "turn_detection",
        {"type": "semantic_vad"},
        {"type": "server_vad", "threshold": 0.3},
        ("audio", "input", "turn_detection"),
        {"type": "server_vad", "threshold": 0.3},
        True,
    ),
    (
        "input_audio_transcription",
        {"model": "whisper-1"},
        {"model": "whisper-1", "language": "de"},
        ("audio", "input", "transcription"),
        {"model": "whisper-1", "language": "de"},
        True,
    ),
    (
        "input_audio_noise_reduction",
        "near_field",
        "far_field",
        ("audio", "input", "noise_reduction"),
        {"type": "far_field"},
        True,
    ),
    ("max_response_output_tokens", "inf", 100, ("max_output_tokens",), 100, True),
    ("tracing", "auto", {"workflow_name": "w"}, ("tracing",), {"workflow_name": "w"}, True),
    (
        "truncation",
        "auto",
        {"retention_ratio": 0.5},
        ("truncation",),
        {"type": "retention_ratio", "retention_ratio": 0.5},
        True,
    ),
    ("reasoning", {"effort": "low"}, {"effort": "high"}, ("reasoning",), {"effort": "high"}, True),
    (
        "tool_choice",
        "auto",
        {"type": "function", "function": {"name": "f"}},
        ("tool_choice",),
        {"type": "function", "name": "f"},
        False,
    ),
]


def nested(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    for name in reversed(path):
        value = {name: value}
    return dict(value)


class Rig:
    """A session and the server's end, opened with given options."""

    def __init__(self, build: Callable[..., RealtimeModel] = RealtimeModel, **options: Any) -> None:
        self.driver = Driver()
        self.model = build(engine=self.driver, **options)
        self.session = self.model.session()
        self.wire: FakeWire = self.driver.accept()
        self.first = self.wire.sent.pop()

    def update(self, level: str, **changes: Any) -> list[dict[str, Any]]:
        """Change options of the session or the model; returns what was sent for it."""
        self.wire.sent.clear()
        (self.session if level == "session" else self.model).update_options(**changes)
        self.driver.run()
        return self.wire.sent

    def end(self) -> None:
        self.session._close_soon(1.0)
        self.driver.run()
        self.wire.close_by_server()


@pytest.fixture
def rig() -> Iterator[Callable[..., Rig]]:
    rigs: list[Rig] = []

    def make(build: Callable[..., RealtimeModel] = RealtimeModel, **options: Any) -> Rig:
        rigs.append(Rig(build, **{"api_key": "k", "base_url": "http://t/v1", **options}))
        return rigs[-1]

    yield make
    for one in rigs:
        one.end()


LEVELS = ["session", "model"]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("name", "old", "new", "path", "on_wire", "_off"), UPDATABLE)
def test_a_changed_option_is_sent_alone_and_once(
    rig: Callable[..., Rig],
    level: str,
    name: str,
    old: Any,
    new: Any,
    path: tuple[str, ...],
    on_wire: Any,
    _off: bool,
) -> None:
    case = rig(**{name: old})
    (frame,) = case.update(level, **{name: new})
    assert frame["event_id"].startswith("options_update_")
    assert frame["session"] == {"type": "realtime", **nested(path, on_wire)}
    check_with_the_sdk(frame)
    assert case.update(level, **{name: new}) == []


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    ("name", "old", "path"), [(name, old, path) for name, old, _, path, _, off in UPDATABLE if off]
)
def test_none_switches_it_off_with_a_null(
    rig: Callable[..., Rig], level: str, name: str, old: Any, path: tuple[str, ...]
) -> None:
    case = rig(**{name: old})
    (frame,) = case.update(level, **{name: None})
    assert frame["session"] == {"type": "realtime", **nested(path, None)}
    check_with_the_sdk(frame)
    assert case.update(level, **{name: None}) == []
    (frame,) = case.update(level, **{name: old})
    assert frame["session"]["type"] == "realtime"


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ["voice", "speed"])
def test_what_has_no_off_refuses_none(rig: Callable[..., Rig], level: str, name: str) -> None:
    case = rig()
    with pytest.raises(ValueError, match=name):
        case.update(level, **{name: None})
    assert case.wire.sent == []


def test_tool_choice_none_goes_back_to_auto(rig: Callable[..., Rig]) -> None:
    case = rig(tool_choice="required")
    (frame,) = case.update("session", tool_choice=None)
    assert frame["session"] == {"type": "realtime", "tool_choice": "auto"}


@pytest.mark.parametrize("level", LEVELS)
def test_nothing_is_sent_when_nothing_changed(rig: Callable[..., Rig], level: str) -> None:
    given = {name: old for name, old, *_ in UPDATABLE}
    case = rig(**given)
    assert case.update(level) == []
    assert case.update(level, **given) == []
    for name, old in given.items():
        assert case.update(level, **{name: old}) == []


def test_auto_and_unset_tool_choice_are_the_same(rig: Callable[..., Rig]) -> None:
    case = rig()
    assert case.update("session", tool_choice="auto") == []


@pytest.mark.parametrize("level", LEVELS)
def test_all_at_once_is_one_frame(rig: Callable[..., Rig], level: str) -> None:
    case = rig(**{name: old for name, old, *_ in UPDATABLE})
    (frame,) = case.update(level, **{name: new for name, _, new, *_ in UPDATABLE})
    expected: dict[str, Any] = {"type": "realtime", "audio": {"input": {}, "output": {}}}
    for _, _, _, path, on_wire, _ in UPDATABLE:
        target = expected
        for part in path[:-1]:
            target = target[part]
        target[path[-1]] = on_wire
    assert frame["session"] == expected
    check_with_the_sdk(frame)


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations([row[0] for row in UPDATABLE[:5]], 2)))
def test_an_empty_block_is_never_sent(rig: Callable[..., Rig], one: str, other: str) -> None:
    rows = {row[0]: row for row in UPDATABLE}
    case = rig(**{name: rows[name][1] for name in (one, other)})
    (frame,) = case.update("session", **{name: rows[name][2] for name in (one, other)})
    audio = frame["session"]["audio"]
    assert set(audio) == {rows[one][3][1], rows[other][3][1]}
    assert all(audio.values())


@settings(max_examples=300, deadline=None)
@given(option_sets, option_sets)
def test_a_difference_leads_from_any_options_to_any_others(old: SessionOptions, new: SessionOptions) -> None:
    # What can't be changed later is the same in both.
    fixed = ("model", "modalities", "input_audio_format", "output_audio_format", "prompt", "include")
    new = msgspec.structs.replace(
        new, **{name: getattr(old, name) for name in (*fixed, "parallel_tool_calls")}
    )
    update = changed_update(old, new)
    before, after = frame_of(first_update(old, None))["session"], frame_of(first_update(new, None))["session"]
    if update is None:
        assert before == after
        return
    frame = frame_of(update)
    check_with_the_sdk(frame)
    # Truncation and reasoning are not in a first frame while they are off; here they may be null.
    assert without_nulls(merged(before, frame["session"])) == without_nulls(after)


def merged(old: dict[str, Any], update: dict[str, Any]) -> dict[str, Any]:
    """What a server makes of an update."""
    result = dict(old)
    for key, value in update.items():
        if key in ("audio", "input", "output"):
            result[key] = merged(result.get(key, {}), value)
        else:
            result[key] = value
    return result


def without_nulls(session: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in session.items() if value is not None}


# -- instructions and tools -----------------------------------------------------------------------------


def test_instructions_and_tools_are_one_frame_each(rig: Callable[..., Rig]) -> None:
    case = rig(model="m")
    case.session.update_instructions("be kind")
    case.session.update_tools([])
    case.driver.run()
    instructions, tools = case.wire.sent
    assert instructions["event_id"].startswith("instructions_update_")
    assert instructions["session"] == {"type": "realtime", "instructions": "be kind"}
    assert tools["event_id"].startswith("tools_update_")
    assert tools["session"] == {"type": "realtime", "model": "m", "tools": []}
    for frame in case.wire.sent:
        check_with_the_sdk(frame)


# -- Azure's dated dialect ------------------------------------------------------------------------------

LEGACY = {
    "azure_deployment": "d",
    "azure_endpoint": "https://r.openai.azure.com",
    "base_url": None,
    "api_version": "2025-04-01-preview",
}


def legacy_rig(rig: Callable[..., Rig], **options: Any) -> Rig:
    return rig(RealtimeModel.with_azure, **LEGACY, **options)


def test_the_first_legacy_frame(rig: Callable[..., Rig]) -> None:
    case = legacy_rig(rig, input_audio_noise_reduction="near_field", tracing="auto")
    assert case.wire.spec.url.startswith("wss://r.openai.azure.com/openai/realtime?api-version=2025-04-01")
    assert case.first["session"] == {
        "model": "gpt-realtime",
        "modalities": ["audio", "text"],
        "voice": "marin",
        "speed": 1.0,
        "input_audio_format": "pcm16",
        "output_audio_format": "pcm16",
        "input_audio_noise_reduction": {"type": "near_field"},
        "input_audio_transcription": {"model": "whisper-1"},
        "turn_detection": {
            "type": "server_vad",
            "threshold": 0.5,
            "prefix_padding_ms": 300,
            "silence_duration_ms": 200,
            "create_response": True,
        },
        "max_response_output_tokens": "inf",
        "tool_choice": "auto",
        "tracing": "auto",
    }


def test_a_legacy_option_that_was_never_set_is_absent(rig: Callable[..., Rig]) -> None:
    session = legacy_rig(rig).first["session"]
    assert "input_audio_noise_reduction" not in session
    assert "tracing" not in session


def test_a_legacy_option_that_is_switched_off_is_null(rig: Callable[..., Rig]) -> None:
    case = legacy_rig(rig, turn_detection=None, input_audio_transcription=None)
    assert case.first["session"]["turn_detection"] is None
    assert case.first["session"]["input_audio_transcription"] is None


def test_legacy_text_sessions_and_formats(rig: Callable[..., Rig]) -> None:
    case = legacy_rig(
        rig, modalities=["text"], input_audio_format="g711_ulaw", output_audio_format="g711_alaw"
    )
    session = case.first["session"]
    assert session["modalities"] == ["text"]
    assert (session["input_audio_format"], session["output_audio_format"]) == ("g711_ulaw", "g711_alaw")


LEGACY_NAMES = {
    "voice": "voice",
    "speed": "speed",
    "turn_detection": "turn_detection",
    "input_audio_transcription": "input_audio_transcription",
    "input_audio_noise_reduction": "input_audio_noise_reduction",
    "max_response_output_tokens": "max_response_output_tokens",
    "tracing": "tracing",
    "tool_choice": "tool_choice",
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    ("name", "old", "new", "on_wire", "off"),
    [(name, old, new, on_wire, off) for name, old, new, _, on_wire, off in UPDATABLE if name in LEGACY_NAMES],
)
def test_legacy_differences(
    rig: Callable[..., Rig], level: str, name: str, old: Any, new: Any, on_wire: Any, off: bool
) -> None:
    case = legacy_rig(rig, **{name: old})
    (frame,) = case.update(level, **{name: new})
    assert frame["session"] == {LEGACY_NAMES[name]: on_wire}
    assert case.update(level, **{name: new}) == []
    if off:
        (frame,) = case.update(level, **{name: None})
        assert frame["session"] == {LEGACY_NAMES[name]: None}


@pytest.mark.parametrize(("name", "value"), [("truncation", "auto"), ("reasoning", {"effort": "low"})])
def test_what_the_legacy_wire_has_no_field_for_is_not_sent(
    rig: Callable[..., Rig], name: str, value: Any
) -> None:
    case = legacy_rig(rig)
    assert case.update("session", **{name: value}) == []


def test_legacy_instructions_tools_and_other_frames(rig: Callable[..., Rig]) -> None:
    case = legacy_rig(rig)
    case.session.update_instructions("be kind")
    case.session.update_tools([])
    case.session.generate_reply(instructions="now", modalities=["audio"], max_output_tokens=9)
    case.session.send_event(
        p.ConversationItemCreate(
            item=p.MessageItem(
                id="i", role="assistant", content=[p.ContentPart(type="output_text", text="hello")]
            )
        )
    )
    case.driver.run()
    instructions, tools, reply, item = case.wire.sent
    assert instructions["session"] == {"instructions": "be kind"}
    assert tools["session"] == {"model": "gpt-realtime", "tools": []}
    assert reply["response"] == {
        "instructions": "be kind\nnow",
        "metadata": {"client_event_id": reply["event_id"]},
        "modalities": ["audio", "text"],
        "max_response_output_tokens": 9,
    }
    assert item["item"]["content"] == [{"type": "text", "text": "hello"}]


@settings(max_examples=200, deadline=None)
@given(option_sets, st.none() | st.just("be kind"))
def test_any_legacy_first_frame_is_flat_and_of_known_fields(
    options: SessionOptions, instructions: str | None
) -> None:
    session = frame_of(first_update(options, instructions), "azure-legacy")["session"]
    assert set(session) <= {
        "model",
        "modalities",
        "instructions",
        "voice",
        "speed",
        "input_audio_format",
        "output_audio_format",
        "input_audio_transcription",
        "input_audio_noise_reduction",
        "turn_detection",
        "tool_choice",
        "tracing",
        "max_response_output_tokens",
    }
    assert session.get("instructions") == instructions
    assert session["modalities"] == (["audio", "text"] if "audio" in options.modalities else ["text"])
    assert session["input_audio_format"] == options.input_audio_format
