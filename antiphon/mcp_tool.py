"""Tools of a remote MCP server that the provider hosts: it lists and calls them, the application only approves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from antiphon.protocol import McpApprovalFilter, McpToolDef, McpToolFilter

__all__ = ["HostedMcpTool"]

_APPROVALS = ("always", "never")


class HostedMcpTool:
    """The tools of one MCP server, which the provider calls by itself; for `update_tools` and `generate_reply`.

    One of `server_url`, `connector_id` and `tunnel_id` is needed. What comes of it is told by the events
    `mcp_list_tools`, `mcp_call` and `mcp_approval_requested`; the last is answered with `session.approve`.

    Args:
        server_label: The server's name in this session.
        server_url: Its address.
        connector_id: A connector of the provider, such as "connector_gmail".
        tunnel_id: A tunnel of the provider to a private server.
        server_description: What the model is told about the server.
        authorization: OAuth token for the server. Secret: it is sent to the provider, and never shown here.
        headers: HTTP headers for the server. Secret too.
        allowed_tools: Names of the tools that the model may see, or an `McpToolFilter`; None for all.
        require_approval: "always", "never", or an `McpApprovalFilter`; None for what the API does by default.
        reply: Whether the model is asked to go on after its last call of a response, or after a refusal. The API
            doesn't do so by itself: the model would stay silent until the user speaks again.

    Raises:
        ValueError: An argument is not understood; the message names it.
    """

    def __init__(
        self,
        server_label: str,
        server_url: str | None = None,
        *,
        connector_id: str | None = None,
        tunnel_id: str | None = None,
        server_description: str | None = None,
        authorization: str | None = None,
        headers: Mapping[str, str] | None = None,
        allowed_tools: Iterable[str] | McpToolFilter | None = None,
        require_approval: str | McpApprovalFilter | None = None,
        reply: bool = True,
    ) -> None:
        if not isinstance(server_label, str) or not server_label:
            raise ValueError(f"server_label must be the server's name, not {server_label!r}")
        if len([place for place in (server_url, connector_id, tunnel_id) if place]) != 1:
            raise ValueError(
                f"MCP server {server_label!r} needs one of server_url, connector_id and tunnel_id"
            )
        if isinstance(require_approval, str) and require_approval not in _APPROVALS:
            raise ValueError(
                f"require_approval must be 'always', 'never' or an McpApprovalFilter, not {require_approval!r}"
            )
        if isinstance(allowed_tools, str):
            raise ValueError(f"allowed_tools must be a list of names, not the text {allowed_tools!r}")
        self.name = server_label
        self.reply = reply
        given: dict[str, Any] = {
            "server_url": server_url,
            "connector_id": connector_id,
            "tunnel_id": tunnel_id,
            "server_description": server_description,
            "authorization": authorization,
            "headers": dict(headers) if headers is not None else None,
            "allowed_tools": _names(allowed_tools),
            "require_approval": require_approval,
        }
        fields = {key: value for key, value in given.items() if value is not None}
        try:
            # Through a conversion, because a struct's constructor checks no types.
            self._definition = msgspec.convert(
                {"type": "mcp", "server_label": server_label, **msgspec.to_builtins(fields)}, McpToolDef
            )
        except (msgspec.ValidationError, TypeError) as error:
            raise ValueError(f"MCP server {server_label!r}: {error}") from None

    @property
    def definition(self) -> McpToolDef:
        """The tool as the API is told of it; holds the secrets."""
        return self._definition

    def __repr__(self) -> str:
        return f"HostedMcpTool({self.name})"


def _names(allowed: Iterable[str] | McpToolFilter | None) -> list[str] | McpToolFilter | None:
    return allowed if allowed is None or isinstance(allowed, McpToolFilter) else list(allowed)
