"""The server as the API's side of MCP, with the official SDK as its client."""

from __future__ import annotations

import typing
from typing import Any

import pytest
from server_oracle import check_log, connected, message, of, until

from antiphon.testing import LocalServer, McpServer

# the SDK calls websockets in the way of older versions
pytestmark = pytest.mark.filterwarnings("ignore:connect.. must be used:DeprecationWarning")

ADDRESS = "http://mcp.test/shop"


def price() -> str:
    """Tell the price."""
    return "Three coins."


TOOL = {"type": "mcp", "server_label": "shop", "server_url": ADDRESS}


def mcp_server() -> LocalServer:
    return LocalServer("parrot", mcp={ADDRESS: McpServer([price])})


@pytest.mark.parametrize("approve", [True, False])
def test_the_sdk_lists_asks_and_is_told_what_came_of_it(approve: bool) -> None:
    with mcp_server() as server, connected(server, output_modalities=["text"], tools=[TOOL]) as client:
        listed = until(client, "conversation.item.done")
        assert [event.type for event in listed[1:3]] == [
            "mcp_list_tools.in_progress",
            "mcp_list_tools.completed",
        ]
        assert [tool.name for tool in listed[-1].item.tools] == ["price"]

        client.conversation.item.create(item=message("How much is it?"))
        choice: Any = {"type": "mcp", "server_label": "shop", "name": "price"}
        client.response.create(response={"tool_choice": choice})
        events = until(client, "response.done")
        assert [item.type for item in events[-1].response.output] == ["mcp_call", "mcp_approval_request"]
        request = events[-1].response.output[-1]
        assert (request.name, request.arguments) == ("price", "{}")

        answer = {"type": "mcp_approval_response", "id": "answer", "approval_request_id": request.id}
        client.conversation.item.create(
            item=typing.cast(Any, {**answer, "approve": approve, "reason": "Why not."})
        )
        if approve:
            called = until(client, "response.mcp_call.completed")
            assert of(called, "response.mcp_call.in_progress")
            (done,) = of(until(client, "conversation.item.done"), "conversation.item.done")
            assert (done.item.output, done.item.approval_request_id) == ("Three coins.", request.id)
        # Nothing more comes by itself.
        client.response.create()
        (said,) = of(until(client, "response.done"), "response.output_text.done")
        assert said.text == ("Three coins." if approve else "Why not.")
        check_log(server)


@pytest.mark.parametrize(
    ("tool", "param"),
    [
        ({"type": "mcp", "server_url": ADDRESS}, "session.tools[0].server_label"),
        ({**TOOL, "server_name": "x"}, "session.tools[0].server_name"),
        ({**TOOL, "require_approval": "sometimes"}, "session.tools[0].require_approval"),
        ({**TOOL, "require_approval": {"ever": {}}}, "session.tools[0].require_approval.ever"),
        ({**TOOL, "allowed_tools": "price"}, "session.tools[0].allowed_tools"),
        ({**TOOL, "allowed_tools": [3]}, "session.tools[0].allowed_tools[0]"),
        ({**TOOL, "allowed_tools": {"names": []}}, "session.tools[0].allowed_tools.names"),
    ],
)
def test_a_tool_that_is_not_as_the_api_wants_it_is_refused(tool: dict[str, Any], param: str) -> None:
    with mcp_server() as server, connected(server) as client:
        client.session.update(session=typing.cast(Any, {"type": "realtime", "tools": [tool]}))
        refused = client.recv()
        assert refused.type == "error"
        assert refused.error.param == param


def test_a_tool_is_listed_again_only_when_it_changes() -> None:
    with mcp_server() as server, connected(server, tools=[TOOL]) as client:
        until(client, "conversation.item.done")
        for tool in (TOOL, {**TOOL, "allowed_tools": []}):
            client.session.update(session=typing.cast(Any, {"type": "realtime", "tools": [tool]}))
        events = until(client, "conversation.item.done")
        assert [event.type for event in events[:3]] == [
            "session.updated",
            "session.updated",
            "conversation.item.added",
        ]
        assert events[-1].item.tools == []


def test_an_answer_that_nobody_asked_for_is_refused() -> None:
    with mcp_server() as server, connected(server, tools=[TOOL]) as client:
        until(client, "conversation.item.done")
        answer = {"type": "mcp_approval_response", "id": "a", "approval_request_id": "none", "approve": True}
        client.conversation.item.create(item=typing.cast(Any, answer))
        refused = client.recv()
        assert refused.type == "error"
        assert refused.error.param == "item.approval_request_id"
        assert len(server.conversation()) == 1
