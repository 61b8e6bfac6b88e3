"""Losing a connection and coming back: attempts, what is said again, recycling, liveness."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import antiphon.protocol as p
from antiphon import ConnectOptions, RealtimeError, RealtimeModel, Timeouts, function_tool
from antiphon.testing import Driver, FakeWire

APPEND = "input_audio_buffer.append"
COMMIT = "input_audio_buffer.commit"
CLEAR = "input_audio_buffer.clear"

# Any event that a server may send of itself.
SPOKEN = {"type": "rate_limits.updated", "rate_limits": []}

Make = Callable[..., Any]


def speak(case: Any, first: int, count: int = 1) -> None:
    """Push chunks of 100 ms, each of samples of one value, so that they can be told apart."""
    for value in range(first, first + count):
        case.session.push_audio(np.full(2400, value, np.int16), sample_rate=24_000)
    case.driver.run()


def committed(item_id: str) -> tuple[p.InputAudioBufferCommitted, p.ConversationItemAdded]:
    """A commit is confirmed, and its item announced."""
    part = p.ContentPart(type="input_audio")
    item = p.MessageItem(id=item_id, role="user", content=[part])
    return p.InputAudioBufferCommitted(item_id=item_id), p.ConversationItemAdded(item=item)


def heard(wire: FakeWire) -> list[Any]:
    """What of the input audio arrived: the value of each append, and the other events of the buffer."""
    seen: list[Any] = []
    for event in wire.sent:
        if event["type"] == APPEND:
            seen.append(int(np.frombuffer(base64.b64decode(event["audio"]), "<i2")[0]))
        elif event["type"].startswith("input_audio_buffer."):
            seen.append(event["type"].rpartition(".")[2])
    return seen


def message(item_id: str, role: str, text: str) -> dict[str, Any]:
    kind = "output_text" if role == "assistant" else "input_text"
    return {"id": item_id, "type": "message", "role": role, "content": [{"type": kind, "text": text}]}


def added(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "conversation.item.added", "item": item}


def acknowledge(wire: FakeWire) -> None:
    """Confirm all items that were created on this connection."""
    for event in wire.of_type("conversation.item.create"):
        wire.reply(added(event["item"]))


def states(case: Any) -> list[str]:
    return [event.new for event in case.emitted("state_changed")]


# -- attempts -----------------------------------------------------------------------------------------


def test_the_first_retry_comes_after_100_ms(case: Any) -> None:
    case.wire.drop("cut")
    assert case.session.state == "reconnecting"
    case.driver.advance(0.09)
    assert not case.driver.dialling
    case.driver.advance(0.02)
    assert case.driver.dialling


@pytest.mark.parametrize("attempt", range(3))
def test_further_retries_come_after_the_interval_with_jitter(make_case: Make, attempt: int) -> None:
    case = make_case(conn_options=ConnectOptions(max_retry=5, retry_interval=10.0))
    case.wire.drop()
    case.driver.advance(0.1)
    for _ in range(attempt):
        case.driver.refuse()
        case.driver.advance(13.0)
    case.driver.refuse()
    case.driver.advance(7.9)
    assert not case.driver.dialling
    case.driver.advance(4.2)
    assert case.driver.dialling


def test_the_jitter_differs(make_case: Make) -> None:
    delays = set()
    case = make_case(conn_options=ConnectOptions(max_retry=30, retry_interval=10.0))
    case.wire.drop()
    case.driver.advance(0.1)
    for _ in range(20):
        case.driver.refuse()
        waited = 0
        while not case.driver.dialling:
            case.driver.advance(0.1)
            waited += 1
        delays.add(waited)
    assert len(delays) > 3


@pytest.mark.parametrize("retries", [0, 1, 3])
@pytest.mark.parametrize("opened", [False, True])
def test_so_many_retries_and_no_more(
    make_case: Make, retries: int, opened: bool, caplog: pytest.LogCaptureFixture
) -> None:
    case = make_case(connect=opened, conn_options=ConnectOptions(max_retry=retries, retry_interval=1.0))
    if opened:
        case.wire.drop()
    else:
        case.session.start()
        case.driver.refuse(message="first")
    for attempt in range(retries):
        case.driver.advance(2.0)
        case.driver.refuse(message=f"attempt {attempt}")
    assert [event.recoverable for event in case.emitted("error")] == [True] * retries + [False]
    assert case.session.state == "closed"
    case.driver.advance(60.0)
    assert not case.driver.dialling
    with pytest.raises(RealtimeError):
        case.session.wait_open(0)
    assert case.driver.sessions == 0
    # Who listens to no event finds it in the log all the same.
    assert [record.getMessage().endswith("; the session is over") for record in caplog.records] == [
        False
    ] * retries + [True]


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_ends_at_once(make_case: Make, status: int) -> None:
    case = make_case(connect=False)
    case.session.start()
    case.driver.refuse(status, "no entry")
    (event,) = case.emitted("error")
    assert event.recoverable is False
    assert event.error.retryable is False
    assert case.session.state == "closed"
    with pytest.raises(RealtimeError, match="no entry"):
        case.session.wait_open(0)


@pytest.mark.parametrize("status", [None, 404, 429, 500, 503])
def test_other_refusals_are_tried_again(make_case: Make, status: int | None) -> None:
    case = make_case(connect=False)
    case.session.start()
    case.driver.refuse(status)
    assert [event.recoverable for event in case.emitted("error")] == [True]
    case.driver.advance(0.1)
    assert case.driver.dialling


def test_close_1008_ends_at_once(case: Any) -> None:
    case.wire.close_by_server(1008, "policy")
    (event,) = case.emitted("error")
    assert event.recoverable is False
    assert "1008" in str(event.error)
    assert "policy" in str(event.error)
    assert case.session.state == "closed"


@pytest.mark.parametrize("code", [1000, 1001, 1005, 1011, 1013, 4000])
def test_other_close_codes_are_tried_again(case: Any, code: int) -> None:
    case.wire.close_by_server(code, "bye")
    (event,) = case.emitted("error")
    assert event.recoverable is True
    assert str(code) in str(event.error)
    assert case.reconnect().types[0] == "session.update"
    assert states(case) == ["reconnecting", "open"]


def test_a_handshake_that_nobody_answers_is_given_up_in_time(make_case: Make) -> None:
    case = make_case(connect=False, conn_options=ConnectOptions(timeout=3.0, max_retry=1))
    case.session.start()
    case.driver.run()
    first = case.driver.connector.dials.popleft()
    case.driver.advance(2.9)
    assert not first.aborted
    case.driver.advance(0.2)
    assert first.aborted
    (event,) = case.emitted("error")
    assert "3 s" in str(event.error)
    case.driver.advance(0.1)
    assert case.driver.dialling
    # The first one's late answers are nobody's.
    first.listener.refused(Exception("late"))
    wire = FakeWire(case.driver, first.spec, first.listener)
    first.listener.connected(wire, 9.0)
    case.driver.run()
    assert wire.aborted
    assert len(case.emitted("error")) == 1
    case.driver.accept()
    assert case.session.state == "open"


def test_what_an_old_socket_still_says_is_ignored(case: Any) -> None:
    old = case.wire
    old.drop("cut")
    case.reconnect()
    case.log.clear()
    old._listener.lost("again")
    old._listener.close_received(1008, "old")
    old._listener.texts([b'{"type":"error","error":{"code":"insufficient_quota","message":"old"}}'])
    old._listener.drained()
    old._listener.heard()
    old._listener.skipped("binary")
    case.driver.run()
    assert case.log == []
    assert case.session.state == "open"


# -- when failures are counted afresh -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uptime", "server_speaks", "afresh"),
    [(6.0, True, True), (6.0, False, False), (4.0, True, False), (0.0, True, False)],
)
def test_the_counter_resets_after_a_server_event_and_5_s_only(
    make_case: Make, uptime: float, server_speaks: bool, afresh: bool
) -> None:
    case = make_case(conn_options=ConnectOptions(max_retry=1, retry_interval=1.0))
    case.wire.drop()
    wire = case.reconnect()
    if server_speaks:
        wire.reply(SPOKEN)
    case.driver.advance(uptime)
    wire.drop()
    assert [event.recoverable for event in case.emitted("error")] == [True, afresh]
    assert case.session.state == ("reconnecting" if afresh else "closed")


def test_a_server_that_accepts_and_kicks_is_given_up(make_case: Make) -> None:
    case = make_case(conn_options=ConnectOptions(max_retry=3, retry_interval=1.0))
    wire = case.wire
    kicks = 0
    while case.session.state != "closed":
        wire.reply(SPOKEN)
        wire.close_by_server(1011)
        kicks += 1
        assert kicks < 10
        case.driver.advance(1.3)
        if case.driver.dialling:
            wire = case.driver.accept()
    assert kicks == 4


def test_a_connection_that_held_until_it_was_recycled_counts_as_one_that_held(make_case: Make) -> None:
    # Failures from before twenty good minutes don't count.
    case = make_case(max_session_duration=100.0, conn_options=ConnectOptions(max_retry=1, retry_interval=1.0))
    case.wire.drop()
    case.reconnect().reply(SPOKEN)
    case.driver.advance(101.0)
    case.driver.refuse()
    assert [event.recoverable for event in case.emitted("error")] == [True, True]
    assert case.session.state == "reconnecting"


# -- keys -------------------------------------------------------------------------------------------


class KeyCase:
    """A session whose key is a callable."""

    def __init__(self) -> None:
        self.driver = Driver()
        model = RealtimeModel(api_key=lambda: "fresh", base_url="http://test/v1", engine=self.driver)
        self.session = model.session(start=False)
        self.recoverable: list[bool] = []
        self.session.on("error", lambda event: self.recoverable.append(event.recoverable))
        self.session.start()


def test_after_401_a_callable_key_is_asked_once_more() -> None:
    case = KeyCase()
    case.driver.refuse(401)
    assert case.recoverable == []
    assert case.driver.dialling
    case.driver.refuse(401)
    assert case.recoverable == [False]
    assert case.session.state == "closed"


def test_a_401_after_a_success_is_asked_once_more_again() -> None:
    case = KeyCase()
    case.driver.refuse(401)
    wire = case.driver.accept()
    assert case.session.state == "open"
    wire.drop()
    case.driver.advance(0.1)
    case.driver.refuse(401)
    assert case.driver.dialling
    wire = case.driver.accept()
    assert case.session.state == "open"
    case.session._close_soon(1.0)
    case.driver.run()
    wire.close_by_server()


def test_403_is_final_for_a_callable_key_too() -> None:
    case = KeyCase()
    case.driver.refuse(403)
    assert case.recoverable == [False]
    assert case.session.state == "closed"


# -- what is said again -------------------------------------------------------------------------------


@function_tool
def look(place: str) -> str:
    """Look somewhere."""
    return place


def test_the_order_of_a_replay(make_case: Make) -> None:
    case = make_case(turn_detection=None)
    case.session.update_instructions("be kind")
    case.session.update_tools([look])
    case.wire.reply(
        added(message("u", "user", "hi")),
        added({"id": "c", "type": "function_call", "call_id": "k", "name": "look", "arguments": "{}"}),
        added({"id": "o", "type": "function_call_output", "call_id": "k", "output": "7"}),
    )
    case.session.send_event(
        p.ConversationItemCreate(event_id="mine", item=p.MessageItem(id="x", role="user", content=[]))
    )
    speak(case, 1, 3)
    case.session.update_options(voice="cedar")
    case.driver.run()
    case.wire.drop()
    speak(case, 4, 2)
    case.session.send_event({"type": "while.down"})
    future = case.session.generate_reply()
    case.driver.run()
    wire = case.reconnect()
    kinds = [
        event.get("item", {}).get("id") or event.get("event_id", "").rpartition("_")[0] or event["type"]
        for event in wire.sent
    ]
    assert kinds == [
        "session_update",
        "tools_update",
        "u",
        "c",
        "o",
        "x",
        *[APPEND] * 5,
        "while.down",
        "response_create",
    ]
    first = wire.sent[0]["session"]
    assert first["instructions"] == "be kind"
    assert first["audio"]["output"]["voice"] == "cedar"
    assert wire.sent[1]["session"]["tools"][0]["name"] == "look"
    assert wire.sent[5]["event_id"] == "mine"
    assert heard(wire) == [1, 2, 3, 4, 5]
    assert not future.done()


def test_without_tools_no_tools_are_sent(case: Any) -> None:
    case.wire.drop()
    wire = case.reconnect()
    assert [event["event_id"].rpartition("_")[0] for event in wire.sent] == ["session_update"]


def test_option_diffs_made_while_down_follow_the_replay(case: Any) -> None:
    case.wire.drop()
    case.session.update_options(speed=1.25)
    wire = case.reconnect()
    first, second = wire.sent
    assert first["session"]["audio"]["output"]["speed"] == 1.25
    assert second["session"] == {"type": "realtime", "audio": {"output": {"speed": 1.25}}}


def test_pending_replies_and_streams_end_waiting_ones_go_on(case: Any) -> None:
    pending = case.reply()
    waiting = case.reply()
    case.wire.drop()
    with pytest.raises(RealtimeError, match="session reconnection"):
        pending.result(0)
    assert not waiting.done()
    wire = case.reconnect()
    assert len(wire.of_type("response.create")) == 1
    assert not waiting.done()


def test_session_reconnected_says_what_happened(case: Any) -> None:
    case.wire.reply(added(message("u", "user", "hi")), added(message("a", "assistant", "ho")))
    case.log.clear()
    case.wire.drop("the cable")
    case.driver.advance(0.1)
    case.driver.refuse()
    case.driver.advance(2.4)
    wire = case.driver.accept()
    assert case.emitted("session_reconnected") == []
    acknowledge(wire)
    (event,) = case.emitted("session_reconnected")
    assert event.reason == "the cable"
    assert event.downtime == pytest.approx(2.5)
    assert (event.items_restored, event.items_degraded, event.audio_dropped_ms) == (2, 0, 0)
    names = case.names()
    assert names.index("metrics_collected") < names.index("session_reconnected")
    assert case.emitted("remote_item_added") == []


def test_session_reconnected_comes_after_5_s_at_the_latest(case: Any) -> None:
    case.wire.reply(added(message("u", "user", "hi")), added(message("a", "assistant", "ho")))
    case.wire.drop()
    wire = case.reconnect()
    wire.reply(added(wire.of_type("conversation.item.create")[0]["item"]))
    case.driver.advance(4.9)
    assert case.emitted("session_reconnected") == []
    case.driver.advance(0.2)
    (event,) = case.emitted("session_reconnected")
    assert event.items_restored == 1


def test_the_events_of_a_reconnect_come_in_this_order(case: Any) -> None:
    case.wire.drop()
    case.reconnect()
    assert case.names() == [
        "state_changed",
        "error",
        "metrics_collected",
        "state_changed",
        "session_reconnected",
    ]
    assert states(case) == ["reconnecting", "open"]


def test_a_replay_that_breaks_off_is_made_again(case: Any) -> None:
    case.wire.reply(added(message("u", "user", "hi")), added(message("a", "assistant", "ho")))
    case.wire.drop("first")
    case.reconnect().drop("second")
    assert case.said() == ["hi", "ho"]
    case.driver.advance(2.4)
    wire = case.driver.accept()
    assert [event["item"]["id"] for event in wire.of_type("conversation.item.create")] == ["u", "a"]
    acknowledge(wire)
    (event,) = case.emitted("session_reconnected")
    assert event.reason == "second"
    assert case.said() == ["hi", "ho"]


def test_audio_that_was_dropped_while_down_is_in_the_report(make_case: Make) -> None:
    case = make_case(timeouts=Timeouts(audio_ring=1.0, ping_interval=1e6))
    case.wire.drop()
    speak(case, 1, 13)
    case.reconnect()
    (event,) = case.emitted("session_reconnected")
    assert event.audio_dropped_ms == 300
    assert heard(case.wire) == list(range(4, 14))


def test_audio_that_was_dropped_before_the_first_connection_is_not_in_a_later_report(
    make_case: Make,
) -> None:
    case = make_case(connect=False, timeouts=Timeouts(audio_ring=1.0, ping_interval=1e6))
    case.session.start()
    speak(case, 1, 13)
    case.wire = case.driver.accept()
    case.driver.advance(60.0)
    case.wire.drop()
    case.reconnect()
    (event,) = case.emitted("session_reconnected")
    assert event.audio_dropped_ms == 0


# -- audio that the server had not committed ----------------------------------------------------------------


def test_detection_off_what_was_not_committed_is_sent_again(make_case: Make) -> None:
    case = make_case(turn_detection=None)
    speak(case, 1, 3)
    case.session.commit_audio()
    speak(case, 4, 2)
    case.wire.reply(*committed("u"))
    case.wire.drop()
    speak(case, 6, 1)
    wire = case.reconnect()
    assert heard(wire) == [4, 5, 6]


def test_a_commit_whose_item_was_not_announced_is_made_again(make_case: Make) -> None:
    # The mirror doesn't have it: nothing else would tell the next server of what was said.
    case = make_case(turn_detection=None)
    speak(case, 1, 3)
    case.session.commit_audio()
    case.driver.run()
    case.wire.reply(p.InputAudioBufferCommitted(item_id="u"))
    case.wire.drop()
    assert heard(case.reconnect()) == [1, 2, 3, "commit"]


@pytest.mark.parametrize("later", ["announced before", "a response", "the next commit"])
def test_a_commit_is_for_good_with_servers_that_announce_it_otherwise(make_case: Make, later: str) -> None:
    case = make_case(turn_detection=None)
    speak(case, 1, 3)
    case.session.commit_audio()
    case.driver.run()
    confirmed, added = committed("u")
    if later == "announced before":
        case.wire.reply(added, confirmed)
    elif later == "a response":
        case.wire.reply(confirmed, p.ResponseCreated(response=p.Response(id="r", status="in_progress")))
    else:
        speak(case, 4, 2)
        case.session.commit_audio()
        case.driver.run()
        case.wire.reply(confirmed, *committed("u2"))
    case.wire.drop()
    assert heard(case.reconnect()) == []


def test_detection_off_an_unconfirmed_commit_is_made_again(make_case: Make) -> None:
    case = make_case(turn_detection=None)
    speak(case, 1, 3)
    case.session.commit_audio()
    speak(case, 4, 2)
    case.wire.drop()
    case.session.commit_audio()
    case.driver.run()
    wire = case.reconnect()
    assert heard(wire) == [1, 2, 3, "commit", 4, 5, "commit"]
    wire.reply(*committed("u1"))
    wire.drop()
    case.driver.advance(2.5)
    assert heard(case.driver.accept()) == [4, 5, "commit"]


def test_detection_off_a_clear_forgets(make_case: Make) -> None:
    case = make_case(turn_detection=None)
    speak(case, 1, 3)
    case.session.clear_audio()
    speak(case, 4, 1)
    case.wire.drop()
    assert heard(case.reconnect()) == [4]


def test_detection_on_what_may_be_the_beginning_of_speech_is_sent_again(case: Any) -> None:
    speak(case, 1, 50)
    case.wire.answer_ping()
    case.wire.drop()
    speak(case, 51, 2)
    again = heard(case.reconnect())
    assert again == list(range(again[0], 53))
    # The padding, and as long as servers need to report speech.
    assert 10 <= 51 - again[0] <= 20


def test_detection_on_what_was_said_to_a_server_that_was_not_heard_is_sent_again(case: Any) -> None:
    speak(case, 1, 10)
    case.wire.answer_ping()
    speak(case, 11, 40)
    case.wire.drop()
    again = heard(case.reconnect())
    assert again == list(range(again[0], 51))
    assert again[0] <= 11


def test_detection_on_the_speech_in_progress_is_sent_again(case: Any) -> None:
    speak(case, 1, 20)
    # Padding included, it began with the 16th chunk.
    case.wire.reply(p.InputAudioBufferSpeechStarted(item_id="u", audio_start_ms=1500))
    speak(case, 21, 2)
    case.wire.drop()
    speak(case, 23, 1)
    assert heard(case.reconnect()) == [16, 17, 18, 19, 20, 21, 22, 23]


def test_detection_on_speech_that_was_committed_is_not_sent_again(case: Any) -> None:
    speak(case, 1, 5)
    case.wire.reply(p.InputAudioBufferSpeechStarted(item_id="u", audio_start_ms=0))
    speak(case, 6, 5)
    case.wire.reply(
        p.InputAudioBufferSpeechStopped(item_id="u", audio_end_ms=900),
        *committed("u"),
    )
    case.wire.drop()
    # What came after the turn's end may be the beginning of the next.
    assert heard(case.reconnect()) == [10]


def test_speech_survives_two_drops_in_a_row(case: Any) -> None:
    speak(case, 1, 5)
    case.wire.reply(p.InputAudioBufferSpeechStarted(item_id="u", audio_start_ms=0))
    case.wire.drop()
    case.reconnect().drop()
    speak(case, 6, 1)
    case.driver.advance(2.5)
    assert heard(case.driver.accept()) == [1, 2, 3, 4, 5, 6]


def test_a_drop_in_the_middle_of_the_audios_replay_loses_none_of_it(make_case: Make) -> None:
    case = make_case(turn_detection=None)
    speak(case, 1, 3)
    case.session.commit_audio()
    speak(case, 4, 2)
    case.wire.drop()
    case.driver.advance(0.1)
    dial = case.driver.connector.dials.popleft()
    wire = FakeWire(case.driver, dial.spec, dial.listener)
    wire.full = True
    dial.listener.connected(wire, 0.01)
    case.driver.run()
    for _ in range(3):
        # session.update, then the first chunks: one frame at a time.
        wire.sent.extend(wire._held)
        wire._held.clear()
        wire._listener.drained()
        case.driver.run()
    assert heard(wire) == [1, 2]
    wire.drop()
    case.driver.advance(2.5)
    assert heard(case.driver.accept()) == [1, 2, 3, "commit", 4, 5]


def test_thirty_seconds_are_kept_at_most(make_case: Make) -> None:
    case = make_case(turn_detection=None, timeouts=Timeouts(audio_ring=2.0, ping_interval=1e6))
    speak(case, 1, 50)
    case.wire.drop()
    assert heard(case.reconnect()) == list(range(31, 51))


def test_switching_detection_off_changes_what_is_kept(case: Any) -> None:
    speak(case, 1, 50)
    case.wire.answer_ping()
    case.session.update_options(turn_detection=None)
    speak(case, 51, 10)
    case.wire.drop()
    sent = heard(case.reconnect())
    assert sent[-10:] == list(range(51, 61))
    assert sent == list(range(sent[0], 61))
    assert len(sent) == 23


# -- recycling ----------------------------------------------------------------------------------------


def begin_response(case: Any, response_id: str = "r") -> Any:
    future = case.reply()
    (create,) = case.creates()[-1:]
    case.wire.reply(
        {
            "type": "response.created",
            "response": {"id": response_id, "metadata": {"client_event_id": create["event_id"]}},
        }
    )
    return future.result(0)


def finish_response(case: Any, response_id: str = "r", status: str = "completed") -> None:
    case.wire.reply({"type": "response.done", "response": {"id": response_id, "status": status}})


def start_recycling(case: Any, how: str) -> None:
    if how == "duration":
        case.driver.advance(100.0)
    elif how == "restart":
        case.session.restart()
        case.driver.run()
    else:
        case.wire.reply(
            {"type": "error", "error": {"type": "x", "code": "session_expired", "message": "60 min"}}
        )


HOWS = ["duration", "restart", "session_expired"]


@pytest.mark.parametrize("how", HOWS)
def test_an_idle_connection_is_recycled_at_once(make_case: Make, how: str) -> None:
    case = make_case(max_session_duration=100.0)
    old = case.wire
    start_recycling(case, how)
    assert old.close_code == 1000
    assert old.aborted
    assert case.driver.dialling
    wire = case.driver.accept()
    assert wire.types == ["session.update"]
    assert case.emitted("error") == []
    (event,) = case.emitted("session_reconnected")
    assert event.reason == {"duration": "max_session_duration", "restart": "restart requested"}.get(how, how)


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled", "incomplete"])
@pytest.mark.parametrize("how", HOWS)
def test_recycling_waits_for_the_active_generation_however_it_ends(
    make_case: Make, how: str, status: str
) -> None:
    case = make_case(max_session_duration=100.0)
    generation = begin_response(case)
    start_recycling(case, how)
    assert not case.wire.aborted
    finish_response(case, status=status)
    assert generation.done.result(0).status == status
    assert case.wire.aborted
    case.driver.accept()
    assert case.session.state == "open"


@pytest.mark.parametrize("how", HOWS)
def test_the_socket_may_die_while_recycling_waits(make_case: Make, how: str) -> None:
    case = make_case(max_session_duration=100.0)
    generation = begin_response(case)
    start_recycling(case, how)
    case.wire.drop("cut")
    with pytest.raises(RealtimeError):
        generation.done.result(0)
    # It was to be replaced anyway: that is no error and waits for nothing.
    assert case.emitted("error") == []
    assert case.driver.dialling
    wire = case.driver.accept()
    assert case.session.state == "open"
    assert not wire.aborted
    case.wire = wire
    begin_response(case, "after")


def test_requests_made_while_recycling_waits_are_sent_on_the_new_connection(make_case: Make) -> None:
    case = make_case()
    begin_response(case)
    case.session.restart()
    waiting = case.reply()
    assert len(case.creates()) == 1
    finish_response(case)
    wire = case.driver.accept()
    assert wire.types == ["session.update", "response.create"]
    assert not waiting.done()


def test_what_is_said_while_recycling_is_not_lost(make_case: Make) -> None:
    case = make_case()
    speak(case, 1, 5)
    case.wire.reply(p.InputAudioBufferSpeechStarted(item_id="u", audio_start_ms=200))
    case.session.restart()
    case.driver.run()
    speak(case, 6, 3)
    wire = case.driver.accept()
    speak(case, 9, 1)
    assert heard(wire) == [3, 4, 5, 6, 7, 8, 9]


def test_a_pending_request_holds_recycling_up_until_it_is_settled(case: Any) -> None:
    pending = case.reply()
    case.session.restart()
    case.driver.run()
    assert not case.wire.aborted
    case.driver.advance(10.1)
    assert isinstance(pending.exception(0), RealtimeError)
    assert case.wire.aborted
    case.driver.accept()


def test_a_discarded_response_does_not_hold_recycling_up(case: Any) -> None:
    future = case.reply()
    (create,) = case.creates()
    future.cancel()
    case.driver.run()
    case.wire.reply(
        {
            "type": "response.created",
            "response": {"id": "r", "metadata": {"client_event_id": create["event_id"]}},
        }
    )
    case.session.restart()
    case.driver.run()
    assert case.wire.aborted
    case.driver.accept()


def test_restarts_while_one_is_under_way_are_the_same_one(case: Any) -> None:
    begin_response(case)
    for _ in range(3):
        case.session.restart()
    case.driver.run()
    finish_response(case)
    case.driver.accept()
    case.driver.advance(60.0)
    assert not case.driver.dialling
    assert len(case.emitted("session_reconnected")) == 1


def test_a_restart_while_reconnecting_is_not_needed(case: Any) -> None:
    case.wire.drop()
    case.session.restart()
    wire = case.reconnect()
    case.driver.advance(30.0)
    assert not wire.aborted
    assert case.session.state == "open"


def test_the_next_recycling_is_due_after_the_same_time_again(make_case: Make) -> None:
    case = make_case(max_session_duration=100.0)
    for _ in range(3):
        case.driver.advance(99.0)
        assert not case.wire.aborted
        case.driver.advance(1.1)
        assert case.wire.aborted
        case.wire = case.driver.accept()


def test_none_never_recycles(make_case: Make) -> None:
    case = make_case(max_session_duration=None)
    case.driver.advance(10 * 24 * 3600.0)
    assert not case.wire.aborted


def test_a_recycling_whose_handshake_fails_is_tried_again_like_any_other(case: Any) -> None:
    case.session.restart()
    case.driver.run()
    case.driver.refuse(503)
    assert [event.recoverable for event in case.emitted("error")] == [True]
    case.driver.advance(0.1)
    case.driver.accept()
    assert case.session.state == "open"


def test_a_server_that_says_expired_at_every_connect_is_given_up(make_case: Make) -> None:
    # Else this would be the accept-then-kick loop, without even a pause.
    case = make_case(conn_options=ConnectOptions(max_retry=3, retry_interval=1.0))
    wire = case.wire
    for _ in range(20):
        wire.reply({"type": "error", "error": {"code": "session_expired", "message": "no"}})
        case.driver.advance(1.3)
        if not case.driver.dialling:
            break
        wire = case.driver.accept()
    assert case.session.state == "closed"


# -- liveness -----------------------------------------------------------------------------------------


def test_pings_go_out_every_interval(make_case: Make) -> None:
    case = make_case(timeouts=Timeouts())
    for count in range(1, 6):
        case.driver.advance(20.0)
        assert case.wire.pings == count
        case.wire.answer_ping()
    assert case.session.state == "open"


@pytest.mark.parametrize("answer", ["pong", "text", "bad text", "binary"])
def test_any_frame_is_an_answer(make_case: Make, answer: str) -> None:
    case = make_case(timeouts=Timeouts())
    case.driver.advance(25.0)
    if answer == "pong":
        case.wire.answer_ping()
    elif answer == "text":
        case.wire.reply(SPOKEN)
    elif answer == "bad text":
        case.wire.reply(b"{")
    else:
        case.wire._listener.skipped("binary")
    case.driver.advance(10.0)
    assert case.session.state == "open"


def test_no_frame_in_answer_is_death(make_case: Make) -> None:
    case = make_case(timeouts=Timeouts())
    case.driver.advance(19.0)
    case.wire.reply(SPOKEN)
    case.driver.advance(10.9)
    assert case.session.state == "open"
    case.driver.advance(0.2)
    assert case.session.state == "reconnecting"
    (event,) = case.emitted("error")
    assert "ping" in str(event.error)
    assert case.wire.aborted
    case.reconnect()
    assert case.session.state == "open"


def test_the_new_connection_is_pinged_on_its_own_time(make_case: Make) -> None:
    case = make_case(timeouts=Timeouts())
    case.driver.advance(25.0)
    case.wire.drop()
    wire = case.reconnect()
    case.driver.advance(19.0)
    assert wire.pings == 0
    assert case.session.state == "open"
    case.driver.advance(1.1)
    assert wire.pings == 1


@pytest.mark.parametrize(("interval", "timeout"), [(1.0, 0.5), (5.0, 2.0), (10.0, 10.0)])
def test_both_times_can_be_set(make_case: Make, interval: float, timeout: float) -> None:
    case = make_case(timeouts=Timeouts(ping_interval=interval, ping_timeout=timeout))
    case.driver.advance(interval + timeout - 0.1)
    assert case.session.state == "open"
    assert case.wire.pings == 1
    case.driver.advance(0.2)
    assert case.session.state == "reconnecting"


def test_a_timeout_longer_than_the_interval_finds_the_dead_too(make_case: Make) -> None:
    # A ping must not set the clock of the one before anew.
    case = make_case(timeouts=Timeouts(ping_interval=1.0, ping_timeout=3.0))
    case.driver.advance(5.0)
    assert case.session.state == "reconnecting"


def test_detection_on_a_server_that_talks_all_the_time_lets_go_of_silence(case: Any) -> None:
    """While it gives a long answer, no session holds a ping interval of the user's silence."""
    for value in range(100):
        speak(case, value)
        case.driver.advance(0.1)
        case.wire.reply(SPOKEN)
    case.wire.drop()
    # What the server had no time to report as speech: its padding and a second.
    assert heard(case.reconnect()) == list(range(86, 100))
