"""Cores decide, shells act: the pattern that all four actors of a session follow.

A core holds an actor's state and knows no thread and no socket. It is given a message and the time and
answers with effects; the shell performs them only when the handler has returned, so a handler that fails
has no outside effect.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import Future, InvalidStateError
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import msgspec

from antiphon.actors.strand import Strand, StrandActor
from antiphon.actors.undo import Undoable

if TYPE_CHECKING:
    from antiphon.actors.emitter import Emitter
    from antiphon.actors.runtime import Cancellable
    from antiphon.actors.streams import Stream


# -- effects ------------------------------------------------------------------------------------------


class Tell(msgspec.Struct, frozen=True, gc=False):
    """Send a message to another actor of the session."""

    to: str
    message: Any


class Emit(msgspec.Struct, frozen=True, gc=False):
    """Hand an event to the user's callbacks."""

    name: str
    payload: Any


class Arm(msgspec.Struct, frozen=True):
    """Set a timer, replacing one of the same key; `TimerFired` arrives after `delay` seconds."""

    key: Hashable
    delay: float


class Disarm(msgspec.Struct, frozen=True):
    """Cancel a timer; nothing if it isn't set."""

    key: Hashable


class Settle(msgspec.Struct, frozen=True, gc=False):
    """Give a future its result, or its error when `result` is an exception."""

    future: Future[Any]
    result: Any


class Put(msgspec.Struct, frozen=True, gc=False):
    """Append an item to a stream, before the next effect that a user can see and at the end of the batch at last."""

    stream: Stream[Any]
    item: Any


class End(msgspec.Struct, frozen=True, gc=False):
    """End a stream after what it holds."""

    stream: Stream[Any]


class TimerFired(msgspec.Struct, frozen=True):
    """A timer that a core armed is due."""

    key: Hashable


# -- cores --------------------------------------------------------------------------------------------

Handler = TypeVar("Handler", bound=Callable[..., None])


# Whether to save a core's state before a message; a predicate of the core and the message where that depends.
Undo = bool | Callable[[Any, Any], bool]


def handles(*types: type, undo: Undo = True) -> Callable[[Handler], Handler]:
    """Declare a core's method the handler of these message types.

    Args:
        *types: Exact types.
        undo: Whether the state is saved before. Not for handlers on the hot path that change nothing, or nothing
            that matters, before the last thing in them that can fail; perhaps only for some of their messages.
    """

    def register(method: Handler) -> Handler:
        method.__dict__["handles"] = types
        method.__dict__["undo"] = undo
        return method

    return register


class Core(Undoable):
    """State and decisions of one actor.

    Subclasses mark their handlers with `@handles(Type, …)`; an incoming message is looked up by its exact
    type. A message without a row is counted in `unhandled`, never guessed at.
    """

    # Message type → handler, and whether to save the state before it.
    table: ClassVar[dict[type, tuple[Callable[..., None], Undo]]] = {}
    not_saved: ClassVar[frozenset[str]] = frozenset({"now", "unhandled", "_effects"})

    def __init_subclass__(cls) -> None:
        cls.table = {}
        for ancestor in reversed(cls.__mro__):
            for value in vars(ancestor).values():
                for message_type in getattr(value, "handles", ()):
                    cls.table[message_type] = (value, value.undo)

    def __init__(self) -> None:
        self.now = 0.0
        self.unhandled = 0
        self._effects: list[Any] = []

    def handle(self, message: Any, now: float) -> list[Any]:
        """Process one message.

        Args:
            message: What arrived.
            now: Monotonic seconds.

        Returns:
            The effects, in the order in which they are to be performed. If the handler raises, the state is as it
            was before, and there are none.
        """
        self.now = now
        row = self.table.get(type(message))
        if row is None:
            self.unhandled += 1
            return []
        handler, undo = row
        restore = self.save() if undo is True or (callable(undo) and undo(self, message)) else None
        try:
            handler(self, message)
            return self._effects
        except BaseException:
            if restore is not None:
                restore()
            raise
        finally:
            self._effects = []

    def do(self, effect: Any) -> None:
        """Add an effect."""
        self._effects.append(effect)

    def tell(self, to: str, message: Any) -> None:
        """Add the effect of sending a message to another actor."""
        self._effects.append(Tell(to, message))

    def emit(self, name: str, payload: Any) -> None:
        """Add the effect of an event for the user."""
        self._effects.append(Emit(name, payload))


# -- shells -------------------------------------------------------------------------------------------

# A timer whose handler failed is due again after this long.
TIMER_AGAIN_SECONDS = 1.0


def settle(future: Future[Any], result: Any) -> None:
    """Settle a future that its owner may have cancelled meanwhile."""
    try:
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)
    except InvalidStateError:
        # Cancelled by the user; the cancellation itself has been reported.
        pass


class CoreActor(StrandActor):
    """A pykka actor that feeds a core and performs what it decides.

    Args:
        strand: The session's strand.
        name: The actor's address.
        core: Its state and decisions.
        emitter: Where events for the user go.
    """

    performers: ClassVar[dict[type, Callable[[Any, Any], None]]] = {}

    def __init__(self, strand: Strand, name: str, core: Core, emitter: Emitter) -> None:
        super().__init__(strand, name)
        self.core = core
        self.emitter = emitter
        # Each with the message that it sends.
        self._timers: dict[Hashable, tuple[Cancellable, TimerFired]] = {}

    def __init_subclass__(cls) -> None:
        cls.performers = dict(cls.performers)

    def on_receive(self, message: Any) -> None:
        """Handle one message."""
        if type(message) is TimerFired:
            self._timer_fired(message)
            return
        self.perform(self.core.handle(message, self.strand.now))

    def _timer_fired(self, message: TimerFired) -> None:
        armed = self._timers.get(message.key)
        # The timer may have been cancelled or set anew while its message waited.
        if armed is None or armed[1] is not message:
            return
        del self._timers[message.key]
        try:
            self.perform(self.core.handle(message, self.strand.now))
        except BaseException:
            # Nothing else would bring about what it was for. If it can't be done at all, that is found out soon.
            self._arm(Arm(message.key, TIMER_AGAIN_SECONDS))
            raise

    def perform(self, effects: Iterable[Any]) -> None:
        """Do what the core has decided."""
        performers, outbox = self.performers, self.strand.outbox
        for effect in effects:
            kind = type(effect)
            if kind is Put:
                outbox.append(effect)
                continue
            if outbox and kind is not Tell:
                self.strand.empty_outbox()
            performers[kind](self, effect)

    def take_over(self, predecessor: CoreActor) -> None:
        """Continue for an actor of the same kind that failed: its timers go on."""
        self._timers, predecessor._timers = predecessor._timers, {}

    def on_stop(self) -> None:
        """Forget the timers."""
        for timer, _ in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _tell(self, effect: Tell) -> None:
        self.strand.tell_from_inside(effect.to, effect.message)

    def _emit(self, effect: Emit) -> None:
        self.emitter.emit(effect.name, effect.payload)

    def _settle(self, effect: Settle) -> None:
        settle(effect.future, effect.result)

    def _end(self, effect: End) -> None:
        effect.stream.end()

    def _arm(self, effect: Arm) -> None:
        self._disarm(Disarm(effect.key))
        due = TimerFired(effect.key)
        strand, name = self.strand, self.name
        timer = self.strand.runtime.call_later(effect.delay, lambda: strand.tell(name, due))
        self._timers[effect.key] = timer, due

    def _disarm(self, effect: Disarm) -> None:
        armed = self._timers.pop(effect.key, None)
        if armed is not None:
            armed[0].cancel()


CoreActor.performers.update(
    {
        Tell: CoreActor._tell,
        Emit: CoreActor._emit,
        Settle: CoreActor._settle,
        End: CoreActor._end,
        Arm: CoreActor._arm,
        Disarm: CoreActor._disarm,
    }
)
