"""`generate_reply`: what goes out, and all the ways in which its future can end (contract §6)."""

from __future__ import annotations

from typing import Any

import pytest
import wire as w
from wire import drain

from antiphon import ChatMessage, RealtimeError, function_tool
from antiphon.actors.config import Timeouts
from antiphon.protocol import encode_server_event

# -- what goes out ------------------------------------------------------------------------------------


def test_a_request_carries_its_event_id_as_metadata_and_nothing_that_was_not_given(case: Any) -> None:
    case.reply()
    (event,) = case.creates()
    assert event["event_id"].startswith("response_create_")
    assert event["response"] == {"metadata": {"client_event_id": event["event_id"]}}


@pytest.mark.parametrize(
    ("of_session", "own", "sent"),
    [(None, "now", "now"), ("always", "now", "always\nnow"), ("always", None, None), (None, "", None)],
)
def test_instructions_follow_those_of_the_session(
    case: Any, of_session: str | None, own: str | None, sent: str | None
) -> None:
    if of_session is not None:
        case.session.update_instructions(of_session)
    case.reply(**({} if own is None else {"instructions": own}))
    assert case.creates()[0]["response"].get("instructions") == sent


def test_instructions_are_those_in_force_when_the_request_is_sent(case: Any) -> None:
    case.reply()
    case.reply(instructions="now")
    case.session.update_instructions("later")
    case.wire.reply(w.created("r1", case.creates()[0]), w.done("r1"))
    assert case.creates()[1]["response"]["instructions"] == "later\nnow"


def test_every_other_argument_reaches_the_wire(case: Any) -> None:
    @function_tool
    def look(where: str) -> str:
        """Look."""
        return where

    case.reply(
        tool_choice="required",
        tools=[look],
        conversation="none",
        input=[ChatMessage("user", ["hi"], id="item_1")],
        metadata={"topic": "x"},
        modalities=["text"],
        max_output_tokens=7,
    )
    (event,) = case.creates()
    asked = event["response"]
    assert asked["tool_choice"] == "required"
    assert [tool["name"] for tool in asked["tools"]] == ["look"]
    assert asked["conversation"] == "none"
    assert [item["content"][0]["text"] for item in asked["input"]] == ["hi"]
    assert asked["metadata"] == {"topic": "x", "client_event_id": event["event_id"]}
    assert asked["output_modalities"] == ["text"]
    assert asked["max_output_tokens"] == 7


def test_modalities_are_never_sent_as_both(case: Any) -> None:
    case.reply(modalities=["text", "audio"])
    assert case.creates()[0]["response"]["output_modalities"] == ["audio"]


# -- the answer ---------------------------------------------------------------------------------------


def test_the_future_gets_what_the_event_carries(case: Any) -> None:
    future = case.reply()
    case.wire.reply(w.created("r1", case.creates()[0]))
    (handout,) = case.emitted("generation_created")
    assert future.result(0) is handout
    assert handout.user_initiated
    assert handout.response_id == "r1"


def test_a_response_that_nobody_asked_for_is_not_user_initiated(case: Any) -> None:
    case.wire.reply(w.created("r1"))
    (handout,) = case.emitted("generation_created")
    assert not handout.user_initiated


def test_a_response_to_another_clients_request_is_not_user_initiated(case: Any) -> None:
    future = case.reply()
    case.wire.reply(w.created("r1", "somebody_elses"))
    assert not case.emitted("generation_created")[0].user_initiated
    assert not future.done()


def test_done_callbacks_run_with_the_sessions_callbacks_in_order(case: Any) -> None:
    order: list[str] = []
    case.session.on("generation_created", lambda _: order.append("event"))
    case.session.on("metrics_collected", lambda _: order.append("metrics"))
    future = case.reply()
    future.add_done_callback(lambda _: order.append("future"))
    case.wire.reply(w.created("r1", case.creates()[0]))
    case.log[-1][1].done.add_done_callback(lambda _: order.append("done"))
    case.wire.reply(w.done("r1"))
    assert order == ["event", "future", "done", "metrics"]


# -- it fails -------------------------------------------------------------------------------------------


def test_a_request_fails_ten_seconds_after_it_was_written(case: Any) -> None:
    future = case.reply()
    case.driver.advance(9.9)
    assert not future.done()
    case.driver.advance(0.2)
    assert isinstance(future.exception(0), RealtimeError)
    assert "timed out" in str(future.exception(0))
    assert not case.active()


def test_the_ten_seconds_are_a_setting(make_case: Any) -> None:
    case = make_case(timeouts=Timeouts(reply=0.5, ping_interval=1e6))
    future = case.reply()
    case.driver.advance(0.6)
    assert "0.5 s" in str(future.exception(0))


def test_the_ten_seconds_begin_when_the_socket_takes_the_request(case: Any) -> None:
    case.wire.full = True
    future = case.reply()
    case.driver.advance(20)
    assert not future.done()
    case.wire.drain()
    case.driver.advance(9.9)
    assert not future.done()
    case.driver.advance(0.2)
    assert "timed out" in str(future.exception(0))


def test_a_request_that_the_socket_never_takes_fails_after_reply_wait(case: Any) -> None:
    case.wire.full = True
    future = case.reply()
    case.driver.advance(29.9)
    assert not future.done()
    case.driver.advance(0.2)
    assert "timed out" in str(future.exception(0))
    assert not case.active()


def test_a_response_after_the_timeout_is_cancelled_and_discarded(case: Any) -> None:
    case.reply()
    case.driver.advance(10.1)
    assert case.cancels() == []
    case.wire.reply(w.created("r1", case.creates()[0]))
    assert case.cancels() == [{"type": "response.cancel", "response_id": "r1"}]
    assert case.log == []


def test_a_response_that_comes_in_time_never_times_out(case: Any) -> None:
    future = case.reply()
    case.wire.reply(w.created("r1", case.creates()[0]))
    case.driver.advance(60)
    assert future.result(0).response_id == "r1"
    assert not future.result(0).done.done()


def test_a_rejection_fails_the_future_at_once_and_emits_a_recoverable_error(case: Any) -> None:
    future = case.reply()
    case.wire.reply(w.error("invalid_value", "bad voice", event_id=case.creates()[0]["event_id"]))
    assert future.exception(0).code == "invalid_value"
    assert "bad voice" in str(future.exception(0))
    (error,) = case.emitted("error")
    assert error.recoverable
    assert "bad voice" in str(error.error)
    assert error.error.body.code == "invalid_value"


def test_a_rejection_code_may_stand_in_type(case: Any) -> None:
    future = case.reply()
    case.wire.reply(w.error(None, kind="invalid_value", event_id=case.creates()[0]["event_id"]))
    assert future.exception(0).code == "invalid_value"


def test_the_next_request_goes_out_after_a_rejection(case: Any) -> None:
    case.reply()
    case.reply()
    assert len(case.creates()) == 1
    case.wire.reply(w.error("invalid_value", event_id=case.creates()[0]["event_id"]))
    assert len(case.creates()) == 2


def test_an_error_that_names_no_request_costs_none(case: Any) -> None:
    future = case.reply()
    case.wire.reply(w.error("invalid_value", "about something else"))
    case.wire.reply(w.error("invalid_value", "about another event", event_id="event_of_ours"))
    assert not future.done()
    assert len(case.emitted("error")) == 2
    assert case.session.state == "open"


def test_a_pending_request_fails_when_the_connection_is_lost(case: Any) -> None:
    future = case.reply()
    case.wire.drop()
    assert isinstance(future.exception(0), RealtimeError)
    assert "session reconnection" in str(future.exception(0))
    case.reconnect()
    assert case.creates() == []


def test_out_of_band_requests_fail_when_the_connection_is_lost(case: Any) -> None:
    future = case.reply(conversation="none")
    case.wire.drop()
    assert "session reconnection" in str(future.exception(0))


def test_a_request_that_the_socket_had_not_taken_is_sent_again_as_it_was(case: Any) -> None:
    case.wire.full = True
    future = case.reply(instructions="hi")
    case.wire.drop()
    assert not future.done()
    case.reconnect()
    (event,) = case.creates()
    case.wire.reply(w.created("r1", event))
    assert future.result(0).response_id == "r1"


def test_close_settles_every_request(case: Any) -> None:
    pending, waiting, beside = case.reply(), case.reply(), case.reply(conversation="none")
    case.end()
    for future in (pending, waiting, beside):
        assert isinstance(future.exception(0), RealtimeError)
        assert "session closed" in str(future.exception(0))


def test_a_request_after_the_close_fails_at_once(case: Any) -> None:
    case.end()
    future = case.session.generate_reply()
    assert "session closed" in str(future.exception(0))


def test_a_request_while_the_session_closes_fails_at_once(case: Any) -> None:
    case.session._close_soon(5.0)
    future = case.reply()
    assert case.session.state == "open"
    assert "session closed" in str(future.exception(0))


def test_a_fatal_error_fails_requests_with_its_message(case: Any) -> None:
    future = case.reply()
    case.wire.reply(w.error("insufficient_quota", "no money"))
    assert "no money" in str(future.exception(0))


# -- it is cancelled ------------------------------------------------------------------------------------


def test_cancelling_a_pending_request_cancels_the_response(case: Any) -> None:
    future = case.reply()
    assert future.cancel()
    case.driver.run()
    assert case.cancels() == [{"type": "response.cancel"}]
    assert not case.active()


def test_cancelling_before_the_engine_has_looked_leaves_no_response_running(case: Any) -> None:
    future = case.session.generate_reply()
    future.cancel()
    case.driver.run()
    assert len(case.creates()) == len(case.cancels())
    assert not case.active()


def test_a_second_cancel_sends_nothing_more(case: Any) -> None:
    future = case.reply()
    future.cancel()
    future.cancel()
    case.driver.run()
    assert len(case.cancels()) == 1


def test_cancelling_a_settled_future_is_refused_and_sends_nothing(case: Any) -> None:
    future = case.reply()
    case.wire.reply(w.created("r1", case.creates()[0]))
    assert not future.cancel()
    case.driver.run()
    assert case.cancels() == []
    assert case.active()


def test_what_a_cancelled_request_still_brings_is_discarded_quietly(case: Any) -> None:
    future = case.reply()
    future.cancel()
    case.driver.run()
    create = case.creates()[0]
    case.wire.reply(
        w.created("r1", create),
        w.output_added("r1", w.message("m1")),
        w.part_added("r1", "m1", "audio"),
        w.audio("r1", "m1"),
        w.transcript("r1", "m1", "never heard"),
        w.output_added("r1", w.call("c1", "call_1", arguments="")),
        w.arguments_done("r1", "c1", "call_1"),
        w.output_done("r1", w.call("c1", "call_1")),
        w.done("r1", "failed", details="something"),
    )
    assert case.cancels() == [
        {"type": "response.cancel"},
        {"type": "response.cancel", "response_id": "r1"},
    ]
    assert case.log == []
    assert not case.active()
    # Discarded is not unknown.
    assert case.session._actors.strand.actor("generation").core.ignored == 0


def test_items_of_a_discarded_response_enter_the_mirror(case: Any) -> None:
    case.reply().cancel()
    case.driver.run()
    case.wire.reply(
        w.created("r1", case.creates()[0]),
        w.item_added(w.message("m1")),
        w.output_done("r1", w.message("m1", "half a", kind="output_audio")),
        w.done("r1", "cancelled"),
    )
    assert case.said() == ["half a"]


def test_items_of_a_discarded_response_enter_the_mirror_from_a_server_that_announces_none(case: Any) -> None:
    case.reply().cancel()
    case.driver.run()
    case.wire.reply(
        w.created("r1", case.creates()[0]), w.done("r1", "cancelled", output=[w.message("m1", "half a")])
    )
    assert case.said() == ["half a"]


def test_a_rejection_of_a_cancelled_request_is_quiet(case: Any) -> None:
    case.reply().cancel()
    case.driver.run()
    case.wire.reply(w.error("invalid_value", event_id=case.creates()[0]["event_id"]))
    assert case.log == []


def test_a_rejection_after_the_timeout_is_quiet(case: Any) -> None:
    case.reply()
    case.driver.advance(10.1)
    case.wire.reply(w.error("invalid_value", event_id=case.creates()[0]["event_id"]))
    assert case.log == []


def test_cancelling_while_the_response_is_announced_discards_it(case: Any) -> None:
    future = case.reply()
    event = w.created("r1", case.creates()[0])
    # The frame has been read when the caller cancels, but not yet been looked at.
    case.wire._listener.texts([encode_server_event(event)])
    assert future.cancel()
    case.driver.run()
    assert {"type": "response.cancel", "response_id": "r1"} in case.cancels()
    assert case.emitted("generation_created") == []
    assert not case.active()


def test_cancelling_an_out_of_band_request_leaves_the_conversation_alone(case: Any) -> None:
    case.wire.reply(w.created("r1"))
    future = case.reply(conversation="none")
    future.cancel()
    case.driver.run()
    assert case.cancels() == []
    case.wire.reply(w.created("r2", case.creates()[0]))
    assert case.cancels() == [{"type": "response.cancel", "response_id": "r2"}]
    assert len(case.emitted("generation_created")) == 1


def test_a_cancelled_request_that_was_not_written_is_discarded_after_the_reconnect_too(case: Any) -> None:
    case.wire.full = True
    future = case.reply()
    future.cancel()
    case.driver.run()
    case.wire.drop()
    case.reconnect()
    case.log.clear()
    (event,) = case.creates()
    case.wire.reply(w.created("r1", event))
    assert {"type": "response.cancel", "response_id": "r1"} in case.cancels()
    assert case.emitted("generation_created") == []


def test_a_request_does_not_overtake_a_cancelled_one_that_was_not_written(case: Any) -> None:
    case.wire.full = True
    case.reply().cancel()
    case.driver.run()
    case.reply()
    case.wire.drop()
    case.reconnect()
    assert len(case.creates()) == 1
    case.wire.reply(w.created("r1", case.creates()[0]), w.done("r1", "cancelled"))
    assert len(case.creates()) == 2


def test_a_request_does_not_overtake_one_that_was_given_up_before_it_was_written(case: Any) -> None:
    case.wire.full = True
    first = case.reply()
    case.driver.advance(20)
    second = case.reply()
    case.driver.advance(20)
    assert "timed out" in str(first.exception(0))
    case.wire.drain()
    assert len(case.creates()) == 1
    case.wire.reply(w.created("r1", case.creates()[0]), w.done("r1", "cancelled"))
    assert len(case.creates()) == 2
    case.wire.reply(w.created("r2", case.creates()[1]))
    assert second.result(0).response_id == "r2"


def test_a_request_that_is_no_json_fails_at_once(case: Any) -> None:
    future = case.reply(metadata={"what": object()})
    assert isinstance(future.exception(0), RealtimeError)
    assert not case.active()
    case.reply()
    assert len(case.creates()) == 1


def test_ids_to_be_discarded_are_forgotten_on_reconnect(case: Any) -> None:
    case.reply().cancel()
    case.driver.run()
    case.wire.reply(w.created("r1", case.creates()[0]))
    case.wire.drop()
    case.reconnect()
    case.log.clear()
    case.wire.reply(w.created("r1"))
    assert [handout.response_id for handout in case.emitted("generation_created")] == ["r1"]


# -- servers that echo no metadata -----------------------------------------------------------------------


def test_without_metadata_a_response_belongs_to_the_one_request(case: Any) -> None:
    future = case.reply()
    case.wire.reply(w.created("r1"))
    assert future.result(0).user_initiated


def test_without_metadata_an_out_of_band_response_belongs_to_the_one_request(case: Any) -> None:
    future = case.reply(conversation="none")
    case.wire.reply(w.created("r1"))
    assert future.result(0).response_id == "r1"
    case.reply()
    assert len(case.creates()) == 2


def test_without_metadata_a_response_of_two_requests_is_nobodys(case: Any) -> None:
    futures = [case.reply(conversation="none"), case.reply(conversation="none")]
    case.wire.reply(w.created("r1"))
    assert not any(future.done() for future in futures)
    assert not case.emitted("generation_created")[0].user_initiated


def test_a_named_conversation_tells_which_of_two_requests_is_meant(case: Any) -> None:
    beside, pending = case.reply(conversation="none"), case.reply()
    case.wire.reply(w.created("r1", conversation_id="conv_1"))
    assert pending.result(0).response_id == "r1"
    case.wire.reply(w.created("r2", conversation_id=None))
    assert beside.result(0).response_id == "r2"
    assert not pending.result(0).done.done()


def test_a_response_in_a_named_conversation_is_not_an_out_of_band_requests(case: Any) -> None:
    future = case.reply(conversation="none")
    case.wire.reply(w.created("r1", conversation_id="conv_1"))
    assert not future.done()


def test_without_metadata_a_response_after_a_commit_is_the_servers_own(case: Any) -> None:
    future = case.reply()
    case.wire.reply(w.committed(), w.created("r1"))
    assert not case.emitted("generation_created")[0].user_initiated
    assert not future.done()


def test_a_commit_before_the_request_does_not_count(case: Any) -> None:
    case.wire.reply(w.committed())
    future = case.reply()
    case.wire.reply(w.created("r1"))
    assert future.result(0).user_initiated


def test_a_server_that_has_echoed_once_is_not_guessed_at(case: Any) -> None:
    case.reply()
    case.wire.reply(w.created("r1", case.creates()[0]), w.done("r1"))
    future = case.reply()
    case.wire.reply(w.created("r2"))
    assert not future.done()
    assert [handout.user_initiated for handout in case.emitted("generation_created")] == [True, False]


def test_whether_a_server_echoes_is_found_out_afresh_on_each_connection(case: Any) -> None:
    case.reply()
    case.wire.reply(w.created("r1", case.creates()[0]), w.done("r1"))
    case.wire.drop()
    case.reconnect()
    future = case.reply()
    case.wire.reply(w.created("r2"))
    assert future.result(0).response_id == "r2"


def test_without_metadata_a_cancelled_requests_response_is_discarded(case: Any) -> None:
    case.reply().cancel()
    case.driver.run()
    case.wire.reply(w.created("r1"))
    assert {"type": "response.cancel", "response_id": "r1"} in case.cancels()
    assert case.log == []


def test_without_metadata_a_timed_out_requests_response_is_discarded(case: Any) -> None:
    case.reply()
    case.driver.advance(10.1)
    case.wire.reply(w.created("r1"))
    assert case.cancels() == [{"type": "response.cancel", "response_id": "r1"}]
    assert case.log == []
    case.wire.reply(w.done("r1", "cancelled"))
    assert case.reply() is not None
    case.wire.reply(w.created("r2"))
    assert [handout.response_id for handout in case.emitted("generation_created")] == ["r2"]


def test_without_metadata_a_pending_request_comes_before_a_timed_out_one(case: Any) -> None:
    case.reply()
    case.driver.advance(10.1)
    future = case.reply()
    case.wire.reply(w.created("r1"))
    assert future.result(0).response_id == "r1"


def test_the_answer_to_the_user_is_not_taken_for_a_timed_out_requests(case: Any) -> None:
    case.reply()
    case.driver.advance(10.1)
    case.wire.reply(w.committed(), w.created("r1"))
    assert [handout.response_id for handout in case.emitted("generation_created")] == ["r1"]


def test_the_answer_to_the_user_is_not_taken_for_a_cancelled_requests(case: Any) -> None:
    case.reply().cancel()
    case.driver.run()
    case.wire.reply(w.committed(), w.created("r1"))
    assert [handout.response_id for handout in case.emitted("generation_created")] == ["r1"]


# -- while there is no connection ------------------------------------------------------------------------


def test_a_request_before_the_first_connection_is_sent_once(make_case: Any) -> None:
    case = make_case(connect=False)
    case.session.start()
    future = case.reply()
    case.driver.refuse()
    case.driver.advance(0.2)
    case.wire = case.driver.accept()
    assert case.wire.types == ["session.update", "response.create"]
    case.wire.reply(w.created("r1", case.creates()[0]))
    assert future.result(0).response_id == "r1"


def test_a_request_while_down_waits_for_the_connection(case: Any) -> None:
    case.wire.drop()
    future = case.reply()
    assert case.active()
    case.reconnect()
    case.wire.reply(w.created("r1", case.creates()[0]))
    assert future.result(0).response_id == "r1"


def test_cancelling_a_request_while_down_sends_nothing(case: Any) -> None:
    case.wire.drop()
    future = case.reply()
    future.cancel()
    case.driver.run()
    assert not case.active()
    case.reconnect()
    assert case.creates() == case.cancels() == []


def test_a_request_while_down_fails_after_reply_wait(make_case: Any) -> None:
    case = make_case(timeouts=Timeouts(reply_wait=1.0, first_retry=5.0, ping_interval=1e6))
    case.wire.drop()
    future = case.reply()
    case.driver.advance(1.1)
    assert "timed out" in str(future.exception(0))


def test_streams_of_a_generation_end_with_what_had_arrived_when_the_connection_is_lost(case: Any) -> None:
    future = case.reply()
    case.wire.reply(w.created("r1", case.creates()[0]), w.transcript("r1", "m1", "so f"))
    case.wire.drop()
    (message,) = drain(future.result(0).message_stream)
    assert drain(message.text_stream) == ["so f"]
    assert drain(message.audio_stream) == drain(future.result(0).function_stream) == []
    error = future.result(0).done.exception(0)
    assert isinstance(error, RealtimeError)
    assert "session reconnection" in str(error)
    assert case.emitted("metrics_collected") == []


def test_a_request_before_the_first_connection_keeps_its_place(make_case: Any) -> None:
    case = make_case(connect=False)
    case.session.start()
    case.reply()
    case.session.update_instructions("later")
    case.wire = case.driver.accept()
    assert case.wire.types == ["session.update", "response.create", "session.update"]
