"""ChatContext: editing, copying, truncating, and the round trip through JSON."""

from __future__ import annotations

import json
import re

import pytest
from chat_strategies import chat_items, messages
from hypothesis import given
from hypothesis import strategies as st

from antiphon.actors.audio import AudioFrame, VideoFrame
from antiphon.actors.chat import (
    AgentConfigUpdate,
    AgentHandoff,
    AudioContent,
    ChatContext,
    ChatMessage,
    FunctionCall,
    FunctionCallOutput,
    ImageContent,
    new_item_id,
)

contexts = st.builds(ChatContext, st.lists(chat_items, max_size=6))


def every_kind() -> ChatContext:
    return ChatContext(
        [
            ChatMessage("system", "be kind", id=ChatContext.INSTRUCTIONS_ID),
            ChatMessage("system", "another", id="s"),
            ChatMessage("user", [], id="empty"),
            FunctionCall("c", "f", "{}", id="call"),
            FunctionCallOutput("c", "1", id="output"),
            AgentHandoff("b", "a", id="handoff"),
            AgentConfigUpdate(None, ["f"], id="config"),
        ]
    )


def names(ctx: ChatContext) -> list[str]:
    return [item.id for item in ctx.items]


def test_a_bare_string_is_one_part() -> None:
    assert ChatMessage("user", "hi").content == ["hi"]
    assert ChatMessage("user", AudioContent(transcript="hi")).text_content == "hi"


def test_text_joins_what_is_known_in_words() -> None:
    message = ChatMessage(
        "user", ["a", ImageContent("data:,"), "", AudioContent(transcript="b"), AudioContent()]
    )
    assert message.text_content == "a\nb"
    assert message.images == [ImageContent("data:,")]


@pytest.mark.parametrize("content", [[], "", ["", ""], [AudioContent()], [AudioContent(transcript="")]])
def test_a_message_without_anything_is_empty(content: list[str] | str) -> None:
    assert ChatMessage("user", content).is_empty


@pytest.mark.parametrize(
    "part",
    ["a", ImageContent("data:,"), AudioContent(transcript="a"), AudioContent([AudioFrame(b"", 24000)])],
)
def test_a_message_with_something_is_not_empty(part: str) -> None:
    assert not ChatMessage("user", ["", part]).is_empty


def test_ids_are_fresh_and_short_enough_for_the_api() -> None:
    made = {new_item_id() for _ in range(1000)}
    assert len(made) == 1000
    assert all(re.fullmatch(r"item_[0-9a-f]+", item_id) and len(item_id) <= 32 for item_id in made)


def test_media_are_equal_by_value() -> None:
    assert ImageContent(VideoFrame(b"\xff\xd8\xff1", "jpeg")) == ImageContent(
        VideoFrame(b"\xff\xd8\xff1", "jpeg")
    )
    assert ImageContent(VideoFrame(b"\xff\xd8\xff1", "jpeg")) != ImageContent(
        VideoFrame(b"\xff\xd8\xff2", "jpeg")
    )
    assert AudioContent([AudioFrame(b"ab", 24000)]) == AudioContent([AudioFrame(b"ab", 24000)])
    assert AudioContent([AudioFrame(b"ab", 24000)]) != AudioContent([AudioFrame(b"ab", 8000)])
    assert ImageContent("a") != AudioContent() != "a"


def test_add_message_insert_and_lookup() -> None:
    ctx = ChatContext.empty()
    first = ctx.add_message(role="user", content="hi", id="a")
    ctx.insert(FunctionCall("c", "f", "{}", id="b"))
    ctx.insert(ChatMessage("system", "s", id="c"), 0)
    assert names(ctx) == ["c", "a", "b"]
    assert ctx.index_by_id("a") == 1
    assert ctx.get_by_id("a") is first
    assert ctx.index_by_id("z") is None
    assert ctx.get_by_id("z") is None


@pytest.mark.parametrize(
    ("kind", "gone"),
    [
        ("exclude_function_call", {"call", "output"}),
        ("exclude_instructions", {ChatContext.INSTRUCTIONS_ID}),
        ("exclude_empty_message", {"empty"}),
        ("exclude_handoff", {"handoff"}),
        ("exclude_config_update", {"config"}),
    ],
)
def test_copy_leaves_out_what_is_excluded(kind: str, gone: set[str]) -> None:
    ctx = every_kind()
    assert names(ctx.copy(**{kind: True})) == [name for name in names(ctx) if name not in gone]


@given(contexts)
def test_a_copy_is_equal_and_independent(ctx: ChatContext) -> None:
    before = json.dumps(ctx.to_dict())
    copied = ctx.copy()
    assert copied == ctx
    for item in copied.items:
        item.id += "x"
        if isinstance(item, ChatMessage):
            item.content.append("more")
        if isinstance(item, AgentConfigUpdate):
            item.tools_added.append("more")
    copied.items.clear()
    assert json.dumps(ctx.to_dict()) == before


@given(contexts)
def test_dict_round_trip_through_json(ctx: ChatContext) -> None:
    assert ChatContext.from_dict(json.loads(json.dumps(ctx.to_dict()))) == ctx


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "list under 'items'"),
        ({"items": [{"type": "novel"}]}, r"items\[0\]: .*novel"),
        ({"items": [{"id": "a"}]}, r"items\[0\]: .*type"),
        ({"items": [{"type": "function_call", "name": "f"}]}, r"items\[0\]: .*call_id"),
        ({"items": ["text"]}, r"items\[0\]: "),
        ({"items": [{"type": "message", "role": "user", "content": [{"type": "x"}]}]}, r"items\[0\]: .*'x'"),
        (
            {
                "items": [
                    {
                        "type": "message",
                        "role": "user",
                        "content": [{"type": "audio", "frames": [{"data": "?"}]}],
                    }
                ]
            },
            r"items\[0\]: ",
        ),
    ],
)
def test_from_dict_says_where_the_data_is_wrong(data: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ChatContext.from_dict(data)


@given(
    st.lists(st.one_of(chat_items, st.just(ChatMessage("system", "i", id=ChatContext.INSTRUCTIONS_ID)))),
    st.data(),
)
def test_truncate(items: list[ChatMessage], data: st.DataObject) -> None:
    ctx = ChatContext(items)
    limit = data.draw(st.integers(0, len(items) + 1))
    assert ctx.truncate(limit) is ctx
    instructions = [item for item in items if item.id == ChatContext.INSTRUCTIONS_ID]
    assert len(ctx.items) <= max(limit, len(instructions))
    assert ctx.items[: len(instructions)] == instructions or len(items) <= limit
    assert [item for item in ctx.items if item.id == ChatContext.INSTRUCTIONS_ID] == instructions
    rest = [item for item in ctx.items if item.id != ChatContext.INSTRUCTIONS_ID]
    if len(items) > limit:
        calls = {item.call_id for item in rest if isinstance(item, FunctionCall)}
        assert all(item.call_id in calls for item in rest if isinstance(item, FunctionCallOutput))


def test_truncate_keeps_the_instructions_and_no_orphaned_output() -> None:
    ctx = ChatContext(
        [
            ChatMessage("system", "i", id=ChatContext.INSTRUCTIONS_ID),
            FunctionCall("c", "f", "{}", id="call"),
            FunctionCallOutput("c", "1", id="output"),
            ChatMessage("user", "a", id="a"),
        ]
    )
    assert names(ctx.truncate(3)) == [ChatContext.INSTRUCTIONS_ID, "a"]


def test_truncate_refuses_a_negative_limit() -> None:
    with pytest.raises(ValueError, match="-1"):
        ChatContext().truncate(-1)


@given(messages)
def test_contexts_compare_by_items(message: ChatMessage) -> None:
    ctx = ChatContext([message])
    assert ctx == ChatContext([message])
    assert ctx != ChatContext()
    assert ctx != [message]
    assert message.id in repr(ctx)


def test_a_role_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(ValueError, match="system, developer, user, assistant, not 'usr'"):
        ChatContext().add_message(role="usr", content="hi")  # type: ignore[arg-type]
