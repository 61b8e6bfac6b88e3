"""A recorded call, served again over a real socket."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from recording_harness import KEY, PATIENCE, answer, events, frames, said_text, say, voice

import antiphon.testing
from antiphon import RealtimeModel, RealtimeSession, recording
from antiphon.recording import Disconnected, Recording
from antiphon.testing import LocalServer

MakeModel = Callable[..., RealtimeModel]
MANUAL = {"turn_detection": None}


def write(session: RealtimeSession, text: str) -> None:
    """Add a message of the user, and wait until the server has it."""
    context = session.chat_ctx
    context.add_message(role="user", content=text)
    session.update_chat_ctx(context, timeout=PATIENCE)


def converse(session: RealtimeSession) -> list[str]:
    """A call: something is said, something is written; returns the answers."""
    said = say(session, voice())
    write(session, "A word in writing.")
    return [said_text(said), said_text(answer(session))]


@pytest.fixture
def recorded(parrot: LocalServer, make_model: MakeModel, file: Path) -> tuple[Recording, list[str]]:
    """A call, and what was answered in it."""
    session = make_model(parrot, **MANUAL).session(start=False)
    session.record(file)
    session.start()
    answers = converse(session)
    session.close()
    return recording.read(file), answers


def test_a_client_that_does_the_same_hears_the_same(
    recorded: tuple[Recording, list[str]], make_model: MakeModel
) -> None:
    call, answers = recorded
    assert len(set(answers)) == 2
    with antiphon.testing.replay(call.path) as server:
        with make_model(server, **MANUAL).session(start=False) as session:
            again = server.recording.path.with_name("again.jsonl")
            session.record(again)
            session.start()
            assert converse(session) == answers
            roles = [item.role for item in session.chat_ctx.items if item.type == "message"]
        assert server.missed == []
    assert roles == ["user", "assistant", "user", "assistant"]
    second = recording.read(again)
    assert np.array_equal(second.samples("out"), call.samples("out"))
    assert [frame.type for frame in second.frames if isinstance(frame, recording.Received)] == [
        frame.type for frame in call.frames if isinstance(frame, recording.Received)
    ]


def test_ids_of_the_clients_making_are_the_present_ones(
    recorded: tuple[Recording, list[str]], make_model: MakeModel
) -> None:
    call, _ = recorded
    with antiphon.testing.replay(call) as server:
        with make_model(server, **MANUAL).session() as session:
            converse(session)
        [create] = server.log.received("conversation.item.create")
        added = [record.event["item"]["id"] for record in server.log.sent("conversation.item.added")]
    [before] = frames(call, "conversation.item.create")
    assert create.event["item"]["id"] in added
    assert before.event["item"]["id"] not in added


def test_a_client_that_does_less_is_told_of(
    recorded: tuple[Recording, list[str]], make_model: MakeModel
) -> None:
    call, answers = recorded
    with antiphon.testing.replay(call, patience=0.1) as server:
        with make_model(server, **MANUAL).session() as session:
            assert said_text(say(session, voice())) == answers[0]
            server.log.wait_for(
                lambda record: record.direction == "sent" and len(server.log.sent("response.done")) == 2,
                PATIENCE,
            )
        assert [line.type for line in server.missed] == ["conversation.item.create", "response.create"]


@pytest.mark.parametrize("code", [1011, None])
def test_a_drop_happens_again(
    parrot: LocalServer, make_model: MakeModel, file: Path, code: int | None
) -> None:
    def call(session: RealtimeSession, server: LocalServer | None) -> list[str]:
        reconnects = session.events("session_reconnected")
        session.start()
        first = said_text(say(session, voice()))
        if server is not None:
            server.drop_all(code, "on purpose")
        reconnects.get(PATIENCE)
        return [first, said_text(say(session, voice(800, seed=2)))]

    model = make_model(parrot, **MANUAL)
    session = model.session(start=False)
    session.record(file)
    answers = call(session, parrot)
    session.close()
    with antiphon.testing.replay(file) as server:
        again = file.with_name("again.jsonl")
        with make_model(server, **MANUAL).session(start=False) as session:
            session.record(again)
            assert call(session, None) == answers
        assert server.missed == []
    ends = [line for line in recording.read(again).lines if isinstance(line, Disconnected)]
    assert [line.code for line in ends] == [code]
    assert len(events(recording.read(again), "session_reconnected")) == 1


def test_it_keeps_the_recorded_pace(parrot: LocalServer, make_model: MakeModel, file: Path) -> None:
    with make_model(parrot, **MANUAL).session(start=False) as session, session.record(file):
        session.start()
        answer(session)
        # The gap that is to be found again; nothing is waited for.
        time.sleep(0.4)
        parrot.drop_all(1011)
        reconnects = session.events("state_changed")
        while reconnects.get(PATIENCE)[1].new != "open":
            pass
    call = recording.read(file)
    ended = next(line.t for line in call.lines if isinstance(line, Disconnected))
    began = time.monotonic()
    with antiphon.testing.replay(call, pace=2.0) as server, make_model(server, **MANUAL).session() as session:
        states = session.events("state_changed")
        answer(session)
        while states.get(PATIENCE)[1].new != "reconnecting":
            pass
        assert time.monotonic() - began >= (ended - call.frames[0].t) / 2.0


def test_after_the_last_connection_it_begins_again(
    recorded: tuple[Recording, list[str]], make_model: MakeModel
) -> None:
    call, answers = recorded
    with antiphon.testing.replay(call, api_key=KEY) as server:
        model = make_model(server, **MANUAL)
        for _ in range(2):
            with model.session() as session:
                assert converse(session) == answers


def test_what_cannot_be_served_is_refused(recorded: tuple[Recording, list[str]], tmp_path: Path) -> None:
    call, _ = recorded
    with pytest.raises(ValueError, match="pace must be above 0"):
        antiphon.testing.replay(call, pace=0.0)
    with pytest.raises(FileNotFoundError):
        antiphon.testing.replay(tmp_path / "none.jsonl")
    empty = tmp_path / "empty.jsonl"
    empty.write_bytes(call.path.read_bytes().partition(b"\n")[0] + b"\n")
    with pytest.raises(ValueError, match="nothing passed"):
        antiphon.testing.replay(empty)
