"""§12 and §13: what the sections before leave open. Most of it is shown beside what it explains; here is the rest."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import wire as w
from contract_line import PATIENCE, PATIENT, QUICK, Line, background
from msgspec.structs import replace
from scripted_server import ScriptedServer

import antiphon.protocol as p
from antiphon import (
    ChatContext,
    ChatMessage,
    RealtimeError,
    RealtimeModel,
    ServerVad,
    Timeouts,
    function_tool,
)

Dial = Callable[..., Line]


# -- §12 ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (None, "auto"),
        ("auto", "auto"),
        ("none", "none"),
        ("required", "required"),
        ({"type": "function", "function": {"name": "f"}}, {"type": "function", "name": "f"}),
        ({"type": "function", "name": "f"}, {"type": "function", "name": "f"}),
    ],
)
def test_tool_choices(dial: Dial, given: Any, sent: Any) -> None:
    assert dial(tool_choice=given).first["session"]["tool_choice"] == sent


def test_ids_made_here_and_tools_without_strict(line: Line) -> None:
    @function_tool
    def look(place: str) -> str:
        """Look."""
        return place

    line.session.update_tools([look])
    (update,) = line.sent()
    assert all("strict" not in tool for tool in update["session"]["tools"])
    context = ChatContext.empty()
    context.add_message(role="user", content="hi")
    edit = background(line.session.update_chat_ctx, context, PATIENCE)
    assert re.fullmatch("item_[0-9a-f]+", line.peer.expect_item()["item"]["id"])
    edit.result(PATIENCE)


def test_the_legacy_wire_sends_null_only_for_what_is_switched_off(dial: Dial, server: ScriptedServer) -> None:
    line = dial(
        build=RealtimeModel.with_azure,
        azure_deployment="d",
        azure_endpoint=server.origin,
        api_version="2025-04-01",
        base_url=...,
    )
    nulls = [name for name, value in line.first["session"].items() if value is None]
    assert nulls == ["turn_detection"]
    line.session.update_options(input_audio_transcription=None)
    assert [event["session"] for event in line.sent()] == [{"input_audio_transcription": None}]


# -- §13 ----------------------------------------------------------------------------------------------


def test_the_timeouts() -> None:
    assert msgspec.structs.asdict(Timeouts()) == {
        "reply": 10,
        "reply_wait": 30,
        "chat_ctx": 5,
        "close": 5,
        "first_retry": 0.1,
        "ping_interval": 20,
        "ping_timeout": 10,
        "uptime": 5,
        "audio_ring": 30,
    }


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (
            {"type": "server_vad", "threshold": 0.4, "eagerness": "low"},
            {"type": "server_vad", "threshold": 0.4},
        ),
        (
            {"type": "semantic_vad", "eagerness": "low", "silence_duration_ms": 200},
            {"type": "semantic_vad", "eagerness": "low"},
        ),
        (ServerVad(idle_timeout_ms=6000), {"type": "server_vad", "idle_timeout_ms": 6000}),
        ({"type": "server_vad", "threshold": 1.0}, {"type": "server_vad", "threshold": 1.0}),
    ],
)
def test_turn_detection_in_the_beta_spelling(dial: Dial, given: Any, sent: Any) -> None:
    assert dial(turn_detection=given).first["session"]["audio"]["input"]["turn_detection"] == sent


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("near_field", {"type": "near_field"}),
        ({"type": "far_field"}, {"type": "far_field"}),
        (p.NoiseReduction(type="far_field"), {"type": "far_field"}),
    ],
)
def test_noise_reduction_shorthands(dial: Dial, given: Any, sent: Any) -> None:
    line = dial(input_audio_noise_reduction=given)
    assert line.first["session"]["audio"]["input"]["noise_reduction"] == sent


@pytest.mark.parametrize(
    "bad",
    [
        {"type": "server_vad", "volume": 1},
        {"type": "server_vad", "threshold": 2.0},
        {"type": "server_vad", "silence_duration_ms": -1},
    ],
)
def test_a_bad_turn_detection_names_the_field(line: Line, bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"volume|threshold|silence_duration_ms"):
        line.session.update_options(turn_detection=bad)
    assert line.sent() == []


def test_session_expired_emits_no_error(line: Line) -> None:
    line.peer.send(w.error("session_expired", "60 minutes"))
    line.answer()
    line.wait("session_reconnected")
    assert line.of("error") == []


def test_the_second_collision_has_its_own_time(dial: Dial) -> None:
    line = dial(timeouts=replace(QUICK, reply=0.5))
    future, first = line.ask()
    line.peer.send(w.committed())
    line.peer.send(w.created("vad"))
    code = "conversation_already_has_active_response"
    line.peer.send(w.error(code, "busy", event_id=first["event_id"]))
    with pytest.raises(TimeoutError):
        future.result(0.6)
    line.peer.send(w.done("vad"))
    second = line.peer.expect("response.create")
    line.peer.send(w.created("r1", second))
    assert future.result(PATIENCE).response_id == "r1"


def test_system_messages_are_replayed_like_the_others(line: Line) -> None:
    system = p.MessageItem(id="s", role="system", content=[p.ContentPart(type="input_text", text="Be kind.")])
    line.peer.send(w.item_added(system, None))
    line.heard()
    line.peer.drop()
    line.answer()
    assert line.peer.expect_item()["item"]["role"] == "system"


def test_a_waiting_reply_past_reply_wait_fails_while_down_too(dial: Dial, server: ScriptedServer) -> None:
    line = dial(timeouts=replace(QUICK, reply_wait=0.1), conn_options=replace(PATIENT, max_retry=1000))
    server.refusals.extend([503] * 1000)
    line.peer.drop()
    line.wait("error")
    future = line.session.generate_reply()
    assert isinstance(future.exception(PATIENCE), RealtimeError)
    server.refusals.clear()
    line.answer()
    assert line.sent() == []


def test_session_reconnected_comes_in_the_end_without_acknowledgements(
    dial: Dial,
) -> None:
    """Five seconds are not among the `Timeouts`: that they end the wait is shown in tests/actors/test_replay.py."""
    line = dial()
    line.peer.drop()
    line.answer()
    assert line.wait("session_reconnected").items_restored == 0


def test_instructions_inside_a_context_are_the_message_with_their_id(line: Line) -> None:
    context = ChatContext([ChatMessage("system", "Be kind.", id=ChatContext.INSTRUCTIONS_ID)])
    report = line.session.update_chat_ctx(context)
    assert (report.created, report.deleted, report.rejected) == ([], [], {})
    assert line.sent() == []


def test_a_session_has_the_models_update_options(line: Line) -> None:
    line.session.update_options(voice="cedar", speed=0.5)
    assert len(line.sent()) == 1
    assert line.session.capabilities == line.model.capabilities


def test_no_secret_in_a_repr_or_an_error(line_to: Dial, server: ScriptedServer) -> None:
    key = "sk-another-secret"
    server.refusals.append(401)
    line = line_to(api_key=key, headers={"X-Secret": key})
    line.session.start()
    line.wait_until(lambda: bool(line.of("error")))
    assert key not in repr(line.model) + repr(line.session) + repr(line.events)
