"""MCP servers for the local server to call, as the API calls those that a session names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import msgspec

from antiphon.protocol import McpError, McpTool
from antiphon.tools import FunctionTool, ToolArgumentError

INVALID_PARAMS = -32602  # JSON-RPC, as in MCP


class McpFailure(Exception):
    """Raised by a tool, or when tools are listed: fails as the API reports it.

    Args:
        message: Text for people.
        kind: "tool_execution_error", "protocol_error" or "http_error".
        code: The protocol's or HTTP's; a tool's own error has none.
    """

    def __init__(self, message: str, kind: str = "tool_execution_error", code: int | None = None) -> None:
        super().__init__(message)
        self.error = McpError(type=kind, message=message, code=msgspec.UNSET if code is None else code)


class McpServer:
    """A remote MCP server, without the network between.

    Args:
        tools: Functions with type hints, as for `function_tool`. They run on a thread of the connection; what they
            return is the output, as text or JSON; what they raise is the call's failure.
        read_only: Names of the tools that are annotated as read-only.
        unreachable: Whether listing its tools fails.
    """

    def __init__(
        self,
        tools: Iterable[FunctionTool | Callable[..., Any]],
        *,
        read_only: Collection[str] = (),
        unreachable: bool = False,
    ) -> None:
        made = [tool if isinstance(tool, FunctionTool) else FunctionTool(tool) for tool in tools]
        self._tools = {tool.name: tool for tool in made}
        self._read_only = frozenset(read_only)
        self.unreachable = unreachable

    def tools(self) -> list[McpTool]:
        """The tools, as a server lists them."""
        return [
            McpTool(
                name=tool.name,
                description=tool.description or msgspec.UNSET,
                input_schema=tool.parameters,
                annotations={"readOnlyHint": tool.name in self._read_only},
            )
            for tool in self._tools.values()
        ]

    def call(self, name: str, arguments: str) -> str | McpError:
        """Run a tool.

        Args:
            name: One of its tools.
            arguments: JSON.

        Returns:
            The output, or why there is none.
        """
        tool = self._tools[name]
        try:
            value = tool.call(tool.decode(arguments))
            return value if isinstance(value, str) else msgspec.json.encode(value).decode()
        except ToolArgumentError as error:
            return McpFailure(str(error), "protocol_error", INVALID_PARAMS).error
        except McpFailure as failure:
            return failure.error
        except Exception as error:
            return McpFailure(f"{type(error).__name__}: {error}").error
