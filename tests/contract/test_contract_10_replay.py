"""§10: what a new connection is told, and what that costs (with §13, "After a reconnect")."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import wire as w
from contract_line import PATIENCE, PATIENT, QUICK, Line, background
from msgspec.structs import replace
from scripted_server import ScriptedServer

import antiphon.protocol as p
from antiphon import ChatContext, ChatMessage, RealtimeError, ServerVad, function_tool

Dial = Callable[..., Line]
APPEND, COMMIT, CREATE = "input_audio_buffer.append", "input_audio_buffer.commit", "conversation.item.create"
VAD = ServerVad(prefix_padding_ms=100)


def speak(line: Line, *values: int) -> None:
    """Push 100 ms, which is a chunk, of each of these samples."""
    for value in values:
        line.session.push_audio(np.full(2400, value, np.int16), 24_000)


def words(events: list[dict[str, Any]]) -> list[Any]:
    """What was said, by its samples, and what was done with it."""
    return [
        int(np.frombuffer(base64.b64decode(event["audio"]), "<i2")[0])
        if event["type"] == APPEND
        else event["type"].rpartition(".")[2]
        for event in events
        if event["type"].startswith("input_audio_buffer")
    ]


def mirror(line: Line, *items: Any) -> None:
    previous: str | None = None
    for item in items:
        line.peer.send("conversation.item.added", item=item, previous_item_id=previous)
        previous = item["id"]
    line.heard()


def message(item_id: str, role: str, *content: dict[str, Any]) -> dict[str, Any]:
    return {"id": item_id, "type": "message", "role": role, "content": list(content)}


TEXT = message("u", "user", {"type": "input_text", "text": "hi"})
SPOKEN = message("v", "user", {"type": "input_audio", "transcript": "ho"})
UNHEARD = message("x", "user", {"type": "input_audio"})
ANSWER = message("a", "assistant", {"type": "output_audio", "transcript": "ha"})
SYSTEM = message("s", "system", {"type": "input_text", "text": "be"})
CALL = {"id": "c", "type": "function_call", "call_id": "k", "name": "look", "arguments": "{}"}
OUTPUT = {"id": "o", "type": "function_call_output", "call_id": "k", "output": "7"}


@function_tool
def look(place: str) -> str:
    """Look somewhere."""
    return place


# -- order --------------------------------------------------------------------------------------------


def test_the_order_of_a_replay(dial: Dial, server: ScriptedServer) -> None:
    line = dial(conn_options=replace(PATIENT, max_retry=1000))
    session, peer = line.session, line.peer
    session.update_instructions("Be kind.")
    session.update_tools([look])
    session.update_options(voice="cedar")
    mirror(line, SYSTEM, TEXT, CALL, OUTPUT)
    wanted = session.chat_ctx
    wanted.items.append(ChatMessage("user", "new", id="n"))
    edit = background(session.update_chat_ctx, wanted, PATIENCE)
    peer.until(CREATE)
    unacknowledged = peer.seen[-1]
    speak(line, 1, 2)
    peer.send(w.created("r1"))
    line.wait("generation_created")
    waiting = session.generate_reply()
    line.heard()
    server.refusals.extend([503] * 1000)
    peer.drop()
    line.wait("error")
    speak(line, 3)
    session.send_event({"type": "output_audio_buffer.clear"})
    session.update_options(speed=1.25)
    server.refusals.clear()
    peer = line.answer()
    assert line.first["session"]["instructions"] == "Be kind."
    assert line.first["session"]["audio"]["output"]["voice"] == "cedar"
    assert peer.expect("session.update")["session"]["tools"][0]["name"] == "look"
    assert [peer.expect_item()["item"]["id"] for _ in range(4)] == ["s", "u", "c", "o"]
    again = peer.expect_item()
    assert again["event_id"] == unacknowledged["event_id"]
    assert again["item"]["id"] == "n"
    assert edit.result(PATIENCE).created == ["n"]
    rest = [peer.receive() for _ in range(6)]
    assert words(rest) == [1, 2, 3]
    # What was queued while down goes out in call order; what had waited before goes last, to answer it all.
    assert [event["type"] for event in rest if event["type"] != APPEND] == [
        "output_audio_buffer.clear",
        "session.update",
        "response.create",
    ]
    assert rest[-2]["session"] == {"type": "realtime", "audio": {"output": {"speed": 1.25}}}
    assert not waiting.done()


def test_what_items_become(line: Line) -> None:
    mirror(line, TEXT, SPOKEN, ANSWER, CALL, OUTPUT, UNHEARD)
    before = line.session.chat_ctx
    line.peer.drop()
    line.answer()
    sent = [line.peer.expect_item() for _ in range(5)]
    assert [event["item"]["id"] for event in sent] == ["u", "v", "a", "c", "o"]
    assert [event["item"].get("content") for event in sent[:3]] == [
        [{"type": "input_text", "text": "hi"}],
        [{"type": "input_text", "text": "ho"}],
        [{"type": "output_text", "text": "ha"}],
    ]
    assert {name: sent[3]["item"][name] for name in CALL} == CALL
    assert {name: sent[4]["item"][name] for name in OUTPUT} == OUTPUT
    report = line.wait("session_reconnected")
    assert (report.items_restored, report.items_degraded, report.items_lost) == (5, 2, 1)
    assert report.downtime > 0
    assert report.reason
    # It isn't told again what was there already, and nothing of it is said again.
    assert len(line.of("remote_item_added")) == 6
    assert [item.id for item in line.session.chat_ctx.items] == [item.id for item in before.items[:5]]


def test_the_old_mirror_is_shown_until_the_replay_is_acknowledged(line: Line) -> None:
    mirror(line, TEXT, ANSWER)
    line.peer.drop()
    line.answer()
    line.peer.expect_item()
    line.heard()
    assert [item.id for item in line.session.chat_ctx.items] == ["u", "a"]
    assert line.of("session_reconnected") == []
    line.peer.expect_item()
    line.wait("session_reconnected")
    names = [name for name, _ in line.events if name in ("session_reconnected", "metrics_collected")]
    assert names == ["metrics_collected", "metrics_collected", "session_reconnected"]


def test_a_replay_that_breaks_off_leaves_the_mirror_and_is_made_again(line: Line) -> None:
    mirror(line, TEXT, ANSWER)
    line.peer.drop()
    line.answer()
    line.peer.expect_item()
    line.heard()
    line.peer.drop()
    line.answer()
    assert [item.id for item in line.session.chat_ctx.items] == ["u", "a"]
    assert [line.peer.expect_item()["item"]["id"] for _ in range(2)] == ["u", "a"]
    line.wait("session_reconnected")
    assert len(line.of("session_reconnected")) == 1
    assert [item.id for item in line.session.chat_ctx.items] == ["u", "a"]


def test_a_refused_item_is_lost_quietly(line: Line) -> None:
    mirror(line, TEXT, ANSWER)
    line.peer.drop()
    line.answer()
    refused = line.peer.expect(CREATE)
    line.peer.send(w.error("invalid_value", "no", event_id=refused["event_id"]))
    line.peer.expect_item()
    report = line.wait("session_reconnected")
    assert (report.items_restored, report.items_lost) == (1, 1)
    assert len(line.of("error")) == 1  # that of the drop


def test_acknowledged_edits_are_not_said_twice(line: Line) -> None:
    wanted = ChatContext([ChatMessage("user", "new", id="n")])
    edit = background(line.session.update_chat_ctx, wanted, PATIENCE)
    line.peer.expect_item()
    edit.result(PATIENCE)
    line.peer.drop()
    line.answer()
    assert line.peer.expect_item()["item"]["id"] == "n"
    assert line.sent() == []


def test_an_approval_is_over_with_its_connection(line: Line) -> None:
    """The request that it answers is known only to the server that asked: the next would refuse the answer."""
    request = {"id": "q", "type": "mcp_approval_request", "server_label": "s", "name": "f", "arguments": "{}"}
    mirror(line, TEXT, request)
    line.session.approve("q", True)
    assert line.peer.expect(CREATE)["item"]["type"] == "mcp_approval_response"
    line.peer.drop()
    line.answer()
    assert line.peer.expect_item()["item"]["id"] == "u"
    assert line.sent() == []
    line.wait("session_reconnected")
    line.peer.drop()
    line.answer()
    assert line.peer.expect_item()["item"]["id"] == "u"
    assert line.sent() == []


def test_pending_replies_fail_and_streams_end(line: Line) -> None:
    line.peer.send(w.created("r1"))
    line.peer.send(w.transcript("r1", "m1", "so f"))
    generation = line.wait("generation_created")
    beside, _ = line.ask(conversation="none")
    line.peer.drop()
    with pytest.raises(RealtimeError, match="session reconnection"):
        beside.result(PATIENCE)
    with pytest.raises(RealtimeError, match="session reconnection"):
        generation.done.result(PATIENCE)
    (spoken,) = generation.message_stream
    assert list(spoken.text_stream) == ["so f"]
    line.answer()


def test_ids_to_be_discarded_are_forgotten(line: Line) -> None:
    future, asked = line.ask()
    future.cancel()
    line.peer.send(w.created("r1", asked))
    line.heard()
    line.peer.drop()
    line.answer()
    line.peer.send(w.created("r1"))
    assert line.wait("generation_created").response_id == "r1"


# -- audio ----------------------------------------------------------------------------------------------


def heard_after(line: Line) -> list[Any]:
    """What the next connection hears after a drop."""
    line.peer.drop()
    line.answer()
    return words(line.sent())


def committed(line: Line, item_id: str = "i") -> None:
    line.peer.send(p.InputAudioBufferCommitted(item_id=item_id))
    line.peer.send(w.item_added(p.MessageItem(id=item_id, role="user", content=[]), None))
    line.heard()


def test_detection_off_what_was_not_committed(line: Line) -> None:
    speak(line, 1, 2)
    line.heard()
    assert heard_after(line) == [1, 2]
    speak(line, 3)
    assert heard_after(line) == [1, 2, 3]


def test_detection_off_a_confirmed_commit_ends_it(line: Line) -> None:
    speak(line, 1, 2)
    line.session.commit_audio()
    assert words(line.sent()) == [1, 2, "commit"]
    committed(line)
    speak(line, 3)
    line.heard()
    assert heard_after(line) == [3]


def test_detection_off_an_unconfirmed_commit_is_made_again_in_its_place(line: Line) -> None:
    speak(line, 1, 2)
    line.session.commit_audio()
    speak(line, 3)
    line.heard()
    assert heard_after(line) == [1, 2, "commit", 3]


def test_detection_off_a_clear_forgets(line: Line) -> None:
    speak(line, 1, 2)
    line.session.clear_audio()
    speak(line, 3)
    line.heard()
    assert heard_after(line) == [3]


@pytest.mark.parametrize("dropped", [0, 2])
def test_no_more_than_the_limit_is_kept(dial: Dial, dropped: int) -> None:
    line = dial(timeouts=replace(QUICK, audio_ring=1.0))
    speak(line, *range(1, 11 + dropped))
    line.heard()
    assert heard_after(line) == list(range(1 + dropped, 11 + dropped))
    assert line.wait("session_reconnected").audio_dropped_ms == pytest.approx(100 * dropped)


def test_detection_on_the_speech_in_progress(dial: Dial) -> None:
    line = dial(turn_detection=VAD)
    speak(line, 1, 2, 3)
    line.heard()
    line.peer.send(p.InputAudioBufferSpeechStarted(item_id="i", audio_start_ms=100))
    line.heard()
    speak(line, 4)
    assert heard_after(line) == [2, 3, 4]
    speak(line, 5)
    assert heard_after(line) == [2, 3, 4, 5]


def test_detection_on_speech_that_was_committed_is_over(dial: Dial) -> None:
    line = dial(turn_detection=VAD)
    speak(line, 1, 2, 3)
    line.heard()
    line.peer.send(p.InputAudioBufferSpeechStarted(item_id="i", audio_start_ms=100))
    line.peer.send(p.InputAudioBufferSpeechStopped(item_id="i", audio_end_ms=300))
    committed(line)
    assert heard_after(line) == []


def test_detection_on_the_onset_of_speech_that_was_not_reported_is_kept_too(dial: Dial) -> None:
    # The deliberate deviation: this could be speech that the server had no time to report.
    line = dial(turn_detection=VAD)
    speak(line, 1, 2)
    line.heard()
    assert heard_after(line) == [1, 2]


def test_then_comes_what_was_said_while_down(dial: Dial, server: ScriptedServer) -> None:
    line = dial(conn_options=replace(PATIENT, max_retry=1000))
    speak(line, 1)
    line.heard()
    server.refusals.extend([503] * 1000)
    line.peer.drop()
    line.wait("error")
    speak(line, 2, 3)
    line.session.commit_audio()
    line.session.generate_reply()
    server.refusals.clear()
    line.answer()
    sent = line.sent()
    assert words(sent) == [1, 2, 3, "commit"]
    assert sent[-1]["type"] == "response.create"
