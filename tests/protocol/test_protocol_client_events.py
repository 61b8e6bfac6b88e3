"""Every client event that we can encode: known to the SDK down to the last key, and decoded back the same."""

import json
from typing import Any

import msgspec
import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types.realtime import RealtimeClientEvent
from sdk_oracle import CLIENT_MODELS, TRANSLATION_CLIENT_MODELS, Model, event_type, misfit, wire_object
from wire_strategies import CLIENT_EVENTS as STRATEGIES
from wire_strategies import structs

import antiphon.protocol as p
from antiphon.protocol import NOT_GIVEN, decode_client_event, encode_client_event

SLOW_TO_BUILD = [HealthCheck.too_slow, HealthCheck.large_base_example]
SOME = settings(max_examples=40, deadline=None, suppress_health_check=SLOW_TO_BUILD)
SDK = pydantic.TypeAdapter(RealtimeClientEvent)
MODELS = {event_type(model): model for model in TRANSLATION_CLIENT_MODELS + CLIENT_MODELS}


def test_every_client_event_of_the_sdk_has_a_struct_of_the_right_name() -> None:
    for kind in MODELS:
        name = "".join(word.capitalize() for word in kind.replace("_", ".").split("."))
        assert p.CLIENT_EVENTS[kind] is getattr(p, name)
    assert set(p.CLIENT_EVENTS) == set(MODELS)


@pytest.mark.parametrize("kind", sorted(STRATEGIES))
def test_the_sdk_knows_every_key_that_we_send(kind: str) -> None:
    @SOME
    @given(STRATEGIES[kind])
    def check(event: Any) -> None:
        sent = json.loads(encode_client_event(event))
        if isinstance(getattr(event, "session", None), p.TranslationSessionConfig):
            update = next(m for m in TRANSLATION_CLIENT_MODELS if event_type(m) == "session.update")
            assert misfit(update, sent) is None
            return
        assert misfit(MODELS[kind], sent) is None
        if kind in {event_type(model) for model in CLIENT_MODELS}:
            SDK.validate_python(sent)

    check()


@pytest.mark.parametrize("kind", sorted(STRATEGIES))
def test_what_is_sent_is_read_back_the_same(kind: str) -> None:
    @SOME
    @given(STRATEGIES[kind])
    def check(event: Any) -> None:
        frame = encode_client_event(event)
        if (
            isinstance(getattr(event, "session", None), p.TranslationSessionConfig)
            and b'"language"' not in frame
        ):
            return  # the API gives such an update no type, so it can't be told from another session's
        back = decode_client_event(frame)
        assert type(back) is type(event)
        # server-only fields aren't sent, hence encoded once more instead of compared as structs
        assert json.loads(encode_client_event(back)) == json.loads(frame)
        if not isinstance(event, p.SessionUpdate):
            assert back == event

    check()


@pytest.mark.parametrize("model", CLIENT_MODELS, ids=event_type)
def test_what_sdk_clients_send_is_read(model: Model) -> None:
    @SOME
    @given(wire_object(model))
    def check(sent: dict[str, Any]) -> None:
        event = decode_client_event(json.dumps(sent))
        assert type(event) is p.CLIENT_EVENTS[event_type(model)]
        assert encode_client_event(sent) == msgspec.json.encode(sent)

    check()


@SOME
@given(structs(p.RealtimeSessionConfig))
def test_what_only_servers_say_of_a_session_is_never_sent(session: p.RealtimeSessionConfig) -> None:
    sent = json.loads(encode_client_event(p.SessionUpdate(session=session)))["session"]
    assert not {"id", "object", "expires_at"} & set(sent)
    assert sent["type"] == "realtime"


def test_null_and_absent_are_told_apart() -> None:
    def update(**audio: Any) -> Any:
        session = p.RealtimeSessionConfig(audio=p.AudioConfig(input=p.AudioInputConfig(**audio)))
        return json.loads(encode_client_event(p.SessionUpdate(session=session)))["session"]

    assert update() == {"type": "realtime", "audio": {"input": {}}}
    assert update(turn_detection=None)["audio"]["input"] == {"turn_detection": None}
    assert update(turn_detection=NOT_GIVEN)["audio"]["input"] == {}
    switched_off = p.RealtimeSessionConfig(
        tracing=None, truncation=None, reasoning=None, max_output_tokens=None
    )
    assert json.loads(encode_client_event(p.SessionUpdate(session=switched_off)))["session"] == {
        "type": "realtime",
        "tracing": None,
        "truncation": None,
        "reasoning": None,
        "max_output_tokens": None,
    }


@pytest.mark.parametrize(
    ("event", "frame"),
    [
        (p.InputAudioBufferCommit(), {"type": "input_audio_buffer.commit"}),
        (p.ResponseCancel(), {"type": "response.cancel"}),
        (p.ResponseCreate(event_id="r"), {"type": "response.create", "event_id": "r"}),
        (
            p.ConversationItemTruncate(item_id="i", content_index=0, audio_end_ms=0),
            {"type": "conversation.item.truncate", "item_id": "i", "content_index": 0, "audio_end_ms": 0},
        ),
        (
            p.ConversationItemCreate(item=p.FunctionCallOutputItem(call_id="c", output="")),
            {
                "type": "conversation.item.create",
                "item": {"type": "function_call_output", "call_id": "c", "output": ""},
            },
        ),
        (
            p.ConversationItemCreate(
                previous_item_id="root", item=p.FunctionCallItem(name="f", call_id="c", arguments="")
            ),
            {
                "type": "conversation.item.create",
                "previous_item_id": "root",
                "item": {"type": "function_call", "name": "f", "call_id": "c", "arguments": ""},
            },
        ),
    ],
)
def test_what_the_api_needs_is_sent_even_if_it_is_zero_or_empty(event: Any, frame: Any) -> None:
    assert json.loads(encode_client_event(event)) == frame


def test_item_references_are_for_response_input() -> None:
    from openai.types.realtime import ResponseItemReference

    params = p.ResponseCreateParams(input=[p.ItemReference(id="item_1")])
    frame = encode_client_event(p.ResponseCreate(response=params))
    assert misfit(ResponseItemReference, json.loads(frame)["response"]["input"][0]) is None
    assert decode_client_event(frame) == p.ResponseCreate(response=params)


def test_a_session_without_a_type_is_read() -> None:
    event = decode_client_event(b'{"type":"session.update","session":{"instructions":"x"}}')
    assert event == p.SessionUpdate(session=p.RealtimeSessionConfig(instructions="x"))


def test_a_translation_update_is_sent_without_a_type_and_known_by_its_language() -> None:
    audio = p.TranslationAudioConfig(output=p.TranslationAudioOutputConfig(language="es"))
    event = p.SessionUpdate(session=p.TranslationSessionConfig(id="s", model="m", audio=audio))
    frame = encode_client_event(event)
    assert json.loads(frame)["session"] == {"audio": {"output": {"language": "es"}}}
    assert decode_client_event(frame) == p.SessionUpdate(session=p.TranslationSessionConfig(audio=audio))


@given(st.sampled_from(["auto", "none", "required"]))
def test_tool_choice_words(word: str) -> None:
    event = p.ResponseCreate(response=p.ResponseCreateParams(tool_choice=word))
    assert decode_client_event(encode_client_event(event)) == event


def test_the_nested_spelling_of_a_tool_choice_is_accepted() -> None:
    frame = (
        b'{"type":"response.create","response":{"tool_choice":{"type":"function","function":{"name":"f"}}}}'
    )
    event = decode_client_event(frame)
    assert event == p.ResponseCreate(
        response=p.ResponseCreateParams(tool_choice=p.ToolChoiceFunction(name="f"))
    )


def test_encoding_refuses_what_is_no_event() -> None:
    with pytest.raises(TypeError, match="Usage is not an event"):
        encode_client_event(p.Usage())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown dialect 'gaa'"):
        encode_client_event(p.ResponseCancel(), dialect="gaa")  # type: ignore[arg-type]


def test_a_function_tool_has_no_strict() -> None:
    assert "strict" not in {field.name for field in msgspec.structs.fields(p.FunctionToolDef)}
