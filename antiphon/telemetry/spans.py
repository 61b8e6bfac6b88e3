"""From a session's events to spans and metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, NamedTuple

from opentelemetry.trace import Span, SpanKind, Tracer, set_span_in_context

import antiphon.protocol as p
from antiphon.actors.emitter import CONNECTED, CUT, DISCONNECTED, FRAME_RECEIVED, TRUNCATED
from antiphon.actors.events import (
    ActorRestarted,
    AudioDropped,
    GenerationCreatedEvent,
    GenerationResult,
    InputSpeechStartedEvent,
    InputSpeechStoppedEvent,
    InputTranscriptionCompleted,
    McpCallEvent,
    RealtimeModelError,
    RealtimeModelMetrics,
    RealtimeSessionReconnectedEvent,
    ToolFinishedEvent,
    ToolStartedEvent,
    TranscriptionMetrics,
)
from antiphon.actors.playback import Cut
from antiphon.telemetry import names
from antiphon.telemetry.instruments import Attributes, Instruments
from antiphon.telemetry.turns import Turn
from antiphon.telemetry.wording import error_kind, fail, failure, messages, reason

SECOND = 1_000_000_000


class _Open(NamedTuple):
    """A span that has begun, and what it belongs to."""

    span: Span
    began: int
    turn: Turn
    # Of its metrics.
    labels: Attributes
    # Of a response.
    done: Future[GenerationResult] | None = None
    words: list[str] | None = None


class SessionSpans:
    """The spans of one session. Not thread-safe: called where the session's callbacks run, but for the constructor.

    Args:
        tracer: Makes the spans.
        instruments: The metrics.
        session_id: The session's id.
        common: Attributes of all spans and metrics.
        output_type: "speech" or "text".
        clock: Unix nanoseconds.
        capture_content: Whether words go into spans.

    Attributes:
        events: Names of the events that `take` wants.
        clock: Unix nanoseconds.
    """

    def __init__(
        self,
        tracer: Tracer,
        instruments: Instruments,
        session_id: str,
        common: Attributes,
        output_type: str,
        clock: Callable[[], int],
        capture_content: bool,
    ) -> None:
        self.clock = clock
        self._tracer = tracer
        self._instruments = instruments
        self._common = common
        self._of_spans = {**common, names.CONVERSATION: session_id}
        self._output_type = output_type
        self._capture_content = capture_content
        self._session = tracer.start_span("antiphon.session", attributes=self._of_spans, start_time=clock())
        self._connection: Span | None = None
        self._reconnect: tuple[Span, int] | None = None
        self._turn: Turn | None = None
        # By the user's item, for transcripts that come late.
        self._spoken_turns: dict[str, Turn] = {}
        self._responses: dict[str, _Open] = {}
        self._tools: dict[str, _Open] = {}
        self._barge_in: tuple[Span, int, set[str]] | None = None
        self._rows: dict[str, Callable[[Any, int], None]] = {
            CONNECTED: self._connected,
            DISCONNECTED: self._disconnected,
            CUT: self._cut,
            TRUNCATED: self._truncated,
            FRAME_RECEIVED: self._said,
            "session_reconnected": self._session_reconnected,
            "input_speech_started": self._speech_started,
            "input_speech_stopped": self._speech_stopped,
            "input_audio_transcription_completed": self._transcribed,
            "generation_created": self._generation_created,
            "metrics_collected": self._metrics,
            "tool_started": self._tool_started,
            "tool_finished": self._tool_finished,
            "mcp_call": self._mcp_call,
            "actor_restarted": self._actor_restarted,
            "audio_dropped": self._audio_dropped,
            "error": self._error,
        }
        self.events = tuple(name for name in self._rows if name != FRAME_RECEIVED)

    def take(self, name: str, payload: Any, at: int) -> None:
        """An event has happened then."""
        self._rows[name](payload, at)

    def end(self, at: int) -> None:
        """The session ended then: end what is open."""
        for response_id in list(self._responses):
            self._end_response(response_id, at, "session_closed")
        for call_id in list(self._tools):
            self._end_tool(call_id, at, "session_closed")
        self._end_barge_in(at)
        if self._turn is not None:
            self._turn.over()
        for span in (self._reconnect[0] if self._reconnect else None, self._connection):
            if span is not None:
                span.end(at)
        self._session.end(at)

    def _start(
        self, name: str, parent: Span, at: int, attributes: Attributes, kind: SpanKind = SpanKind.INTERNAL
    ) -> Span:
        return self._tracer.start_span(
            name,
            context=set_span_in_context(parent),
            kind=kind,
            attributes={**self._of_spans, **attributes},
            start_time=at,
        )

    # -- the connection -----------------------------------------------------------------------------------

    def _connected(self, payload: tuple[int, float], at: int) -> None:
        number, seconds = payload
        began = at - int(seconds * SECOND)
        self._connection = self._start(
            "antiphon.connection", self._session, began, {names.CONNECTION: number}, SpanKind.CLIENT
        )
        self._instruments.handshake.record(seconds, self._common)

    def _disconnected(self, payload: tuple[int, str, int | None, bool], at: int) -> None:
        _, cause, _, planned = payload
        why: Attributes = {names.REASON: cause, names.PLANNED: planned}
        if self._connection is not None:
            self._connection.set_attributes(why)
            if not planned:
                fail(self._connection, "connection_lost")
            self._connection.end(at)
            self._connection = None
        for response_id in list(self._responses):
            self._end_response(response_id, at, "connection_lost")
        if self._reconnect is None:
            self._reconnect = self._start("antiphon.reconnect", self._session, at, why), at

    def _session_reconnected(self, event: RealtimeSessionReconnectedEvent, at: int) -> None:
        if self._reconnect is None:
            return
        (span, began), self._reconnect = self._reconnect, None
        span.set_attributes(
            {
                names.ITEMS_RESTORED: event.items_restored,
                names.ITEMS_DEGRADED: event.items_degraded,
                names.ITEMS_LOST: event.items_lost,
                names.AUDIO_DROPPED_MS: event.audio_dropped_ms,
            }
        )
        span.end(at)
        self._instruments.reconnect.record((at - began) / SECOND, self._common)

    # -- turns ----------------------------------------------------------------------------------------------

    def _begin_turn(self, at: int, item_id: str | None = None) -> Turn:
        if self._turn is not None:
            self._turn.over()
        attributes = {} if item_id is None else {names.USER_ITEM: item_id}
        turn = self._turn = Turn(self._start("antiphon.turn", self._session, at, attributes), at)
        return turn

    def _present_turn(self, at: int) -> Turn:
        return self._turn or self._begin_turn(at)

    def _speech_started(self, event: InputSpeechStartedEvent, at: int) -> None:
        turn = self._begin_turn(at, event.item_id)
        self._spoken_turns = {event.item_id: turn, **dict(list(self._spoken_turns.items())[:3])}

    def _speech_stopped(self, event: InputSpeechStoppedEvent, at: int) -> None:
        turn = self._spoken_turns.get(event.item_id)
        if turn is not None:
            turn.span.add_event("antiphon.speech_stopped", timestamp=at)
            turn.lasts_until(at)

    def _transcribed(self, event: InputTranscriptionCompleted, at: int) -> None:
        turn = self._spoken_turns.get(event.item_id)
        if turn is not None and event.is_final and self._capture_content and turn.span.is_recording():
            turn.span.set_attribute(names.INPUT_MESSAGES, messages("user", [event.transcript]))
            turn.lasts_until(at)

    # -- responses --------------------------------------------------------------------------------------------

    def _generation_created(self, event: GenerationCreatedEvent, at: int) -> None:
        turn = self._present_turn(at)
        if turn.answered:
            turn = self._begin_turn(at)
        turn.response_began()
        attributes = {
            names.OPERATION: names.CHAT,
            names.RESPONSE_ID: event.response_id,
            names.OUTPUT_TYPE: self._output_type,
            names.STREAM: True,
            names.USER_INITIATED: event.user_initiated,
        }
        model = self._common[names.REQUEST_MODEL]
        span = self._start(f"{names.CHAT} {model}", turn.span, at, attributes, SpanKind.CLIENT)
        response_id = event.response_id
        labels = {**self._common, names.OPERATION: names.CHAT}
        self._responses[response_id] = _Open(span, at, turn, labels, event.done, [])
        event.done.add_done_callback(lambda done: self._response_done(response_id, done))

    def _response_done(self, response_id: str, done: Future[GenerationResult]) -> None:
        """End a response of which there will be no metrics; of the others they come next."""
        if done.cancelled() or done.exception() is not None:
            self._end_response(response_id, self.clock(), "lost")
            return
        details = done.result().status_details
        if isinstance(details, p.ResponseStatusDetails) and details.reason == "superseded":
            self._end_response(response_id, self.clock(), reasons=["superseded"])

    def _metrics(self, metrics: RealtimeModelMetrics | TranscriptionMetrics, at: int) -> None:
        if isinstance(metrics, TranscriptionMetrics) or metrics.acquire_time:
            return
        entry = self._responses.get(metrics.request_id)
        if entry is None:
            return
        given, made = metrics.input_token_details, metrics.output_token_details
        tokens = {
            names.INPUT_TOKENS: metrics.input_tokens,
            names.OUTPUT_TOKENS: metrics.output_tokens,
            names.CACHED_TOKENS: given.cached_tokens,
        }
        for kind in ("text", "audio"):
            for direction, details in (("input", given), ("output", made)):
                name = names.TOKENS_OF.format(kind=kind, direction=direction)
                tokens[name] = getattr(details, f"{kind}_tokens")
        entry.span.set_attributes(tokens)
        if metrics.total_tokens:
            self._instruments.tokens(metrics.input_tokens, metrics.output_tokens, entry.labels)
        if metrics.ttft >= 0:
            entry.span.set_attribute(names.TIME_TO_FIRST_CHUNK, metrics.ttft)
            self._instruments.first_chunk.record(metrics.ttft, entry.labels)
        # It is settled before the metrics are told.
        assert entry.done is not None
        result = entry.done.result(0)
        failed = failure(result) if result.status == "failed" else None
        self._end_response(metrics.request_id, at, failed, [reason(result)])

    def _end_response(
        self, response_id: str, at: int, failure: str | None = None, reasons: Iterable[str] = ()
    ) -> None:
        entry = self._responses.pop(response_id, None)
        if entry is None:
            return
        labels = entry.labels
        if failure is not None:
            fail(entry.span, failure)
            labels = {**labels, names.ERROR_TYPE: failure}
        if reasons:
            entry.span.set_attribute(names.FINISH_REASONS, list(reasons))
        if entry.words:
            entry.span.set_attribute(names.OUTPUT_MESSAGES, messages("assistant", entry.words))
        entry.span.end(at)
        entry.turn.response_ended(at)
        self._instruments.operation.record((at - entry.began) / SECOND, labels)

    def _said(self, payload: tuple[int, bytes], _: int) -> None:
        """A frame with the words of a message, for those who want content."""
        try:
            event = p.decode_server_event(payload[1])
        except p.ProtocolError:
            return
        if isinstance(event, p.ResponseOutputAudioTranscriptDone):
            text = event.transcript
        elif isinstance(event, p.ResponseOutputTextDone):
            text = event.text
        else:
            return
        entry = self._responses.get(event.response_id)
        if entry is not None and entry.words is not None:
            entry.words.append(text)

    # -- tools --------------------------------------------------------------------------------------------------

    def _tool_started(self, event: ToolStartedEvent, at: int) -> None:
        self._begin_tool(event.call_id, event.name, "function", event.arguments, at)

    def _tool_finished(self, event: ToolFinishedEvent, at: int) -> None:
        self._end_tool(event.call_id, at, "tool_error" if event.is_error else None, event.output)

    def _mcp_call(self, event: McpCallEvent, at: int) -> None:
        if event.status == "in_progress":
            self._begin_tool(event.item_id, event.name, "extension", event.arguments, at)
        else:
            failed = event.status == "failed"
            self._end_tool(event.item_id, at, "mcp_error" if failed else None, event.output or "")

    def _begin_tool(self, call_id: str, name: str, kind: str, arguments: str, at: int) -> None:
        if call_id in self._tools:
            return
        turn = self._present_turn(at)
        turn.tool_began()
        attributes = {
            names.OPERATION: names.EXECUTE_TOOL,
            names.TOOL_NAME: name,
            names.TOOL_TYPE: kind,
            names.CALL_ID: call_id,
        }
        if self._capture_content:
            attributes[names.CALL_ARGUMENTS] = arguments
        span = self._start(f"{names.EXECUTE_TOOL} {name}", turn.span, at, attributes)
        self._tools[call_id] = _Open(span, at, turn, {names.TOOL_NAME: name, names.TOOL_TYPE: kind})

    def _end_tool(self, call_id: str, at: int, failure: str | None, output: str | None = None) -> None:
        entry = self._tools.pop(call_id, None)
        if entry is None:
            return
        span, labels = entry.span, entry.labels
        if failure is not None:
            fail(span, failure)
            labels = {**labels, names.ERROR_TYPE: failure}
        if output is not None and self._capture_content:
            span.set_attribute(names.CALL_RESULT, output)
        span.end(at)
        entry.turn.tool_ended(at)
        self._instruments.tool.record((at - entry.began) / SECOND, labels)

    # -- interruptions --------------------------------------------------------------------------------------------

    def _cut(self, payload: tuple[str, list[Cut]], at: int) -> None:
        trigger, cuts = payload
        self._end_barge_in(at)
        turn = self._present_turn(at)
        attributes = {names.TRIGGER: trigger, names.HEARD_MS: [cut.heard_ms for cut in cuts]}
        span = self._start("antiphon.barge_in", turn.span, at, attributes)
        # What was not heard at all is deleted, not truncated.
        self._barge_in = span, at, {cut.item_id for cut in cuts if cut.heard_ms}
        turn.lasts_until(at)
        if not self._barge_in[2]:
            self._end_barge_in(at)

    def _truncated(self, item_id: str, at: int) -> None:
        if self._barge_in is None or item_id not in self._barge_in[2]:
            return
        _, began, missing = self._barge_in
        missing.discard(item_id)
        if not missing:
            self._instruments.barge_in.record((at - began) / SECOND, self._common)
            self._end_barge_in(at)

    def _end_barge_in(self, at: int) -> None:
        if self._barge_in is not None:
            self._barge_in[0].end(at)
            self._barge_in = None
            if self._turn is not None:
                self._turn.lasts_until(at)

    # -- what goes wrong ------------------------------------------------------------------------------------------

    def _actor_restarted(self, event: ActorRestarted, at: int) -> None:
        labels = {names.ACTOR: event.actor, names.ERROR_TYPE: type(event.error).__name__}
        self._session.add_event("antiphon.actor_restarted", labels, at)
        self._instruments.restarts.add(1, {**self._common, **labels})

    def _audio_dropped(self, event: AudioDropped, at: int) -> None:
        self._session.add_event("antiphon.audio_dropped", {names.AUDIO_DROPPED_MS: event.duration_ms}, at)
        self._instruments.audio_dropped.add(event.duration_ms, self._common)

    def _error(self, event: RealtimeModelError, at: int) -> None:
        # Not its message: a server's may quote what was said.
        labels: Attributes = {names.ERROR_TYPE: error_kind(event.error), names.RECOVERABLE: event.recoverable}
        self._session.add_event("antiphon.error", labels, at)
        self._instruments.errors.add(1, {**self._common, **labels})
        if not event.recoverable:
            fail(self._session, error_kind(event.error))
