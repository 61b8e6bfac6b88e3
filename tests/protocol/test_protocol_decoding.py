"""Frames from servers that speak more, less or worse than the API, and under which names."""

import json
import traceback
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

import antiphon.protocol as p
from antiphon.protocol import (
    ProtocolError,
    UnknownEvent,
    UnknownItem,
    decode_client_event,
    decode_server_event,
    encode_client_event,
    encode_server_event,
)

QUICK = settings(max_examples=300, deadline=None)


def server(**event: Any) -> Any:
    return decode_server_event(json.dumps(event))


# --- things we don't know


@pytest.mark.parametrize("decode", [decode_server_event, decode_client_event])
@pytest.mark.parametrize("make", [bytes, bytearray, memoryview, lambda raw: raw.decode()])
def test_an_unknown_event_keeps_its_frame(decode: Any, make: Any) -> None:
    raw = '{"type":"response.new_thing", "x": "\u00e4"}'.encode()
    event = decode(make(raw))
    assert event == UnknownEvent(type="response.new_thing", raw=raw)
    assert encode_client_event(event) == encode_server_event(event) == raw
    assert p.event_type(event) == "response.new_thing"


@pytest.mark.parametrize("kind", ["reasoning", "", "antiphon.unknown"])
def test_an_unknown_item_type_leaves_its_event_alive(kind: str) -> None:
    item = {"type": kind, "id": "item_1", "summary": [1, None]}
    event = server(type="conversation.item.added", previous_item_id=None, item=item)
    assert isinstance(event, p.ConversationItemAdded)
    assert isinstance(event.item, UnknownItem)
    assert (event.item.type, event.item.id, json.loads(event.item.raw)) == (kind, "item_1", item)
    assert event.previous_item_id is None
    assert json.loads(encode_server_event(event))["item"] == item
    sent = json.loads(encode_client_event(p.ConversationItemCreate(item=event.item)))
    assert sent == {"type": "conversation.item.create", "item": item}


def test_an_unknown_item_among_known_ones() -> None:
    output = [{"type": "message", "role": "assistant", "content": []}, {"type": "video", "id": 7}, {}]
    event = server(type="response.done", response={"id": "r", "status": "completed", "output": output})
    known, unknown, empty = event.response.output
    assert isinstance(known, p.MessageItem)
    assert (unknown.type, unknown.id) == ("video", "")
    assert (empty.type, empty.raw) == ("", b"{}")


def test_unknown_tools_turn_detection_truncation_and_usage() -> None:
    session = {
        "type": "realtime",
        "tools": [{"type": "web_search"}, {"type": "function", "name": "f"}],
        "tool_choice": {"type": "web_search"},
        "truncation": {"type": "newest"},
        "audio": {"input": {"turn_detection": {"type": "azure_semantic_vad", "languages": ["en"]}}},
    }
    event = server(type="session.updated", session=session)
    got = event.session
    assert [type(tool) for tool in got.tools] == [p.UnknownObject, p.FunctionToolDef]
    assert got.tool_choice.type == "web_search"
    assert got.truncation.type == "newest"
    assert got.audio.input.turn_detection.type == "azure_semantic_vad"
    assert json.loads(encode_server_event(event))["session"] == session
    completed = "conversation.item.input_audio_transcription.completed"
    event = server(type=completed, item_id="i", transcript="t", usage={"type": "minutes", "minutes": 1})
    assert isinstance(event.usage, p.UnknownObject)


def test_unknown_enumeration_values_and_fields_are_kept_or_ignored() -> None:
    event = server(type="response.done", new=1, response={"status": "paused", "new": {}, "output": []})
    assert event.response.status == "paused"
    event = server(type="conversation.item.done", item={"type": "message", "role": "narrator", "content": []})
    assert event.item.role == "narrator"
    event = server(type="response.content_part.added", item_id="i", part={"type": "smell"})
    assert event.part.type == "smell"


# --- servers that say less, or say it differently


def test_servers_that_leave_things_out() -> None:
    delta = server(type="response.output_audio.delta", item_id="i", delta="AA==")
    assert (delta.event_id, delta.response_id, delta.output_index, delta.content_index) == (UNSET, "", 0, 0)
    done = server(type="response.function_call_arguments.done", call_id="c", arguments="{}")
    assert (done.name, done.item_id) == ("", "")
    added = server(type="conversation.item.created", item={"id": "i", "role": "user"})
    assert added.item == p.MessageItem(id="i", role="user", content=[])
    call = server(type="response.output_item.added", item={"type": "function_call", "name": "f"})
    assert call.item.arguments == ""
    old = server(type="session.created", session={"id": "s", "modalities": ["text"], "voice": "alloy"})
    assert old.session == p.RealtimeSessionConfig(id="s")


@pytest.mark.parametrize(
    ("sent", "code", "message"),
    [
        ("boom", UNSET, "boom"),
        ({"code": 429, "message": None}, "429", ""),
        ({"type": "invalid_api_key", "code": None, "message": "m"}, None, "m"),
        ({}, UNSET, ""),
    ],
)
def test_errors_of_all_shapes(sent: Any, code: Any, message: str) -> None:
    error = server(type="error", error=sent).error
    assert error.code == code
    assert error.message == message


def test_numbers_of_the_other_kind() -> None:
    assert server(type="input_audio_buffer.speech_started", audio_start_ms=12.0).audio_start_ms == 12
    assert server(type="input_audio_buffer.speech_started", audio_start_ms=12.7).audio_start_ms == 13
    segment = server(type="conversation.item.input_audio_transcription.segment", item_id="i", start=1)
    assert segment.start == 1.0
    assert server(type="response.output_text.delta", item_id=5, delta="x").item_id == "5"


def test_null_where_the_api_has_none_counts_as_absent_and_other_nulls_stay() -> None:
    item = {"type": "message", "id": "i", "object": None, "status": None, "role": "user", "content": None}
    event = server(type="conversation.item.added", event_id=None, previous_item_id=None, item=item)
    assert event.item == p.MessageItem(id="i", role="user", content=[])
    assert event.event_id is UNSET
    assert event.previous_item_id is None
    assert server(type="conversation.item.added", item=item).previous_item_id is UNSET


def test_status_details_may_be_a_bare_string() -> None:
    response = server(type="response.done", response={"status_details": "cancelled"}).response
    assert response.status_details == "cancelled"
    details = {"type": "cancelled", "reason": "turn_detected"}
    response = server(type="response.done", response={"status_details": details}).response
    assert response.status_details == p.ResponseStatusDetails(type="cancelled", reason="turn_detected")


# --- bad frames


def nested(depth: int) -> bytes:
    return b'{"type":"response.done","x":' + b"[" * depth + b"]" * depth + b"}"


def nested_item(depth: int) -> bytes:
    return (
        b'{"type":"conversation.item.added","item":{"type":"new","x":' + b"[" * depth + b"]" * depth + b"}}"
    )


BAD = [
    (b"", "json"),
    (b"SECRET", "json"),
    (b'{"type":"response.done"', "json"),
    (b'{"type":"response.done","x":NaN}', "json"),
    (b'{"type":"response.done","response":{}} SECRET', "json"),
    (b"null", "shape"),
    (b'["SECRET"]', "shape"),
    (b'"SECRET"', "shape"),
    (b"{}", "shape"),
    (b'{"type":null}', "shape"),
    (b'{"type":5}', "shape"),
    (b'{"type":["SECRET"]}', "shape"),
    (b'{"type":"response.done"}', "shape"),
    (b'{"type":"response.done","response":["SECRET"]}', "shape"),
    (b'{"type":"response.output_audio.delta","item_id":"SECRET"}', "shape"),
    (b'{"type":"response.output_audio.delta","item_id":"i","delta":{"SECRET":1}}', "shape"),
    (b'{"type":"conversation.item.added","item":"SECRET"}', "shape"),
    (
        b'{"type":"conversation.item.added","item":{"type":"message","role":"user","content":["SECRET"]}}',
        "shape",
    ),
    (b'{"type":"response.done","response":{"metadata":{"SECRET":1},"output":{"SECRET":2}}}', "shape"),
    (b'{"type":"input_audio_buffer.speech_started","audio_start_ms":"SECRET"}', "shape"),
    (b'{"type":"error","error":{"message":"SECRET\xff"}}', "utf8"),
    (b'\xff\xfe{"type":"error"}', "json"),
    (b'{"type":"error","error":{"message":"SECRET\\ud800"}}', "json"),
    # From CPython 3.12 on, the decoder goes about 10,000 deep.
    (nested(20_000), "depth"),
    (nested(100_000), "depth"),
    (nested_item(20_000), "depth"),
]


@pytest.mark.parametrize(("frame", "kind"), BAD, ids=range(len(BAD)))
def test_a_bad_frame_is_a_protocol_error_that_does_not_quote_it(frame: bytes, kind: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        decode_server_event(frame)
    assert caught.value.kind == kind
    assert isinstance(caught.value, ValueError)
    shown = "".join(traceback.format_exception(caught.value))
    assert "SECRET" not in shown
    assert len(str(caught.value)) < 120
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_text_with_a_lone_surrogate_is_a_protocol_error() -> None:
    with pytest.raises(ProtocolError):
        decode_server_event('{"type":"error","error":{"message":"\ud800"}}')


def test_the_message_says_where() -> None:
    with pytest.raises(ProtocolError, match=r"^wrong shape of response\.done at \$\.response\.output$"):
        server(type="response.done", response={"output": 3})


def test_duplicate_keys_are_no_trouble() -> None:
    frame = b'{"type":"response.output_text.delta","item_id":"a","item_id":"b","delta":"x","delta":"y"}'
    assert decode_server_event(frame) == p.ResponseOutputTextDelta(item_id="b", delta="y")
    with pytest.raises(ProtocolError):
        decode_server_event(b'{"type":"error","type":"response.done"}')
    with pytest.raises(ProtocolError):
        decode_server_event(b'{"type":"error","type":5}')


SEEDS = [
    b'{"type":"response.output_audio.delta","event_id":"e","response_id":"r","item_id":"i","delta":"AAAA"}',
    b'{"type":"response.done","response":{"id":"r","usage":{"total_tokens":3},"output":[{"type":"message",'
    b'"role":"assistant","content":[{"type":"output_audio","transcript":"hi"}]}]}}',
    b'{"type":"conversation.item.added","previous_item_id":null,"item":{"type":"new","id":"x","y":[1.5]}}',
    b'{"type":"session.updated","session":{"type":"realtime","audio":{"input":{"turn_detection":null}}}}',
    b'{"type":"error","error":{"code":null,"message":"m","type":"t"}}',
]
PIECES = st.sampled_from(
    [
        b"null",
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b",",
        b":",
        b"\xff",
        b"\x00",
        b"1e999",
        b"-",
        b"\\u0000",
        b"true",
        b"9" * 400,
    ]
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    frame = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(frame)))
        end = min(len(frame), start + draw(st.integers(0, 12)))
        frame = frame[:start] + draw(PIECES | st.binary(max_size=3)) + frame[end:]
    return frame


def outcome(decode: Any, frame: Any) -> Any:
    """The event, or the ProtocolError; any other exception goes through and fails the test."""
    try:
        return decode(frame)
    except ProtocolError as error:
        return error


@QUICK
@given(mutated() | st.binary(max_size=40))
@example(b'{"type":"rate_limits.updated","rate_limits":[{"reset_seconds":' + b"9" * 400 + b"}]}")
@example(b'{"type":"rate_limits.updated","rate_limits":[{"limit":1e999}]}')
def test_nothing_but_a_protocol_error_ever_comes_out(frame: bytes) -> None:
    for decode in (decode_server_event, decode_client_event):
        result = outcome(decode, frame)
        assert isinstance(result, msgspec.Struct) or result.kind in ("json", "utf8", "depth", "shape")


# A JSON value in place of any other: the frame stays JSON, only its shape is wrong.
ANYTHING = st.sampled_from(
    [None, True, 0, -1.5, 1e300, "", "x", [], {}, [None], {"type": None}, {"type": "x"}, [[]]]
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        inner: Any = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    else:
        return [path]
    return [path, *(place for key, part in inner for place in places(part, (*path, key)))]


@QUICK
@given(st.data())
def test_a_value_of_the_wrong_kind_anywhere(data: st.DataObject) -> None:
    tree = json.loads(data.draw(st.sampled_from(SEEDS)))
    path = data.draw(st.sampled_from(places(tree)[1:]))
    holder = tree
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = data.draw(ANYTHING)
    result = outcome(decode_server_event, json.dumps(tree))
    if isinstance(result, ProtocolError):
        assert result.kind == "shape"
    else:
        assert decode_server_event(encode_server_event(result)) == result


# --- names

BETA = {
    "response.text.delta": {"delta": "x"},
    "response.text.done": {"text": "x"},
    "response.audio.delta": {"delta": "AA=="},
    "response.audio.done": {},
    "response.audio_transcript.delta": {"delta": "x", "start_time": 0.5},
    "response.audio_transcript.done": {"transcript": "x"},
}


@pytest.mark.parametrize("beta", BETA)
def test_beta_names_give_the_same_events(beta: str) -> None:
    fields = {"event_id": "e", "response_id": "r", "item_id": "i", "output_index": 1, "content_index": 2}
    fields |= BETA[beta]
    old = server(type=beta, **fields)
    assert old == server(type=p.ga_type(beta), **fields)
    assert type(old) is p.SERVER_EVENTS[p.GA_NAMES[beta]]
    assert json.loads(encode_server_event(old)) == {"type": p.ga_type(beta), **fields}
    assert json.loads(encode_server_event(old, names="beta")) == {"type": beta, **fields}
    assert json.loads(encode_server_event({"type": p.ga_type(beta), **fields}, names="beta")) == {
        "type": beta,
        **fields,
    }


def test_a_beta_event_that_needs_repair() -> None:
    event = server(type="response.audio.delta", item_id="i", delta="", response_id=None)
    assert event == p.ResponseOutputAudioDelta(item_id="i", delta="")


def test_created_items_keep_their_own_struct() -> None:
    item = {"type": "message", "role": "user", "content": []}
    created = server(type="conversation.item.created", previous_item_id="p", item=item)
    added = server(type="conversation.item.added", previous_item_id="p", item=item)
    assert type(created) is p.ConversationItemCreated
    assert msgspec.structs.asdict(created) == msgspec.structs.asdict(added)
    assert p.ga_type("conversation.item.created") == "conversation.item.added"
    assert decode_server_event(encode_server_event(added, names="beta")) == created


def test_every_beta_name_has_a_ga_event() -> None:
    assert set(p.GA_NAMES.values()) <= set(p.SERVER_EVENTS)
    assert p.ga_type("response.done") == "response.done"


def test_encoding_refuses_unknown_names() -> None:
    with pytest.raises(ValueError, match="unknown names 'alpha'"):
        encode_server_event(p.InputAudioBufferCleared(), names="alpha")  # type: ignore[arg-type]


def test_all_names_are_there_once() -> None:
    assert len(p.__all__) == len(set(p.__all__))
    assert [name for name in p.__all__ if not hasattr(p, name)] == []


def test_given() -> None:
    assert [p.given(value, "d") for value in (UNSET, None, "", "x")] == ["d", "d", "", "x"]
