"""The conversation's core, without sockets: what each client event is answered with, errors included."""

from __future__ import annotations

import base64
import itertools
from typing import Any

import msgspec
import numpy as np
import pytest
from server_oracle import check_frame

from antiphon.protocol import encode_server_event
from antiphon.testing.brains.base import Say, Sound
from antiphon.testing.conversation import Conversation
from antiphon.testing.effects import Close, Effects, Halt, Hear, Respond
from antiphon.testing.generation import Generation
from antiphon.testing.log import Record
from antiphon.testing.steps import steps

SILENT = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}


class Peer:
    """A client that talks to the core directly, and checks every frame with the SDK."""

    def __init__(self, names: Any = "ga") -> None:
        self.core = Conversation("gpt-realtime", 1_900_000_000, names)
        self.started: list[Generation] = []
        self.hear: list[Hear] = []
        self.others: list[Any] = []
        self.names = names
        self.events(self.core.open())

    def events(self, effects: Effects) -> list[dict[str, Any]]:
        events = []
        for effect in effects:
            if isinstance(effect, Respond):
                self.started.append(effect.generation)
            elif isinstance(effect, Hear):
                self.hear.append(effect)
            elif isinstance(effect, Halt | Close):
                self.others.append(effect)
            else:
                frame = encode_server_event(effect, self.names)
                if self.names == "ga":
                    check_frame(Record(0.0, 0, "sent", "", frame))
                events.append(msgspec.json.decode(frame))
        return events

    def send(self, kind: str, **fields: Any) -> list[dict[str, Any]]:
        frame = msgspec.json.encode({"type": kind, "event_id": "mine", **fields})
        return self.events(self.core.receive(frame))

    def error(self, kind: str, **fields: Any) -> dict[str, Any]:
        events = self.send(kind, **fields)
        assert [event["type"] for event in events] == ["error"], events
        error: dict[str, Any] = events[0]["error"]
        assert error["event_id"] == "mine"
        assert error["type"] == "invalid_request_error"
        return error

    def say(self, text: str, ms: int = 0) -> list[dict[str, Any]]:
        """Play the brain for the newest response."""
        generation = self.started[-1]
        self.core.request(generation)
        codec = generation.plan.codec if generation.plan.modality == "audio" else None
        sound = Sound(np.arange(ms * 24, dtype=np.int16), 24000)
        events = [
            self.events(self.core.advance(generation, step)) for step in steps(Say(text, sound), codec=codec)
        ]
        return list(itertools.chain(*events, self.events(self.core.finish(generation))))

    def append(self, ms: int) -> None:
        audio = base64.b64encode(np.arange(ms * 24, dtype="<i2").tobytes()).decode()
        assert self.send("input_audio_buffer.append", audio=audio) == []


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


@pytest.mark.parametrize(
    ("session", "code", "param"),
    [
        ({}, "missing_required_parameter", "session.type"),
        ({"type": "realtime", "voice2": 1}, "unknown_parameter", "session.voice2"),
        ({"type": "sung"}, "invalid_value", "session.type"),
        ({"type": "realtime", "instructions": 3}, "invalid_type", "session.instructions"),
        (
            {"type": "realtime", "max_output_tokens": 5000},
            "integer_above_max_value",
            "session.max_output_tokens",
        ),
        (
            {"type": "realtime", "max_output_tokens": 0},
            "integer_below_min_value",
            "session.max_output_tokens",
        ),
        (
            {"type": "realtime", "audio": {"output": {"speed": 2.0}}},
            "decimal_above_max_value",
            "session.audio.output.speed",
        ),
        (
            {
                "type": "realtime",
                "audio": {"input": {"turn_detection": {"type": "server_vad", "loudness": 1}}},
            },
            "unknown_parameter",
            "session.audio.input.turn_detection.loudness",
        ),
        (
            {
                "type": "realtime",
                "audio": {"input": {"turn_detection": {"type": "semantic_vad", "threshold": 1}}},
            },
            "unknown_parameter",
            "session.audio.input.turn_detection.threshold",
        ),
        (
            {"type": "realtime", "audio": {"input": {"format": {"type": "audio/mp3"}}}},
            "invalid_value",
            "session.audio.input.format.type",
        ),
        (
            {"type": "realtime", "tools": [{"type": "function", "name": "f", "strict": True}]},
            "unknown_parameter",
            "session.tools[0].strict",
        ),
        ({"type": "realtime", "tool_choice": "maybe"}, "invalid_value", "session.tool_choice"),
        (
            {"type": "realtime", "output_modalities": ["smell"]},
            "invalid_value",
            "session.output_modalities[0]",
        ),
    ],
)
def test_session_update_refuses(session: dict[str, Any], code: str, param: str) -> None:
    error = Peer().error("session.update", session=session)
    assert (error["code"], error["param"]) == (code, param)
    assert param in error["message"] or code == "invalid_value"


def test_session_update_merges_and_echoes_everything() -> None:
    peer = Peer()
    (before,) = peer.send("session.update", session={"type": "realtime"})
    (after,) = peer.send(
        "session.update",
        session={
            "type": "realtime",
            "instructions": "Be brief.",
            "audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 0.7}}},
        },
    )
    assert before["type"] == after["type"] == "session.updated"
    expected = before["session"]
    expected["instructions"] = "Be brief."
    expected["audio"]["input"]["turn_detection"]["threshold"] = 0.7
    assert after["session"] == expected
    (off,) = peer.send("session.update", session=SILENT)
    assert off["session"]["audio"]["input"]["turn_detection"] is None
    (again,) = peer.send(
        "session.update",
        session={"type": "realtime", "audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}},
    )
    assert again["session"]["audio"]["input"]["turn_detection"]["eagerness"] == "auto"


def test_items_are_created_in_the_order_that_was_asked_for() -> None:
    peer = Peer()
    text = [{"type": "input_text", "text": "x"}]
    item = {"type": "message", "role": "user", "content": text}
    added, done = peer.send("conversation.item.create", item={**item, "id": "a"})
    assert (added["type"], done["type"]) == ("conversation.item.added", "conversation.item.done")
    assert added["previous_item_id"] is None
    assert added["item"]["status"] == "completed"
    peer.send("conversation.item.create", item={**item, "id": "b"})
    middle = peer.send("conversation.item.create", item={**item, "id": "c"}, previous_item_id="a")
    head = peer.send("conversation.item.create", item={**item, "id": "d"}, previous_item_id="root")
    assert middle[0]["previous_item_id"] == "a"
    assert head[0]["previous_item_id"] is None
    assert [stored.item.id for stored in peer.core.items.all()] == ["d", "a", "c", "b"]
    (deleted,) = peer.send("conversation.item.delete", item_id="c")
    assert deleted == {**deleted, "type": "conversation.item.deleted", "item_id": "c"}
    (found,) = peer.send("conversation.item.retrieve", item_id="a")
    assert found["item"]["content"] == text


@pytest.mark.parametrize(
    ("kind", "fields", "code", "words"),
    [
        ("conversation.item.delete", {"item_id": "no"}, "item_delete_invalid_item_id", "does not exist"),
        ("conversation.item.retrieve", {"item_id": "no"}, "item_retrieve_invalid_item_id", "does not exist"),
        (
            "conversation.item.truncate",
            {"item_id": "no", "content_index": 0, "audio_end_ms": 1},
            "item_truncate_invalid_item_id",
            "does not exist",
        ),
        (
            "conversation.item.truncate",
            {"item_id": "a", "content_index": 0, "audio_end_ms": 1},
            "invalid_value",
            "Only model output audio messages can be truncated",
        ),
        (
            "conversation.item.create",
            {"item": {"id": "a", "type": "message", "role": "user", "content": []}},
            "item_create_duplicate_item_id",
            "already exists",
        ),
        (
            "conversation.item.create",
            {"item": {"type": "message", "role": "user", "content": []}, "previous_item_id": "no"},
            "item_create_invalid_previous_item_id",
            "does not exist",
        ),
        (
            "conversation.item.create",
            {"item": {"type": "message", "role": "user", "content": [{"type": "text", "text": "x"}]}},
            "invalid_value",
            "'input_text', 'input_audio', and 'input_image'",
        ),
        (
            "conversation.item.create",
            {"item": {"type": "function_call_output", "call_id": "c", "output": ""}},
            "invalid_tool_call_id",
            "not found in conversation",
        ),
        (
            "conversation.item.create",
            {"item": {"id": "x" * 33, "type": "message", "role": "user", "content": []}},
            "string_above_max_length",
            "maximum length 32",
        ),
        ("conversation.item.create", {"item": {"type": "dream"}}, "invalid_value", "'dream'"),
        ("conversation.item.create", {}, "invalid_value", "conversation.item.create"),
        ("input_audio_buffer.append", {"audio": "?!"}, "invalid_value", "base64"),
        ("input_audio_buffer.append", {"audio": "AAAA"}, "invalid_value", "whole samples"),
        ("input_audio_buffer.commit", {}, "input_audio_buffer_commit_empty", "0.00ms of audio"),
        (
            "response.cancel",
            {},
            "response_cancel_not_active",
            "Cancellation failed: no active response found",
        ),
        ("response.create", {"response": {"metadata": {"a": 1}}}, "invalid_type", "response.metadata.a"),
        ("response.create", {"response": {"loud": True}}, "unknown_parameter", "response.loud"),
        (
            "response.create",
            {"response": {"conversation": "none", "input": [{"type": "item_reference", "id": "no"}]}},
            "invalid_value",
            "not found",
        ),
        ("sing", {}, "invalid_value", "Invalid value: 'sing'"),
    ],
)
def test_errors_name_what_is_wrong(kind: str, fields: dict[str, Any], code: str, words: str) -> None:
    peer = Peer()
    peer.send("conversation.item.create", item={"id": "a", "type": "message", "role": "user", "content": []})
    error = peer.error(kind, **fields)
    assert error["code"] == code
    assert words in error["message"]


@pytest.mark.parametrize("frame", ["{", "[]", "3", '{"no": "type"}', "[" * 100_000, b"\xff"])
def test_frames_that_are_no_events_are_answered_with_an_error(frame: str | bytes) -> None:
    (error,) = Peer().core.receive(frame)
    assert encode_server_event(error).startswith(b'{"type":"error"')  # type: ignore[arg-type]


def test_commit_needs_100_ms_and_takes_the_whole_buffer() -> None:
    peer = Peer()
    peer.send("session.update", session=SILENT)
    peer.append(99)
    assert peer.error("input_audio_buffer.commit")["code"] == "input_audio_buffer_commit_empty"
    peer.append(1)
    committed, added, done = peer.send("input_audio_buffer.commit")
    assert committed["type"] == "input_audio_buffer.committed"
    assert committed["previous_item_id"] is None
    assert committed["item_id"] == added["item"]["id"] == done["item"]["id"]
    assert len(peer.hear[0].sound.samples) == 2400
    peer.append(200)
    (cleared,) = peer.send("input_audio_buffer.clear")
    assert cleared["type"] == "input_audio_buffer.cleared"
    assert peer.error("input_audio_buffer.commit")["code"] == "input_audio_buffer_commit_empty"


def test_a_spoken_response_event_by_event() -> None:
    peer = Peer()
    created = peer.send("response.create", response={"metadata": {"a": "b"}})
    assert kinds(created) == ["response.created", "rate_limits.updated"]
    events = peer.say("One two three.", ms=250)
    assert kinds(events) == [
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_audio_transcript.delta",
        "response.output_audio.delta",
        "response.output_audio_transcript.delta",
        "response.output_audio.delta",
        "response.output_audio.delta",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
        "rate_limits.updated",
    ]
    audio = b"".join(
        base64.b64decode(e["delta"]) for e in events if e["type"] == "response.output_audio.delta"
    )
    assert audio == np.arange(6000, dtype="<i2").tobytes()
    response = events[-2]["response"]
    assert response["metadata"] == {"a": "b"}
    assert response["status"] == "completed"
    assert response["output"][0]["content"] == [{"type": "output_audio", "transcript": "One two three."}]
    usage = response["usage"]
    assert usage["output_token_details"]["audio_tokens"] == 5
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


def test_truncate_cuts_the_audio_and_drops_the_transcript() -> None:
    peer = Peer()
    peer.send("response.create")
    peer.say("One two three.", ms=250)
    item_id = peer.core.items.last_id()
    error = peer.error("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=300)
    assert error["message"] == "Audio content of 250ms is already shorter than 300ms"
    (cut,) = peer.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=100)
    assert (cut["type"], cut["audio_end_ms"]) == ("conversation.item.truncated", 100)
    (found,) = peer.send("conversation.item.retrieve", item_id=item_id)
    (part,) = found["item"]["content"]
    assert "transcript" not in part
    assert len(base64.b64decode(part["audio"])) == 4800


def test_one_response_at_a_time_except_out_of_band() -> None:
    peer = Peer()
    peer.send("response.create")
    error = peer.error("response.create")
    assert error["code"] == "conversation_already_has_active_response"
    assert peer.started[0].id in error["message"]
    beside = peer.send(
        "response.create",
        response={
            "conversation": "none",
            "output_modalities": ["text"],
            "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"}]}],
        },
    )
    assert beside[0]["response"]["conversation_id"] is None
    events = peer.say("Aside.")
    assert not any(kind.startswith("conversation.") for kind in kinds(events))
    assert peer.core.items.all() == []
    assert [event["text"] for event in events if event["type"] == "response.output_text.done"] == ["Aside."]


def test_cancel_ends_the_message_and_the_response() -> None:
    peer = Peer()
    peer.send("response.create")
    generation = peer.started[0]
    first, *rest = steps(Say("One two.", Sound(np.zeros(4800, np.int16), 24000)), codec=generation.plan.codec)
    peer.events(peer.core.advance(generation, first))
    ended = peer.send("response.cancel", response_id=generation.id)
    assert kinds(ended)[-2:] == ["response.done", "rate_limits.updated"]
    response = ended[-2]["response"]
    assert response["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
    assert response["output"][0]["status"] == "incomplete"
    assert [type(other) for other in peer.others] == [Halt]
    assert peer.core.advance(generation, rest[0]) == []
    assert peer.core.finish(generation) == []


def test_max_output_tokens_leaves_the_response_incomplete() -> None:
    peer = Peer()
    peer.send("response.create", response={"max_output_tokens": 3})
    events = peer.say("One two three four five six.", ms=1000)
    done = next(event for event in events if event["type"] == "response.done")
    assert done["response"]["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}


def test_the_voice_is_fixed_once_it_was_heard() -> None:
    peer = Peer()
    peer.send("response.create")
    peer.say("One.", ms=100)
    error = peer.error("session.update", session={"type": "realtime", "audio": {"output": {"voice": "ash"}}})
    assert error["code"] == "cannot_update_voice"


def test_transcription_comes_in_pieces_and_with_logprobs_if_asked_for() -> None:
    peer = Peer()
    update = {
        "type": "realtime",
        "include": ["item.input_audio_transcription.logprobs"],
        "audio": {"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}},
    }
    assert kinds(peer.send("session.update", session=update)) == ["session.updated"]
    peer.append(200)
    peer.send("input_audio_buffer.commit")
    hear = peer.hear[0]
    events = peer.events(peer.core.heard(hear.item_id, hear.sound, "what time is it"))
    *deltas, completed = events
    assert "".join(delta["delta"] for delta in deltas) == completed["transcript"] == "what time is it"
    assert completed["usage"]["input_token_details"]["audio_tokens"] == 2
    assert len(completed["logprobs"]) == 4


def test_expiry_says_so_and_closes() -> None:
    peer = Peer()
    (error,) = peer.events(peer.core.expire(60))
    assert error["error"]["code"] == "session_expired"
    assert isinstance(peer.others[0], Close)


def test_the_beta_dialect() -> None:
    peer = Peer("beta")
    (updated,) = peer.send(
        "session.update",
        session={
            "modalities": ["audio", "text"],
            "input_audio_format": "g711_ulaw",
            "output_audio_format": "g711_alaw",
            "voice": "sage",
            "temperature": 0.8,
            "turn_detection": None,
            "input_audio_transcription": {"model": "whisper-1"},
            "max_response_output_tokens": 100,
            "tools": [{"type": "function", "name": "f", "strict": True}],
        },
    )
    session = updated["session"]
    assert session["modalities"] == ["audio", "text"]
    assert (session["input_audio_format"], session["output_audio_format"]) == ("g711_ulaw", "g711_alaw")
    assert session["turn_detection"] is None
    assert session["max_response_output_tokens"] == 100
    peer.send("response.create", response={"modalities": ["text"]})
    assert "response.text.delta" in kinds(peer.say("Hello."))
    peer.send("response.create")
    events = peer.say("Hello.", ms=100)
    assert {"conversation.item.created", "response.audio.delta", "response.audio_transcript.done"} <= set(
        kinds(events)
    )
