"""The supervisor: one per session; it starts the actors in order, starts failed ones again, and stops them all."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec
import pykka

from antiphon.actors import messages as m
from antiphon.actors.core import CoreActor
from antiphon.actors.emitter import Emitter
from antiphon.actors.events import ActorRestarted
from antiphon.actors.logs import get_logger
from antiphon.actors.runtime import Cancellable
from antiphon.actors.strand import Strand, StrandActor
from antiphon.actors.supervision import SupervisorConfig

logger = get_logger("antiphon.supervisor")


class ChildSpec(msgspec.Struct, frozen=True):
    """How to start an actor.

    Attributes:
        id: The actor's address.
        start: Makes and starts the actor.
    """

    id: str
    start: Callable[[], pykka.ActorRef[Any]]


class Supervisor(StrandActor):
    """Keeps a session's actors running.

    An actor that raises loses the message at which it did, and goes on with the state that it had before: its
    core takes care of that. The supervisor puts a new pykka actor in its place, and lets the session's mail wait
    for as long as the backoff says.

    Args:
        strand: The session's strand.
        children: In the order in which they start; they stop in the opposite one.
        config: Policies.
        emitter: Where `actor_restarted` goes.
        on_lost: Called with a message that an actor failed at.
        on_collapse: Called with the error when an actor failed too often; has `SessionEnded` sent here.
        on_end: Called when the session is over and its actors are stopped.
    """

    def __init__(
        self,
        strand: Strand,
        children: list[ChildSpec],
        config: SupervisorConfig,
        emitter: Emitter,
        on_lost: Callable[[Any], None],
        on_collapse: Callable[[Exception], None],
        on_end: Callable[[], None],
    ) -> None:
        super().__init__(strand, m.SUPERVISOR)
        self._specs = {child.id: child for child in children}
        self._config = config
        self._emitter = emitter
        self._on_lost = on_lost
        self._on_collapse = on_collapse
        self._on_end = on_end
        self._running: dict[str, CoreActor] = {}
        self._failures: dict[str, deque[float]] = {child.id: deque() for child in children}
        self._backoff: Cancellable | None = None
        self._collapsed = False

    def on_start(self) -> None:
        """Start the actors."""
        self.strand.on_failure = self.child_failed
        for spec in self._specs.values():
            mailbox = self._config.policy(spec.id).mailbox
            self.strand.limit(spec.id, mailbox.limit, mailbox.overflow)
            self._running[spec.id] = self._start(spec)

    def on_receive(self, message: Any) -> None:
        """The session is over, or is to be over at once."""
        if type(message) is m.SessionEnded:
            self.shut_down()

    def child_failed(self, name: str, message: Any, error: BaseException) -> None:
        """An actor raised: the message is lost, the actor is started again."""
        wrapped = error if isinstance(error, Exception) else RuntimeError(f"{type(error).__name__}: {error}")
        failed = self._running.get(name)
        logger.error("%s failed at %s in %s", name, type(message).__name__, self.strand.name, exc_info=error)
        if failed is None or self._collapsed:
            return
        self._on_lost(message)
        policy = self._config.policy(name)
        recent = self._count_failure(name, policy.within)
        lives_on = policy.restart != "temporary"
        # What is not even to be mended after a failure ends the session, instead of leaving it half alive.
        beyond_repair = isinstance(message, m.MessageLost) or (name == m.CONNECTION and not lives_on)
        if recent > policy.max_restarts or beyond_repair:
            self._collapsed = True
            self._on_collapse(wrapped)
            return
        if lives_on:
            for affected in self._affected(name):
                self._replace(affected)
            self._wait(policy.backoff.delay(recent, random.random()))
        else:
            failed.retire()
            del self._running[name]
        self._emitter.emit(
            "actor_restarted",
            ActorRestarted(
                actor=name, error=wrapped, message_type=type(message).__name__, restarted=lives_on
            ),
        )

    def shut_down(self) -> None:
        """Stop the actors, the last one first, and then this one."""
        if self._backoff is not None:
            self._backoff.cancel()
        for actor in reversed(list(self._running.values())):
            self._settle(actor)
            actor.retire()
        self._running.clear()
        self.retire()
        self._on_end()

    def _settle(self, actor: CoreActor) -> None:
        """Have an actor settle what waits for it: it may not have heard that the session ends, or failed at it."""
        try:
            actor.receive(m.SessionClosing("session closed"))
        except BaseException:
            logger.exception("%s failed at its end in %s", actor.name, self.strand.name)

    def _count_failure(self, name: str, within: float) -> int:
        now = self.strand.runtime.now()
        failures = self._failures[name]
        failures.append(now)
        while now - failures[0] > within:
            failures.popleft()
        return len(failures)

    def _affected(self, name: str) -> list[str]:
        """Which actors are started again when this one fails."""
        if self._config.strategy == "one_for_one":
            return [name]
        names = list(self._running)
        return names if self._config.strategy == "one_for_all" else names[names.index(name) :]

    def _replace(self, name: str) -> None:
        failed = self._running[name]
        successor = self._start(self._specs[name])
        successor.take_over(failed)
        self._running[name] = successor
        failed.retire()

    def _wait(self, seconds: float) -> None:
        """Let mail wait; what belongs to the present step goes on, and stopping is served all the same."""
        if self._backoff is not None:
            self._backoff.cancel()
        self.strand.hold()
        self._backoff = self.strand.runtime.call_later(seconds, self.strand.resume)

    def _start(self, spec: ChildSpec) -> CoreActor:
        spec.start()
        actor = self.strand.actor(spec.id)
        assert isinstance(actor, CoreActor)
        return actor
