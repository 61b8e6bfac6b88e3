"""Edits to the server's conversation: what is sent for them, and what the server says to it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

import antiphon.protocol as p
from antiphon.actors import ids
from antiphon.actors import messages as m
from antiphon.actors.chat import ChatItem, ChatMessage, Entry, copy_item, diff, to_item
from antiphon.actors.config import SessionOptions, SessionSpec
from antiphon.actors.conversation import Conversation
from antiphon.actors.core import Arm, Disarm, Settle, handles
from antiphon.actors.errors import RealtimeError
from antiphon.actors.failures import model_error, server_error
from antiphon.actors.item_ops import ItemEvent, Op, PendingOps, Waiter, foresee
from antiphon.actors.logs import get_logger
from antiphon.actors.replay import plan_replay, repeated
from antiphon.actors.undo import UndoDict

logger = get_logger("antiphon.chat_ctx")

# How servers say that an item is there already; for us that is as good as created.
DUPLICATE_WORDS = ("already exists", "already has an item", "duplicate")
# How they say that a message can't be cut; a truncation carries no event id to name.
UNCUT_WORDS = ("truncat", "already shorter")


class ChatEdits(Conversation):
    """The part of the ChatCtxActor that changes the conversation, one edit after the other."""

    def __init__(self, spec: SessionSpec, options: SessionOptions) -> None:
        super().__init__(spec, options)
        self._ops = PendingOps()
        self._updates: deque[m.UpdateChatCtx] = deque()
        self._updating: Waiter | None = None
        # How much audio of an item has come in, whether or not the server has announced the item.
        self.audio: UndoDict[str, m.ItemAudioReceived] = UndoDict()
        # Truncations on their way, by item and milliseconds: the words that were heard if the app knows.
        self.cuts: UndoDict[tuple[str, int], str | None] = UndoDict()

    def settle_replay_if_complete(self) -> None:
        """See ChatCtxCore."""
        raise NotImplementedError

    def cut(self, item_id: str, end_ms: int, transcript: str | None) -> None:
        """See ChatCtxCore."""
        raise NotImplementedError

    def unacknowledged(self) -> list[p.ClientEvent | dict[str, Any]]:
        """Changes that the last connection was told of and did not confirm, as the next has to hear them."""
        assert self.replay is not None
        for op in self._ops:
            # What it answers was asked by the server of a connection that is gone: the next would refuse it.
            if op.written and _is_approval(op.event):
                self._ops.discard(op)
        written = [op for op in self._ops if op.written]
        again = repeated([op.event for op in written], self.mirror, self.replay)
        for op, event in zip(written, again, strict=True):
            op.follow(event)
        return [op.entry for op in written]

    def end_edits(self, error: RealtimeError) -> None:
        """The session ends: nobody waits any longer."""
        self.do(Disarm("update"))
        if self._updating is not None:
            self.do(Settle(self._updating.future, error))
            self._updating = None
        while self._updates:
            self.do(Settle(self._updates.popleft().future, error))

    def update_overdue(self) -> None:
        """An edit has not been acknowledged in time."""
        if self._updating is None:
            return
        for op in self._ops:
            if op.waiter is self._updating:
                op.waiter = None
                # A server that had its time and said nothing: the mirror is all there is to go by. What still
                # has to go out, because there is no connection, will be done.
                op.foreseen = not (op.written and self.connected)
        seconds = self._updating.timeout
        self._end_update(RealtimeError(f"update_chat_ctx timed out: no acknowledgement within {seconds:g} s"))

    @handles(m.UpdateChatCtx)
    def update_chat_ctx(self, message: m.UpdateChatCtx) -> None:
        """Make the server's conversation equal to this one, one update after the other."""
        if self.closed is not None:
            self.do(Settle(message.future, RealtimeError(self.closed)))
            return
        self._updates.append(message)
        self._next_update()

    def _next_update(self) -> None:
        while self._updating is None and self._updates:
            update = self._updates.popleft()
            waiter = Waiter(update.future, update.timeout)
            # Earlier edits that nobody waits for any more are part of what this one comes to.
            earlier = self._ops.foreseen()
            try:
                self._send_changes(update.context.items, waiter)
            except (TypeError, ValueError, ImportError) as error:
                # Something in it can't be put on the wire, such as audio at an impossible rate.
                self.do(Settle(update.future, error))
                continue
            for op in earlier:
                op.waiter = waiter
                waiter.outstanding += 1
            if not waiter.outstanding:
                self.do(Settle(waiter.future, waiter.report()))
                continue
            self._updating = waiter
            self.do(Arm("update", update.timeout))

    @handles(m.CreateItem)
    def create_item(self, message: m.CreateItem) -> None:
        """Add an item to the end, for another actor."""
        event_id = ids.new_id(ids.CHAT_CTX_CREATE)
        self._send(Op(p.ConversationItemCreate(event_id=event_id, item=message.item)))

    def _order(self) -> list[ChatItem | str]:
        """The conversation that the next change meets: the mirror's, after what is on its way."""
        order = self.mirror.order()
        foreseen = self._ops.foreseen()
        written = [op.event for op in foreseen if op.written]
        if self.replay is not None or not self.connected:
            # What the next connection won't be told of can't be a predecessor, nor be deleted.
            replay = self.replay or plan_replay(self.mirror)
            lost = set(replay.lost)
            order = [item for item in order if (item if isinstance(item, str) else item.id) not in lost]
            written = repeated(written, self.mirror, replay)
        changes = [*written, *(op.event for op in foreseen if not op.written)]
        return foresee(order, changes) if changes else order

    def _send_changes(self, wanted: Iterable[ChatItem], waiter: Waiter | None) -> None:
        protected = self.mirror.protected(self.now) | self.generating
        # A message that was read before it was cut is no edit: nobody asked for the words that were not heard.
        wanted = [self.mirror.as_cut(item) for item in wanted]
        plan = diff(self._order(), wanted, protected=protected)
        # Converted first: where that fails, nothing has been sent.
        creations = [(previous, to_item(item)) for previous, item in plan.creations]
        replacements = [(previous, to_item(item)) for previous, item in plan.replacements]
        for item_id in plan.removals:
            self._send_delete(item_id, waiter)
        for previous, wire_item in creations:
            self._send_create(previous, wire_item, waiter)
        for previous, wire_item in replacements:
            self._send_delete(wire_item.id, waiter)
            self._send_create(previous, wire_item, waiter)

    def _send_delete(self, item_id: str, waiter: Waiter | None) -> None:
        event_id = ids.new_id(ids.CHAT_CTX_DELETE)
        event = p.ConversationItemDelete(event_id=event_id, item_id=item_id)
        self._send(Op(event, waiter, foreseen=True))

    def _send_create(self, previous: str | None, item: p.Item, waiter: Waiter | None) -> None:
        event = p.ConversationItemCreate(
            event_id=ids.new_id(ids.CHAT_CTX_CREATE),
            previous_item_id="root" if previous is None else previous,
            item=item,
        )
        self._send(Op(event, waiter, foreseen=True))

    def _send(self, op: Op) -> None:
        self._ops.add(op)
        self.tell(m.CONNECTION, m.Transmit(op.event))

    @handles(m.Truncate)
    def truncate(self, message: m.Truncate) -> None:
        """Cut a message to what was heard (audio) or shown (text)."""
        if self.closed is not None:
            return
        if message.audio:
            self._truncate_audio(message)
        elif message.transcript is not None:
            self._rewrite_text(message.message_id, message.transcript)

    def _truncate_audio(self, message: m.Truncate) -> None:
        entry = self.mirror.get(message.message_id)
        audio = self.audio.get(message.message_id)
        end_ms = message.audio_end_ms
        if self._is_going(message.message_id) or (message.only_known and entry is None and audio is None):
            return
        restored = self.replay is not None and self.replay.holds(message.message_id)
        if entry is not None and ((not entry.has_audio and audio is None) or restored):
            logger.warning("item %s has no audio to truncate", entry.id)
            return
        if audio is not None:
            content_index = audio.content_index
            end_ms = min(end_ms, int(audio.ms))
        else:
            content_index = 0 if entry is None else _audio_index(entry)
        if end_ms <= 0:
            self._send_delete(message.message_id, None)
            return
        if not self.connected:
            # The next connection gets the item as text: cutting that is all there is to do.
            self.cut(message.message_id, end_ms, message.transcript)
            return
        self.cuts[message.message_id, end_ms] = message.transcript
        event = p.ConversationItemTruncate(
            item_id=message.message_id, content_index=content_index, audio_end_ms=end_ms
        )
        self.tell(m.CONNECTION, m.Transmit(event))

    def _is_going(self, item_id: str) -> bool:
        """Whether the server has been told, or will be, to delete the item."""
        return any(op.item_id == item_id and type(op.event) is p.ConversationItemDelete for op in self._ops)

    def _rewrite_text(self, message_id: str, transcript: str) -> None:
        wanted = [copy_item(item) for item in self._order() if not isinstance(item, str)]
        for item in wanted:
            if item.id == message_id and isinstance(item, ChatMessage):
                item.content = [transcript]
                self._send_changes(wanted, None)

    # -- acknowledgements -------------------------------------------------------------------------------

    @handles(m.ItemEventWritten)
    def item_event_written(self, message: m.ItemEventWritten) -> None:
        """The socket has taken an item event: ours, or one that the user sent directly."""
        event = message.event
        op = self._ops.by_event_id(event.event_id) or self._ops.by_entry(message.entry)
        if op is None and not self._is_replayed(event.event_id):
            op = Op(event, frame=message.entry if isinstance(message.entry, dict) else None)
            if op.item_id:  # an item that the server names can't be recognised
                self._ops.add(op)
        if op is not None:
            op.written = True

    def _is_replayed(self, event_id: object) -> bool:
        return isinstance(event_id, str) and self.replay is not None and self.replay.is_part(event_id)

    def acknowledge(self, kind: Any, item_id: str) -> bool:
        """The server has done a change of ours; False if it is none of ours."""
        op = self._ops.acknowledged(kind, item_id)
        if op is None:
            return False
        if op.waiter is not None:
            if kind is p.ConversationItemCreate:
                op.waiter.created.append(item_id)
            elif kind is p.ConversationItemDelete:
                op.waiter.deleted.append(item_id)
            self._count_down(op.waiter)
        return True

    def _count_down(self, waiter: Waiter) -> None:
        waiter.outstanding -= 1
        if waiter is self._updating and not waiter.outstanding:
            self.do(Disarm("update"))
            self._end_update(waiter.report())

    def _end_update(self, outcome: Any) -> None:
        assert self._updating is not None
        self.do(Settle(self._updating.future, outcome))
        self._updating = None
        self._next_update()

    @handles(p.ErrorEvent)
    def error_event(self, event: p.ErrorEvent) -> None:
        """A refused change ends only its own wait; other errors are passed on."""
        is_duplicate = any(words in event.error.message.lower() for words in DUPLICATE_WORDS)
        if self.replay is not None and self.replay.refused(event.error.event_id, is_duplicate):
            self.settle_replay_if_complete()
            return
        op = self._ops.by_event_id(event.error.event_id)
        if op is None:
            self._forget_refused_cut(event.error)
            self.tell(m.GENERATION, event)
            return
        self._ops.discard(op)
        if op.waiter is None:
            self.emit("error", model_error(self.spec.label, server_error(self.spec.label, event.error), True))
            return
        if isinstance(op.event, p.ConversationItemCreate) and is_duplicate:
            op.waiter.created.append(op.item_id)
        elif isinstance(op.event, p.ConversationItemDelete) and op.item_id not in self.mirror:
            # It got lost with a connection: that is what was wanted.
            op.waiter.deleted.append(op.item_id)
        else:
            op.waiter.rejected[op.item_id] = event.error.message
        self._count_down(op.waiter)

    def _forget_refused_cut(self, error: p.ErrorDetail) -> None:
        """A truncation that was refused is not to be made good for at the next drop; they are answered in order."""
        refused = any(words in error.message.lower() for words in UNCUT_WORDS)
        if refused and self.cuts and not isinstance(error.event_id, str):
            self.cuts.pop(next(iter(self.cuts)))


def _is_approval(event: ItemEvent) -> bool:
    """Whether it answers a request to call a tool of an MCP server."""
    return isinstance(event, p.ConversationItemCreate) and isinstance(event.item, p.McpApprovalResponseItem)


def _audio_index(entry: Entry) -> int:
    """The place of a message's audio part; 0 while it is not known."""
    parts = entry.item.content if isinstance(entry.item, p.MessageItem) else []
    return next((index for index, part in enumerate(parts) if "audio" in part.type), 0)
