"""antiphon's actors by themselves: two on a strand of the engine, and one that its supervisor starts again."""

from __future__ import annotations

import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from benchmarks.checks import check_mailboxes, check_restart
from benchmarks.measure import PATIENCE_S, Server, check

if TYPE_CHECKING:
    from antiphon import RealtimeSession


def mailboxes(server: Server, messages: int) -> dict[str, float]:
    """Two actors send each other a number that counts down; another thread tells and asks."""
    import msgspec

    from antiphon import Engine
    from antiphon.actors.strand import Strand, StrandActor

    class Ball(msgspec.Struct):
        left: int

    class Player(StrandActor):
        got = 0

        def on_receive(self, message: Any) -> int:
            self.got += 1
            if type(message) is Ball and message.left:
                self.strand.tell("b" if self.name == "a" else "a", Ball(message.left - 1))
            return self.got

    def ask(player: Any) -> int:
        count: int = player.ask(None, timeout=PATIENCE_S)
        return count

    engine = Engine(preload=False)
    engine.acquire(server, lambda _: None)
    strand = Strand(engine, "bench")
    one, other = (Player.start(strand, name) for name in "ab")
    strand.resume()
    try:
        return check_mailboxes(
            messages,
            serve=lambda: strand.tell("a", Ball(messages - 1)),
            tell=lambda: strand.tell("a", Ball(0)),
            ask=lambda: ask(one),
            ask_other=lambda: ask(other),
        )
    finally:
        for name in "ab":
            strand.actor(name).retire()
        engine.release(server)


def restart(server: Server, times: int) -> dict[str, float]:
    """A session's actor raises at one message, and then another one is asked for."""
    from antiphon import RealtimeModel, SupervisorConfig
    from antiphon.actors.supervision import ActorPolicy, Backoff

    hasty = ActorPolicy(max_restarts=1_000_000, backoff=Backoff(initial=0.0, max=0.0))
    model = RealtimeModel(
        base_url=server.http,
        api_key="benchmark",
        model="sink",
        supervision=SupervisorConfig(chat_ctx=hasty),
    )
    with model:
        session = model.session().wait_open()
        restarts: list[Any] = []
        session.on("actor_restarted", restarts.append)
        taken_ms = []
        for _ in range(times):
            began = time.perf_counter()
            lost = _fail(session)
            check(session.chat_ctx.items == [], "items out of nowhere")
            taken_ms.append((time.perf_counter() - began) * 1000)
            check(lost.exception(PATIENCE_S) is not None, "the actor did not fail")
        deadline = time.monotonic() + PATIENCE_S
        while len(restarts) < times and time.monotonic() < deadline:
            time.sleep(0.01)
        return check_restart(times, len(restarts), taken_ms)


def _fail(session: RealtimeSession) -> Future[Any]:
    """Send an actor what its handler can't work with, past the checks of the public call."""
    from antiphon.actors import messages as m

    future: Future[Any] = Future()
    no_context: Any = None
    session._actors.tell(m.CHAT_CTX, m.UpdateChatCtx(no_context, PATIENCE_S, future))
    return future
