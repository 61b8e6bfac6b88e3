"""Sessions through a proxy that misbehaves: every fault on real sockets, and what the session makes of it."""

from __future__ import annotations

import base64
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from proxy import FaultProxy

from antiphon import (
    ChatContext,
    ChatMessage,
    ConnectOptions,
    Engine,
    RealtimeError,
    RealtimeModel,
    RealtimeSession,
    Timeouts,
)
from antiphon.actors import pool
from antiphon.testing import LocalServer

DEADLINE = 15.0
# Fast enough for tests, slow enough for a busy machine.
QUICK = Timeouts(first_retry=0.05, ping_interval=0.5, ping_timeout=0.3, chat_ctx=10.0, close=1.0, uptime=0.2)
PATIENT = ConnectOptions(max_retry=100, retry_interval=0.1, timeout=1.0)


@pytest.fixture(autouse=True)
def _impatient_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each test waits for its threads to end.
    monkeypatch.setattr(pool, "IDLE_SECONDS", 0.02)


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with LocalServer("parrot", pace=100.0) as made:
        yield made


@pytest.fixture
def proxy(server: LocalServer) -> Iterator[FaultProxy]:
    with FaultProxy(("127.0.0.1", server.port)) as made:
        yield made


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine()
    yield made
    assert made.close(DEADLINE)


class Line:
    """A session through the proxy, and what it has emitted."""

    def __init__(self, proxy: FaultProxy, engine: Engine, **options: Any) -> None:
        given = {"turn_detection": None, "timeouts": QUICK, "conn_options": PATIENT, **options}
        self.model = RealtimeModel(
            api_key="k", base_url=proxy.url, engine=engine, input_audio_transcription=None, **given
        )
        self.session: RealtimeSession = self.model.session(start=False)
        self.events: list[tuple[str, Any]] = []
        self._changed = threading.Condition()
        for name in ("state_changed", "error", "session_reconnected", "actor_restarted", "audio_dropped"):
            self.session.on(name, lambda payload, name=name: self._note(name, payload))
        self.session.start()

    def _note(self, name: str, payload: Any) -> None:
        with self._changed:
            self.events.append((name, payload))
            self._changed.notify_all()

    def of(self, name: str) -> list[Any]:
        return [payload for other, payload in self.events if other == name]

    def wait_until(self, condition: Callable[[], bool], seconds: float = DEADLINE) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, seconds), self.events

    def wait_reconnected(self, times: int = 1) -> None:
        self.wait_until(lambda: len(self.of("session_reconnected")) >= times)

    def wait_state(self, state: str) -> None:
        self.wait_until(lambda: any(event.new == state for event in self.of("state_changed")))

    def say(self, text: str) -> None:
        """Add a user message to the conversation."""
        context = self.session.chat_ctx
        context.items.append(ChatMessage("user", [text]))
        report = self.session.update_chat_ctx(context)
        assert report.rejected == {}

    def texts(self) -> list[str]:
        return [item.text_content for item in self.session.chat_ctx.items if item.type == "message"]


@pytest.fixture
def line(proxy: FaultProxy, engine: Engine) -> Iterator[Line]:
    made = Line(proxy, engine)
    made.session.wait_open(DEADLINE)
    yield made
    proxy.fault = "forward"
    made.session.close()
    assert made.session.state == "closed"
    assert made.of("actor_restarted") == []


def served_texts(server: LocalServer) -> list[str]:
    """The texts of the newest connection's conversation."""
    return [part.text for item in server.conversation() for part in getattr(item, "content", []) if part.text]


# -- one fault each -----------------------------------------------------------------------------------


def test_without_a_fault_a_turn_goes_through(line: Line) -> None:
    line.say("hello")
    generation = line.session.generate_reply().result(DEADLINE)
    assert generation.done.result(DEADLINE).status == "completed"


def test_a_reset_is_survived_and_the_conversation_comes_back(
    line: Line, proxy: FaultProxy, server: LocalServer
) -> None:
    for text in ("one", "two", "three"):
        line.say(text)
    proxy.fault = "reset"
    line.wait_state("reconnecting")
    proxy.fault = "forward"
    line.wait_reconnected()
    assert line.session.state == "open"
    assert line.texts() == ["one", "two", "three"]
    assert served_texts(server) == ["one", "two", "three"]
    (event,) = line.of("session_reconnected")
    assert (event.items_restored, event.items_degraded) == (3, 0)
    assert {error.recoverable for error in line.of("error")} == {True}
    line.say("four")
    assert served_texts(server) == ["one", "two", "three", "four"]


@pytest.mark.parametrize("after", [1, 700, 5_000, 20_000, 60_000])
def test_a_reset_in_the_middle_of_audio_loses_no_sample(
    line: Line, proxy: FaultProxy, server: LocalServer, after: int
) -> None:
    audio = np.random.default_rng(after).integers(-9000, 9000, 48_000).astype(np.int16)
    first = max((record.connection for record in server.log.all()), default=-1) + 1
    proxy.reset_after(after)
    for start in range(0, len(audio), 240):
        line.session.push_audio(audio[start : start + 240], sample_rate=24_000)
    line.wait_reconnected()
    line.session.commit_audio()
    committed = server.log.wait_for(
        lambda record: record.type == "input_audio_buffer.commit" and record.connection >= first, DEADLINE
    )
    appended = server.log.received("input_audio_buffer.append", committed.connection)
    received = b"".join(base64.b64decode(record.event["audio"]) for record in appended)
    assert received == audio.tobytes()


@pytest.mark.parametrize("fault", ["stall", "black-hole"])
def test_a_connection_that_is_dead_without_a_word_is_found_and_replaced(
    line: Line, proxy: FaultProxy, server: LocalServer, fault: Any
) -> None:
    line.say("before")
    proxy.fault = fault
    line.wait_until(lambda: any("ping" in str(event.error) for event in line.of("error")))
    # The next handshakes get no answer either, until the fault is over.
    line.wait_until(lambda: any("handshake" in str(event.error) for event in line.of("error")))
    line.session.send_event({"type": "conversation.item.retrieve", "item_id": f"meanwhile, {fault}"})
    proxy.fault = "forward"
    line.wait_reconnected()
    assert line.texts() == ["before"]
    wanted = f"meanwhile, {fault}".encode()
    server.log.wait_for(lambda record: record.direction == "received" and wanted in record.frame, DEADLINE)


def test_a_network_that_drips_is_slow_and_nothing_else(
    line: Line, proxy: FaultProxy, server: LocalServer
) -> None:
    proxy.fault = "drip"
    line.say("slow")
    assert served_texts(server) == ["slow"]
    assert line.session.state == "open"
    proxy.fault = "forward"
    assert line.of("error") == []


def test_a_server_that_is_away_for_a_while_is_waited_for(
    line: Line, proxy: FaultProxy, server: LocalServer
) -> None:
    line.say("before")
    proxy.fault = "refuse"
    server.drop_all()
    line.wait_until(lambda: len(line.of("error")) >= 4)
    assert any("refused the connection" in str(event.error) for event in line.of("error"))
    assert line.session.state == "reconnecting"
    waiting = line.session.generate_reply()
    proxy.fault = "forward"
    line.wait_reconnected()
    assert waiting.result(DEADLINE).done.result(DEADLINE).status == "completed"
    assert served_texts(server)[0] == "before"


def test_a_server_that_stays_away_ends_the_session(proxy: FaultProxy, engine: Engine) -> None:
    line = Line(proxy, engine, conn_options=ConnectOptions(max_retry=2, retry_interval=0.05, timeout=1.0))
    line.session.wait_open(DEADLINE)
    proxy.fault = "refuse"
    accepted = proxy.accepted
    line.session.restart()
    line.wait_state("closed")
    assert [event.recoverable for event in line.of("error")] == [True, True, False]
    assert proxy.accepted == accepted
    with pytest.raises(RealtimeError, match="refused the connection"):
        line.session.wait_open(0)
    assert engine.sessions == 0


# -- closing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["stall", "black-hole", "reset", "refuse", "drip"])
def test_close_returns_in_time_whatever_the_network_does(line: Line, proxy: FaultProxy, fault: Any) -> None:
    proxy.fault = fault
    future = line.session.generate_reply()
    began = time.monotonic()
    line.session.close(0.2)
    assert time.monotonic() - began < 2.0
    assert line.session.state == "closed"
    with pytest.raises(RealtimeError):
        future.result(1.0).done.result(1.0)


def test_close_during_a_handshake_that_nobody_answers_is_immediate(proxy: FaultProxy, engine: Engine) -> None:
    proxy.fault = "black-hole"
    line = Line(proxy, engine, conn_options=ConnectOptions(timeout=60.0))
    assert proxy.wait_for_bytes(1)
    began = time.monotonic()
    line.session.close(5.0)
    assert time.monotonic() - began < 1.0
    assert line.session.state == "closed"


# -- many faults --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(2))
def test_faults_in_any_order_lose_no_message_of_the_conversation(
    line: Line, proxy: FaultProxy, server: LocalServer, seed: int
) -> None:
    rng = random.Random(seed)
    said: list[str] = []
    reconnects = 0
    for n in range(5):
        said.append(f"message {n}")
        line.say(said[-1])
        fault = rng.choice(["reset", "black-hole", "stall", "mid-frame", "drip"])
        if fault == "drip":
            proxy.fault = "drip"
            continue
        if fault == "mid-frame":
            proxy.reset_after(rng.randrange(1, 3000))
            line.session.push_audio(np.zeros(4800, np.int16), sample_rate=24_000)
            line.session.clear_audio()
        else:
            proxy.fault = fault  # type: ignore[assignment]
            seen = sum(event.new == "reconnecting" for event in line.of("state_changed"))
            if line.session.state == "open":
                line.wait_until(
                    lambda seen=seen: (
                        sum(event.new == "reconnecting" for event in line.of("state_changed")) > seen
                        or line.session.state == "reconnecting"
                    )
                )
        proxy.fault = "forward"
        reconnects += 1
        line.wait_reconnected(reconnects)
        line.session.wait_open(DEADLINE)
    proxy.fault = "forward"
    line.say("last")
    assert line.texts() == [*said, "last"]
    assert served_texts(server) == [*said, "last"]
    assert {event.recoverable for event in line.of("error")} <= {True}


def test_the_context_is_as_it_was_when_a_drop_meets_an_edit(
    line: Line, proxy: FaultProxy, server: LocalServer
) -> None:
    for n in range(5):
        line.say(f"m{n}")
    context = ChatContext(line.session.chat_ctx.items[2:])
    proxy.reset_after(1)
    report = line.session.update_chat_ctx(context, timeout=DEADLINE)
    assert report.rejected == {}
    line.session.wait_open(DEADLINE)
    assert line.texts() == ["m2", "m3", "m4"]
    assert served_texts(server) == ["m2", "m3", "m4"]
