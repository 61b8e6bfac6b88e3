"""What a generation hands out while it is made, also by servers that speak less of the protocol (contract §6)."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import wire as w
from wire import drain

import antiphon.protocol as p
from antiphon import TimedString


def begin(case: Any, response_id: str = "r1") -> Any:
    """A response that nobody asked for, and what the application gets of it."""
    case.wire.reply(w.created(response_id))
    return case.emitted("generation_created")[-1]


def messages(generation: Any) -> list[Any]:
    """The messages that are there, of a generation that has ended."""
    return drain(generation.message_stream)


# -- messages -------------------------------------------------------------------------------------------


def test_a_spoken_message_has_frames_and_a_transcript(case: Any) -> None:
    generation = begin(case)
    case.wire.reply(
        w.output_added("r1", w.message("m1")),
        w.part_added("r1", "m1", "audio"),
        w.transcript("r1", "m1", "Good "),
        w.audio("r1", "m1", [1, -2]),
        w.transcript("r1", "m1", "day"),
        w.audio("r1", "m1", [3]),
    )
    message = generation.message_stream.get(0)
    assert message.message_id == "m1"
    assert message.modalities.result(0) == ["audio", "text"]
    assert [message.text_stream.get(0), message.text_stream.get(0)] == ["Good ", "day"]
    frames = [message.audio_stream.get(0), message.audio_stream.get(0)]
    assert [frame.data.tolist() for frame in frames] == [[1, -2], [3]]
    assert {(frame.sample_rate, frame.num_channels) for frame in frames} == {(24_000, 1)}
    assert not message.text_stream.closed
    assert not message.audio_stream.closed


@pytest.mark.parametrize("name", ["g711_ulaw", "g711_alaw"])
def test_telephone_audio_is_decoded_at_its_own_rate(make_case: Any, name: str) -> None:
    case = make_case(output_audio_format=name)
    generation = begin(case)
    delta = p.ResponseOutputAudioDelta(response_id="r1", item_id="m1", delta="gAAA")
    case.wire.reply(delta)
    frame = generation.message_stream.get(0).audio_stream.get(0)
    assert frame.sample_rate == 8_000
    assert frame.data.size == 3


def test_a_messages_streams_end_with_the_message(case: Any) -> None:
    generation = begin(case)
    case.wire.reply(
        w.output_added("r1", w.message("m1")),
        w.audio("r1", "m1"),
        w.transcript("r1", "m1", "hey"),
        w.output_done("r1", w.message("m1", "hey", kind="output_audio")),
    )
    message = generation.message_stream.get(0)
    assert message.text_stream.closed
    assert message.audio_stream.closed
    assert drain(message.text_stream) == ["hey"]
    assert len(drain(message.audio_stream)) == 1
    assert not generation.message_stream.closed


def test_all_streams_end_with_the_response(case: Any) -> None:
    generation = begin(case)
    case.wire.reply(w.audio("r1", "m1"), w.transcript("r1", "m1", "hey"), w.done("r1"))
    (message,) = messages(generation)
    assert list(message.text_stream) == ["hey"]
    assert len(list(message.audio_stream)) == 1
    assert list(generation.function_stream) == []
    assert list(generation.message_stream) == []


def test_what_comes_after_a_message_is_done_does_not_reach_its_streams(case: Any) -> None:
    generation = begin(case)
    case.wire.reply(
        w.transcript("r1", "m1", "a"),
        w.output_done("r1", w.message("m1", "a", kind="output_audio")),
        w.transcript("r1", "m1", "b"),
        w.audio("r1", "m1"),
        w.done("r1"),
    )
    (message,) = messages(generation)
    assert drain(message.text_stream) == ["a"]
    assert drain(message.audio_stream) == []


def test_several_messages_and_calls_of_one_response_each_get_their_own(case: Any) -> None:
    generation = begin(case)
    case.wire.reply(
        w.output_added("r1", w.message("m1")),
        w.transcript("r1", "m1", "one"),
        w.output_added("r1", w.call("c1", "call_1", arguments="")),
        w.output_added("r1", w.message("m2")),
        w.transcript("r1", "m2", "two"),
        w.transcript("r1", "m1", "!"),
        w.output_done("r1", w.call("c1", "call_1", "look", '{"at": 1}')),
        w.output_added("r1", w.call("c2", "call_2", arguments="")),
        w.output_done("r1", w.call("c2", "call_2", "touch")),
        w.done("r1"),
    )
    assert [(m.message_id, drain(m.text_stream)) for m in messages(generation)] == [
        ("m1", ["one", "!"]),
        ("m2", ["two"]),
    ]
    calls = drain(generation.function_stream)
    assert [(c.call_id, c.name, c.arguments, c.id) for c in calls] == [
        ("call_1", "look", '{"at": 1}', "c1"),
        ("call_2", "touch", "{}", "c2"),
    ]


def test_text_deltas_carry_their_time_when_there_is_one(case: Any) -> None:
    generation = begin(case)
    case.wire.reply(w.transcript("r1", "m1", "with", 1.5), w.transcript("r1", "m1", "without"), w.done("r1"))
    timed, plain = drain(messages(generation)[0].text_stream)
    assert isinstance(timed, TimedString)
    assert (timed, timed.start_time) == ("with", 1.5)
    assert plain == "without"
    assert not isinstance(plain, TimedString)


def test_written_text_carries_its_time_too(text_case: Any) -> None:
    generation = begin(text_case)
    text_case.wire.reply(w.text("r1", "m1", "now", 0.0), w.done("r1"))
    (piece,) = drain(messages(generation)[0].text_stream)
    assert piece.start_time == 0.0


@pytest.mark.parametrize("garbage", ["***", "AAA=A", "AAAA"])
def test_audio_that_cannot_be_read_costs_only_itself(
    case: Any, garbage: str, caplog: pytest.LogCaptureFixture
) -> None:
    generation = begin(case)
    # "AAAA" is three bytes: one sample and a half.
    bad = p.ResponseOutputAudioDelta(response_id="r1", item_id="m1", delta=garbage)
    with caplog.at_level(logging.WARNING, "antiphon.generation"):
        case.wire.reply(bad, bad, w.audio("r1", "m1", [5]), w.done("r1"))
    (message,) = messages(generation)
    assert [frame.data.tolist() for frame in drain(message.audio_stream)] == [[5]]
    assert len(caplog.records) == 1
    assert case.emitted("actor_restarted") == []


def test_the_events_of_the_beta_api_do_the_same(case: Any) -> None:
    begin_event = {"type": "response.created", "response": {"id": "r1", "object": "realtime.response"}}
    case.wire.reply(
        begin_event,
        {"type": "response.audio.delta", "response_id": "r1", "item_id": "m1", "delta": "AQA="},
        {"type": "response.audio_transcript.delta", "response_id": "r1", "item_id": "m1", "delta": "a"},
        {"type": "response.text.delta", "response_id": "r1", "item_id": "m2", "delta": "b"},
        w.done("r1"),
    )
    spoken, written = messages(case.emitted("generation_created")[0])
    assert drain(spoken.audio_stream)[0].data.tolist() == [1]
    assert drain(spoken.text_stream) == ["a"]
    assert drain(written.text_stream) == ["b"]


# -- modalities -------------------------------------------------------------------------------------------


def test_an_audio_part_resolves_modalities(case: Any) -> None:
    generation = begin(case)
    case.wire.reply(w.output_added("r1", w.message("m1")))
    message = generation.message_stream.get(0)
    assert not message.modalities.done()
    case.wire.reply(w.part_added("r1", "m1", "audio"))
    assert message.modalities.result(0) == ["audio", "text"]


def test_an_audio_delta_resolves_modalities(case: Any) -> None:
    generation = begin(case)
    case.wire.reply(w.audio("r1", "m1"))
    assert generation.message_stream.get(0).modalities.result(0) == ["audio", "text"]


def test_a_transcript_alone_does_not_resolve_modalities(case: Any) -> None:
    generation = begin(case)
    case.wire.reply(w.transcript("r1", "m1", "hey"))
    assert not generation.message_stream.get(0).modalities.done()


def test_modalities_that_nothing_announced_are_the_configured_ones(case: Any) -> None:
    generation = begin(case)
    case.wire.reply(w.output_added("r1", w.message("m1")), w.done("r1"))
    assert messages(generation)[0].modalities.result(0) == ["text", "audio"]


@pytest.mark.parametrize("first", [w.part_added("r1", "m1", "text"), w.text("r1", "m1", "he")])
def test_text_in_an_audio_session_is_delivered_and_warned_about_once(
    case: Any, first: Any, caplog: pytest.LogCaptureFixture
) -> None:
    generation = begin(case)
    with caplog.at_level(logging.WARNING, "antiphon.generation"):
        case.wire.reply(first, w.text("r1", "m1", "llo"), w.text("r1", "m1", "!"))
    message = generation.message_stream.get(0)
    assert message.modalities.result(0) == ["text"]
    case.wire.reply(w.done("r1"))
    assert "".join(drain(message.text_stream)).endswith("llo!")
    assert drain(message.audio_stream) == []
    assert len([record for record in caplog.records if "audio session" in record.message]) == 1


def test_a_text_sessions_messages_are_text_from_the_start(
    text_case: Any, caplog: pytest.LogCaptureFixture
) -> None:
    generation = begin(text_case)
    with caplog.at_level(logging.WARNING, "antiphon.generation"):
        text_case.wire.reply(w.output_added("r1", w.message("m1")))
        message = generation.message_stream.get(0)
        assert message.modalities.result(0) == ["text"]
        assert drain(message.audio_stream) == []
        text_case.wire.reply(w.text("r1", "m1", "hi"), w.done("r1"))
    assert drain(message.text_stream) == ["hi"]
    assert caplog.records == []


# -- calls --------------------------------------------------------------------------------------------------


def test_a_call_comes_when_its_item_is_done_and_only_then(case: Any) -> None:
    generation = begin(case)
    case.wire.reply(
        w.output_added("r1", w.call("c1", "call_1", arguments="")), w.arguments_done("r1", "c1", "call_1")
    )
    with pytest.raises(TimeoutError):
        generation.function_stream.get(0)
    case.wire.reply(w.output_done("r1", w.call("c1", "call_1", "look", '{"final": 1}')))
    assert generation.function_stream.get(0).arguments == '{"final": 1}'
    case.wire.reply(w.done("r1", output=[w.call("c1", "call_1")]))
    assert drain(generation.function_stream) == []


def test_a_call_seen_only_in_its_arguments_comes_at_once_and_once(case: Any) -> None:
    generation = begin(case)
    case.wire.reply(w.arguments_done("r1", "", "call_1", "look", '{"a": 1}'))
    call = generation.function_stream.get(0)
    assert (call.call_id, call.name, call.arguments) == ("call_1", "look", '{"a": 1}')
    case.wire.reply(
        w.arguments_done("r1", "", "call_1", "look", '{"a": 1}'),
        w.output_done("r1", w.call("c1", "call_1")),
        w.done("r1", output=[w.call("c1", "call_1")]),
    )
    assert drain(generation.function_stream) == []


def test_two_calls_without_item_ids_are_two(case: Any) -> None:
    generation = begin(case)
    case.wire.reply(w.arguments_done("r1", "", "call_1"), w.arguments_done("r1", "", "call_2"), w.done("r1"))
    assert [call.call_id for call in drain(generation.function_stream)] == ["call_1", "call_2"]


def test_a_call_whose_arguments_come_without_its_call_id_comes_once(case: Any) -> None:
    generation = begin(case)
    case.wire.reply(
        w.arguments_done("r1", "c1", ""), w.output_done("r1", w.call("c1", "call_1")), w.done("r1")
    )
    assert len(drain(generation.function_stream)) == 1


def test_an_announced_call_whose_item_is_never_done_comes_with_the_response(case: Any) -> None:
    generation = begin(case)
    case.wire.reply(
        w.output_added("r1", w.call("c1", "call_1", "look", arguments="")),
        w.arguments_done("r1", "c1", "", "", '{"a": 1}'),
        w.done("r1"),
    )
    (call,) = drain(generation.function_stream)
    assert (call.call_id, call.name, call.arguments) == ("call_1", "look", '{"a": 1}')


def test_a_call_without_a_name_waits_for_it_only_if_its_item_was_announced(case: Any) -> None:
    generation = begin(case)
    end = (w.arguments_done("r1", "c1", "call_1", ""), w.output_done("r1", w.call("c1", "call_1", "look")))
    case.wire.reply(*end)
    assert generation.function_stream.get(0).name == ""
    second = begin(case, "r2")
    case.wire.reply(w.output_added("r2", w.call("c2", "call_2", "look", "")))
    case.wire.reply(w.arguments_done("r2", "c2", "call_2", ""))
    with pytest.raises(TimeoutError):
        second.function_stream.get(0)
    case.wire.reply(w.output_done("r2", w.call("c2", "call_2", "look")))
    assert second.function_stream.get(0).name == "look"
    case.wire.reply(w.done("r1"))
    assert drain(generation.function_stream) == []


def test_a_call_seen_only_in_response_done_comes(case: Any) -> None:
    generation = begin(case)
    case.wire.reply(w.done("r1", output=[w.call("c1", "call_1", "look", '{"a": 1}')]))
    (call,) = drain(generation.function_stream)
    assert (call.call_id, call.id, call.arguments) == ("call_1", "c1", '{"a": 1}')


def test_a_call_that_was_cut_off_is_no_call(case: Any) -> None:
    generation = begin(case)
    half = w.call("c1", "call_1", "look", '{"a": ', status="incomplete")
    case.wire.reply(
        w.output_added("r1", w.call("c1", "call_1", arguments="")),
        w.arguments_done("r1", "c1", "call_1", "look", '{"a": '),
        w.output_done("r1", half),
        w.done("r1", "cancelled", output=[half]),
    )
    assert drain(generation.function_stream) == []


# -- servers that speak less of the protocol -------------------------------------------------------------------


def test_a_delta_opens_its_message(case: Any) -> None:
    generation = begin(case)
    case.wire.reply(w.audio("r1", "m1"), w.transcript("r1", "m2", "hey"))
    assert [generation.message_stream.get(0).message_id for _ in range(2)] == ["m1", "m2"]


def test_deltas_without_a_response_id_are_the_active_ones(case: Any) -> None:
    generation = begin(case)
    case.wire.reply(
        w.output_added("", w.message("m1")),
        w.part_added("", "m1", "audio"),
        w.audio("", "m1"),
        w.transcript("", "m1", "hey"),
        w.arguments_done("", "c1", "call_1"),
        w.done(""),
    )
    (message,) = messages(generation)
    assert drain(message.text_stream) == ["hey"]
    assert [call.call_id for call in drain(generation.function_stream)] == ["call_1"]
    assert generation.done.result(0).status == "completed"
    case.reply()
    assert len(case.creates()) == 1


def test_responses_without_any_id_follow_each_other(case: Any) -> None:
    for number in range(3):
        future = case.reply()
        case.wire.reply(w.created(""), w.transcript("", "m", str(number)), w.done(""))
        (message,) = messages(future.result(0))
        assert drain(message.text_stream) == [str(number)]
    assert len(case.creates()) == 3


def test_a_message_seen_only_in_response_done_is_handed_out(case: Any) -> None:
    generation = begin(case)
    case.wire.reply(w.done("r1", output=[w.message("m1", "all of it", kind="output_audio")]))
    (message,) = messages(generation)
    assert drain(message.text_stream) == ["all of it"]
    assert message.modalities.result(0) == ["text", "audio"]
    assert case.said() == ["all of it"]


def test_a_message_never_announced_enters_the_mirror_at_response_done(case: Any) -> None:
    begin(case)
    case.wire.reply(w.transcript("r1", "m1", "so "), w.transcript("r1", "m1", "it is"))
    assert case.said() == []
    case.wire.reply(w.done("r1"))
    assert case.said() == ["so it is"]


def test_a_call_never_announced_enters_the_mirror_at_response_done(case: Any) -> None:
    begin(case)
    case.wire.reply(w.arguments_done("r1", "c1", "call_1", "look", '{"a": 1}'), w.done("r1"))
    (item,) = case.driver.call(lambda: case.session.chat_ctx).items
    assert (item.type, item.id, item.call_id, item.name) == ("function_call", "c1", "call_1", "look")


def test_an_announced_call_is_in_the_mirror_once(case: Any) -> None:
    begin(case)
    final = w.call("c1", "call_1", "look", '{"a": 1}')
    case.wire.reply(
        w.item_added(w.call("c1", "call_1", "look", "")),
        w.output_added("r1", w.call("c1", "call_1", "look", "")),
        w.output_done("r1", final),
        w.done("r1", output=[final]),
    )
    (item,) = case.driver.call(lambda: case.session.chat_ctx).items
    assert item.arguments == '{"a": 1}'


def test_a_message_never_announced_can_be_truncated(case: Any) -> None:
    begin(case)
    case.wire.reply(w.audio("r1", "m1", np.zeros(2400)), w.transcript("r1", "m1", "long"), w.done("r1"))
    case.session.truncate("m1", ["audio"], 500)
    case.driver.run()
    (sent,) = case.wire.of_type("conversation.item.truncate")
    assert (sent["item_id"], sent["audio_end_ms"]) == ("m1", 100)


def test_the_transcript_is_the_mirrors_text_once(case: Any) -> None:
    begin(case)
    case.wire.reply(
        w.item_added(w.message("m1")),
        w.output_added("r1", w.message("m1")),
        w.transcript("r1", "m1", "Good day"),
        w.output_done("r1", w.message("m1", "Good day", kind="output_audio")),
        w.done("r1", output=[w.message("m1", "Good day", kind="output_audio")]),
    )
    assert case.said() == ["Good day"]


# -- events of responses that are not known ------------------------------------------------------------------------


@pytest.mark.parametrize("response_id", ["r9", ""])
def test_deltas_of_unknown_responses_are_ignored(case: Any, response_id: str) -> None:
    case.wire.reply(
        w.output_added(response_id, w.message("m1")),
        w.part_added(response_id, "m1", "audio"),
        w.audio(response_id, "m1"),
        w.transcript(response_id, "m1", "hey"),
        w.text(response_id, "m1", "hey"),
        w.arguments_done(response_id, "c1", "call_1"),
        w.output_done(response_id, w.call("c1", "call_1")),
        w.done(response_id),
    )
    assert case.log == []
    assert not case.active()
    assert case.session._actors.strand.actor("generation").core.ignored == 8


def test_late_deltas_of_a_finished_response_are_ignored(case: Any) -> None:
    generation = begin(case)
    case.wire.reply(w.transcript("r1", "m1", "a"), w.done("r1"))
    case.wire.reply(w.transcript("r1", "m1", "b"), w.transcript("r1", "m2", "c"))
    (message,) = messages(generation)
    assert drain(message.text_stream) == ["a"]
    assert case.said() == ["a"]


def test_events_of_an_unknown_response_do_not_reach_the_active_one(case: Any) -> None:
    generation = begin(case)
    case.wire.reply(w.transcript("r9", "m9", "x"), w.done("r9"), w.transcript("r1", "m1", "a"))
    assert generation.message_stream.get(0).message_id == "m1"
    assert not generation.done.done()


def test_a_response_that_is_announced_twice_is_one(case: Any) -> None:
    generation = begin(case)
    case.wire.reply(w.created("r1"), w.transcript("r1", "m1", "a"), w.done("r1"))
    assert len(case.emitted("generation_created")) == 1
    assert generation.done.result(0).status == "completed"
    assert len(messages(generation)) == 1


def test_a_discarded_response_that_is_announced_twice_stays_discarded(case: Any) -> None:
    case.reply().cancel()
    case.driver.run()
    create = case.creates()[0]
    case.wire.reply(w.created("r1", create), w.created("r1", create))
    assert case.log == []
    assert len(case.cancels()) == 2


def test_a_second_done_is_ignored(case: Any) -> None:
    begin(case)
    case.wire.reply(w.done("r1"), w.done("r1", "failed", details="late"))
    assert case.names() == ["generation_created", "metrics_collected"]


def test_an_item_that_is_announced_twice_is_one_message(case: Any) -> None:
    generation = begin(case)
    case.wire.reply(
        w.output_added("r1", w.message("m1")), w.output_added("r1", w.message("m1")), w.done("r1")
    )
    assert len(messages(generation)) == 1
