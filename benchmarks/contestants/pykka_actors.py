"""pykka's own actors, a thread each."""

from __future__ import annotations

import queue
import time
from typing import Any

from benchmarks.checks import check_mailboxes, check_restart
from benchmarks.measure import PATIENCE_S, Server


def mailboxes(server: Server, messages: int) -> dict[str, float]:
    """Two actors send each other a number that counts down; another thread tells and asks."""
    import pykka

    class Player(pykka.ThreadingActor):
        got = 0
        partner: Any = None

        def on_receive(self, message: Any) -> int:
            self.got += 1
            if type(message) is int and message:
                self.partner.tell(message - 1)
            elif message is not None and type(message) is not int:
                self.partner = message
            return self.got

    one, other = Player.start(), Player.start()
    one.tell(other)
    other.tell(one)
    one.ask(None), other.ask(None)
    try:
        return check_mailboxes(
            messages,
            serve=lambda: one.tell(messages - 1),
            tell=lambda: one.tell(0),
            ask=lambda: one.ask(None, timeout=PATIENCE_S),
            ask_other=lambda: other.ask(None, timeout=PATIENCE_S),
        )
    finally:
        pykka.ActorRegistry.stop_all()


def restart(server: Server, times: int) -> dict[str, float]:
    """An actor raises, its `on_failure` starts another one, and that is asked."""
    import pykka

    successors: queue.SimpleQueue[Any] = queue.SimpleQueue()

    class Worker(pykka.ThreadingActor):
        def on_receive(self, message: Any) -> str:
            if message == "fail":
                raise ValueError("on purpose")
            return "alive"

        def on_failure(self, *_: Any) -> None:
            successors.put(type(self).start())

    ref, taken_ms, restarts = Worker.start(), [], 0
    for _ in range(times):
        began = time.perf_counter()
        ref.tell("fail")
        ref = successors.get(timeout=PATIENCE_S)
        restarts += ref.ask("well?", timeout=PATIENCE_S) == "alive"
        taken_ms.append((time.perf_counter() - began) * 1000)
    ref.stop()
    return check_restart(times, restarts, taken_ms)
