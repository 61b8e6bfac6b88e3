"""What happens in a call, as a list of notes: one session's events put into the words of a command line."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from antiphon import (
    APIConnectionError,
    GenerationCreatedEvent,
    InputTranscriptionCompleted,
    MessageGeneration,
    RealtimeError,
    RealtimeModelError,
    RealtimeModelMetrics,
    RealtimeSession,
    RealtimeSessionReconnectedEvent,
    StateChanged,
    ToolFinishedEvent,
    ToolStartedEvent,
)

_SETTLE_S: Final = 2.0


class Note(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that happened; with `--json` each is one line.

    Attributes:
        at: Seconds since the call began.
        kind: "state", "user", "model", "latency", "interrupted", "tool", "reconnected", "warning",
            "error" or "done".
        text: What was said, or happened.
        cut: The model was interrupted in it.
        ms: Milliseconds: of a latency, or how far an interrupted answer was heard.
        name: The tool.
        arguments: What the tool was called with, JSON.
        is_error: The tool failed.
    """

    at: float
    kind: str
    text: str = ""
    cut: bool = False
    ms: int | None = None
    name: str | None = None
    arguments: str | None = None
    is_error: bool = False


class CallLog:
    """Follows a session. Subscribe before it starts.

    Args:
        session: The call.
        tell: Gets each note, one at a time, on threads that may wait.

    Attributes:
        state: The session's state.
        user_text: What the user is saying, as far as it is known.
        model_text: What the model is saying.
        latency_ms: From the last end of speech to the first sound of its answer.
        turns: Answers so far.
        failure: The error that ended the session.
    """

    def __init__(self, session: RealtimeSession, tell: Callable[[Note], None]) -> None:
        self.state = "connecting"
        self.user_text = ""
        self.model_text = ""
        self.latency_ms: int | None = None
        self.turns = 0
        self.failure: str | None = None
        self._began = time.monotonic()
        self._tell = tell
        self._telling = threading.Lock()
        self._closed = threading.Event()
        self._readers: list[threading.Thread] = []
        self._calls: dict[str, ToolStartedEvent] = {}
        self._asked_at: float | None = None
        for name, callback in (
            ("state_changed", self._on_state),
            ("input_speech_stopped", self._on_asked),
            ("input_audio_transcription_completed", self._on_transcript),
            ("generation_created", self._on_generation),
            ("metrics_collected", self._on_metrics),
            ("tool_started", self._on_tool_started),
            ("tool_finished", self._on_tool_finished),
            ("session_reconnected", self._on_reconnected),
            ("openai_client_event_queued", self._on_sent),
            ("error", self._on_error),
        ):
            session.on(name, callback)

    @property
    def seconds(self) -> float:
        """How long the call has lasted."""
        return time.monotonic() - self._began

    def settle(self) -> None:
        """After the session's end: wait until what it said last has been told."""
        self._closed.wait(_SETTLE_S)
        for reader in self._readers:
            reader.join(_SETTLE_S)
        self.note("done", text=f"answers: {self.turns}")

    def note(self, kind: str, **fields: Any) -> None:
        """Tell something."""
        with self._telling:
            self._tell(Note(at=round(self.seconds, 3), kind=kind, **fields))

    # -- the session's events --------------------------------------------------------------------------

    def _on_state(self, event: StateChanged) -> None:
        self.state = event.new
        self.note("state", text=event.new)
        if event.new == "closed":
            self._closed.set()

    def _on_asked(self, event: object) -> None:
        self._asked_at = time.time()

    def _on_transcript(self, event: InputTranscriptionCompleted) -> None:
        self.user_text = "" if event.is_final else event.transcript
        if event.is_final:
            self.note("user", text=event.transcript.strip())

    def _on_generation(self, generation: GenerationCreatedEvent) -> None:
        # On a thread of its own, so that the events behind it are not held up.
        self._readers = [reader for reader in self._readers if reader.is_alive()]
        name = f"antiphon-talk-{generation.response_id}"
        reader = threading.Thread(target=self._read, args=(generation,), name=name, daemon=True)
        self._readers.append(reader)
        reader.start()

    def _read(self, generation: GenerationCreatedEvent) -> None:
        said = ""
        for message in generation.message_stream:
            said += self._read_message(message)
        try:
            cut = generation.done.result().status == "cancelled"
        except RealtimeError:
            cut = True
        if said:
            self.turns += 1
            self.note("model", text=said.strip(), cut=cut)

    def _read_message(self, message: MessageGeneration) -> str:
        text = ""
        for piece in message.text_stream:
            text += piece
            self.model_text = text
        self.model_text = ""
        return text

    def _on_metrics(self, metrics: object) -> None:
        asked = self._asked_at
        if not isinstance(metrics, RealtimeModelMetrics) or asked is None or metrics.ttft < 0:
            return
        if metrics.request_id and metrics.timestamp + metrics.ttft >= asked:
            self._asked_at = None
            self.latency_ms = round((metrics.timestamp + metrics.ttft - asked) * 1000)
            self.note("latency", ms=self.latency_ms)

    def _on_tool_started(self, event: ToolStartedEvent) -> None:
        self._calls[event.call_id] = event

    def _on_tool_finished(self, event: ToolFinishedEvent) -> None:
        started = self._calls.pop(event.call_id, None)
        arguments = started.arguments if started is not None else None
        self.note("tool", name=event.name, arguments=arguments, text=event.output, is_error=event.is_error)

    def _on_reconnected(self, event: RealtimeSessionReconnectedEvent) -> None:
        self.note("reconnected", text=f"after {event.downtime:.1f} s: {event.reason}")

    def _on_sent(self, event: dict[str, Any]) -> None:
        if event["type"] == "conversation.item.truncate":
            self.note("interrupted", ms=event["audio_end_ms"])

    def _on_error(self, event: RealtimeModelError) -> None:
        text = str(event.error)
        if not event.recoverable:
            self.failure = text
        elif isinstance(event.error, APIConnectionError):
            # The log's warning tells of it, and says when it is tried again.
            return
        self.note("error", text=text)


class LogNotes(logging.Handler):
    """Makes notes of what antiphon logs, while the `with` block lasts, instead of writing it to standard error."""

    def __init__(self, log: CallLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log
        self._logger = logging.getLogger("antiphon")

    def emit(self, record: logging.LogRecord) -> None:
        """Tell of it."""
        self._log.note("warning", text=record.getMessage())

    def __enter__(self) -> Self:
        self._propagated, self._logger.propagate = self._logger.propagate, False
        self._logger.addHandler(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._logger.removeHandler(self)
        self._logger.propagate = self._propagated
