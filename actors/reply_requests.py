"""Requests for responses: sent in their turn, matched with what the server does, given up in time."""

from __future__ import annotations

import antiphon.protocol as p
from antiphon.actors import messages as m
from antiphon.actors.arbiter import Arbiter, Request
from antiphon.actors.config import SessionOptions, SessionSpec
from antiphon.actors.core import Arm, Disarm, Settle, TimerFired, handles
from antiphon.actors.errors import RealtimeError
from antiphon.actors.failures import COLLISION, error_code, model_error, server_error
from antiphon.actors.generation import Generation, MakeFuture
from antiphon.actors.logs import get_logger
from antiphon.actors.tool_calls import ToolCalls

logger = get_logger("antiphon.generation")


class ReplyRequests(ToolCalls):
    """The part of the GenerationActor that asks for responses.

    Args:
        spec: What the session was made with.
        options: What the server is told.
        make_future: Makes the futures that the application gets.
    """

    def __init__(self, spec: SessionSpec, options: SessionOptions, make_future: MakeFuture) -> None:
        super().__init__()
        self.spec = spec
        self.options = options
        self.instructions: str | None = None
        self._make_future = make_future
        self._arbiter = Arbiter()
        self._generations: dict[str, Generation] = {}
        self._active: Generation | None = None
        self._echoes_metadata = False
        self._names_conversations = False
        self._closed: str | None = None

    @handles(m.GenerateReply)
    def generate_reply(self, message: m.GenerateReply) -> None:
        """Send the request, or let it wait for its turn."""
        if self._closed is not None:
            self.do(Settle(message.future, RealtimeError(self._closed)))
            return
        try:
            p.encode_client_event(p.ResponseCreate(response=message.params), self.spec.dialect)
        except (TypeError, ValueError, RecursionError) as error:
            # Nothing would ever be sent, so nothing would ever answer it.
            self.do(Settle(message.future, RealtimeError(f"generate_reply can't be sent: {error}")))
            return
        self._ask(Request(message.params, message.future))

    def request_reply(self) -> None:
        """Ask the model to go on after its tools; nobody but the events' listeners waits for it."""
        if self._closed is None:
            self._ask(Request(p.ResponseCreateParams(), self._make_future(), follow_up=True))

    def _ask(self, request: Request) -> None:
        self._arbiter.add(request)
        self.do(Arm(("wait", request.serial), self.spec.timeouts.reply_wait))
        self._advance()

    def _advance(self) -> None:
        """Send what may be sent now, and let the connection be recycled if that is wanted and nothing runs."""
        for request in self._arbiter.next():
            event = request.make_event(self.instructions)
            self._arbiter.sent(request)
            self.tell(m.CONNECTION, m.Transmit(event))
        if self._arbiter.holding and not self._generations and not self._arbiter.pending:
            self.tell(m.CONNECTION, m.RecycleReady())

    @handles(m.ReplyWritten)
    def reply_written(self, message: m.ReplyWritten) -> None:
        """The request's time runs from now."""
        request = self._arbiter.written(message.event_id)
        if request is None:
            return
        if self._arbiter.get_pending(request.event_id) is not None:
            self.do(Disarm(("wait", request.serial)))
            self.do(Arm(("reply", request.event_id), self.spec.timeouts.reply))
        elif not request.out_of_band:
            # It was given up while the socket had begun to take it: its response is still to come, and to go.
            self.tell(m.CONNECTION, m.Transmit(p.ResponseCancel()))
            self._settle(request)

    @handles(m.ReplyWithdrawn)
    def reply_withdrawn(self, message: m.ReplyWithdrawn) -> None:
        """A request that was given up was still in the queue: the server will never hear of it."""
        self._arbiter.take_abandoned(message.event_id)
        self._advance()

    @handles(m.ReplyCancelled)
    def reply_cancelled(self, message: m.ReplyCancelled) -> None:
        """The caller doesn't want the response any more."""
        request = self._arbiter.find(message.future)
        if request is None:
            return
        self._disarm(request)
        if self._arbiter.take_waiting(request.serial) is None:
            self._arbiter.abandon(request)
            if not request.written:
                self.tell(m.CONNECTION, m.WithdrawReply(request.event_id))
            elif not request.out_of_band:
                self.tell(m.CONNECTION, m.Transmit(p.ResponseCancel()))
                self._settle(request)
        self._advance()

    @handles(m.ReadActivity)
    def read_activity(self, message: m.ReadActivity) -> None:
        """Whether anything is asked for or under way."""
        arbiter = self._arbiter
        busy = bool(self._generations or arbiter.pending or arbiter.waiting)
        self.do(Settle(message.future, busy))

    def _disarm(self, request: Request) -> None:
        self.do(Disarm(("wait", request.serial)))
        if request.event_id:
            self.do(Disarm(("reply", request.event_id)))

    def request_lost(self, event_id: object) -> None:
        """A request has not reached the outgoing queue: the server will never hear of it."""
        request = self._arbiter.take_pending(event_id)
        if request is not None:
            self._disarm(request)
            self.do(
                Settle(request.future, RealtimeError("generate_reply was lost with an actor that failed"))
            )
        self._advance()

    def _settle(self, request: Request) -> None:
        """Let the next request wait for a sign of what has become of this one."""
        self._arbiter.settling = request.event_id
        self.do(Arm("settle", self.spec.timeouts.reply))

    def _settled(self) -> None:
        if self._arbiter.settling is not None:
            self._arbiter.settling = None
            self.do(Disarm("settle"))

    def _seen(self) -> None:
        if self._arbiter.unseen:
            self._arbiter.unseen = False
            self.do(Disarm("unseen"))

    @handles(TimerFired)
    def timer_fired(self, message: TimerFired) -> None:
        """A request has waited too long."""
        if message.key == "settle":
            self._arbiter.settling = None
        elif message.key == "unseen":
            self._arbiter.unseen = False
        else:
            assert isinstance(message.key, tuple)
            kind, which = message.key
            if kind == "wait":
                self._waited_too_long(which)
            elif kind == "reply":
                self._timed_out(which)
            else:
                self.tool_timed_out(which)
        self._advance()

    def _waited_too_long(self, serial: int) -> None:
        seconds = self.spec.timeouts.reply_wait
        error = RealtimeError(f"generate_reply timed out: it was not its turn within {seconds:g} s")
        request = self._arbiter.take_waiting(serial)
        if request is None:
            # Sent, but the socket has not taken it in all that time.
            request = next((r for r in self._arbiter.pending if r.serial == serial), None)
            if request is None:
                return
            self._arbiter.abandon(request)
            self.tell(m.CONNECTION, m.WithdrawReply(request.event_id))
        self.do(Settle(request.future, error))

    def _timed_out(self, event_id: str) -> None:
        request = self._arbiter.get_pending(event_id)
        if request is not None:
            self._arbiter.abandon(request)
            seconds = self.spec.timeouts.reply
            self.do(
                Settle(
                    request.future,
                    RealtimeError(f"generate_reply timed out: no response within {seconds:g} s"),
                )
            )

    def _match(self, response: p.Response, out_of_band: bool | None) -> tuple[Request | None, bool]:
        """The request that a response answers, if any, and whether anybody still wants the response."""
        event_id = p.given(response.metadata, {}).get("client_event_id")
        if self._arbiter.knows(event_id):
            self._echoes_metadata = True
        elif not self._echoes_metadata and event_id is None:
            candidate = self._arbiter.only_one(out_of_band)
            event_id = candidate.event_id if candidate is not None else None
        request = self._arbiter.take_pending(event_id)
        if request is not None:
            return request, not request.future.cancelled()
        request = self._arbiter.take_abandoned(event_id)
        return request, request is None

    def _says_out_of_band(self, response: p.Response) -> bool | None:
        """Whether a response runs beside the conversation; None when the server doesn't say."""
        if isinstance(response.conversation_id, str):
            self._names_conversations = True
            return False
        # Null says so, but only from a server that names the conversation of other responses.
        says_so = self._names_conversations and response.conversation_id is None
        names_request = "client_event_id" in p.given(response.metadata, {})
        return True if says_so or (not names_request and self._arbiter.expects_beside) else None

    @handles(p.ErrorEvent)
    def error_event(self, event: p.ErrorEvent) -> None:
        """An error that is not the mirror's: a refused request's, or nobody's."""
        error = event.error
        code, codes = error_code(error), {error.code, error.type}
        if error.message.startswith("Cancellation failed") or "response_cancel_not_active" in codes:
            # What was to be cancelled had ended.
            self._settled()
            self._advance()
            return
        if self._arbiter.take_abandoned(error.event_id) is not None:
            if self._arbiter.settling == error.event_id:
                self._settled()
            self._advance()
            return
        request = self._arbiter.take_pending(error.event_id)
        if request is None and COLLISION in codes and not isinstance(error.event_id, str):
            # It names no request, but there is only one that can have collided.
            candidate = self._arbiter.in_conversation()
            request = self._arbiter.take_pending(candidate.event_id) if candidate is not None else None
        if request is not None:
            self._disarm(request)
            if COLLISION in codes and not request.retried:
                # Server VAD was faster: wait for its response, then try once more.
                request.retried = True
                self._arbiter.add(request, first=True)
                self.do(Arm(("wait", request.serial), self.spec.timeouts.reply_wait))
                if not self._arbiter.running:
                    # It has not been announced yet.
                    self._arbiter.unseen = True
                    self.do(Arm("unseen", self.spec.timeouts.reply))
                self._advance()
                return
            self.do(Settle(request.future, RealtimeError(error.message or "refused by the server", code)))
        self.emit("error", model_error(self.spec.label, server_error(self.spec.label, error), True))
        self._advance()

    @handles(p.InputAudioBufferCommitted)
    def input_committed(self, _: p.InputAudioBufferCommitted) -> None:
        """A response without metadata may be the answer to this from now on."""
        self._arbiter.input_committed()

    @handles(m.UpdateInstructions)
    def update_instructions(self, message: m.UpdateInstructions) -> None:
        """Requests with instructions of their own carry the session's too."""
        self.instructions = message.instructions

    @handles(m.RecycleWanted)
    def recycle_wanted(self, _: m.RecycleWanted) -> None:
        """Let nothing new begin, and say when nothing runs."""
        self._arbiter.holding = True
        self._advance()
