"""The connection is lost; the conversation and the half-spoken sentence are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from e2e_harness import (
    PATIENCE,
    WIRE,
    Line,
    Samples,
    drain,
    kinds,
    model_for,
    push,
    read,
    spoken,
    words,
    write,
)

from antiphon import (
    ConnectOptions,
    FunctionCall,
    FunctionCallOutput,
    RealtimeError,
    ServerVad,
    Timeouts,
    function_tool,
)
from antiphon.testing import LocalServer, Script, transcribe
from antiphon.testing.brains.parrot import HEARD

SLOW_RETRY = Timeouts(first_retry=0.3)


def sound(samples: int, seed: int) -> Samples:
    return np.random.default_rng(seed).integers(-32768, 32768, samples).astype(np.int16)


def heard_by(server: LocalServer, connection: int, samples: int) -> None:
    """Wait until a connection has received so much audio."""
    got = 0

    def enough(record: Any) -> bool:
        nonlocal got
        if (record.direction, record.connection) == ("received", connection) and "append" in record.type:
            got += len(record.event["audio"]) * 3 // 4 // 2
        return got >= samples

    server.log.wait_for(enough, PATIENCE)


def converse(line: Line) -> None:
    """A conversation with something of every kind: text, a call with its output, speech both ways."""
    session = line.session
    context = session.chat_ctx
    context.add_message(role="system", content="You are a parrot.")
    context.add_message(role="user", content="What is the weather?")
    context.insert(FunctionCall("call_1", "get_weather", '{"city": "Rome"}'))
    context.insert(FunctionCallOutput("call_1", "sunny"))
    context.add_message(role="assistant", content="It is sunny.")
    session.update_chat_ctx(context)
    session.push_audio(sound(WIRE, 1), sample_rate=WIRE, num_channels=1)
    session.commit_audio()
    read(session.generate_reply().result(PATIENCE))
    line.transcript()


def texts(server: LocalServer) -> list[str]:
    """What the newest conversation says, item by item."""
    said = []
    for item in server.conversation():
        if hasattr(item, "content"):
            said.append(" ".join(str(part.text or part.transcript) for part in item.content))
        else:
            said.append(str(getattr(item, "output", None) or getattr(item, "arguments", None)))
    return said


@pytest.mark.parametrize("code", [None, 1001, 1011])
def test_the_conversation_and_the_half_spoken_sentence_survive(serve, code) -> None:
    server = serve("parrot", pace=50)
    first, second = sound(WIRE + 123, 2), sound(WIRE // 2 + 77, 3)
    with model_for(server, timeouts=SLOW_RETRY) as model:
        line = Line(model, turn_detection_disabled=True)
        session = line.session
        session.update_instructions("Repeat.")
        converse(line)
        before = session.chat_ctx
        ids = [item.id for item in server.conversation()]
        assert len(ids) == 7

        push(session, first, WIRE)
        heard_by(server, 0, 2 * WIRE)
        server.drop_all(code, "test" if code else "")
        line.state("reconnecting")
        assert session.chat_ctx == before, "the mirror never looks empty"
        push(session, second, WIRE)
        event = line.reconnects.get(PATIENCE)[1]
        assert event.reason
        assert 0 <= event.downtime < 20
        assert (event.items_restored, event.items_degraded) == (7, 2)
        assert event.audio_dropped_ms == 0
        assert session.state == "open"

        assert [item.id for item in server.conversation()] == ids
        assert texts(server) == [
            "You are a parrot.",
            "What is the weather?",
            '{"city": "Rome"}',
            "sunny",
            "It is sunny.",
            HEARD,
            HEARD,
        ]
        assert kinds(server, "session.update")[-1]["session"]["instructions"] == "Repeat."
        assert [item.id for item in session.chat_ctx.items] == ids

        session.commit_audio()
        back = read(session.generate_reply().result(PATIENCE)).samples
        assert back.tobytes() == first.tobytes() + second.tobytes()
        errors = line.close()
        assert [error.recoverable for error in errors] == [True]


def test_audio_that_was_committed_is_not_sent_again(serve) -> None:
    server = serve("parrot", pace=50)
    with model_for(server, timeouts=SLOW_RETRY) as model:
        line = Line(model, turn_detection_disabled=True)
        line.session.push_audio(sound(WIRE, 4), sample_rate=WIRE, num_channels=1)
        line.session.commit_audio()
        line.transcript()
        line.session.push_audio(sound(WIRE, 5), sample_rate=WIRE, num_channels=1)
        line.session.clear_audio()
        server.log.wait_sent("input_audio_buffer.cleared", PATIENCE)
        server.drop_all()
        line.reconnects.get(PATIENCE)
        last = sound(5000, 6)
        push(line.session, last, WIRE)
        line.session.commit_audio()
        back = read(line.session.generate_reply().result(PATIENCE)).samples
        assert np.array_equal(back, last)
        line.close()


@pytest.mark.parametrize("when", ["before the drop", "while down"])
def test_a_commit_that_the_drop_swallowed_is_made_again(serve, when) -> None:
    script = drop_at("input_audio_buffer.commit")
    server = serve("parrot" if when == "while down" else script, pace=50)
    samples = sound(WIRE, 7)
    with model_for(server, timeouts=SLOW_RETRY) as model:
        line = Line(model, turn_detection_disabled=True)
        server.log.wait_sent("session.updated", PATIENCE)
        script.turn.clear()  # from the next connection on
        push(line.session, samples, WIRE)
        if when == "while down":
            heard_by(server, 0, WIRE)
            server.drop_all()
            line.state("reconnecting")
        line.session.commit_audio()
        line.reconnects.get(PATIENCE)
        assert line.transcript().transcript == HEARD
        back = read(line.session.generate_reply().result(PATIENCE)).samples
        assert np.array_equal(back, samples)
        line.close()


def drop_at(kind: str) -> Script:
    """A parrot that is cut off by an event before it has answered it."""
    return Script.parse(f"""
        brain = "parrot"
        [[turn]]
        wait = "{kind}"
        swallow = true
        do = [{{ drop = true }}]
    """)


def test_a_question_cut_in_half_by_the_drop_is_understood(serve) -> None:
    """With server VAD: what was said since the speech began is said again, and the rest follows."""
    server = serve("voice", pace=20)
    question = spoken("What is the weather in San Francisco?")
    half = len(question) // 3
    with model_for(server, turn_detection=ServerVad(silence_duration_ms=400), timeouts=SLOW_RETRY) as model:
        line = Line(model)
        push(line.session, question[:half], 48_000)
        line.speech.get(PATIENCE)
        server.drop_all()
        line.state("reconnecting")
        push(line.session, question[half:], 48_000)
        line.reconnects.get(PATIENCE)
        generation = line.generation()
        assert {"weather", "san", "francisco"} <= words(line.transcript().transcript)
        assert "sunny" in words(transcribe(read(generation).samples, WIRE))
        line.close()


def test_a_reply_under_way_fails_and_the_next_one_comes(serve) -> None:
    script = drop_at("response.create")
    server = serve(script, pace=50)
    with model_for(server, timeouts=SLOW_RETRY) as model:
        line = Line(model, turn_detection_disabled=True)
        write(line.session, "Hello.")
        script.turn.clear()  # from the next connection on
        with pytest.raises(RealtimeError, match="session reconnection"):
            line.session.generate_reply().result(PATIENCE)
        line.state("reconnecting")
        waiting = line.session.generate_reply()
        assert read(waiting.result(PATIENCE)).text == "Hello."
        assert len(kinds(server, "response.create")) == 2
        line.close()


def test_a_drop_in_the_middle_of_an_answer_ends_its_streams(serve) -> None:
    server = serve("parrot", pace=1)
    with model_for(server, timeouts=SLOW_RETRY) as model:
        line = Line(model, turn_detection_disabled=True)
        line.session.push_audio(sound(5 * WIRE, 8), sample_rate=WIRE, num_channels=1)
        line.session.commit_audio()
        generation = line.session.generate_reply().result(PATIENCE)
        message = generation.message_stream.get(PATIENCE)
        message.audio_stream.get(PATIENCE)
        server.drop_all()
        assert sum(len(frame.data) for frame in drain(message.audio_stream)) < 5 * WIRE
        assert drain(generation.message_stream) == []
        with pytest.raises(RealtimeError):
            generation.done.result(PATIENCE)
        line.reconnects.get(PATIENCE)
        assert not line.session.has_active_generation
        line.close()


def test_a_server_that_is_started_again(serve) -> None:
    first = serve("parrot", pace=50)
    patience = ConnectOptions(max_retry=100, retry_interval=0.1, timeout=5)
    with model_for(first, conn_options=patience) as model:
        line = Line(model, turn_detection_disabled=True)
        line.session.update_tools([_weather])
        write(line.session, "One.")
        first.stop()
        line.state("reconnecting")
        line.session.update_instructions("Asked for while down.")
        second = serve("parrot", pace=50, port=first.port)
        event = line.reconnects.get(PATIENCE)[1]
        assert (event.items_restored, event.items_degraded) == (1, 0)
        write(line.session, "Two.")
        assert read(line.session.generate_reply().result(PATIENCE)).text == "Two."
        assert [item.content[0].text for item in second.conversation() if item.role == "user"] == [
            "One.",
            "Two.",
        ]
        merged: dict[str, Any] = {}
        for update in kinds(second, "session.update"):
            merged.update(update["session"])
        assert merged["instructions"] == "Asked for while down."
        assert [tool["name"] for tool in merged["tools"]] == ["weather"]
        line.close()


@function_tool(name="weather")
def _weather() -> str:
    return "fine"


def test_restart_on_request_loses_nothing(serve) -> None:
    server = serve("parrot", pace=50)
    first, second = sound(WIRE, 9), sound(WIRE, 10)
    with model_for(server) as model:
        line = Line(model, turn_detection_disabled=True)
        write(line.session, "One.")
        push(line.session, first, WIRE)
        line.session.restart()
        push(line.session, second, WIRE)
        event = line.reconnects.get(PATIENCE)[1]
        assert event.items_restored == 1
        line.session.commit_audio()
        back = read(line.session.generate_reply().result(PATIENCE)).samples
        assert back.tobytes() == first.tobytes() + second.tobytes()
        assert line.close() == []


def test_a_session_that_expires_on_the_server_is_renewed(serve) -> None:
    server = serve("parrot", pace=50, session_limit_s=0.5)
    with model_for(server) as model:
        line = Line(model, turn_detection_disabled=True)
        write(line.session, "One.")
        for _ in range(2):
            assert line.reconnects.get(PATIENCE)[1].items_restored == 1
        assert [item.text_content for item in line.session.chat_ctx.items] == ["One."]
        assert line.close() == []


def test_policy_violation_ends_the_session_at_once(serve) -> None:
    server = serve("parrot")
    with model_for(server) as model:
        line = Line(model)
        server.log.wait_sent("session.updated", PATIENCE)
        server.drop_all(1008, "no")
        line.state("closed")
        assert len({record.connection for record in server.log.received()}) == 1
        with pytest.raises(RealtimeError, match="1008"):
            line.session.wait_open(PATIENCE)
        assert [error.recoverable for error in line.close()] == [False]
