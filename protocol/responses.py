"""A model response: what is asked for, what it is, how it ended, and what it cost."""

from typing import Any

import msgspec
from msgspec import UNSET

from antiphon.protocol.base import Maybe, Wire
from antiphon.protocol.items import InputItem, Item
from antiphon.protocol.session import AudioFormat, Prompt, Reasoning, VoiceId
from antiphon.protocol.tools import ToolChoice, ToolDef


class ResponseAudioOutputConfig(Wire):
    """Format and voice of one response."""

    format: Maybe[AudioFormat] = UNSET
    voice: Maybe[str | VoiceId] = UNSET


class ResponseAudioConfig(Wire):
    """The audio of one response; it has only an output side."""

    output: Maybe[ResponseAudioOutputConfig] = UNSET


class ResponseCreateParams(Wire):
    """What `response.create` asks for; each field overrides the session's for this response only.

    Attributes:
        conversation: "auto" (the default conversation) or "none" (out of band).
        input: The whole context, instead of the conversation's; an empty list means no context.
        instructions: The system prompt.
        metadata: Up to 16 pairs of strings, echoed in the response's events; keys up to 64, values up to 512
            characters.
        output_modalities: ["audio"] or ["text"].
        max_output_tokens: 1 to 4096, or "inf".
        audio: Format and voice.
        tools: The tools.
        tool_choice: "auto", "none", "required", or one tool.
        parallel_tool_calls: Whether several calls may be made at once.
        reasoning: For reasoning models.
        prompt: A stored template.
    """

    conversation: Maybe[str] = UNSET
    input: Maybe[list[InputItem]] = UNSET
    instructions: Maybe[str] = UNSET
    metadata: Maybe[dict[str, Any]] = UNSET
    output_modalities: Maybe[list[str]] = UNSET
    max_output_tokens: Maybe[int | str] = UNSET
    audio: Maybe[ResponseAudioConfig] = UNSET
    tools: Maybe[list[ToolDef]] = UNSET
    tool_choice: Maybe[ToolChoice] = UNSET
    parallel_tool_calls: Maybe[bool] = UNSET
    reasoning: Maybe[Reasoning] = UNSET
    prompt: Maybe[Prompt] = UNSET


class CachedTokensDetails(Wire, omit_defaults=False, gc=False):
    """Cached input tokens by kind."""

    text_tokens: int = 0
    audio_tokens: int = 0
    image_tokens: int = 0


class InputTokenDetails(Wire, omit_defaults=False, gc=False):
    """Input tokens by kind; the cached ones are among them."""

    text_tokens: int = 0
    audio_tokens: int = 0
    image_tokens: int = 0
    cached_tokens: int = 0
    cached_tokens_details: CachedTokensDetails = CachedTokensDetails()


class OutputTokenDetails(Wire, omit_defaults=False, gc=False):
    """Output tokens by kind."""

    text_tokens: int = 0
    audio_tokens: int = 0


class Usage(Wire, omit_defaults=False, gc=False):
    """Tokens that a response cost. What the server didn't say is 0."""

    total_tokens: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    input_token_details: InputTokenDetails = InputTokenDetails()
    output_token_details: OutputTokenDetails = OutputTokenDetails()


class ResponseError(Wire, gc=False):
    """Why a response failed. Some servers put the code in `type` and leave `code` null."""

    type: Maybe[str] = UNSET
    code: Maybe[str] = UNSET
    message: Maybe[str] = UNSET


class ResponseStatusDetails(Wire, gc=False):
    """How a response ended.

    Attributes:
        type: "completed", "cancelled", "incomplete" or "failed".
        reason: "turn_detected" or "client_cancelled" for cancelled, "max_output_tokens" or "content_filter"
            for incomplete ones.
        error: Set if it failed.
    """

    type: Maybe[str] = UNSET
    reason: Maybe[str] = UNSET
    error: Maybe[ResponseError] = UNSET


class Response(Wire):
    """A response of the model.

    Attributes:
        id: Its id, "" if the server sent none.
        status: "in_progress", "completed", "cancelled", "incomplete" or "failed"; "" if the server sent none.
        status_details: How it ended; some servers send a bare string.
        output: The items it made so far.
        conversation_id: Null for an out-of-band response.
        metadata: As given in `response.create`.
        usage: Null until it is done.
        object: "realtime.response" from servers.
        output_modalities: ["audio"] or ["text"].
        max_output_tokens: A number or "inf".
        audio: Format and voice.
    """

    object: str = ""
    id: str = ""
    status: str = ""
    status_details: Maybe[ResponseStatusDetails | str] = UNSET
    output: list[Item] = msgspec.field(default_factory=list)
    conversation_id: Maybe[str] = UNSET
    metadata: Maybe[dict[str, Any]] = UNSET
    usage: Maybe[Usage] = UNSET
    output_modalities: Maybe[list[str]] = UNSET
    max_output_tokens: Maybe[int | str] = UNSET
    audio: Maybe[ResponseAudioConfig] = UNSET
