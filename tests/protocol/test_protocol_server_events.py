"""Every server event of the SDK, decoded: same values, no field forgotten."""

import json
from typing import Any, get_args, get_origin

import msgspec
import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from msgspec import UNSET
from sdk_oracle import (
    SERVER_MODELS,
    TRANSLATION_SERVER_MODELS,
    Model,
    arms,
    event_type,
    misfit,
    wire_name,
    wire_object,
)

import antiphon.protocol as protocol
from antiphon.protocol import SERVER_EVENTS, FunctionToolDef, decode_server_event, encode_server_event

MODELS = SERVER_MODELS + TRANSLATION_SERVER_MODELS
SLOW_TO_BUILD = [HealthCheck.too_slow, HealthCheck.large_base_example]
FEW = settings(max_examples=25, deadline=None, suppress_health_check=SLOW_TO_BUILD)


def model_id(model: Model) -> str:
    return f"{event_type(model)}-{model.__module__.rsplit('.', 1)[-1]}"


def struct_arms(annotation: Any) -> list[Any]:
    """Our structs in an annotation, those in lists included."""
    found: list[Any] = []
    for arm in arms(annotation):
        if get_origin(arm) is list:
            found += struct_arms(get_args(arm)[0])
        elif isinstance(arm, type) and issubclass(arm, msgspec.Struct):
            found.append(arm)
    return found


def model_arms(annotation: Any) -> list[Model]:
    found: list[Model] = []
    for arm in arms(annotation):
        if get_origin(arm) is list:
            found += model_arms(get_args(arm)[0])
        elif isinstance(arm, type) and issubclass(arm, pydantic.BaseModel):
            found.append(arm)
    return found


def counterpart(model: Model, structs: list[Any]) -> Any:
    """The struct, of several, that a model decodes to: by tag, or the only one without."""
    kind = model.model_fields.get("type")
    tags = get_args(arms(kind.annotation)[0]) if kind else ()
    for struct in structs:
        if struct.__struct_config__.tag in tags:
            return struct
    plain = [struct for struct in structs if struct.__struct_config__.tag is None]
    if len(plain) == 1:
        return plain[0]
    pytest.fail(f"no struct for {model.__name__} among {structs}")


def missing_fields(model: Model, struct: Any, path: str) -> list[str]:
    """The SDK's fields that a struct, or a struct inside it, doesn't have."""
    ours = {field.encode_name: field.type for field in msgspec.structs.fields(struct)}
    missing = []
    for name, field in model.model_fields.items():
        key = wire_name(model, name)
        if key == struct.__struct_config__.tag_field:
            continue
        if key not in ours:
            missing.append(f"{path}.{key}")
            continue
        structs = struct_arms(ours[key])
        for inner in model_arms(field.annotation):
            if structs:
                missing += missing_fields(inner, counterpart(inner, structs), f"{path}.{key}")
    return missing


def allows_null(annotation: Any) -> bool:
    return type(None) in arms(annotation) or annotation is Any


def default_of(field: Any) -> Any:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default


def assert_same(sent: Any, got: Any, path: str) -> None:
    """`got` holds what `sent` says, and nothing else."""
    if isinstance(got, msgspec.Struct):
        assert isinstance(sent, dict), path
        config = got.__struct_config__
        if config.tag is not None and not (isinstance(got, FunctionToolDef) and sent.get("type") is None):
            assert sent[config.tag_field] == config.tag, path
        for field in msgspec.structs.fields(got):
            value = getattr(got, field.name)
            where = f"{path}.{field.name}"
            if field.encode_name not in sent:
                assert value is UNSET or value == default_of(field), where
            elif sent[field.encode_name] is None:
                if allows_null(field.type):
                    assert value is None, where
                else:
                    assert value == default_of(field), where
            else:
                assert_same(sent[field.encode_name], value, where)
    elif isinstance(got, list):
        assert len(sent) == len(got), path
        for index, (theirs, ours) in enumerate(zip(sent, got, strict=True)):
            assert_same(theirs, ours, f"{path}[{index}]")
    else:
        assert type(got) is not bool or type(sent) is bool, path
        assert got == sent, path


def test_every_event_of_the_sdk_has_a_struct_of_the_right_name() -> None:
    for model in MODELS:
        kind = event_type(model)
        name = "".join(word.capitalize() for word in kind.replace("_", ".").split("."))
        struct = getattr(protocol, "ErrorEvent" if kind == "error" else name)
        assert SERVER_EVENTS[kind] is struct
    assert len(SERVER_EVENTS) == len({event_type(model) for model in MODELS})


@pytest.mark.parametrize("model", MODELS, ids=model_id)
def test_no_field_of_the_sdk_is_missing(model: Model) -> None:
    assert missing_fields(model, SERVER_EVENTS[event_type(model)], event_type(model)) == []


@pytest.mark.parametrize("model", MODELS, ids=model_id)
def test_what_the_sdk_can_say_is_decoded_with_equal_values(model: Model) -> None:
    @FEW
    @given(wire_object(model))
    def check(sent: dict[str, Any]) -> None:
        model.model_validate(sent)  # the oracle agrees that this is an event of its own
        got = decode_server_event(json.dumps(sent).encode())
        assert type(got) is SERVER_EVENTS[event_type(model)]
        assert_same(sent, got, event_type(model))

    check()


@pytest.mark.parametrize("model", SERVER_MODELS, ids=model_id)
def test_what_we_encode_as_a_server_comes_back_the_same_and_suits_the_sdk(model: Model) -> None:
    @FEW
    @given(wire_object(model))
    def check(sent: dict[str, Any]) -> None:
        event = decode_server_event(json.dumps(sent))
        frame = encode_server_event(event)
        assert decode_server_event(frame) == event
        model.model_validate(json.loads(frame))

    check()


def test_a_translation_session_is_told_by_its_type() -> None:
    event = decode_server_event(
        b'{"type":"session.created","session":{"type":"translation","id":"s","model":"m","expires_at":7,'
        b'"audio":{"output":{"language":"es"}}}}'
    )
    assert isinstance(event, protocol.SessionCreated)
    assert event.session == protocol.TranslationSessionConfig(
        id="s",
        model="m",
        expires_at=7,
        audio=protocol.TranslationAudioConfig(output=protocol.TranslationAudioOutputConfig(language="es")),
    )


def test_the_strict_check_of_the_oracle_finds_faults() -> None:
    """The oracle itself: it would be worthless if it let everything through."""
    model = next(m for m in SERVER_MODELS if event_type(m) == "input_audio_buffer.speech_started")
    good = {"type": "input_audio_buffer.speech_started", "event_id": "e", "item_id": "i", "audio_start_ms": 1}
    assert misfit(model, good) is None
    assert misfit(model, good | {"extra": 1}) == "$.extra: unknown to InputAudioBufferSpeechStartedEvent"
    assert misfit(model, good | {"audio_start_ms": "1"}) == "$.audio_start_ms: '1' is no int"
    assert misfit(model, {k: v for k, v in good.items() if k != "item_id"}) == "$.item_id: missing"


def test_events_are_frozen_and_hashable_where_flat() -> None:
    event = protocol.InputAudioBufferSpeechStarted(audio_start_ms=1)
    with pytest.raises(AttributeError):
        event.audio_start_ms = 2  # type: ignore[misc]
    assert hash(event) == hash(protocol.InputAudioBufferSpeechStarted(audio_start_ms=1))
