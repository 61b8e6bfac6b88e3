"""What a session remembers does not grow with the length of the call, but for the conversation itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import wire as w

import antiphon.protocol as p
from antiphon import function_tool
from antiphon.actors import messages as m
from antiphon.actors.chat_ctx_core import REMEMBERED_DELETIONS
from antiphon.actors.playback import HISTORY
from antiphon.actors.tool_calls import REMEMBERED_CALLS

ACTORS = (m.CHAT_CTX, m.GENERATION, m.AUDIO_IN, m.CONNECTION)
# Grows by what is said, and shrinks when the application deletes from it.
CONVERSATION = "chat_ctx.mirror._entries"
SLACK = 10
# What is remembered of things past, and how much of it at most.
LIMITS = {
    "chat_ctx.deleted": REMEMBERED_DELETIONS,
    "generation._begun": REMEMBERED_CALLS,
    "generation._playback._items": HISTORY + 1,
}


@function_tool
def look() -> str:
    """Look."""
    return "seen"


def containers(value: Any, path: str, seen: set[int]) -> Iterator[tuple[str, int]]:
    """All dicts, lists, sets and deques that hang on an object of ours, with their sizes."""
    if id(value) in seen or path == CONVERSATION:
        return
    seen.add(id(value))
    if isinstance(value, dict | list | set | frozenset | deque):
        yield path, len(value)
        items = value.values() if isinstance(value, dict) else value
        for item in list(items)[:SLACK]:
            yield from containers(item, f"{path}[]", seen)
    elif type(value).__module__.startswith("antiphon.actors") and not callable(value):
        names = [*getattr(value, "__dict__", ()), *getattr(type(value), "__slots__", ())]
        for name in names:
            yield from containers(getattr(value, name, None), f"{path}.{name}", seen)


def sizes(case: Any) -> dict[str, int]:
    """The largest container at each place of a session."""
    actors = case.session._actors
    largest: dict[str, int] = {}
    seen: set[int] = set()
    roots = {name: actors.strand.actor(name).core for name in ACTORS}
    shells = {f"{name} shell": actors.strand.actor(name)._timers for name in ACTORS}
    others = {"strand": actors.strand, "emitter": actors.emitter, "playback": actors.playback}
    for root, value in {**roots, **shells, **others}.items():
        for path, size in containers(value, root, seen):
            largest[path] = max(size, largest.get(path, 0))
    return largest


def turn(case: Any, n: int) -> None:
    """A spoken turn with a tool call, a second response, edits, an interruption, and a request that is not answered."""
    session, wire, driver = case.session, case.wire, case.driver
    user, first, second, spoken = f"u{n}", f"r{n}a", f"r{n}b", f"m{n}"
    wire.reply(p.InputAudioBufferSpeechStarted(item_id=user, audio_start_ms=n * 1000))
    session.push_audio(np.zeros(2400, np.int16), sample_rate=24_000)
    driver.run()
    transcription = "conversation.item.input_audio_transcription"
    about = {"item_id": user, "content_index": 0}
    wire.reply(
        p.InputAudioBufferSpeechStopped(item_id=user, audio_end_ms=n * 1000 + 100),
        w.committed(user),
        w.item_added(
            p.MessageItem(id=user, role="user", content=[p.ContentPart(type="input_audio")]),
        ),
        {"type": f"{transcription}.delta", "delta": "hello", **about},
        {"type": f"{transcription}.completed", "transcript": "hello", "usage": None, **about}
        if n % 10
        else {"type": f"{transcription}.failed", "error": {"type": "x", "message": "no"}, **about},
        w.created(first),
        w.output_added(first, w.call(f"c{n}", f"call{n}")),
        w.item_added(w.call(f"c{n}", f"call{n}")),
        w.output_done(first, w.call(f"c{n}", f"call{n}")),
        w.done(first),
    )
    (output,) = (event["item"] for event in wire.of_type("conversation.item.create"))
    (request,) = wire.of_type("response.create")
    wire.reply(
        w.item_added(p.FunctionCallOutputItem(id=output["id"], call_id=f"call{n}", output="seen")),
        w.created(second, request),
        w.output_added(second, w.message(spoken)),
        w.item_added(w.message(spoken)),
        w.audio(second, spoken, np.zeros(480, np.int16)),
        w.transcript(second, spoken, "hi"),
    )
    session.playback.read(240)
    if n % 2:
        session.interrupt()
        driver.run()
    for event in wire.of_type("conversation.item.truncate"):
        wire.reply({**event, "type": "conversation.item.truncated"})
    wire.reply(
        w.output_done(second, w.message(spoken, "hi", kind="output_audio")),
        w.done(second, "cancelled" if n % 2 else "completed"),
    )
    session.playback.read(480)
    unwanted = session.generate_reply()
    driver.run()
    if n % 3:
        unwanted.cancel()
        driver.run()
    wire.reply(w.error("x", "Cancellation failed: no active response"))
    # A request that is given up, or never answered, ends by time at the latest.
    driver.advance(11.0)
    for item_id in (user, f"c{n}", output["id"], spoken):
        session.send_event(p.ConversationItemDelete(event_id=f"d{item_id}", item_id=item_id))
        driver.run()
        wire.reply(p.ConversationItemDeleted(item_id=item_id))
    wire.sent.clear()
    case.log.clear()


def hold(case: Any, turns: range) -> None:
    for n in turns:
        turn(case, n)


@pytest.mark.parametrize(
    "turns", [60, pytest.param(1_000, marks=[pytest.mark.full, pytest.mark.timeout(600)])]
)
def test_nothing_grows_with_the_length_of_a_call(case: Any, turns: int) -> None:
    case.session.update_tools([look], auto_execute=True)
    case.session.playback.configure(24_000)
    case.driver.run()
    case.wire.sent.clear()
    hold(case, range(20))
    before = sizes(case)
    hold(case, range(20, turns))
    after = sizes(case)
    grown = {
        path: (before.get(path, 0), size)
        for path, size in after.items()
        if size > max(LIMITS.get(path, 0), before.get(path, 0) + SLACK)
    }
    assert grown == {}
    assert len(case.session._actors.strand.actor(m.CHAT_CTX).core.mirror) < SLACK
    assert case.emitted("actor_restarted") == []
    assert case.session.state == "open"
