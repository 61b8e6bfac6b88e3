"""livekit-plugins-openai where one event has to follow another, on one asyncio loop."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from benchmarks.checks import (
    check_barge_in,
    check_context,
    check_fairness,
    check_reconnect,
    check_reply,
)
from benchmarks.contestants.livekit_sessions import (
    Crowd,
    answered,
    first_message,
    generations,
    make_model,
    speech_started,
    warm_up,
)
from benchmarks.measure import PATIENCE_S, Server, Window, check

COMMIT = {"type": "input_audio_buffer.commit"}
PLAYED_MS = 100
CONNECT_S = 1.0


def barge_in(server: Server, busy: int, seconds: int, turn_deltas: int) -> dict[str, Any]:
    """The user talks over the model, again and again, while others talk."""
    return asyncio.run(_barge_in(server, busy, seconds, turn_deltas))


async def _barge_in(server: Server, busy: int, seconds: int, turn_deltas: int) -> dict[str, Any]:
    async with Crowd(server, busy, seconds) as crowd:
        model = make_model(server, f"barge-{turn_deltas}")
        session = model.session()
        made = generations(session)
        silent_ns: list[int] = []
        speaking: list[str] = []
        heard = asyncio.Event()

        # It has no playback of its own: this is what livekit-agents' does at the event.
        def cut(_: Any) -> None:
            silent_ns.append(time.monotonic_ns())
            session.truncate(message_id=speaking[-1], modalities=["audio"], audio_end_ms=PLAYED_MS)
            heard.set()

        session.on("input_speech_started", cut)
        with Window(server) as window:
            crowd.begin()
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                session.clear_audio()
                message = await first_message(made)
                speaking.append(message.message_id)
                for _ in range(turn_deltas):
                    await anext(message.audio_stream)
                session.send_event(COMMIT)
                await answered(heard)
                check([_ async for _ in message.audio_stream] == [], "audio after the cut")
            await crowd.join()
        check({len(one) for one in crowd.latencies} == {seconds * 10}, "the others missed audio")
        figures = check_barge_in(server, silent_ns, PLAYED_MS)
        await session.aclose()
        await model.aclose()
    return figures | {"turns": len(silent_ns), "server_share": window.server_share}


def reply(server: Server, replies: int) -> dict[str, Any]:
    """One reply after the other."""
    return asyncio.run(_reply(server, replies))


async def _reply(server: Server, replies: int) -> dict[str, Any]:
    called_ns, resolved_ns = [], []
    model = make_model(server, "reply")
    session = model.session()
    await asyncio.sleep(CONNECT_S)
    with Window(server) as window:
        for _ in range(replies):
            called_ns.append(time.monotonic_ns())
            generation = await session.generate_reply(instructions="Say hello.")
            resolved_ns.append(time.monotonic_ns())
            check([_ async for _ in generation.message_stream] == [], "a message without output")
    figures = check_reply(server, called_ns, resolved_ns)
    await session.aclose()
    await model.aclose()
    return figures | {"server_share": window.server_share}


async def _fill(session: Any, items: int) -> None:
    """Have the server announce its items."""
    heard = speech_started(session)
    session.clear_audio()
    await answered(heard)
    check(len(session.chat_ctx.items) == items, "items are missing in the mirror")


def reconnect(server: Server, sessions: int, items: int) -> dict[str, Any]:
    """The server drops all connections at once."""
    return asyncio.run(_reconnect(server, sessions, items))


async def _reconnect(server: Server, sessions: int, items: int) -> dict[str, Any]:
    model = make_model(server, f"chat-{items}")
    alive = [model.session() for _ in range(sessions)]
    for session in alive:
        await _fill(session, items)
    back_ns: list[int] = []
    for session in alive:
        session.on("session_reconnected", lambda _: back_ns.append(time.monotonic_ns()))
    dropped_ns = server.ask("drop")
    deadline = time.monotonic() + PATIENCE_S
    while len(back_ns) < sessions and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    check(len(back_ns) == sessions, f"{len(back_ns)} of {sessions} sessions came back")
    figures = check_reconnect(server, dropped_ns, back_ns, items)
    for session in alive:
        await session.aclose()
    await model.aclose()
    return figures


def context(server: Server, items: int, changes: int) -> dict[str, Any]:
    """Nothing changes; then items are taken out and others put in."""
    return asyncio.run(_context(server, items, changes))


async def _context(server: Server, items: int, changes: int) -> dict[str, Any]:
    from livekit.agents.llm import ChatMessage

    model = make_model(server, f"chat-{items}")
    session = model.session()
    await _fill(session, items)
    wanted = session.chat_ctx.copy()
    same_ms = float("inf")
    for _ in range(5 if items <= 1000 else 1):
        began = time.perf_counter()
        await session.update_chat_ctx(wanted)
        same_ms = min(same_ms, (time.perf_counter() - began) * 1000)
    for change in range(changes):
        said = ChatMessage(role="user", content=[f"What I meant was {change}."])
        wanted.items[items * change // changes] = said
    began = time.perf_counter()
    await session.update_chat_ctx(wanted)
    changed_ms = (time.perf_counter() - began) * 1000
    check([one.id for one in session.chat_ctx.items] == [one.id for one in wanted.items], "another order")
    figures = check_context(server, same_ms, changed_ms, changes)
    await session.aclose()
    await model.aclose()
    return figures


def fairness(server: Server, sessions: int, seconds: int) -> dict[str, Any]:
    """Sessions at real-time pace, first by themselves, then beside one that gets audio as fast as it takes it."""
    return asyncio.run(_fairness(server, sessions, seconds))


async def _fairness(server: Server, sessions: int, seconds: int) -> dict[str, Any]:
    async with Crowd(server, sessions, seconds) as alone:
        alone.begin()
        await alone.join()
    async with Crowd(server, sessions, seconds) as crowd:
        model = make_model(server, "flood")
        session = model.session()
        await warm_up(server, session)
        made, taken = generations(session), [0]

        async def consume() -> None:
            async for _ in (await first_message(made)).audio_stream:
                taken[0] += 1

        consumer = asyncio.create_task(consume())
        with Window(server) as window:
            session.clear_audio()
            crowd.begin()
            await crowd.join()
        flood = taken[0]
        session.send_event(COMMIT)
        await asyncio.wait_for(consumer, PATIENCE_S)
        figures = check_fairness(alone.latencies, crowd.latencies, flood, seconds)
        await session.aclose()
        await model.aclose()
    return figures | {"server_share": window.server_share}
