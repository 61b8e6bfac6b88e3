"""Conversations with everything in them that telemetry is about: a tool, an interruption, a drop."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon import AudioFrame, RealtimeModel, RealtimeSession, function_tool
from antiphon.protocol import MessageItem
from antiphon.testing import LocalServer, synthesize
from antiphon.testing.brains.base import Call, Output, Request, Say, Sound

PATIENCE = 20.0  # seconds; ends a test that would hang
WIRE = 24_000
LONG = 60  # seconds that the first answer to speech lasts, so that it can be talked over
SECRET = "sk-for-these-tests-only"


class Oracle:
    """A brain that looks up what it is asked to in text, with the tool `look_up`, and hums otherwise."""

    def warm(self) -> None:
        """Nothing to load."""

    def hear(self, sound: Sound) -> str:
        """What every user says."""
        return "Hello there."

    def respond(self, request: Request) -> Iterator[Output]:
        """Call the tool, or hum."""
        last = request.turns[-1] if request.turns else None
        if last is not None and isinstance(last.item, MessageItem) and last.text.startswith("look up "):
            yield Call("look_up", json.dumps({"what": last.text.removeprefix("look up ")}))
        else:
            seconds = LONG if len(request.turns) == 1 and request.turns[0].text != "hum" else 4
            hum = (np.sin(np.arange(seconds * WIRE) * 0.05) * 8000).astype(np.int16)
            yield Say("Hum.", Sound(hum, WIRE))


@function_tool
def look_up(what: str) -> str:
    """Look something up.

    Args:
        what: What to look up.
    """
    if what == "trouble":
        raise ValueError("it is not known")
    return f"{what} is known"


def model_for(server: LocalServer, **options: Any) -> RealtimeModel:
    """A model at this server."""
    return RealtimeModel(**{"base_url": server.url, "api_key": SECRET, **options})


def ask(session: RealtimeSession, text: str) -> None:
    """Add a message of the user and wait for the response to it, and for that after its tool."""
    context = session.chat_ctx
    context.add_message(role="user", content=text)
    session.update_chat_ctx(context, timeout=PATIENCE)
    generations = session.events("generation_created")
    session.generate_reply()
    for _ in range(2 if text.startswith("look up ") else 1):
        generations.get(PATIENCE)[1].done.result(PATIENCE)


def interrupt_in_the_middle(session: RealtimeSession, server: LocalServer) -> None:
    """Have the model hum, hear a second of it, and cut it."""
    ask(session, "hum")
    session.playback.read(WIRE)
    session.interrupt()
    server.log.wait_sent("conversation.item.truncated", PATIENCE)
    session.chat_ctx  # noqa: B018 - behind what the engine has yet to do


def drop(session: RealtimeSession, server: LocalServer) -> None:
    """Cut the connection and wait until the conversation is restored."""
    reconnects = session.events("session_reconnected")
    server.drop_all()
    reconnects.get(PATIENCE)


def spoken(text: str) -> NDArray[np.int16]:
    """A sentence between two quiet stretches, at the wire's rate."""
    samples, rate = synthesize(text)
    assert rate == WIRE
    quiet = np.random.default_rng(3).normal(0, 60, WIRE).astype(np.int16)
    return np.concatenate([quiet[: WIRE // 4], samples, quiet])


def push(session: RealtimeSession, samples: NDArray[np.int16]) -> None:
    """Push audio, as fast as it goes."""
    for at in range(0, len(samples), WIRE // 50):
        session.push_audio(AudioFrame(samples[at : at + WIRE // 50], WIRE, 1))
