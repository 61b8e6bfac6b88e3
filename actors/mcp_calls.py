"""The MCP tools that the provider calls itself: what is heard of them, as events, and what comes after a call.

The API lists the tools, calls them and puts what came of it into the conversation, but it doesn't let the model go
on: the call's response may even be done long before the call is. So the call counts among its response's calls, as
those of functions do, and after the last of them the model is asked to go on.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

import antiphon.protocol as p
from antiphon.actors import ids
from antiphon.actors import messages as m
from antiphon.actors.config import SessionOptions, SessionSpec
from antiphon.actors.core import Arm, Disarm, TimerFired, handles
from antiphon.actors.events import McpApprovalRequestedEvent, McpCallEvent, McpListToolsEvent
from antiphon.actors.generation import Generation, MakeFuture
from antiphon.actors.reply_requests import ReplyRequests
from antiphon.actors.tool_calls import _Batch
from antiphon.actors.undo import UndoDict

# That a call has ended and what came of it are two events, in either order: how long to wait for the second.
RESULT_SECONDS = 0.5
# So many listings and calls are followed: some never end, as those that were cut off in their arguments.
# Of so many it is known that they have ended, so that what comes late doesn't begin them anew; and so many
# requests for approval, so that none is told twice.
REMEMBERED = 512

LOST: Final = p.McpError(type="connection_lost", message="The connection was lost, and the call with it.")

CallEvent = p.ResponseMcpCallInProgress | p.ResponseMcpCallCompleted | p.ResponseMcpCallFailed
ListEvent = p.McpListToolsInProgress | p.McpListToolsCompleted | p.McpListToolsFailed

STATUS: Final[dict[type, str]] = {
    p.McpListToolsInProgress: "in_progress",
    p.McpListToolsCompleted: "completed",
    p.McpListToolsFailed: "failed",
    p.ResponseMcpCallInProgress: "in_progress",
    p.ResponseMcpCallCompleted: "completed",
    p.ResponseMcpCallFailed: "failed",
}


class McpProgress(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one listing or call.

    Attributes:
        is_call: Which of the two it is.
        item: Its item, as last heard.
        arguments: A call's, once they are complete.
        outcome: "completed" or "failed", once the provider has said so.
        final: Whether the item holds what came of it.
        joined: Whether a call has been counted among its response's.
        begun: Whether the application knows that it is under way.
    """

    is_call: bool = False
    item: p.McpListToolsItem | p.McpCallItem | None = None
    arguments: str = ""
    outcome: str = ""
    final: bool = False
    joined: bool = False
    begun: bool = False

    @property
    def is_complete(self) -> bool:
        """Whether nothing more will be heard that matters: a listing that failed has no more to tell."""
        return self.final or (self.outcome == "failed" and isinstance(self.item, p.McpListToolsItem))

    @property
    def server_label(self) -> str:
        """The server; "" while it is not known."""
        return self.item.server_label if self.item is not None else ""

    def payload(self, item_id: str, status: str) -> McpCallEvent | McpListToolsEvent:
        """What the application is told of it."""
        item = self.item
        if not self.is_call:
            tools = list(item.tools) if isinstance(item, p.McpListToolsItem) else []
            return McpListToolsEvent(
                item_id=item_id, server_label=self.server_label, status=status, tools=tools
            )
        call = item if isinstance(item, p.McpCallItem) else None
        return McpCallEvent(
            item_id=item_id,
            server_label=self.server_label,
            name=call.name if call else "",
            arguments=self.arguments or (call.arguments if call else ""),
            status=status,
            output=p.given(call.output, None) if call else None,
            error=p.given(call.error, None) if call else None,
        )


class McpCalls(ReplyRequests):
    """The part of the GenerationActor that follows the provider's MCP tools."""

    def __init__(self, spec: SessionSpec, options: SessionOptions, make_future: MakeFuture) -> None:
        super().__init__(spec, options, make_future)
        self._silent_mcp: frozenset[str] = frozenset()
        # By item id, until the application knows how they ended.
        self._mcp: UndoDict[str, McpProgress] = UndoDict()
        self._mcp_ended: UndoDict[str, None] = UndoDict()
        self._mcp_requests: UndoDict[str, p.McpApprovalRequestItem] = UndoDict()
        # The calls after which a response's reply comes: item id → response id.
        self._mcp_open: UndoDict[str, str] = UndoDict()

    @handles(m.SilenceMcp)
    def silence_mcp(self, message: m.SilenceMcp) -> None:
        """After calls of these servers' tools the model is not asked to go on."""
        self._silent_mcp = message.labels

    # -- what is heard ------------------------------------------------------------------------------------

    @handles(p.ConversationItemAdded, p.ConversationItemCreated, p.ConversationItemDone)
    def mcp_item(
        self, event: p.ConversationItemAdded | p.ConversationItemCreated | p.ConversationItemDone
    ) -> None:
        """Look for what concerns MCP; after the older name of `added` no `done` comes."""
        item = event.item
        done = not isinstance(event, p.ConversationItemAdded)
        if isinstance(item, p.McpListToolsItem):
            self._heard(item.id, item=item, final=done)
        elif isinstance(item, p.McpCallItem):
            self._call_heard(item)
        elif isinstance(item, p.McpApprovalRequestItem) and done:
            self.mcp_approval_requested(item)

    def mcp_approval_requested(self, item: p.McpApprovalRequestItem) -> None:
        """The provider asks; its request is an item of the conversation, of a response's output, or of both."""
        if item.id in self._mcp_requests:
            return
        self._mcp_requests[item.id] = item
        self._mcp_requests.keep_newest(REMEMBERED)
        self.emit(
            "mcp_approval_requested",
            McpApprovalRequestedEvent(
                request_id=item.id,
                server_label=item.server_label,
                name=item.name,
                arguments=item.arguments,
            ),
        )

    def mcp_call_in_response(self, item: p.McpCallItem, response_id: str) -> None:
        """A response's output has this call, in whatever state."""
        self._join(item.id, response_id)
        self._call_heard(item)

    def _call_heard(self, item: p.McpCallItem) -> None:
        final = p.given(item.output, None) is not None or p.given(item.error, None) is not None
        self._heard(item.id, item=item, final=final)

    @handles(p.ResponseMcpCallArgumentsDone)
    def mcp_arguments_done(self, event: p.ResponseMcpCallArgumentsDone) -> None:
        """A call's arguments are complete."""
        self._join(event.item_id, event.response_id)
        self._heard(event.item_id, arguments=event.arguments)

    @handles(*STATUS)
    def mcp_progress(self, event: CallEvent | ListEvent) -> None:
        """A listing or a call has begun or ended."""
        status, is_call = STATUS[type(event)], isinstance(event, CallEvent)
        if event.item_id in self._mcp_ended:
            return
        if is_call:
            self._join(event.item_id, "")
        if status != "in_progress":
            self._heard(event.item_id, is_call=is_call, outcome=status)
            return
        before = self._mcp.get(event.item_id)
        if before is None or not before.begun:
            self._heard(event.item_id, is_call=is_call, begun=True)
            self._emit_mcp(event.item_id, status)

    def _heard(self, item_id: str, **changes: Any) -> None:
        """Take something down; when both the outcome and what came of it are known, that is the end."""
        if item_id in self._mcp_ended:
            return
        progress = msgspec.structs.replace(self._mcp.get(item_id) or McpProgress(), **changes)
        self._mcp[item_id] = progress
        if progress.outcome:
            if progress.is_complete:
                self._end_mcp(item_id)
            else:
                self.do(Arm(("mcp", item_id), RESULT_SECONDS))
        if len(self._mcp) > REMEMBERED:
            self._give_up_oldest(item_id)

    def _give_up_oldest(self, but: str) -> None:
        """Follow one call less: if possible one that no reply waits for."""
        oldest = next(iter(self._mcp))
        idle = (one for one in self._mcp if one not in self._mcp_open and one != but)
        self._count_out(next(idle, oldest))

    @handles(TimerFired)
    def timer_fired(self, message: TimerFired) -> None:
        """What came of a call was not told in time, or something else has taken too long."""
        if isinstance(message.key, tuple) and message.key[0] == "mcp":
            self._end_mcp(message.key[1])
        else:
            super().timer_fired(message)

    def _end_mcp(self, item_id: str) -> None:
        self._emit_mcp(item_id, self._mcp[item_id].outcome)
        self._count_out(item_id)

    def _emit_mcp(self, item_id: str, status: str) -> None:
        progress = self._mcp[item_id]
        self.emit("mcp_call" if progress.is_call else "mcp_list_tools", progress.payload(item_id, status))

    # -- approval -----------------------------------------------------------------------------------------

    @handles(m.ApproveMcp)
    def approve_mcp(self, message: m.ApproveMcp) -> None:
        """Answer a request; one that is refused is all that there will be of its call."""
        answer = p.McpApprovalResponseItem(
            id=ids.new_id("item_"),
            approval_request_id=message.request_id,
            approve=message.approve,
            reason=msgspec.UNSET if message.reason is None else message.reason,
        )
        self.tell(m.CHAT_CTX, m.CreateItem(answer))
        request = self._mcp_requests.get(message.request_id)
        if request is None or message.approve:
            return
        refused = next((item_id for item_id in self._mcp_open if self._is_asked_for(item_id, request)), None)
        if refused is not None:
            self._count_out(refused)
        elif request.server_label not in self._silent_mcp:
            self.request_reply()

    def _is_asked_for(self, item_id: str, request: p.McpApprovalRequestItem) -> bool:
        """Whether a call is the one that a request is about; the provider only links them once it is approved."""
        progress = self._mcp[item_id]
        call = progress.payload(item_id, "")
        return (
            isinstance(call, McpCallEvent)
            and not progress.begun
            and (call.server_label, call.name, call.arguments)
            == (request.server_label, request.name, request.arguments)
        )

    # -- what comes after ---------------------------------------------------------------------------------

    def _join(self, item_id: str, response_id: str) -> None:
        """Count a call among those of its response, "" if it is heard of outside of any."""
        progress = self._mcp.get(item_id) or McpProgress()
        if progress.joined or item_id in self._mcp_ended:
            return
        self._mcp[item_id] = msgspec.structs.replace(progress, joined=True, is_call=True)
        generation = self._generations.get(response_id)
        if response_id and (generation is None or generation.out_of_band):
            # Discarded, or beside the conversation: nobody waits for what the model says to it.
            return
        self._mcp_open[item_id] = response_id
        batch = self._batches.setdefault(response_id, _Batch())
        batch.complete = generation is None

    def _count_out(self, item_id: str) -> None:
        """It has ended, and was perhaps the last that its response's reply waited for."""
        self.do(Disarm(("mcp", item_id)))
        label = self._mcp.pop(item_id).server_label
        self._mcp_ended[item_id] = None
        self._mcp_ended.keep_newest(REMEMBERED)
        response_id = self._mcp_open.pop(item_id, None)
        batch = self._batches.get(response_id) if response_id is not None else None
        if response_id is not None and batch is not None:
            batch.wants_reply = batch.wants_reply or label not in self._silent_mcp
            self._reply_after_the_last(response_id)

    def _reply_after_the_last(self, generation_id: str) -> None:
        if generation_id not in self._mcp_open.values():
            super()._reply_after_the_last(generation_id)

    def calls_complete(self, generation: Generation, interrupted: bool) -> None:
        """The response is done; calls that it didn't get to the end of are none."""
        for item_id in [one for one, response in self._mcp_open.items() if response == generation.id]:
            call = self._mcp[item_id].payload(item_id, "")
            if interrupted or (isinstance(call, McpCallEvent) and not call.arguments):
                self._mcp_open.pop(item_id)
        super().calls_complete(generation, interrupted)

    def mcp_lost(self) -> None:
        """The connection is gone, and with it all calls and requests."""
        responses = set(self._mcp_open.values())
        for item_id, progress in self._mcp.items():
            if progress.joined:
                told = progress.payload(item_id, progress.outcome or "failed")
                if isinstance(told, McpCallEvent) and not progress.outcome:
                    told = msgspec.structs.replace(told, error=LOST)
                self.emit("mcp_call", told)
        self._forget_mcp()
        for response_id in responses & self._batches.keys():
            self._reply_after_the_last(response_id)

    def drop_calls(self) -> None:
        """The session ends: nothing that still runs is waited for."""
        self._forget_mcp()
        super().drop_calls()

    def _forget_mcp(self) -> None:
        for item_id in self._mcp:
            self.do(Disarm(("mcp", item_id)))
        self._mcp.clear()
        self._mcp_ended.clear()
        self._mcp_requests.clear()
        self._mcp_open.clear()
