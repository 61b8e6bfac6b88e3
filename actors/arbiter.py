"""Who may ask for a response next: the engine never has two response.create in flight in one conversation."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import msgspec

import antiphon.protocol as p
from antiphon.actors import ids
from antiphon.actors.undo import Undoable

# Of so many requests that nobody waits for any more, the response is recognised when it comes after all.
ABANDONED_LIMIT = 16

_serials = itertools.count(1)


class Request(Undoable):
    """One call of `generate_reply`.

    Attributes:
        params: What was asked for.
        future: What the caller holds.
        serial: Identifies it while it has no event id.
        event_id: Under which it was sent last; "" before.
        out_of_band: Whether it runs beside the conversation.
        written: Whether the socket has taken it.
        retried: Whether it has collided with another response once.
        input_committed: Whether user input was committed since it was sent, so that a response that names
            no request may be an answer to that instead.
        interrupted: Whether `interrupt` was called since it was sent.
        follow_up: Whether the engine asks, after tools: lost with a connection, it is asked again, as nobody
            else would.
    """

    def __init__(self, params: p.ResponseCreateParams, future: Future[Any], follow_up: bool = False) -> None:
        self.params = params
        self.future = future
        self.follow_up = follow_up
        self.serial = next(_serials)
        self.event_id = ""
        self.out_of_band = params.conversation == "none"
        self.written = False
        self.retried = False
        self.input_committed = False
        self.interrupted = False

    def modalities(self, configured: Sequence[str]) -> Sequence[str]:
        """What its response is to be: its own modalities, or else the session's."""
        own = p.given(self.params.output_modalities, None)
        return configured if own is None else ["audio", "text"] if "audio" in own else ["text"]

    def make_event(self, session_instructions: str | None) -> p.ResponseCreate:
        """The frame to send, under a new event id.

        Args:
            session_instructions: What the request's own instructions are appended to.
        """
        self.event_id = ids.new_id(ids.RESPONSE_CREATE)
        self.written = self.input_committed = self.interrupted = False
        params = self.params
        own = p.given(params.instructions, "")
        both = [text for text in (session_instructions, own) if text]
        metadata = {**p.given(params.metadata, {}), "client_event_id": self.event_id}
        return p.ResponseCreate(
            event_id=self.event_id,
            response=msgspec.structs.replace(
                params,
                instructions="\n".join(both) if own else p.NOT_GIVEN,
                metadata=metadata,
            ),
        )


class Arbiter(Undoable):
    """Requests by what has become of them.

    Attributes:
        holding: Whether new requests wait because the connection is to be recycled.
        running: Responses of the default conversation that are known to run, discarded ones included.
        settling: The event id of a cancelled request of which the server has given no sign yet.
        unseen: Whether the server has said that a response runs of which it has not told us.
    """

    def __init__(self) -> None:
        self.holding = False
        self.running: set[str] = set()
        self.settling: str | None = None
        self.unseen = False
        self._waiting: deque[Request] = deque()
        self._pending: dict[str, Request] = {}
        # Cancelled or timed out: a response that still comes of one of these is discarded.
        self._abandoned: dict[str, Request] = {}

    @property
    def pending(self) -> list[Request]:
        """Requests that were sent and are not answered."""
        return list(self._pending.values())

    @property
    def waiting(self) -> list[Request]:
        """Requests that have not been sent."""
        return list(self._waiting)

    def add(self, request: Request, first: bool = False) -> None:
        """Let a request wait for its turn."""
        if first:
            self._waiting.appendleft(request)
        else:
            self._waiting.append(request)

    def next(self) -> Iterator[Request]:
        """Take out the requests whose turn it is; each must be sent before the next is asked for."""
        while (request := self._next()) is not None:
            yield request

    def _next(self) -> Request | None:
        if self.holding:
            return None
        for request in self._waiting:
            if request.out_of_band or self._is_free():
                self._waiting.remove(request)
                return request
        return None

    def _is_free(self) -> bool:
        if self.running or self.unseen or self.settling is not None:
            return False
        # One that nobody waits for any more may still be on its way to the socket.
        in_flight = [request for request in self._abandoned.values() if not request.written]
        in_flight += self._pending.values()
        return all(request.out_of_band for request in in_flight)

    def sent(self, request: Request) -> None:
        """A request is on its way."""
        self._pending[request.event_id] = request

    def get_pending(self, event_id: object) -> Request | None:
        """The request that was sent under this event id, if it is not answered."""
        return self._pending.get(event_id) if isinstance(event_id, str) else None

    def written(self, event_id: str) -> Request | None:
        """The socket has taken a request."""
        request = self._pending.get(event_id) or self._abandoned.get(event_id)
        if request is not None:
            request.written = True
        return request

    def input_committed(self) -> None:
        """A response that names no request may be an answer to the user from now on."""
        for request in (*self._pending.values(), *self._abandoned.values()):
            request.input_committed = True

    def take_pending(self, event_id: object) -> Request | None:
        """Take out the request that was sent under this event id."""
        return self._pending.pop(event_id, None) if isinstance(event_id, str) else None

    def take_waiting(self, serial: int) -> Request | None:
        """Take out a request that has not been sent."""
        for request in self._waiting:
            if request.serial == serial:
                self._waiting.remove(request)
                return request
        return None

    def find(self, future: Future[Any]) -> Request | None:
        """The request that a caller's future belongs to."""
        for request in (*self._waiting, *self._pending.values()):
            if request.future is future:
                return request
        return None

    def abandon(self, request: Request) -> None:
        """Nobody wants what comes of this request any more."""
        self._pending.pop(request.event_id, None)
        self._abandoned[request.event_id] = request
        if len(self._abandoned) > ABANDONED_LIMIT:
            # The server never said a word about most of them, and won't: a call can be long.
            oldest = next((event_id for event_id, old in self._abandoned.items() if old.written), None)
            self._abandoned.pop(oldest or "", None)

    def take_abandoned(self, event_id: object) -> Request | None:
        """Take out an abandoned request."""
        return self._abandoned.pop(event_id, None) if isinstance(event_id, str) else None

    def knows(self, event_id: object) -> bool:
        """Whether an event id is one of ours."""
        return event_id in self._pending or event_id in self._abandoned

    def only_one(self, out_of_band: bool | None) -> Request | None:
        """The request that a response without metadata must belong to, if there is just one candidate.

        Args:
            out_of_band: Whether the response is; None when the server doesn't say.
        """
        candidates = list(self._pending.values())
        if self.settling is not None and self.settling in self._abandoned:
            candidates.append(self._abandoned[self.settling])
        if not candidates:
            # Late, to one that was given up; of one cancelled in the conversation there would have been a sign.
            candidates = [
                request
                for request in self._abandoned.values()
                if request.written and (request.out_of_band or not request.future.cancelled())
            ]
        if out_of_band is not None:
            candidates = [request for request in candidates if request.out_of_band is out_of_band]
        # What the user says is never answered beside the conversation.
        if len(candidates) != 1 or (candidates[0].input_committed and not out_of_band):
            return None
        return candidates[0]

    @property
    def expects_beside(self) -> bool:
        """Whether a response that names nothing must run beside the conversation: in that, one runs already."""
        unanswered = (*self._pending.values(), *self._abandoned.values())
        return bool(self.running) and any(request.out_of_band and request.written for request in unanswered)

    def in_conversation(self) -> Request | None:
        """The request that is in flight in the default conversation; there is never more than one."""
        return next((request for request in self._pending.values() if not request.out_of_band), None)

    def connection_lost(self) -> list[Request]:
        """Forget what the old connection knew; returns the requests that went down with it.

        A request that the socket had not taken yet is still in the outgoing queue, and stays pending, or
        abandoned.
        """
        self.holding = self.unseen = False
        self.settling = None
        self.running.clear()
        self._abandoned = {
            event_id: request for event_id, request in self._abandoned.items() if not request.written
        }
        lost = [request for request in self._pending.values() if request.written]
        for request in lost:
            del self._pending[request.event_id]
        return lost

    def close(self) -> list[Request]:
        """Forget everything; returns all requests that were not answered."""
        requests = [*self._pending.values(), *self._waiting]
        self._pending.clear()
        self._waiting.clear()
        self._abandoned.clear()
        return requests
