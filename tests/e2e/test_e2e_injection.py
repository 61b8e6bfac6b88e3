"""A spoken conversation over real sockets in which a handler fails: it costs one message, and the talk goes on."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from e2e_harness import PATIENCE, Line, model_for, push, read, spoken, words

import antiphon.protocol as p
from antiphon import ServerVad
from antiphon.actors import messages as m
from antiphon.testing import LocalServer, transcribe

VAD = ServerVad(silence_duration_ms=400)

HANDLERS: list[tuple[str, type]] = [
    (m.CHAT_CTX, p.InputAudioBufferSpeechStarted),
    (m.CHAT_CTX, p.ConversationItemAdded),
    (m.CHAT_CTX, p.ConversationItemInputAudioTranscriptionCompleted),
    (m.GENERATION, p.ResponseCreated),
    (m.GENERATION, p.ResponseOutputAudioDelta),
    (m.GENERATION, p.ResponseOutputAudioTranscriptDelta),
    (m.GENERATION, p.ResponseOutputItemDone),
    (m.GENERATION, p.ResponseDone),
    (m.AUDIO_IN, m.PushAudio),
    (m.AUDIO_IN, p.InputAudioBufferCommitted),
    (m.CONNECTION, m.FrameReceived),
    (m.CONNECTION, m.TransmitAudio),
    (m.CONNECTION, m.FramesWritten),
]
# A few of them in every run of the tests, all when there is time.
QUICK = {p.ResponseOutputAudioDelta, p.ResponseDone, m.PushAudio}
CASES = [
    pytest.param(
        actor,
        kind,
        id=f"{actor}-{kind.__name__}",
        marks=[] if kind in QUICK else [pytest.mark.full],
    )
    for actor, kind in HANDLERS
]


def inject(line: Line, actor: str, kind: type) -> None:
    """Have the handler fail at the end of its next call."""
    struck: list[Any] = []
    core = line.session._actors.strand.actor(actor).core  # type: ignore[attr-defined]
    handler, undo = core.table[kind]

    def failing(core: Any, message: Any) -> None:
        handler(core, message)
        struck.append(message)
        if len(struck) == 1:
            raise ValueError("on purpose")

    core.table = {**core.table, kind: (failing, undo)}


def wait_for_response(server: LocalServer, number: int) -> None:
    """Wait until the server has ended so many responses."""
    ended: set[int] = set()

    def is_the_last(record: Any) -> bool:
        if record.direction == "sent" and record.type == "response.done":
            ended.add(id(record))
        return len(ended) == number

    server.log.wait_for(is_the_last, PATIENCE)


@pytest.mark.parametrize(("actor", "kind"), CASES)
def test_a_handler_that_fails_in_a_spoken_conversation(
    serve: Any, actor: str, kind: type, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "antiphon")
    server = serve("voice", pace=20)
    with model_for(server, turn_detection=VAD) as model:
        line = Line(model)
        push(line.session, spoken("What is two plus three?"), 48_000)
        assert "five" in words(read(line.generation()).text)
        wait_for_response(server, 1)
        inject(line, actor, kind)
        push(line.session, spoken("What is the weather in San Francisco?"), 48_000)
        wait_for_response(server, 2)
        push(line.session, spoken("How are you?"), 48_000)
        answer = read(line.generation())
        if "fine" not in words(answer.text):
            # That was the answer to the question before; its response was not what was lost.
            answer = read(line.generation())
        assert "fine" in words(answer.text)
        assert "fine" in words(transcribe(answer.samples, 24_000))
        assert line.session.state == "open"
        (report,) = line.close()
        assert (report.actor, report.message_type, report.restarted) == (actor, kind.__name__, True)
