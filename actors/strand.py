"""A session as one scheduling unit: its actors' inboxes are views of one first-in-first-out queue.

One worker at a time drains a strand, so no two actors of a session run at once and calls take effect in
the order in which they were made. What a handler sends to another actor of the same session is delivered
before the next message from outside, and depth first, as if it were a call made when the handler returns: so a
call with all its consequences is one step, and nothing overtakes anything however many actors it passes through.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import pykka
from pykka import ActorRegistry
from pykka._envelope import Envelope

if TYPE_CHECKING:
    from antiphon.actors.runtime import Runtime

logger = logging.getLogger("antiphon.strand")

# A flooding session gives way to the others after this many messages.
BATCH = 64

FailureHook = Callable[[str, Any, BaseException], None]
DeadLetterHook = Callable[[Any], None]


class Strand:
    """The mail of one session and the right to process it.

    `post*` may be called from any thread; everything else belongs to the worker that runs the strand.

    Args:
        runtime: Where the strand gets itself scheduled.
        name: For logs and thread names.
    """

    def __init__(self, runtime: Runtime, name: str) -> None:
        self.runtime = runtime
        self.name = name
        self._actors: dict[str, StrandActor] = {}
        self._mail: deque[tuple[str, Envelope[Any]]] = deque()
        self._urgent: deque[tuple[str, Envelope[Any]]] = deque()
        # Written and read only by the thread that runs the strand: what is left of the present step, and what
        # the present handler has sent so far.
        self._cascade: deque[tuple[str, Envelope[Any]]] = deque()
        self._sent: list[tuple[str, Envelope[Any]]] = []
        self._lock = threading.Lock()
        # Until `begin`, mail only waits.
        self._scheduled = True
        self._runner: int | None = None
        self._closed = False
        self.on_failure: FailureHook | None = None
        self.on_dead_letter: DeadLetterHook | None = None

    # -- addressing: actors are known by name, because a pykka ref dies with its actor ---------------

    def attach(self, actor: StrandActor) -> None:
        """Deliver what is sent to `actor.name` to this actor from now on."""
        self._actors[actor.name] = actor

    def detach(self, actor: StrandActor) -> None:
        """Deliver nothing more to this actor; its successor, if there is one, stays."""
        if self._actors.get(actor.name) is actor:
            del self._actors[actor.name]

    def actor(self, name: str) -> StrandActor:
        """The actor that has this address now.

        Raises:
            KeyError: There is none.
        """
        return self._actors[name]

    def __len__(self) -> int:
        return len(self._mail) + len(self._urgent)

    # -- sending ---------------------------------------------------------------------------------

    def tell(self, to: str, message: Any) -> None:
        """Send a message to the actor called `to`."""
        self.put(to, Envelope(message))

    def put(self, to: str, envelope: Envelope[Any]) -> None:
        """Queue an envelope; from inside the strand it joins the current step."""
        if self._runner == threading.get_ident():
            self._sent.append((to, envelope))
            return
        with self._lock:
            closed = self._closed
            if not closed:
                self._mail.append((to, envelope))
                if self._scheduled:
                    return
                self._scheduled = True
        if closed:
            self._return_to_sender(to, envelope)
        else:
            self.runtime.schedule(self)

    def tell_all(self, to: str, messages: Iterable[Any]) -> None:
        """Send several messages with one wake-up; not for use from inside the strand."""
        with self._lock:
            if self._closed:
                return
            self._mail.extend((to, Envelope(message)) for message in messages)
            if self._scheduled or not self._mail:
                return
            self._scheduled = True
        self.runtime.schedule(self)

    def begin(self) -> None:
        """Process the mail from now on; what was sent before has waited."""
        self.runtime.schedule(self)

    def tell_urgently(self, to: str, message: Any) -> None:
        """Send a message that is served before all queued mail."""
        with self._lock:
            if self._closed:
                return
            self._urgent.append((to, Envelope(message)))
            if self._scheduled:
                return
            self._scheduled = True
        self.runtime.schedule(self)

    def close(self) -> None:
        """Deliver nothing more; what waits, and what is sent from now on, is a dead letter."""
        with self._lock:
            self._closed = True
            letters = [*self._urgent, *self._mail, *self._sent, *self._cascade]
            self._urgent.clear()
            self._mail.clear()
        self._cascade.clear()
        self._sent.clear()
        for to, envelope in letters:
            self._return_to_sender(to, envelope)

    # -- running -----------------------------------------------------------------------------------

    def run(self, limit: int = BATCH) -> None:
        """Process up to `limit` messages, then give way. Called by one worker at a time."""
        self._runner = threading.get_ident()
        try:
            while limit > 0 and self.step():
                limit -= 1
        finally:
            self._runner = None
        with self._lock:
            if not self._mail and not self._urgent:
                self._scheduled = False
                return
        self.runtime.schedule(self)

    def step(self) -> bool:
        """Process one message and all that follows from it; False when there was none."""
        if self._urgent:
            item = self._urgent.popleft()
        elif self._mail:
            item = self._mail.popleft()
        else:
            return False
        cascade, sent = self._cascade, self._sent
        self._deliver(*item)
        while sent or cascade:
            if sent:
                # Depth first: what follows from the first message that a handler sent comes before its second.
                cascade.extendleft(reversed(sent))
                sent.clear()
            self._deliver(*cascade.popleft())
        return True

    def _deliver(self, to: str, envelope: Envelope[Any]) -> None:
        actor = self._actors.get(to)
        if actor is None:
            self._return_to_sender(to, envelope)
            return
        try:
            response = actor.receive(envelope.message)
        except Exception as error:
            if envelope.reply_to is not None:
                envelope.reply_to.set_exception()
                return
            if self.on_failure is None:
                logger.exception("%s failed in %s", to, self.name)
                return
            self.on_failure(to, envelope.message, error)
            return
        if envelope.reply_to is not None:
            envelope.reply_to.set(response)

    def _return_to_sender(self, to: str, envelope: Envelope[Any]) -> None:
        if envelope.reply_to is not None:
            envelope.reply_to.set_exception(
                (pykka.ActorDeadError, pykka.ActorDeadError(f"{to} of {self.name} has stopped"), None)
            )
        if self.on_dead_letter is not None:
            self.on_dead_letter(envelope.message)


class _Inbox:
    """What pykka sees as an actor's inbox: a view of the strand's queue."""

    def __init__(self, strand: Strand, name: str) -> None:
        self._strand = strand
        self._name = name

    def put(self, envelope: Envelope[Any], /) -> None:
        self._strand.put(self._name, envelope)

    def get(self) -> Envelope[Any]:
        raise RuntimeError("a strand delivers mail; nobody takes it out of an inbox")

    def empty(self) -> bool:
        return True


class StrandActor(pykka.Actor):
    """A pykka actor that runs on a strand instead of a thread of its own.

    Args:
        strand: The session that it belongs to.
        name: Its address on the strand.
    """

    def __init__(self, strand: Strand, name: str) -> None:
        self.strand = strand
        self.name = name
        super().__init__()

    # pykka declares this a static method; an inbox that is a view needs to know of what.
    def _create_actor_inbox(self) -> _Inbox:  # type: ignore[override]
        return _Inbox(self.strand, self.name)

    @staticmethod
    def _create_future() -> pykka.Future[Any]:
        return pykka.ThreadingFuture()

    def _start_actor_loop(self) -> None:
        self.strand.attach(self)
        self.on_start()

    def receive(self, message: Any) -> Any:
        """Handle one message; exceptions are the strand's business."""
        return self._handle_receive(message)

    def retire(self) -> None:
        """Stop now, without a message; for the supervisor, on the strand."""
        self._stop()

    def _stop(self) -> None:
        if not self.actor_stopped.is_set():
            self.strand.detach(self)
            ActorRegistry.unregister(self.actor_ref)
            self.actor_stopped.set()
            self.on_stop()
