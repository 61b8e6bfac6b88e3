"""§6, responses: streams, calls, ends, metrics, and truncation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
import wire as w
from contract_line import PATIENCE, Line, drain
from scripted_server import ScriptedServer

import antiphon.protocol as p
from antiphon import FunctionCall, RealtimeError, decode_alaw, function_tool

Dial = Callable[..., Line]
SECOND = np.arange(24_000, dtype=np.int16)


def begin(line: Line, response_id: str = "r1", *events: Any) -> Any:
    """A response that nobody asked for, and what the application gets of it."""
    known = len(line.of("generation_created"))
    line.peer.send(w.created(response_id))
    for event in events:
        line.peer.send(event)
    generation = line.wait("generation_created", known + 1)
    line.heard()
    return generation


def send(line: Line, *events: Any) -> None:
    for event in events:
        line.peer.send(event)
    line.heard()


# -- streams ------------------------------------------------------------------------------------------


def test_a_spoken_message(line: Line) -> None:
    generation = begin(
        line,
        "r1",
        w.output_added("r1", w.message("m1")),
        w.part_added("r1", "m1", "audio"),
        w.audio("r1", "m1", [1, 2]),
        w.transcript("r1", "m1", "Hel", start_time=0.5),
        w.transcript("r1", "m1", "lo."),
        w.audio("r1", "m1", [3]),
    )
    message = generation.message_stream.get(PATIENCE)
    assert message.message_id == "m1"
    assert message.modalities.result(0) == ["audio", "text"]
    frames = [message.audio_stream.get(0) for _ in range(2)]
    assert [frame.data.tolist() for frame in frames] == [[1, 2], [3]]
    assert {(frame.sample_rate, frame.num_channels) for frame in frames} == {(24_000, 1)}
    texts = [message.text_stream.get(0) for _ in range(2)]
    assert texts == ["Hel", "lo."]
    assert [getattr(text, "start_time", None) for text in texts] == [0.5, None]
    with pytest.raises(TimeoutError):
        message.text_stream.get(0)
    assert not message.text_stream.closed
    send(line, w.output_done("r1", w.message("m1", "Hello.", kind="output_audio")))
    assert message.text_stream.closed
    assert message.audio_stream.closed
    assert not generation.message_stream.closed
    send(line, w.done("r1"))
    assert drain(generation.message_stream) == drain(generation.function_stream) == []


def test_audio_in_the_telephones_format_is_decoded(dial: Dial) -> None:
    line = dial(output_audio_format="g711_alaw")
    generation = begin(line)
    send(line, p.ResponseOutputAudioDelta(response_id="r1", item_id="m1", delta="AAECAw=="))
    send(line, w.done("r1"))
    (frame,) = drain(generation.message_stream.get(0).audio_stream)
    assert frame.sample_rate == 8_000
    assert frame.data.tolist() == decode_alaw(bytes([0, 1, 2, 3])).tolist()


def test_several_messages_and_calls_each_get_their_own(line: Line) -> None:
    generation = begin(
        line,
        "r1",
        w.output_added("r1", w.message("m1")),
        w.output_added("r1", w.message("m2")),
        w.transcript("r1", "m1", "a"),
        w.transcript("r1", "m2", "b"),
        w.output_added("r1", w.call("c1", "call_1", arguments="", status="in_progress")),
        w.transcript("r1", "m1", "c"),
        w.output_added("r1", w.call("c2", "call_2", arguments="", status="in_progress")),
        w.output_done("r1", w.call("c1", "call_1", arguments='{"n":1}')),
        w.output_done("r1", w.call("c2", "call_2", arguments='{"n":2}')),
        w.done("r1"),
    )
    assert [
        (one.message_id, "".join(drain(one.text_stream))) for one in drain(generation.message_stream)
    ] == [
        ("m1", "ac"),
        ("m2", "b"),
    ]
    calls = drain(generation.function_stream)
    assert [(one.call_id, one.name, one.arguments) for one in calls] == [
        ("call_1", "look", '{"n":1}'),
        ("call_2", "look", '{"n":2}'),
    ]


def test_a_call_is_handed_out_once_and_when_its_item_is_done(line: Line) -> None:
    generation = begin(
        line,
        "r1",
        w.output_added("r1", w.call("c1", "call_1", arguments="", status="in_progress")),
        w.arguments_done("r1", "c1", "call_1"),
    )
    with pytest.raises(TimeoutError):
        generation.function_stream.get(0)
    send(line, w.output_done("r1", w.call("c1", "call_1")))
    assert generation.function_stream.get(0).call_id == "call_1"
    send(line, w.done("r1", output=[w.call("c1", "call_1")]))
    assert drain(generation.function_stream) == []


@pytest.mark.parametrize("announced", [True, False])
def test_a_call_known_only_by_its_arguments(line: Line, announced: bool) -> None:
    item = w.call("c1", "call_1", arguments="", status="in_progress")
    generation = begin(
        line,
        "r1",
        *([w.output_added("r1", item)] if announced else []),
        w.arguments_done("r1", "c1", "call_1", arguments='{"n":1}'),
    )
    if not announced:
        assert generation.function_stream.get(0).arguments == '{"n":1}'
        assert not generation.function_stream.closed
    send(line, w.done("r1"))
    left = drain(generation.function_stream)
    assert [one.arguments for one in left] == (['{"n":1}'] if announced else [])


def test_a_call_without_a_name_is_handed_out_at_once_too(line: Line) -> None:
    generation = begin(line, "r1", w.arguments_done("r1", "c1", "call_1", name="", arguments='{"n":1}'))
    call = generation.function_stream.get(0)
    assert (call.call_id, call.name, call.arguments) == ("call_1", "", '{"n":1}')
    send(line, w.output_done("r1", w.call("c1", "call_1", arguments='{"n":1}')), w.done("r1"))
    assert drain(generation.function_stream) == []


@pytest.mark.parametrize("named", ["in its item", "when the response is done", "never"])
def test_a_call_without_a_name_is_run_when_its_name_is_known(line: Line, named: str) -> None:
    @function_tool
    def look(place: str) -> str:
        """Look."""
        return f"seen: {place}"

    line.session.update_tools([look], auto_execute=True)
    line.peer.expect("session.update")
    arguments = '{"place":"sea"}'
    item = w.call("c1", "call_1", "look", arguments)
    begin(line, "r1", w.arguments_done("r1", "c1", "call_1", name="", arguments=arguments))
    assert line.sent() == []
    if named == "in its item":
        send(line, w.output_done("r1", item))
    else:
        send(line, w.done("r1", output=[item] if named != "never" else []))
    output = line.peer.expect_item()["item"]
    assert output["call_id"] == "call_1"
    assert output["output"].startswith("Error: there is no tool" if named == "never" else "seen: sea")
    if named == "in its item":
        send(line, w.done("r1", output=[item]))
    assert [event["type"] for event in line.sent()] == ["response.create"]
    (call,) = (one for one in line.session.chat_ctx.items if isinstance(one, FunctionCall))
    assert call.name == ("" if named == "never" else "look")


@pytest.mark.parametrize("where", ["delta", "done"])
def test_a_message_that_was_never_announced(line: Line, where: str) -> None:
    generation = begin(line)
    if where == "delta":
        send(line, w.transcript("r1", "m1", "Hello."), w.done("r1"))
    else:
        send(line, w.done("r1", output=[w.message("m1", "Hello.", kind="output_audio")]))
    (message,) = drain(generation.message_stream)
    assert message.message_id == "m1"
    assert [item.id for item in line.session.chat_ctx.items] == ["m1"]
    assert [item.text_content for item in line.session.chat_ctx.items] == ["Hello."]


def test_the_names_of_the_beta_api(line: Line) -> None:
    generation = begin(line)
    place = {"response_id": "r1", "item_id": "m1", "output_index": 0, "content_index": 0}
    line.peer.send("response.audio.delta", delta="AQACAA==", **place)
    line.peer.send("response.audio_transcript.delta", delta="Hello.", **place)
    line.peer.send("response.text.delta", delta=" Written.", **place)
    line.peer.send("response.audio.done", **place)
    line.peer.send("response.audio_transcript.done", transcript="Hello.", **place)
    send(line, w.done("r1"))
    message = generation.message_stream.get(0)
    assert [frame.data.tolist() for frame in drain(message.audio_stream)] == [[1, 2]]
    assert "".join(drain(message.text_stream)) == "Hello. Written."
    raw = [event["type"] for event in line.of("openai_server_event_received")]
    assert "response.output_audio.delta" in raw
    assert "response.audio.delta" not in raw


def test_what_belongs_to_no_known_response_is_ignored(line: Line) -> None:
    line.heard()
    line.events.clear()
    send(
        line,
        w.audio("unknown", "m1"),
        w.transcript("unknown", "m1", "x"),
        w.output_done("unknown", w.call("c1", "call_1")),
        w.done("unknown", "failed"),
    )
    assert {name for name, _ in line.events} == {"openai_server_event_received"}
    generation = begin(line, "r1", w.transcript("unknown", "m1", "x"), w.done("r1"))
    assert drain(generation.message_stream) == []
    send(line, w.transcript("r1", "m1", "too late"), w.done("r1"))
    assert len(line.of("metrics_collected")) == 1


def test_streams_that_nobody_reads_hold_up_nothing(line: Line) -> None:
    generation = begin(line, "r1", *(w.audio("r1", "m1", SECOND[:2400]) for _ in range(100)))
    send(line, w.done("r1"))
    assert len(drain(generation.message_stream.get(0).audio_stream)) == 100


def test_with_playback_audio_is_held_once(line: Line) -> None:
    playback = line.session.playback
    generation = begin(line, "r1", w.audio("r1", "m1", [5, 6, 7]))
    message = generation.message_stream.get(0)
    send(line, w.done("r1"))
    assert playback.read(3).tolist() == [5, 6, 7]
    assert drain(message.audio_stream) == []


def test_with_playback_a_stream_that_was_taken_gets_what_comes_then(line: Line) -> None:
    assert line.session.playback is line.session.playback
    generation = begin(line, "r1", w.output_added("r1", w.message("m1")))
    stream = generation.message_stream.get(0).audio_stream
    send(line, w.audio("r1", "m1", [5, 6, 7]), w.done("r1"))
    assert [frame.data.tolist() for frame in drain(stream)] == [[5, 6, 7]]


# -- modalities -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "resolved"),
    [
        ([w.part_added("r1", "m1", "audio")], True),
        ([w.part_added("r1", "m1", "text")], True),
        ([w.audio("r1", "m1")], True),
        ([w.transcript("r1", "m1", "a")], False),
    ],
)
def test_modalities_resolve_at_the_first_part_or_audio(line: Line, events: list[Any], resolved: bool) -> None:
    generation = begin(line, "r1", w.output_added("r1", w.message("m1")), *events)
    message = generation.message_stream.get(0)
    assert message.modalities.done() is resolved
    send(line, w.done("r1"))
    spoken = events[0] != w.part_added("r1", "m1", "text")
    assert ("audio" in message.modalities.result(0)) is spoken
    if not resolved:
        assert sorted(message.modalities.result(0)) == ["audio", "text"]


def test_text_in_an_audio_session_is_delivered_and_warned_about(line: Line, caplog: Any) -> None:
    generation = begin(line, "r1", w.text("r1", "m1", "Hi"), w.text("r1", "m1", "!"))
    send(line, w.done("r1"))
    assert "".join(drain(generation.message_stream.get(0).text_stream)) == "Hi!"
    assert sum("text came in an audio session" in record.message for record in caplog.records) == 1


def test_a_text_sessions_messages_are_text_from_the_start(dial: Dial) -> None:
    line = dial(modalities=["text"])
    generation = begin(line, "r1", w.output_added("r1", w.message("m1")))
    message = generation.message_stream.get(0)
    assert message.modalities.result(0) == ["text"]
    assert message.audio_stream.closed
    send(line, w.text("r1", "m1", "Hi", start_time=1.5), w.done("r1"))
    assert [text.start_time for text in drain(message.text_stream)] == [1.5]


def test_a_spoken_reply_in_a_text_session(dial: Dial) -> None:
    line = dial(modalities=["text"])
    future, request = line.ask(modalities=["audio"])
    send(line, w.created("r1", request), w.output_added("r1", w.message("m1")))
    message = future.result(PATIENCE).message_stream.get(PATIENCE)
    assert not message.modalities.done()
    send(line, w.audio("r1", "m1", [1, 2]), w.transcript("r1", "m1", "Hi."), w.done("r1"))
    assert [frame.data.tolist() for frame in drain(message.audio_stream)] == [[1, 2]]
    assert line.of("metrics_collected")[-1].ttft >= 0


def test_a_written_reply_in_an_audio_session(line: Line, caplog: Any) -> None:
    future, request = line.ask(modalities=["text"])
    send(line, w.created("r1", request), w.text("r1", "m1", "Hi."), w.done("r1"))
    message = future.result(PATIENCE).message_stream.get(PATIENCE)
    assert message.modalities.result(0) == ["text"]
    assert message.audio_stream.closed
    assert line.of("metrics_collected")[-1].ttft >= 0
    assert "text came in an audio session" not in caplog.text


# -- ends ---------------------------------------------------------------------------------------------

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


def figures(line: Line, number: int = 1) -> Any:
    line.heard()
    return [one for one in line.of("metrics_collected") if one.request_id][number - 1]


def test_metrics_with_every_token_detail(line: Line, server: ScriptedServer) -> None:
    begin(line, "r1", w.audio("r1", "m1"), w.done("r1", usage=USAGE))
    found = msgspec.to_builtins(figures(line))
    assert found.pop("timestamp") > 1e9
    assert 0 <= found.pop("ttft") <= found["duration"]
    assert found.pop("tokens_per_second") == pytest.approx(20 / found.pop("duration"))
    assert found == {
        "request_id": "r1",
        "cancelled": False,
        "label": "OpenAI Realtime API",
        "metadata": {
            "model_name": "gpt-realtime",
            "model_provider": server.origin.removeprefix("http://"),
        },
        "input_tokens": 40,
        "output_tokens": 20,
        "total_tokens": 60,
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
    ("modalities", "events", "counts"),
    [
        (["audio"], [w.audio("r1", "m1")], True),
        (["audio"], [w.transcript("r1", "m1", "a"), w.text("r1", "m1", "b")], False),
        (["text"], [w.text("r1", "m1", "a")], True),
        (["text"], [], False),
    ],
)
def test_time_to_first_token(dial: Dial, modalities: list[str], events: list[Any], counts: bool) -> None:
    line = dial(modalities=modalities)
    begin(line, "r1", *events, w.done("r1"))
    assert (figures(line).ttft >= 0) is counts
    assert counts or figures(line).ttft == -1


def test_a_failed_response_is_an_error_after_its_metrics(line: Line) -> None:
    details = p.ResponseStatusDetails(
        type="failed", error=p.ResponseError(type="server_error", code="overloaded")
    )
    generation = begin(line, "r1", w.done("r1", "failed", details=details))
    error = line.wait("error")
    assert error.recoverable
    assert "overloaded" in str(error.error)
    names = [name for name, _ in line.events]
    assert names.index("error") > len(names) - 1 - names[::-1].index("metrics_collected")
    assert generation.done.result(PATIENCE).status == "failed"


@pytest.mark.parametrize(
    ("status", "reason"), [("cancelled", "turn_detected"), ("incomplete", "max_output_tokens")]
)
def test_a_cut_response_says_so_in_done(line: Line, status: str, reason: str) -> None:
    details = p.ResponseStatusDetails(type=status, reason=reason)
    generation = begin(line, "r1", w.done("r1", status, details=details, usage=USAGE))
    result = generation.done.result(PATIENCE)
    assert (result.status, result.status_details.reason) == (status, reason)
    assert result.usage.total_tokens == 60
    assert line.of("error") == []
    assert figures(line).cancelled is (status == "cancelled")


@pytest.mark.parametrize("status", ["failed", "cancelled", "incomplete"])
def test_status_details_may_be_a_bare_string(line: Line, status: str) -> None:
    generation = begin(line)
    line.peer.send(
        "response.done", response={"id": "r1", "status": status, "status_details": "why", "output": []}
    )
    assert generation.done.result(PATIENCE).status_details == "why"
    line.heard()
    assert ["why" in text for text in line.errors()] == ([True] if status == "failed" else [])


def test_a_new_response_ends_the_open_one(line: Line) -> None:
    first = begin(line, "r1", w.transcript("r1", "m1", "so f"))
    second = begin(line, "r2")
    result = first.done.result(0)
    assert (result.status, result.status_details.reason) == ("incomplete", "superseded")
    assert "".join(drain(first.message_stream.get(0).text_stream)) == "so f"
    send(line, w.transcript("r1", "m1", "ar"), w.done("r1"), w.done("r2"))
    assert second.done.result(0).status == "completed"


@pytest.mark.parametrize("end", ["drop", "close", "fatal"])
def test_done_raises_after_the_connections_end_and_streams_end_normally(line: Line, end: str) -> None:
    generation = begin(line, "r1", w.output_added("r1", w.message("m1")), w.transcript("r1", "m1", "so f"))
    message = generation.message_stream.get(0)
    if end == "drop":
        line.peer.drop()
        line.answer()
    elif end == "close":
        line.session.close()
    else:
        line.peer.send(w.error("insufficient_quota", "no money"))
    words = {"drop": "session reconnection", "close": "session closed", "fatal": "no money"}[end]
    with pytest.raises(RealtimeError, match=words):
        generation.done.result(PATIENCE)
    assert drain(message.text_stream) == ["so f"]
    assert drain(message.audio_stream) == drain(generation.function_stream) == []
    assert message.modalities.result(PATIENCE)


def test_the_transcript_joins_the_mirrored_item_and_final_text_replaces(line: Line) -> None:
    begin(
        line,
        "r1",
        w.item_added(w.message("m1", "dra", kind="output_audio")),
        w.output_added("r1", w.message("m1", "dra", kind="output_audio")),
        w.transcript("r1", "m1", "final "),
        w.transcript("r1", "m1", "text"),
        w.done("r1"),
    )
    assert [item.text_content for item in line.session.chat_ctx.items] == ["final text"]


# -- truncating -----------------------------------------------------------------------------------------


def spoken(line: Line, index: int = 0) -> None:
    """A message of one second and ten letters."""
    begin(
        line,
        "r1",
        w.item_added(w.message("m1")),
        w.output_added("r1", w.message("m1")),
        w.audio("r1", "m1", SECOND, index),
        p.ResponseOutputAudioTranscriptDelta(
            response_id="r1", item_id="m1", content_index=index, delta="0123456789"
        ),
        w.done("r1"),
    )


def text_of(line: Line) -> list[str]:
    return [item.text_content for item in line.session.chat_ctx.items]


@pytest.mark.parametrize(
    ("index", "ms", "transcript", "sent_ms", "left"),
    [
        (0, 500, None, 500, "01234"),
        (0, 500, "0123456", 500, "0123456"),
        (0, 9_999, None, 1000, "0123456789"),
        (1, 300, None, 300, "012"),
    ],
)
def test_audio_is_cut_to_what_was_heard(
    line: Line, index: int, ms: int, transcript: str | None, sent_ms: int, left: str
) -> None:
    spoken(line, index)
    line.session.truncate("m1", ["audio"], ms, *([] if transcript is None else [transcript]))
    assert line.sent() == [
        {
            "type": "conversation.item.truncate",
            "item_id": "m1",
            "content_index": index,
            "audio_end_ms": sent_ms,
        }
    ]
    assert text_of(line) == ["0123456789"]
    send(line, p.ConversationItemTruncated(item_id="m1", content_index=index, audio_end_ms=sent_ms))
    assert text_of(line) == [left]


def test_a_later_done_does_not_bring_the_cut_text_back(line: Line) -> None:
    begin(
        line,
        "r1",
        w.item_added(w.message("m1")),
        w.output_added("r1", w.message("m1")),
        w.audio("r1", "m1", SECOND),
        w.transcript("r1", "m1", "0123456789"),
    )
    line.session.truncate("m1", ["audio"], 500)
    assert len(line.sent()) == 1
    send(
        line,
        p.ConversationItemTruncated(item_id="m1", audio_end_ms=500),
        w.output_done("r1", w.message("m1", "0123456789", kind="output_audio")),
        w.done("r1", output=[w.message("m1", "0123456789", kind="output_audio")]),
    )
    assert text_of(line) == ["01234"]


def test_nothing_heard_deletes_the_item(line: Line) -> None:
    spoken(line)
    line.session.truncate("m1", ["audio"], 0)
    (event,) = line.sent()
    assert (event["type"], event["item_id"]) == ("conversation.item.delete", "m1")
    send(line, p.ConversationItemDeleted(item_id="m1"))
    assert text_of(line) == []


def test_written_text_is_rewritten_only_with_a_transcript(line: Line) -> None:
    send(line, w.item_added(w.message("m1", "one two three")))
    line.session.truncate("m1", ["text"], 0)
    assert line.sent() == []
    line.session.truncate("m1", ["text"], 0, "one two")
    delete, create = line.sent()
    assert (delete["type"], delete["item_id"]) == ("conversation.item.delete", "m1")
    assert create["item"]["id"] == "m1"
    assert create["item"]["content"] == [{"type": "output_text", "text": "one two"}]
    send(line, p.ConversationItemDeleted(item_id="m1"), w.item_added(w.message("m1", "one two")))
    assert text_of(line) == ["one two"]


def test_an_item_without_audio_is_warned_about_and_an_unknown_one_cut_as_asked(
    line: Line, caplog: Any
) -> None:
    send(line, w.item_added(w.message("m1", "written")))
    line.session.truncate("m1", ["audio"], 500)
    assert line.sent() == []
    assert "no audio to truncate" in caplog.text
    line.session.truncate("elsewhere", ["audio"], 12_345)
    (event,) = line.sent()
    assert (event["item_id"], event["audio_end_ms"]) == ("elsewhere", 12_345)
