"""How a session ends: politely, in time, once, and with everything settled."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest

from antiphon import ChatContext, ChatMessage, RealtimeError, RealtimeModel, StreamEnded, Timeouts
from antiphon.actors import messages as m
from antiphon.testing import Driver, FakeWire

Make = Callable[..., Any]


def close(case: Any, timeout: float = 5.0) -> None:
    """Begin to close; `case.driver.call` would wait for real seconds."""
    case.session._close_soon(timeout)
    case.driver.run()


def test_what_is_queued_is_sent_then_close_code_1000(case: Any) -> None:
    case.wire.full = True
    for n in range(3):
        case.session.send_event({"type": "mark", "n": n})
    close(case)
    assert case.wire.close_code is None
    case.wire.drain()
    assert [event["n"] for event in case.wire.sent] == [0, 1, 2]
    assert case.wire.close_code == 1000
    assert case.session.state == "open"
    case.wire.close_by_server(1000)
    assert case.session.state == "closed"
    assert case.wire.aborted


def test_close_says_goodbye_at_once_when_nothing_is_queued(case: Any) -> None:
    close(case)
    assert case.wire.close_code == 1000
    assert not case.wire.aborted


@pytest.mark.parametrize("answer", ["close frame", "socket end", "nothing"])
def test_close_ends_with_whatever_answer(case: Any, answer: str) -> None:
    close(case, timeout=5.0)
    if answer == "close frame":
        case.wire.close_by_server(1000)
    elif answer == "socket end":
        case.wire.drop()
    else:
        case.driver.advance(4.9)
        assert case.session.state == "open"
        case.driver.advance(0.2)
    assert case.session.state == "closed"
    assert case.wire.aborted
    assert [(event.old, event.new) for event in case.emitted("state_changed")] == [("open", "closed")]
    assert case.emitted("error") == []
    assert case.driver.sessions == 0


def test_a_socket_that_never_takes_the_rest_holds_up_nothing(case: Any) -> None:
    case.wire.full = True
    case.session.send_event({"type": "mark"})
    close(case, timeout=2.0)
    case.driver.advance(2.1)
    assert case.session.state == "closed"
    assert case.wire.close_code is None
    assert case.wire.aborted


def test_close_returns_when_the_session_has_ended(case: Any) -> None:
    close(case)
    case.wire._listener.close_received(1000, "")
    case.driver.call(case.session.close, timeout=1.0)
    assert case.session.state == "closed"


@pytest.mark.parametrize("when", ["dialling", "between attempts", "before start", "reconnecting"])
def test_close_while_there_is_no_connection_is_immediate(make_case: Make, when: str) -> None:
    case = make_case(connect=when == "reconnecting")
    if when in ("dialling", "between attempts"):
        case.session.start()
        case.driver.run()
    if when == "between attempts":
        case.driver.refuse()
    if when == "reconnecting":
        case.wire.drop()
    case.driver.call(lambda: case.session.close(5.0), timeout=1.0)
    assert case.session.state == "closed"
    assert not case.driver.dialling
    case.driver.advance(60.0)
    assert not case.driver.dialling
    assert case.driver.sessions == 0


def test_a_handshake_that_succeeds_too_late_is_let_go(make_case: Make) -> None:
    case = make_case(connect=False)
    case.session.start()
    case.driver.run()
    dial = case.driver.connector.dials[0]
    close(case)
    wire = FakeWire(case.driver, dial.spec, dial.listener)
    assert dial.aborted
    dial.listener.refused(Exception("late"))
    case.driver.run()
    assert not wire.aborted
    assert case.session.state == "closed"


def test_a_socket_that_connects_while_the_close_is_on_its_way_is_let_go(make_case: Make) -> None:
    # The strand is closed by then: the transport arrives as a dead letter.
    case = make_case(connect=False)
    case.session.start()
    case.driver.run()
    dial = case.driver.connector.dials.popleft()
    wire = FakeWire(case.driver, dial.spec, dial.listener)
    case.session._close_soon(5.0)
    dial.listener.connected(wire, 0.01)
    case.driver.run()
    assert case.session.state == "closed"
    assert wire.aborted


def test_closing_again_is_harmless(case: Any) -> None:
    close(case, timeout=5.0)
    close(case, timeout=5.0)
    assert case.wire.close_code == 1000
    case.wire.close_by_server(1000)
    for _ in range(3):
        case.session.close()
        case.model.close()
    assert [event.new for event in case.emitted("state_changed")] == ["closed"]


def test_calls_after_close_do_nothing_or_fail_at_once(case: Any) -> None:
    session = case.session
    case.wire.reply(
        {
            "type": "conversation.item.added",
            "item": {
                "id": "i",
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": "hi"}],
            },
        }
    )
    close(case)
    case.wire.close_by_server(1000)
    case.wire.sent.clear()
    session.push_audio(np.zeros(4800, np.int16), sample_rate=24_000)
    session.commit_audio()
    session.clear_audio()
    session.interrupt()
    session.restart()
    session.update_instructions("x")
    session.update_tools([])
    session.update_options(voice="cedar")
    session.truncate("i", ["audio"], 10)
    session.send_event({"type": "x"})
    session.start()
    reply = session.generate_reply()
    case.driver.run()
    assert case.wire.sent == []
    with pytest.raises(RealtimeError, match="session closed"):
        reply.result(0)
    with pytest.raises(RealtimeError, match="session closed"):
        session.update_chat_ctx(ChatContext([ChatMessage("user", ["x"])]))
    with pytest.raises(RealtimeError, match="session closed"):
        session.wait_open(0)
    assert session.has_active_generation is False
    assert [item.id for item in session.chat_ctx.items] == ["i"]
    assert case.driver.sessions == 0


def test_an_event_iterator_of_a_session_that_is_over_ends_at_once(case: Any) -> None:
    close(case)
    case.wire.close_by_server(1000)
    with pytest.raises(StreamEnded):
        case.session.events().get(0.01)


def test_everything_that_waits_settles_with_session_closed(case: Any) -> None:
    running = case.reply()
    (create,) = case.creates()
    case.wire.reply(
        {
            "type": "response.created",
            "response": {"id": "r", "metadata": {"client_event_id": create["event_id"]}},
        },
        {"type": "response.output_text.delta", "response_id": "r", "item_id": "m", "delta": "hello"},
    )
    waiting = case.reply()
    # What `update_chat_ctx` does before it waits.
    edit: Future[Any] = Future()
    context = ChatContext([ChatMessage("user", ["x"])])
    case.session._actors.tell(m.CHAT_CTX, m.UpdateChatCtx(context, 5.0, edit))
    case.driver.run()
    assert case.wire.of_type("conversation.item.create")
    close(case)
    generation = running.result(0)
    message = generation.message_stream.get(0)
    assert list(message.text_stream) == ["hello"]
    assert list(message.audio_stream) == []
    assert list(generation.function_stream) == []
    with pytest.raises(StreamEnded):
        generation.message_stream.get(0)
    with pytest.raises(RealtimeError, match="session closed"):
        generation.done.result(0)
    with pytest.raises(RealtimeError, match="session closed"):
        waiting.result(0)
    with pytest.raises(RealtimeError, match="session closed"):
        edit.result(0)
    assert case.session.state == "open"


def test_an_event_iterator_ends_with_the_session(case: Any) -> None:
    stream = case.session.events("state_changed")
    close(case)
    case.wire.close_by_server(1000)
    assert [(name, payload.new) for name, payload in stream] == [("state_changed", "closed")]


def test_a_ping_that_is_overdue_while_closing_starts_nothing_new(make_case: Make) -> None:
    case = make_case(timeouts=Timeouts(ping_interval=10.0, ping_timeout=3.0))
    case.driver.advance(10.5)
    close(case, timeout=5.0)
    case.driver.advance(4.0)
    assert case.emitted("error") == []
    assert "reconnecting" not in [event.new for event in case.emitted("state_changed")]
    assert not case.driver.dialling
    case.driver.advance(2.0)
    assert case.session.state == "closed"


def test_recycling_that_comes_due_while_closing_starts_nothing_new(make_case: Make) -> None:
    case = make_case(max_session_duration=10.0)
    case.driver.advance(9.0)
    close(case, timeout=5.0)
    case.driver.advance(3.0)
    assert not case.driver.dialling
    assert not case.wire.aborted
    case.driver.advance(3.0)
    assert case.session.state == "closed"


def test_events_that_arrive_while_closing_do_no_harm(case: Any) -> None:
    close(case)
    case.wire.reply(
        {"type": "response.created", "response": {"id": "r"}},
        {"type": "response.output_audio.delta", "response_id": "r", "item_id": "m", "delta": "AAAA"},
        {"type": "response.done", "response": {"id": "r", "status": "completed"}},
        {"type": "error", "error": {"type": "x", "message": "y"}},
        {"type": "error", "error": {"code": "session_expired", "message": "y"}},
    )
    assert case.emitted("actor_restarted") == []
    case.wire.close_by_server(1000)
    assert case.session.state == "closed"
    assert not case.driver.dialling


# -- models, contexts, references -------------------------------------------------------------------------


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    return Driver()


def make_model(driver: Driver) -> RealtimeModel:
    return RealtimeModel(api_key="k", base_url="http://t/v1", engine=driver)


def test_a_model_closes_its_sessions_at_the_same_time(driver: Driver) -> None:
    model = make_model(driver)
    sessions = [model.session() for _ in range(3)]
    wires = [driver.accept() for _ in sessions]
    for session in sessions:
        session._close_soon(5.0)
    driver.run()
    assert [wire.close_code for wire in wires] == [1000, 1000, 1000]
    for wire in wires:
        wire.close_by_server()
    model.close()
    assert {session.state for session in sessions} == {"closed"}
    assert driver.sessions == 0


def test_model_and_session_are_context_managers(driver: Driver) -> None:
    with make_model(driver) as model:
        with model.session(start=False) as session:
            assert session.state == "connecting"
        assert session.state == "closed"
        other = model.session(start=False)
    assert other.state == "closed"


def test_a_session_that_nobody_refers_to_closes_itself(driver: Driver) -> None:
    model = make_model(driver)
    session = model.session()
    wire = driver.accept()
    future = session.generate_reply()
    driver.run()
    name = weakref.ref(session)
    del session
    gc.collect()
    assert name() is None
    driver.run()
    assert wire.close_code == 1000
    wire.close_by_server()
    assert driver.sessions == 0
    with pytest.raises(RealtimeError, match="session closed"):
        future.result(0)


def test_a_session_that_was_never_started_and_is_dropped_leaves_nothing(driver: Driver) -> None:
    make_model(driver).session(start=False)
    gc.collect()
    driver.run()
    assert driver.sessions == 0


def test_a_model_is_not_kept_alive_by_sessions_that_are_gone(driver: Driver) -> None:
    model = make_model(driver)
    with model.session(start=False):
        pass
    name = weakref.ref(model)
    del model
    gc.collect()
    assert name() is None


def test_blocking_calls_work_in_callbacks(driver: Driver) -> None:
    # The driver runs callbacks inside `run`: what must not happen is the refusal of an engine thread.
    with make_model(driver) as model:
        session = model.session()
        seen: list[Any] = []
        session.once("state_changed", lambda _: seen.append(session.wait_open(0)))
        wire = driver.accept()
        assert seen == [session]
        session._close_soon(1.0)
        driver.run()
        wire.close_by_server()
