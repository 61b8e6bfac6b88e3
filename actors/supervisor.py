"""The supervisor: one per session; it starts the actors in order, starts a failed one again, and stops all."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Literal

import msgspec
import pykka

from antiphon.actors import messages as m
from antiphon.actors.core import CoreActor
from antiphon.actors.emitter import Emitter
from antiphon.actors.events import ActorRestarted
from antiphon.actors.strand import Strand, StrandActor

logger = logging.getLogger("antiphon.supervisor")

# More failures than this within so many seconds, and the session is not worth saving.
MAX_RESTARTS = 3
WITHIN_SECONDS = 5.0


class ChildSpec(msgspec.Struct, frozen=True):
    """How to start an actor, and what to do when it fails.

    Attributes:
        id: The actor's address.
        start: Makes and starts the actor.
        restart: "permanent": it is started again. Other policies are not built yet.
    """

    id: str
    start: Callable[[], pykka.ActorRef[Any]]
    restart: Literal["permanent"] = "permanent"


class Supervisor(StrandActor):
    """Keeps a session's actors running.

    Args:
        strand: The session's strand.
        children: In the order in which they start; they stop in the opposite one.
        emitter: Where `actor_restarted` goes.
        on_collapse: Called with the error when an actor failed too often; has `SessionEnded` sent here.
        on_end: Called when the session is over and its actors are stopped.
    """

    def __init__(
        self,
        strand: Strand,
        children: list[ChildSpec],
        emitter: Emitter,
        on_collapse: Callable[[Exception], None],
        on_end: Callable[[], None],
    ) -> None:
        super().__init__(strand, m.SUPERVISOR)
        self._specs = {child.id: child for child in children}
        self._emitter = emitter
        self._on_collapse = on_collapse
        self._on_end = on_end
        self._running: dict[str, CoreActor] = {}
        self._failures: deque[float] = deque()
        self._collapsed = False

    def on_start(self) -> None:
        """Start the actors."""
        self.strand.on_failure = self.child_failed
        for spec in self._specs.values():
            self._running[spec.id] = self._start(spec)

    def on_receive(self, message: Any) -> None:
        """The connection says that the session is over."""
        if type(message) is m.SessionEnded:
            self.shut_down()

    def child_failed(self, name: str, message: Any, error: BaseException) -> None:
        """An actor raised: the message is lost, the actor is started again with its state."""
        spec, failed = self._specs.get(name), self._running.get(name)
        if spec is None or failed is None or self._collapsed:
            logger.error("%s failed in %s", name, self.strand.name, exc_info=error)
            return
        logger.error("%s failed at %s; starting it again", name, type(message).__name__, exc_info=error)
        now = self.strand.runtime.now()
        self._failures.append(now)
        while self._failures and now - self._failures[0] > WITHIN_SECONDS:
            self._failures.popleft()
        wrapped = error if isinstance(error, Exception) else RuntimeError(str(error))
        if len(self._failures) > MAX_RESTARTS:
            self._collapsed = True
            self._on_collapse(wrapped)
            return
        successor = self._start(spec)
        successor.take_over(failed)
        self._running[name] = successor
        failed.retire()
        self._emitter.emit(
            "actor_restarted",
            ActorRestarted(actor=name, error=wrapped, message_type=type(message).__name__),
        )

    def shut_down(self) -> None:
        """Stop the actors, the last one first, and then this one."""
        for actor in reversed(list(self._running.values())):
            actor.retire()
        self._running.clear()
        self.retire()
        self._on_end()

    def _start(self, spec: ChildSpec) -> CoreActor:
        spec.start()
        actor = self.strand.actor(spec.id)
        assert isinstance(actor, CoreActor)
        return actor
