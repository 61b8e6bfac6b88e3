"""antiphon where one event has to follow another: barge-in, replies, reconnects, the chat context, fairness."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from benchmarks.checks import (
    check_barge_in,
    check_context,
    check_fairness,
    check_reconnect,
    check_reply,
)
from benchmarks.contestants.antiphon_sessions import (
    Crowd,
    generations,
    make_model,
    speech_started,
    warm_up,
)
from benchmarks.measure import PATIENCE_S, Server, Window, check, fastest_ms

if TYPE_CHECKING:
    from antiphon import RealtimeSession

COMMIT = {"type": "input_audio_buffer.commit"}
PLAYED_MS = 100
# Between two looks at the player; what is shorter can't be told from it.
LOOK_S = 0.0001


def barge_in(server: Server, busy: int, seconds: int, turn_deltas: int) -> dict[str, Any]:
    """The user talks over the model, again and again, while others talk."""
    crowd = Crowd(server, busy, seconds)
    with crowd.model, make_model(server, f"barge-{turn_deltas}") as model:
        session = model.session().wait_open()
        playback = session.playback
        made = generations(session)
        silent_ns: list[int] = []
        with Window(server) as window:
            crowd.begin()
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                session.clear_audio()
                generation = made.get(timeout=PATIENCE_S)
                _wait(lambda: playback.queued_ms >= turn_deltas * 100, 0.001)
                playback.read(PLAYED_MS * 24)
                session.send_event(COMMIT)
                _wait(lambda: playback.queued_ms == 0, LOOK_S)
                silent_ns.append(time.monotonic_ns())
                generation.done.result(PATIENCE_S)
            crowd.join()
        check({len(one) for one in crowd.latencies} == {seconds * 10}, "the others missed audio")
        figures = check_barge_in(server, silent_ns, PLAYED_MS)
    return figures | {"turns": len(silent_ns), "server_share": window.server_share}


def _wait(true: Any, pause_s: float) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        check(time.monotonic() < deadline, "playback does not change")
        time.sleep(pause_s)


def reply(server: Server, replies: int) -> dict[str, Any]:
    """One reply after the other."""
    called_ns, resolved_ns = [], []
    with make_model(server, "reply") as model:
        session = model.session().wait_open()
        with Window(server) as window:
            for _ in range(replies):
                called_ns.append(time.monotonic_ns())
                generation = session.generate_reply(instructions="Say hello.").result(PATIENCE_S)
                resolved_ns.append(time.monotonic_ns())
                generation.done.result(PATIENCE_S)
        return check_reply(server, called_ns, resolved_ns) | {"server_share": window.server_share}


def _fill(session: RealtimeSession, items: int) -> None:
    """Have the server announce its items."""
    heard = speech_started(session)
    session.clear_audio()
    check(heard.wait(PATIENCE_S), "no conversation")
    check(len(session.chat_ctx.items) == items, "items are missing in the mirror")


def reconnect(server: Server, sessions: int, items: int) -> dict[str, Any]:
    """The server drops all connections at once."""
    with make_model(server, f"chat-{items}") as model:
        alive = [model.session().wait_open(PATIENCE_S) for _ in range(sessions)]
        for session in alive:
            _fill(session, items)
        back_ns: list[int] = []
        for session in alive:
            session.on("session_reconnected", lambda _: back_ns.append(time.monotonic_ns()))
        dropped_ns = server.ask("drop")
        deadline = time.monotonic() + PATIENCE_S
        while len(back_ns) < sessions and time.monotonic() < deadline:
            time.sleep(0.01)
        check(len(back_ns) == sessions, f"{len(back_ns)} of {sessions} sessions came back")
        return check_reconnect(server, dropped_ns, back_ns, items)


def context(server: Server, items: int, changes: int) -> dict[str, Any]:
    """Nothing changes; then items are taken out and others put in."""
    from antiphon import ChatMessage

    with make_model(server, f"chat-{items}") as model:
        session = model.session().wait_open()
        _fill(session, items)
        wanted = session.chat_ctx
        same_ms = fastest_ms(lambda: session.update_chat_ctx(wanted))
        for change in range(changes):
            wanted.items[items * change // changes] = ChatMessage("user", [f"What I meant was {change}."])
        began = time.perf_counter()
        session.update_chat_ctx(wanted)
        changed_ms = (time.perf_counter() - began) * 1000
        check([one.id for one in session.chat_ctx.items] == [one.id for one in wanted.items], "another order")
        return check_context(server, same_ms, changed_ms, changes)


def fairness(server: Server, sessions: int, seconds: int) -> dict[str, Any]:
    """Sessions at real-time pace, first by themselves, then beside one that gets audio as fast as it takes it."""
    alone = Crowd(server, sessions, seconds)
    with alone.model:
        alone.begin()
        alone.join()
    crowd = Crowd(server, sessions, seconds)
    with crowd.model, make_model(server, "flood") as model:
        session = model.session().wait_open()
        warm_up(server, session)
        made, taken = generations(session), [0]

        def consume() -> None:
            for _ in made.get(timeout=PATIENCE_S).message_stream.get(PATIENCE_S).audio_stream:
                taken[0] += 1

        consumer = threading.Thread(target=consume)
        consumer.start()
        with Window(server) as window:
            session.clear_audio()
            crowd.begin()
            crowd.join()
        flood = taken[0]
        session.send_event(COMMIT)
        consumer.join(PATIENCE_S)
        figures = check_fairness(alone.latencies, crowd.latencies, flood, seconds)
    return figures | {"server_share": window.server_share}
