"""Sessions through a proxy that misbehaves: a connection that is there goes bad, and what the session makes of it."""

from __future__ import annotations

import random
from typing import get_args

import msgspec
import numpy as np
import pytest
from faults_harness import (
    DEADLINE,
    QUICK,
    Line,
    newest,
    noise,
    received_audio,
    served_texts,
)
from proxy import Cut, Fault, FaultProxy
from reliability import Measure, Row, row

from antiphon import ConnectOptions, Engine, RealtimeError, function_tool
from antiphon.testing import LocalServer

BACK = "open → reconnecting → open; one recoverable `error`; `session_reconnected` with all items"
LIVENESS = "`ping_interval` + `ping_timeout` + `first_retry` + handshake"

RESET = row("connection reset (RST)", sees=BACK, bound="`first_retry` + handshake", within=3)
FIN = row(
    "FIN in mid-frame", sees=f"{BACK}; the half frame is dropped", bound="`first_retry` + handshake", within=3
)
BLACK_HOLE = row("black hole: nothing answers, nothing closes", sees=BACK, bound=LIVENESS, within=5)
STALL = row(
    "both sides' buffers full: nothing is taken from either side", sees=BACK, bound=LIVENESS, within=5
)
MUTE = row("ping unanswered: the server hears us, we don't hear it", sees=BACK, bound=LIVENESS, within=5)
DRIP = row(
    "slow drip, one byte at a time", sees="nothing: it is slow", bound="none: as long as it takes", within=10
)
UNREAD = row(
    "stalled reader, our send buffer full",
    sees="`push_audio` never blocks; then as for a black hole, with `audio_dropped` for what the rings could not hold",
    bound=LIVENESS,
    within=6,
)
SUSPENDED = row(
    "half-open after a suspend",
    sees=f"{BACK}, at the next thing that is sent, at the latest at the next ping",
    bound="`ping_interval` + `first_retry` + handshake",
    within=4,
)
DUPLICATES = row(
    "every frame of the server twice",
    sees="nothing: one item, one tool run, one `generation_created`; a warning in the log",
    bound="none: nothing is waited for",
    within=5,
)
AWAY = row(
    "server away for a while",
    sees="a recoverable `error` for each attempt; then as for a reset; what was asked for meanwhile comes",
    bound="`retry_interval` · 1.2 + handshake from when it is back",
    within=4,
)
GONE = row(
    "server away for good",
    sees="recoverable errors, the last one not; closed; waits and futures fail with the cause",
    bound="`first_retry` + `max_retry` · (`retry_interval` · 1.2 + `timeout`)",
    within=4,
)


def test_without_a_fault_a_turn_goes_through(line: Line) -> None:
    line.say("hello")
    assert line.reply() == "completed"
    assert line.errors() == []


# -- one fault each -----------------------------------------------------------------------------------


def test_a_reset_is_survived_and_the_conversation_comes_back(
    line: Line, proxy: FaultProxy, server: LocalServer, measure: Measure
) -> None:
    for text in ("one", "two", "three"):
        line.say(text)
    with measure(RESET):
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


def test_a_fin_in_mid_frame_costs_that_frame_only(
    line: Line, proxy: FaultProxy, server: LocalServer, measure: Measure
) -> None:
    line.say("before")
    proxy.cut(Cut(within=b'"response.done"', how="fin"))
    generation = line.session.generate_reply().result(DEADLINE)
    with measure(FIN):
        with pytest.raises(RealtimeError, match="session reconnection"):
            generation.done.result(DEADLINE)
        line.wait_reconnected()
    assert "without a close frame" in line.errors()[0]
    assert len(line.errors()) == 1
    # The answer had been said, only its end is missing: parrots say back what they are told.
    assert line.texts() == ["before", "before"]
    assert served_texts(server) == ["before", "before"]


@pytest.mark.parametrize("after", [1, 700, 5_000, 20_000, 60_000])
def test_a_reset_in_the_middle_of_audio_loses_no_sample(
    line: Line, proxy: FaultProxy, server: LocalServer, after: int
) -> None:
    audio = noise(48_000, after)
    first = newest(server) + 1
    proxy.cut(Cut(after=after))
    line.speak(audio)
    line.wait_reconnected()
    line.session.commit_audio()
    committed = server.log.wait_for(
        lambda record: record.type == "input_audio_buffer.commit" and record.connection >= first, DEADLINE
    )
    assert received_audio(server, committed.connection) == audio.tobytes()


@pytest.mark.parametrize(("fault", "known"), [("stall", STALL), ("black-hole", BLACK_HOLE), ("mute", MUTE)])
def test_a_connection_that_is_dead_without_a_word_is_found_and_replaced(
    line: Line, proxy: FaultProxy, server: LocalServer, measure: Measure, fault: Fault, known: Row
) -> None:
    line.say("before")
    with measure(known):
        proxy.fault = fault
        line.wait_until(lambda: any("ping" in error for error in line.errors()))
        proxy.fault = "forward"
        line.wait_reconnected()
    assert line.texts() == served_texts(server) == ["before"]
    assert {error.recoverable for error in line.of("error")} == {True}


def test_what_is_sent_into_a_black_hole_arrives_after_it(
    line: Line, proxy: FaultProxy, server: LocalServer
) -> None:
    proxy.fault = "black-hole"
    line.wait_until(lambda: any("ping" in error for error in line.errors()))
    # The next handshakes get no answer either, until the fault is over.
    line.wait_until(lambda: any("handshake" in error for error in line.errors()))
    line.session.send_event({"type": "conversation.item.retrieve", "item_id": "sent while it was dark"})
    proxy.fault = "forward"
    line.wait_reconnected()
    wanted = b"sent while it was dark"
    server.log.wait_for(lambda record: record.direction == "received" and wanted in record.frame, DEADLINE)


def test_a_network_that_drips_is_slow_and_nothing_else(
    line: Line, proxy: FaultProxy, server: LocalServer, measure: Measure
) -> None:
    with measure(DRIP):
        proxy.fault = "drip"
        line.say("slow")
    assert served_texts(server) == ["slow"]
    assert line.session.state == "open"
    proxy.fault = "forward"
    assert line.errors() == []


def test_a_reader_that_stalls_makes_nobody_wait_and_what_does_not_fit_is_reported(
    proxy: FaultProxy, engine: Engine, server: LocalServer, measure: Measure
) -> None:
    timeouts = msgspec.structs.replace(QUICK, audio_ring=2.0)
    line = Line(proxy, engine, timeouts=timeouts)
    line.session.wait_open(DEADLINE)
    first = newest(server) + 1
    second = noise(24_000, 1)
    with measure(UNREAD):
        proxy.fault = "unread"
        # The kernels take some megabytes, which is a minute or so.
        for _ in range(180):
            line.session.push_audio(second, sample_rate=24_000)
        line.wait_until(lambda: any("ping" in error for error in line.errors()))
        proxy.fault = "forward"
        line.wait_reconnected()
    line.session.commit_audio()
    committed = server.log.wait_for(
        lambda record: record.type == "input_audio_buffer.commit" and record.connection >= first, DEADLINE
    )
    line.session.close()
    heard_ms = len(received_audio(server, committed.connection)) / 48
    reported_ms = sum(dropped.duration_ms for dropped in line.of("audio_dropped"))
    assert heard_ms + reported_ms == 180_000
    # What was sent and not committed, and what waited to be sent: 2 s of each are kept, and
    # the chunk of which the kernel took a part.
    assert 4_000 <= heard_ms <= 4_100
    (event,) = line.of("session_reconnected")
    assert 0 < event.audio_dropped_ms <= reported_ms


def test_a_connection_that_died_while_the_machine_slept_is_replaced_when_it_is_used(
    line: Line, proxy: FaultProxy, server: LocalServer, measure: Measure
) -> None:
    line.say("before")
    proxy.suspend()
    with measure(SUSPENDED):
        line.say("after")
        line.wait_reconnected()
    assert line.texts() == served_texts(server) == ["before", "after"]
    assert len(line.errors()) == 1


def test_frames_that_come_twice_count_once(engine: Engine, measure: Measure) -> None:
    ran: list[str] = []

    @function_tool
    def note() -> str:
        """Take a note."""
        ran.append("note")
        return "noted"

    def twice(event: dict[str, object]) -> tuple[dict[str, object], ...]:
        # Not the words and sounds themselves: two equal ones in a row may well be meant.
        return (event,) if str(event["type"]).endswith(".delta") else (event, event)

    with (
        LocalServer("parrot", pace=100.0, rewrite=twice) as server,
        FaultProxy(("127.0.0.1", server.port)) as proxy,
    ):
        line = Line(proxy, engine)
        line.session.wait_open(DEADLINE)
        line.session.update_tools([note], auto_execute=True)
        with measure(DUPLICATES):
            line.say("hello")
            call = line.session.generate_reply(tool_choice="required").result(DEADLINE)
            assert call.done.result(DEADLINE).status == "completed"
            # The engine asks the model to go on by itself.
            line.wait_until(lambda: len(line.of("generation_created")) == 2)
            assert line.of("generation_created")[1].done.result(DEADLINE).status == "completed"
        assert ran == ["note"]
        assert len(server.log.received("response.create")) == 2
        ids = [item.id for item in line.session.chat_ctx.items]
        assert ids == [item.id for item in server.conversation()]
        assert len(ids) == len(set(ids)) == 4
        assert line.errors() == []
        line.session.close()


def test_a_server_that_is_away_for_a_while_is_waited_for(
    line: Line, proxy: FaultProxy, server: LocalServer, measure: Measure
) -> None:
    line.say("before")
    proxy.fault = "refuse"
    server.drop_all()
    line.wait_until(lambda: len(line.errors()) >= 4)
    assert any("refused the connection" in error for error in line.errors())
    assert line.session.state == "reconnecting"
    waiting = line.session.generate_reply()
    with measure(AWAY):
        proxy.fault = "forward"
        line.wait_reconnected()
        assert waiting.result(DEADLINE).done.result(DEADLINE).status == "completed"
    assert served_texts(server)[0] == "before"


def test_a_server_that_stays_away_ends_the_session(
    proxy: FaultProxy, engine: Engine, measure: Measure
) -> None:
    line = Line(proxy, engine, conn_options=ConnectOptions(max_retry=2, retry_interval=0.05, timeout=1.0))
    line.session.wait_open(DEADLINE)
    proxy.fault = "refuse"
    accepted = proxy.accepted
    with measure(GONE):
        line.session.restart()
        line.wait_state("closed")
        with pytest.raises(RealtimeError, match="refused the connection"):
            line.session.wait_open(0)
        with pytest.raises(RealtimeError):
            line.session.generate_reply().result(DEADLINE)
    assert [event.recoverable for event in line.of("error")] == [True, True, False]
    assert proxy.accepted == accepted
    assert engine.sessions == 0


# -- closing ------------------------------------------------------------------------------------------

CLOSE = row(
    "`close()` during any of these",
    sees="returns; closed; futures and streams end with an error",
    bound="its own timeout",
    within=3,
)
NO_GOODBYE = row(
    "server that never sends a close frame",
    sees="`close()` returns when its time is over; closed; what was queued has been sent",
    bound="the timeout of `close`",
    within=3,
)
DIALLING = row(
    "`close()` during a handshake that nobody answers",
    sees="returns at once; closed",
    bound="none: it doesn't wait",
    within=1,
)


@pytest.mark.parametrize("fault", sorted(set(get_args(Fault)) - {"forward"}))
def test_close_returns_in_time_whatever_the_network_does(
    line: Line, proxy: FaultProxy, measure: Measure, fault: Fault
) -> None:
    proxy.fault = fault
    future = line.session.generate_reply()
    with measure(CLOSE):
        line.session.close(0.2)
    assert line.session.state == "closed"
    with pytest.raises(RealtimeError):
        future.result(1.0).done.result(1.0)


def test_a_server_that_never_says_goodbye_is_not_waited_for_longer_than_asked(
    line: Line, proxy: FaultProxy, server: LocalServer, measure: Measure
) -> None:
    proxy.fault = "mute"
    line.session.send_event({"type": "conversation.item.retrieve", "item_id": "my last words"})
    with measure(NO_GOODBYE):
        line.session.close(0.3)
    assert line.session.state == "closed"
    assert line.errors() == []
    server.log.wait_for(lambda record: b"my last words" in record.frame, DEADLINE)


def test_close_during_a_handshake_that_nobody_answers_is_immediate(
    proxy: FaultProxy, engine: Engine, measure: Measure
) -> None:
    proxy.fault = "black-hole"
    line = Line(proxy, engine, conn_options=ConnectOptions(timeout=60.0))
    assert proxy.wait_for_bytes(1)
    with measure(DIALLING):
        line.session.close(5.0)
    assert line.session.state == "closed"


# -- many faults --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.full)])
def test_faults_in_any_order_lose_no_message_of_the_conversation(
    line: Line, proxy: FaultProxy, server: LocalServer, seed: int
) -> None:
    rng = random.Random(seed)
    kinds: tuple[Fault, ...] = ("reset", "black-hole", "stall", "mute", "drip")
    said: list[str] = []
    reconnects = 0
    for n in range(5):
        said.append(f"message {n}")
        line.say(said[-1])
        fault = rng.choice([*kinds, None])
        if fault == "drip":
            proxy.fault = "drip"
            continue
        if fault is None:
            proxy.cut(Cut(after=rng.randrange(1, 3000)))
            line.session.push_audio(np.zeros(4800, np.int16), sample_rate=24_000)
            line.session.clear_audio()
        else:
            seen = lost_times(line)
            proxy.fault = fault
            line.wait_until(lambda seen=seen: lost_times(line) > seen)
        proxy.fault = "forward"
        reconnects += 1
        line.wait_reconnected(reconnects)
        line.session.wait_open(DEADLINE)
    proxy.fault = "forward"
    line.say("last")
    assert line.texts() == [*said, "last"]
    assert served_texts(server) == [*said, "last"]
    assert {event.recoverable for event in line.of("error")} <= {True}


def lost_times(line: Line) -> int:
    """How often the connection has been lost."""
    return sum(event.new == "reconnecting" for event in line.of("state_changed"))
