"""Whose turn it is: one response.create at a time in the default conversation (contract §6 and §13, Arbiter)."""

from __future__ import annotations

from typing import Any

import pytest
import wire as w

from antiphon import RealtimeError
from antiphon.actors.config import Timeouts
from antiphon.actors.failures import COLLISION


def answer(case: Any, response_id: str, number: int = -1) -> None:
    """Announce the response to a request that was sent."""
    case.wire.reply(w.created(response_id, case.creates()[number]))


def collide(case: Any) -> None:
    """Refuse the last request because a response runs."""
    case.wire.reply(w.error(COLLISION, "busy", event_id=case.creates()[-1]["event_id"]))


# -- waiting ----------------------------------------------------------------------------------------------


def test_a_second_request_waits_for_the_first_response_to_be_done(case: Any) -> None:
    case.reply()
    second = case.reply()
    assert len(case.creates()) == 1
    answer(case, "r1")
    assert len(case.creates()) == 1
    case.wire.reply(w.done("r1"))
    assert len(case.creates()) == 2
    answer(case, "r2")
    assert second.result(0).response_id == "r2"


def test_requests_are_sent_in_the_order_of_the_calls(case: Any) -> None:
    for name in "abc":
        case.reply(instructions=name)
    for number in range(3):
        answer(case, f"r{number}")
        case.wire.reply(w.done(f"r{number}"))
    assert [event["response"]["instructions"] for event in case.creates()] == ["a", "b", "c"]


@pytest.mark.parametrize("status", ["completed", "cancelled", "incomplete", "failed"])
def test_however_a_response_ends_the_next_one_may_begin(case: Any, status: str) -> None:
    case.reply()
    case.reply()
    answer(case, "r1")
    case.wire.reply(w.done("r1", status))
    assert len(case.creates()) == 2


def test_a_request_waits_for_a_response_that_the_server_began(case: Any) -> None:
    case.wire.reply(w.committed(), w.created("r1"))
    case.reply()
    assert case.creates() == []
    case.wire.reply(w.done("r1"))
    assert len(case.creates()) == 1


def test_a_request_waits_thirty_seconds_and_no_longer(case: Any) -> None:
    case.wire.reply(w.created("r1"))
    future = case.reply()
    case.driver.advance(29.9)
    assert not future.done()
    case.driver.advance(0.2)
    assert isinstance(future.exception(0), RealtimeError)
    assert "timed out" in str(future.exception(0))
    case.wire.reply(w.done("r1"))
    assert case.creates() == case.cancels() == []


def test_how_long_a_request_waits_is_a_setting(make_case: Any) -> None:
    case = make_case(timeouts=Timeouts(reply_wait=2.0, ping_interval=1e6))
    case.wire.reply(w.created("r1"))
    future = case.reply()
    case.driver.advance(2.1)
    assert "2 s" in str(future.exception(0))


def test_the_ten_seconds_of_a_request_that_waited_begin_when_it_is_sent(case: Any) -> None:
    case.wire.reply(w.created("r1"))
    future = case.reply()
    case.driver.advance(20)
    case.wire.reply(w.done("r1"))
    case.driver.advance(9.9)
    assert not future.done()
    case.driver.advance(0.2)
    assert "timed out" in str(future.exception(0))


def test_the_conversation_is_free_again_after_a_reply_timeout(case: Any) -> None:
    case.reply()
    case.reply()
    case.driver.advance(10.1)
    assert len(case.creates()) == 2


def test_a_late_response_to_a_timed_out_request_blocks_until_it_is_done(case: Any) -> None:
    case.reply()
    case.driver.advance(10.1)
    answer(case, "r1")
    case.reply()
    assert len(case.creates()) == 1
    case.wire.reply(w.done("r1", "cancelled"))
    assert len(case.creates()) == 2


def test_cancelling_a_waiting_request_sends_nothing(case: Any) -> None:
    case.reply()
    waiting = case.reply()
    assert waiting.cancel()
    case.driver.run()
    answer(case, "r1")
    case.wire.reply(w.done("r1"))
    assert len(case.creates()) == 1
    assert case.cancels() == []
    assert not case.active()


def test_a_waiting_request_survives_a_reconnect(case: Any) -> None:
    case.reply()
    waiting = case.reply()
    case.wire.drop()
    assert not waiting.done()
    case.reconnect()
    assert len(case.creates()) == 1
    answer(case, "r1")
    assert waiting.result(0).response_id == "r1"


def test_waiting_requests_are_sent_one_by_one_after_a_reconnect_and_last(case: Any) -> None:
    case.reply()
    case.reply()
    case.reply()
    case.wire.drop()
    case.session.update_instructions("be kind")
    case.driver.run()
    case.reconnect()
    assert case.wire.types == ["session.update", "session.update", "response.create"]


# -- after a cancel --------------------------------------------------------------------------------------


def cancel_the_first_of_two(case: Any) -> None:
    case.reply().cancel()
    case.reply()
    assert len(case.creates()) == 1


def test_after_a_cancel_the_next_request_waits_for_the_response_to_end(case: Any) -> None:
    cancel_the_first_of_two(case)
    answer(case, "r1")
    assert len(case.creates()) == 1
    case.wire.reply(w.done("r1", "cancelled"))
    assert len(case.creates()) == 2


def test_after_a_cancel_a_rejection_settles_it(case: Any) -> None:
    cancel_the_first_of_two(case)
    case.wire.reply(w.error("invalid_value", event_id=case.creates()[0]["event_id"]))
    assert len(case.creates()) == 2


def test_after_a_cancel_nothing_to_cancel_settles_it(case: Any) -> None:
    cancel_the_first_of_two(case)
    case.wire.reply(w.error("response_cancel_not_active", "Cancellation failed: no active response found"))
    assert len(case.creates()) == 2


def test_after_a_cancel_without_any_sign_it_is_settled_in_ten_seconds(case: Any) -> None:
    cancel_the_first_of_two(case)
    case.driver.advance(9.9)
    assert len(case.creates()) == 1
    case.driver.advance(0.2)
    assert len(case.creates()) == 2


def test_a_sign_of_another_request_does_not_settle_a_cancel(case: Any) -> None:
    case.reply()
    case.driver.advance(10.1)
    case.reply().cancel()
    case.reply()
    case.driver.run()
    assert len(case.creates()) == 2
    answer(case, "late", 0)
    case.wire.reply(w.done("late", "cancelled"))
    assert len(case.creates()) == 2
    case.wire.reply(w.error("invalid_value", event_id=case.creates()[1]["event_id"]))
    assert len(case.creates()) == 3


def test_a_reconnect_settles_a_cancel(case: Any) -> None:
    cancel_the_first_of_two(case)
    case.wire.drop()
    case.reconnect()
    assert len(case.creates()) == 1
    case.driver.advance(5)
    assert len(case.creates()) == 1


def test_a_discarded_response_does_not_block_the_next_connection(case: Any) -> None:
    case.reply().cancel()
    case.driver.run()
    answer(case, "r1")
    case.wire.drop()
    case.reconnect()
    case.reply()
    assert len(case.creates()) == 1


# -- collisions with the server's own turn taking ----------------------------------------------------------


def test_a_collision_waits_for_the_active_response_and_tries_once_more(case: Any) -> None:
    future = case.reply()
    case.wire.reply(w.committed(), w.created("vad"))
    collide(case)
    assert not future.done()
    assert len(case.creates()) == 1
    case.wire.reply(w.done("vad"))
    first, second = case.creates()
    assert first["event_id"] != second["event_id"]
    assert second["response"]["metadata"]["client_event_id"] == second["event_id"]
    answer(case, "r1")
    assert future.result(0).response_id == "r1"
    assert case.emitted("error") == []


def test_a_second_collision_fails_with_its_code_and_emits_it(case: Any) -> None:
    future = case.reply()
    case.wire.reply(w.committed(), w.created("vad"))
    collide(case)
    case.wire.reply(w.done("vad"))
    collide(case)
    assert future.exception(0).code == COLLISION
    assert [payload.recoverable for payload in case.emitted("error")] == [True]
    assert len(case.creates()) == 2
    assert not case.active()


def test_the_retry_has_ten_seconds_of_its_own(case: Any) -> None:
    future = case.reply()
    case.driver.advance(9.0)
    case.wire.reply(w.committed(), w.created("vad"))
    collide(case)
    case.driver.advance(9.0)
    case.wire.reply(w.done("vad"))
    case.driver.advance(9.9)
    assert not future.done()
    case.driver.advance(0.2)
    assert "timed out" in str(future.exception(0))


def test_a_collision_with_a_response_that_is_not_announced_yet_waits_for_it(case: Any) -> None:
    future = case.reply()
    collide(case)
    assert len(case.creates()) == 1
    case.wire.reply(w.created("vad"))
    assert len(case.creates()) == 1
    case.wire.reply(w.done("vad"))
    answer(case, "r1")
    assert future.result(0).response_id == "r1"


def test_a_collision_with_a_response_that_is_never_announced_waits_for_its_end(case: Any) -> None:
    case.reply()
    collide(case)
    case.wire.reply(w.done("vad"))
    assert len(case.creates()) == 2


def test_a_collision_with_nothing_waits_no_longer_than_for_a_response(case: Any) -> None:
    case.reply()
    collide(case)
    case.driver.advance(10.1)
    assert len(case.creates()) == 2


def test_an_out_of_band_response_does_not_end_the_wait_after_a_collision(case: Any) -> None:
    case.reply()
    collide(case)
    case.reply(conversation="none")
    answer(case, "beside")
    case.wire.reply(w.done("beside"))
    assert [event["response"].get("conversation") for event in case.creates()] == [None, "none"]


@pytest.mark.parametrize(
    "event",
    [
        w.error(COLLISION, "busy"),
        w.error(None, "busy", kind=COLLISION),
    ],
)
def test_a_collision_that_names_no_request_is_the_pending_ones(case: Any, event: Any) -> None:
    future = case.reply()
    case.wire.reply(w.committed(), w.created("vad"), event)
    case.wire.reply(w.done("vad"))
    assert len(case.creates()) == 2
    assert not future.done()
    assert case.emitted("error") == []


def test_a_collided_request_goes_before_those_that_waited_behind_it(case: Any) -> None:
    case.reply(instructions="first")
    case.reply(instructions="second")
    case.wire.reply(w.committed(), w.created("vad"))
    collide(case)
    case.wire.reply(w.done("vad"))
    assert [event["response"]["instructions"] for event in case.creates()] == ["first", "first"]


def test_cancelling_a_collided_request_sends_nothing(case: Any) -> None:
    future = case.reply()
    case.wire.reply(w.committed(), w.created("vad"))
    collide(case)
    future.cancel()
    case.driver.run()
    case.wire.reply(w.done("vad"))
    assert len(case.creates()) == 1
    assert case.cancels() == []


def test_a_collided_request_survives_a_reconnect(case: Any) -> None:
    future = case.reply()
    case.wire.reply(w.committed(), w.created("vad"))
    collide(case)
    case.wire.drop()
    case.reconnect()
    answer(case, "r1")
    assert future.result(0).response_id == "r1"


# -- out of band -------------------------------------------------------------------------------------------


def test_out_of_band_requests_run_beside_the_conversation_and_each_other(case: Any) -> None:
    case.reply()
    case.reply(conversation="none")
    case.reply(conversation="none")
    assert len(case.creates()) == 3


def test_out_of_band_requests_pass_those_that_wait(case: Any) -> None:
    case.wire.reply(w.created("vad"))
    case.reply()
    beside = case.reply(conversation="none")
    assert [event["response"].get("conversation") for event in case.creates()] == ["none"]
    answer(case, "r1")
    assert beside.result(0).response_id == "r1"


def test_an_out_of_band_response_holds_up_nothing(case: Any) -> None:
    case.reply(conversation="none")
    answer(case, "beside")
    case.reply()
    assert len(case.creates()) == 2


def test_an_out_of_band_response_of_another_source_holds_up_nothing(case: Any) -> None:
    case.wire.reply(w.created("r1", conversation_id="conv_1"), w.done("r1"))
    case.wire.reply(w.created("beside", conversation_id=None))
    case.reply()
    assert len(case.creates()) == 1


def test_null_means_nothing_from_a_server_that_never_names_a_conversation(case: Any) -> None:
    case.wire.reply(w.created("r1", conversation_id=None))
    case.reply()
    assert case.creates() == []


def test_an_out_of_band_request_times_out_too(case: Any) -> None:
    future = case.reply(conversation="none")
    case.driver.advance(10.1)
    assert "timed out" in str(future.exception(0))
    answer(case, "r1")
    assert case.cancels() == [{"type": "response.cancel", "response_id": "r1"}]


# -- recycling ---------------------------------------------------------------------------------------------


def test_the_active_response_is_finished_before_the_connection_is_replaced(case: Any) -> None:
    case.wire.reply(w.created("r1"))
    case.session.restart()
    waiting = case.reply()
    case.driver.run()
    assert case.wire.close_code is None
    case.wire.reply(w.done("r1"))
    assert case.wire.close_code == 1000
    assert case.creates() == []
    case.wire = case.driver.accept()
    answer(case, "r2")
    assert waiting.result(0).response_id == "r2"


def test_a_pending_request_is_answered_before_the_connection_is_replaced(case: Any) -> None:
    future = case.reply()
    case.session.restart()
    case.driver.run()
    answer(case, "r1")
    assert case.wire.close_code is None
    case.wire.reply(w.done("r1"))
    assert case.wire.close_code == 1000
    assert future.result(0).done.result(0).status == "completed"
    case.driver.accept()


def test_an_out_of_band_response_is_finished_before_the_connection_is_replaced(case: Any) -> None:
    case.reply(conversation="none")
    answer(case, "beside")
    case.session.restart()
    case.driver.run()
    assert case.wire.close_code is None
    case.wire.reply(w.done("beside"))
    assert case.wire.close_code == 1000
    case.driver.accept()


def test_a_discarded_response_does_not_hold_up_recycling(case: Any) -> None:
    case.reply().cancel()
    case.driver.run()
    answer(case, "r1")
    case.session.restart()
    case.driver.run()
    assert case.wire.close_code == 1000
    case.driver.accept()
