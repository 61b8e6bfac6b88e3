"""§3: what a session emits, to whom, in which order and on which threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import wire as w
from contract_line import MARK, PATIENCE, Line
from scripted_server import ScriptedServer

import antiphon.protocol as p
from antiphon import ServerVad

Dial = Callable[..., Line]
RAW = "openai_server_event_received"


def tick(line: Line) -> None:
    """Have the server send an event that becomes one event here."""
    line.peer.send("rate_limits.updated", rate_limits=[])


# -- payloads -----------------------------------------------------------------------------------------

PAYLOADS = [
    (
        p.InputAudioBufferSpeechStarted(item_id="i", audio_start_ms=120),
        "input_speech_started",
        {"item_id": "i", "audio_start_ms": 120},
    ),
    (
        p.InputAudioBufferSpeechStopped(item_id="i", audio_end_ms=240),
        "input_speech_stopped",
        {"item_id": "i", "audio_end_ms": 240, "user_transcription_enabled": True},
    ),
    (
        p.ConversationItemInputAudioTranscriptionDelta(item_id="i", delta="so"),
        "input_audio_transcription_completed",
        {"item_id": "i", "transcript": "so", "is_final": False, "confidence": None, "turn_started_at": None},
    ),
    (
        p.ConversationItemInputAudioTranscriptionCompleted(item_id="i", transcript="so"),
        "input_audio_transcription_completed",
        {"item_id": "i", "transcript": "so", "is_final": True, "confidence": None, "turn_started_at": None},
    ),
    (
        p.InputAudioBufferTimeoutTriggered(item_id="i", audio_start_ms=1, audio_end_ms=2),
        "input_idle_timeout",
        {"item_id": "i", "audio_start_ms": 1, "audio_end_ms": 2},
    ),
    (
        p.InputAudioBufferDtmfEventReceived(event="9", received_at=1_700_000_000),
        "dtmf_received",
        {"event": "9", "received_at": 1_700_000_000},
    ),
]


@pytest.mark.parametrize(("event", "name", "payload"), PAYLOADS)
def test_payloads(line: Line, event: Any, name: str, payload: dict[str, Any]) -> None:
    line.peer.send(event)
    assert msgspec.structs.asdict(line.wait(name)) == payload


def test_rate_limits(line: Line) -> None:
    line.peer.send("rate_limits.updated", rate_limits=[{"name": "tokens", "limit": 9, "remaining": 8}])
    (limit,) = line.wait("rate_limits_updated").rate_limits
    assert (limit.name, limit.limit, limit.remaining) == ("tokens", 9, 8)


def test_speech_without_transcription(dial: Dial) -> None:
    line = dial(input_audio_transcription=None)
    line.peer.send(p.InputAudioBufferSpeechStopped(item_id="i", audio_end_ms=240))
    assert line.wait("input_speech_stopped").user_transcription_enabled is False


def test_remote_items_generations_and_errors(line: Line) -> None:
    line.peer.send(w.item_added(w.message("a", "hi"), None))
    line.peer.send(w.item_added(w.message("b", "ho"), "a"))
    added = line.wait("remote_item_added", 2)
    assert (added.previous_item_id, added.item.id, added.item.text_content) == ("a", "b", "ho")
    line.peer.send(w.created("r1"))
    generation = line.wait("generation_created")
    assert (generation.response_id, generation.user_initiated) == ("r1", False)
    line.peer.send(w.done("r1"))
    assert generation.done.result(PATIENCE).status == "completed"
    line.peer.send(w.error("hm", "what"))
    error = line.wait("error")
    assert error.timestamp > 1e9
    assert (error.label, error.recoverable) == (line.model.label, True)


def test_states(line: Line) -> None:
    line.peer.drop()
    line.answer()
    line.session.wait_open(PATIENCE)
    line.session.close()
    line.wait("state_changed", 4)
    assert [(event.old, event.new) for event in line.of("state_changed")] == [
        ("connecting", "open"),
        ("open", "reconnecting"),
        ("reconnecting", "open"),
        ("open", "closed"),
    ]


def test_connection_metrics_come_with_every_connection(line: Line) -> None:
    line.peer.drop()
    line.answer()
    line.wait("session_reconnected")
    first, second = line.of("metrics_collected")
    assert first.acquire_time > 0
    assert second.acquire_time > 0
    assert (first.request_id, first.connection_reused) == ("", False)


# -- the wire, as it is ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("beta", "ga"),
    [
        ("response.text.delta", "response.output_text.delta"),
        ("response.audio.delta", "response.output_audio.delta"),
        ("response.audio_transcript.delta", "response.output_audio_transcript.delta"),
        ("response.text.done", "response.output_text.done"),
        ("response.audio.done", "response.output_audio.done"),
        ("response.audio_transcript.done", "response.output_audio_transcript.done"),
        ("conversation.item.created", "conversation.item.added"),
        ("never.heard_of", "never.heard_of"),
    ],
)
def test_raw_events_are_dicts_in_ga_spelling(line: Line, beta: str, ga: str) -> None:
    fields = {"response_id": "r", "item_id": "i", "delta": "", "text": "", "transcript": "", "extra": [1]}
    item = {"id": "i", "type": "message", "role": "user", "content": []}
    line.peer.send(beta, item=item, **fields)
    line.heard()
    event = next(event for event in line.of(RAW) if event["type"] == ga)
    assert event["extra"] == [1]


def test_queued_client_events_are_those_that_arrive(line: Line) -> None:
    line.session.update_options(voice="cedar")
    line.session.generate_reply()
    sent = [line.first, *line.sent()]
    line.heard()
    queued = line.of("openai_client_event_queued")
    assert [event for event in queued if event["type"] != MARK] == sent


# -- who is told ----------------------------------------------------------------------------------------


def test_on_once_off_and_as_a_decorator(line: Line) -> None:
    session, got = line.session, []

    @session.on("rate_limits_updated")
    def always(event: Any) -> None:
        got.append("on")

    @session.once("rate_limits_updated")
    def once(event: Any) -> None:
        got.append("once")

    session.on("rate_limits_updated", lambda event: got.append("lambda"))
    tick(line)
    tick(line)
    line.heard()
    assert got == ["on", "once", "lambda", "on", "lambda"]
    session.off("rate_limits_updated", always)
    tick(line)
    line.heard()
    assert got[5:] == ["lambda"]
    with pytest.raises(ValueError, match="rate_limits_updated"):
        session.on("no such event", print)


def test_the_iterator_blocks_drops_the_oldest_and_ends_with_the_session(line: Line) -> None:
    every, two = line.session.events(), line.session.events("rate_limits_updated", maxsize=2)
    for number in range(3):
        line.peer.send("rate_limits.updated", rate_limits=[{"name": str(number), "limit": 1, "remaining": 1}])
    line.heard()
    assert [payload.rate_limits[0].name for _, payload in (two.get(0), two.get(0))] == ["1", "2"]
    with pytest.raises(TimeoutError):
        two.get(0.01)
    line.session.close()
    assert list(two) == []
    assert {"rate_limits_updated", "state_changed"} <= {name for name, _ in every}


def test_callbacks_run_one_at_a_time_in_order_on_threads_of_their_own(line: Line) -> None:
    got: list[tuple[str, str]] = []
    inside = threading.Lock()

    def note(event: Any) -> None:
        assert inside.acquire(blocking=False)
        got.append((event["event_id"], threading.current_thread().name))
        inside.release()

    line.session.on(RAW, note)
    for number in range(50):
        line.peer.send("rate_limits.updated", event_id=f"e{number}", rate_limits=[])
    line.heard()
    assert [event_id for event_id, _ in got][:50] == [f"e{number}" for number in range(50)]
    assert all(name.startswith("antiphon-user") for _, name in got)


def test_a_slow_callback_delays_only_its_own_session(line: Line, server: ScriptedServer) -> None:
    entered, gate = threading.Event(), threading.Event()

    @line.session.on("rate_limits_updated")
    def slow(event: Any) -> None:
        entered.set()
        gate.wait(PATIENCE)

    tick(line)
    assert entered.wait(PATIENCE)
    other = line.model.session()
    peer = server.accept()
    raw = other.events("rate_limits_updated")
    peer.send("rate_limits.updated", rate_limits=[])
    assert raw.get(PATIENCE)
    # The session itself goes on as well; only its callbacks wait.
    line.session.send_event({"type": MARK})
    line.peer.expect(MARK)
    assert len(line.of("rate_limits_updated")) == 1
    gate.set()
    line.heard()


def test_a_raising_callback_is_logged_and_the_session_lives(line: Line, caplog: Any) -> None:
    @line.session.on("rate_limits_updated")
    def bad(event: Any) -> None:
        raise RuntimeError("the application's own fault")

    tick(line)
    tick(line)
    line.heard()
    assert len(line.of("rate_limits_updated")) == 2
    assert "the application's own fault" in caplog.text
    assert line.session.state == "open"


def test_done_callbacks_run_there_too_in_order_and_may_block(line: Line) -> None:
    order: list[str] = []
    line.session.on("generation_created", lambda event: order.append("event"))
    line.session.on("metrics_collected", lambda event: order.append("metrics"))
    future, asked = line.ask()

    def created(done: Any) -> None:
        # Callback threads are not engine threads: blocking calls work there.
        order.append(f"future, {len(line.session.chat_ctx.items)} items")
        done.result().done.add_done_callback(lambda _: order.append("done"))

    future.add_done_callback(created)
    line.peer.send(w.created("r1", asked))
    line.heard()
    line.peer.send(w.done("r1"))
    line.heard()
    assert order == ["event", "future, 0 items", "done", "metrics"]


def test_one_queue_keeps_the_order_across_kinds(line: Line) -> None:
    line.peer.send(w.created("r1"))
    details = p.ResponseStatusDetails(type="failed", error=p.ResponseError(code="overloaded"))
    line.peer.send(w.done("r1", "failed", details=details))
    line.heard()
    wanted = (RAW, "generation_created", "metrics_collected", "error")
    names = [
        payload["type"] if name == RAW else name
        for name, payload in line.events
        if name in wanted and (name != RAW or payload["type"].startswith("response"))
    ]
    assert names[-5:] == [
        "response.created",
        "generation_created",
        "response.done",
        "metrics_collected",
        "error",
    ]


def test_a_session_that_waits_to_be_started_loses_no_event(line_to: Dial, server: ScriptedServer) -> None:
    line = line_to(turn_detection=ServerVad())
    assert server.requests == []
    line.open()
    assert line.wait("state_changed").new == "open"
    assert line.wait("metrics_collected").acquire_time > 0
