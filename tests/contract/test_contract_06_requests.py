"""§6, requests: what `generate_reply` sends, every way in which its future ends, and the arbiter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import wire as w
from contract_line import PATIENCE, PATIENT, QUICK, Line
from msgspec.structs import replace
from scripted_server import ScriptedServer

from antiphon import ChatMessage, RealtimeError, ServerVad, function_tool

Dial = Callable[..., Line]
CREATE, CANCEL = "response.create", "response.cancel"
SHORT = replace(QUICK, reply=0.05)


@function_tool
def look(where: str) -> str:
    """Look."""
    return where


def error_of(future: Any) -> RealtimeError:
    error = future.exception(PATIENCE)
    assert isinstance(error, RealtimeError)
    return error


def cancels(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if event["type"] == CANCEL]


def running(line: Line, response_id: str = "r1", **arguments: Any) -> Any:
    """Ask for a response, and have it begin."""
    future, asked = line.ask(**arguments)
    line.peer.send(w.created(response_id, asked))
    return future.result(PATIENCE)


# -- what goes out ------------------------------------------------------------------------------------


def test_a_request_carries_its_event_id_as_metadata_and_nothing_that_was_not_given(line: Line) -> None:
    _, asked = line.ask()
    assert asked["response"] == {"metadata": {"client_event_id": asked["event_id"]}}


@pytest.mark.parametrize(
    ("of_session", "own", "sent"),
    [(None, "now", "now"), ("always", "now", "always\nnow"), ("always", None, None), (None, None, None)],
)
def test_instructions_follow_those_of_the_session(
    line: Line, of_session: str | None, own: str | None, sent: str | None
) -> None:
    if of_session is not None:
        line.session.update_instructions(of_session)
        line.peer.expect("session.update")
    _, asked = line.ask(**({} if own is None else {"instructions": own}))
    assert asked["response"].get("instructions") == sent


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ({"tool_choice": "required"}, {"tool_choice": "required"}),
        ({"tool_choice": "none"}, {"tool_choice": "none"}),
        (
            {"tool_choice": {"type": "function", "function": {"name": "look"}}},
            {"tool_choice": {"type": "function", "name": "look"}},
        ),
        (
            {"tool_choice": {"type": "function", "name": "look"}},
            {"tool_choice": {"type": "function", "name": "look"}},
        ),
        ({"conversation": "none"}, {"conversation": "none"}),
        ({"modalities": ["text"]}, {"output_modalities": ["text"]}),
        ({"modalities": ["text", "audio"]}, {"output_modalities": ["audio"]}),
        ({"max_output_tokens": 7}, {"max_output_tokens": 7}),
        ({"input": []}, {"input": []}),
        ({"tools": []}, {"tools": []}),
    ],
)
def test_each_argument_on_the_wire(line: Line, arguments: dict[str, Any], sent: dict[str, Any]) -> None:
    _, asked = line.ask(**arguments)
    del asked["response"]["metadata"]
    assert asked["response"] == sent


def test_tools_items_and_metadata_on_the_wire(line: Line) -> None:
    item = ChatMessage("user", ["hi"], id="item_1")
    _, asked = line.ask(tools=[look], input=[item], metadata={"topic": "x"})
    assert [tool["name"] for tool in asked["response"]["tools"]] == ["look"]
    assert [item["content"][0]["text"] for item in asked["response"]["input"]] == ["hi"]
    assert asked["response"]["metadata"] == {"topic": "x", "client_event_id": asked["event_id"]}


# -- every ending ---------------------------------------------------------------------------------------


def test_it_ends_with_the_response_that_names_it(line: Line) -> None:
    future, asked = line.ask()
    line.peer.send(w.created("r0", "somebody_elses"))
    line.peer.send(w.created("r1", asked))
    line.heard()
    assert future.result(0).response_id == "r1"
    assert future.result(0) is line.of("generation_created")[1]
    assert [event.user_initiated for event in line.of("generation_created")] == [False, True]


def test_it_times_out_and_what_comes_late_is_discarded_quietly(dial: Dial) -> None:
    line = dial(timeouts=SHORT)
    future, asked = line.ask()
    assert "timed out" in str(error_of(future))
    discarded(line, asked)
    assert line.sent() == [{"type": CANCEL, "response_id": "late"}]


def test_it_is_cancelled_and_what_comes_late_is_discarded_quietly(line: Line) -> None:
    future, asked = line.ask()
    assert future.cancel()
    assert line.peer.expect(CANCEL) == {"type": CANCEL}
    discarded(line, asked)
    assert line.sent() == [{"type": CANCEL, "response_id": "late"}]


def discarded(line: Line, asked: dict[str, Any]) -> None:
    """A response that nobody waits for any more."""
    line.heard()
    line.events.clear()
    for event in (
        w.created("late", asked),
        w.item_added(w.message("m1")),
        w.output_added("late", w.message("m1")),
        w.audio("late", "m1"),
        w.transcript("late", "m1", "half a"),
        w.output_done("late", w.message("m1", "half a", kind="output_audio")),
        w.output_done("late", w.call("c1", "call_1")),
        w.done("late", "failed", details="whatever"),
    ):
        line.peer.send(event)
    line.heard()
    assert {name for name, _ in line.events} == {
        "openai_server_event_received",
        "openai_client_event_queued",
        "remote_item_added",
    }
    assert [item.text_content for item in line.session.chat_ctx.items if item.type == "message"] == ["half a"]
    assert not line.session.has_active_generation


@pytest.mark.parametrize("where", ["code", "type"])
def test_it_is_rejected_with_the_servers_code_and_a_recoverable_error(line: Line, where: str) -> None:
    future, asked = line.ask()
    given = {"code": "invalid_value"} if where == "code" else {"kind": "invalid_value"}
    line.peer.send(w.error(message="bad voice", event_id=asked["event_id"], **given))
    assert error_of(future).code == "invalid_value"
    assert "bad voice" in str(error_of(future))
    assert line.wait("error").recoverable
    assert line.session.state == "open"


def test_it_fails_on_reconnect(line: Line) -> None:
    futures = [line.ask()[0], line.ask(conversation="none")[0]]
    line.peer.drop()
    for future in futures:
        assert "session reconnection" in str(error_of(future))
    line.answer()
    assert line.sent() == []


def test_it_fails_on_close(line: Line) -> None:
    pending, _ = line.ask()
    waiting = line.session.generate_reply()
    beside, _ = line.ask(conversation="none")
    line.session.close()
    for future in (pending, waiting, beside, line.session.generate_reply()):
        assert "session closed" in str(future.exception(1.0))


def test_a_generation_is_cancelled_by_its_id(line: Line) -> None:
    generation = running(line)
    generation.cancel()
    assert line.sent() == [{"type": CANCEL, "response_id": "r1"}]
    line.peer.send(w.done("r1", "cancelled"))
    assert generation.done.result(PATIENCE).status == "cancelled"
    generation.cancel()
    assert line.sent() == []


# -- servers that echo no metadata ------------------------------------------------------------------------


def test_without_metadata_the_response_is_the_one_requests(line: Line) -> None:
    future, _ = line.ask()
    line.peer.send(w.created("r1"))
    assert future.result(PATIENCE).user_initiated


def test_not_after_a_commit_since(line: Line) -> None:
    future, _ = line.ask()
    line.peer.send(w.committed())
    line.peer.send(w.created("r1"))
    assert not line.wait("generation_created").user_initiated
    assert not future.done()


def test_not_of_two_requests(line: Line) -> None:
    futures = [line.ask(conversation="none")[0] for _ in range(2)]
    line.peer.send(w.created("r1"))
    assert not line.wait("generation_created").user_initiated
    assert not any(future.done() for future in futures)


@pytest.mark.parametrize("cancelled", [False, True])
def test_without_metadata_a_second_response_at_a_time_is_the_one_beside(line: Line, cancelled: bool) -> None:
    beside, _ = line.ask(conversation="none")
    line.peer.send(w.committed())
    line.peer.send(w.created("r1"))
    running_one = line.wait("generation_created")
    line.heard()
    if cancelled:
        beside.cancel()
    line.peer.send(w.created("r2"))
    waiting = line.session.generate_reply()
    sent = line.sent()
    if cancelled:
        assert sent == [{"type": CANCEL, "response_id": "r2"}]
    else:
        assert sent == []
        assert beside.result(PATIENCE).response_id == "r2"
    line.peer.send(w.done("r2"))
    assert line.sent() == []
    assert not running_one.done.done()
    line.peer.send(w.done("r1"))
    line.peer.expect("response.create")
    assert not waiting.done()


def test_not_on_a_connection_that_has_echoed(line: Line) -> None:
    running(line)
    line.peer.send(w.done("r1"))
    future, _ = line.ask()
    line.peer.send(w.created("r2"))
    assert not line.wait("generation_created", 2).user_initiated
    assert not future.done()


# -- the arbiter --------------------------------------------------------------------------------------


@pytest.mark.parametrize("own", [True, False])
def test_a_request_waits_for_the_response_that_runs(line: Line, own: bool) -> None:
    if own:
        running(line)
    else:
        line.peer.send(w.created("r1"))
        line.wait("generation_created")
    future = line.session.generate_reply()
    assert line.sent() == []
    line.peer.send(w.done("r1"))
    asked = line.peer.expect(CREATE)
    line.peer.send(w.created("r2", asked))
    assert future.result(PATIENCE).response_id == "r2"


def test_a_request_waits_for_one_that_is_pending_and_until_its_timeout_at_most(dial: Dial) -> None:
    line = dial(timeouts=replace(QUICK, reply=0.5))
    first, _ = line.ask()
    line.session.generate_reply()
    assert line.sent() == []
    line.peer.expect(CREATE)
    assert "timed out" in str(error_of(first))


def test_a_request_waits_no_longer_than_reply_wait(dial: Dial) -> None:
    line = dial(timeouts=replace(QUICK, reply_wait=0.05))
    running(line)
    waiting = line.session.generate_reply()
    assert "timed out" in str(error_of(waiting))
    assert line.sent() == []


def test_the_time_for_a_reply_starts_when_it_is_sent(dial: Dial) -> None:
    line = dial(timeouts=replace(QUICK, reply=0.5))
    running(line)
    waiting = line.session.generate_reply()
    with pytest.raises(TimeoutError):
        waiting.result(0.6)
    line.peer.send(w.done("r1"))
    line.peer.expect(CREATE)
    assert "timed out" in str(error_of(waiting))


def test_a_waiting_request_survives_an_interrupt_and_a_reconnect(line: Line) -> None:
    generation = running(line)
    waiting = line.session.generate_reply()
    line.session.interrupt()
    assert line.sent() == [{"type": CANCEL}]
    line.peer.drop()
    with pytest.raises(RealtimeError, match="session reconnection"):
        generation.done.result(PATIENCE)
    line.answer()
    line.peer.send(w.created("r2", line.peer.expect(CREATE)))
    assert waiting.result(PATIENCE).response_id == "r2"


def test_a_request_while_down_waits(dial: Dial, server: ScriptedServer) -> None:
    line = dial(conn_options=replace(PATIENT, max_retry=1000))
    server.refusals.extend([503] * 1000)
    line.peer.drop()
    line.wait("error")
    future, other = line.session.generate_reply(), line.session.generate_reply()
    assert line.session.has_active_generation
    assert other.cancel()
    server.refusals.clear()
    line.answer()
    line.peer.send(w.created("r1", line.peer.expect(CREATE)))
    line.peer.send(w.done("r1"))
    assert future.result(PATIENCE).response_id == "r1"
    assert line.sent() == []


def test_cancelling_a_waiting_request_sends_nothing(line: Line) -> None:
    running(line)
    waiting = line.session.generate_reply()
    waiting.cancel()
    assert line.sent() == []
    line.peer.send(w.done("r1"))
    assert line.sent() == []


def test_after_a_cancel_the_next_request_goes_out_at_the_first_sign(line: Line) -> None:
    future, asked = line.ask()
    future.cancel()
    line.peer.expect(CANCEL)
    line.session.generate_reply()
    assert line.sent() == []
    line.peer.send(w.error("response_cancel_not_active", "Cancellation failed: no active response found"))
    line.peer.send(w.created("r1", asked))
    line.peer.send(w.done("r1", "cancelled"))
    assert [event["type"] for event in line.sent()] in ([CREATE], [CANCEL, CREATE], [CREATE, CANCEL])


def collision(asked: dict[str, Any]) -> Any:
    return w.error(
        "conversation_already_has_active_response", "Conversation already has one", event_id=asked["event_id"]
    )


def test_a_collision_waits_and_tries_once_more(line: Line) -> None:
    future, first = line.ask()
    line.peer.send(w.committed())
    line.peer.send(w.created("vad"))
    line.peer.send(collision(first))
    assert line.sent() == []
    line.peer.send(w.done("vad"))
    second = line.peer.expect(CREATE)
    assert second["event_id"] != first["event_id"]
    line.peer.send(w.created("r1", second))
    assert future.result(PATIENCE).response_id == "r1"
    assert line.of("error") == []


def test_a_second_collision_fails_with_its_code(line: Line) -> None:
    future, first = line.ask()
    line.peer.send(w.committed())
    line.peer.send(w.created("vad"))
    line.peer.send(collision(first))
    line.peer.send(w.done("vad"))
    line.peer.send(collision(line.peer.expect(CREATE)))
    assert error_of(future).code == "conversation_already_has_active_response"
    assert line.wait("error").recoverable
    assert len(line.of("error")) == 1


def test_out_of_band_responses_run_beside(line: Line) -> None:
    generation = running(line)
    futures = []
    for number in range(3):
        future, asked = line.ask(conversation="none")
        line.peer.send(w.created(f"o{number}", asked))
        futures.append(future.result(PATIENCE))
    line.peer.send(w.done("o1"))
    assert futures[1].done.result(PATIENCE).status == "completed"
    line.heard()
    assert not generation.done.done()
    assert not futures[0].done.done()


# -- interrupting and counting ----------------------------------------------------------------------------


def test_interrupt_cancels_only_if_something_is_active(line: Line) -> None:
    line.session.interrupt()
    assert line.sent() == []
    running(line)
    line.session.interrupt()
    assert line.sent() == [{"type": CANCEL}]


def test_active_counts_pending_and_running_ones(line: Line) -> None:
    session = line.session
    assert not session.has_active_generation
    _, asked = line.ask()
    assert session.has_active_generation
    line.peer.send(w.created("r1", asked))
    line.heard()
    assert session.has_active_generation
    line.peer.send(w.done("r1"))
    line.heard()
    assert not session.has_active_generation


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ({}, "response_cancel_not_active", "Cancellation failed: no active response found"),
        ({}, None, "Cancellation failed: no active response found"),
        ({"turn_detection": ServerVad()}, "input_audio_buffer_commit_empty", "buffer too small"),
    ],
)
def test_what_is_no_error(dial: Dial, options: dict[str, Any], code: str | None, message: str) -> None:
    line = dial(**options)
    line.peer.send(w.error(code, message))
    line.heard()
    assert line.of("error") == []


FATAL = [
    "insufficient_quota",
    "credit_balance_exhausted",
    "invalid_api_key",
    "account_deactivated",
    "billing_hard_limit_reached",
]


@pytest.mark.parametrize("where", ["code", "type"])
@pytest.mark.parametrize("code", FATAL)
def test_fatal_codes_end_the_session(line: Line, server: ScriptedServer, code: str, where: str) -> None:
    future, _ = line.ask()
    line.peer.send(w.error(code, "no") if where == "code" else w.error(None, "no", kind=code))
    line.wait_closed()
    (error,) = line.of("error")
    assert not error.recoverable
    assert "no" in str(error_of(future))
    line.peer.rest()
    assert len(server.requests) == 1


@pytest.mark.parametrize("code", ["rate_limit_exceeded", "server_error", None, "never_heard_of"])
def test_other_errors_leave_the_connection_open(line: Line, server: ScriptedServer, code: str | None) -> None:
    line.peer.send(w.error(code, "hm"))
    assert line.wait("error").recoverable
    assert running(line).response_id == "r1"
    assert len(server.requests) == 1
