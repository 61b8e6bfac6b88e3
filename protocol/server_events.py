"""Every event that a server sends; those about responses stand in `response_events`.

A struct's name is the CamelCase of its type, except "error": `ErrorEvent`.

Fields that a handler can do without have a default, so that servers that speak less of the protocol work too:
`event_id` is `NOT_GIVEN`, `response_id` "", an index 0. Encoding writes those defaults out.
"""

from typing import ClassVar, TypeAlias

import msgspec
from msgspec import UNSET

from antiphon.protocol.base import Maybe, UnknownEvent, Wire
from antiphon.protocol.details import (
    Conversation,
    ErrorDetail,
    LogProb,
    RateLimit,
    TranscriptionLanguage,
    TranscriptionUsage,
)
from antiphon.protocol.items import Item
from antiphon.protocol.response_events import (
    McpListToolsCompleted,
    McpListToolsFailed,
    McpListToolsInProgress,
    ResponseContentPartAdded,
    ResponseContentPartDone,
    ResponseCreated,
    ResponseDone,
    ResponseFunctionCallArgumentsDelta,
    ResponseFunctionCallArgumentsDone,
    ResponseMcpCallArgumentsDelta,
    ResponseMcpCallArgumentsDone,
    ResponseMcpCallCompleted,
    ResponseMcpCallFailed,
    ResponseMcpCallInProgress,
    ResponseOutputAudioDelta,
    ResponseOutputAudioDone,
    ResponseOutputAudioTranscriptDelta,
    ResponseOutputAudioTranscriptDone,
    ResponseOutputItemAdded,
    ResponseOutputItemDone,
    ResponseOutputTextDelta,
    ResponseOutputTextDone,
    ServerEventBase,
)
from antiphon.protocol.session import SessionConfig


class ErrorEvent(ServerEventBase, tag="error", gc=False):
    """Something went wrong; most errors leave the session open."""

    error: ErrorDetail = ErrorDetail()


# --- session and conversation


class SessionCreated(ServerEventBase, tag="session.created"):
    """The first event of a connection, with the server's defaults."""

    session: SessionConfig


class SessionUpdated(ServerEventBase, tag="session.updated"):
    """The answer to `session.update`: the whole configuration."""

    session: SessionConfig


class ConversationCreated(ServerEventBase, tag="conversation.created", gc=False):
    """The conversation exists."""

    conversation: Conversation = Conversation()


class ConversationItemAdded(ServerEventBase, tag="conversation.item.added"):
    """An item was added to the conversation; `previous_item_id` null means at the head."""

    previous_item_id: Maybe[str] = UNSET
    item: Item


class ConversationItemCreated(ServerEventBase, tag="conversation.item.created"):
    """The older name of `ConversationItemAdded`; some servers send this one, some both."""

    previous_item_id: Maybe[str] = UNSET
    item: Item


class ConversationItemDone(ServerEventBase, tag="conversation.item.done"):
    """An item is complete."""

    previous_item_id: Maybe[str] = UNSET
    item: Item


class ConversationItemRetrieved(ServerEventBase, tag="conversation.item.retrieved"):
    """The answer to `conversation.item.retrieve`; audio parts hold their audio."""

    item: Item


class ConversationItemDeleted(ServerEventBase, tag="conversation.item.deleted", gc=False):
    """An item was removed."""

    item_id: str


class ConversationItemTruncated(ServerEventBase, tag="conversation.item.truncated", gc=False):
    """An assistant message's audio was cut at `audio_end_ms` (ms)."""

    item_id: str
    content_index: int = 0
    audio_end_ms: int = 0


# --- input transcription


class ConversationItemInputAudioTranscriptionDelta(
    ServerEventBase, tag="conversation.item.input_audio_transcription.delta"
):
    """A piece of the transcript of what the user said."""

    item_id: str
    content_index: Maybe[int] = 0
    delta: Maybe[str] = ""
    logprobs: Maybe[list[LogProb]] = UNSET


class ConversationItemInputAudioTranscriptionSegment(
    ServerEventBase, tag="conversation.item.input_audio_transcription.segment", gc=False
):
    """A segment of a transcript with its speaker; `start` and `end` in seconds."""

    item_id: str
    content_index: int = 0
    id: str = ""
    text: str = ""
    speaker: str = ""
    start: float = 0.0
    end: float = 0.0


class ConversationItemInputAudioTranscriptionCompleted(
    ServerEventBase, tag="conversation.item.input_audio_transcription.completed"
):
    """The whole transcript of what the user said."""

    item_id: str
    content_index: int = 0
    transcript: str
    usage: Maybe[TranscriptionUsage] = UNSET
    logprobs: Maybe[list[LogProb]] = UNSET
    languages: Maybe[list[TranscriptionLanguage]] = UNSET


class ConversationItemInputAudioTranscriptionFailed(
    ServerEventBase, tag="conversation.item.input_audio_transcription.failed", gc=False
):
    """The transcription of this item failed."""

    item_id: str
    content_index: int = 0
    error: ErrorDetail = ErrorDetail()


# --- audio buffers


class InputAudioBufferCommitted(ServerEventBase, tag="input_audio_buffer.committed", gc=False):
    """The input audio became the user message `item_id`."""

    previous_item_id: Maybe[str] = UNSET
    item_id: str


class InputAudioBufferCleared(ServerEventBase, tag="input_audio_buffer.cleared", gc=False):
    """The input audio was dropped."""


class InputAudioBufferSpeechStarted(ServerEventBase, tag="input_audio_buffer.speech_started", gc=False):
    """The user started to speak, `audio_start_ms` (ms) after the session's first input audio."""

    audio_start_ms: int = 0
    item_id: str = ""


class InputAudioBufferSpeechStopped(ServerEventBase, tag="input_audio_buffer.speech_stopped", gc=False):
    """The user stopped, `audio_end_ms` (ms) after the session's first input audio."""

    audio_end_ms: int = 0
    item_id: str = ""


class InputAudioBufferTimeoutTriggered(ServerEventBase, tag="input_audio_buffer.timeout_triggered", gc=False):
    """Nothing was said for the idle timeout; the span is in ms of input audio."""

    audio_start_ms: int = 0
    audio_end_ms: int = 0
    item_id: str = ""


class InputAudioBufferDtmfEventReceived(
    ServerEventBase, tag="input_audio_buffer.dtmf_event_received", gc=False
):
    """SIP only: a telephone key. `received_at` is Unix time in seconds."""

    event: str
    received_at: int = 0


class OutputAudioBufferStarted(ServerEventBase, tag="output_audio_buffer.started", gc=False):
    """WebRTC and SIP only: the server began to play."""

    response_id: str = ""


class OutputAudioBufferStopped(ServerEventBase, tag="output_audio_buffer.stopped", gc=False):
    """WebRTC and SIP only: the server has played everything."""

    response_id: str = ""


class OutputAudioBufferCleared(ServerEventBase, tag="output_audio_buffer.cleared", gc=False):
    """WebRTC and SIP only: the server's output was dropped."""

    response_id: str = ""


class RateLimitsUpdated(ServerEventBase, tag="rate_limits.updated"):
    """What is left of the rate limits."""

    rate_limits: list[RateLimit] = msgspec.field(default_factory=list)


# --- translation sessions


class SessionClosed(ServerEventBase, tag="session.closed", gc=False):
    """Translation sessions: everything was sent; the server closes."""


class SessionInputTranscriptDelta(ServerEventBase, tag="session.input_transcript.delta", gc=False):
    """Translation sessions: a piece of the source text. `elapsed_ms` (ms) aligns the streams."""

    delta: str
    elapsed_ms: Maybe[int] = UNSET


class SessionOutputTranscriptDelta(ServerEventBase, tag="session.output_transcript.delta", gc=False):
    """Translation sessions: a piece of the translated text. `elapsed_ms` (ms) aligns the streams."""

    delta: str
    elapsed_ms: Maybe[int] = UNSET


class SessionOutputAudioDelta(ServerEventBase, tag="session.output_audio.delta", gc=False):
    """Translation sessions: a piece of translated audio, base64.

    Attributes:
        delta: The audio.
        format: "pcm16".
        sample_rate: Samples per second.
        channels: Number of channels.
        elapsed_ms: Aligns the streams, ms.
    """

    hidden: ClassVar[frozenset[str]] = Wire.hidden | {"delta"}

    delta: str
    format: Maybe[str] = UNSET
    sample_rate: Maybe[int] = UNSET
    channels: Maybe[int] = UNSET
    elapsed_ms: Maybe[int] = UNSET


KnownServerEvent: TypeAlias = (
    ErrorEvent
    | SessionCreated
    | SessionUpdated
    | ConversationCreated
    | ConversationItemAdded
    | ConversationItemCreated
    | ConversationItemDone
    | ConversationItemRetrieved
    | ConversationItemDeleted
    | ConversationItemTruncated
    | ConversationItemInputAudioTranscriptionDelta
    | ConversationItemInputAudioTranscriptionSegment
    | ConversationItemInputAudioTranscriptionCompleted
    | ConversationItemInputAudioTranscriptionFailed
    | InputAudioBufferCommitted
    | InputAudioBufferCleared
    | InputAudioBufferSpeechStarted
    | InputAudioBufferSpeechStopped
    | InputAudioBufferTimeoutTriggered
    | InputAudioBufferDtmfEventReceived
    | OutputAudioBufferStarted
    | OutputAudioBufferStopped
    | OutputAudioBufferCleared
    | ResponseCreated
    | ResponseDone
    | ResponseOutputItemAdded
    | ResponseOutputItemDone
    | ResponseContentPartAdded
    | ResponseContentPartDone
    | ResponseOutputTextDelta
    | ResponseOutputTextDone
    | ResponseOutputAudioDelta
    | ResponseOutputAudioDone
    | ResponseOutputAudioTranscriptDelta
    | ResponseOutputAudioTranscriptDone
    | ResponseFunctionCallArgumentsDelta
    | ResponseFunctionCallArgumentsDone
    | RateLimitsUpdated
    | McpListToolsInProgress
    | McpListToolsCompleted
    | McpListToolsFailed
    | ResponseMcpCallArgumentsDelta
    | ResponseMcpCallArgumentsDone
    | ResponseMcpCallInProgress
    | ResponseMcpCallCompleted
    | ResponseMcpCallFailed
    | SessionClosed
    | SessionInputTranscriptDelta
    | SessionOutputTranscriptDelta
    | SessionOutputAudioDelta
)
"""The server events that have a struct."""

ServerEvent: TypeAlias = KnownServerEvent | UnknownEvent
"""What `decode_server_event` returns."""
