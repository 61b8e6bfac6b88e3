"""What the load server says to a connection: one class for each name that a model's address may carry.

Every scenario answers a commit with speech_started, because every client tells its user of that event.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable
from typing import Any, Protocol

from benchmarks import wire

PERIOD_S = wire.DELTA_MS / 1000
GOLDEN = 0.6180339887
# A flood: so many deltas whenever the client has taken those before.
FLOOD = 50
FLOOD_PAUSE_S = 0.001


class Link(Protocol):
    """One connection, as a scenario sees it."""

    number: int

    def send(self, data: bytes) -> None:
        """Write frames, now or when the socket takes them."""

    def idle(self) -> bool:
        """Whether the socket took all that was sent."""

    def call_at(self, when: float, what: Callable[[], None]) -> None:
        """Call back at a monotonic time, unless the connection is gone by then."""


class Sink:
    """`sink`: nothing comes but the answers to commits and clears.

    Args:
        link: The connection.
        count: The number in the model's name.

    Attributes:
        sent_ns: When each event that is timed was sent.
    """

    def __init__(self, link: Link, count: int) -> None:
        self.link = link
        self.count = count
        self.sent_ns: list[int] = []
        self.prepare()

    def prepare(self) -> None:
        """Make what will be sent, before the clock runs."""

    def take(self, text: bytes) -> None:
        """A small frame has come in; larger ones are audio."""
        if b'"input_audio_buffer.clear"' in text:
            self.cleared()
        elif b'"input_audio_buffer.commit"' in text:
            self.committed()
        else:
            self.other(text)

    def cleared(self) -> None:
        """The client's sign to begin."""
        self.link.send(wire.SPEECH_STARTED)

    def committed(self) -> None:
        """The client wants an answer."""
        self.link.send(wire.SPEECH_STARTED)

    def other(self, text: bytes) -> None:
        """Anything else."""

    def _stamp(self) -> None:
        self.sent_ns.append(time.monotonic_ns())


@functools.cache
def _burst(deltas: int) -> bytes:
    return wire.burst(deltas)


@functools.cache
def _deltas(deltas: int) -> bytes:
    return b"".join(map(wire.numbered_delta, range(deltas)))


_beginning, _ending, _cut = map(functools.cache, (wire.beginning, wire.ending, wire.cut))
_conversation = functools.cache(wire.conversation)


class Inbound(Sink):
    """`inbound-N`: N deltas in one burst."""

    def prepare(self) -> None:
        _burst(self.count)

    def cleared(self) -> None:
        self.link.send(_burst(self.count))


class Density(Sink):
    """`density-N`: N stamped deltas, one each 100 ms."""

    _frame = wire.StampedDelta()

    def cleared(self) -> None:
        self.link.send(_beginning())
        # Spread evenly over the period, however many there are.
        self._due = time.monotonic() + PERIOD_S * (self.link.number * GOLDEN % 1)
        self._left = self.count
        self.link.call_at(self._due, self._tick)

    def _tick(self) -> None:
        self.link.send(self._frame.stamp(time.monotonic_ns()))
        self._left -= 1
        if self._left:
            self._due += PERIOD_S
            self.link.call_at(self._due, self._tick)
        else:
            self.link.send(_ending())


class Flood(Sink):
    """`flood`: deltas as fast as the client takes them, until a commit."""

    _going = False

    def prepare(self) -> None:
        _deltas(FLOOD)

    def cleared(self) -> None:
        self._going = True
        self.link.send(_beginning())
        self._tick()

    def committed(self) -> None:
        self._going = False
        super().committed()

    def _tick(self) -> None:
        if not self._going:
            if self.link.idle():
                self.link.send(_ending())
                return
        elif self.link.idle():
            self.link.send(_deltas(FLOOD))
        self.link.call_at(time.monotonic() + FLOOD_PAUSE_S, self._tick)


class Barge(Sink):
    """`barge-N`: at each clear a turn of N deltas; the commit's speech_started is timed; a truncate ends the turn."""

    _turn = 0

    def prepare(self) -> None:
        _deltas(self.count)

    def cleared(self) -> None:
        self._turn += 1
        self.link.send(wire.renamed(_beginning() + _deltas(self.count), self._turn))

    def committed(self) -> None:
        self._stamp()
        self.link.send(wire.SPEECH_STARTED)

    def other(self, text: bytes) -> None:
        if b'"conversation.item.truncate"' in text:
            self.link.send(wire.renamed(_cut(), self._turn))


class Reply(Sink):
    """`reply`: each response.create gets a response, whose response.created is timed."""

    def other(self, text: bytes) -> None:
        if b'"response.create"' in text:
            turn = len(self.sent_ns)
            created = wire.created(json.loads(text)["response"]["metadata"])
            self._stamp()
            self.link.send(wire.renamed(created + wire.done("completed"), turn))


class Chat(Sink):
    """`chat-N`: at a clear, a conversation of N items; then whatever the client makes of it."""

    def prepare(self) -> None:
        _conversation(self.count)

    def cleared(self) -> None:
        self.link.send(_conversation(self.count) + wire.SPEECH_STARTED)

    def other(self, text: bytes) -> None:
        if b'"conversation.item.create"' in text:
            event: dict[str, Any] = json.loads(text)
            previous = event.get("previous_item_id")
            self.link.send(wire.item_added(event["item"], None if previous == "root" else previous))
        elif b'"conversation.item.delete"' in text:
            self.link.send(wire.event("conversation.item.deleted", item_id=json.loads(text)["item_id"]))


SCENARIOS: dict[str, type[Sink]] = {
    "sink": Sink,
    "inbound": Inbound,
    "density": Density,
    "flood": Flood,
    "barge": Barge,
    "reply": Reply,
    "chat": Chat,
}
