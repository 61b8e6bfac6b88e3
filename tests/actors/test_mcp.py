"""MCP tools that the provider runs: what the application is told, and what goes out, with the test as the server."""

from __future__ import annotations

from typing import Any

import pytest
import wire as w

import antiphon.protocol as p
from antiphon import HostedMcpTool, McpApprovalFilter, McpToolFilter, RealtimeError, function_tool
from antiphon.actors import messages as m
from antiphon.actors.mcp_calls import REMEMBERED, RESULT_SECONDS

LABEL = "docs"
SEARCH = '{"word":"sand"}'


def call_item(item_id: str = "mcp_1", arguments: str = SEARCH, **changes: Any) -> p.McpCallItem:
    return p.McpCallItem(id=item_id, server_label=LABEL, name="search", arguments=arguments, **changes)


def request_item(item_id: str = "mcpr_1") -> p.McpApprovalRequestItem:
    return p.McpApprovalRequestItem(id=item_id, server_label=LABEL, name="search", arguments=SEARCH)


def item_done(item: p.Item) -> p.ConversationItemDone:
    return p.ConversationItemDone(item=item)


def arguments_done(response_id: str, item_id: str = "mcp_1") -> p.ServerEventBase:
    return p.ResponseMcpCallArgumentsDone(response_id=response_id, item_id=item_id, arguments=SEARCH)


def began(item_id: str = "mcp_1") -> p.ServerEventBase:
    return p.ResponseMcpCallInProgress(item_id=item_id)


def completed(item_id: str = "mcp_1") -> p.ServerEventBase:
    return p.ResponseMcpCallCompleted(item_id=item_id)


def failed(item_id: str = "mcp_1") -> p.ServerEventBase:
    return p.ResponseMcpCallFailed(item_id=item_id)


def announced(response_id: str = "r1", item_id: str = "mcp_1") -> list[Any]:
    """A call up to its arguments, in a response."""
    empty = call_item(item_id, "")
    return [w.output_added(response_id, empty), w.item_added(empty), arguments_done(response_id, item_id)]


def calls(case: Any) -> list[tuple[str, str | None]]:
    return [(event.status, event.output) for event in case.emitted("mcp_call")]


# -- listing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("item_first", [True, False])
def test_a_list_is_told_when_both_its_end_and_its_tools_are_known(case: Any, item_first: bool) -> None:
    empty = p.McpListToolsItem(id="mcpl_1", server_label=LABEL, tools=[])
    full = p.McpListToolsItem(
        id="mcpl_1", server_label=LABEL, tools=[p.McpTool(name="search", input_schema={"type": "object"})]
    )
    case.wire.reply(w.item_added(empty), p.McpListToolsInProgress(item_id="mcpl_1"))
    end: list[Any] = [p.McpListToolsCompleted(item_id="mcpl_1"), item_done(full)]
    first, second = reversed(end) if item_first else end
    case.wire.reply(first)
    (begun,) = case.emitted("mcp_list_tools")
    assert (begun.item_id, begun.server_label, begun.status, begun.tools) == (
        "mcpl_1",
        LABEL,
        "in_progress",
        [],
    )
    case.wire.reply(second)
    told = case.emitted("mcp_list_tools")[-1]
    assert (told.server_label, told.status, [tool.name for tool in told.tools]) == (
        LABEL,
        "completed",
        ["search"],
    )
    case.driver.advance(2 * RESULT_SECONDS)
    assert len(case.emitted("mcp_list_tools")) == 2
    assert not case.creates()


def test_a_list_that_fails_is_told_without_its_item(case: Any) -> None:
    case.wire.reply(
        p.McpListToolsInProgress(item_id="mcpl_1"),
        w.item_added(p.McpListToolsItem(id="mcpl_1", server_label=LABEL, tools=[])),
        p.McpListToolsFailed(item_id="mcpl_1"),
    )
    case.driver.advance(2 * RESULT_SECONDS)
    begun, told = case.emitted("mcp_list_tools")
    assert (begun.status, begun.server_label) == ("in_progress", "")
    assert (told.status, told.server_label, told.tools) == ("failed", LABEL, [])


# -- calls --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("item_first", [True, False])
def test_a_call_is_told_with_its_output_in_whatever_order_they_come(case: Any, item_first: bool) -> None:
    case.wire.reply(w.created("r1"), *announced(), began())
    end = [completed(), w.output_done("r1", call_item(output="found"))]
    first, second = reversed(end) if item_first else end
    case.wire.reply(first)
    assert calls(case) == [("in_progress", None)]
    case.wire.reply(second, item_done(call_item(output="found")))
    assert calls(case) == [("in_progress", None), ("completed", "found")]
    told = case.emitted("mcp_call")[-1]
    assert (told.item_id, told.server_label, told.name, told.arguments, told.error) == (
        "mcp_1",
        LABEL,
        "search",
        SEARCH,
        None,
    )


def test_a_call_whose_item_stays_out_is_told_all_the_same(case: Any) -> None:
    case.wire.reply(w.created("r1"), *announced(), began(), completed(), w.done("r1"))
    case.driver.advance(RESULT_SECONDS - 0.01)
    assert calls(case) == [("in_progress", None)]
    assert not case.creates()
    case.driver.advance(0.02)
    assert calls(case) == [("in_progress", None), ("completed", None)]
    case.wire.reply(item_done(call_item(output="late")), completed())
    case.driver.advance(2 * RESULT_SECONDS)
    assert len(calls(case)) == 2
    assert len(case.creates()) == 1


def test_a_failed_call_says_why(case: Any) -> None:
    error = p.McpError(type="http_error", message="gone", code=410)
    case.wire.reply(
        w.created("r1"), *announced(), began(), failed(), item_done(call_item(error=error)), w.done("r1")
    )
    told = case.emitted("mcp_call")[-1]
    assert (told.status, told.output, told.error) == ("failed", None, error)
    assert len(case.creates()) == 1


def test_items_that_no_call_event_is_about_are_only_mirrored(case: Any) -> None:
    case.wire.reply(w.item_added(call_item(output="old")), item_done(call_item(output="old")))
    case.driver.advance(2 * RESULT_SECONDS)
    assert not case.emitted("mcp_call")
    assert not case.creates()


# -- what comes after ---------------------------------------------------------------------------------


def test_the_model_goes_on_once_after_the_last_call_of_a_response(case: Any) -> None:
    case.wire.reply(w.created("r1"), *announced(item_id="a"), *announced(item_id="b"), began("a"), began("b"))
    case.wire.reply(completed("a"), item_done(call_item("a", output="1")))
    assert not case.creates()
    case.wire.reply(w.done("r1"))
    assert not case.creates()
    case.wire.reply(completed("b"), item_done(call_item("b", output="2")))
    assert len(case.creates()) == 1


def test_a_call_that_ends_before_its_response_waits_for_it(case: Any) -> None:
    case.wire.reply(
        w.created("r1"), *announced(), began(), completed(), w.output_done("r1", call_item(output="1"))
    )
    assert not case.creates()
    case.wire.reply(w.done("r1"))
    assert len(case.creates()) == 1


def test_a_call_that_ends_in_another_response_waits_for_that(case: Any) -> None:
    case.wire.reply(w.created("r1"), *announced(), began(), w.done("r1"), w.created("r2"))
    case.wire.reply(completed(), item_done(call_item(output="1")))
    assert not case.creates()
    case.wire.reply(w.done("r2"))
    assert len(case.creates()) == 1


@pytest.mark.parametrize("beside", ["discarded", "out of band", "interrupted", "cut off"])
def test_nobody_waits_for_more_after(case: Any, beside: str) -> None:
    request = None
    if beside == "discarded":
        future = case.reply()
        request = case.creates()[0]
        future.cancel()
        case.driver.run()
    elif beside == "out of band":
        case.reply(conversation="none")
        request = case.creates()[0]
    sent = len(case.creates())
    case.wire.reply(w.created("r1", request), *announced())
    if beside == "cut off":
        case.session.interrupt()
        case.driver.run()
    status = "cancelled" if beside in ("interrupted", "cut off") else "completed"
    case.wire.reply(began(), w.done("r1", status), completed(), item_done(call_item(output="1")))
    assert calls(case)[-1] == ("completed", "1")
    assert len(case.creates()) == sent


def test_a_call_that_was_cut_off_in_its_arguments_holds_nothing_up(case: Any) -> None:
    @function_tool
    def look() -> str:
        return "seen"

    case.session.update_tools([look], auto_execute=True)
    case.wire.reply(
        w.created("r1"),
        w.output_added("r1", call_item("a", "")),
        w.output_done("r1", w.call("f", "c1", "look")),
        w.done("r1", "incomplete"),
    )
    case.driver.run()
    assert len(case.emitted("tool_finished")) == 1
    assert len(case.creates()) == 1


def test_calls_of_functions_and_of_mcp_have_one_reply_together(case: Any) -> None:
    @function_tool
    def look() -> str:
        return "seen"

    case.session.update_tools([look, HostedMcpTool(LABEL, "http://docs")], auto_execute=True)
    case.wire.reply(
        w.created("r1"), *announced(), w.output_done("r1", w.call("f", "c1", "look")), w.done("r1"), began()
    )
    case.driver.run()
    assert len(case.emitted("tool_finished")) == 1
    assert not case.creates()
    case.wire.reply(completed(), item_done(call_item(output="1")))
    assert len(case.creates()) == 1


@pytest.mark.parametrize("refused", [False, True])
def test_a_tool_that_wants_no_reply_gets_none(case: Any, refused: bool) -> None:
    case.session.update_tools([HostedMcpTool(LABEL, "http://docs", reply=False)])
    case.wire.reply(w.created("r1"), *announced())
    if refused:
        case.wire.reply(item_done(request_item()), w.done("r1"))
        case.session.approve("mcpr_1", False)
        case.driver.run()
    else:
        case.wire.reply(began(), w.done("r1"), completed(), item_done(call_item(output="1")))
        assert calls(case)[-1] == ("completed", "1")
    assert not case.creates()


# -- what is remembered -------------------------------------------------------------------------------


def test_of_a_long_calls_calls_only_the_last_are_remembered(case: Any) -> None:
    case.wire.reply(w.created("r1"), *announced("r1", "open"), began("open"))
    for number in range(2 * REMEMBERED):
        item_id = f"mcp_{number}"
        end = item_done(call_item(item_id, output="found"))
        case.wire.reply(*announced("r1", item_id), began(item_id), completed(item_id), end)
        case.wire.reply(item_done(request_item(f"mcpr_{number}")))
    told = len(calls(case))
    core = case.session._actors.strand.actor(m.GENERATION).core
    assert list(core._mcp) == ["open"]
    assert len(core._mcp_ended) == len(core._mcp_requests) == REMEMBERED
    case.wire.reply(began(item_id), completed(item_id), end, w.output_done("r1", end.item))
    assert len(calls(case)) == told
    case.wire.reply(completed("open"), item_done(call_item("open", output="at last")), w.done("r1"))
    assert calls(case)[-1] == ("completed", "at last")
    assert len(case.creates()) == 1


def test_calls_that_never_end_are_not_followed_for_ever(case: Any) -> None:
    for number in range(2 * REMEMBERED):
        response_id, item_id = f"r{number}", f"mcp_{number}"
        case.wire.reply(
            w.created(response_id),
            w.output_added(response_id, call_item(item_id, "")),
            w.item_added(call_item(item_id, "")),
            w.done(response_id, "incomplete"),
        )
    core = case.session._actors.strand.actor(m.GENERATION).core
    assert len(core._mcp) == len(core._mcp_ended) == REMEMBERED
    assert not core._mcp_open
    assert not core._batches
    case.wire.reply(
        began("mcp_0"), began("mcp_1"), completed(item_id), item_done(call_item(item_id, output="1"))
    )
    assert calls(case)[-1] == ("completed", "1")


def test_of_calls_that_replies_wait_for_the_oldest_is_given_up_last(case: Any) -> None:
    case.wire.reply(w.created("r1"), *announced("r1", "first"), began("first"))
    for number in range(REMEMBERED):
        case.wire.reply(*announced("r1", f"mcp_{number}"))
    case.wire.reply(w.done("r1"), completed("first"), item_done(call_item("first", output="late")))
    core = case.session._actors.strand.actor(m.GENERATION).core
    assert len(core._mcp) == len(core._mcp_open) == REMEMBERED
    assert calls(case) == [("in_progress", None)]


# -- approval -----------------------------------------------------------------------------------------


def answers(case: Any) -> list[dict[str, Any]]:
    return [event["item"] for event in case.wire.of_type("conversation.item.create")]


def test_an_approval_is_asked_for_once_and_answered_with_an_item(case: Any) -> None:
    case.wire.reply(w.created("r1"), *announced(), w.item_added(request_item()), item_done(request_item()))
    case.wire.reply(w.output_done("r1", request_item()), item_done(request_item()), w.done("r1"))
    (asked,) = case.emitted("mcp_approval_requested")
    assert (asked.request_id, asked.server_label, asked.name, asked.arguments) == (
        "mcpr_1",
        LABEL,
        "search",
        SEARCH,
    )
    case.session.approve(asked.request_id, True)
    case.driver.run()
    (answer,) = answers(case)
    assert answer.pop("id").startswith("item_")
    assert answer == {
        "type": "mcp_approval_response",
        "approval_request_id": "mcpr_1",
        "approve": True,
    }
    assert not case.creates()
    case.wire.reply(began(), completed(), item_done(call_item(output="1", approval_request_id="mcpr_1")))
    assert calls(case) == [("in_progress", None), ("completed", "1")]
    assert len(case.creates()) == 1


def test_an_approval_can_be_asked_for_by_a_response_alone(case: Any) -> None:
    case.wire.reply(w.created("r1"), w.output_added("r1", request_item()))
    assert not case.emitted("mcp_approval_requested")
    case.wire.reply(w.output_done("r1", request_item()))
    assert [event.request_id for event in case.emitted("mcp_approval_requested")] == ["mcpr_1"]


@pytest.mark.parametrize("server_says_failed", [False, True])
@pytest.mark.parametrize("call_is_announced", [False, True])
def test_after_a_refusal_the_model_goes_on_once(
    case: Any, call_is_announced: bool, server_says_failed: bool
) -> None:
    case.wire.reply(w.created("r1"), *(announced() if call_is_announced else ()), item_done(request_item()))
    case.wire.reply(w.done("r1"))
    case.session.approve("mcpr_1", False, reason="too dear")
    case.driver.run()
    (answer,) = answers(case)
    assert (answer["approve"], answer["reason"]) == (False, "too dear")
    order = [event["type"] for event in case.wire.sent]
    assert order[-2:] == ["conversation.item.create", "response.create"]
    if server_says_failed and call_is_announced:
        case.wire.reply(failed())
        case.driver.advance(2 * RESULT_SECONDS)
    assert not case.emitted("mcp_call")
    assert len(case.creates()) == 1


def test_a_refusal_of_one_of_two_like_calls_leaves_the_other_open(case: Any) -> None:
    case.wire.reply(w.created("r1"), *announced(item_id="a"), item_done(request_item("ra")))
    case.wire.reply(*announced(item_id="b"), item_done(request_item("rb")), w.done("r1"))
    case.session.approve("ra", False)
    case.driver.run()
    assert not case.creates()
    case.session.approve("rb", True)
    case.driver.run()
    case.wire.reply(began("b"), completed("b"), item_done(call_item("b", output="1")))
    assert len(case.creates()) == 1


def test_an_answer_that_the_server_refuses_is_an_error_event(case: Any) -> None:
    case.session.approve("never_asked", True)
    case.driver.run()
    (event,) = case.wire.of_type("conversation.item.create")
    detail = p.ErrorDetail(message="no such request", event_id=event["event_id"])
    case.wire.reply(p.ErrorEvent(error=detail))
    (error,) = case.emitted("error")
    assert error.recoverable
    assert "no such request" in str(error.error)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("", True), "request_id"),
        ((None, True), "request_id"),
        (("r", 1), "approve"),
        (("r", None), "approve"),
        (("r", "yes"), "approve"),
    ],
)
def test_wrong_arguments_are_refused_and_nothing_is_sent(case: Any, arguments: Any, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        case.session.approve(*arguments)
    with pytest.raises(ValueError, match="reason"):
        case.session.approve("r", False, reason=3)
    case.driver.run()
    assert not case.wire.sent


def test_approve_after_the_end_does_nothing(case: Any) -> None:
    case.end()
    sent = len(case.wire.sent)
    case.session.approve("r", True)
    case.driver.run()
    assert len(case.wire.sent) == sent


# -- drops --------------------------------------------------------------------------------------------


def test_a_call_is_lost_with_its_connection_and_the_tools_are_named_again(case: Any) -> None:
    case.session.update_tools([HostedMcpTool(LABEL, "http://docs")])
    case.wire.reply(w.created("r1"), *announced(), began(), w.done("r1"))
    case.wire.drop()
    told = case.emitted("mcp_call")[-1]
    assert (told.status, told.output, told.error.type) == ("failed", None, "connection_lost")
    case.reconnect()
    updates = [event["session"] for event in case.wire.of_type("session.update")]
    assert [tool["server_label"] for update in updates for tool in update.get("tools", ())] == [LABEL]
    case.wire.reply(completed(), item_done(call_item(output="of another life")))
    assert len(case.creates()) == 1, "what the new connection tells of is a call of its own"


def test_a_function_of_a_response_whose_mcp_call_is_lost_still_has_its_reply(case: Any) -> None:
    @function_tool
    def look() -> str:
        return "seen"

    case.session.update_tools([look], auto_execute=True)
    case.wire.reply(w.created("r1"), *announced(), w.output_done("r1", w.call("f", "c1", "look")), began())
    case.wire.reply(w.done("r1"))
    case.driver.run()
    assert not case.creates()
    case.wire.drop()
    case.reconnect()
    assert len(case.creates()) == 1


def test_a_restart_of_the_actor_loses_nothing_of_a_call(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    case.wire.reply(w.created("r1"), *announced(), began())
    monkeypatch.setattr(
        "antiphon.actors.mcp_calls.ids.new_id", lambda prefix: (_ for _ in ()).throw(LookupError(prefix))
    )
    case.session.approve("r", True)
    case.driver.run()
    assert case.emitted("actor_restarted")
    monkeypatch.undo()
    case.driver.advance(1.0)
    case.wire.reply(completed(), w.output_done("r1", call_item(output="1")), w.done("r1"))
    assert calls(case) == [("in_progress", None), ("completed", "1")]
    assert len(case.creates()) == 1


# -- the tool -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"server_label": ""}, "server_label"),
        ({"server_label": 3}, "server_label"),
        ({"server_label": LABEL}, "server_url"),
        ({"server_label": LABEL, "server_url": "x", "connector_id": "y"}, "one of"),
        ({"server_label": LABEL, "server_url": "x", "require_approval": "sometimes"}, "require_approval"),
        ({"server_label": LABEL, "server_url": "x", "allowed_tools": "search"}, "allowed_tools"),
        ({"server_label": LABEL, "server_url": "x", "headers": {"key": 3}}, "headers"),
        ({"server_label": LABEL, "server_url": "x", "authorization": 3}, "authorization"),
        ({"server_label": LABEL, "server_url": "x", "allowed_tools": [3]}, "allowed_tools"),
    ],
)
def test_a_tool_that_the_api_would_refuse_is_refused(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        HostedMcpTool(**arguments)


def test_the_tool_goes_out_as_the_api_spells_it_and_shows_no_secret(case: Any) -> None:
    tool = HostedMcpTool(
        LABEL,
        "http://docs",
        server_description="All about sand.",
        authorization="s3cret",
        headers={"x-key": "s3cret"},
        allowed_tools=McpToolFilter(read_only=True),
        require_approval=McpApprovalFilter(never=McpToolFilter(tool_names=["search"])),
    )
    assert "s3cret" not in repr(tool)
    case.session.update_tools([tool])
    case.driver.run()
    (update,) = case.wire.of_type("session.update")
    assert update["session"]["tools"] == [
        {
            "type": "mcp",
            "server_label": LABEL,
            "server_url": "http://docs",
            "server_description": "All about sand.",
            "authorization": "s3cret",
            "headers": {"x-key": "s3cret"},
            "allowed_tools": {"read_only": True},
            "require_approval": {"never": {"tool_names": ["search"]}},
        }
    ]
    assert case.session.tools.get(LABEL) is tool


def test_a_reply_can_have_it_for_itself(case: Any) -> None:
    future = case.reply(
        tools=[HostedMcpTool(LABEL, connector_id="connector_gmail", allowed_tools=("a", "b"))]
    )
    (tool,) = case.creates()[0]["response"]["tools"]
    assert tool == {
        "type": "mcp",
        "server_label": LABEL,
        "connector_id": "connector_gmail",
        "allowed_tools": ["a", "b"],
    }
    case.end()
    with pytest.raises(RealtimeError):
        future.result(0)
