"""Responses: begun, cut off, ended and accounted for. Decisions only."""

from __future__ import annotations

from collections.abc import Callable

import antiphon.protocol as p
from antiphon.actors import messages as m
from antiphon.actors.config import SessionOptions, SessionSpec
from antiphon.actors.core import Disarm, End, Put, Settle, handles
from antiphon.actors.emitter import CUT
from antiphon.actors.errors import APIError, RealtimeError
from antiphon.actors.events import GenerationResult, MetricsMetadata, PlaybackInterruptedEvent
from antiphon.actors.failures import error_code, model_error
from antiphon.actors.generation import Generation, MakeFuture, text_of
from antiphon.actors.logs import get_logger
from antiphon.actors.playback import Playback
from antiphon.actors.response_content import ResponseContent
from antiphon.actors.tool_calls import RESULT_LOST, ToolResult

logger = get_logger("antiphon.generation")


class GenerationCore(ResponseContent):
    """State and decisions of the GenerationActor.

    Args:
        spec: What the session was made with.
        options: What the server is told.
        playback: The ledger that the application's player reads.
        make_future: Makes the futures that the application gets.
        cancel_response: Called by `GenerationCreatedEvent.cancel` with the response's id, on any thread.
    """

    def __init__(
        self,
        spec: SessionSpec,
        options: SessionOptions,
        playback: Playback,
        make_future: MakeFuture,
        cancel_response: Callable[[str], None],
    ) -> None:
        super().__init__(spec, options, playback, make_future)
        self._cancel_response = cancel_response

    # -- cutting off -------------------------------------------------------------------------------------

    @handles(m.CancelResponse)
    def cancel_response(self, message: m.CancelResponse) -> None:
        """Cancel one response, if it still runs."""
        if message.response_id in self._generations:
            self._send_cancel(message.response_id)

    @handles(m.Interrupt)
    def interrupt(self, _: m.Interrupt) -> None:
        """Cancel what is active and fall silent; requests that wait keep waiting."""
        pending = [request for request in self._arbiter.pending if not request.out_of_band]
        for request in pending:
            request.interrupted = True
        if self._active is not None or pending:
            self.tell(m.CONNECTION, m.Transmit(p.ResponseCancel()))
            if self._active is not None:
                self.interrupt_calls(self._active)
        self._cut_playback("interrupt")

    @handles(p.InputAudioBufferSpeechStarted)
    def speech_started(self, _: p.InputAudioBufferSpeechStarted) -> None:
        """The user talks over the model: fall silent, and tell the server what was heard."""
        if self.options.interrupts:
            self._cut_playback("speech")

    def _cut_playback(self, trigger: str) -> None:
        if not self._playback.attached:
            return
        cuts = self._playback.cut()
        if cuts:
            self.emit(CUT, (trigger, cuts))
        for cut in cuts:
            self.emit(
                "playback_interrupted",
                PlaybackInterruptedEvent(item_id=cut.item_id, heard_ms=cut.heard_ms, reason=trigger),
            )
            self._tell_received(cut.item_id)
            self._tell_heard(cut.item_id, cut.heard_ms)
        for generation in self._generations.values():
            heard = any(message.audio_samples for message in generation.messages.values())
            if heard or generation is self._active:
                generation.silenced = True

    def _send_cancel(self, response_id: str) -> None:
        self.tell(m.CONNECTION, m.Transmit(p.ResponseCancel(response_id=response_id)))

    # -- a response begins -----------------------------------------------------------------------------

    @handles(p.ResponseCreated)
    def response_created(self, event: p.ResponseCreated) -> None:
        """Match a response with its request and hand it out."""
        response = event.response
        if self._closed is not None or response.id in self._discarded:
            return
        if response.id and response.id in self._generations:
            self._ignore("a response was announced twice")
            return
        out_of_band = self._says_out_of_band(response)
        request, wanted = self._match(response, out_of_band)
        if request is not None:
            self._disarm(request)
            out_of_band = request.out_of_band
            if request.event_id == self._arbiter.settling:
                self._settled()
        if not out_of_band:
            self._seen()
            if wanted and self._active is not None:
                self._supersede(self._active)
            self._arbiter.running.add(response.id)
        if not wanted:
            self._discarded.add(response.id)
            self._send_cancel(response.id)
            return
        generation = Generation(
            response.id,
            bool(out_of_band),
            request is not None,
            self.options.modalities if request is None else request.modalities(self.options.modalities),
            self.now,
            self._make_future,
        )
        self._generations[response.id] = generation
        if request is not None and request.interrupted:
            generation.silenced = self._playback.attached
            self.interrupt_calls(generation)
        if not out_of_band:
            self._active = generation
        cancel, response_id = self._cancel_response, response.id
        handout = generation.handout(lambda: cancel(response_id))
        self.emit("generation_created", handout)
        if request is not None:
            self.do(Settle(request.future, handout))

    def _supersede(self, generation: Generation) -> None:
        self._finish_messages(generation)
        details = p.ResponseStatusDetails(type="incomplete", reason="superseded")
        self.do(Settle(generation.done, GenerationResult(status="incomplete", status_details=details)))
        self._forget(generation)
        self.calls_complete(generation, interrupted=False)

    # -- it ends -----------------------------------------------------------------------------------------

    @handles(p.ResponseDone)
    def response_done(self, event: p.ResponseDone) -> None:
        """End the streams, account for the response, and let the next one begin."""
        response = event.response
        # Servers that leave the id out mean the active response, or the one that was to be discarded.
        response_id = response.id or (self._active.id if self._active else next(iter(self._discarded), ""))
        beside = response_id in self._generations and self._generations[response_id].out_of_band
        if not beside:
            self._seen()
        self._arbiter.running.discard(response_id)
        if response_id in self._discarded:
            self._discarded.discard(response_id)
            self._mirror_items(response)
            self._advance()
            return
        generation = self._find(response_id)
        if generation is not None:
            self._complete(generation, response)
        self._advance()

    def _mirror_items(self, response: p.Response) -> None:
        """What a discarded response has made is in the conversation all the same."""
        for item in response.output:
            if isinstance(item, p.MessageItem | p.FunctionCallItem) and item.id:
                self.tell(m.CHAT_CTX, m.MessageFinished(item.id, text_of(item), item))

    def _complete(self, generation: Generation, response: p.Response) -> None:
        self._take_what_was_not_announced(generation, response)
        self._finish_messages(generation, {item.id: item for item in response.output if item.id})
        for call in () if generation.out_of_band else generation.delivered_items:
            self.tell(m.CHAT_CTX, m.MessageFinished(call.id, "", call))
        details = p.given(response.status_details, None)
        result = GenerationResult(
            status=response.status or "completed",
            status_details=details,
            usage=p.given(response.usage, None),
        )
        self.do(Settle(generation.done, result))
        metadata = MetricsMetadata(model_name=self.spec.model_name, model_provider=self.spec.provider)
        self.emit(
            "metrics_collected",
            generation.metrics(response, self.now, self.spec.label, metadata),
        )
        if response.status == "failed":
            self.emit("error", model_error(self.spec.label, self._failure(details), recoverable=True))
        elif response.status not in ("completed", ""):
            logger.debug("response %s ended as %s", response.id, response.status)
        self._forget(generation)
        self.calls_complete(generation, interrupted=response.status == "cancelled")

    def _take_what_was_not_announced(self, generation: Generation, response: p.Response) -> None:
        """Deliver what a server that leaves events out has only put into response.done."""
        for item in response.output:
            if isinstance(item, p.FunctionCallItem):
                self._deliver_item(generation, item)
            elif isinstance(item, p.MessageItem) and item.id and item.id not in generation.messages:
                message = self._message(generation, item.id)
                text = text_of(item)
                if text:
                    message.words.append(text)
                    self.do(Put(message.text, text))
        if response.status in ("completed", ""):
            self._deliver_held(generation)

    def _finish_messages(self, generation: Generation, items: dict[str, p.Item] | None = None) -> None:
        """End all streams, and put what was said into the mirror."""
        for message in generation.messages.values():
            self._end_message(message)
            if generation.out_of_band:
                # What is said beside the conversation is not in it.
                continue
            item = (items or {}).get(message.id)
            text = "".join(message.words) or (text_of(item) if item is not None else "")
            self.tell(m.CHAT_CTX, m.MessageFinished(message.id, text, item))
        for item_id in generation.announced_calls:
            self.tell(m.CHAT_CTX, m.ItemGenerating(item_id, False))
        self.do(End(generation.message_stream))
        self.do(End(generation.function_stream))

    def _forget(self, generation: Generation) -> None:
        self._generations.pop(generation.id, None)
        self._arbiter.running.discard(generation.id)
        if self._active is generation:
            self._active = None

    def _failure(self, details: p.ResponseStatusDetails | str | None) -> APIError:
        label = self.spec.label
        if isinstance(details, str):
            return APIError(f"{label}: the response failed: {details}")
        error = p.given(details.error, None) if details is not None else None
        if error is None:
            return APIError(f"{label}: the response failed; the server gave no reason")
        code = error_code(error)
        words = p.given(error.message, "") or "no message"
        return APIError(f"{label}: the response failed: {words}" + (f" ({code})" if code else ""), error)

    # -- errors and the rest of life ---------------------------------------------------------------------

    @handles(m.Truncate)
    def truncate(self, message: m.Truncate) -> None:
        """Tell the mirror how much there was to be heard before it cuts."""
        self._tell_received(message.message_id)
        self.tell(m.CHAT_CTX, message)

    def _tell_received(self, item_id: str) -> None:
        for generation in self._generations.values():
            made = generation.messages.get(item_id)
            if made is not None and made.audio_samples:
                ms = self._codec.samples_to_ms(made.audio_samples)
                self.tell(m.CHAT_CTX, m.ItemAudioReceived(made.id, made.content_index, ms))

    @handles(m.OptionsChanged)
    def options_changed(self, message: m.OptionsChanged) -> None:
        """Nothing here depends on what can change, but what is read later must be true."""
        self.options = message.options

    @handles(m.ConnectionOpened)
    def connection_opened(self, _: m.ConnectionOpened) -> None:
        """Requests may go out again."""
        self._echoes_metadata = self._names_conversations = False
        self._advance()

    @handles(m.MessageLost)
    def message_lost(self, message: m.MessageLost) -> None:
        """An actor failed at a message: end what only that message would have ended."""
        lost = message.message
        if isinstance(lost, p.ResponseDone):
            self._end_lost(lost.response.id)
        elif isinstance(lost, m.ToolFinished):
            self.tool_finished(m.ToolFinished(lost.call_id, ToolResult(RESULT_LOST, is_error=True)))
        elif isinstance(lost, m.ReplyWritten):
            self._arbiter.written(lost.event_id)
        elif isinstance(lost, m.ReplyWithdrawn):
            self.reply_withdrawn(lost)
        elif isinstance(lost, m.Transmit) and isinstance(lost.event, p.ResponseCreate):
            self.request_lost(lost.event.event_id)

    def _end_lost(self, response_id: str) -> None:
        """A response has ended, and how is lost."""
        self._arbiter.running.discard(response_id)
        self._discarded.discard(response_id)
        generation = self._generations.get(response_id)
        if generation is not None:
            self._drop_generation(generation, "the end of the response was lost with an actor that failed")
        self._advance()

    @handles(m.ConnectionLost)
    def connection_lost(self, _: m.ConnectionLost) -> None:
        """What was under way is gone; what waited goes on waiting."""
        lost = self._arbiter.connection_lost()
        for request in lost:
            self._disarm(request)
            self.do(Settle(request.future, RealtimeError("pending response discarded: session reconnection")))
        for timer in ("settle", "unseen"):
            self.do(Disarm(timer))
        self._discarded.clear()
        self._drop_generations("session reconnection")
        if any(request.follow_up for request in lost):
            self.request_reply()
        self.mcp_lost()

    @handles(m.SessionClosing)
    def session_closing(self, message: m.SessionClosing) -> None:
        """Settle everything."""
        self._closed = message.reason
        for request in self._arbiter.close():
            self._disarm(request)
            self.do(Settle(request.future, RealtimeError(message.reason)))
        for timer in ("settle", "unseen"):
            self.do(Disarm(timer))
        self.drop_calls()
        self._drop_generations(message.reason)

    def _drop_generations(self, reason: str) -> None:
        for generation in list(self._generations.values()):
            self._drop_generation(generation, reason)

    def _drop_generation(self, generation: Generation, reason: str) -> None:
        self._finish_messages(generation)
        self.do(Settle(generation.done, RealtimeError(reason)))
        self._forget(generation)
        self.calls_complete(generation, interrupted=False)
