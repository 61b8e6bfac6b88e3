"""§7, the mirror: the conversation as the server tells of it, and what users say."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import wire as w
from contract_line import PATIENCE, Line, background

import antiphon.protocol as p
from antiphon import (
    ChatContext,
    ChatMessage,
    FunctionCall,
    FunctionCallOutput,
    ImageContent,
    RealtimeModelMetrics,
)

Dial = Callable[..., Line]
NAMES = ["conversation.item.added", "conversation.item.created"]


def user(item_id: str, text: str = "hi") -> dict[str, Any]:
    return {
        "id": item_id,
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": text}] if text else [],
    }


def announce(line: Line, item: dict[str, Any], previous: Any = ..., name: str = NAMES[0]) -> None:
    line.peer.send(name, item=item, **({} if previous is ... else {"previous_item_id": previous}))


def ids(line: Line) -> list[str]:
    line.heard()
    return [item.id for item in line.session.chat_ctx.items]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


# -- items --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [[NAMES[0]], [NAMES[1]], NAMES])
def test_items_enter_under_either_name_and_once_under_both(line: Line, names: list[str], caplog: Any) -> None:
    for name in names:
        announce(line, user("a"), None, name)
        announce(line, user("b"), "a", name)
    assert ids(line) == ["a", "b"]
    added = line.of("remote_item_added")
    assert [(event.previous_item_id, event.item.id) for event in added] == [(None, "a"), ("a", "b")]
    assert warnings(caplog) == []


def test_null_is_the_head_and_an_unknown_predecessor_the_tail_with_a_warning(line: Line, caplog: Any) -> None:
    announce(line, user("a"), None)
    announce(line, user("b"), "a")
    announce(line, user("head"), None)
    announce(line, user("middle"), "a")
    assert warnings(caplog) == []
    announce(line, user("tail"), "nobody")
    assert ids(line) == ["head", "a", "middle", "b", "tail"]
    assert any("tail" in text and "nobody" in text for text in warnings(caplog))


def test_a_duplicate_is_ignored_with_a_warning(line: Line, caplog: Any) -> None:
    announce(line, user("a", "first"), None)
    announce(line, user("a", "second"), None)
    assert ids(line) == ["a"]
    assert [item.text_content for item in line.session.chat_ctx.items] == ["first"]
    assert any("twice" in text for text in warnings(caplog))


def test_a_deleted_item_goes(line: Line) -> None:
    announce(line, user("a"), None)
    announce(line, user("b"), "a")
    line.peer.send("conversation.item.deleted", item_id="a")
    assert ids(line) == ["b"]


@pytest.mark.parametrize("name", ["conversation.item.done", "response.output_item.done"])
def test_the_final_arguments_of_a_call_are_taken_over(line: Line, name: str) -> None:
    call = {"id": "c", "type": "function_call", "call_id": "k", "name": "look", "arguments": ""}
    line.peer.send(w.created("r1"))
    announce(line, call, None)
    done = {**call, "arguments": '{"n":1}', "status": "completed"}
    if name.startswith("response"):
        line.peer.send(name, item=done, response_id="r1", output_index=0)
    else:
        line.peer.send(name, item=done, previous_item_id=None)
    assert ids(line) == ["c"]
    (item,) = line.session.chat_ctx.items
    assert isinstance(item, FunctionCall)
    assert item.arguments == '{"n":1}'


def test_types_without_a_chat_form_keep_their_place_and_are_not_seen(line: Line) -> None:
    announce(line, user("a"), None)
    announce(line, {"id": "x", "type": "mcp_list_tools", "server_label": "s", "tools": []}, "a")
    announce(line, user("b"), "x")
    assert ids(line) == ["a", "b"]


def test_chat_ctx_is_a_copy(line: Line) -> None:
    announce(line, user("a"), None)
    line.heard()
    copy = line.session.chat_ctx
    copy.items[0].content.append("more")  # type: ignore[union-attr]
    copy.add_message(role="user", content="another")
    assert [item.text_content for item in line.session.chat_ctx.items] == ["hi"]
    assert line.sent() == []


READ = [
    (user("a", "hi"), ChatMessage("user", ["hi"], id="a")),
    (
        {**user("a", ""), "role": "assistant", "content": [{"type": "output_text", "text": "ho"}]},
        ChatMessage("assistant", ["ho"], id="a"),
    ),
    (
        {**user("a", ""), "role": "assistant", "content": [{"type": "text", "text": "ho"}]},
        ChatMessage("assistant", ["ho"], id="a"),
    ),
    (
        {**user("a", ""), "role": "assistant", "content": [{"type": "output_audio", "transcript": "ho"}]},
        ChatMessage("assistant", ["ho"], id="a"),
    ),
    (
        {**user("a", ""), "role": "assistant", "content": [{"type": "audio", "transcript": "ho"}]},
        ChatMessage("assistant", ["ho"], id="a"),
    ),
    (
        {**user("a", ""), "role": "system", "content": [{"type": "input_text", "text": "be"}]},
        ChatMessage("system", ["be"], id="a"),
    ),
    (
        {**user("a", ""), "content": [{"type": "input_image", "image_url": "data:image/png;base64,AA=="}]},
        ChatMessage("user", [ImageContent("data:image/png;base64,AA==")], id="a"),
    ),
    (
        {"id": "a", "type": "function_call", "call_id": "k", "name": "f", "arguments": "{}"},
        FunctionCall("k", "f", "{}", id="a"),
    ),
    (
        {"id": "a", "type": "function_call_output", "call_id": "k", "output": "7"},
        FunctionCallOutput("k", "7", id="a"),
    ),
]


@pytest.mark.parametrize(("sent", "read"), READ)
def test_what_items_of_the_server_become(line: Line, sent: dict[str, Any], read: Any) -> None:
    announce(line, sent, None)
    line.heard()
    (item,) = line.session.chat_ctx.items
    assert (item.type, item.id) == (read.type, read.id)
    if isinstance(read, ChatMessage):
        assert isinstance(item, ChatMessage)
        assert (item.role, item.text_content, item.images) == (read.role, read.text_content, read.images)
    else:
        assert item == read


# -- what users say -------------------------------------------------------------------------------------


SPOKEN = {"id": "u", "type": "message", "role": "user", "content": [{"type": "input_audio"}]}
TRANSCRIPTION = "conversation.item.input_audio_transcription"


def transcribed(line: Line) -> list[tuple[str, str, bool]]:
    line.heard()
    return [
        (event.item_id, event.transcript, event.is_final)
        for event in line.of("input_audio_transcription_completed")
    ]


def delta(line: Line, text: str, index: int = 0, item_id: str = "u") -> None:
    line.peer.send(f"{TRANSCRIPTION}.delta", item_id=item_id, content_index=index, delta=text)


def completed(line: Line, text: str, item_id: str = "u", **fields: Any) -> None:
    line.peer.send(f"{TRANSCRIPTION}.completed", item_id=item_id, content_index=0, transcript=text, **fields)


def test_deltas_accumulate_and_completed_ends_them(line: Line) -> None:
    announce(line, SPOKEN, None)
    delta(line, "to")
    delta(line, " be")
    completed(line, "To be.")
    assert transcribed(line) == [("u", "to", False), ("u", "to be", False), ("u", "To be.", True)]
    assert [item.text_content for item in line.session.chat_ctx.items] == ["To be."]


def test_a_transcript_that_comes_twice_counts_once(line: Line) -> None:
    announce(line, SPOKEN, None)
    completed(line, "To be.")
    completed(line, "To be.", usage={"type": "duration", "seconds": 2.5})
    assert transcribed(line) == [("u", "To be.", True)]
    assert [item.text_content for item in line.session.chat_ctx.items] == ["To be."]
    assert all(isinstance(metrics, RealtimeModelMetrics) for metrics in line.of("metrics_collected"))


@pytest.mark.parametrize("how", ["added", "done"])
def test_a_transcript_replaces_what_its_item_carried(line: Line, how: str) -> None:
    carried = {**SPOKEN, "content": [{"type": "input_audio", "transcript": "to b"}]}
    announce(line, carried if how == "added" else SPOKEN, None)
    if how == "done":
        line.peer.send("conversation.item.done", item=carried, previous_item_id=None)
    completed(line, "To be.")
    line.heard()
    assert [item.text_content for item in line.session.chat_ctx.items] == ["To be."]


@pytest.mark.parametrize("name", NAMES)
def test_a_transcript_that_comes_before_its_item_is_not_lost(line: Line, name: str) -> None:
    delta(line, "to b")
    completed(line, "To be.", logprobs=[{"token": "To be.", "logprob": 0.0}])
    completed(line, "To be.")
    announce(line, SPOKEN, None, name)
    assert transcribed(line) == [("u", "to b", False), ("u", "To be.", True)]
    (item,) = line.session.chat_ctx.items
    assert isinstance(item, ChatMessage)
    assert (item.content, item.transcript_confidence) == (["To be."], 1.0)
    assert line.of("remote_item_added")[0].item.text_content == "To be."


def test_an_item_whose_transcript_came_before_it_is_not_protected_from_edits(line: Line) -> None:
    completed(line, "")
    announce(line, SPOKEN, None)
    line.heard()
    edit = background(line.session.update_chat_ctx, ChatContext([]), PATIENCE)
    line.peer.expect("conversation.item.delete")
    line.peer.send("conversation.item.deleted", item_id="u")
    assert edit.result(PATIENCE).deleted == ["u"]


def test_parts_whose_transcripts_come_before_their_item_are_in_its_order(line: Line) -> None:
    line.peer.send(f"{TRANSCRIPTION}.completed", item_id="u", content_index=1, transcript="or not.")
    delta(line, "To be")
    line.peer.send(f"{TRANSCRIPTION}.failed", item_id="u", content_index=0, error={"message": "cut off"})
    part = {"type": "input_audio", "transcript": "to"}
    announce(line, {**SPOKEN, "content": [part, part]}, None)
    line.heard()
    assert [item.text_content for item in line.session.chat_ctx.items] == ["To be\nor not."]


def test_a_transcript_of_an_item_that_is_gone_is_not_the_next_ones(line: Line) -> None:
    announce(line, SPOKEN, None)
    line.peer.send("conversation.item.deleted", item_id="u")
    completed(line, "To be.")
    announce(line, SPOKEN, None)
    line.heard()
    assert [item.text_content for item in line.session.chat_ctx.items] == [""]


def test_a_drop_ends_the_wait_for_an_item(line: Line) -> None:
    completed(line, "To be.")
    line.heard()
    line.peer.drop()
    line.answer()
    line.wait("session_reconnected")
    announce(line, SPOKEN, None)
    line.heard()
    assert [item.text_content for item in line.session.chat_ctx.items] == [""]


PICTURE = {"type": "input_image", "image_url": "data:image/png;base64,AA=="}


@pytest.mark.parametrize("words", [None, "", "To be, or"])
@pytest.mark.parametrize("beside", [[], [PICTURE], [{"type": "input_text", "text": "typed"}]])
def test_an_item_that_is_done_keeps_the_words_that_it_does_not_say_itself(
    line: Line, beside: list[Any], words: str | None
) -> None:
    announce(line, {**SPOKEN, "content": [{"type": "input_audio"}, *beside]}, None)
    completed(line, "To be.")
    done = {**SPOKEN, "content": [{"type": "input_audio", "transcript": words}, *beside]}
    line.peer.send("conversation.item.done", item=done, previous_item_id=None)
    line.heard()
    (item,) = line.session.chat_ctx.items
    assert isinstance(item, ChatMessage)
    assert item.content[0] == (words or "To be.")
    assert len(item.content) == 1 + len(beside)


def test_each_part_of_an_item_has_its_transcript(line: Line) -> None:
    part = {"type": "input_audio"}
    announce(line, {**SPOKEN, "content": [part, part]}, None)
    completed(line, "To be")
    line.peer.send(f"{TRANSCRIPTION}.completed", item_id="u", content_index=1, transcript="or not.")
    line.heard()
    assert [item.text_content for item in line.session.chat_ctx.items] == ["To be\nor not."]


def test_deltas_accumulate_per_item_and_content_index(line: Line) -> None:
    for text, index, item_id in (("a", 0, "u"), ("b", 1, "u"), ("c", 0, "u"), ("d", 0, "v")):
        delta(line, text, index, item_id)
    assert [text for _, text, _ in transcribed(line)] == ["a", "b", "ac", "d"]


def test_a_failure_closes_an_open_partial_with_what_there_is(line: Line) -> None:
    announce(line, SPOKEN, None)
    delta(line, "to b")
    line.peer.send(f"{TRANSCRIPTION}.failed", item_id="u", content_index=0, error={"message": "too quiet"})
    assert transcribed(line)[-1] == ("u", "to b", True)
    assert [item.text_content for item in line.session.chat_ctx.items] == ["to b"]


def test_a_failure_of_nothing_says_nothing(line: Line) -> None:
    announce(line, SPOKEN, None)
    line.peer.send(f"{TRANSCRIPTION}.failed", item_id="u", content_index=0, error={"message": "too quiet"})
    assert transcribed(line) == []


@pytest.mark.parametrize("include", [None, ["item.input_audio_transcription.logprobs"]])
def test_confidence_is_exp_of_the_mean_log_probability(dial: Dial, include: Any) -> None:
    line = dial(include=include)
    announce(line, SPOKEN, None)
    completed(line, "hi!", logprobs=[{"token": "hi", "logprob": -0.1}, {"token": "!", "logprob": -0.3}])
    event = line.wait("input_audio_transcription_completed")
    assert event.confidence == pytest.approx(math.exp(-0.2))
    (item,) = line.session.chat_ctx.items
    assert isinstance(item, ChatMessage)
    assert item.transcript_confidence == pytest.approx(math.exp(-0.2))


def test_without_log_probabilities_there_is_no_confidence(line: Line) -> None:
    completed(line, "hi!")
    assert line.wait("input_audio_transcription_completed").confidence is None


def test_an_empty_transcript_adds_no_part(line: Line) -> None:
    announce(line, SPOKEN, None)
    completed(line, "")
    assert transcribed(line) == [("u", "", True)]
    (item,) = line.session.chat_ctx.items
    assert isinstance(item, ChatMessage)
    assert item.content == []


def test_a_turn_began_when_its_speech_was_reported(line: Line) -> None:
    line.peer.send(p.InputAudioBufferSpeechStarted(audio_start_ms=300, item_id="u"))
    completed(line, "said")
    completed(line, "pushed to talk", item_id="v")
    assert len(transcribed(line)) == 2
    began = [event.turn_started_at for event in line.of("input_audio_transcription_completed")]
    assert began[0] > 0
    assert began[1] is None


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"type": "duration", "seconds": 2.5}, {"audio_duration": 2.5}),
        (
            {
                "type": "tokens",
                "input_tokens": 7,
                "output_tokens": 3,
                "total_tokens": 10,
                "input_token_details": {"audio_tokens": 6, "text_tokens": 1},
            },
            {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10, "input_audio_tokens": 6},
        ),
    ],
)
def test_the_cost_of_a_transcription_is_a_metric(
    line: Line, usage: dict[str, Any], expected: dict[str, Any]
) -> None:
    completed(line, "hi", event_id="event_7", usage=usage)
    metrics = line.wait("metrics_collected", 2)
    assert metrics.request_id == "event_7"
    assert metrics.label == line.model.label
    assert metrics.metadata.model_name == "gpt-realtime"
    assert {name: getattr(metrics, name) for name in expected} == expected
