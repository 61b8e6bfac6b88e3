"""Connections that are cut at the worst moments: in a replay, before an answer, while sound goes in and out."""

from __future__ import annotations

import threading
from typing import Literal

import numpy as np
import pytest
from faults_harness import DEADLINE, WIRE, Line, newest, noise, received_audio, served_texts
from proxy import Cut, FaultProxy
from reliability import Measure, Row, row

from antiphon import Engine, RealtimeError, ServerVad, function_tool
from antiphon.protocol import FunctionCallItem, FunctionCallOutputItem
from antiphon.testing import LocalServer, synthesize

AGAIN = "`first_retry` + handshake"

IN_REPLAY = row(
    "drop during replay",
    sees="one more recoverable `error`; the mirror stays as it was; then one `session_reconnected` with all items",
    bound="`first_retry` + `retry_interval` · 1.2 + 2 handshakes",
    within=4,
)
IN_EDIT = row(
    "drop before an edit is acknowledged",
    sees="as for a reset; `update_chat_ctx` goes on waiting and returns its report",
    bound=AGAIN,
    within=3,
)
PENDING = row(
    "drop while a reply is pending",
    sees="as for a reset; the future fails with “session reconnection”; the next reply comes",
    bound=AGAIN,
    within=3,
)
AUDIO_OUT = row(
    "drop while audio streams out",
    sees="as for a reset; the streams end after what had arrived; `generation.done` fails",
    bound=AGAIN,
    within=3,
)
AUDIO_IN = row(
    "drop while audio streams in", sees="as for a reset; no sample is lost or doubled", bound=AGAIN, within=4
)
AUDIO_BOTH = row(
    "drop while audio streams in and out",
    sees="both of the above at once",
    bound=AGAIN,
    within=4,
)
ONSET = row(
    "drop before the server reports the beginning of speech",
    sees="as for a reset; the new server hears the speech from its beginning",
    bound=AGAIN,
    within=4,
)
DEAF = row(
    "black hole while the user speaks, with turn detection",
    sees="as for a black hole; the new server hears all that was said since the old one was last heard",
    bound="`ping_interval` + `ping_timeout` + `first_retry` + handshake",
    within=6,
)
COMMIT = row(
    "drop before a commit is confirmed, or its item announced",
    sees="as for a reset; the utterance is committed on the new connection, once",
    bound=AGAIN,
    within=3,
)
UNTRANSCRIBED = row(
    "drop between an utterance and its transcript",
    sees="as for a reset; the utterance, of which there are no words, is counted in `session_reconnected.items_lost`",
    bound=AGAIN,
    within=3,
)
TOOL = row(
    "drop while a tool runs",
    sees="as for a reset; the tool runs once, its output is sent once, the model goes on",
    bound=f"{AGAIN}, and the tool's own time",
    within=4,
)
FOLLOW_UP = row(
    "drop while the model is asked to go on after a tool",
    sees="as for a reset; it is asked again, on the new connection",
    bound=AGAIN,
    within=4,
)


@pytest.mark.parametrize(
    "cut", [Cut(after=500), Cut(after=1300), Cut(after=2000), Cut(within=b"conversation.item.added")]
)
@pytest.mark.parametrize("how", ["reset", "fin"])
def test_a_drop_during_the_replay_repeats_it(
    line: Line, proxy: FaultProxy, server: LocalServer, measure: Measure, cut: Cut, how: str
) -> None:
    said = [f"message {n}" for n in range(8)]
    for text in said:
        line.say(text)
    with measure(IN_REPLAY):
        proxy.fault = "reset"
        proxy.cut(Cut(cut.after, cut.within, "fin" if how == "fin" else "reset"))
        proxy.fault = "forward"
        line.wait_reconnected()
    assert not proxy.cut_pending
    assert line.texts() == served_texts(server) == said
    (event,) = line.of("session_reconnected")
    assert (event.items_restored, event.items_degraded) == (8, 0)
    assert [error.recoverable for error in line.of("error")] == [True, True]


@pytest.mark.parametrize(
    "cut", [Cut(after=1), Cut(within=b"conversation.item.deleted"), Cut(within=b"conversation.item.added")]
)
def test_an_edit_that_meets_a_drop_is_made_once(
    line: Line, proxy: FaultProxy, server: LocalServer, measure: Measure, cut: Cut
) -> None:
    for n in range(5):
        line.say(f"m{n}")
    context = line.session.chat_ctx
    del context.items[:2]
    context.add_message(role="user", content="m5")
    proxy.cut(cut)
    with measure(IN_EDIT):
        report = line.session.update_chat_ctx(context, timeout=DEADLINE)
        line.wait_reconnected()
    assert report.rejected == {}
    line.say("last")
    assert line.texts() == served_texts(server) == ["m2", "m3", "m4", "m5", "last"]


@pytest.mark.parametrize("how", ["reset", "fin"])
def test_a_drop_while_a_reply_is_pending_fails_it_and_the_next_one_comes(
    line: Line, proxy: FaultProxy, server: LocalServer, measure: Measure, how: str
) -> None:
    line.say("hello")
    proxy.cut(Cut(within=b'"response.created"', how="fin" if how == "fin" else "reset"))
    pending = line.session.generate_reply()
    with measure(PENDING):
        with pytest.raises(RealtimeError, match="session reconnection"):
            pending.result(DEADLINE)
        line.wait_reconnected()
        assert line.reply() == "completed"
    assert line.texts() == ["hello", "hello"]
    assert [item.id for item in line.session.chat_ctx.items] == [item.id for item in server.conversation()]


def test_a_drop_while_audio_streams_out_ends_the_streams(
    proxy: FaultProxy, engine: Engine, server: LocalServer, measure: Measure
) -> None:
    line = Line(proxy, engine)
    line.session.wait_open(DEADLINE)
    samples = noise(120_000, 1)
    line.speak(samples)
    line.session.commit_audio()
    generation = line.session.generate_reply().result(DEADLINE)
    message = generation.message_stream.get(DEADLINE)
    frames = [message.audio_stream.get(DEADLINE)]
    with measure(AUDIO_OUT):
        proxy.cut(Cut(within=b'"response.output_audio.delta"'))
        # Whatever happens, iteration ends normally.
        frames += message.audio_stream
        with pytest.raises(RealtimeError, match="session reconnection"):
            generation.done.result(DEADLINE)
        line.wait_reconnected()
    heard = b"".join(frame.data.tobytes() for frame in frames)
    assert samples.tobytes().startswith(heard)
    assert len(heard) < samples.nbytes
    # The user's utterance and what was heard of the answer are there again, as words.
    (event,) = line.of("session_reconnected")
    assert (event.items_restored, event.items_lost) == (2, 0)
    assert line.reply() == "completed"
    line.session.close()


@pytest.mark.parametrize("how", ["reset", "fin"])
def test_a_drop_while_audio_streams_in_loses_no_sample(
    line: Line, proxy: FaultProxy, server: LocalServer, measure: Measure, how: str
) -> None:
    samples = noise(96_000, 2)
    first = newest(server) + 1
    with measure(AUDIO_IN):
        line.speak(samples[:48_000])
        assert proxy.wait_for_bytes(60_000)
        proxy.cut(Cut(after=1, how="fin" if how == "fin" else "reset"))
        line.speak(samples[48_000:])
        line.wait_reconnected()
    line.session.commit_audio()
    committed = server.log.wait_for(
        lambda record: record.type == "input_audio_buffer.commit" and record.connection >= first, DEADLINE
    )
    assert received_audio(server, committed.connection) == samples.tobytes()


def test_a_drop_while_audio_streams_in_and_out_costs_the_answer_and_no_sample(
    proxy: FaultProxy, engine: Engine, measure: Measure
) -> None:
    first, second = noise(120_000, 3), noise(72_000, 4)
    with (
        LocalServer("parrot", pace=4.0) as server,
        FaultProxy(("127.0.0.1", server.port)) as slow,
    ):
        line = Line(slow, engine)
        line.session.wait_open(DEADLINE)
        line.speak(first)
        line.session.commit_audio()
        generation = line.session.generate_reply().result(DEADLINE)
        message = generation.message_stream.get(DEADLINE)
        message.audio_stream.get(DEADLINE)
        talking = threading.Thread(target=line.speak, args=(second,), name="talker")
        with measure(AUDIO_BOTH):
            talking.start()
            slow.cut(Cut(within=b'"response.output_audio.delta"'))
            line.wait_reconnected()
            with pytest.raises(RealtimeError, match="session reconnection"):
                generation.done.result(DEADLINE)
        talking.join()
        line.session.commit_audio()
        server.log.wait_received("input_audio_buffer.commit", DEADLINE, connection=1)
        assert received_audio(server, 1) == second.tobytes()
        assert line.of("audio_dropped") == []
        line.session.close()


@pytest.mark.parametrize(("known", "fault"), [(ONSET, None), (DEAF, "mute"), (DEAF, "black-hole")])
def test_speech_of_which_nothing_was_heard_before_the_drop_is_heard_after_it(
    proxy: FaultProxy,
    engine: Engine,
    server: LocalServer,
    measure: Measure,
    known: Row,
    fault: Literal["mute", "black-hole"] | None,
) -> None:
    # Before the session, because loading the voice may keep pings waiting.
    speech, _ = synthesize("What is the weather like in San Francisco?")
    line = Line(proxy, engine, turn_detection=ServerVad())
    line.session.wait_open(DEADLINE)
    line.say("before")
    old = newest(server)
    with measure(known):
        if fault is None:
            proxy.cut(Cut(within=b"input_audio_buffer.speech_started"))
        else:
            proxy.fault = fault
        line.speak(speech)
        line.wait_state("reconnecting")
        proxy.fault = "forward"
        line.wait_reconnected()
    line.speak(np.zeros(WIRE, np.int16))
    committed = server.log.wait_for(
        lambda record: record.type == "input_audio_buffer.committed" and record.connection > old, DEADLINE
    )
    assert speech.tobytes() in received_audio(server, committed.connection)
    line.session.close()


@pytest.mark.parametrize("frame", [b"input_audio_buffer.committed", b"conversation.item.added"])
def test_a_commit_that_meets_a_drop_is_made_once_in_the_new_conversation(
    proxy: FaultProxy, engine: Engine, server: LocalServer, measure: Measure, frame: bytes
) -> None:
    line = Line(proxy, engine)
    line.session.wait_open(DEADLINE)
    samples = noise(24_000, 5)
    proxy.cut(Cut(within=frame))
    line.speak(samples)
    with measure(COMMIT):
        line.session.commit_audio()
        line.wait_reconnected()
    line.say("and so on")
    last = newest(server)
    server.log.wait_sent("conversation.item.input_audio_transcription.completed", DEADLINE, connection=last)
    assert received_audio(server, last) == samples.tobytes()
    assert len(server.log.sent("input_audio_buffer.committed", last)) == 1
    assert len(line.session.chat_ctx.items) == len(server.conversation()) == 2
    line.session.close()


def test_an_utterance_whose_words_did_not_come_before_the_drop_is_reported_as_lost(
    proxy: FaultProxy, engine: Engine, server: LocalServer, measure: Measure
) -> None:
    line = Line(proxy, engine)
    line.session.wait_open(DEADLINE)
    line.say("before")
    proxy.cut(Cut(within=b"input_audio_transcription.completed"))
    line.speak(noise(24_000, 6))
    with measure(UNTRANSCRIBED):
        line.session.commit_audio()
        line.wait_reconnected()
    (event,) = line.of("session_reconnected")
    assert (event.items_restored, event.items_degraded, event.items_lost) == (1, 0, 1)
    assert line.texts() == served_texts(server) == ["before"]
    line.session.close()


@pytest.mark.parametrize("when", ["while it runs", "before its output is acknowledged"])
def test_a_tool_call_that_meets_a_drop_is_run_once_and_answered(
    line: Line, proxy: FaultProxy, server: LocalServer, measure: Measure, when: str
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    ran: list[str] = []

    @function_tool
    def look() -> str:
        """Look."""
        ran.append("look")
        begun.set()
        assert go_on.wait(DEADLINE)
        return "seen"

    line.session.update_tools([look], auto_execute=True)
    line.say("look")
    line.session.generate_reply(tool_choice="required").result(DEADLINE).done.result(DEADLINE)
    assert begun.wait(DEADLINE)
    with measure(TOOL):
        if when == "while it runs":
            proxy.fault = "reset"
            line.wait_state("reconnecting")
            proxy.fault = "forward"
            go_on.set()
        else:
            proxy.cut(Cut(within=b"function_call_output"))
            go_on.set()
        line.wait_reconnected()
    # Its answer may have been under way when the connection was cut; another one does no harm.
    assert line.reply() == "completed"
    assert ran == ["look"]
    assert len(line.of("tool_finished")) == 1
    kinds = [type(item) for item in server.conversation()]
    assert kinds.count(FunctionCallItem) == kinds.count(FunctionCallOutputItem) == 1
    assert [item.id for item in line.session.chat_ctx.items] == [item.id for item in server.conversation()]


def test_the_model_is_asked_again_to_go_on_after_a_tool(
    line: Line, proxy: FaultProxy, server: LocalServer, measure: Measure
) -> None:
    go_on = threading.Event()

    @function_tool
    def look() -> str:
        """Look."""
        assert go_on.wait(DEADLINE)
        return "seen"

    line.session.update_tools([look], auto_execute=True)
    line.say("look")
    line.session.generate_reply(tool_choice="required").result(DEADLINE).done.result(DEADLINE)
    proxy.cut(Cut(within=b'"response.created"'))
    with measure(FOLLOW_UP):
        go_on.set()
        line.wait_until(lambda: len(line.of("generation_created")) == 2)
    assert not proxy.cut_pending
    assert line.of("generation_created")[1].done.result(DEADLINE).status == "completed"
    assert line.texts() == ["look", "seen"]
    assert len(line.of("session_reconnected")) == 1
