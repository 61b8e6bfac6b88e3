"""The user talks over the model: it falls silent, and the server is told what was really heard."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable
from typing import Any

import numpy as np
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

from antiphon import AudioFrame, GenerationCreatedEvent, RealtimeSession, ServerVad
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
            self.heard.append(self.session.playback.read_into(np.zeros(BLOCK, np.int16)))
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


def check_what_was_heard(
    server: LocalServer, session: RealtimeSession, item_id: str, heard_ms: float
) -> None:
    """One truncation, at what was handed out; mirror and server agree on what was heard."""
    (cut,) = truncations(server)
    assert (cut["item_id"], cut["content_index"]) == (item_id, 0)
    assert abs(cut["audio_end_ms"] - heard_ms) <= BLOCK_MS + FADE_MS + 1

    # The server keeps that much of the audio, and no transcript.
    session.send_event(ConversationItemRetrieve(item_id=item_id))
    kept = server.log.wait_sent("conversation.item.retrieved", PATIENCE).event["item"]["content"][0]
    audio = np.frombuffer(base64.b64decode(kept["audio"]), np.int16)
    assert abs(len(audio) * 1000 / WIRE - cut["audio_end_ms"]) <= 1
    assert not kept.get("transcript")

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
        check_what_was_heard(server, line.session, message.message_id, heard_ms)
        assert len(kinds(server, "response.create")) == 1
        assert line.close() == []


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
        check_what_was_heard(server, line.session, message.message_id, heard_ms)
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


def test_a_remote_player_reports_how_far_it_got(serve) -> None:
    server = serve("parrot", pace=100)
    with model_for(server) as model:
        line = Line(model, turn_detection_disabled=True)
        playback = line.session.playback
        sent, generation = say_back(line, 3)
        message = generation.message_stream.get(PATIENCE)
        frames = [frame.data for frame in drain(message.audio_stream)]
        generation.done.result(PATIENCE)
        assert sum(map(len, frames)) <= len(sent)
        playback.mark_played(message.message_id, 700)
        line.session.interrupt()
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
