"""The server's events about responses: their life, their items and parts, text, audio, calls, MCP calls."""

from typing import ClassVar

from msgspec import UNSET, UnsetType

from antiphon.protocol.base import Maybe, Wire
from antiphon.protocol.items import ContentPart, Item
from antiphon.protocol.responses import Response


class ServerEventBase(Wire, tag_field="type", tag=False, omit_defaults=False):
    """Base of server events."""

    event_id: str | UnsetType = UNSET


class ResponseCreated(ServerEventBase, tag="response.created"):
    """A response began."""

    response: Response


class ResponseDone(ServerEventBase, tag="response.done"):
    """A response ended, in whatever way; always sent."""

    response: Response


class ResponseOutputItemAdded(ServerEventBase, tag="response.output_item.added"):
    """A response began an item."""

    response_id: str = ""
    output_index: int = 0
    item: Item


class ResponseOutputItemDone(ServerEventBase, tag="response.output_item.done"):
    """A response finished an item."""

    response_id: str = ""
    output_index: int = 0
    item: Item


class ResponsePartEventBase(ServerEventBase, gc=False):
    """Base of events about one content part of one item of a response."""

    response_id: str = ""
    item_id: str
    output_index: int = 0
    content_index: int = 0


class ResponseContentPartAdded(ResponsePartEventBase, tag="response.content_part.added", gc=False):
    """A message's next part begins; its type is "text" or "audio"."""

    part: ContentPart = ContentPart()


class ResponseContentPartDone(ResponsePartEventBase, tag="response.content_part.done", gc=False):
    """A part is complete."""

    part: ContentPart = ContentPart()


class ResponseOutputTextDelta(ResponsePartEventBase, tag="response.output_text.delta", gc=False):
    """A piece of text. `start_time`: seconds into the message, from servers that send it."""

    delta: str
    start_time: Maybe[float] = UNSET


class ResponseOutputTextDone(ResponsePartEventBase, tag="response.output_text.done", gc=False):
    """The whole text of a part."""

    text: str = ""


class ResponseOutputAudioDelta(ResponsePartEventBase, tag="response.output_audio.delta", gc=False):
    """A piece of audio, base64, in the session's output format."""

    hidden: ClassVar[frozenset[str]] = Wire.hidden | {"delta"}

    delta: str


class ResponseOutputAudioDone(ResponsePartEventBase, tag="response.output_audio.done", gc=False):
    """The audio of a part is complete."""


class ResponseOutputAudioTranscriptDelta(
    ResponsePartEventBase, tag="response.output_audio_transcript.delta", gc=False
):
    """A piece of what is said. `start_time`: seconds into the message, from servers that send it."""

    delta: str
    start_time: Maybe[float] = UNSET


class ResponseOutputAudioTranscriptDone(
    ResponsePartEventBase, tag="response.output_audio_transcript.done", gc=False
):
    """All of what is said in a part."""

    transcript: str = ""


class ResponseFunctionCallArgumentsDelta(
    ServerEventBase, tag="response.function_call_arguments.delta", gc=False
):
    """A piece of a call's arguments."""

    response_id: str = ""
    item_id: str = ""
    output_index: int = 0
    call_id: str = ""
    delta: str


class ResponseFunctionCallArgumentsDone(
    ServerEventBase, tag="response.function_call_arguments.done", gc=False
):
    """A call's whole arguments, JSON text. `name` is "" from servers that leave it out."""

    response_id: str = ""
    item_id: str = ""
    output_index: int = 0
    call_id: str = ""
    name: str = ""
    arguments: str


class McpListToolsInProgress(ServerEventBase, tag="mcp_list_tools.in_progress", gc=False):
    """The provider is asking an MCP server for its tools."""

    item_id: str


class McpListToolsCompleted(ServerEventBase, tag="mcp_list_tools.completed", gc=False):
    """The list of tools is there."""

    item_id: str


class McpListToolsFailed(ServerEventBase, tag="mcp_list_tools.failed", gc=False):
    """The list of tools could not be had."""

    item_id: str


class ResponseMcpCallArgumentsDelta(ServerEventBase, tag="response.mcp_call_arguments.delta", gc=False):
    """A piece of an MCP call's arguments."""

    response_id: str = ""
    item_id: str
    output_index: int = 0
    delta: str
    obfuscation: Maybe[str] = UNSET


class ResponseMcpCallArgumentsDone(ServerEventBase, tag="response.mcp_call_arguments.done", gc=False):
    """An MCP call's whole arguments, JSON text."""

    response_id: str = ""
    item_id: str
    output_index: int = 0
    arguments: str


class ResponseMcpCallInProgress(ServerEventBase, tag="response.mcp_call.in_progress", gc=False):
    """An MCP call is running."""

    item_id: str
    output_index: int = 0


class ResponseMcpCallCompleted(ServerEventBase, tag="response.mcp_call.completed", gc=False):
    """An MCP call succeeded."""

    item_id: str
    output_index: int = 0


class ResponseMcpCallFailed(ServerEventBase, tag="response.mcp_call.failed", gc=False):
    """An MCP call failed."""

    item_id: str
    output_index: int = 0
