"""Conversation items and their content parts."""

from typing import Any, TypeAlias

from msgspec import UNSET

from antiphon.protocol.base import UNKNOWN_TAG, Maybe, UnknownObject, Wire


class ContentPart(Wire, gc=False):
    """One part of a message, of any kind; which fields are set depends on `type`.

    Attributes:
        type: User and system parts: "input_text", "input_audio", "input_image". Assistant parts:
            "output_text", "output_audio". In `response.content_part.*` events: "text", "audio".
        text: The text.
        transcript: What was said, for audio parts. Null while it is not known.
        audio: Base64 audio in the session's format. Servers leave it out of what they send.
        image_url: A data URL with a PNG or JPEG.
        detail: "auto", "low" or "high", for images.
    """

    type: str = ""
    text: Maybe[str] = UNSET
    transcript: Maybe[str] = UNSET
    audio: Maybe[str] = UNSET
    image_url: Maybe[str] = UNSET
    detail: Maybe[str] = UNSET


class MessageItem(Wire, tag_field="type", tag="message"):
    """A message of the user, the assistant or the system.

    Attributes:
        role: "user", "assistant" or "system".
        content: The parts, in order; may be empty.
        id: The item's id, "" if the sender left it to the server.
        object: "realtime.item" from servers; not needed when sending.
        status: "completed", "incomplete", "in_progress" or "".
    """

    id: str = ""
    object: str = ""
    status: str = ""
    role: str
    content: list[ContentPart]


class FunctionCallItem(Wire, tag_field="type", tag="function_call", gc=False):
    """A call of a function by the model.

    Attributes:
        name: The function's name.
        arguments: JSON text; "" until the call is complete.
        call_id: What the output refers to.
        id: The item's id, or "".
        object: "realtime.item" from servers.
        status: "completed", "incomplete", "in_progress" or "".
    """

    id: str = ""
    object: str = ""
    status: str = ""
    name: str
    call_id: str = ""
    arguments: str


class FunctionCallOutputItem(Wire, tag_field="type", tag="function_call_output", gc=False):
    """The result of a function call; `output` is free text and may be empty."""

    id: str = ""
    object: str = ""
    status: str = ""
    call_id: str
    output: str


class McpTool(Wire):
    """A tool that an MCP server offers. `input_schema` is a JSON schema."""

    name: str
    input_schema: Any
    description: Maybe[str] = UNSET
    annotations: Any = UNSET


class McpListToolsItem(Wire, tag_field="type", tag="mcp_list_tools"):
    """The tools of one MCP server."""

    id: str = ""
    server_label: str
    tools: list[McpTool]


class McpError(Wire, omit_defaults=False, gc=False):
    """Why an MCP call failed.

    Attributes:
        type: "protocol_error", "tool_execution_error" or "http_error".
        message: Text for people.
        code: The protocol's or HTTP's code; absent for a tool's own error.
    """

    type: str
    message: str = ""
    code: Maybe[int] = UNSET


class McpCallItem(Wire, tag_field="type", tag="mcp_call", gc=False):
    """A call of a tool on an MCP server, made by the provider. `arguments` is JSON text."""

    id: str
    server_label: str
    name: str
    arguments: str
    approval_request_id: Maybe[str] = UNSET
    error: Maybe[McpError] = UNSET
    output: Maybe[str] = UNSET


class McpApprovalRequestItem(Wire, tag_field="type", tag="mcp_approval_request", gc=False):
    """The provider asks whether it may call a tool. `arguments` is JSON text."""

    id: str
    server_label: str
    name: str
    arguments: str


class McpApprovalResponseItem(Wire, tag_field="type", tag="mcp_approval_response", gc=False):
    """The answer to an approval request."""

    id: str
    approval_request_id: str
    approve: bool
    reason: Maybe[str] = UNSET


class ItemReference(Wire, tag_field="type", tag="item_reference", gc=False):
    """Stands for an item of the conversation, in the `input` of a `response.create` only."""

    id: str


class UnknownItem(UnknownObject, tag_field="type", tag=UNKNOWN_TAG, gc=False):
    """An item of a type that we don't know: `type`, `id` (or "") and its JSON in `raw`."""


Item: TypeAlias = (
    MessageItem
    | FunctionCallItem
    | FunctionCallOutputItem
    | McpListToolsItem
    | McpCallItem
    | McpApprovalRequestItem
    | McpApprovalResponseItem
    | UnknownItem
)
"""An item of the conversation."""

InputItem: TypeAlias = Item | ItemReference
"""An item in the `input` of a `response.create`."""
