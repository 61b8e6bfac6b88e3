"""§7, edits: what `update_chat_ctx` sends and waits for; instructions, tools and pictures."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import wire as w
from contract_line import PATIENCE, Line, background
from PIL import Image

import antiphon.protocol as p
from antiphon import (
    AgentConfigUpdate,
    AgentHandoff,
    AudioContent,
    AudioFrame,
    ChatContext,
    ChatMessage,
    FunctionCall,
    FunctionCallOutput,
    ImageContent,
    ProviderTool,
    RawFunctionTool,
    RealtimeError,
    RealtimeSession,
    function_tool,
)

Dial = Callable[..., Line]
PICTURE = "data:image/png;base64,AAAA"
LONG = "call_" + "x" * 40


def mirror(line: Line, *items: p.Item) -> ChatContext:
    """Have the server tell of these items."""
    previous: str | None = None
    for item in items:
        line.peer.send(w.item_added(item, previous))
        previous = item.id
    line.heard()
    return line.session.chat_ctx


def three(line: Line) -> ChatContext:
    return mirror(
        line,
        *(
            w.message(name, text, kind="input_text", role="user")
            for name, text in (("a", "one"), ("b", "two"), ("c", "three"))
        ),
    )


def edit(line: Line, context: ChatContext) -> tuple[Any, list[dict[str, Any]]]:
    """Begin an edit: its future, and what it sent."""
    line.heard()
    queued = "openai_client_event_queued"
    known = len(line.of(queued))
    future = background(line.session.update_chat_ctx, context, PATIENCE)
    # One that sends nothing is done at once.
    future.add_done_callback(lambda _: line.nudge())
    line.wait_until(lambda: future.done() or len(line.of(queued)) > known)
    return future, line.sent()


def shape(events: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    return [
        ("create", event["item"]["id"], event.get("previous_item_id"))
        if event["type"] == "conversation.item.create"
        else ("delete", event["item_id"])
        for event in events
    ]


def acknowledge(line: Line, *events: dict[str, Any]) -> None:
    for event in events:
        if event["type"] == "conversation.item.delete":
            line.peer.send("conversation.item.deleted", item_id=event["item_id"])
        else:
            previous = event.get("previous_item_id")
            line.peer.send(
                "conversation.item.added",
                item=event["item"],
                previous_item_id=None if previous == "root" else previous,
            )


# -- what goes out --------------------------------------------------------------------------------------


def test_removals_then_creations_in_order_then_pairs(line: Line) -> None:
    three(line)
    context = ChatContext(
        [
            ChatMessage("user", "first", id="x"),
            ChatMessage("user", "TWO", id="b"),
            ChatMessage("user", "second", id="y"),
            ChatMessage("user", "THREE", id="c"),
            ChatMessage("user", "third", id="z"),
        ]
    )
    future, sent = edit(line, context)
    assert shape(sent) == [
        ("delete", "a"),
        ("create", "x", "root"),
        ("create", "y", "b"),
        ("create", "z", "c"),
        ("delete", "b"),
        ("create", "b", "x"),
        ("delete", "c"),
        ("create", "c", "y"),
    ]
    acknowledge(line, *sent)
    report = future.result(PATIENCE)
    assert report.rejected == {}
    assert sorted(report.created) == ["b", "c", "x", "y", "z"]
    assert sorted(report.deleted) == ["a", "b", "c"]
    assert [item.id for item in line.session.chat_ctx.items] == ["x", "b", "y", "c", "z"]


def test_equal_conversations_send_nothing(line: Line) -> None:
    future, sent = edit(line, three(line))
    assert sent == []
    assert future.result(0).created == []


def test_what_is_left_out_and_what_follows_it(line: Line) -> None:
    context = three(line)
    context.items[1:1] = [
        ChatMessage("system", "Be kind.", id=ChatContext.INSTRUCTIONS_ID),
        AgentHandoff("other"),
        AgentConfigUpdate("new"),
        ChatMessage("user", [], id="empty"),
        ChatMessage("user", [""], id="blank"),
        ChatMessage("user", "real", id="x"),
        ChatMessage("user", "again", id="x"),
    ]
    future, sent = edit(line, context)
    assert shape(sent) == [("create", "x", "a")]
    acknowledge(line, *sent)
    future.result(PATIENCE)


SPEECH = AudioFrame(np.arange(4, dtype=np.int16), 24_000, 1)
WRITTEN = [
    (ChatMessage("user", "hi", id="i"), {"role": "user", "content": [{"type": "input_text", "text": "hi"}]}),
    (
        ChatMessage("assistant", "ho", id="i"),
        {"role": "assistant", "content": [{"type": "output_text", "text": "ho"}]},
    ),
    (
        ChatMessage("system", "be", id="i"),
        {"role": "system", "content": [{"type": "input_text", "text": "be"}]},
    ),
    (
        ChatMessage("developer", "be", id="i"),
        {"role": "system", "content": [{"type": "input_text", "text": "be"}]},
    ),
    (
        ChatMessage("user", [ImageContent(PICTURE), "see"], id="i"),
        {
            "role": "user",
            "content": [{"type": "input_image", "image_url": PICTURE}, {"type": "input_text", "text": "see"}],
        },
    ),
    (
        ChatMessage("user", [AudioContent([SPEECH], "hm")], id="i"),
        {
            "role": "user",
            "content": [
                {
                    "type": "input_audio",
                    "audio": base64.b64encode(SPEECH.to_bytes()).decode(),
                    "transcript": "hm",
                }
            ],
        },
    ),
    (FunctionCall("k", "f", '{"n":1}', id="i"), {"call_id": "k", "name": "f", "arguments": '{"n":1}'}),
    (FunctionCallOutput("k", "7", id="i"), {"call_id": "k", "output": "7"}),
    (
        FunctionCallOutput(LONG, "7", id="i"),
        {"call_id": hashlib.sha256(LONG.encode()).hexdigest()[:32], "output": "7"},
    ),
]


@pytest.mark.parametrize(("item", "wire"), WRITTEN)
def test_what_items_become_on_the_wire(line: Line, item: Any, wire: dict[str, Any]) -> None:
    future, (event,) = edit(line, ChatContext([item]))
    found = event["item"]
    assert (found["id"], found["type"]) == ("i", item.type)
    assert {name: found[name] for name in wire} == wire
    assert event["previous_item_id"] == "root"
    acknowledge(line, event)
    assert future.result(PATIENCE).created == ["i"]


@pytest.mark.parametrize(
    ("there", "wanted", "same"),
    [
        (w.message("i", "a"), ChatMessage("assistant", "b", id="i"), False),
        (w.message("i", "a", kind="output_audio"), ChatMessage("assistant", "a", id="i"), True),
        (w.call("i", "k", "f", "{}"), FunctionCall("k", "f", "{}", id="i"), True),
        (w.call("i", "k", "f", "{}"), FunctionCall("k", "g", "{}", id="i"), False),
        (w.call("i", "k", "f", "{}"), FunctionCall("k", "f", '{"n":1}', id="i"), False),
        (
            p.FunctionCallOutputItem(id="i", call_id="k", output="7"),
            FunctionCallOutput("k", "7", id="i"),
            True,
        ),
        (
            p.FunctionCallOutputItem(id="i", call_id="k", output="7"),
            FunctionCallOutput("k", "8", id="i"),
            False,
        ),
        (
            p.MessageItem(
                id="i", role="user", content=[p.ContentPart(type="input_image", image_url=PICTURE)]
            ),
            ChatMessage("user", [ImageContent(PICTURE[:-1] + "Q")], id="i"),
            False,
        ),
        # Without content on the server's side: neither deleted nor made again.
        (p.MessageItem(id="i", role="user", content=[]), ChatMessage("user", "spoken", id="i"), True),
        (
            p.MessageItem(id="i", role="user", content=[p.ContentPart(type="input_audio")]),
            ChatMessage("user", [], id="i"),
            True,
        ),
    ],
)
def test_what_counts_as_the_same(line: Line, there: p.Item, wanted: Any, same: bool) -> None:
    mirror(line, there)
    future, sent = edit(line, ChatContext([wanted]))
    assert shape(sent) == ([] if same else [("delete", "i"), ("create", "i", "root")])
    acknowledge(line, *sent)
    future.result(PATIENCE)


def test_items_being_generated_are_left_alone_until_they_are_done(line: Line) -> None:
    line.peer.send(w.created("r1"))
    line.peer.send(w.output_added("r1", w.message("m1")))
    line.peer.send(w.item_added(w.message("m1"), None))
    line.heard()
    assert edit(line, ChatContext.empty())[1] == []
    line.peer.send(w.output_done("r1", w.message("m1", "Hello.", kind="output_audio")))
    line.peer.send(w.done("r1"))
    line.heard()
    future, sent = edit(line, ChatContext.empty())
    assert shape(sent) == [("delete", "m1")]
    acknowledge(line, *sent)
    future.result(PATIENCE)


@pytest.mark.parametrize("end", ["completed", "failed"])
def test_items_being_transcribed_are_left_alone_until_they_are(line: Line, end: str) -> None:
    line.peer.send(p.InputAudioBufferCommitted(item_id="u"))
    spoken = p.MessageItem(id="u", role="user", content=[p.ContentPart(type="input_audio")])
    line.peer.send(w.item_added(spoken, None))
    line.heard()
    assert edit(line, ChatContext.empty())[1] == []
    fields = {"transcript": "hi"} if end == "completed" else {"error": {"message": "no"}}
    line.peer.send(
        f"conversation.item.input_audio_transcription.{end}", item_id="u", content_index=0, **fields
    )
    line.heard()
    future, sent = edit(line, ChatContext.empty())
    assert shape(sent) == [("delete", "u")]
    acknowledge(line, *sent)
    future.result(PATIENCE)


def test_items_without_a_chat_form_are_left_alone(line: Line) -> None:
    mirror(line, p.McpListToolsItem(id="x", server_label="s", tools=[]))
    assert edit(line, ChatContext.empty())[1] == []


@pytest.mark.parametrize("change", ["create", "replace"])
def test_items_without_a_chat_form_keep_the_head(line: Line, change: str) -> None:
    listed = p.McpListToolsItem(id="x", server_label="s", tools=[])
    mirror(line, listed, w.message("a", "one", kind="input_text", role="user"))
    first = ChatMessage("user", "new", id="b" if change == "create" else "a")
    there = [item for item in line.session.chat_ctx.items if item.id != first.id]
    future, sent = edit(line, ChatContext([first, *there]))
    assert shape(sent)[-1] == ("create", first.id, "x")
    acknowledge(line, *sent)
    future.result(PATIENCE)


def test_a_copy_older_than_a_cut_does_not_bring_back_what_was_cut(line: Line) -> None:
    words = p.ContentPart(type="output_audio", transcript="one two")
    older = mirror(line, p.MessageItem(id="a", role="assistant", content=[words]))
    line.session.truncate("a", ["audio"], 500, "one")
    line.peer.expect("conversation.item.truncate")
    cut = p.ConversationItemTruncated(item_id="a", content_index=0, audio_end_ms=500)
    line.peer.send(cut)
    line.heard()
    older.add_message(role="user", content="go on", id="b")
    future, sent = edit(line, older)
    assert shape(sent) == [("create", "b", "a")]
    acknowledge(line, *sent)
    future.result(PATIENCE)
    assert [item.text_content for item in line.session.chat_ctx.items] == ["one", "go on"]

    edited = line.session.chat_ctx
    edited.items[0].content = ["one two"]
    future, sent = edit(line, edited)
    assert shape(sent) == [("delete", "a"), ("create", "a", "root")], (
        "what was read after the cut can restore it"
    )
    acknowledge(line, *sent)
    future.result(PATIENCE)


def test_a_copy_older_than_a_cut_and_a_drop_does_not_bring_it_back(line: Line) -> None:
    words = p.ContentPart(type="output_audio", transcript="one two")
    older = mirror(line, p.MessageItem(id="a", role="assistant", content=[words]))
    line.session.truncate("a", ["audio"], 500, "one")
    line.peer.expect("conversation.item.truncate")
    line.peer.drop()
    line.answer()
    assert line.peer.expect_item()["item"]["content"] == [{"type": "output_text", "text": "one"}]
    line.wait("session_reconnected")
    assert edit(line, older)[1] == []


def test_a_copy_from_between_two_cuts_is_no_edit(line: Line) -> None:
    words = p.ContentPart(type="output_audio", transcript="one two three")
    mirror(line, p.MessageItem(id="a", role="assistant", content=[words]))
    for end_ms, left in ((800, "one two"), (400, "one")):
        between = line.session.chat_ctx
        line.session.truncate("a", ["audio"], end_ms, left)
        line.peer.expect("conversation.item.truncate")
        line.peer.send(p.ConversationItemTruncated(item_id="a", content_index=0, audio_end_ms=end_ms))
        line.heard()
    assert [item.text_content for item in between.items] == ["one two"]
    assert edit(line, between)[1] == []
    assert [item.text_content for item in line.session.chat_ctx.items] == ["one"]


def test_a_copy_from_before_it_was_known_how_much_was_heard_is_no_edit(line: Line) -> None:
    """The server confirms the cut and repeats the words before the response, and with it the audio, is over."""
    line.peer.send(w.created("r1"))
    line.peer.send(p.ConversationItemAdded(previous_item_id=None, item=w.message("a")))
    line.peer.send(w.audio("r1", "a", range(2400)))
    line.peer.send(p.ConversationItemTruncated(item_id="a", content_index=0, audio_end_ms=50))
    done = w.message("a", "one two three")
    line.peer.send(p.ConversationItemDone(item=done))
    line.heard()
    older = line.session.chat_ctx
    assert [item.text_content for item in older.items] == ["one two three"]
    line.peer.send(w.output_done("r1", done))
    line.peer.send(w.done("r1", "cancelled"))
    line.heard()
    assert [item.text_content for item in line.session.chat_ctx.items] == ["one tw"]
    assert edit(line, older)[1] == []


# -- the report -----------------------------------------------------------------------------------------


def test_a_rejection_ends_only_its_own_wait_and_is_no_error(line: Line) -> None:
    context = three(line)
    context.items.append(ChatMessage("user", "four", id="d"))
    context.items.append(ChatMessage("user", "five", id="e"))
    future, (first, second) = edit(line, context)
    line.peer.send(w.error("invalid_value", "too rude", event_id=first["event_id"]))
    line.heard()
    assert not future.done()
    acknowledge(line, {**second, "previous_item_id": "c"})
    report = future.result(PATIENCE)
    assert (report.created, report.deleted, report.rejected) == (["e"], [], {"d": "too rude"})
    assert line.errors() == []
    assert [item.id for item in line.session.chat_ctx.items] == ["a", "b", "c", "e"]


def test_a_fatal_rejection_ends_the_session(line: Line) -> None:
    future, (event,) = edit(line, ChatContext([ChatMessage("user", "x", id="x")]))
    line.peer.send(w.error("insufficient_quota", "no money", event_id=event["event_id"]))
    assert isinstance(future.exception(PATIENCE), RealtimeError)
    line.wait_closed()
    assert [error.recoverable for error in line.of("error")] == [False]


def test_a_duplicate_id_counts_as_done(line: Line) -> None:
    future, (event,) = edit(line, ChatContext([ChatMessage("user", "x", id="x")]))
    message = "Error adding item: the item with id 'x' already exists."
    line.peer.send(w.error("item_create_invalid_item_id", message, event_id=event["event_id"]))
    report = future.result(PATIENCE)
    assert (report.created, report.rejected) == (["x"], {})
    assert line.errors() == []


@pytest.mark.parametrize("name", ["conversation.item.added", "conversation.item.created"])
def test_both_names_acknowledge(line: Line, name: str) -> None:
    future, (event,) = edit(line, ChatContext([ChatMessage("user", "x", id="x")]))
    line.peer.send(name, item=event["item"], previous_item_id=None)
    assert future.result(PATIENCE).created == ["x"]


def test_silence_is_a_realtime_error(line: Line) -> None:
    with pytest.raises(RealtimeError, match="timed out"):
        line.session.update_chat_ctx(ChatContext([ChatMessage("user", "x", id="x")]), timeout=0.05)


def test_concurrent_edits_run_one_after_the_other(line: Line) -> None:
    first, second = three(line), line.session.chat_ctx
    first.items.append(ChatMessage("user", "first", id="x"))
    second.items.append(ChatMessage("user", "second", id="y"))
    one, sent = edit(line, first)
    two = background(line.session.update_chat_ctx, second)
    assert shape(sent) == [("create", "x", "c")]
    acknowledge(line, *sent)
    assert one.result(PATIENCE).created == ["x"]
    sent = [line.peer.receive(), line.peer.receive()]
    # The second knows what the first one did: it doesn't want x.
    assert shape(sent) == [("delete", "x"), ("create", "y", "c")]
    acknowledge(line, *sent)
    assert two.result(PATIENCE).created == ["y"]


# -- instructions and tools -----------------------------------------------------------------------------


@function_tool
def weather(city: str) -> str:
    """Tells the weather.

    Args:
        city: Where.
    """
    return city


SCHEMA = {
    "type": "function",
    "name": "look_up",
    "description": "Looks up.",
    "parameters": {"type": "object", "properties": {"word": {"type": "string"}}},
}


def sent_tools(line: Line) -> list[dict[str, Any]]:
    (event,) = line.sent()
    assert event["session"].keys() == {"type", "model", "tools"}
    tools: list[dict[str, Any]] = event["session"]["tools"]
    return tools


def test_instructions_and_tools_are_one_update_each(line: Line) -> None:
    line.session.update_instructions("Be kind.")
    line.session.update_tools([weather])
    instructions, tools = line.sent()
    assert instructions["session"] == {"type": "realtime", "instructions": "Be kind."}
    assert tools["session"] == {
        "type": "realtime",
        "model": "gpt-realtime",
        "tools": [
            {
                "type": "function",
                "name": "weather",
                "description": "Tells the weather.",
                "parameters": weather.parameters,
            }
        ],
    }


def test_a_raw_schemas_meta_is_dropped(line: Line) -> None:
    line.session.update_tools([RawFunctionTool({**SCHEMA, "meta": {"a": 1}}, lambda arguments: "")])
    assert sent_tools(line) == [SCHEMA]


def test_provider_tools_are_kept_and_bad_ones_left_out(line: Line, caplog: Any) -> None:
    search = ProviderTool("search")
    bad = RawFunctionTool({**SCHEMA, "name": "no spaces please"}, lambda arguments: "")
    line.session.update_tools([search, bad, weather])
    assert [tool["name"] for tool in sent_tools(line)] == ["weather"]
    assert line.session.tools.flatten() == [search, weather]
    assert any("no spaces please" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("tools", [None, weather, "weather"])
def test_what_is_no_list_of_tools_is_refused_and_nothing_is_sent(line: Line, tools: Any) -> None:
    with pytest.raises(ValueError, match=r"tools must be a list of tools, not .*; \[\] is none"):
        line.session.update_tools(tools)
    with pytest.raises(ValueError, match="tools must be a list of tools"):
        line.session.generate_reply(tools=tools)
    assert line.sent() == []


def test_the_conversion_of_tools_can_be_overridden(dial: Dial, monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(RealtimeSession):
        def _convert_tools(self, tools: Any) -> Any:
            return [p.FunctionToolDef(name=tool.name, description="Mine.") for tool in tools]

    monkeypatch.setattr("antiphon.session.RealtimeSession", Mine)
    line = dial()
    line.session.update_tools([weather])
    assert sent_tools(line)[0]["description"] == "Mine."


# -- pictures -----------------------------------------------------------------------------------------


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), (200, 30, 60)).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["jpeg", "png", "rgb"])
def test_a_picture_is_a_user_message_with_a_data_url(line: Line, kind: str) -> None:
    data = encoded(kind) if kind != "rgb" else None
    line.session.push_video(np.full((6, 8, 3), 90, np.uint8) if data is None else data, kind)
    item = line.peer.expect_item()["item"]
    assert (item["type"], item["role"]) == ("message", "user")
    (part,) = item["content"]
    head, _, body = part["image_url"].partition(",")
    assert head == f"data:image/{'jpeg' if kind == 'rgb' else kind};base64"
    if data is None:
        assert Image.open(io.BytesIO(base64.b64decode(body))).size == (8, 6)
    else:
        assert base64.b64decode(body) == data
    line.heard()
    assert [len(one.images) for one in line.session.chat_ctx.items] == [1]
