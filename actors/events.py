"""What a session tells its user: the payloads of its events, and its metrics."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

import msgspec

from antiphon.actors.chat import ChatItem, FunctionCall
from antiphon.actors.streams import MessageGeneration, Stream
from antiphon.protocol import ErrorDetail, McpError, McpTool, RateLimit, ResponseStatusDetails, Usage


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the payloads."""


class InputSpeechStartedEvent(Payload, frozen=True, kw_only=True):
    """The server heard the user begin to speak.

    Attributes:
        item_id: The user item that the speech will become.
        audio_start_ms: Milliseconds of input audio on this connection before the speech, less padding.
    """

    item_id: str
    audio_start_ms: int


class InputSpeechStoppedEvent(Payload, frozen=True, kw_only=True):
    """The server heard the user stop speaking.

    Attributes:
        item_id: The user item that the speech becomes.
        audio_end_ms: Milliseconds of input audio on this connection up to the end of the speech.
        user_transcription_enabled: Whether a transcript will follow.
    """

    item_id: str
    audio_end_ms: int
    user_transcription_enabled: bool


class InputTranscriptionCompleted(Payload, frozen=True, kw_only=True):
    """What the user said, as far as it is transcribed.

    Attributes:
        item_id: The user item.
        transcript: The text so far (`is_final` False) or the whole text.
        is_final: Whether the text is final.
        confidence: exp of the mean log probability, 0 to 1; None when the server sent none.
        turn_started_at: Monotonic seconds at which the speech was reported to have begun, if it was.
    """

    item_id: str
    transcript: str
    is_final: bool
    confidence: float | None = None
    turn_started_at: float | None = None


class GenerationResult(Payload, frozen=True, kw_only=True):
    """How a response ended.

    Attributes:
        status: "completed", "cancelled", "incomplete", "failed", or what the server said.
        status_details: The server's details, if any.
        usage: Tokens used, if reported.
    """

    status: str
    status_details: ResponseStatusDetails | str | None = None
    usage: Usage | None = None


class GenerationCreatedEvent(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A response has begun.

    Attributes:
        message_stream: Its messages, each as it begins.
        function_stream: Its function calls, each when it is complete.
        user_initiated: Whether `generate_reply` asked for it.
        response_id: The server's id.
        done: Future of how it ended; `RealtimeError` after a drop, a close or a fatal error.
    """

    message_stream: Stream[MessageGeneration]
    function_stream: Stream[FunctionCall]
    user_initiated: bool
    response_id: str
    done: Future[GenerationResult]
    _cancel: Callable[[], None]

    def cancel(self) -> None:
        """Ask the server to end this response; harmless when it has ended. Thread-safe."""
        self._cancel()


class RemoteItemAddedEvent(Payload, frozen=True, kw_only=True):
    """The server added an item to the conversation.

    Attributes:
        previous_item_id: The item before it; None at the head.
        item: The item.
    """

    previous_item_id: str | None
    item: ChatItem


class RealtimeSessionReconnectedEvent(Payload, frozen=True, kw_only=True):
    """The session has a new connection, and the conversation is there again.

    Attributes:
        reason: Why the old one ended.
        downtime: Seconds without a connection.
        items_restored: Conversation items that the server has again.
        items_degraded: How many of them are text where they were audio.
        items_lost: Items that it has not: nothing is known of their words, or it refused them.
        audio_dropped_ms: Milliseconds of input audio that did not fit while the connection was down, or that the
            old server had not committed and that were too much to be kept for the new one.
    """

    reason: str
    downtime: float
    items_restored: int
    items_degraded: int
    items_lost: int
    audio_dropped_ms: float


class RealtimeModelError(Payload, frozen=True, kw_only=True):
    """Something went wrong.

    Attributes:
        timestamp: Unix seconds.
        label: The model's label.
        error: What went wrong.
        recoverable: False when the session is over.
    """

    timestamp: float
    label: str
    error: Exception
    recoverable: bool


class StateChanged(Payload, frozen=True, kw_only=True):
    """The connection's state: connecting, open, reconnecting or closed."""

    old: str
    new: str


class RateLimitsUpdated(Payload, frozen=True, kw_only=True):
    """The server's rate limits."""

    rate_limits: list[RateLimit]


class InputIdleTimeout(Payload, frozen=True, kw_only=True):
    """Nobody spoke for `idle_timeout_ms`; the server commits silence and answers it."""

    item_id: str
    audio_start_ms: int
    audio_end_ms: int


class DtmfReceived(Payload, frozen=True, kw_only=True):
    """A key was pressed on the caller's phone (SIP connections).

    Attributes:
        event: The key.
        received_at: Unix seconds, by the server's clock.
    """

    event: str
    received_at: float | None = None


class ActorRestarted(Payload, frozen=True, kw_only=True):
    """An actor failed at a message and was started again without it.

    Attributes:
        actor: Its name.
        error: What it raised.
        message_type: The kind of message that was lost.
        restarted: False when its policy is not to start it again.
    """

    actor: str
    error: Exception
    message_type: str
    restarted: bool = True


class PlaybackInterruptedEvent(Payload, frozen=True, kw_only=True):
    """Playback of an item was cut before it was heard to its end; a player elsewhere is to fall silent now.

    Attributes:
        item_id: The message's item.
        heard_ms: Milliseconds of it that were heard; the server is told the same.
        reason: "speech" when the user began to talk, "interrupt" after `interrupt`.
    """

    item_id: str
    heard_ms: int
    reason: str


class ToolStartedEvent(Payload, frozen=True, kw_only=True):
    """A tool that the engine runs has begun.

    Attributes:
        call_id: The call.
        name: The tool.
        arguments: JSON, as the model wrote it.
    """

    call_id: str
    name: str
    arguments: str


class ToolFinishedEvent(Payload, frozen=True, kw_only=True):
    """A tool that the engine runs has a result, and the server has been told.

    Attributes:
        call_id: The call.
        name: The tool.
        output: What the model is told.
        is_error: Whether that is an error.
    """

    call_id: str
    name: str
    output: str
    is_error: bool


class McpListToolsEvent(Payload, frozen=True, kw_only=True):
    """The provider asks an MCP server for its tools.

    Attributes:
        item_id: The conversation item that holds the list.
        server_label: The server; "" if it was not told yet.
        status: "in_progress", then "completed" or "failed".
        tools: The tools, once it is completed.
    """

    item_id: str
    server_label: str
    status: str
    tools: list[McpTool] = []


class McpCallEvent(Payload, frozen=True, kw_only=True):
    """The provider calls a tool of an MCP server.

    Attributes:
        item_id: The conversation item that holds the call.
        server_label: The server; "" if it was not told yet.
        name: The tool; "" if it was not told yet.
        arguments: JSON, as the model wrote it.
        status: "in_progress", then "completed" or "failed".
        output: What the tool returned, once it is completed.
        error: Why it failed, if that is known; its type is "connection_lost" if the session lost the connection
            meanwhile, and with it the call.
    """

    item_id: str
    server_label: str
    name: str
    arguments: str
    status: str
    output: str | None = None
    error: McpError | None = None


class McpApprovalRequestedEvent(Payload, frozen=True, kw_only=True):
    """The provider asks whether it may call a tool of an MCP server; `session.approve` answers.

    Attributes:
        request_id: For `approve`. It is worth nothing after a reconnect.
        server_label: The server.
        name: The tool.
        arguments: JSON, as the model wrote it.
    """

    request_id: str
    server_label: str
    name: str
    arguments: str


class AudioDropped(Payload, frozen=True, kw_only=True):
    """Input audio was lost because more was pushed than the queue holds.

    Attributes:
        duration_ms: Milliseconds lost since the last report.
    """

    duration_ms: float


# -- metrics ------------------------------------------------------------------------------------------


class CachedTokenDetails(Payload, frozen=True, kw_only=True):
    """Cached input tokens by kind."""

    text_tokens: int = 0
    audio_tokens: int = 0
    image_tokens: int = 0


class InputTokenDetails(Payload, frozen=True, kw_only=True):
    """Input tokens by kind."""

    text_tokens: int = 0
    audio_tokens: int = 0
    image_tokens: int = 0
    cached_tokens: int = 0
    cached_tokens_details: CachedTokenDetails = CachedTokenDetails()


class OutputTokenDetails(Payload, frozen=True, kw_only=True):
    """Output tokens by kind."""

    text_tokens: int = 0
    audio_tokens: int = 0
    image_tokens: int = 0


class MetricsMetadata(Payload, frozen=True, kw_only=True):
    """Whose figures these are."""

    model_name: str
    model_provider: str


class RealtimeModelMetrics(Payload, frozen=True, kw_only=True):
    """Figures of one response, or of one connection (then `request_id` is empty).

    Attributes:
        timestamp: Unix seconds at which the response was created.
        request_id: The response's id.
        ttft: Seconds to the first audio (first text in a text session); -1 when none came.
        duration: Seconds from created to done.
        cancelled: Whether it was cancelled.
        label: The model's label.
        tokens_per_second: Output tokens over duration.
        acquire_time: Seconds that the handshake took; 0 in a response's metrics.
        connection_reused: Always False: each connection is new.
    """

    timestamp: float
    request_id: str
    ttft: float
    duration: float
    cancelled: bool
    label: str
    metadata: MetricsMetadata
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    tokens_per_second: float = 0.0
    input_token_details: InputTokenDetails = InputTokenDetails()
    output_token_details: OutputTokenDetails = OutputTokenDetails()
    acquire_time: float = 0.0
    connection_reused: bool = False


class TranscriptionMetrics(Payload, frozen=True, kw_only=True):
    """Figures of one input transcription.

    Attributes:
        timestamp: Unix seconds.
        request_id: The server's event id.
        label: The model's label.
        audio_duration: Seconds of audio, when billed by duration.
    """

    timestamp: float
    request_id: str
    label: str
    metadata: MetricsMetadata
    audio_duration: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    input_audio_tokens: int = 0


EVENT_NAMES = frozenset(
    {
        "input_speech_started",
        "input_speech_stopped",
        "input_audio_transcription_completed",
        "generation_created",
        "remote_item_added",
        "metrics_collected",
        "session_reconnected",
        "error",
        "openai_server_event_received",
        "openai_client_event_queued",
        "state_changed",
        "rate_limits_updated",
        "input_idle_timeout",
        "dtmf_received",
        "actor_restarted",
        "audio_dropped",
        "playback_interrupted",
        "tool_started",
        "tool_finished",
        "mcp_list_tools",
        "mcp_call",
        "mcp_approval_requested",
    }
)


def describe_error(detail: ErrorDetail) -> str:
    """The server's error in one line."""
    code = detail.code if isinstance(detail.code, str) else None
    return f"{detail.message or 'no message'}" + (f" ({code})" if code else "")
