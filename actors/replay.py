"""How a conversation is told to a server that knows nothing of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import antiphon.protocol as p
from antiphon.actors import ids
from antiphon.actors.chat import Mirror, replay_item


@dataclass
class Replay:
    """A replay under way.

    Attributes:
        events: What is sent, in order.
        lost: Ids of items that can't be restored, or that the server refused.
        restored_count: Items that the server has confirmed.
        degraded_count: How many of those are text where they were audio.
    """

    events: list[p.ClientEvent] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    restored_count: int = 0
    degraded_count: int = 0
    _waiting: dict[str, bool] = field(default_factory=dict)
    _by_event: dict[str, str] = field(default_factory=dict)

    def add(self, item: p.Item, previous: str, degraded: bool) -> None:
        """Plan to create an item behind `previous`."""
        event_id = ids.new_id(ids.CHAT_CTX_CREATE)
        self.events.append(p.ConversationItemCreate(event_id=event_id, previous_item_id=previous, item=item))
        self._waiting[item.id] = degraded
        self._by_event[event_id] = item.id

    def is_part(self, event_id: str) -> bool:
        """Whether this event belongs to the replay."""
        return event_id in self._by_event

    def restored(self, item_id: str) -> bool:
        """The server has an item; True if it is one of the replay's."""
        degraded = self._waiting.pop(item_id, None)
        if degraded is None:
            return False
        self.restored_count += 1
        self.degraded_count += degraded
        return True

    def refused(self, event_id: object) -> bool:
        """The server refused an event; True if it is one of the replay's."""
        item_id = self._by_event.get(event_id) if isinstance(event_id, str) else None
        if item_id is None:
            return False
        if self._waiting.pop(item_id, None) is not None:
            self.lost.append(item_id)
        return True

    @property
    def complete(self) -> bool:
        """Whether every item is restored or lost."""
        return not self._waiting


def plan_replay(mirror: Mirror) -> Replay:
    """Plan to tell the whole conversation, each item behind the one before it."""
    replay = Replay()
    previous = "root"
    for entry in mirror:
        item = None if entry.chat is None else replay_item(entry.chat)
        if item is None:
            replay.lost.append(entry.id)
            continue
        replay.add(item, previous, degraded=entry.has_audio)
        previous = entry.id
    return replay
