"""The user talks over the model: it falls silent, and the server is told what was really heard."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from e2e_harness import (
    PATIENCE,
    WIRE,
    Line,
    Samples,
    drain,
    fence,
    kinds,
    model_for,
    noise,
    push,
    read,
    spoken,
    words,
    write,
)

from antiphon import (
    AudioFrame,
    GenerationCreatedEvent,
    PlaybackInterruptedEvent,
    RealtimeSession,
    ServerVad,
)
from antiphon.actors.audio import Resampler
from antiphon.actors.playback import FADE_MS
from antiphon.protocol import ConversationItemRetrieve
from antiphon.testing import LocalServer, transcribe

RATE = 48_000
BLOCK_MS = 10
BLOCK = RATE * BLOCK_MS // 1000
QUIET = noise(RATE)
# The application answers by itself, so that after an interruption nothing new is said.
TALK = ServerVad(silence_duration_ms=400, create_response=False)


class Player:
    """A sound card: every 10 ms one block from the microphone, one to the loudspeaker."""

    def __init__(self, session: RealtimeSession) -> None:
        self.session = session
        self.heard: list[int] = []  # how many samples of each block were sound
        self.loudspeaker: list[Samples] = []  # what came out of it, without pauses: the recorded call
        self.mouth = np.zeros((0, 2), np.int16)
        session.playback.configure(RATE)

    @property
    def heard_ms(self) -> float:
        """How much sound was handed out so far."""
        return sum(self.heard) * 1000 / RATE

    def run(self, until: Callable[[], bool]) -> None:
        """In step with the clock, until a condition holds; the microphone hears `mouth`, then the room."""
        began = time.monotonic()
        for tick in range(int(PATIENCE * 1000 / BLOCK_MS)):
            piece, self.mouth = self.mouth[:BLOCK], self.mouth[BLOCK:]
            self.session.push_audio(AudioFrame(piece if len(piece) == BLOCK else QUIET[:BLOCK], RATE, 2))
            block = np.ones(BLOCK, np.int16)
            self.heard.append(self.session.playback.read_into(block))
            self.loudspeaker.append(block[: self.heard[-1]])
            if until():
                return
            time.sleep(max(0.0, began + (tick + 1) * BLOCK_MS / 1000 - time.monotonic()))
        raise AssertionError("it did not come about")


def tell_a_story(line: Line) -> GenerationCreatedEvent:
    write(line.session, "Tell me a long story.")
    return line.session.generate_reply().result(PATIENCE)


def truncations(server: LocalServer) -> list[dict[str, Any]]:
    return kinds(server, "conversation.item.truncate")


def said_by(server: LocalServer, item_id: str) -> tuple[str, float]:
    """The transcript of an item, and how many milliseconds of it were sent."""
    deltas = [record.event for record in server.log.sent("response.output_audio.delta")]
    size = sum(len(base64.b64decode(delta["delta"])) for delta in deltas if delta["item_id"] == item_id)
    done = [record.event for record in server.log.sent("response.output_audio_transcript.done")]
    (transcript,) = [event["transcript"] for event in done if event["item_id"] == item_id]
    return transcript, size / 2 * 1000 / WIRE


def check_recording(call: Samples, kept: Samples) -> None:
    """The recorded call is the audio that the server has kept, and nothing after it."""
    resampler = Resampler(WIRE, RATE)
    expected = np.concatenate([resampler.push(kept), resampler.flush()])
    # Not the last millisecond: the filter hears what was cut off there.
    expected = expected[: len(expected) - RATE // 1000]
    sound = np.flatnonzero(call)
    call = call[sound[0] : sound[-1] + 1]
    expected = expected[np.flatnonzero(expected)[0] :]
    heard = call[: len(expected)].astype(int)
    assert np.abs(heard - expected[: len(heard)]).max() <= 1
    assert 0 <= len(call) - len(expected) <= RATE * (BLOCK_MS + FADE_MS + 3) / 1000


def check_what_was_heard(
    server: LocalServer, session: RealtimeSession, item_id: str, heard_ms: float, call: Samples
) -> None:
    """One truncation, at what was handed out; mirror, server and the recorded call agree on what was heard."""
    (cut,) = truncations(server)
    assert (cut["item_id"], cut["content_index"]) == (item_id, 0)
    assert abs(cut["audio_end_ms"] - heard_ms) <= BLOCK_MS + FADE_MS + 1

    # The server keeps that much of the audio, and no transcript.
    session.send_event(ConversationItemRetrieve(item_id=item_id))
    kept = server.log.wait_sent("conversation.item.retrieved", PATIENCE).event["item"]["content"][0]
    audio = np.frombuffer(base64.b64decode(kept["audio"]), np.int16)
    assert abs(len(audio) * 1000 / WIRE - cut["audio_end_ms"]) <= 1
    assert not kept.get("transcript")
    check_recording(call, audio)

    # The mirror shows the part of the transcript in proportion to the time.
    transcript, sent_ms = said_by(server, item_id)
    item = session.chat_ctx.get_by_id(item_id)
    assert item.interrupted
    share = transcript[: round(len(transcript) * cut["audio_end_ms"] / sent_ms)]
    assert item.text_content.strip() == share.strip()
    assert len(share) < len(transcript)
    # An ear on the server's audio agrees, as far as proportion goes.
    ear = re.findall(r"[a-z']+", transcribe(audio, WIRE))
    assert {"once", "upon", "time"} <= set(ear)
    assert abs(len(ear) - len(share.split())) <= 0.4 * len(ear) + 2
    assert len(words(item.text_content) & set(ear)) >= 0.5 * min(len(set(ear)), len(words(item.text_content)))


def test_talking_over_a_story_silences_it(serve) -> None:
    server = serve("voice")
    with model_for(server, turn_detection=TALK) as model:
        line = Line(model)
        player = Player(line.session)
        generation = tell_a_story(line)
        message = generation.message_stream.get(PATIENCE)
        player.run(lambda: player.heard_ms >= 2500)
        player.mouth = spoken("Thank you, goodbye.", RATE)
        player.run(lambda: bool(truncations(server)))
        heard_ms, blocks = player.heard_ms, len(player.heard)
        # Silence from now on, but for the fade in the block after the cut.
        began = time.monotonic()
        player.run(lambda: time.monotonic() - began > 0.5)
        assert sum(player.heard[blocks:]) <= RATE * FADE_MS / 1000
        assert sum(player.heard[blocks + 1 :]) == 0
        assert line.session.playback.queued_ms == 0
        assert 2500 <= heard_ms < 6000
        assert generation.done.result(PATIENCE).status == "cancelled"
        fence(line.session)
        check_what_was_heard(
            server, line.session, message.message_id, heard_ms, np.concatenate(player.loudspeaker)
        )
        assert len(kinds(server, "response.create")) == 1
        assert line.close() == []


@pytest.mark.full
def test_the_answer_to_the_interruption_is_heard(serve) -> None:
    server = serve("voice")
    with model_for(server, turn_detection=ServerVad(silence_duration_ms=400)) as model:
        line = Line(model)
        player = Player(line.session)
        line.session.playback.configure(RATE)
        push(line.session, spoken("Tell me a long story."), RATE)
        story = line.generation()
        player.run(lambda: player.heard_ms >= 1500)
        player.mouth = spoken("Thank you, goodbye.", RATE)
        player.run(lambda: bool(truncations(server)))
        # The sentence and the turn end, and the answer comes.
        player.run(lambda: len(server.log.sent("response.created")) == 2)
        answer = line.generation()
        before = player.heard_ms
        done = answer.done
        player.run(lambda: done.done() and line.session.playback.queued_ms == 0)
        assert player.heard_ms - before > 500
        assert "welcome" in "".join(drain(answer.message_stream.get(PATIENCE).text_stream)).lower()
        assert story.done.result(PATIENCE).status == "cancelled"
        assert len(truncations(server)) == 1
        assert line.close() == []


@pytest.mark.full
def test_interrupt_by_hand_while_the_model_speaks(serve) -> None:
    server = serve("voice")
    with model_for(server, turn_detection=None) as model:
        line = Line(model)
        player = Player(line.session)
        generation = tell_a_story(line)
        message = generation.message_stream.get(PATIENCE)
        player.run(lambda: player.heard_ms >= 2500)
        line.session.interrupt()
        player.run(lambda: bool(truncations(server)))
        heard_ms, blocks = player.heard_ms, len(player.heard)
        assert generation.done.result(PATIENCE).status == "cancelled"
        began = time.monotonic()
        player.run(lambda: time.monotonic() - began > 0.3)
        assert sum(player.heard[blocks + 1 :]) == 0
        fence(line.session)
        assert len(kinds(server, "response.cancel")) == 1
        check_what_was_heard(
            server, line.session, message.message_id, heard_ms, np.concatenate(player.loudspeaker)
        )
        assert line.close() == []


def say_back(line: Line, seconds: float) -> tuple[Samples, GenerationCreatedEvent]:
    sent = np.random.default_rng(5).integers(-20_000, 20_000, int(seconds * WIRE)).astype(np.int16)
    push(line.session, sent, WIRE)
    line.session.commit_audio()
    return sent, line.session.generate_reply().result(PATIENCE)


def test_playback_outlives_the_response_and_is_cut_to_the_sample(serve) -> None:
    server = serve("parrot", pace=100)
    with model_for(server) as model:
        line = Line(model, turn_detection_disabled=True)
        playback = line.session.playback
        sent, generation = say_back(line, 5)
        assert generation.done.result(PATIENCE).status == "completed"
        assert playback.queued_ms == 5000
        assert np.array_equal(playback.read(WIRE), sent[:WIRE])
        line.session.interrupt()
        server.log.wait_sent("conversation.item.truncated", PATIENCE)
        rest = playback.read(WIRE)
        assert not rest[int(WIRE * FADE_MS / 1000) :].any()
        fence(line.session)
        (cut,) = truncations(server)
        assert cut["audio_end_ms"] == 1000
        assert not kinds(server, "response.cancel"), "nothing was active any more"
        assert line.session.chat_ctx.get_by_id(cut["item_id"]).interrupted
        assert line.close() == []


def test_what_was_heard_to_its_end_is_not_truncated(serve) -> None:
    server = serve("parrot", pace=100)
    with model_for(server) as model:
        line = Line(model, turn_detection_disabled=True)
        playback = line.session.playback
        sent, generation = say_back(line, 1)
        generation.done.result(PATIENCE)
        assert np.array_equal(playback.read(len(sent)), sent)
        line.session.interrupt()
        fence(line.session)
        assert not truncations(server)
        assert not kinds(server, "conversation.item.delete")
        assert line.close() == []


def test_what_was_not_heard_at_all_is_deleted(serve) -> None:
    server = serve("parrot", pace=100)
    with model_for(server) as model:
        line = Line(model, turn_detection_disabled=True)
        playback = line.session.playback
        wire = line.session.events("openai_server_event_received")
        _, generation = say_back(line, 1)
        generation.done.result(PATIENCE)
        line.session.interrupt()
        while wire.get(PATIENCE)[1]["type"] != "conversation.item.deleted":
            pass
        assert not playback.read(WIRE).any()
        fence(line.session)
        assert not truncations(server)
        assert [item.role for item in server.conversation()] == ["user", "user"]
        assert [item.role for item in line.session.chat_ctx.items] == ["user", "user"]
        assert line.close() == []


def test_of_several_queued_messages_each_is_cut_where_it_was_heard(serve) -> None:
    server = serve("parrot", pace=100)
    with model_for(server) as model:
        line = Line(model, turn_detection_disabled=True)
        playback = line.session.playback
        ids = []
        for _ in range(3):
            _, generation = say_back(line, 1)
            ids.append(generation.message_stream.get(PATIENCE).message_id)
            generation.done.result(PATIENCE)
        assert playback.queued_ms == 3000
        playback.read(WIRE * 3 // 2)
        line.session.interrupt()
        line.session.interrupt()
        fence(line.session)
        assert [(cut["item_id"], cut["audio_end_ms"]) for cut in truncations(server)] == [(ids[1], 500)]
        assert [gone["item_id"] for gone in kinds(server, "conversation.item.delete")] == [ids[2]]
        # The one that was said back first is untouched; the last was never heard.
        roles = ["user", "assistant", "user", "assistant", "user", "user"]
        assert [item.role for item in server.conversation()] == roles
        assert [item.id for item in line.session.chat_ctx.items] == [
            item.id for item in server.conversation()
        ]
        assert line.close() == []


def test_a_message_that_was_deleted_is_not_truncated(serve) -> None:
    server = serve("parrot", pace=100)
    with model_for(server) as model:
        line = Line(model, turn_detection_disabled=True)
        playback = line.session.playback
        _, generation = say_back(line, 1)
        message = generation.message_stream.get(PATIENCE)
        generation.done.result(PATIENCE)
        playback.read(WIRE // 2)
        context = line.session.chat_ctx
        context.items.remove(context.get_by_id(message.message_id))
        assert line.session.update_chat_ctx(context).deleted == [message.message_id]
        line.session.interrupt()
        assert playback.queued_ms == 0 or playback.wait_drained(PATIENCE)
        fence(line.session)
        assert not truncations(server)
        assert len(kinds(server, "conversation.item.delete")) == 1
        assert line.close() == []


def test_a_written_message_is_not_truncated(serve) -> None:
    server = serve("voice", pace=100)
    with model_for(server, modalities=["text"], turn_detection=None) as model:
        line = Line(model)
        playback = line.session.playback
        generation = tell_a_story(line)
        message = generation.message_stream.get(PATIENCE)
        message.text_stream.get(PATIENCE)
        assert not playback.read(WIRE).any()
        line.session.interrupt()
        generation.done.result(PATIENCE)
        fence(line.session)
        assert not truncations(server)
        assert not kinds(server, "conversation.item.delete")
        assert line.close() == []


def test_a_message_that_was_restored_as_words_is_not_truncated(serve) -> None:
    server = serve("voice", pace=50)
    with model_for(server, turn_detection=None) as model:
        line = Line(model)
        playback = line.session.playback
        write(line.session, "What can you do?")
        generation = line.session.generate_reply().result(PATIENCE)
        generation.done.result(PATIENCE)
        playback.read(WIRE // 2)
        line.session.restart()
        line.reconnects.get(PATIENCE)
        assert playback.queued_ms > 0, "what had come is still there to be heard"
        line.session.interrupt()
        fence(line.session)
        assert not truncations(server)
        assert not playback.read(WIRE)[int(WIRE * FADE_MS / 1000) :].any()
        assert line.close() == []


def test_push_to_talk(serve) -> None:
    server = serve("parrot", pace=100)
    with model_for(server) as model:
        line = Line(model, turn_detection_disabled=True)
        playback = line.session.playback
        _, story = say_back(line, 3)
        first = story.message_stream.get(PATIENCE).message_id
        story.done.result(PATIENCE)
        playback.read(WIRE)
        # The button goes down, and up again after a question.
        line.session.interrupt()
        sent, answer = say_back(line, 1)
        answer.done.result(PATIENCE)
        fade = int(WIRE * FADE_MS / 1000)
        assert np.array_equal(playback.read(fade + len(sent))[fade:], sent)
        assert playback.queued_ms == 0
        fence(line.session)
        assert [(cut["item_id"], cut["audio_end_ms"]) for cut in truncations(server)] == [(first, 1000)]
        sequence = [record.type for record in server.log.received()]
        commits = [place for place, kind in enumerate(sequence) if kind == "input_audio_buffer.commit"]
        assert sequence.index("conversation.item.truncate") < commits[1]
        assert line.close() == []


@pytest.mark.parametrize("format", ["g711_ulaw", "g711_alaw"])
def test_a_telephone_hears_and_cuts_the_same(serve, format: str) -> None:
    server = serve("parrot", pace=100)
    options = {"input_audio_format": format, "output_audio_format": format}
    with model_for(server, **options) as model:
        line = Line(model, turn_detection_disabled=True)
        playback = line.session.playback
        assert playback.sample_rate == 8000
        sent = (8000 * np.sin(np.arange(16_000) * 0.3)).astype(np.int16)
        push(line.session, sent, 8000)
        line.session.commit_audio()
        generation = line.session.generate_reply().result(PATIENCE)
        generation.done.result(PATIENCE)
        assert playback.queued_ms == 2000
        heard = playback.read(8000)
        # Eight bits, twice.
        assert np.abs(heard.astype(int) - sent[:8000]).max() < 600
        line.session.interrupt()
        fence(line.session)
        assert [cut["audio_end_ms"] for cut in truncations(server)] == [1000]
        assert line.close() == []


def test_a_remote_player_reports_how_far_it_got(serve) -> None:
    server = serve("parrot", pace=100)
    with model_for(server) as model:
        line = Line(model, turn_detection_disabled=True)
        playback = line.session.playback
        playback.use_remote_player()
        sent, generation = say_back(line, 3)
        generation.done.result(PATIENCE)
        message = generation.message_stream.get(PATIENCE)
        # However late it looks, nothing is missing.
        frames = [frame.data for frame in drain(message.audio_stream)]
        assert sum(map(len, frames)) == len(sent)
        playback.mark_played(message.message_id, 700)
        events = line.session.events("playback_interrupted")
        line.session.interrupt()
        _, told = events.get(PATIENCE)
        assert told == PlaybackInterruptedEvent(item_id=message.message_id, heard_ms=700, reason="interrupt")
        server.log.wait_sent("conversation.item.truncated", PATIENCE)
        assert [cut["audio_end_ms"] for cut in truncations(server)] == [700]
        assert line.close() == []


def test_without_playback_the_server_is_told_nothing(serve) -> None:
    server = serve("voice")
    with model_for(server, turn_detection=TALK) as model:
        line = Line(model)
        generation = tell_a_story(line)
        message = generation.message_stream.get(PATIENCE)
        message.audio_stream.get(PATIENCE)
        push(line.session, spoken("Thank you, goodbye."), RATE)
        line.speech.get(PATIENCE)
        assert generation.done.result(PATIENCE).status == "cancelled"
        fence(line.session)
        assert not truncations(server)
        assert not kinds(server, "response.cancel")
        assert line.close() == []


def test_with_interrupt_response_off_the_model_goes_on(serve) -> None:
    server = serve("voice", pace=20)
    deaf = ServerVad(silence_duration_ms=400, create_response=False, interrupt_response=False)
    with model_for(server, turn_detection=deaf) as model:
        line = Line(model)
        playback = line.session.playback
        write(line.session, "What can you do?")
        generation = line.session.generate_reply().result(PATIENCE)
        push(line.session, spoken("Thank you, goodbye."), RATE)
        line.speech.get(PATIENCE)
        read(generation)
        assert generation.done.result(PATIENCE).status == "completed"
        assert playback.queued_ms > 1000
        fence(line.session)
        assert not truncations(server)
        assert not kinds(server, "response.cancel")
        assert line.close() == []
