"""Supervision over real sockets: full mailboxes, a stop that overtakes mail, and sessions that fail beside others."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from faults_harness import DEADLINE, Line
from proxy import FaultProxy

from antiphon import Engine, RealtimeError, SupervisorConfig, Timeouts
from antiphon.actors import messages as m
from antiphon.actors.supervision import ActorPolicy, Backoff, Mailbox


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Failures are logged with their traceback; here they are meant."""
    caplog.set_level(logging.CRITICAL, "antiphon")


class Busy:
    """Keeps a session's worker busy until it is let go; by a message, `SendEvent`, that does nothing else."""

    def __init__(self, line: Line) -> None:
        self._entered, self._leave = threading.Event(), threading.Event()
        replace(line, m.CONNECTION, m.SendEvent, self._wait)
        line.session.send_event({"type": "busy"})
        assert self._entered.wait(DEADLINE)

    def _wait(self, _: Any) -> None:
        self._entered.set()
        assert self._leave.wait(DEADLINE)

    def let_go(self) -> None:
        self._leave.set()


def replace(line: Line, actor: str, kind: type, do: Callable[[Any], None]) -> None:
    """Have an actor do something else at a message."""
    core = line.session._actors.strand.actor(actor).core  # type: ignore[attr-defined]
    core.table = {**core.table, kind: (lambda core, message: do(message), True)}


def fail(_: Any) -> None:
    """What a handler with a bug does."""
    raise ValueError("on purpose")


@pytest.fixture
def open_line(proxy: FaultProxy, engine: Engine) -> Iterator[Callable[..., Line]]:
    """Opens sessions; keywords are the supervisor's configuration."""
    lines: list[Line] = []

    def make(**config: Any) -> Line:
        line = Line(
            proxy,
            engine,
            input_audio_transcription=None,
            supervision=SupervisorConfig(**config),
            # A session that is kept busy must not look like one whose server is dead.
            timeouts=Timeouts(),
        )
        lines.append(line)
        line.session.wait_open(DEADLINE)
        return line

    yield make
    for line in lines:
        line.session.close()


def mailbox(limit: int, overflow: Any) -> ActorPolicy:
    return ActorPolicy(mailbox=Mailbox(limit=limit, overflow=overflow))


def talk(line: Line) -> None:
    """A turn goes through."""
    line.say("hello")
    generation = line.session.generate_reply().result(DEADLINE)
    assert generation.done.result(DEADLINE).status == "completed"


def test_a_full_mailbox_that_blocks_stops_the_reading_and_loses_nothing(
    open_line: Callable[..., Line], proxy: FaultProxy
) -> None:
    line, neighbour = open_line(connection=mailbox(20, "block")), open_line()
    audio = np.random.default_rng(1).integers(-9000, 9000, 24_000 * 60).astype(np.int16)
    for start in range(0, len(audio), 24_000):
        line.session.push_audio(audio[start : start + 24_000], sample_rate=24_000)
    line.session.commit_audio()
    generation = line.session.generate_reply().result(DEADLINE)
    busy = Busy(line)
    transport = line.session._actors.strand.actor(m.CONNECTION)._transport  # type: ignore[attr-defined]
    deadline = time.monotonic() + DEADLINE
    while not transport._paused and time.monotonic() < deadline:
        # The io thread is not the one that waits: the other session talks on it meanwhile.
        talk(neighbour)
    assert transport._paused
    waiting = len(line.session._actors.strand)
    talk(neighbour)
    assert len(line.session._actors.strand) == waiting < 1000
    busy.let_go()
    (message,) = generation.message_stream
    heard = np.concatenate([frame.data for frame in message.audio_stream])
    assert generation.done.result(DEADLINE).status == "completed"
    assert np.array_equal(heard, audio)


@pytest.mark.parametrize(("overflow", "refused"), [("drop_oldest", [0, 1]), ("fail", [3, 4])])
def test_a_full_mailbox_that_refuses_calls_tells_their_callers(
    open_line: Callable[..., Line], overflow: str, refused: list[int]
) -> None:
    line = open_line(generation=mailbox(3, overflow))
    line.say("hello")
    busy = Busy(line)
    futures = [line.session.generate_reply() for _ in range(5)]
    for number in refused:
        with pytest.raises(RealtimeError, match="too much to do"):
            futures[number].result(DEADLINE)
    assert sum(future.done() for future in futures) == 2
    busy.let_go()
    for number, future in enumerate(futures):
        if number not in refused:
            assert future.result(DEADLINE).done.result(DEADLINE).status == "completed"
    assert line.session.state == "open"


def test_a_stop_overtakes_ten_thousand_messages_and_settles_what_waits(
    open_line: Callable[..., Line],
) -> None:
    line = open_line()
    busy = Busy(line)
    replace(line, m.CONNECTION, m.Restart, lambda _: time.sleep(0.01))
    waiting = line.session.generate_reply()
    line.session._actors.strand.tell_all(m.CONNECTION, [m.Restart("x")] * 10_000)
    busy.let_go()
    began = time.monotonic()
    line.session._actors.strand.tell_urgently(m.SUPERVISOR, m.SessionEnded())
    line.wait_state("closed")
    assert time.monotonic() - began < 1.0
    with pytest.raises(RealtimeError):
        waiting.result(1.0).done.result(1.0)


@pytest.mark.parametrize("strategy", ["one_for_one", "rest_for_one", "one_for_all"])
def test_whoever_is_started_again_the_conversation_goes_on(
    open_line: Callable[..., Line], strategy: str
) -> None:
    line = open_line(strategy=strategy)
    talk(line)
    lost = []

    def poison(message: Any) -> None:
        lost.append(message)
        raise ValueError("on purpose")

    replace(line, m.GENERATION, m.Interrupt, poison)
    line.session.interrupt()
    line.wait_until(lambda: bool(line.of("actor_restarted")))
    talk(line)
    # It is not given to the new actor.
    assert len(lost) == 1
    assert line.texts()[:1] == ["hello"]
    assert line.session.state == "open"


def test_a_session_that_fails_too_often_ends_and_its_neighbour_does_not(
    open_line: Callable[..., Line],
) -> None:
    policy = ActorPolicy(max_restarts=2, backoff=Backoff(initial=0.01))
    line, neighbour = open_line(generation=policy), open_line()
    replace(line, m.GENERATION, m.Interrupt, fail)
    for _ in range(3):
        line.session.interrupt()
        talk(neighbour)
    line.wait_state("closed")
    assert len(line.of("actor_restarted")) == 2
    assert [error.recoverable for error in line.of("error")] == [False]
    assert "failed too often" in str(line.of("error")[0].error)
    with pytest.raises(RealtimeError):
        line.session.generate_reply().result(DEADLINE)
    talk(neighbour)
    assert neighbour.of("error") == []


def test_an_actor_that_is_not_to_be_started_again_is_missed_and_the_rest_goes_on(
    open_line: Callable[..., Line],
) -> None:
    line = open_line(audio_in=ActorPolicy(restart="temporary"))
    replace(line, m.AUDIO_IN, m.ClearAudio, fail)
    line.session.clear_audio()
    line.wait_until(lambda: bool(line.of("actor_restarted")))
    assert [report.restarted for report in line.of("actor_restarted")] == [False]
    talk(line)
