"""What the conversations of these tests are made of: speech, sessions with their events, and the SDK's judgement."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from openai.types.realtime import RealtimeClientEvent
from pydantic import TypeAdapter
from sdk_oracle import misfit

from antiphon import (
    AudioFrame,
    GenerationCreatedEvent,
    InputTranscriptionCompleted,
    RealtimeModel,
    RealtimeSession,
    Stream,
    StreamEnded,
)
from antiphon.actors.audio import Resampler
from antiphon.actors.chat import new_item_id
from antiphon.protocol import ContentPart, ConversationItemCreate, MessageItem
from antiphon.testing import LocalServer, synthesize

KEY = "sk-for-these-tests-only"
NOISE = 60  # RMS of a quiet room, of 32767
WIRE = 24_000
PATIENCE = 20.0  # seconds; ends a test that would hang

Samples = NDArray[np.int16]
T = TypeVar("T")
_CLIENT_EVENT: TypeAdapter[Any] = TypeAdapter(RealtimeClientEvent)


# -- sessions --------------------------------------------------------------------------------------------


def model_for(server: LocalServer, **options: Any) -> RealtimeModel:
    """A model at this server, with the key that it wants."""
    return RealtimeModel(**{"base_url": server.url, "api_key": KEY, **options})


class Line:
    """An open session, with the events that tests wait for."""

    def __init__(self, model: RealtimeModel, **options: Any) -> None:
        self.session = session = model.session(start=False, **options)
        self.transcripts = session.events("input_audio_transcription_completed")
        self.generations = session.events("generation_created")
        self.reconnects = session.events("session_reconnected")
        self.speech = session.events("input_speech_started")
        self.tools = session.events("tool_finished")
        self.states = session.events("state_changed")
        self.errors = session.events("error", "actor_restarted", "audio_dropped")
        session.start()
        session.wait_open(PATIENCE)

    def transcript(self) -> InputTranscriptionCompleted:
        """The next final transcript of what the user said."""
        while True:
            event: InputTranscriptionCompleted = self.transcripts.get(PATIENCE)[1]
            if event.is_final:
                return event

    def generation(self) -> GenerationCreatedEvent:
        """The next response."""
        event: GenerationCreatedEvent = self.generations.get(PATIENCE)[1]
        return event

    def state(self, wanted: str) -> None:
        """Wait until the session has been in this state."""
        while self.states.get(PATIENCE)[1].new != wanted:
            pass

    def close(self) -> list[Any]:
        """Close the session; returns the errors that it reported in its whole life."""
        self.session.close()
        return [payload for _, payload in self.errors]


@dataclass
class Answer:
    """What a response said."""

    text: str
    samples: Samples
    message_ids: list[str]
    modalities: list[list[str]]


def drain(stream: Stream[T]) -> list[T]:
    """All that a stream brings, to its end."""
    items: list[T] = []
    while True:
        try:
            items.append(stream.get(PATIENCE))
        except StreamEnded:
            return items


def read(generation: GenerationCreatedEvent) -> Answer:
    """Read a response to its end."""
    answer = Answer("", np.zeros(0, np.int16), [], [])
    for message in drain(generation.message_stream):
        frames = [frame.data for frame in drain(message.audio_stream)]
        answer.samples = np.concatenate([answer.samples, *frames])
        answer.text += "".join(drain(message.text_stream))
        answer.message_ids.append(message.message_id)
        answer.modalities.append(message.modalities.result(PATIENCE))
    return answer


def write(session: RealtimeSession, text: str) -> str:
    """Add a message of the user to the conversation; returns its id."""
    context = session.chat_ctx
    item = context.add_message(role="user", content=text)
    report = session.update_chat_ctx(context, timeout=PATIENCE)
    assert report.created == [item.id]
    return item.id


def fence(session: RealtimeSession) -> None:
    """Return when the server has had all that the session was going to send by now, and has answered it.

    It adds a message. Not by `update_chat_ctx`: that compares with a copy, which may be old by the time it arrives.
    """
    added = session.events("remote_item_added")
    item = MessageItem(
        id=new_item_id(), role="user", content=[ContentPart(type="input_text", text="So far.")]
    )
    session.send_event(ConversationItemCreate(item=item))
    while added.get(PATIENCE)[1].item.id != item.id:
        pass


# -- speech ----------------------------------------------------------------------------------------------


def noise(samples: int, channels: int = 2, seed: int = 3) -> Samples:
    """The quiet of a room."""
    return np.random.default_rng(seed).normal(0.0, NOISE, (samples, channels)).astype(np.int16)


def spoken(text: str, rate: int = 48_000, channels: int = 2, quiet_s: float = 1.0) -> Samples:
    """A sentence in a quiet room, and the quiet after it: shape (samples, channels)."""
    mono, voice_rate = synthesize(text)
    if rate != voice_rate:
        resampler = Resampler(voice_rate, rate)
        mono = np.concatenate([resampler.push(mono), resampler.flush()])
    mono = np.concatenate([np.zeros(rate // 4, np.int16), mono, np.zeros(int(quiet_s * rate), np.int16)])
    mixed = mono[:, None].astype(np.int32) + noise(len(mono), channels)
    return mixed.clip(-32768, 32767).astype(np.int16)


def frames_of(samples: Samples, rate: int) -> Iterator[AudioFrame]:
    """Cut audio up as sound cards do: 10 to 20 ms at a time."""
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    at, turn = 0, 0
    while at < len(samples):
        size = rate * (10, 20, 15)[turn % 3] // 1000
        yield AudioFrame(samples[at : at + size], rate, channels)
        at, turn = at + size, turn + 1


def push(session: RealtimeSession, samples: Samples, rate: int) -> None:
    """Push audio, as fast as it goes."""
    for frame in frames_of(samples, rate):
        session.push_audio(frame)


def words(text: str) -> set[str]:
    """The words of a text, in lower case."""
    return set(re.findall(r"[a-z']+", text.lower()))


# -- the SDK's judgement ---------------------------------------------------------------------------------


def check_frames(server: LocalServer) -> None:
    """Assert that the SDK's models take every frame that came in, and know every key in it."""
    for record in server.log.received():
        event = record.event
        _CLIENT_EVENT.validate_python(event)
        problem = misfit(RealtimeClientEvent, event)
        assert problem is None, f"{record.type}: {problem}"


def kinds(server: LocalServer, kind: str) -> list[dict[str, Any]]:
    """The events of one type that came in."""
    return [record.event for record in server.log.received(kind)]
