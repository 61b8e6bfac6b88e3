"""§10: how a connection begins, is tried again, is found dead, is replaced and ends."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import wire as w
from contract_line import KEY, PATIENCE, PATIENT, QUICK, Line, background, drain
from msgspec.structs import replace
from scripted_server import ScriptedServer

from antiphon import (
    APIConnectionError,
    ChatContext,
    ChatMessage,
    ConnectOptions,
    Engine,
    RealtimeError,
    RealtimeModel,
)

Dial = Callable[..., Line]


def recoverable(line: Line) -> list[bool]:
    return [event.recoverable for event in line.of("error")]


# -- trying -------------------------------------------------------------------------------------------


def test_a_handshake_has_its_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        conn_options = ConnectOptions(max_retry=0, retry_interval=0.01, timeout=0.1)
        url = f"http://127.0.0.1:{mute.getsockname()[1]}/v1"
        with RealtimeModel(base_url=url, api_key=KEY, conn_options=conn_options) as model:
            session = model.session(start=False)
            errors = session.events("error")
            session.start()
            error = errors.get(PATIENCE)[1]
            assert isinstance(error.error, APIConnectionError)
            assert not error.recoverable
            with pytest.raises(RealtimeError):
                session.wait_open(PATIENCE)


@pytest.mark.parametrize("max_retry", [0, 1, 3])
def test_it_is_tried_again_so_many_times(line_to: Dial, server: ScriptedServer, max_retry: int) -> None:
    server.refusals.extend([503] * 100)
    timeouts = replace(QUICK, first_retry=0.05)
    line = line_to(conn_options=replace(PATIENT, max_retry=max_retry, retry_interval=0.1), timeouts=timeouts)
    line.session.start()
    line.wait_closed()
    assert recoverable(line) == [True] * max_retry + [False]
    assert len(server.requests) == 1 + max_retry
    gaps = [late - early for early, late in zip(server.times, server.times[1:], strict=False)]
    assert all(gap >= 0.05 for gap in gaps)
    assert len({round(gap, 5) for gap in gaps}) == len(gaps)


@pytest.mark.parametrize("how", ["drop", 1000, 1001, 1011, 4000])
def test_an_unexpected_end_is_tried_again(line: Line, how: Any) -> None:
    if how == "drop":
        line.peer.drop()
    else:
        line.peer.close(how, "because")
    line.answer()
    line.session.wait_open(PATIENCE)
    line.wait("session_reconnected")
    assert recoverable(line) == [True]
    assert [(event.old, event.new) for event in line.of("state_changed")] == [
        ("connecting", "open"),
        ("open", "reconnecting"),
        ("reconnecting", "open"),
    ]


def test_close_1008_ends_at_once(line: Line, server: ScriptedServer) -> None:
    line.peer.close(1008, "policy")
    line.wait_closed()
    assert recoverable(line) == [False]
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "key", "requests"), [(401, False, 1), (403, False, 1), (401, True, 2), (403, True, 1)]
)
def test_a_refused_key_ends_at_once_but_a_callable_is_asked_once_more(
    line_to: Dial, server: ScriptedServer, status: int, key: bool, requests: int
) -> None:
    server.refusals.extend([status] * 10)
    line = line_to(api_key=(lambda: KEY) if key else KEY)
    line.session.start()
    line.wait_closed()
    assert recoverable(line)[-1:] == [False]
    assert len(server.requests) == requests


def test_a_key_that_is_fetched_again_after_401_opens(line_to: Dial, server: ScriptedServer) -> None:
    keys = iter(["old", "new"])
    server.refusals.append(401)
    line = line_to(api_key=lambda: next(keys)).open()
    assert line.peer.headers["Authorization"] == "Bearer new"
    assert line.of("error") == []


def test_accept_then_kick_is_given_up(line_to: Dial, server: ScriptedServer) -> None:
    line = line_to(conn_options=replace(PATIENT, max_retry=2), timeouts=replace(QUICK, uptime=PATIENCE))
    line.session.start()
    for _ in range(3):
        # A server event comes each time, but the connection doesn't hold.
        line.answer().drop()
    line.wait_closed()
    assert recoverable(line) == [True, True, False]


def test_uptime_without_a_server_event_is_not_enough(line_to: Dial, server: ScriptedServer) -> None:
    line = line_to(conn_options=replace(PATIENT, max_retry=1), timeouts=replace(QUICK, uptime=0.01))
    line.session.start()
    for _ in range(2):
        peer = server.accept()
        peer.expect("session.update")
        with pytest.raises(queue.Empty):
            peer.receive(0.05)
        peer.drop()
    line.wait_closed()
    assert recoverable(line) == [True, False]


def test_a_connection_that_held_has_all_its_retries_again(line_to: Dial) -> None:
    line = line_to(conn_options=replace(PATIENT, max_retry=1), timeouts=replace(QUICK, uptime=0.02))
    line.session.start()
    for _ in range(4):
        peer = line.answer()
        with pytest.raises(queue.Empty):
            peer.receive(0.05)
        # It has been up for long enough, and this is its sign of life.
        line.heard()
        peer.drop()
    line.answer()
    line.session.wait_open(PATIENCE)
    assert recoverable(line) == [True] * 4


def test_open_means_that_the_configuration_is_written(line_to: Dial, server: ScriptedServer) -> None:
    line = line_to()
    line.session.start()
    peer = server.accept()
    line.session.wait_open(PATIENCE)
    assert peer.expect("session.update")["session"]["type"] == "realtime"


# -- recycling ----------------------------------------------------------------------------------------

REASONS = {
    "duration": "max_session_duration",
    "restart": "restart requested",
    "session_expired": "session_expired",
}


def recyclable(dial: Dial, how: str) -> Line:
    return dial(max_session_duration=0.5 if how == "duration" else None)


def recycle(line: Line, how: str) -> None:
    if how == "restart":
        line.session.restart()
    elif how == "session_expired":
        line.peer.send(w.error("session_expired", "60 minutes are over"))


@pytest.mark.parametrize("how", REASONS)
def test_an_idle_connection_is_replaced_politely(dial: Dial, how: str) -> None:
    line = recyclable(dial, how)
    old = line.peer
    recycle(line, how)
    line.answer()
    assert old.close_code() == 1000
    assert line.wait("session_reconnected").reason == REASONS[how]
    assert line.of("error") == []


@pytest.mark.parametrize("status", ["completed", "failed", "drop"])
@pytest.mark.parametrize("how", REASONS)
def test_it_waits_for_the_active_generation_however_that_ends(
    dial: Dial, server: ScriptedServer, how: str, status: str
) -> None:
    line = recyclable(dial, how)
    line.peer.send(w.created("r1"))
    generation = line.wait("generation_created")
    recycle(line, how)
    with pytest.raises(queue.Empty):
        server.accept(0.6 if how == "duration" else 0.05)
    if status == "drop":
        line.peer.drop()
        with pytest.raises(RealtimeError):
            generation.done.result(PATIENCE)
    else:
        line.peer.send(w.done("r1", status))
        assert generation.done.result(PATIENCE).status == status
    line.answer()
    line.wait("session_reconnected")


def test_a_discarded_response_does_not_hold_it_up(line: Line) -> None:
    future, asked = line.ask()
    future.cancel()
    line.peer.expect("response.cancel")
    line.peer.send(w.created("r1", asked))
    line.heard()
    line.session.restart()
    line.answer()


def test_nothing_said_meanwhile_is_lost(line: Line, server: ScriptedServer) -> None:
    line.session.push_audio(np.full(4800, 1, np.int16), 24_000)
    line.session.restart()
    line.session.push_audio(np.full(2400, 2, np.int16), 24_000)
    line.session.send_event({"type": "output_audio_buffer.clear"})
    line.answer()
    kinds = [event["type"] for event in line.sent()]
    assert kinds == ["input_audio_buffer.append"] * 3 + ["output_audio_buffer.clear"]


def test_a_request_made_while_it_waits_goes_to_the_new_connection(line: Line) -> None:
    line.peer.send(w.created("r1"))
    line.wait("generation_created")
    line.session.restart()
    waiting = line.session.generate_reply()
    assert line.sent() == []
    line.peer.send(w.done("r1"))
    line.answer()
    line.peer.send(w.created("r2", line.peer.expect("response.create")))
    assert waiting.result(PATIENCE).response_id == "r2"


# -- liveness -----------------------------------------------------------------------------------------


def test_pings_go_out_and_their_answers_keep_the_connection(dial: Dial, server: ScriptedServer) -> None:
    line = dial(timeouts=replace(QUICK, ping_interval=0.03, ping_timeout=PATIENCE))
    for _ in range(4):
        line.peer.expect_ping()
    assert len(server.requests) == 1
    assert line.session.state == "open"


def test_a_silent_server_is_dead(dial: Dial) -> None:
    line = dial(timeouts=replace(QUICK, ping_interval=0.05, ping_timeout=0.05))
    line.peer.fall_silent()
    line.answer()
    assert line.wait("error").recoverable


def test_any_frame_is_a_sign_of_life(dial: Dial, server: ScriptedServer) -> None:
    line = dial(timeouts=replace(QUICK, ping_interval=0.05, ping_timeout=1.0))
    over = time.monotonic() + 1.3
    while time.monotonic() < over:
        # The pongs are swallowed, the events are not.
        line.peer.fall_silent()
        line.peer.expect_ping()
        line.peer.speak_up()
        line.heard()
    assert len(server.requests) == 1


# -- the end ------------------------------------------------------------------------------------------


def test_close_sends_what_is_queued_and_then_1000(line: Line) -> None:
    line.session.push_audio(np.zeros(3600, np.int16), 24_000)
    line.session.commit_audio()
    line.session.update_instructions("The last word.")
    line.session.close()
    assert [event["type"].rpartition(".")[2] for event in line.peer.rest()] == [
        "append",
        "append",
        "commit",
        "update",
    ]
    assert line.peer.close_code() == 1000
    assert line.session.state == "closed"
    line.session.close()


def test_close_returns_although_the_server_never_answers(line: Line) -> None:
    line.peer.fall_silent()
    began = time.monotonic()
    line.session.close(timeout=0.1)
    assert time.monotonic() - began < 2.0
    assert line.session.state == "closed"


@pytest.mark.parametrize("when", ["connecting", "reconnecting"])
def test_close_without_a_connection_is_immediate(line_to: Dial, server: ScriptedServer, when: str) -> None:
    line = line_to(conn_options=replace(PATIENT, retry_interval=PATIENCE))
    if when == "reconnecting":
        line.open()
    server.refusals.extend([503] * 10)
    if when == "reconnecting":
        line.peer.drop()
    else:
        line.session.start()
    line.wait("error")
    began = time.monotonic()
    line.session.close()
    assert time.monotonic() - began < 2.0


def test_all_that_waits_settles_with_session_closed(line: Line) -> None:
    line.peer.send(w.created("r1"))
    line.peer.send(w.output_added("r1", w.message("m1")))
    generation = line.wait("generation_created")
    message = generation.message_stream.get(PATIENCE)
    waiting = line.session.generate_reply()
    wanted = ChatContext([ChatMessage("user", "x")])
    edit = background(line.session.update_chat_ctx, wanted, PATIENCE)
    line.peer.until("conversation.item.create")
    events = background(list, line.session.events("error"))
    line.session.close()
    for future in (waiting, edit, generation.done):
        assert "session closed" in str(future.exception(1.0))
    assert events.result(1.0) == []
    assert drain(message.text_stream) == drain(generation.message_stream) == []


def test_calls_after_close_do_nothing_or_fail_at_once(line: Line) -> None:
    session = line.session
    session.close()
    session.push_audio(np.zeros(4800, np.int16), 24_000)
    session.commit_audio()
    session.clear_audio()
    session.interrupt()
    session.truncate("m1", ["audio"], 5)
    session.update_options(speed=1.1)
    session.update_instructions("x")
    session.update_tools([])
    session.restart()
    session.send_event({"type": "response.cancel"})
    assert not session.has_active_generation
    assert session.chat_ctx.items == []
    for call in (
        lambda: session.generate_reply().result(1.0),
        lambda: session.update_chat_ctx(ChatContext.empty()),
        lambda: session.wait_open(1.0),
    ):
        with pytest.raises(RealtimeError, match="session closed"):
            call()
    assert line.peer.rest() == []


def test_the_default_engines_threads_end_and_start_again(line_to: Dial) -> None:
    for _ in range(2):
        line = line_to().open()
        mine = [thread for thread in threading.enumerate() if thread.name.startswith("antiphon-")]
        assert mine
        line.session.close()
        for thread in mine:
            thread.join(PATIENCE)
            assert not thread.is_alive(), thread.name


# -- frames and threads ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frame",
    [b"\x00\xff", "{", "[]", "null", '{"type": 7}', "[" * 100_000, '{"type":"response.done"}', "\ud7ff"],
    ids=["binary", "no json", "list", "null", "type", "nested", "shape", "nonsense"],
)
def test_a_bad_frame_is_skipped_and_logged_once(line: Line, frame: str | bytes, caplog: Any) -> None:
    for _ in range(3):
        line.peer.send_raw(frame)
    line.heard()
    assert line.session.state == "open"
    assert line.of("error") == []
    assert sum(record.levelname == "WARNING" for record in caplog.records) <= 1


def test_blocking_calls_on_an_engine_thread_raise(line: Line) -> None:
    session, done = line.session, threading.Event()
    failures: list[Exception | None] = []
    not_open = line.model.session(start=False)
    future, _ = line.ask()
    events = session.events("error")

    def block() -> None:
        for call in (
            not_open.wait_open,
            lambda: session.chat_ctx,
            lambda: session.has_active_generation,
            lambda: session.update_chat_ctx(ChatContext.empty()),
            session.close,
            future.result,
            lambda: events.get(1.0),
        ):
            try:
                call()
                failures.append(None)
            except Exception as error:
                failures.append(error)
        done.set()

    Engine.default().call_later(0.0, block)
    assert done.wait(PATIENCE)
    assert all(isinstance(failure, RealtimeError) for failure in failures), failures
    assert all("engine thread" in str(failure) for failure in failures)
