"""From the engine to the user's callbacks (contract §3)."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import wire as w

import antiphon.protocol as p
from antiphon import Engine, RealtimeError, RealtimeModel
from antiphon.actors.emitter import CALLS_AT_ONCE, Emitter
from antiphon.actors.events import EVENT_NAMES
from antiphon.actors.runtime import mark_engine_thread
from antiphon.actors.streams import StreamEnded

DEADLINE = 10.0


# -- subscribing --------------------------------------------------------------------------------------


def test_every_event_of_the_contract_can_be_subscribed_to(case: Any) -> None:
    for name in (
        "input_speech_started",
        "input_speech_stopped",
        "input_audio_transcription_completed",
        "generation_created",
        "remote_item_added",
        "metrics_collected",
        "session_reconnected",
        "error",
        "openai_server_event_received",
        "openai_client_event_queued",
        "state_changed",
        "rate_limits_updated",
        "input_idle_timeout",
        "dtmf_received",
        "actor_restarted",
        "audio_dropped",
    ):
        case.session.on(name, lambda _: None)


def test_an_unknown_event_is_refused_with_the_names_that_exist(case: Any) -> None:
    for subscribe in (case.session.on, case.session.once, case.session.off):
        with pytest.raises(ValueError, match="generation_created"):
            subscribe("no_such_event", print)
    with pytest.raises(ValueError, match="no_such_event"):
        case.session.events("error", "no_such_event")


def test_on_is_a_decorator_and_leaves_the_function_as_it_is(case: Any) -> None:
    seen: list[Any] = []

    @case.session.on("error")
    def note(payload: Any) -> None:
        seen.append(payload)

    case.wire.reply(w.error("a"), w.error("b"))
    assert len(seen) == 2
    note("direct")
    assert seen[-1] == "direct"


def test_once_is_called_once_even_when_two_events_come_together(case: Any) -> None:
    seen: list[Any] = []

    @case.session.once("error")
    def note(payload: Any) -> None:
        seen.append(payload.error.body.code)

    case.session.once("error", note)
    case.wire.reply(w.error("a"), w.error("b"))
    assert seen == ["a", "a"]


def test_off_ends_a_subscription(case: Any) -> None:
    seen: list[Any] = []
    case.session.on("error", seen.append)
    case.wire.reply(w.error("a"))
    case.session.off("error", seen.append)
    case.session.off("error", print)
    case.wire.reply(w.error("b"))
    assert len(seen) == 1


def test_once_leaves_a_permanent_subscription_of_the_same_function_alone(case: Any) -> None:
    seen: list[Any] = []
    case.session.on("error", seen.append)
    case.session.once("error", seen.append)
    case.wire.reply(w.error("a"))
    case.wire.reply(w.error("b"))
    assert len(seen) == 3


def test_callbacks_of_one_event_run_in_the_order_of_subscription(case: Any) -> None:
    order: list[int] = []
    for number in range(5):
        case.session.on("error", lambda _, number=number: order.append(number))
    case.wire.reply(w.error("a"))
    assert order == [0, 1, 2, 3, 4]


def test_a_callback_may_subscribe_and_unsubscribe(case: Any) -> None:
    seen: list[str] = []

    def first(_: Any) -> None:
        seen.append("first")
        case.session.off("error", first)
        case.session.on("error", lambda _: seen.append("second"))

    case.session.on("error", first)
    case.wire.reply(w.error("a"))
    case.wire.reply(w.error("b"))
    assert seen == ["first", "second"]


# -- order across kinds ---------------------------------------------------------------------------------


def order_of(case: Any, *events: Any) -> list[str]:
    """Names of what is emitted for these events."""
    names: list[str] = []
    for name in EVENT_NAMES:
        case.session.on(name, lambda _, name=name: names.append(name))
    case.wire.reply(*events)
    return names


RAW = "openai_server_event_received"


@pytest.mark.parametrize(
    ("event", "follows"),
    [
        (w.created("r1"), ["generation_created"]),
        (w.item_added(w.message("m1")), ["remote_item_added"]),
        (p.InputAudioBufferSpeechStarted(item_id="u1"), ["input_speech_started"]),
        (p.InputAudioBufferSpeechStopped(item_id="u1"), ["input_speech_stopped"]),
        (
            p.ConversationItemInputAudioTranscriptionCompleted(
                item_id="u1", transcript="hi", usage=p.TranscriptionDurationUsage(seconds=1.0)
            ),
            ["metrics_collected", "input_audio_transcription_completed"],
        ),
        (w.error("a"), ["error"]),
        (p.RateLimitsUpdated(), ["rate_limits_updated"]),
        (p.InputAudioBufferTimeoutTriggered(item_id="u1"), ["input_idle_timeout"]),
        (p.InputAudioBufferDtmfEventReceived(event="5"), ["dtmf_received"]),
        ({"type": "of.a.kind.nobody.knows"}, []),
    ],
)
def test_the_raw_event_comes_first_and_then_what_follows_from_it(
    case: Any, event: Any, follows: list[str]
) -> None:
    assert order_of(case, event) == [RAW, *follows]


def test_metrics_come_before_the_error(case: Any) -> None:
    case.wire.reply(w.created("r1"))
    assert order_of(case, w.done("r1", "failed", details="x")) == [RAW, "metrics_collected", "error"]


def test_events_that_arrive_together_are_not_mixed(case: Any) -> None:
    names = order_of(case, w.created("r1"), w.item_added(w.message("m1")), w.done("r1"))
    assert names == [RAW, "generation_created", RAW, "remote_item_added", RAW, "metrics_collected"]


def test_the_first_connection_emits_metrics_and_state_and_no_reconnect(make_case: Any) -> None:
    case = make_case(connect=False)
    case.session.start()
    case.driver.accept()
    assert case.names() == ["metrics_collected", "state_changed"]
    assert case.log[0][1].acquire_time == 0.01
    assert (case.log[1][1].old, case.log[1][1].new) == ("connecting", "open")


# -- raw events -------------------------------------------------------------------------------------------


def test_raw_events_are_dicts_in_ga_spelling(case: Any) -> None:
    seen: list[Any] = []
    case.session.on(RAW, seen.append)
    case.wire.reply(
        {"type": "response.audio.delta", "response_id": "r", "item_id": "i", "delta": "AAA=", "more": 1},
        {"type": "x.unknown", "deep": {"a": [1]}},
    )
    assert seen == [
        {
            "type": "response.output_audio.delta",
            "response_id": "r",
            "item_id": "i",
            "delta": "AAA=",
            "more": 1,
        },
        {"type": "x.unknown", "deep": {"a": [1]}},
    ]


def test_queued_client_events_are_told_of(case: Any) -> None:
    seen: list[Any] = []
    case.session.on("openai_client_event_queued", seen.append)
    case.reply()
    assert seen == case.creates()


def test_nobody_who_has_left_is_told(case: Any) -> None:
    seen: list[Any] = []
    case.session.on(RAW, seen.append)
    case.session.off(RAW, seen.append)
    assert not case.session._actors.emitter.wants(RAW)
    case.wire.reply(w.error("a"))
    assert seen == []


# -- events(): the blocking iterator -------------------------------------------------------------------------


def test_the_iterator_gives_names_and_payloads_in_order(case: Any) -> None:
    events = case.session.events("error", "generation_created")
    case.wire.reply(w.error("a"), w.created("r1"), w.item_added(w.message("m1")), w.error("b"))
    got = [events.get(0) for _ in range(3)]
    assert [name for name, _ in got] == ["error", "generation_created", "error"]
    assert got[1][1].response_id == "r1"
    with pytest.raises(TimeoutError):
        events.get(0)


def test_the_iterator_without_names_gives_everything(case: Any) -> None:
    events = case.session.events()
    case.wire.reply(w.created("r1"))
    assert [events.get(0)[0] for _ in range(2)] == [RAW, "generation_created"]


def test_a_full_iterator_drops_the_oldest_and_counts_it(case: Any) -> None:
    events = case.session.events("error", maxsize=2)
    case.wire.reply(*(w.error(code) for code in "abcde"))
    assert events.dropped == 3
    assert [events.get(0)[1].error.body.code for _ in range(2)] == ["d", "e"]


def test_an_iterator_without_a_limit_drops_nothing(case: Any) -> None:
    events = case.session.events("error", maxsize=0)
    case.wire.reply(*(w.error("a") for _ in range(2000)))
    assert events.dropped == 0
    assert len([events.get(0) for _ in range(2000)]) == 2000


def test_the_iterator_ends_with_the_session_after_what_had_come(case: Any) -> None:
    events = case.session.events("error", "state_changed")
    case.wire.reply(w.error("a"))
    case.end()
    assert [name for name, _ in events] == ["error", "state_changed"]
    with pytest.raises(StreamEnded):
        events.get()


def test_an_iterator_of_a_closed_session_ends_at_once(case: Any) -> None:
    case.end()
    with pytest.raises(StreamEnded):
        case.session.events().get(0.01)


def test_waiting_for_an_event_raises_instead_of_blocking_an_engine_thread(case: Any) -> None:
    events = case.session.events("error")
    outcome: list[Any] = []

    def run() -> None:
        mark_engine_thread()
        try:
            outcome.append(events.get(DEADLINE))
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(DEADLINE)
    assert isinstance(outcome[0], RealtimeError)


# -- callbacks that misbehave ----------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_a_callback_that_raises_is_logged_and_costs_nobody_anything(
    case: Any, error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Any] = []

    def fail(_: Any) -> None:
        raise error("on purpose")

    case.session.on("generation_created", fail)
    case.session.on("generation_created", seen.append)
    with caplog.at_level(logging.ERROR, "antiphon.callbacks"):
        case.wire.reply(w.created("r1"))
        case.wire.reply(w.created("r2"))
    assert len(seen) == 2
    assert len([record for record in caplog.records if record.name == "antiphon.callbacks"]) == 2
    assert case.session.state == "open"


@pytest.mark.parametrize("error", [ValueError, SystemExit])
def test_a_done_callback_that_raises_costs_nobody_anything(
    case: Any, error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Any) -> None:
        raise error("on purpose")

    future = case.reply()
    future.add_done_callback(fail)
    seen: list[Any] = []
    future.add_done_callback(seen.append)
    with caplog.at_level(logging.CRITICAL, "antiphon.callbacks"):
        case.wire.reply(w.created("r1", case.creates()[0]))
    assert seen == [future]
    assert case.session.state == "open"


# -- on real threads -----------------------------------------------------------------------------------------


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An engine, whose threads must be able to end."""
    monkeypatch.setattr("antiphon.actors.pool.IDLE_SECONDS", 0.02)
    made = Engine()
    yield made
    assert made.close(DEADLINE)


def emitter_of(engine: Engine) -> Emitter:
    return Emitter(engine, EVENT_NAMES)


def test_callbacks_run_one_at_a_time_in_order_on_threads_that_are_not_the_engines(engine: Engine) -> None:
    emitter = emitter_of(engine)
    inside = threading.Lock()
    got: list[int] = []
    names: set[str] = set()
    overlaps: list[int] = []

    def note(number: int) -> None:
        if not inside.acquire(blocking=False):
            overlaps.append(number)
            return
        names.add(threading.current_thread().name)
        got.append(number)
        inside.release()

    emitter.on("error", note)
    count = 5 * CALLS_AT_ONCE + 1
    for number in range(count):
        emitter.emit("error", number)
    assert emitter.flush(DEADLINE)
    assert got == list(range(count))
    assert overlaps == []
    assert all(name.startswith("antiphon-user") for name in names)


def test_emit_returns_while_a_callback_blocks_and_nothing_is_lost(engine: Engine) -> None:
    emitter = emitter_of(engine)
    gate, entered = threading.Event(), threading.Event()
    got: list[int] = []

    def note(number: int) -> None:
        entered.set()
        gate.wait(DEADLINE)
        got.append(number)

    emitter.on("error", note)
    for number in range(50):
        emitter.emit("error", number)
    assert entered.wait(DEADLINE)
    assert got == []
    assert not emitter.flush(0.01)
    gate.set()
    assert emitter.flush(DEADLINE)
    assert got == list(range(50))


def test_slow_callbacks_delay_only_their_own_session(engine: Engine) -> None:
    # All of them are inside at once: each session's callbacks have a thread when they need one.
    count = 12
    barrier = threading.Barrier(count)
    passed = [threading.Event() for _ in range(count)]
    emitters = [emitter_of(engine) for _ in range(count)]

    def note(event: threading.Event) -> None:
        barrier.wait(DEADLINE)
        event.set()

    for emitter, event in zip(emitters, passed, strict=True):
        emitter.on("error", note)
        emitter.emit("error", event)
    assert all(event.wait(DEADLINE) for event in passed)


def test_a_session_with_endless_callbacks_leaves_threads_for_others(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine._user_pool, "_limit", 1)
    busy, other = emitter_of(engine), emitter_of(engine)
    stop, done = threading.Event(), threading.Event()
    busy.on("error", lambda _: None if stop.is_set() else busy.emit("error", None))
    busy.emit("error", None)
    other.on("error", lambda _: done.set())
    other.emit("error", None)
    assert done.wait(DEADLINE)
    stop.set()
    assert busy.flush(DEADLINE)


def test_flush_from_within_a_callback_does_not_wait_for_itself(engine: Engine) -> None:
    emitter = emitter_of(engine)
    outcome: list[bool] = []
    emitter.on("error", lambda _: outcome.append(emitter.flush(DEADLINE)))
    emitter.emit("error", None)
    assert emitter.flush(DEADLINE)
    assert outcome == [True]


def test_system_exit_ends_no_thread_that_somebody_needs(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    emitter = emitter_of(engine)
    got: list[int] = []

    def fail(_: int) -> None:
        raise SystemExit(3)

    emitter.on("error", fail)
    emitter.on("error", got.append)
    with caplog.at_level(logging.CRITICAL, "antiphon.callbacks"):
        for number in range(10):
            emitter.emit("error", number)
        assert emitter.flush(DEADLINE)
    assert got == list(range(10))


# -- a whole session on real threads -------------------------------------------------------------------------


class Loopback:
    """Connector and transport in one: connects at once, and answers frames on the thread that sends them."""

    def __init__(self, answer: Callable[[dict[str, Any]], list[Any]]) -> None:
        self._answer = answer
        self.listener: Any = None

    def dial(self, spec: Any, listener: Any) -> Loopback:
        self.listener = listener
        listener.connected(self, 0.0)
        return self

    def say(self, *events: Any) -> None:
        self.listener.texts([p.encode_server_event(event) for event in events])

    def send(self, payload: bytes) -> bool:
        events = self._answer(json.loads(payload))
        if events:
            threading.Thread(target=self.say, args=events, daemon=True).start()
        return True

    def close(self, code: int) -> None:
        threading.Thread(target=self.listener.close_received, args=(code, ""), daemon=True).start()

    def ping(self) -> None: ...
    def abort(self) -> None: ...
    def pause(self, paused: bool) -> None: ...


@pytest.fixture
def loop(engine: Engine) -> Iterator[tuple[RealtimeModel, Loopback]]:
    """A model on a real engine, and the server that its one session talks to."""
    number = iter(range(1000))

    def answer(event: dict[str, Any]) -> list[Any]:
        if event["type"] == "response.create":
            response_id = f"r{next(number)}"
            return [
                w.created(response_id, event),
                w.item_added(w.message(f"m_{response_id}")),
                w.transcript(response_id, f"m_{response_id}", "hello"),
                w.done(response_id),
            ]
        if event["type"] == "conversation.item.create":
            return [w.item_added(p.MessageItem(id=event["item"]["id"], role="user", content=[]))]
        return []

    server = Loopback(answer)
    engine.connector = server
    model = RealtimeModel(api_key="test", base_url="http://test/v1", engine=engine)
    yield model, server
    model.close(DEADLINE)


def test_blocking_calls_work_in_callbacks(loop: Any) -> None:
    model, server = loop
    session = model.session(start=False)
    outcome: list[Any] = []
    finished = threading.Event()

    def on_error(_: Any) -> None:
        try:
            handout = session.generate_reply().result(DEADLINE)
            (message,) = handout.message_stream
            outcome.append(list(message.text_stream))
            outcome.append(handout.done.result(DEADLINE).status)
            context = session.chat_ctx
            outcome.append([item.text_content for item in context.items])
            context.add_message(role="user", content="more")
            outcome.append(len(session.update_chat_ctx(context, DEADLINE).created))
            outcome.append(session.has_active_generation)
            session.wait_open(DEADLINE)
            session.close(DEADLINE)
            outcome.append(session.state)
        except BaseException as error:
            outcome.append(error)
        finished.set()

    session.on("error", on_error)
    session.start()
    session.wait_open(DEADLINE)
    server.say(w.error("go"))
    assert finished.wait(DEADLINE)
    assert outcome == [["hello"], "completed", ["hello"], 1, False, "closed"]


def test_done_callbacks_run_on_callback_threads_and_may_block(loop: Any) -> None:
    model, _ = loop
    session = model.session()
    seen: list[Any] = []
    finished = threading.Event()

    def note(done: Any) -> None:
        result = done.result(0).done.result(DEADLINE)
        seen.append((threading.current_thread().name.rsplit("-", 1)[0], result.status))
        finished.set()

    session.generate_reply().add_done_callback(note)
    assert finished.wait(DEADLINE)
    assert seen == [("antiphon-user", "completed")]


def test_the_mirror_has_the_words_when_done_is_settled(loop: Any) -> None:
    model, _ = loop
    session = model.session()
    for number in range(20):
        handout = session.generate_reply().result(DEADLINE)
        assert handout.done.result(DEADLINE).status == "completed"
        assert len(session.chat_ctx.items) == number + 1
        assert session.chat_ctx.items[-1].text_content == "hello"


def test_callers_on_many_threads_all_get_their_own_answer(loop: Any) -> None:
    model, _ = loop
    session = model.session()
    ids: list[str] = []

    def ask() -> None:
        for _ in range(10):
            handout = session.generate_reply().result(DEADLINE)
            handout.done.result(DEADLINE)
            ids.append(handout.response_id)

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert len(set(ids)) == 40


def test_the_iterator_blocks_until_an_event_comes_and_ends_with_the_session(loop: Any) -> None:
    model, server = loop
    session = model.session()
    session.wait_open(DEADLINE)
    events = session.events("error")
    codes: list[str] = []
    first = threading.Event()

    def read() -> None:
        for _, payload in events:
            codes.append(payload.error.body.code)
            first.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    server.say(w.error("a"))
    assert first.wait(DEADLINE)
    session.close(DEADLINE)
    reader.join(DEADLINE)
    assert not reader.is_alive()
    assert codes == ["a"]


def test_a_callback_that_has_left_is_not_called_for_what_was_queued(case: Any) -> None:
    seen: list[Any] = []

    def once_only(payload: Any) -> None:
        seen.append(payload)
        case.session.off("error", once_only)

    case.session.on("error", once_only)
    case.wire.reply(w.error("a"), w.error("b"))
    assert len(seen) == 1
