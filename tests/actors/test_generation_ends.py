"""How responses end, what they cost, and how they are stopped (contract §6, and "Ends" in §13)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import wire as w
from wire import drain

import antiphon.protocol as p
from antiphon import RealtimeError
from antiphon.actors.failures import FATAL_CODES


def begin(case: Any, response_id: str = "r1") -> Any:
    """A response that nobody asked for, and what the application gets of it."""
    case.wire.reply(w.created(response_id))
    return case.emitted("generation_created")[-1]


# -- metrics --------------------------------------------------------------------------------------------

USAGE = p.Usage(
    total_tokens=60,
    input_tokens=40,
    output_tokens=20,
    input_token_details=p.InputTokenDetails(
        text_tokens=1,
        audio_tokens=2,
        image_tokens=3,
        cached_tokens=4,
        cached_tokens_details=p.CachedTokensDetails(text_tokens=5, audio_tokens=6, image_tokens=7),
    ),
    output_token_details=p.OutputTokenDetails(text_tokens=8, audio_tokens=9),
)


def metrics(case: Any) -> Any:
    """The one metrics event of a response."""
    (payload,) = case.emitted("metrics_collected")
    return payload


def test_metrics_carry_every_token_detail(case: Any) -> None:
    begin(case)
    case.driver.advance(4.0)
    case.wire.reply(w.done("r1", usage=USAGE))
    figures = msgspec.to_builtins(metrics(case))
    del figures["timestamp"]
    assert figures == {
        "request_id": "r1",
        "ttft": -1.0,
        "duration": 4.0,
        "cancelled": False,
        "label": "OpenAI Realtime API",
        "metadata": {"model_name": "gpt-realtime", "model_provider": "test"},
        "input_tokens": 40,
        "output_tokens": 20,
        "total_tokens": 60,
        "tokens_per_second": 5.0,
        "input_token_details": {
            "text_tokens": 1,
            "audio_tokens": 2,
            "image_tokens": 3,
            "cached_tokens": 4,
            "cached_tokens_details": {"text_tokens": 5, "audio_tokens": 6, "image_tokens": 7},
        },
        "output_token_details": {"text_tokens": 8, "audio_tokens": 9, "image_tokens": 0},
        "acquire_time": 0.0,
        "connection_reused": False,
    }


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        {"total_tokens": 3, "input_tokens": 3},
        {"input_token_details": None, "output_token_details": None},
        {"input_token_details": {"cached_tokens_details": None, "audio_tokens": None}},
    ],
)
def test_metrics_do_without_what_the_server_does_not_say(case: Any, usage: Any) -> None:
    begin(case)
    case.wire.reply(
        {"type": "response.done", "response": {"id": "r1", "status": "completed", "usage": usage}}
    )
    assert metrics(case).output_tokens == 0
    assert metrics(case).input_token_details.cached_tokens_details.audio_tokens == 0
    assert metrics(case).tokens_per_second == 0.0


def test_time_to_first_token_is_the_first_audio_in_an_audio_session(case: Any) -> None:
    begin(case)
    case.driver.advance(0.25)
    case.wire.reply(w.transcript("r1", "m1", "a"), w.text("r1", "m2", "b"))
    case.driver.advance(0.25)
    case.wire.reply(w.audio("r1", "m1"))
    case.driver.advance(0.5)
    case.wire.reply(w.audio("r1", "m1"), w.done("r1"))
    assert metrics(case).ttft == 0.5
    assert metrics(case).duration == 1.0


def test_time_to_first_token_is_the_first_text_in_a_text_session(text_case: Any) -> None:
    begin(text_case)
    text_case.driver.advance(0.25)
    text_case.wire.reply(w.output_added("r1", w.message("m1")))
    text_case.driver.advance(0.25)
    text_case.wire.reply(w.text("r1", "m1", "a"))
    text_case.driver.advance(0.5)
    text_case.wire.reply(w.text("r1", "m1", "b"), w.done("r1"))
    assert metrics(text_case).ttft == 0.5


def test_time_to_first_token_is_minus_one_without_one(case: Any) -> None:
    begin(case)
    case.wire.reply(w.transcript("r1", "m1", "a"), w.done("r1"))
    assert metrics(case).ttft == -1.0


def test_a_response_that_took_no_time_has_no_rate(case: Any) -> None:
    begin(case)
    case.wire.reply(w.done("r1", usage=USAGE))
    assert metrics(case).tokens_per_second == 0.0


# -- how it ended -----------------------------------------------------------------------------------------


def test_a_completed_response_says_so_with_its_usage(case: Any) -> None:
    generation = begin(case)
    case.wire.reply(w.done("r1", usage=USAGE))
    assert generation.done.result(0).status == "completed"
    assert generation.done.result(0).usage == USAGE
    assert not metrics(case).cancelled
    assert case.emitted("error") == []


def test_a_failed_response_emits_the_servers_code_and_message_after_the_metrics(case: Any) -> None:
    generation = begin(case)
    error = p.ResponseError(type="server_error", code="rate_limit_exceeded", message="too fast")
    case.wire.reply(w.done("r1", "failed", details=p.ResponseStatusDetails(type="failed", error=error)))
    assert case.names() == ["generation_created", "metrics_collected", "error"]
    (payload,) = case.emitted("error")
    assert payload.recoverable
    assert payload.label == "OpenAI Realtime API"
    assert "too fast" in str(payload.error)
    assert "rate_limit_exceeded" in str(payload.error)
    assert payload.error.body == error
    assert generation.done.result(0).status == "failed"
    assert generation.done.result(0).status_details.error == error
    assert case.session.state == "open"


@pytest.mark.parametrize(
    ("details", "words"),
    [
        (p.NOT_GIVEN, "no reason"),
        (None, "no reason"),
        ("it broke", "it broke"),
        ({"type": "failed"}, "no reason"),
        ({"type": "failed", "error": None}, "no reason"),
        ({"error": {"type": "overloaded", "code": None, "message": "busy"}}, "overloaded"),
        ({"error": {"code": "broken"}}, "broken"),
    ],
)
def test_a_failed_response_emits_an_error_whatever_its_details_look_like(
    case: Any, details: Any, words: str
) -> None:
    generation = begin(case)
    response = {"id": "r1", "status": "failed"}
    if details is not p.NOT_GIVEN:
        response["status_details"] = details
    case.wire.reply({"type": "response.done", "response": response})
    (payload,) = case.emitted("error")
    assert words in str(payload.error)
    assert generation.done.result(0).status == "failed"


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("cancelled", "turn_detected"),
        ("cancelled", "client_cancelled"),
        ("incomplete", "max_output_tokens"),
        ("incomplete", "content_filter"),
    ],
)
def test_a_response_that_was_cut_says_so_in_done_and_is_no_error(case: Any, status: str, reason: str) -> None:
    generation = begin(case)
    details = p.ResponseStatusDetails(type=status, reason=reason)
    case.wire.reply(w.transcript("r1", "m1", "so f"), w.done("r1", status, details=details))
    result = generation.done.result(0)
    assert (result.status, result.status_details.reason) == (status, reason)
    assert metrics(case).cancelled is (status == "cancelled")
    assert case.emitted("error") == []
    (message,) = drain(generation.message_stream)
    assert drain(message.text_stream) == ["so f"]


def test_status_details_may_be_a_bare_string(case: Any) -> None:
    generation = begin(case)
    case.wire.reply(w.done("r1", "incomplete", details="max_tokens"))
    assert generation.done.result(0).status_details == "max_tokens"


def test_a_status_that_is_not_known_is_passed_on(case: Any) -> None:
    generation = begin(case)
    case.wire.reply(w.done("r1", "exploded"))
    assert generation.done.result(0).status == "exploded"
    assert case.emitted("error") == []


def test_a_response_done_without_created_is_ignored(case: Any) -> None:
    case.wire.reply(w.done("r1", "failed", details="x"))
    assert case.log == []


# -- superseded ---------------------------------------------------------------------------------------------


def test_a_new_response_ends_the_open_one_as_superseded(case: Any) -> None:
    first = begin(case, "r1")
    case.wire.reply(w.transcript("r1", "m1", "so f"))
    second = begin(case, "r2")
    result = first.done.result(0)
    assert (result.status, result.status_details.reason) == ("incomplete", "superseded")
    (message,) = drain(first.message_stream)
    assert drain(message.text_stream) == ["so f"]
    assert drain(message.audio_stream) == drain(first.function_stream) == []
    assert not second.done.done()
    assert case.said() == ["so f"]


def test_what_still_comes_of_a_superseded_response_is_ignored(case: Any) -> None:
    begin(case, "r1")
    second = begin(case, "r2")
    case.wire.reply(w.transcript("r1", "m1", "late"), w.done("r1", "failed", details="x"))
    assert case.emitted("metrics_collected") == case.emitted("error") == []
    assert not second.done.done()
    case.wire.reply(w.done("r2"))
    assert drain(second.message_stream) == []


def test_a_superseded_response_that_is_never_done_blocks_nobody(case: Any) -> None:
    begin(case, "r1")
    begin(case, "r2")
    case.reply()
    case.wire.reply(w.done("r2"))
    assert len(case.creates()) == 1


def test_an_out_of_band_response_supersedes_nothing_and_is_not_superseded(case: Any) -> None:
    first = begin(case, "r1")
    beside = case.reply(conversation="none")
    case.wire.reply(w.created("r2", case.creates()[0], conversation_id=None))
    begin(case, "r3")
    assert first.done.result(0).status_details.reason == "superseded"
    assert not beside.result(0).done.done()
    case.wire.reply(w.transcript("r2", "m2", "beside"), w.done("r2"))
    (message,) = drain(beside.result(0).message_stream)
    assert drain(message.text_stream) == ["beside"]


# -- stopping ------------------------------------------------------------------------------------------------


def test_interrupt_cancels_what_is_active(case: Any) -> None:
    generation = begin(case)
    case.session.interrupt()
    case.driver.run()
    assert case.cancels() == [{"type": "response.cancel"}]
    assert not generation.done.done()
    case.wire.reply(w.done("r1", "cancelled"))
    assert generation.done.result(0).status == "cancelled"


def test_interrupt_cancels_what_is_asked_for(case: Any) -> None:
    future = case.reply()
    case.session.interrupt()
    case.driver.run()
    assert case.cancels() == [{"type": "response.cancel"}]
    case.wire.reply(w.created("r1", case.creates()[0]), w.done("r1", "cancelled"))
    assert future.result(0).done.result(0).status == "cancelled"


def test_interrupt_sends_nothing_when_nothing_is_active(case: Any) -> None:
    case.session.interrupt()
    begin(case)
    case.wire.reply(w.done("r1"))
    case.session.interrupt()
    case.driver.run()
    assert case.cancels() == []


def test_a_waiting_request_survives_an_interrupt(case: Any) -> None:
    begin(case)
    future = case.reply()
    case.session.interrupt()
    case.driver.run()
    case.wire.reply(w.done("r1", "cancelled"))
    case.wire.reply(w.created("r2", case.creates()[0]))
    assert future.result(0).response_id == "r2"


def test_a_generation_is_cancelled_by_its_id(case: Any) -> None:
    generation = begin(case)
    generation.cancel()
    case.driver.run()
    assert case.cancels() == [{"type": "response.cancel", "response_id": "r1"}]


def test_an_out_of_band_generation_is_cancelled_by_its_id(case: Any) -> None:
    future = case.reply(conversation="none")
    case.wire.reply(w.created("r1", case.creates()[0]))
    future.result(0).cancel()
    case.driver.run()
    assert case.cancels() == [{"type": "response.cancel", "response_id": "r1"}]


def test_cancelling_a_generation_that_has_ended_is_harmless(case: Any) -> None:
    generation = begin(case)
    case.wire.reply(w.done("r1"))
    generation.cancel()
    case.driver.run()
    assert case.cancels() == []
    case.end()
    generation.cancel()


@pytest.mark.parametrize(
    "event",
    [
        w.error(None, "Cancellation failed: no active response found"),
        w.error("response_cancel_not_active", "Cancellation failed: no active response found"),
        w.error("response_cancel_not_active", "nothing to cancel"),
        w.error(None, "nothing to cancel", kind="response_cancel_not_active"),
        w.error("input_audio_buffer_commit_empty", "buffer too small"),
        w.error(None, "buffer too small", kind="input_audio_buffer_commit_empty"),
    ],
)
def test_what_is_no_error_emits_none(case: Any, event: Any) -> None:
    case.wire.reply(event)
    assert case.log == []
    assert case.session.state == "open"


def test_an_empty_commit_is_an_error_where_the_application_commits(make_case: Any) -> None:
    case = make_case(turn_detection=None)
    case.wire.reply(w.error("input_audio_buffer_commit_empty", "buffer too small"))
    assert len(case.emitted("error")) == 1


# -- has_active_generation -----------------------------------------------------------------------------------


def test_active_means_pending_waiting_or_running(case: Any) -> None:
    assert not case.active()
    case.reply()
    assert case.active()
    case.wire.reply(w.created("r1", case.creates()[0]))
    assert case.active()
    waiting = case.reply()
    case.wire.reply(w.done("r1"))
    assert case.active()
    case.wire.reply(w.created("r2", case.creates()[1]), w.done("r2"))
    assert waiting.done()
    assert not case.active()


def test_out_of_band_responses_count_as_active(case: Any) -> None:
    case.reply(conversation="none")
    assert case.active()
    case.wire.reply(w.created("r1", case.creates()[0]))
    assert case.active()
    case.wire.reply(w.done("r1"))
    assert not case.active()


def test_nothing_is_active_after_a_drop_or_the_end(case: Any) -> None:
    begin(case)
    case.wire.drop()
    assert not case.active()
    case.reply()
    assert case.active()
    case.end()
    assert not case.active()


# -- the session ends -------------------------------------------------------------------------------------------


def test_close_ends_streams_and_fails_done(case: Any) -> None:
    generation = begin(case)
    case.wire.reply(w.audio("r1", "m1"), w.transcript("r1", "m1", "so f"))
    message = generation.message_stream.get(0)
    case.end()
    assert drain(message.text_stream) == ["so f"]
    assert len(drain(message.audio_stream)) == 1
    assert drain(generation.message_stream) == drain(generation.function_stream) == []
    assert isinstance(generation.done.exception(0), RealtimeError)
    assert "session closed" in str(generation.done.exception(0))
    assert message.modalities.result(0) == ["audio", "text"]


def test_streams_end_as_soon_as_the_session_begins_to_close(case: Any) -> None:
    generation = begin(case)
    case.session._close_soon(5.0)
    case.driver.run()
    assert case.session.state == "open"
    assert generation.done.done()
    assert generation.message_stream.closed


def test_a_response_that_begins_while_the_session_closes_is_not_handed_out(case: Any) -> None:
    case.session._close_soon(5.0)
    case.driver.run()
    case.wire.reply(w.created("r1"), w.transcript("r1", "m1", "hey"))
    assert case.emitted("generation_created") == []


@pytest.mark.parametrize("code", sorted(FATAL_CODES))
@pytest.mark.parametrize("in_type", [False, True])
def test_fatal_codes_end_the_session_wherever_they_stand(case: Any, code: str, in_type: bool) -> None:
    generation = begin(case)
    case.wire.reply(
        w.error(None, "over", kind=code) if in_type else w.error(code, "over", kind="server_error")
    )
    (payload,) = case.emitted("error")
    assert not payload.recoverable
    assert "over" in str(payload.error)
    assert case.session.state == "closed"
    assert isinstance(generation.done.exception(0), RealtimeError)
    assert "over" in str(generation.done.exception(0))
    case.driver.advance(60)
    assert not case.driver.dialling
    assert "over" in str(case.session.generate_reply().exception(0))


def test_the_fatal_codes_are_those_of_the_contract() -> None:
    assert set(FATAL_CODES) == {
        "insufficient_quota",
        "credit_balance_exhausted",
        "invalid_api_key",
        "account_deactivated",
        "billing_hard_limit_reached",
    }


@pytest.mark.parametrize("code", ["server_error", "rate_limit_exceeded", None])
def test_other_errors_leave_the_session_open(case: Any, code: str | None) -> None:
    generation = begin(case)
    case.wire.reply(w.error(code, "hm"))
    (payload,) = case.emitted("error")
    assert payload.recoverable
    assert case.session.state == "open"
    assert not generation.done.done()


def test_a_fatal_code_for_a_request_is_fatal_too(case: Any) -> None:
    future = case.reply()
    case.wire.reply(w.error("insufficient_quota", "no money", event_id=case.creates()[0]["event_id"]))
    assert "no money" in str(future.exception(0))
    assert [payload.recoverable for payload in case.emitted("error")] == [False]


# -- truncate ---------------------------------------------------------------------------------------------------


def spoken(case: Any, ms: int = 1000, item_id: str = "m1", index: int = 1) -> None:
    """A spoken message of so many milliseconds, whose audio is part number `index`."""
    parts = [p.ContentPart(type="output_text", text="") for _ in range(index)]
    parts.append(p.ContentPart(type="output_audio", transcript=""))
    item = p.MessageItem(id=item_id, role="assistant", content=parts)
    begin(case)
    case.wire.reply(
        w.item_added(item),
        w.output_added("r1", w.message(item_id)),
        w.part_added("r1", item_id, "audio", index),
        w.audio("r1", item_id, [0] * (24 * ms), index),
        w.transcript("r1", item_id, "0123456789"),
    )


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize(("asked", "sent"), [(400, 400), (1000, 1000), (5000, 1000)])
def test_audio_is_truncated_in_its_part_and_never_beyond_what_came(
    case: Any, finished: bool, asked: int, sent: int
) -> None:
    spoken(case)
    if finished:
        case.wire.reply(w.done("r1"))
    case.session.truncate("m1", ["audio", "text"], asked)
    case.driver.run()
    assert case.wire.sent == [
        {
            "type": "conversation.item.truncate",
            "item_id": "m1",
            "content_index": 1,
            "audio_end_ms": sent,
        }
    ]


def test_truncating_to_nothing_deletes_the_message(case: Any) -> None:
    spoken(case)
    case.wire.reply(w.done("r1"))
    case.session.truncate("m1", ["audio"], 0)
    case.driver.run()
    (event,) = case.wire.sent
    assert (event["type"], event["item_id"]) == ("conversation.item.delete", "m1")


@pytest.mark.parametrize(("transcript", "left"), [("0123 heard", "0123 heard"), (None, "0123")])
def test_the_mirror_holds_what_was_heard_once_the_server_says_so(
    case: Any, transcript: str | None, left: str
) -> None:
    spoken(case)
    case.session.truncate("m1", ["audio"], 400, **({"audio_transcript": transcript} if transcript else {}))
    case.driver.run()
    case.wire.reply(p.ConversationItemTruncated(item_id="m1", content_index=1, audio_end_ms=400))
    case.wire.reply(w.done("r1", "cancelled"))
    assert case.said() == [left]


def test_the_text_of_a_written_message_is_rewritten(text_case: Any) -> None:
    begin(text_case)
    text_case.wire.reply(w.item_added(w.message("m1")), w.text("r1", "m1", "all of it"), w.done("r1"))
    text_case.session.truncate("m1", ["text"], 0, "all of")
    text_case.driver.run()
    assert text_case.wire.types == ["conversation.item.delete", "conversation.item.create"]
    assert text_case.wire.sent[1]["item"]["content"][0]["text"] == "all of"


def test_without_a_transcript_text_stays_as_it_is(text_case: Any) -> None:
    begin(text_case)
    text_case.wire.reply(w.item_added(w.message("m1")), w.text("r1", "m1", "all of it"), w.done("r1"))
    text_case.session.truncate("m1", ["text"], 0)
    text_case.driver.run()
    assert text_case.wire.sent == []


def test_a_message_without_audio_is_not_truncated(case: Any) -> None:
    begin(case)
    case.wire.reply(w.item_added(w.message("m1")), w.text("r1", "m1", "written"), w.done("r1"))
    case.session.truncate("m1", ["audio"], 100)
    case.driver.run()
    assert case.wire.sent == []


def test_a_message_that_is_not_known_is_truncated_as_asked(case: Any) -> None:
    case.session.truncate("m9", ["audio"], 1234)
    case.driver.run()
    assert (case.wire.sent[0]["item_id"], case.wire.sent[0]["audio_end_ms"]) == ("m9", 1234)
