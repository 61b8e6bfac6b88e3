"""Tool definitions and tool choice."""

from typing import Any, TypeAlias

from msgspec import UNSET

from antiphon.protocol.base import Maybe, UnknownObject, Wire


class FunctionToolDef(Wire, tag_field="type", tag="function"):
    """A function that the model may call. The GA dialect has no `strict`.

    Attributes:
        name: Its name.
        description: When and how to call it.
        parameters: A JSON schema, as a dict.
    """

    name: str = ""
    description: Maybe[str] = UNSET
    parameters: Any = UNSET


class McpToolFilter(Wire):
    """Selects tools of an MCP server, by name or by being read-only."""

    read_only: Maybe[bool] = UNSET
    tool_names: Maybe[list[str]] = UNSET


class McpApprovalFilter(Wire):
    """Which tools always, and which never, need an approval."""

    always: Maybe[McpToolFilter] = UNSET
    never: Maybe[McpToolFilter] = UNSET


class McpToolDef(Wire, tag_field="type", tag="mcp"):
    """Tools of a remote MCP server, which the provider calls itself.

    Attributes:
        server_label: The name of the server in this session.
        server_url: Its address. One of `server_url`, `connector_id`, `tunnel_id` is needed.
        connector_id: A service connector of the provider, such as "connector_gmail".
        tunnel_id: A secure MCP tunnel.
        server_description: More about the server, for the model.
        authorization: An OAuth token. It is a secret.
        headers: HTTP headers for the server. They may hold secrets.
        allowed_tools: Names, or a filter; null or absent means all.
        require_approval: "always", "never", or a filter.
        allowed_callers: "direct", "programmatic".
        defer_loading: True if the tools are found by tool search.
    """

    server_label: str
    server_url: Maybe[str] = UNSET
    connector_id: Maybe[str] = UNSET
    tunnel_id: Maybe[str] = UNSET
    server_description: Maybe[str] = UNSET
    authorization: Maybe[str] = UNSET
    headers: Maybe[dict[str, str]] = UNSET
    allowed_tools: Maybe[list[str] | McpToolFilter] = UNSET
    require_approval: Maybe[str | McpApprovalFilter] = UNSET
    allowed_callers: Maybe[list[str]] = UNSET
    defer_loading: Maybe[bool] = UNSET


ToolDef: TypeAlias = FunctionToolDef | McpToolDef | UnknownObject
"""A tool, as the session knows it."""


class ToolChoiceFunction(Wire, tag_field="type", tag="function", gc=False):
    """The model must call this function."""

    name: str


class ToolChoiceMcp(Wire, tag_field="type", tag="mcp", gc=False):
    """The model must call a tool of this MCP server; `name` says which."""

    server_label: str
    name: Maybe[str] = UNSET


ToolChoice: TypeAlias = str | ToolChoiceFunction | ToolChoiceMcp | UnknownObject
""""auto", "none", "required", or one given tool."""
