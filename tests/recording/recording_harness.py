"""What the tests of recordings are made of."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon import AudioFrame, GenerationCreatedEvent, RealtimeSession
from antiphon.recording import Event, Frame, Recording
from antiphon.testing import LocalServer

KEY = "sk-a-key-for-these-tests-only"
PATIENCE = 20.0  # seconds; ends a test that would hang
WIRE = 24_000

Samples = NDArray[np.int16]


def voice(ms: int = 600, seed: int = 1) -> Samples:
    """Something that is heard exactly as it was said: noise, 24 kHz mono."""
    return np.random.default_rng(seed).integers(-3000, 3000, WIRE * ms // 1000).astype(np.int16)


def say(session: RealtimeSession, samples: Samples) -> GenerationCreatedEvent:
    """Push audio and commit it, ask for an answer, and read that to its end."""
    session.push_audio(AudioFrame(samples, WIRE, 1))
    session.commit_audio()
    return answer(session)


def answer(session: RealtimeSession) -> GenerationCreatedEvent:
    """Ask for an answer and wait for its end."""
    generation = session.generate_reply().result(PATIENCE)
    generation.done.result(PATIENCE)
    return generation


def said_text(generation: GenerationCreatedEvent) -> str:
    """The words of an answer that has ended."""
    return "".join("".join(message.text_stream) for message in generation.message_stream)


def carried(server: LocalServer, direction: str) -> bytes:
    """The audio that passed, by the server's own log."""
    kind, field = {
        "received": ("input_audio_buffer.append", "audio"),
        "sent": ("response.output_audio.delta", "delta"),
    }[direction]
    return b"".join(
        base64.b64decode(record.event[field])
        for record in server.log.all()
        if record.direction == direction and record.type == kind
    )


def events(recording: Recording, name: str) -> list[dict[str, Any]]:
    """The payloads of a recording's events of this name."""
    return [line.payload for line in recording.lines if isinstance(line, Event) and line.name == name]


def frames(recording: Recording, kind: str) -> list[Frame]:
    """The frames of this type."""
    return [frame for frame in recording.frames if frame.type == kind]
