"""§4: what goes out: the first frame, differences, event ids, order, and Azure's dated dialect."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import wire as w
from contract_line import PATIENCE, Line, background
from scripted_server import ScriptedServer

import antiphon.protocol as p
from antiphon import ChatMessage, RealtimeModel, VideoFrame, function_tool

Dial = Callable[..., Line]
Path = tuple[str, ...]

# Each option that can change: its name, two values, its place in the GA frame, and the second value there.
OPTIONS: list[tuple[str, Any, Any, Path, Any]] = [
    ("voice", "marin", "cedar", ("audio", "output", "voice"), "cedar"),
    ("speed", 1.0, 1.25, ("audio", "output", "speed"), 1.25),
    (
        "turn_detection",
        {"type": "semantic_vad"},
        {"type": "server_vad", "threshold": 0.3},
        ("audio", "input", "turn_detection"),
        {"type": "server_vad", "threshold": 0.3},
    ),
    (
        "input_audio_transcription",
        {"model": "whisper-1"},
        {"model": "whisper-1", "language": "de"},
        ("audio", "input", "transcription"),
        {"model": "whisper-1", "language": "de"},
    ),
    (
        "input_audio_noise_reduction",
        "near_field",
        "far_field",
        ("audio", "input", "noise_reduction"),
        {"type": "far_field"},
    ),
    ("max_response_output_tokens", "inf", 100, ("max_output_tokens",), 100),
    ("tracing", "auto", {"workflow_name": "w"}, ("tracing",), {"workflow_name": "w"}),
    (
        "truncation",
        "auto",
        {"retention_ratio": 0.5},
        ("truncation",),
        {"type": "retention_ratio", "retention_ratio": 0.5},
    ),
    ("reasoning", {"effort": "low"}, {"effort": "high"}, ("reasoning",), {"effort": "high"}),
    (
        "tool_choice",
        "auto",
        {"type": "function", "function": {"name": "f"}},
        ("tool_choice",),
        {"type": "function", "name": "f"},
    ),
]
NO_OFF = ("voice", "speed", "tool_choice")
SWITCHES = [(name, old, path) for name, old, _, path, _ in OPTIONS if name not in NO_OFF]
LEVELS = ["session", "model"]


def nested(path: Path, value: Any) -> dict[str, Any]:
    for name in reversed(path):
        value = {name: value}
    return {"type": "realtime", **value}


def update(line: Line, level: str, **changes: Any) -> list[dict[str, Any]]:
    (line.session if level == "session" else line.model).update_options(**changes)
    return [event["session"] for event in line.sent()]


# -- the first frame ----------------------------------------------------------------------------------


def test_the_first_frame_by_default(dial: Dial) -> None:
    line = dial(turn_detection=...)
    assert line.first["event_id"].startswith("session_update_")
    assert line.first["session"] == {
        "type": "realtime",
        "model": "gpt-realtime",
        "output_modalities": ["audio"],
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "noise_reduction": None,
                "transcription": {"model": "gpt-4o-mini-transcribe"},
                "turn_detection": {
                    "type": "semantic_vad",
                    "create_response": True,
                    "eagerness": "medium",
                    "interrupt_response": True,
                },
            },
            "output": {"format": {"type": "audio/pcm", "rate": 24000}, "speed": 1.0, "voice": "marin"},
        },
        "max_output_tokens": "inf",
        "tool_choice": "auto",
        "tracing": None,
    }


@pytest.mark.parametrize(
    ("given", "path", "value"),
    [
        ({"modalities": ["text"]}, ("output_modalities",), ["text"]),
        ({"modalities": ["audio"]}, ("output_modalities",), ["audio"]),
        ({"modalities": ["audio", "text"]}, ("output_modalities",), ["audio"]),
        ({"model": "other"}, ("model",), "other"),
        ({"input_audio_format": "g711_ulaw"}, ("audio", "input", "format"), {"type": "audio/pcmu"}),
        ({"output_audio_format": "g711_alaw"}, ("audio", "output", "format"), {"type": "audio/pcma"}),
        ({"prompt": {"id": "p", "version": "2"}}, ("prompt",), {"id": "p", "version": "2"}),
        ({"parallel_tool_calls": False}, ("parallel_tool_calls",), False),
        (
            {"include": ["item.input_audio_transcription.logprobs"]},
            ("include",),
            ["item.input_audio_transcription.logprobs"],
        ),
        *[({name: new}, path, value) for name, _, new, path, value in OPTIONS],
        *[
            ({name: None}, path, None)
            for name, _, path in SWITCHES
            if name not in ("truncation", "reasoning")
        ],
    ],
)
def test_each_option_in_the_first_frame(dial: Dial, given: dict[str, Any], path: Path, value: Any) -> None:
    found: Any = dial(**given).first["session"]
    for name in path:
        found = found[name]
    assert found == value


def test_instructions_are_in_the_first_frame_of_the_connections_to_come(dial: Dial) -> None:
    line = dial()
    assert "instructions" not in line.first["session"]
    line.session.update_instructions("Be kind.")
    assert [event["session"] for event in line.sent()] == [{"type": "realtime", "instructions": "Be kind."}]
    line.peer.drop()
    line.answer()
    assert line.first["session"]["instructions"] == "Be kind."


# -- differences --------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("name", "old", "new", "path", "value"), OPTIONS)
def test_a_change_is_sent_alone_and_once(
    dial: Dial, level: str, name: str, old: Any, new: Any, path: Path, value: Any
) -> None:
    line = dial(**{name: old})
    assert update(line, level, **{name: new}) == [nested(path, value)]
    assert line.peer.seen[-2]["event_id"].startswith("options_update_")
    assert update(line, level, **{name: new}) == []


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("name", "old", "path"), SWITCHES)
def test_none_switches_off_with_a_null(dial: Dial, level: str, name: str, old: Any, path: Path) -> None:
    line = dial(**{name: old})
    assert update(line, level, **{name: None}) == [nested(path, None)]
    assert update(line, level, **{name: None}) == []


@pytest.mark.parametrize("level", LEVELS)
def test_nothing_is_sent_when_nothing_changed(dial: Dial, level: str) -> None:
    given = {name: old for name, old, *_ in OPTIONS}
    line = dial(**given)
    assert update(line, level) == []
    assert update(line, level, **given) == []


def test_several_changes_are_one_frame_without_empty_blocks(dial: Dial) -> None:
    line = dial()
    assert update(line, "session", voice="cedar", speed=1.5, max_response_output_tokens=9) == [
        {
            "type": "realtime",
            "audio": {"output": {"voice": "cedar", "speed": 1.5}},
            "max_output_tokens": 9,
        }
    ]


def test_the_model_pushes_only_what_its_caller_gave(dial: Dial) -> None:
    line = dial()
    assert update(line, "session", voice="cedar") != []
    # The session's own voice stays, although the model's is still another.
    assert update(line, "model", speed=1.5) == [nested(("audio", "output", "speed"), 1.5)]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("bad", [{"voice": None}, {"speed": 9.0}, {"turn_detection": {"typ": "x"}}])
def test_a_bad_option_changes_nothing(dial: Dial, level: str, bad: dict[str, Any]) -> None:
    line = dial()
    with pytest.raises(ValueError, match=next(iter(bad))):
        update(line, level, **{"tracing": "auto", **bad})
    assert line.sent() == []


@pytest.mark.parametrize("level", LEVELS)
def test_temperature_is_warned_about_and_never_sent(dial: Dial, level: str) -> None:
    line = dial()
    with pytest.warns(DeprecationWarning, match="temperature"):
        assert update(line, level, temperature=0.7) == []


# -- ids, order and kind --------------------------------------------------------------------------------


@function_tool
def look() -> str:
    """Look."""
    return ""


def test_every_frames_event_id(line: Line) -> None:
    session, peer = line.session, line.peer
    session.update_options(voice="cedar")
    session.update_tools([look])
    session.update_instructions("Be kind.")
    context = session.chat_ctx
    context.items.append(ChatMessage("user", ["hi"], id="item_1"))
    created = background(session.update_chat_ctx, context)
    ids = [peer.expect("session.update")["event_id"] for _ in range(3)] + [peer.expect_item()["event_id"]]
    created.result(PATIENCE)
    removed = background(session.update_chat_ctx, type(context).empty())
    ids.append(peer.expect("conversation.item.delete")["event_id"])
    peer.send("conversation.item.deleted", item_id="item_1")
    removed.result(PATIENCE)
    session.push_video(VideoFrame(b"\xff\xd8\xff\xe0rest\xff\xd9", "jpeg"))
    ids.append(peer.expect("conversation.item.create")["event_id"])
    _, asked = line.ask()
    ids.append(asked["event_id"])
    prefixes = [re.sub(r"[0-9a-f]+$", "", one) for one in ids]
    assert prefixes == [
        "options_update_",
        "tools_update_",
        "instructions_update_",
        "chat_ctx_create_",
        "chat_ctx_delete_",
        "video_",
        "response_create_",
    ]
    assert len(set(ids)) == len(ids)


def test_audio_cancel_and_truncate_carry_no_event_id(line: Line) -> None:
    _, asked = line.ask()
    line.peer.send(w.created("r1", asked))
    line.heard()
    for call in (
        lambda: line.session.push_audio(np.zeros(4800, np.int16), 24000),
        line.session.commit_audio,
        line.session.clear_audio,
        line.session.interrupt,
        lambda: line.session.truncate("m1", ["audio"], 50),
    ):
        call()
    sent = line.sent()
    assert [event["type"].rpartition("input_audio_buffer.")[2] for event in sent] == [
        "append",
        "append",
        "commit",
        "clear",
        "response.cancel",
        "conversation.item.truncate",
    ]
    assert not any("event_id" in event for event in sent)


def test_calls_before_the_connection_follow_the_first_frame_once_and_in_order(line_to: Dial) -> None:
    line = line_to()
    session = line.session
    session.start()
    session.update_options(voice="cedar")
    session.push_audio(np.zeros(4800, np.int16), 24000)
    session.commit_audio()
    session.generate_reply()
    session.send_event({"type": "output_audio_buffer.clear"})
    line.answer()
    kinds = [event["type"] for event in line.sent() if event["type"] != "session.update"]
    assert kinds == [
        "input_audio_buffer.append",
        "input_audio_buffer.append",
        "input_audio_buffer.commit",
        "response.create",
        "output_audio_buffer.clear",
    ]
    assert line.of("session_reconnected") == []
    assert line.wait("metrics_collected").acquire_time > 0


def test_a_failed_first_handshake_duplicates_nothing(line_to: Dial, server: ScriptedServer) -> None:
    server.refusals.extend([503, 503])
    line = line_to()
    line.session.start()
    line.session.update_instructions("Be kind.")
    line.session.push_audio(np.zeros(4800, np.int16), 24000)
    line.session.commit_audio()
    line.session.generate_reply()
    line.answer()
    kinds = [event["type"] for event in line.sent()]
    assert kinds.count("input_audio_buffer.append") == 2
    assert kinds.count("input_audio_buffer.commit") == kinds.count("response.create") == 1
    assert len(server.requests) == 3
    assert line.of("session_reconnected") == []
    assert [event.recoverable for event in line.of("error")] == [True, True]


@pytest.mark.parametrize(
    "event",
    [
        {"type": "conversation.item.retrieve", "item_id": "i", "event_id": "mine"},
        p.ConversationItemRetrieve(item_id="i", event_id="mine"),
    ],
)
def test_send_event_sends_a_dict_or_a_struct_as_it_is(line: Line, event: Any) -> None:
    line.session.send_event(event)
    assert line.sent() == [{"type": "conversation.item.retrieve", "item_id": "i", "event_id": "mine"}]


def test_send_event_after_close_does_nothing(line: Line) -> None:
    line.session.close()
    line.session.send_event({"type": "response.cancel"})
    assert line.peer.rest() == []


def test_commit_and_reply_arrive_in_call_order(line: Line) -> None:
    for _ in range(20):
        line.session.push_audio(np.zeros(4800, np.int16), 24000)
        line.session.commit_audio()
        future, asked = line.session.generate_reply(), None
        while asked is None or asked["type"] != "response.create":
            before, asked = asked, line.peer.receive()
        assert before is not None
        assert before["type"] == "input_audio_buffer.commit"
        line.peer.send(w.created("r", asked))
        line.peer.send(w.done("r"))
        future.result(PATIENCE)


# -- Azure's dated dialect ------------------------------------------------------------------------------


def legacy(dial: Dial, server: ScriptedServer, **options: Any) -> Line:
    azure = {"azure_deployment": "d", "azure_endpoint": server.origin, "api_version": "2025-04-01"}
    return dial(build=RealtimeModel.with_azure, base_url=..., **azure, **{"turn_detection": ..., **options})


def test_the_first_legacy_frame_is_flat(dial: Dial, server: ScriptedServer) -> None:
    line = legacy(dial, server, input_audio_noise_reduction="near_field")
    assert line.first["session"] == {
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
    }


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"modalities": ["text"]}, {"modalities": ["text"]}),
        ({"input_audio_format": "g711_ulaw"}, {"input_audio_format": "g711_ulaw"}),
        ({"output_audio_format": "g711_alaw"}, {"output_audio_format": "g711_alaw"}),
        ({"turn_detection": None}, {"turn_detection": None}),
        ({"input_audio_transcription": None}, {"input_audio_transcription": None}),
        ({"max_response_output_tokens": 5}, {"max_response_output_tokens": 5}),
    ],
)
def test_legacy_options(dial: Dial, server: ScriptedServer, given: dict[str, Any], found: Any) -> None:
    session = legacy(dial, server, **given).first["session"]
    assert {name: session[name] for name in found} == found
    assert not {"input_audio_noise_reduction", "tracing", "truncation", "reasoning", "audio"} & set(session)


LEGACY_DIFFERENCES = [
    *[
        ({name: old}, {name: new}, {name: value})
        for name, old, new, _, value in OPTIONS
        if name not in ("truncation", "reasoning")
    ],
    *[
        ({name: old}, {name: None}, {name: None})
        for name, old, _ in SWITCHES
        if name not in ("truncation", "reasoning")
    ],
    ({}, {"truncation": "auto"}, None),
]


@pytest.mark.parametrize(("given", "change", "sent"), LEGACY_DIFFERENCES)
def test_legacy_differences(
    dial: Dial, server: ScriptedServer, given: dict[str, Any], change: dict[str, Any], sent: Any
) -> None:
    line = legacy(dial, server, **given)
    assert update(line, "session", **change) == ([] if sent is None else [sent])


def test_a_legacy_assistants_text_goes_out_as_text(dial: Dial, server: ScriptedServer) -> None:
    line = legacy(dial, server)
    context = line.session.chat_ctx
    context.add_message(role="assistant", content="Hello.")
    background(line.session.update_chat_ctx, context)
    item = line.peer.expect("conversation.item.create")["item"]
    assert item["content"] == [{"type": "text", "text": "Hello."}]
    line.peer.send("conversation.item.created", item=item, previous_item_id=None)
    line.heard()
