"""Changes to the server's conversation that are under way, and those who wait for them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import msgspec

import antiphon.protocol as p
from antiphon.actors.chat import ChatItem, from_item
from antiphon.actors.undo import Restore, Undoable, UndoDict

ItemEvent = p.ConversationItemCreate | p.ConversationItemDelete

_TYPES = {"conversation.item.create", "conversation.item.delete"}


def item_event(entry: object) -> ItemEvent | None:
    """The change that an entry of the outgoing queue makes: an event, or a dict that the user sent as one."""
    if isinstance(entry, dict) and entry.get("type") in _TYPES:
        try:
            entry = p.decode_client_event(p.encode_client_event(entry))
        except p.ProtocolError:
            return None  # the server will say what is wrong with it
    return entry if isinstance(entry, ItemEvent) else None


class ChatCtxReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a chat context's changes.

    Attributes:
        created: Ids that the server has now, duplicates included.
        deleted: Ids that it no longer has.
        rejected: The server's message for each id that it refused.
    """

    created: list[str] = []
    deleted: list[str] = []
    rejected: dict[str, str] = {}


@dataclass(eq=False)
class Waiter(Undoable):
    """One `update_chat_ctx` and the changes that it waits for."""

    future: Future[ChatCtxReport]
    timeout: float
    created: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    rejected: dict[str, str] = field(default_factory=dict)
    outstanding: int = 0

    def save(self) -> Restore:
        """Remember how far it is; the lists only grow."""
        created, deleted, outstanding = len(self.created), len(self.deleted), self.outstanding
        rejected = dict(self.rejected)

        def restore() -> None:
            del self.created[created:], self.deleted[deleted:]
            self.rejected, self.outstanding = rejected, outstanding

        return restore

    def report(self) -> ChatCtxReport:
        """What has become of it so far."""
        return ChatCtxReport(created=self.created, deleted=self.deleted, rejected=self.rejected)


@dataclass(eq=False)
class Op:
    """One change: sent, or about to be.

    Attributes:
        event: What is sent.
        frame: The dict that the user gave for it, if it is his own: that is sent as it is.
        waiter: Who waits for it; None for changes that nobody waits for.
        written: Whether the socket has taken it.
        foreseen: Whether later edits reckon with it, as if it were done.
    """

    event: ItemEvent
    waiter: Waiter | None = None
    written: bool = False
    foreseen: bool = False
    frame: dict[str, Any] | None = None

    @property
    def key(self) -> Hashable:
        """Its event id; the user's own events may have none."""
        return self.event.event_id if isinstance(self.event.event_id, str) else self

    @property
    def entry(self) -> p.ClientEvent | dict[str, Any]:
        """What the connection is given to send."""
        return self.event if self.frame is None else self.frame

    def follow(self, event: ItemEvent) -> None:
        """Say it with another predecessor."""
        if event is not self.event and self.frame is not None:
            assert isinstance(event, p.ConversationItemCreate)
            self.frame = {**self.frame, "previous_item_id": event.previous_item_id}
        self.event = event

    @property
    def item_id(self) -> str:
        """The item that it is about."""
        return self.event.item.id if isinstance(self.event, p.ConversationItemCreate) else self.event.item_id


class PendingOps(Undoable):
    """Changes that the server has not acknowledged, in the order in which they were made."""

    def __init__(self) -> None:
        self._ops: UndoDict[Hashable, Op] = UndoDict()

    def __len__(self) -> int:
        return len(self._ops)

    def __iter__(self) -> Iterator[Op]:
        return iter(list(self._ops.values()))

    def add(self, op: Op) -> None:
        """Remember a change."""
        self._ops[op.key] = op
        if op.waiter is not None:
            op.waiter.outstanding += 1

    def foreseen(self) -> list[Op]:
        """The changes that later edits reckon with."""
        return [op for op in self._ops.values() if op.foreseen]

    def by_event_id(self, event_id: str | object | None) -> Op | None:
        """The change that was sent under this event id."""
        return self._ops.get(event_id) if isinstance(event_id, str) else None

    def by_entry(self, entry: object) -> Op | None:
        """The change that this is the event, or the user's dict, of."""
        return next((op for op in self._ops.values() if op.entry is entry), None)

    def discard(self, op: Op) -> None:
        """Forget a change."""
        self._ops.pop(op.key, None)

    def acknowledged(self, kind: type[ItemEvent], item_id: str) -> Op | None:
        """Take out the oldest change of this kind to this item."""
        for op in self._ops.values():
            if type(op.event) is kind and op.item_id == item_id:
                self.discard(op)
                return op
        return None


def foresee(order: Sequence[ChatItem | str], events: Iterable[ItemEvent]) -> list[ChatItem | str]:
    """Returns what a conversation will be after these changes; what the server will refuse changes nothing.

    Args:
        order: The items, ids unique; one without a chat form is given as its bare id.
        events: The changes, in the order in which the server will hear of them.
    """
    items = {item if isinstance(item, str) else item.id: item for item in order}
    # A ring of ids through None, which stands for both ends of the list.
    keys: list[str | None] = [None, *items, None]
    following = dict(pairwise(keys))
    before = {second: first for first, second in pairwise(keys)}
    for event in events:
        if isinstance(event, p.ConversationItemDelete):
            if items.pop(event.item_id, None) is not None:
                first, second = before.pop(event.item_id), following.pop(event.item_id)
                following[first], before[second] = second, first
            continue
        previous = p.given(event.previous_item_id, before[None])
        previous = None if previous == "root" else previous
        if event.item.id in items or (previous is not None and previous not in items):
            continue
        items[event.item.id] = from_item(event.item) or event.item.id
        second = following[previous]
        following[previous] = before[second] = event.item.id
        before[event.item.id], following[event.item.id] = previous, second
    foreseen: list[ChatItem | str] = []
    step = following[None]
    while step is not None:
        foreseen.append(items[step])
        step = following[step]
    return foreseen
