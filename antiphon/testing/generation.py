"""One response: the events in which it is sent, and its life from created to done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pybase64

from antiphon import protocol as p
from antiphon.actors.audio import WireCodec
from antiphon.testing.brains.base import Turn
from antiphon.testing.ids import new_id
from antiphon.testing.itemstore import StoredItem
from antiphon.testing.mcphost import HostedCall, McpRoute
from antiphon.testing.steps import CallStep, Delta, Step
from antiphon.testing.usage import response_usage, spoken_tokens, text_tokens

Events = list[p.ServerEvent]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a response was asked for, the session's defaults filled in.

    Attributes:
        conversation_id: `None` if it is out of band.
        modality: "audio" or "text".
        codec: Of the output.
        audio: The output's format and voice, as the client sees them.
        instructions: The system prompt.
        tools: The functions that may be called, those of MCP servers among them.
        mcp: Where calls of the MCP servers' tools go, by name.
        tool_choice: As in `Request.tool_choice`.
        input: The items that replace the conversation as context, if any do.
        metadata: To be echoed.
        max_tokens: The most that may come out, `None` for no limit.
        speed: Of the speech.
    """

    conversation_id: str | None
    modality: str
    codec: WireCodec
    audio: p.ResponseAudioConfig
    instructions: str
    tools: tuple[p.FunctionToolDef, ...]
    mcp: Mapping[str, McpRoute]
    tool_choice: str
    input: tuple[Turn, ...] | None
    metadata: dict[str, Any] | None
    max_tokens: int | None
    speed: float


@dataclass(slots=True)
class _Message:
    """The message that is being said."""

    stored: StoredItem
    index: int
    text: str = ""
    audio: bytearray = field(default_factory=bytearray)


class Generation:
    """A response in progress.

    Args:
        plan: What it was asked for.
        add_item: Adds an item to the conversation and returns the id of the one before it; `None` for a response
            that is out of band.
        previous: Tells the id of the item before this one.
    """

    def __init__(
        self, plan: Plan, add_item: Callable[[StoredItem], str | None], previous: Callable[[str], str | None]
    ) -> None:
        self.id = new_id("resp")
        self.plan = plan
        self.status = "in_progress"
        self.context: tuple[Turn, ...] = ()
        self.audio_ms = 0.0
        self.usage: p.Usage | None = None
        self._add_item = add_item
        self._previous = previous
        self._output: list[p.Item] = []
        self._message: _Message | None = None
        self._text_tokens = 0
        self._new_calls: list[HostedCall] = []
        self._running_calls: set[str] = set()
        self._said_all = False
        self._details: p.ResponseStatusDetails | None = None

    @property
    def active(self) -> bool:
        """Whether it is not done yet."""
        return self.status == "in_progress"

    @property
    def in_conversation(self) -> bool:
        """Whether its items become part of the conversation."""
        return self.plan.conversation_id is not None

    def created(self) -> Events:
        """The event that announces it."""
        return [p.ResponseCreated(event_id=new_id("event"), response=self._response())]

    def apply(self, step: Step) -> Events:
        """Send the next step; nothing, if it is done."""
        if not self.active:
            return []
        if isinstance(step, Delta):
            return self._delta(step)
        if isinstance(step, CallStep):
            return self._close_message("completed") + self._call(step)
        error = p.ResponseError(type=step.kind, code=step.code, message=step.message)
        return self._end("failed", p.ResponseStatusDetails(type="failed", error=error))

    def finish(self) -> Events:
        """End it as completed, after the MCP calls that run without approval."""
        self._said_all = True
        return self._end("completed", None) if self.active and not self._running_calls else []

    def cancel(self, reason: str) -> Events:
        """End it as cancelled; `reason` is "turn_detected" or "client_cancelled"."""
        return self._end("cancelled", p.ResponseStatusDetails(type="cancelled", reason=reason))

    # --- messages

    def _delta(self, step: Delta) -> Events:
        message = self._message
        events: Events = []
        if message is None:
            message, events = self._open_message()
        message.text += step.text
        message.audio += step.audio
        where = self._where(message)
        spoken = self.plan.modality == "audio"
        if step.text:
            self._text_tokens += text_tokens(step.text)
            delta = p.ResponseOutputAudioTranscriptDelta if spoken else p.ResponseOutputTextDelta
            events.append(delta(delta=step.text, **where, event_id=new_id("event")))
        if step.audio:
            self.audio_ms += step.ms
            encoded = pybase64.b64encode(step.audio).decode()
            events.append(p.ResponseOutputAudioDelta(delta=encoded, **where, event_id=new_id("event")))
        limit = self.plan.max_tokens
        if limit is not None and self._text_tokens + spoken_tokens(self.audio_ms) >= limit:
            details = p.ResponseStatusDetails(type="incomplete", reason="max_output_tokens")
            events += self._end("incomplete", details)
        return events

    def _open_message(self) -> tuple[_Message, Events]:
        item = p.MessageItem(
            id=new_id("item"), object="realtime.item", status="in_progress", role="assistant", content=[]
        )
        codec = self.plan.codec
        stored = StoredItem(item, wire_rate=codec.rate * codec.bytes_per_sample)
        events, index = self._begin(stored)
        self._message = message = _Message(stored, index)
        spoken = self.plan.modality == "audio"
        part = p.ContentPart(type="audio", transcript="") if spoken else p.ContentPart(type="text", text="")
        events.append(p.ResponseContentPartAdded(part=part, **self._where(message), event_id=new_id("event")))
        return message, events

    def _close_message(self, status: str) -> Events:
        message, self._message = self._message, None
        if message is None:
            return []
        where = self._where(message)
        text = message.text.strip()
        events: Events
        if self.plan.modality == "audio":
            message.stored.audio = bytes(message.audio)
            kept = p.ContentPart(type="output_audio", transcript=text)
            part = p.ContentPart(type="audio", transcript=text)
            events = [
                p.ResponseOutputAudioDone(**where, event_id=new_id("event")),
                p.ResponseOutputAudioTranscriptDone(transcript=text, **where, event_id=new_id("event")),
            ]
        else:
            kept = p.ContentPart(type="output_text", text=text)
            part = p.ContentPart(type="text", text=text)
            events = [p.ResponseOutputTextDone(text=text, **where, event_id=new_id("event"))]
        events.append(p.ResponseContentPartDone(part=part, **where, event_id=new_id("event")))
        assert isinstance(message.stored.item, p.MessageItem)
        item = msgspec.structs.replace(message.stored.item, status=status, content=[kept])
        return events + self._complete(message.stored, message.index, item)

    def _where(self, message: _Message) -> dict[str, Any]:
        return {
            "response_id": self.id,
            "item_id": message.stored.item.id,
            "output_index": message.index,
            "content_index": 0,
        }

    # --- calls

    def _call(self, step: CallStep) -> Events:
        route = self.plan.mcp.get(step.name)
        return self._function_call(step) if route is None else self._mcp_call(step, route)

    def _function_call(self, step: CallStep) -> Events:
        item = p.FunctionCallItem(
            id=new_id("item"),
            object="realtime.item",
            status="in_progress",
            name=step.name,
            call_id=new_id("call"),
            arguments="",
        )
        stored = StoredItem(item)
        events, index = self._begin(stored)
        where: dict[str, Any] = {
            "response_id": self.id,
            "item_id": item.id,
            "output_index": index,
            "call_id": item.call_id,
        }
        events += [
            p.ResponseFunctionCallArgumentsDelta(delta=piece, **where, event_id=new_id("event"))
            for piece in step.pieces
        ]
        arguments = "".join(step.pieces)
        self._text_tokens += text_tokens(step.name) + text_tokens(arguments)
        events.append(
            p.ResponseFunctionCallArgumentsDone(
                arguments=arguments, name=step.name, **where, event_id=new_id("event")
            )
        )
        done = msgspec.structs.replace(item, status="completed", arguments=arguments)
        return events + self._complete(stored, index, done)

    def _mcp_call(self, step: CallStep, route: McpRoute) -> Events:
        item = p.McpCallItem(id=new_id("mcp"), server_label=route.label, name=step.name, arguments="")
        stored = StoredItem(item)
        events, index = self._begin(stored)
        where: dict[str, Any] = {"response_id": self.id, "item_id": item.id, "output_index": index}
        events += [
            p.ResponseMcpCallArgumentsDelta(delta=piece, **where, event_id=new_id("event"))
            for piece in step.pieces
        ]
        arguments = "".join(step.pieces)
        self._text_tokens += text_tokens(step.name) + text_tokens(arguments)
        events.append(p.ResponseMcpCallArgumentsDone(arguments=arguments, **where, event_id=new_id("event")))
        stored.item = self._output[index] = msgspec.structs.replace(item, arguments=arguments)
        request_id: str | None = None
        if route.approval:
            request = p.McpApprovalRequestItem(
                id=new_id("mcpr"), server_label=route.label, name=step.name, arguments=arguments
            )
            request_id = request.id
            asked = StoredItem(request)
            begun, place = self._begin(asked)
            events += begun + self._complete(asked, place, request)
        else:
            self._running_calls.add(item.id)
        self._new_calls.append(HostedCall(self, stored, index, route.server, request_id))
        return events

    def take_calls(self) -> list[HostedCall]:
        """The MCP calls that it has made since this was asked last."""
        calls, self._new_calls = self._new_calls, []
        return calls

    def mcp_done(self, call: HostedCall, result: str | p.McpError) -> Events:
        """An MCP call has ended; it may be the last thing that the response waited for."""
        failed = isinstance(result, p.McpError)
        ended = p.ResponseMcpCallFailed if failed else p.ResponseMcpCallCompleted
        changes: dict[str, Any] = {"error" if failed else "output": result}
        if call.request_id is not None:
            changes["approval_request_id"] = call.request_id
        item = msgspec.structs.replace(call.item, **changes)
        events: Events = [ended(item_id=item.id, output_index=call.index, event_id=new_id("event"))]
        events += self._complete(call.stored, call.index, item)
        self._running_calls.discard(item.id)
        return events + self.finish() if self._said_all else events

    # --- items

    def _begin(self, stored: StoredItem) -> tuple[Events, int]:
        index = len(self._output)
        self._output.append(stored.item)
        events: Events = [
            p.ResponseOutputItemAdded(
                response_id=self.id, output_index=index, item=stored.item, event_id=new_id("event")
            )
        ]
        if self.in_conversation:
            previous = self._add_item(stored)
            events.append(
                p.ConversationItemAdded(previous_item_id=previous, item=stored.item, event_id=new_id("event"))
            )
        return events, index

    def _complete(self, stored: StoredItem, index: int, item: p.Item) -> Events:
        stored.item = self._output[index] = item
        events: Events = []
        if self.in_conversation:
            previous = self._previous(item.id)
            events.append(
                p.ConversationItemDone(previous_item_id=previous, item=item, event_id=new_id("event"))
            )
        if self.active:
            events.append(
                p.ResponseOutputItemDone(
                    response_id=self.id, output_index=index, item=item, event_id=new_id("event")
                )
            )
        return events

    # --- the end

    def _end(self, status: str, details: p.ResponseStatusDetails | None) -> Events:
        events = self._close_message("completed" if status == "completed" else "incomplete")
        self.status = status
        self._details = details
        self.usage = response_usage(
            self.context, self.plan.instructions, self._text_tokens, spoken_tokens(self.audio_ms)
        )
        return [*events, p.ResponseDone(event_id=new_id("event"), response=self._response())]

    def _response(self) -> p.Response:
        plan = self.plan
        return p.Response(
            id=self.id,
            status=self.status,
            status_details=self._details,
            output=list(self._output),
            conversation_id=plan.conversation_id,
            metadata=plan.metadata,
            usage=self.usage,
            output_modalities=[plan.modality],
            max_output_tokens="inf" if plan.max_tokens is None else plan.max_tokens,
            audio=plan.audio,
        )
