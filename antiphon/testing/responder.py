"""Starts, carries on and ends the responses of a conversation."""

from __future__ import annotations

from typing import Any

import msgspec

from antiphon import protocol as p
from antiphon.testing.apierror import ApiError
from antiphon.testing.brains.base import Request, Turn
from antiphon.testing.effects import Effects, Halt, Respond
from antiphon.testing.generation import Events, Generation, Plan
from antiphon.testing.ids import new_id
from antiphon.testing.itemhandlers import ItemHandlers
from antiphon.testing.itemstore import ItemStore
from antiphon.testing.mcphost import HostedCall, McpHost
from antiphon.testing.sessionconfig import Json
from antiphon.testing.steps import Step
from antiphon.testing.usage import rate_limits
from antiphon.testing.wirecodec import codec_of


class Responder:
    """Knows which responses run: one in the conversation at most, and any number out of band."""

    def __init__(self, items: ItemStore, handlers: ItemHandlers, mcp: McpHost, conversation_id: str) -> None:
        self._items = items
        self._mcp = mcp
        self._handlers = handlers
        self._conversation_id = conversation_id
        self._running: dict[str, Generation] = {}
        self._requests = 0
        self._tokens = 0
        self.spoke = False

    @property
    def active(self) -> Generation | None:
        """The response that runs in the conversation."""
        return next((one for one in self._running.values() if one.in_conversation), None)

    def create(self, params: Json, session: Json) -> Effects:
        """Start a response with the given parameters (checked, GA spelling).

        Raises:
            ApiError: One runs already, or the parameters name an item that is not there.
        """
        out_of_band = params.get("conversation") == "none"
        active = self.active
        if active is not None and not out_of_band:
            message = (
                f"Conversation already has an active response in progress: {active.id}. "
                "Wait until the response is finished before creating a new one."
            )
            raise ApiError(message, "conversation_already_has_active_response")
        generation = Generation(
            self._plan(params, session, out_of_band), self._items.insert, self._items.before
        )
        self._running[generation.id] = generation
        self._requests += 1
        return [*generation.created(), self._limits(), Respond(generation)]

    def cancel(self, response_id: str | None, reason: str = "client_cancelled") -> Effects:
        """Cancel a response; without an id, the one in the conversation.

        Raises:
            ApiError: It does not run.
        """
        found = self.active if response_id is None else self._running.get(response_id)
        if found is None:
            raise ApiError("Cancellation failed: no active response found", "response_cancel_not_active")
        return self._settled(found, found.cancel(reason))

    def advance(self, generation: Generation, step: Step) -> Effects:
        """Send a response's next step; nothing, if it is over."""
        events = generation.apply(step)
        self.spoke = self.spoke or generation.audio_ms > 0
        effects = self._settled(generation, events)
        for call in generation.take_calls():
            effects += self._mcp.begin(call)
        return effects

    def mcp_done(self, call: HostedCall, result: str | p.McpError) -> Effects:
        """An MCP call has ended."""
        return self._settled(call.generation, call.generation.mcp_done(call, result))

    def finish(self, generation: Generation) -> Effects:
        """End a response as completed, unless it is over."""
        return self._settled(generation, generation.finish())

    def request(self, generation: Generation) -> Request:
        """What the brain is asked; the context is what the conversation holds now."""
        plan = generation.plan
        turns = tuple(stored.turn() for stored in self._items.all()) if plan.input is None else plan.input
        generation.context = turns
        return Request(
            turns=turns,
            instructions=plan.instructions,
            tools=plan.tools,
            tool_choice=plan.tool_choice,
            audio=plan.modality == "audio",
            rate=plan.codec.rate,
            speed=plan.speed,
        )

    def _settled(self, generation: Generation, events: Events) -> Effects:
        effects: Effects = list(events)
        if not generation.active and self._running.pop(generation.id, None) is not None:
            self._tokens += generation.usage.total_tokens if generation.usage else 0
            effects += [self._limits(), Halt(generation)]
        return effects

    def _limits(self) -> p.RateLimitsUpdated:
        limits = rate_limits(self._tokens, self._requests)
        return p.RateLimitsUpdated(rate_limits=limits, event_id=new_id("event"))

    def _plan(self, params: Json, session: Json, out_of_band: bool) -> Plan:
        output = {**session["audio"]["output"], **params.get("audio", {}).get("output", {})}
        modalities = params.get("output_modalities") or session["output_modalities"]
        limit = params.get("max_output_tokens") or session["max_output_tokens"]
        tools = params["tools"] if "tools" in params else session["tools"]
        offered = self._mcp.offered(tools)
        functions = [msgspec.convert(tool, p.FunctionToolDef) for tool in tools if tool["type"] == "function"]
        wanted = params.get("input")
        return Plan(
            conversation_id=None if out_of_band else self._conversation_id,
            modality="audio" if "audio" in modalities else "text",
            codec=codec_of(output["format"]["type"]),
            audio=msgspec.convert(
                {"output": {"format": output["format"], "voice": output["voice"]}}, p.ResponseAudioConfig
            ),
            instructions=params.get("instructions") or session.get("instructions") or "",
            tools=(*functions, *(seen for seen, _ in offered.values())),
            mcp={name: route for name, (_, route) in offered.items()},
            tool_choice=_tool_choice(params.get("tool_choice", session["tool_choice"])),
            input=None
            if wanted is None
            else tuple(self._turn(one, n, session) for n, one in enumerate(wanted)),
            metadata=params.get("metadata"),
            max_tokens=limit if isinstance(limit, int) else None,
            speed=output["speed"],
        )

    def _turn(self, item: Json, index: int, session: Json) -> Turn:
        path = f"response.input[{index}]"
        if item.get("type") == "item_reference":
            found = self._items.get(str(item.get("id")))
            if found is None:
                message = f"Item with item_id not found: {item.get('id')}"
                raise ApiError(message, "invalid_value", f"{path}.id")
            return found.turn()
        try:
            given: Any = msgspec.convert(item, p.Item)
        except msgspec.ValidationError as error:
            raise ApiError(f"Invalid '{path}': {error}", "invalid_value", path) from None
        return self._handlers.stored(given, session, path).turn()


def _tool_choice(choice: Any) -> str:
    if isinstance(choice, str):
        return choice
    return f"function:{choice['name']}" if choice.get("name") else "auto"
