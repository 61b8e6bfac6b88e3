"""A connection's frames: what goes out first, in which order, and what becomes of what comes in."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import antiphon.protocol as p
from antiphon import ConnectOptions, RealtimeModel, Timeouts
from antiphon.actors.routes import ROUTES
from antiphon.testing import Driver, FakeWire

APPEND = "input_audio_buffer.append"
COMMIT = "input_audio_buffer.commit"
SECOND = np.zeros(24_000, np.int16)

Make = Callable[..., Any]


def connect_full(case: Any) -> FakeWire:
    """Let the handshake succeed with a socket that takes only a part of the first frame."""
    case.driver.run()
    dial = case.driver.connector.dials.popleft()
    wire = FakeWire(case.driver, dial.spec, dial.listener)
    wire.full = True
    dial.listener.connected(wire, 0.01)
    case.driver.run()
    case.wire = wire
    return wire


def types_and_ids(wire: FakeWire) -> list[tuple[str, str]]:
    return [(event["type"], event.get("event_id", "").rpartition("_")[0]) for event in wire.sent]


# -- before the connection is open ----------------------------------------------------------------------


def ask_for_everything(case: Any) -> None:
    session = case.session
    session.update_instructions("be kind")
    session.push_audio(SECOND[:4800], sample_rate=24_000)
    session.commit_audio()
    session.generate_reply()
    session.update_options(voice="cedar")
    session.send_event({"type": "mine"})
    session.update_tools([])
    case.driver.run()


EVERYTHING = [
    ("session.update", "session_update"),
    ("session.update", "instructions_update"),
    (APPEND, ""),
    (APPEND, ""),
    (COMMIT, ""),
    ("response.create", "response_create"),
    ("session.update", "options_update"),
    ("mine", ""),
    ("session.update", "tools_update"),
]


@pytest.mark.parametrize("early", ["before start", "while connecting"])
def test_calls_made_early_are_sent_once_in_call_order(make_case: Make, early: str) -> None:
    case = make_case(connect=False)
    if early == "before start":
        ask_for_everything(case)
        case.session.start()
    else:
        case.session.start()
        case.driver.run()
        ask_for_everything(case)
    wire = case.driver.accept()
    assert types_and_ids(wire) == EVERYTHING
    assert case.session.state == "open"


def test_failed_handshakes_duplicate_nothing(make_case: Make) -> None:
    case = make_case(connect=False)
    case.session.start()
    ask_for_everything(case)
    case.driver.refuse()
    case.driver.advance(0.1)
    case.driver.refuse(status=503)
    case.driver.advance(3.0)
    wire = case.driver.accept()
    assert types_and_ids(wire) == EVERYTHING


def test_the_first_connection_emits_metrics_and_no_reconnect(make_case: Make) -> None:
    case = make_case(connect=False)
    case.session.start()
    case.driver.refuse()
    case.driver.advance(0.1)
    case.driver.accept()
    (metrics,) = case.emitted("metrics_collected")
    assert metrics.acquire_time == 0.01
    assert metrics.connection_reused is False
    assert metrics.metadata.model_provider == "test"
    assert metrics.request_id == ""
    case.driver.advance(60.0)
    assert case.emitted("session_reconnected") == []
    assert [(event.old, event.new) for event in case.emitted("state_changed")] == [("connecting", "open")]


def test_options_changed_before_the_start_are_told_too(make_case: Make) -> None:
    case = make_case(connect=False)
    case.session.update_options(voice="cedar", turn_detection=None)
    case.session.start()
    wire = case.driver.accept()
    first, second = wire.sent
    assert first["session"]["audio"]["output"]["voice"] == "marin"
    assert second["session"] == {
        "type": "realtime",
        "audio": {"input": {"turn_detection": None}, "output": {"voice": "cedar"}},
    }


# -- the one writer -----------------------------------------------------------------------------------


def test_frames_leave_in_the_order_of_the_calls(case: Any) -> None:
    session = case.session
    for n in range(50):
        session.push_audio(SECOND[:4800], sample_rate=24_000)
        session.commit_audio()
        session.send_event({"type": "mark", "n": n})
    case.driver.run()
    assert case.wire.types == [APPEND, APPEND, COMMIT, "mark"] * 50
    assert [event["n"] for event in case.wire.of_type("mark")] == list(range(50))


@pytest.mark.parametrize("steps", [1, 2, 3, 1000])
def test_commit_then_reply_never_arrives_the_other_way_round(case: Any, steps: int) -> None:
    case.session.push_audio(SECOND[:4801], sample_rate=24_000)
    case.session.commit_audio()
    case.session.generate_reply()
    while case.driver.step(steps):
        pass
    assert case.wire.types == [APPEND, APPEND, APPEND, COMMIT, "response.create"]


def test_send_event_takes_structs_and_dicts_as_they_are(case: Any) -> None:
    case.session.send_event({"type": "a", "event_id": "mine", "deep": [{"x": None}]})
    case.session.send_event(p.ConversationItemDelete(item_id="i"))
    case.session.send_event(p.UnknownEvent(type="zzz", raw=b'{"type":"zzz","n":1}'))
    case.driver.run()
    assert case.wire.sent == [
        {"type": "a", "event_id": "mine", "deep": [{"x": None}]},
        {"type": "conversation.item.delete", "item_id": "i"},
        {"type": "zzz", "n": 1},
    ]


@pytest.mark.parametrize("bad", [{"type": "x", "what": object()}, {"type": "x", "text": "\ud800"}])
def test_an_event_that_json_cannot_express_costs_nobody_else_their_turn(
    case: Any, bad: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    case.session.send_event({"type": "before"})
    case.session.send_event(bad)
    case.session.send_event({"type": "after"})
    case.driver.run()
    assert case.wire.types == ["before", "after"]
    assert "could not be encoded" in caplog.text
    assert case.emitted("actor_restarted") == []


# -- partial writes ----------------------------------------------------------------------------------


def test_nothing_is_written_behind_half_a_frame(case: Any) -> None:
    case.wire.full = True
    for n in range(3):
        case.session.send_event({"type": "mark", "n": n})
    case.driver.run()
    assert case.wire.sent == []
    case.wire.drain()
    assert [event["n"] for event in case.wire.sent] == [0, 1, 2]


def test_frames_that_are_each_taken_in_part_keep_their_order(case: Any) -> None:
    case.wire.full = True
    case.session.send_event({"type": "mark", "n": 0})
    case.driver.run()
    for n in range(1, 5):
        case.session.send_event({"type": "mark", "n": n})
        case.driver.run()
        case.wire.drain()
        case.wire.full = True
    assert [event["n"] for event in case.wire.sent] == list(range(5))


def test_a_frame_in_mid_write_at_a_drop_is_sent_after_the_reconnect(case: Any) -> None:
    case.session.send_event({"type": "mark", "n": 0})
    case.driver.run()
    case.wire.full = True
    for n in range(1, 4):
        case.session.send_event({"type": "mark", "n": n})
    case.driver.run()
    case.wire.drop()
    wire = case.reconnect()
    assert [event["n"] for event in wire.of_type("mark")] == [1, 2, 3]
    assert wire.types[0] == "session.update"


def test_a_reply_in_mid_write_at_a_drop_is_sent_again_and_goes_on(case: Any) -> None:
    case.wire.full = True
    future = case.reply()
    case.wire.drop()
    assert not future.done()
    wire = case.reconnect()
    (create,) = wire.of_type("response.create")
    wire.reply(
        {
            "type": "response.created",
            "response": {"id": "r", "metadata": {"client_event_id": create["event_id"]}},
        }
    )
    assert future.result(0).response_id == "r"


def test_open_means_that_the_session_update_is_written(make_case: Make) -> None:
    case = make_case(connect=False)
    case.session.start()
    wire = connect_full(case)
    assert wire.sent == []
    assert case.session.state == "connecting"
    wire.drain()
    assert wire.types == ["session.update"]
    assert case.session.state == "open"


def test_a_first_session_update_that_was_cut_off_is_not_sent_twice(make_case: Make) -> None:
    # Unlike other frames in mid-write: the reconnect makes a new one.
    case = make_case(connect=False)
    case.session.start()
    connect_full(case).drop()
    wire = case.reconnect()
    assert types_and_ids(wire) == [("session.update", "session_update")]


# -- what comes in ------------------------------------------------------------------------------------


def test_every_server_event_has_a_row() -> None:
    assert set(p.SERVER_EVENTS.values()) <= set(ROUTES)
    assert set(ROUTES) == set(p.SERVER_EVENTS.values()) | {p.UnknownEvent}


def test_every_routed_event_has_a_handler_where_it_goes(case: Any) -> None:
    actors = case.session._actors.strand
    for event_type, names in ROUTES.items():
        for name in names:
            assert event_type in actors.actor(name).core.table, f"{name} has no handler for {event_type}"


def test_every_server_event_of_the_api_is_taken_without_a_failure(case: Any) -> None:
    for event_type in p.SERVER_EVENTS:
        case.wire.reply({"type": event_type})
    assert case.emitted("actor_restarted") == []
    assert case.session.state == "open"


BAD_FRAMES = {
    "utf8": [b'{"type":"session.created","x":"\xff"}', b"\xff\xfe"],
    "json": [b"{", b'{"type":', b"{'a':1}"],
    "depth": [b'{"type":"zzz","x":' + b"[" * 5000 + b"]" * 5000 + b"}"],
    "shape": [
        b"[]",
        b"1",
        b"null",
        b'{"no":"type"}',
        b'{"type":7}',
        b'{"type":"response.done","response":7}',
    ],
}


@pytest.mark.parametrize("listened", [False, True])
@pytest.mark.parametrize("kind", sorted(BAD_FRAMES))
def test_unreadable_frames_are_skipped_counted_and_logged_once(
    case: Any, kind: str, listened: bool, caplog: pytest.LogCaptureFixture
) -> None:
    if listened:
        case.session.on("openai_server_event_received", lambda raw: None)
    caplog.set_level(logging.WARNING, "antiphon.connection")
    core = case.session._actors.strand.actor("connection").core
    for frame in BAD_FRAMES[kind]:
        case.wire.reply(frame, frame, frame)
    skipped = sum(core.skipped.values())
    assert skipped + 3 >= 3 * len(BAD_FRAMES[kind])
    assert skipped % 3 == 0
    assert len(caplog.records) == len(core.skipped)
    assert case.emitted("actor_restarted") == []
    assert case.session.state == "open"
    case.wire.reply(p.RateLimitsUpdated(rate_limits=[]))
    assert len(case.emitted("rate_limits_updated")) == 1


def test_a_raw_listener_does_not_make_a_readable_frame_a_failure(case: Any) -> None:
    # The typed decoder skips fields that it doesn't know without looking into them; the raw one doesn't.
    raw: list[dict[str, Any]] = []
    case.session.on("openai_server_event_received", raw.append)
    for junk in (b'"\xff"', b"[" * 900 + b"]" * 900, b"1e999", b'"\\ud800"', b"9" * 5000):
        case.wire.reply(b'{"type":"input_audio_buffer.cleared","junk":' + junk + b"}")
    assert case.emitted("actor_restarted") == []


@pytest.mark.parametrize("kind", ["binary", "oversized"])
def test_what_the_transport_leaves_out_is_counted_and_logged_once(
    case: Any, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        case.wire._listener.skipped(kind)
    case.driver.run()
    core = case.session._actors.strand.actor("connection").core
    assert core.skipped == {kind: 3}
    assert caplog.text.count(kind) == 1
    assert case.session.state == "open"


def test_raw_events_carry_ga_names_and_are_the_wires_json(case: Any) -> None:
    got: list[dict[str, Any]] = []
    case.session.on("openai_server_event_received", got.append)
    case.wire.reply({"type": "response.audio.delta", "response_id": "r", "item_id": "i", "delta": "", "z": 1})
    case.wire.reply({"type": "zzz.unknown", "n": None})
    assert got == [
        {"type": "response.output_audio.delta", "response_id": "r", "item_id": "i", "delta": "", "z": 1},
        {"type": "zzz.unknown", "n": None},
    ]


def test_raw_client_events_are_what_is_on_the_wire(case: Any) -> None:
    got: list[dict[str, Any]] = []
    case.session.on("openai_client_event_queued", got.append)
    case.session.push_audio(SECOND[:2400], sample_rate=24_000)
    case.session.update_options(speed=1.25)
    case.session.send_event({"type": "mine", "n": 1})
    case.driver.run()
    assert got == case.wire.sent
    assert [event["type"] for event in got] == [APPEND, "session.update", "mine"]


def test_small_events_are_passed_on(case: Any) -> None:
    case.wire.reply(
        {"type": "rate_limits.updated", "rate_limits": [{"name": "tokens", "limit": 9, "remaining": 8}]},
        {
            "type": "input_audio_buffer.timeout_triggered",
            "item_id": "i",
            "audio_start_ms": 1,
            "audio_end_ms": 2,
        },
        {"type": "input_audio_buffer.dtmf_event_received", "event": "5", "received_at": 12},
    )
    (limits,) = case.emitted("rate_limits_updated")
    assert (limits.rate_limits[0].name, limits.rate_limits[0].remaining) == ("tokens", 8)
    (idle,) = case.emitted("input_idle_timeout")
    assert (idle.item_id, idle.audio_start_ms, idle.audio_end_ms) == ("i", 1, 2)
    (dtmf,) = case.emitted("dtmf_received")
    assert (dtmf.event, dtmf.received_at) == ("5", 12)


# -- errors of the server -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "insufficient_quota",
        "credit_balance_exhausted",
        "invalid_api_key",
        "account_deactivated",
        "billing_hard_limit_reached",
    ],
)
@pytest.mark.parametrize("field", ["code", "type"])
def test_a_fatal_code_ends_the_session_at_once(case: Any, code: str, field: str) -> None:
    future = case.reply()
    error = {"type": "invalid_request_error", "code": None, "message": "no more", field: code}
    case.wire.reply({"type": "error", "error": error})
    (event,) = case.emitted("error")
    assert event.recoverable is False
    assert event.error.retryable is False
    assert code in str(event.error)
    assert case.session.state == "closed"
    assert case.wire.aborted
    assert future.exception(0) is not None
    case.driver.advance(60.0)
    assert not case.driver.dialling
    with pytest.raises(Exception, match="no more"):
        case.session.wait_open(0)


def test_any_other_error_leaves_the_connection_open(case: Any) -> None:
    case.wire.reply({"type": "error", "error": {"type": "server_error", "code": "odd", "message": "hm"}})
    (event,) = case.emitted("error")
    assert event.recoverable is True
    assert case.session.state == "open"
    assert not case.wire.aborted


@pytest.mark.parametrize(("detecting", "errors"), [(True, 0), (False, 1)])
def test_an_empty_commit_under_server_vad_is_no_error(make_case: Make, detecting: bool, errors: int) -> None:
    case = make_case() if detecting else make_case(turn_detection=None)
    case.wire.reply(
        {"type": "error", "error": {"code": "input_audio_buffer_commit_empty", "message": "small"}}
    )
    assert len(case.emitted("error")) == errors


# -- what it is dialled with ------------------------------------------------------------------------------


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return Driver()


def test_the_dial_gets_address_limits_and_fresh_headers(driver: Driver) -> None:
    keys = iter(["first", "second", "third"])
    with RealtimeModel(
        api_key=lambda: next(keys),
        base_url="https://host.test/v1",
        engine=driver,
        conn_options=ConnectOptions(timeout=7.0),
        proxy="http://proxy.test:1",
        max_message_size=4096,
        headers={"X-Mine": "1"},
    ) as model:
        session = model.session()
        wire = driver.accept()
        spec = wire.spec
        assert spec.url == "wss://host.test/v1/realtime?model=gpt-realtime"
        assert (spec.timeout, spec.proxy, spec.max_message_size) == (7.0, "http://proxy.test:1", 4096)
        assert "Authorization: Bearer first" in spec.headers()
        assert "Authorization: Bearer second" in spec.headers()
        assert "X-Mine: 1" in spec.headers() or next(keys, None) is None
        session._close_soon(0.1)
        driver.advance(1.0)


def test_every_connect_asks_for_the_key_anew(driver: Driver) -> None:
    asked: list[int] = []

    def key() -> str:
        asked.append(1)
        return f"key{len(asked)}"

    model = RealtimeModel(
        api_key=key, base_url="http://t/v1", engine=driver, timeouts=Timeouts(first_retry=1)
    )
    assert asked == []
    session = model.session()
    wire = driver.accept()
    assert [line for line in wire.spec.headers() if "key" in line] == ["Authorization: Bearer key1"]
    wire.drop()
    driver.advance(1.0)
    wire = driver.accept()
    assert [line for line in wire.spec.headers() if "key" in line] == ["Authorization: Bearer key2"]
    session._close_soon(0.1)
    driver.advance(1.0)


def test_frames_are_valid_utf8_json_whatever_the_text(case: Any) -> None:
    text = "".join(map(chr, (0, 1, 34, 92, 127, 0xE9, 0x2028, 0x1F600)))
    case.session.update_instructions(text)
    case.driver.run()
    assert case.wire.sent[0]["session"]["instructions"] == text
    assert json.loads(json.dumps(case.wire.sent[0])) == case.wire.sent[0]
