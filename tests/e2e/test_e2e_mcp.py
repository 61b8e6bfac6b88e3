"""MCP tools over real sockets: the server lists them, asks for approval, calls them; the engine has the model go on."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from e2e_harness import PATIENCE, Line, fence, kinds, model_for, push, read, spoken, words, write
from openai.types.realtime import RealtimeServerEvent
from sdk_oracle import misfit

from antiphon import (
    GenerationCreatedEvent,
    HostedMcpTool,
    McpApprovalFilter,
    McpApprovalRequestedEvent,
    McpCallEvent,
    McpListToolsEvent,
    McpToolFilter,
    RealtimeModel,
    ServerVad,
    function_tool,
)
from antiphon.protocol import Item, MessageItem
from antiphon.testing import LocalServer, McpFailure, McpServer, transcribe
from antiphon.testing.brains.base import Call, Output, Request, Say, Sound, last_said

ADDRESS = "http://mcp.test/shop"
VAD = ServerVad(silence_duration_ms=400)
MCP_EVENTS = ("mcp_list_tools.", "response.mcp_call", "conversation.item.", "response.output_item.")


def price(item: str) -> str:
    """Tell the price of an item in the shop."""
    return f"The {item} costs three coins."


def order(item: str, count: int = 1) -> dict[str, Any]:
    """Order an item from the shop."""
    return {"ordered": item, "count": count}


def burn(item: str) -> str:
    """Burn an item."""
    raise LookupError(f"no {item} burns")


def call_home() -> str:
    """Ask the head office."""
    raise McpFailure("Bad Gateway", "http_error", 502)


SHOP = McpServer([price, order, burn, call_home], read_only=["price"])


class Customer:
    """A brain that calls what the user's text lists, as [[name, arguments], …], and then says what came of it."""

    def warm(self) -> None:
        """Nothing to load."""

    def hear(self, sound: Sound) -> str:
        """Not asked for."""
        return ""

    def respond(self, request: Request) -> Iterator[Output]:
        """Call, or say what is known."""
        last = last_said(request)
        assert last is not None
        if isinstance(last.item, MessageItem) and last.text.startswith("["):
            for name, arguments in json.loads(last.text):
                yield Call(name, json.dumps(arguments))
        else:
            yield Say(last.text)


class McpLine(Line):
    """A line with MCP tools that hears what becomes of them."""

    def __init__(self, model: RealtimeModel, *tools: Any) -> None:
        super().__init__(model)
        self.lists = self.session.events("mcp_list_tools")
        self.calls = self.session.events("mcp_call")
        self.requests = self.session.events("mcp_approval_requested")
        self.begun: dict[str, McpCallEvent] = {}
        self.session.update_tools(tools)

    def listed(self) -> McpListToolsEvent:
        """The outcome of the next listing."""
        begun: McpListToolsEvent = self.lists.get(PATIENCE)[1]
        ended: McpListToolsEvent = self.lists.get(PATIENCE)[1]
        assert begun.status == "in_progress"
        assert (begun.item_id, begun.server_label) == (ended.item_id, ended.server_label)
        return ended

    def called(self) -> McpCallEvent:
        """The outcome of the next call."""
        while True:
            event: McpCallEvent = self.calls.get(PATIENCE)[1]
            if event.status == "in_progress":
                assert event.item_id not in self.begun
                self.begun[event.item_id] = event
            else:
                begun = self.begun.pop(event.item_id)
                assert (begun.name, begun.arguments) == (event.name, event.arguments)
                return event

    def asked(self) -> McpApprovalRequestedEvent:
        """The next request for an approval."""
        event: McpApprovalRequestedEvent = self.requests.get(PATIENCE)[1]
        return event

    def ask_for(self, *calls: tuple[str, Any]) -> GenerationCreatedEvent:
        """Have the model call these."""
        write(self.session, json.dumps(calls))
        generation = self.session.generate_reply().result(PATIENCE)
        assert self.generation() is generation
        return generation


def items(server: LocalServer) -> list[str]:
    """The kinds of the conversation's items, in order, but the list of tools first: when it comes is chance."""
    return sorted(
        (_kind(item) for item in server.conversation()), key=lambda kind: kind != "McpListToolsItem"
    )


def _kind(item: Item) -> str:
    return getattr(item, "role", "") or type(item).__name__


@pytest.fixture
def shop(serve: Any) -> Iterator[LocalServer]:
    """A server that can reach the shop. The SDK must know all that it sends of items and of MCP, to the last key."""
    server = serve(Customer(), mcp={ADDRESS: SHOP})
    yield server
    for record in server.log.sent():
        if record.type.startswith(MCP_EVENTS):
            assert misfit(RealtimeServerEvent, record.event) is None, record.event


@pytest.fixture
def model(shop: LocalServer) -> Iterator[RealtimeModel]:
    """A text model at the shop's server."""
    with model_for(shop, modalities=["text"], turn_detection=None) as made:
        yield made


# -- listing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("allowed", "names"),
    [
        (None, ["price", "order", "burn", "call_home"]),
        (["order", "burn"], ["order", "burn"]),
        (McpToolFilter(read_only=True), ["price"]),
        (McpToolFilter(read_only=False, tool_names=["price", "order"]), ["order"]),
    ],
)
def test_the_tools_of_a_server_are_listed(model, allowed, names) -> None:
    line = McpLine(model, HostedMcpTool("shop", ADDRESS, allowed_tools=allowed))
    listed = line.listed()
    assert (listed.server_label, listed.status) == ("shop", "completed")
    assert [tool.name for tool in listed.tools] == names
    assert all(tool.input_schema["type"] == "object" for tool in listed.tools)
    assert line.close() == []


def test_a_server_that_cannot_be_reached_is_told(serve) -> None:
    server = serve(Customer(), mcp={"connector_gmail": McpServer([], unreachable=True)})
    with model_for(server, modalities=["text"]) as model:
        line = McpLine(
            model,
            HostedMcpTool("shop", "http://nowhere"),
            HostedMcpTool("mail", connector_id="connector_gmail"),
        )
        outcomes = [line.listed(), line.listed()]
        assert [(event.server_label, event.status) for event in outcomes] == [
            ("shop", "failed"),
            ("mail", "failed"),
        ]
        assert not line.session.has_active_generation
        assert line.close() == []


# -- calls --------------------------------------------------------------------------------------------


def test_calls_are_made_and_the_model_goes_on_once(shop, model) -> None:
    line = McpLine(model, HostedMcpTool("shop", ADDRESS, require_approval="never"))
    line.ask_for(("price", {"item": "lamp"}), ("order", {"item": "lamp", "count": 2}))
    first, second = line.called(), line.called()
    assert (first.server_label, first.name, first.status) == ("shop", "price", "completed")
    assert first.output == "The lamp costs three coins."
    assert json.loads(first.arguments) == {"item": "lamp"}
    assert second.output is not None
    assert json.loads(second.output) == {"ordered": "lamp", "count": 2}
    assert read(line.generation()).text == second.output
    fence(line.session)
    assert len(kinds(shop, "response.create")) == 2
    assert [item.type for item in line.session.chat_ctx.items] == ["message"] * 3
    assert items(shop) == ["McpListToolsItem", "user", "McpCallItem", "McpCallItem", "assistant", "user"]
    assert line.close() == []


@pytest.mark.parametrize(
    ("call", "kind", "code", "message"),
    [
        (("burn", {"item": "lamp"}), "tool_execution_error", None, "LookupError: no lamp burns"),
        (("order", {"item": 3}), "protocol_error", -32602, "item"),
        (("call_home", {}), "http_error", 502, "Bad Gateway"),
    ],
)
def test_a_failed_call_says_why_and_the_model_goes_on(shop, model, call, kind, code, message) -> None:
    line = McpLine(model, HostedMcpTool("shop", ADDRESS, require_approval="never"))
    line.ask_for(call)
    told = line.called()
    assert (told.status, told.output) == ("failed", None)
    assert told.error is not None
    assert (told.error.type, told.error.code or None) == (kind, code)
    assert message in told.error.message
    assert read(line.generation()).text == told.error.message
    fence(line.session)
    assert len(kinds(shop, "response.create")) == 2
    assert line.close() == []


def test_functions_of_the_application_and_of_a_server_have_one_reply_together(shop, model) -> None:
    @function_tool
    def look(where: str) -> str:
        """Look."""
        return f"nothing {where}"

    line = McpLine(model)
    line.session.update_tools(
        [look, HostedMcpTool("shop", ADDRESS, require_approval="never")], auto_execute=True
    )
    line.ask_for(("look", {"where": "here"}), ("price", {"item": "lamp"}), ("look", {"where": "there"}))
    assert line.called().status == "completed"
    assert read(line.generation()).text
    fence(line.session)
    assert len(kinds(shop, "response.create")) == 2
    assert line.close() == []


def test_a_response_can_have_tools_of_its_own(shop, model) -> None:
    line = McpLine(model)
    write(line.session, '[["price", {"item": "lamp"}]]')
    tools = [HostedMcpTool("shop", ADDRESS, require_approval="never")]
    line.session.generate_reply(tools=tools).result(PATIENCE)
    assert line.listed().status == "completed"
    assert line.called().output == "The lamp costs three coins."
    line.generation()
    assert read(line.generation()).text == "The lamp costs three coins."
    assert line.close() == []


# -- approval -----------------------------------------------------------------------------------------


def test_a_call_is_made_once_it_is_approved(shop, model) -> None:
    line = McpLine(model, HostedMcpTool("shop", ADDRESS))
    generation = line.ask_for(("price", {"item": "lamp"}))
    asked = line.asked()
    assert (asked.server_label, asked.name, json.loads(asked.arguments)) == (
        "shop",
        "price",
        {"item": "lamp"},
    )
    assert generation.done.result(PATIENCE).status == "completed"
    fence(line.session)
    assert not shop.log.sent("response.mcp_call.in_progress")
    line.session.approve(asked.request_id, True)
    assert line.called().output == "The lamp costs three coins."
    assert read(line.generation()).text
    (call,) = [item for item in shop.conversation() if _kind(item) == "McpCallItem"]
    assert call.approval_request_id == asked.request_id
    line.session.approve(asked.request_id, True)
    assert asked.request_id in str(line.errors.get(PATIENCE)[1].error)
    fence(line.session)
    assert len(kinds(shop, "response.create")) == 2
    assert line.close() == []


def test_a_call_that_is_refused_is_not_made_and_the_model_goes_on(shop, model) -> None:
    line = McpLine(model, HostedMcpTool("shop", ADDRESS))
    line.ask_for(("order", {"item": "lamp"}))
    line.session.approve(line.asked().request_id, False, reason="That is too dear.")
    assert read(line.generation()).text == "That is too dear."
    fence(line.session)
    assert not shop.log.sent("response.mcp_call.in_progress")
    assert items(shop) == [
        "McpListToolsItem",
        "user",
        "McpCallItem",
        "McpApprovalRequestItem",
        "McpApprovalResponseItem",
        "assistant",
        "user",
    ]
    assert len(kinds(shop, "response.create")) == 2
    assert line.close() == []


def test_only_what_needs_an_approval_is_asked_for(shop, model) -> None:
    never = McpApprovalFilter(never=McpToolFilter(read_only=True))
    line = McpLine(model, HostedMcpTool("shop", ADDRESS, require_approval=never))
    line.ask_for(("price", {"item": "lamp"}), ("order", {"item": "lamp"}))
    assert line.called().name == "price"
    asked = line.asked()
    assert asked.name == "order"
    threading.Thread(target=line.session.approve, args=(asked.request_id, True)).start()
    assert line.called().name == "order"
    assert read(line.generation()).text
    fence(line.session)
    assert len(kinds(shop, "response.create")) == 2
    assert line.close() == []


# -- while things happen ------------------------------------------------------------------------------


def test_an_interrupted_response_leaves_the_call_to_end_by_itself(serve) -> None:
    entered, release = threading.Event(), threading.Event()

    def slow() -> str:
        """Take long."""
        entered.set()
        release.wait(PATIENCE)
        return "at last"

    server = serve(Customer(), mcp={ADDRESS: McpServer([slow])})
    with model_for(server, modalities=["text"], turn_detection=None) as model:
        line = McpLine(model, HostedMcpTool("shop", ADDRESS, require_approval="never"))
        generation = line.ask_for(("slow", {}))
        assert entered.wait(PATIENCE)
        line.session.interrupt()
        assert generation.done.result(PATIENCE).status == "cancelled"
        release.set()
        assert line.called().output == "at last"
        fence(line.session)
        assert len(kinds(server, "response.create")) == 1
        assert line.close() == []


def test_after_a_drop_the_tools_are_there_again_and_the_call_is_lost(serve) -> None:
    entered, release = threading.Event(), threading.Event()

    def slow() -> str:
        """Take long."""
        entered.set()
        release.wait(PATIENCE)
        return "too late"

    server = serve(Customer(), mcp={ADDRESS: McpServer([slow])})
    with model_for(server, modalities=["text"], turn_detection=None) as model:
        line = McpLine(model, HostedMcpTool("shop", ADDRESS, require_approval="never"))
        assert line.listed().status == "completed"
        line.ask_for(("slow", {}))
        assert entered.wait(PATIENCE)
        server.drop_all()
        lost = line.called()
        assert lost.status == "failed"
        assert lost.error is not None
        assert lost.error.type == "connection_lost"
        release.set()
        line.reconnects.get(PATIENCE)
        assert line.listed().status == "completed"
        line.ask_for(("slow", {}))
        assert line.called().output == "too late"
        assert read(line.generation()).text == "too late"
        line.close()


@pytest.mark.full
def test_a_spoken_question_is_answered_through_mcp_and_heard(serve) -> None:
    def get_weather(city: str) -> str:
        """Tell the weather in a city."""
        return f"The weather in {city} is windy."

    server = serve("voice", pace=20, mcp={ADDRESS: McpServer([get_weather])})
    with model_for(server, turn_detection=VAD) as model:
        line = McpLine(model, HostedMcpTool("weather", ADDRESS))
        assert line.listed().status == "completed"
        push(line.session, spoken("What is the weather in San Francisco?"), 48_000)
        line.session.approve(line.asked().request_id, True)
        line.generation()
        answer = read(line.generation())
        assert answer.text == "The weather in San Francisco is windy."
        assert {"weather", "san", "francisco"} <= words(transcribe(answer.samples, 24_000))
        assert line.close() == []
