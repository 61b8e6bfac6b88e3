"""How a conversation is told to a server that knows nothing of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import msgspec

import antiphon.protocol as p
from antiphon.actors import ids
from antiphon.actors.chat import ChatItem, FunctionCall, Mirror, replay_item
from antiphon.actors.item_ops import ItemEvent, foresee
from antiphon.actors.undo import Undoable, UndoDict


@dataclass
class Replay(Undoable):
    """A replay under way.

    Attributes:
        events: What is sent, in order.
        lost: Ids of items that can't be restored, or that the server refused.
        restored_items: What the server has confirmed, by id, in the form in which it was sent.
        degraded_count: How many of those are text where they were audio.
    """

    events: list[p.ClientEvent] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    restored_items: UndoDict[str, p.Item] = field(default_factory=UndoDict)
    degraded_count: int = 0
    _waiting: UndoDict[str, tuple[p.Item, bool]] = field(default_factory=UndoDict)
    _by_event: UndoDict[str, str] = field(default_factory=UndoDict)

    # What is sent is planned once, and may be long.
    not_saved: ClassVar[frozenset[str]] = frozenset({"events"})

    def add(self, item: p.Item, degraded: bool) -> None:
        """Plan to create an item behind those planned before.

        It goes to the tail and names no predecessor: one that the server refuses would take all after it along.
        """
        event_id = ids.new_id(ids.CHAT_CTX_CREATE)
        self.events.append(p.ConversationItemCreate(event_id=event_id, item=item))
        self._waiting[item.id] = (item, degraded)
        self._by_event[event_id] = item.id

    def is_part(self, event_id: str) -> bool:
        """Whether this event belongs to the replay."""
        return event_id in self._by_event

    def restored(self, item_id: str) -> bool:
        """The server has an item; True if it is one of the replay's."""
        waiting = self._waiting.pop(item_id, None)
        if waiting is None:
            return False
        item, degraded = waiting
        self.restored_items[item_id] = item
        self.degraded_count += degraded
        return True

    def refused(self, event_id: object, is_duplicate: bool = False) -> bool:
        """The server refused an event, perhaps because it has the item; True if it is one of the replay's."""
        item_id = self._by_event.get(event_id) if isinstance(event_id, str) else None
        if item_id is None:
            return False
        if is_duplicate:
            self.restored(item_id)
        elif self._waiting.pop(item_id, None) is not None:
            self.lost.append(item_id)
        return True

    def holds(self, item_id: str) -> bool:
        """Whether the item is restored, or will be."""
        return item_id in self._waiting or item_id in self.restored_items

    @property
    def restored_count(self) -> int:
        """Items that the server has confirmed."""
        return len(self.restored_items)

    @property
    def complete(self) -> bool:
        """Whether every item is restored or lost."""
        return not self._waiting


def plan_replay(mirror: Mirror) -> Replay:
    """Plan to tell the whole conversation, in order."""
    replay = Replay()
    for entry in mirror:
        item = None if entry.chat is None or _is_unfinished(entry.chat) else replay_item(entry.chat)
        if item is None:
            replay.lost.append(entry.id)
        else:
            replay.add(item, degraded=entry.has_audio)
    return replay


def _is_unfinished(item: ChatItem) -> bool:
    """Whether it is a call that was cut off before it had arguments: no server could make sense of it."""
    return isinstance(item, FunctionCall) and not item.arguments


def repeated(events: Sequence[ItemEvent], mirror: Mirror, replay: Replay) -> list[ItemEvent]:
    """Returns unacknowledged events as a new connection has to hear them: the same, under the same ids.

    Only a predecessor that could not be restored makes way for the nearest before it that could.
    """
    lost = set(replay.lost)
    again: list[ItemEvent] = []
    for index, event in enumerate(events):
        if isinstance(event, p.ConversationItemCreate) and event.previous_item_id in lost:
            previous = "root"
            for item in foresee(mirror.order(), events[:index]):
                item_id = item if isinstance(item, str) else item.id
                if item_id == event.previous_item_id:
                    break
                if item_id not in lost:
                    previous = item_id
            event = msgspec.structs.replace(event, previous_item_id=previous)
        again.append(event)
    return again
