"""The API's side of MCP: lists the servers' tools, asks for approval, calls, and tells what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from antiphon import protocol as p
from antiphon.testing.apierror import ApiError
from antiphon.testing.ids import new_id
from antiphon.testing.itemstore import ItemStore, StoredItem
from antiphon.testing.mcp import McpServer

if TYPE_CHECKING:
    from antiphon.testing.effects import Effects
    from antiphon.testing.generation import Generation

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class McpRoute:
    """Where a tool's calls go.

    Attributes:
        label: The server's name in the session.
        server: The server.
        approval: Whether the client is asked first.
    """

    label: str
    server: McpServer
    approval: bool


@dataclass(frozen=True, slots=True)
class HostedCall:
    """One call of a tool.

    Attributes:
        generation: The response that made it.
        stored: Its item.
        index: The item's place in the response's output.
        server: Who is called.
        request_id: The approval request's item, if the client is asked first.
    """

    generation: Generation
    stored: StoredItem
    index: int
    server: McpServer
    request_id: str | None = None

    @property
    def item(self) -> p.McpCallItem:
        """The item as it is now."""
        assert isinstance(self.stored.item, p.McpCallItem)
        return self.stored.item


@dataclass(frozen=True, slots=True)
class RunMcp:
    """Run a call, then call `Conversation.mcp_done`."""

    call: HostedCall


@dataclass(frozen=True, slots=True)
class _Listed:
    definition: p.McpToolDef
    server: McpServer
    tools: tuple[p.McpTool, ...]


class McpHost:
    """What one conversation knows of MCP servers.

    Args:
        servers: By address, or connector or tunnel id.
        items: The conversation's items.
    """

    def __init__(self, servers: Mapping[str, McpServer], items: ItemStore) -> None:
        self._servers = servers
        self._items = items
        self._listed: dict[str, _Listed] = {}
        self._waiting: dict[str, HostedCall] = {}

    def configure(self, tools: Iterable[Json]) -> Effects:
        """List the tools of the servers among `tools` that are new, or named with other settings than before."""
        effects: Effects = []
        for definition in _definitions(tools):
            known = self._listed.get(definition.server_label)
            if known is None or known.definition != definition:
                effects += self._list(definition)
        return effects

    def _list(self, definition: p.McpToolDef) -> Effects:
        label = definition.server_label
        place = definition.server_url or definition.connector_id or definition.tunnel_id
        server = self._servers.get(str(place)) or McpServer([], unreachable=True)
        tools = [] if server.unreachable else [tool for tool in server.tools() if _allowed(tool, definition)]
        self._listed[label] = _Listed(definition, server, tuple(tools))
        item = p.McpListToolsItem(id=new_id("mcpl"), server_label=label, tools=[])
        stored = StoredItem(item)
        previous = self._items.insert(stored)
        effects: Effects = [
            p.ConversationItemAdded(previous_item_id=previous, item=item, event_id=new_id("event")),
            p.McpListToolsInProgress(item_id=item.id, event_id=new_id("event")),
        ]
        if server.unreachable:
            return [*effects, p.McpListToolsFailed(item_id=item.id, event_id=new_id("event"))]
        done = stored.item = msgspec.structs.replace(item, tools=tools)
        return [
            *effects,
            p.McpListToolsCompleted(item_id=item.id, event_id=new_id("event")),
            p.ConversationItemDone(previous_item_id=previous, item=done, event_id=new_id("event")),
        ]

    def offered(self, tools: Iterable[Json]) -> dict[str, tuple[p.FunctionToolDef, McpRoute]]:
        """The tools of the servers among `tools`, all of which are listed, by name.

        Returns:
            Each as the model sees it, and where its calls go.
        """
        offered: dict[str, tuple[p.FunctionToolDef, McpRoute]] = {}
        for definition in _definitions(tools):
            listed = self._listed[definition.server_label]
            for tool in listed.tools:
                seen = p.FunctionToolDef(
                    name=tool.name, description=tool.description, parameters=tool.input_schema
                )
                route = McpRoute(definition.server_label, listed.server, _needs_approval(tool, definition))
                offered.setdefault(tool.name, (seen, route))
        return offered

    def begin(self, call: HostedCall) -> Effects:
        """A response has made a call: run it, or wait for the approval that was asked for."""
        if call.request_id is not None:
            self._waiting[call.request_id] = call
            return []
        return self._run(call)

    def check(self, answer: p.McpApprovalResponseItem) -> None:
        """Check that an answer was asked for.

        Raises:
            ApiError: It was not, or has come before.
        """
        if answer.approval_request_id not in self._waiting:
            message = (
                f"No MCP approval request with ID '{answer.approval_request_id}' is waiting for an answer."
            )
            raise ApiError(message, "invalid_value", "item.approval_request_id")

    def answer(self, answer: p.McpApprovalResponseItem) -> Effects:
        """The client has answered: run the call, if it may be run."""
        call = self._waiting.pop(answer.approval_request_id)
        return self._run(call) if answer.approve else []

    def _run(self, call: HostedCall) -> Effects:
        started = p.ResponseMcpCallInProgress(
            item_id=call.item.id, output_index=call.index, event_id=new_id("event")
        )
        return [started, RunMcp(call)]


def _definitions(tools: Iterable[Json]) -> list[p.McpToolDef]:
    return [msgspec.convert(tool, p.McpToolDef) for tool in tools if tool["type"] == "mcp"]


def _allowed(tool: p.McpTool, definition: p.McpToolDef) -> bool:
    allowed = definition.allowed_tools
    if isinstance(allowed, p.McpToolFilter):
        return _matches(tool, allowed)
    return tool.name in allowed if isinstance(allowed, list) else True


def _needs_approval(tool: p.McpTool, definition: p.McpToolDef) -> bool:
    """Whether the client is asked; the API's default is that it is."""
    policy = definition.require_approval
    if not isinstance(policy, p.McpApprovalFilter):
        return policy != "never"
    if isinstance(policy.always, p.McpToolFilter) and _matches(tool, policy.always):
        return True
    return not (isinstance(policy.never, p.McpToolFilter) and _matches(tool, policy.never))


def _matches(tool: p.McpTool, wanted: p.McpToolFilter) -> bool:
    named = isinstance(wanted.tool_names, list)
    read_only = isinstance(wanted.read_only, bool)
    hint = isinstance(tool.annotations, dict) and bool(tool.annotations.get("readOnlyHint"))
    return (
        (named or read_only)
        and (not named or tool.name in p.given(wanted.tool_names, []))
        and (not read_only or hint == wanted.read_only)
    )
