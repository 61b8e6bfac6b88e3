"""Chat items on the wire: both ways, checked against the models of the official SDK."""

from __future__ import annotations

import base64
import io
import json
import sys

import msgspec
import numpy as np
import pytest
from chat_strategies import calls, config_updates, encoded_frames, handoffs, messages, outputs
from hypothesis import given
from hypothesis import strategies as st
from openai.types.realtime import (
    RealtimeConversationItemAssistantMessage,
    RealtimeConversationItemFunctionCall,
    RealtimeConversationItemFunctionCallOutput,
    RealtimeConversationItemSystemMessage,
    RealtimeConversationItemUserMessage,
)
from PIL import Image

from antiphon.actors.audio import AudioFrame, VideoFrame
from antiphon.actors.chat import (
    AudioContent,
    ChatItem,
    ChatMessage,
    FunctionCall,
    FunctionCallOutput,
    ImageContent,
    from_item,
    has_wire_form,
    image_url,
    replay_item,
    to_item,
    wire_call_id,
)
from antiphon.protocol import ContentPart, McpApprovalRequestItem, MessageItem, UnknownItem

MODELS = {
    "user": RealtimeConversationItemUserMessage,
    "assistant": RealtimeConversationItemAssistantMessage,
    "system": RealtimeConversationItemSystemMessage,
    "function_call": RealtimeConversationItemFunctionCall,
    "function_call_output": RealtimeConversationItemFunctionCallOutput,
}


def on_wire(item: ChatItem) -> dict[str, object]:
    return json.loads(msgspec.json.encode(to_item(item)))


@given(messages | calls | outputs)
def test_the_official_models_know_every_field(item: ChatItem) -> None:
    wire = on_wire(item)
    model = MODELS[str(wire.get("role", wire["type"]))]
    assert model.model_validate(wire, extra="forbid").model_dump(exclude_unset=True) == wire


@given(messages | calls | outputs | handoffs | config_updates)
def test_what_has_no_wire_form_is_not_replayed(item: ChatItem) -> None:
    wire = replay_item(item)
    assert (wire is not None) == has_wire_form(item)
    assert wire is None or not isinstance(wire, MessageItem) or wire.content


@given(messages)
def test_words_survive_the_round_trip(message: ChatMessage) -> None:
    back = from_item(to_item(message))
    assert isinstance(back, ChatMessage)
    assert back.id == message.id
    assert back.text_content == message.text_content
    assert back.role == {"developer": "system"}.get(message.role, message.role)
    sent = message.images if message.role == "user" else []
    assert [image_url(image) for image in back.images] == [image_url(image) for image in sent]


@given(calls | outputs)
def test_calls_and_outputs_survive_the_round_trip(item: FunctionCall | FunctionCallOutput) -> None:
    if isinstance(item, FunctionCallOutput):
        item.is_error = False  # the wire doesn't tell
    assert from_item(to_item(item)) == item


@given(handoffs | config_updates)
def test_notes_never_reach_the_wire(item: ChatItem) -> None:
    with pytest.raises(TypeError, match=type(item).__name__):
        to_item(item)


@pytest.mark.parametrize(
    ("role", "kind"),
    [
        ("user", "input_text"),
        ("assistant", "output_text"),
        ("system", "input_text"),
        ("developer", "input_text"),
    ],
)
def test_text_parts(role: str, kind: str) -> None:
    wire = on_wire(ChatMessage(role, ["hi", "", AudioContent(transcript="you"), AudioContent()], id="i"))
    assert wire == {
        "type": "message",
        "id": "i",
        "role": "system" if role == "developer" else role,
        "content": [{"type": kind, "text": "hi"}, {"type": kind, "text": "you"}],
    }


def test_audio_of_the_right_kind_goes_out_as_it_is() -> None:
    frames = [AudioFrame(b"abcd", 24000), AudioFrame(b"ef", 24000)]
    part = on_wire(ChatMessage("user", AudioContent(frames, "hi")))["content"][0]
    assert part == {"type": "input_audio", "audio": base64.b64encode(b"abcdef").decode(), "transcript": "hi"}


def test_other_audio_is_converted() -> None:
    frame = AudioFrame(np.full((4800, 2), 1000, np.int16), 48000, num_channels=2)
    part = on_wire(ChatMessage("user", AudioContent([frame])))["content"][0]
    pcm = np.frombuffer(base64.b64decode(part["audio"]), "<i2")
    assert abs(len(pcm) - 2400) <= 1
    assert abs(int(pcm[1200]) - 1000) <= 2


def test_the_audio_of_an_assistant_goes_out_in_words() -> None:
    frames = [AudioFrame(b"ab", 24000)]
    assert on_wire(ChatMessage("assistant", AudioContent(frames, "hi")))["content"] == [
        {"type": "output_text", "text": "hi"}
    ]
    assert not has_wire_form(ChatMessage("assistant", AudioContent(frames)))


@given(encoded_frames)
def test_an_encoded_picture_keeps_its_bytes(frame: VideoFrame) -> None:
    head, data = image_url(ImageContent(frame)).split(",")
    assert head == f"data:image/{frame.encoding};base64"
    assert base64.b64decode(data) == frame.data


def test_a_raw_picture_becomes_a_jpeg() -> None:
    content = ImageContent(VideoFrame(np.full((16, 24, 3), 200, np.uint8)), detail="low")
    part = on_wire(ChatMessage("user", content))["content"][0]
    assert part["detail"] == "low"
    head, data = part["image_url"].split(",")
    assert head == "data:image/jpeg;base64"
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    assert (picture.format, picture.size) == ("JPEG", (24, 16))
    assert abs(picture.getpixel((3, 3))[0] - 200) < 5


def test_a_raw_picture_without_pillow_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"antiphon\[video\]"):
        image_url(ImageContent(VideoFrame(np.zeros((1, 1, 3), np.uint8))))


@pytest.mark.parametrize(
    ("part", "content"),
    [
        (ContentPart(type="input_text", text="a"), ["a"]),
        (ContentPart(type="output_text", text="a"), ["a"]),
        (ContentPart(type="text", text="a"), ["a"]),
        (ContentPart(type="input_audio", transcript="a"), ["a"]),
        (ContentPart(type="output_audio", transcript="a"), ["a"]),
        (ContentPart(type="audio", transcript="a"), ["a"]),
        (ContentPart(type="input_audio", transcript=None), []),
        (ContentPart(type="output_audio"), []),
        (ContentPart(type="input_text", text=""), []),
        (
            ContentPart(type="input_image", image_url="data:,", detail="high"),
            [ImageContent("data:,", "high")],
        ),
        (ContentPart(type="input_image", image_url=None), []),
        (ContentPart(type="hologram"), []),
    ],
)
def test_parts_from_the_server(part: ContentPart, content: list[object]) -> None:
    assert from_item(MessageItem(id="i", role="user", content=[part])) == ChatMessage("user", content, id="i")


@pytest.mark.parametrize(
    "item",
    [
        UnknownItem(type="novel", id="i", raw=b"{}"),
        McpApprovalRequestItem(id="i", server_label="s", name="n", arguments="{}"),
    ],
)
def test_other_items_have_no_chat_form(item: UnknownItem) -> None:
    assert from_item(item) is None


@given(st.text(min_size=1, max_size=80))
def test_call_ids_fit_and_stay_apart(call_id: str) -> None:
    wire = wire_call_id(call_id)
    assert len(wire) <= 32
    assert wire == call_id or len(call_id) > 32
    assert on_wire(FunctionCall(call_id, "f", "{}"))["call_id"] == wire
    assert to_item(FunctionCallOutput(call_id, "")).call_id == wire


def test_a_long_call_id_becomes_a_hash() -> None:
    assert wire_call_id("x" * 33) == "11ba55a3a7c1ee0f8eb8867dc40a62c6"
