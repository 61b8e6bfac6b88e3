"""A session as one scheduling unit: its actors' inboxes are views of one first-in-first-out queue.

One worker at a time drains a strand, so no two actors of a session run at once and calls take effect in
the order in which they were made. What a handler sends to another actor of the same session is delivered
before the next message from outside, and depth first, as if it were a call made when the handler returns: so a
call with all its consequences is one step, and nothing overtakes anything however many actors it passes through.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import pykka
from pykka import ActorRegistry
from pykka._envelope import Envelope

from antiphon.actors.logs import Origin, enter, get_logger

if TYPE_CHECKING:
    from antiphon.actors.core import Put
    from antiphon.actors.runtime import Runtime
    from antiphon.actors.supervision import Overflow

logger = get_logger("antiphon.strand")

# A flooding session gives way to the others after this many messages.
BATCH = 64

# So many messages that wait may become one, of which a failure would cost all: a second of audio.
JOINED = 10

# A message and the address that it goes to. What pykka sends, for `ref.ask` above all, comes in an Envelope.
Letter = tuple[str, Any]

FailureHook = Callable[[str, Any, BaseException], None]
DeadLetterHook = Callable[[Any], None]


class _Mailbox:
    """One actor's share of the queue: how much waits, and what happens when that is too much."""

    __slots__ = ("limit", "overflow", "pressed", "waiting")

    def __init__(self, limit: int, overflow: Overflow) -> None:
        self.limit = limit
        self.overflow = overflow
        self.waiting = 0
        self.pressed = False


class Strand:
    """The mail of one session and the right to process it.

    What sends may be called from any thread; everything else belongs to the worker that runs the strand.

    Args:
        runtime: Where the strand gets itself scheduled.
        name: For logs and thread names.

    Attributes:
        origin: What the records are attributed to that are logged while the strand runs.
        on_failure: Called when an actor raised, with its name, the message and the exception.
        on_dead_letter: Called with a message that nobody will handle. On any thread.
        now: Monotonic seconds at which the present step began.
        outbox: What streams get when the batch is done: their readers are woken once for it, and not for each
            item, which would cost two thread switches each (20 µs) in a burst.
        joins: How several messages of a kind that wait one behind the other, for the same actor, become one. A
            session that has fallen behind with its audio catches up in 60 % of the time so.
        on_pressure: Called with True when a blocking mailbox is full, with False when half of it is done. On any
            thread, and must only pass it on.
    """

    def __init__(self, runtime: Runtime, name: str) -> None:
        self.runtime = runtime
        self.name = name
        self.origin = Origin(name)
        self.on_failure: FailureHook | None = None
        self.on_dead_letter: DeadLetterHook | None = None
        self.on_pressure: Callable[[bool], None] | None = None
        self.now = 0.0
        self.outbox: list[Put] = []
        self.joins: dict[type, Callable[[Sequence[Any]], Any]] = {}
        self._actors: dict[str, StrandActor] = {}
        self._mailboxes: dict[str, _Mailbox] = {}
        self._mail: deque[Letter] = deque()
        self._urgent: deque[Letter] = deque()
        # Written and read only by the thread that runs the strand: what is left of the present step, and what
        # the present handler has sent so far.
        self._cascade: deque[Letter] = deque()
        self._sent: list[Letter] = []
        self._lock = threading.Lock()
        # Mail waits until `resume`; urgent mail doesn't.
        self._held = True
        self._scheduled = False
        self._runner: int | None = None
        self._closed = False

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

    @property
    def closed(self) -> bool:
        """Whether nothing is delivered any more."""
        return self._closed

    def __len__(self) -> int:
        return len(self._mail) + len(self._urgent)

    def waiting(self) -> dict[str, int]:
        """How many messages from outside wait for each actor. Any thread."""
        mailboxes = {} if self._closed else dict(self._mailboxes)
        return {name: mailbox.waiting for name, mailbox in mailboxes.items()}

    # -- sending ---------------------------------------------------------------------------------

    def limit(self, name: str, limit: int, overflow: Overflow) -> None:
        """Bound how many messages from outside may wait for an actor.

        Args:
            name: The actor's address.
            limit: Messages.
            overflow: "block" reports pressure and takes the message; "drop_oldest" and "fail" make a dead letter,
                of the oldest or of the newest.
        """
        mailbox = _Mailbox(limit, overflow)
        with self._lock:
            mailbox.waiting = sum(to == name for to, _ in self._mail)
            self._mailboxes[name] = mailbox

    def tell(self, to: str, message: Any) -> None:
        """Send a message to the actor called `to`; from inside the strand it joins the current step."""
        if self._runner == threading.get_ident():
            self._sent.append((to, message))
        else:
            self._post([(to, message)])

    def tell_from_inside(self, to: str, message: Any) -> None:
        """`tell` for the thread that runs the strand, and no other."""
        self._sent.append((to, message))

    def tell_all(self, to: str, messages: Iterable[Any], here: bool = False) -> None:
        """Send several messages with one wake-up; not for use from inside the strand.

        Args:
            to: The actor's address.
            messages: What to send.
            here: Process them on the calling thread, if the strand has nothing else to do: saves the wake-up.
        """
        letters = [(to, message) for message in messages]
        if not (here and self._post_to_run(letters)):
            self._post(letters)
        else:
            self.run()

    def tell_urgently(self, to: str, message: Any) -> None:
        """Send a message that is served before all mail, even while mail is held."""
        with self._lock:
            if self._closed:
                return
            self._urgent.append((to, message))
            if self._scheduled:
                return
            self._scheduled = True
        self.runtime.schedule(self)

    def _post_to_run(self, letters: list[Letter]) -> bool:
        """Queue letters for the calling thread to process; False, and nothing done, unless the strand rests."""
        with self._lock:
            mailbox = self._mailboxes.get(letters[0][0])
            if self._scheduled or self._held or self._closed or self._mail:
                return False
            if mailbox is not None:
                if len(letters) >= mailbox.limit:
                    return False
                mailbox.waiting += len(letters)
            self._mail.extend(letters)
            self._scheduled = True
        return True

    def _post(self, letters: list[Letter]) -> None:
        refused: list[Letter] = []
        pressed = wake = False
        with self._lock:
            if self._closed:
                refused = letters
            else:
                for letter in letters:
                    pressed |= self._take(letter, refused)
                wake = not self._scheduled and not self._held
                self._scheduled |= wake
        if wake:
            self.runtime.schedule(self)
        for letter in refused:
            self._return_to_sender(*letter)
        if pressed and self.on_pressure is not None:
            self.on_pressure(True)

    def _take(self, letter: Letter, refused: list[Letter]) -> bool:
        """Queue one letter; True when its mailbox has just become full. The lock is held."""
        mailbox = self._mailboxes.get(letter[0])
        if mailbox is None:
            self._mail.append(letter)
            return False
        pressed = False
        if mailbox.waiting >= mailbox.limit:
            if mailbox.overflow == "fail":
                refused.append(letter)
                return False
            if mailbox.overflow == "drop_oldest":
                oldest = next(waiting for waiting in self._mail if waiting[0] == letter[0])
                self._mail.remove(oldest)
                mailbox.waiting -= 1
                refused.append(oldest)
            else:
                pressed = not mailbox.pressed
                mailbox.pressed = True
        mailbox.waiting += 1
        self._mail.append(letter)
        return pressed

    def hold(self) -> None:
        """Let mail wait until `resume`; what belongs to the present step goes on."""
        self._held = True

    def resume(self) -> None:
        """Process the mail, also what has come meanwhile."""
        with self._lock:
            self._held = False
            if self._scheduled or self._closed:
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
        for letter in letters:
            self._return_to_sender(*letter)

    def abandon(self) -> None:
        """Deliver nothing more, in a child that was forked: the session stays with the parent."""
        self._lock = threading.Lock()
        self._runner = None
        self._closed = True
        for letters in (self._urgent, self._mail, self._cascade, self._sent):
            letters.clear()
        # pykka's registry doesn't know of forks.
        ActorRegistry._actor_refs_lock = threading.RLock()
        for actor in self._actors.values():
            ActorRegistry.unregister(actor.actor_ref)

    # -- running -----------------------------------------------------------------------------------

    def run(self, limit: int = BATCH) -> None:
        """Process up to `limit` messages, then give way. Called by one worker at a time."""
        self._runner = threading.get_ident()
        before = enter(self.origin)
        try:
            while limit > 0 and self.step():
                limit -= 1
        finally:
            self.empty_outbox()
            enter(before)
            self._runner = None
        with self._lock:
            if not self._urgent and (self._held or not self._mail):
                self._scheduled = False
                return
        self.runtime.schedule(self)

    def empty_outbox(self) -> None:
        """Hand over what streams are to get."""
        for put in self.outbox:
            put.stream.put(put.item)
        self.outbox.clear()

    def step(self) -> bool:
        """Process one message and all that follows from it; False when there was none."""
        letter, relieved = self._next()
        if letter is None:
            return False
        if relieved and self.on_pressure is not None:
            self.on_pressure(False)
        self.now = self.runtime.now()
        cascade, sent = self._cascade, self._sent
        self._deliver(*letter)
        while sent or cascade:
            if sent:
                # Depth first: what follows from the first message that a handler sent comes before its second.
                cascade.extendleft(reversed(sent))
                sent.clear()
            self._deliver(*cascade.popleft())
        return True

    def _next(self) -> tuple[Letter | None, bool]:
        """The next letter, and whether a mailbox that was full is half done with it."""
        with self._lock:
            if self._urgent:
                return self._urgent.popleft(), False
            if self._held or not self._mail:
                return None, False
            letter = self._mail.popleft()
            mailbox = self._mailboxes.get(letter[0])
            taken = 1
            if self._mail and (join := self.joins.get(type(letter[1]))) is not None:
                letters = [letter, *self._alike(letter)]
                taken = len(letters)
                letter = letter[0], join([message for _, message in letters])
            if mailbox is None:
                return letter, False
            mailbox.waiting -= taken
            relieved = mailbox.pressed and mailbox.waiting <= mailbox.limit // 2
            if relieved:
                mailbox.pressed = False
            return letter, relieved

    def _alike(self, letter: Letter) -> list[Letter]:
        """Take out what comes next, if it is of the same kind to the same actor. The lock is held."""
        to, kind, mail = letter[0], type(letter[1]), self._mail
        alike: list[Letter] = []
        while mail and mail[0][0] == to and type(mail[0][1]) is kind and len(alike) < JOINED - 1:
            alike.append(mail.popleft())
        return alike

    def _deliver(self, to: str, message: Any) -> None:
        actor = self._actors.get(to)
        if actor is None:
            self._return_to_sender(to, message)
            return
        if type(message) is Envelope:
            self._deliver_envelope(actor, message)
            return
        try:
            actor.receive(message)
        except BaseException as error:
            # SystemExit too: in one session it must end neither the worker nor the process.
            self._failed(to, message, error)

    def _deliver_envelope(self, actor: StrandActor, envelope: Envelope[Any]) -> None:
        try:
            response = actor.receive(envelope.message)
        except BaseException as error:
            if envelope.reply_to is None:
                self._failed(actor.name, envelope.message, error)
            else:
                envelope.reply_to.set_exception()
            return
        if envelope.reply_to is not None:
            envelope.reply_to.set(response)

    def _failed(self, to: str, message: Any, error: BaseException) -> None:
        if self.on_failure is None:
            logger.error("%s failed in %s", to, self.name, exc_info=error)
        else:
            self.on_failure(to, message, error)

    def _return_to_sender(self, to: str, message: Any) -> None:
        if type(message) is Envelope:
            if message.reply_to is not None:
                message.reply_to.set_exception(
                    (pykka.ActorDeadError, pykka.ActorDeadError(f"{to} of {self.name} has stopped"), None)
                )
            message = message.message
        if self.on_dead_letter is not None:
            self.on_dead_letter(message)


class _Inbox:
    """What pykka sees as an actor's inbox: a view of the strand's queue."""

    def __init__(self, strand: Strand, name: str) -> None:
        self._strand = strand
        self._name = name

    def put(self, envelope: Envelope[Any], /) -> None:
        self._strand.tell(self._name, envelope)

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
        if isinstance(message, msgspec.Struct):
            # Ours: pykka's own dispatch, which looks for its proxies' calls, takes 1.5 µs.
            return self.on_receive(message)
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
