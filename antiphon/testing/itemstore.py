"""The items of a conversation, in order, with what only the server knows of them."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from antiphon.protocol import (
    ContentPart,
    FunctionCallItem,
    FunctionCallOutputItem,
    Item,
    McpApprovalResponseItem,
    McpCallItem,
    MessageItem,
    given,
)
from antiphon.testing.apierror import ApiError, missing_item
from antiphon.testing.brains.base import Sound, Turn

ROOT = "root"


@dataclass(slots=True)
class StoredItem:
    """An item and what goes with it.

    Attributes:
        item: As the client sees it; without audio.
        sound: The user's audio, as it was committed or sent.
        audio: The audio of an assistant's message, in wire bytes.
        wire_rate: Bytes per second of `audio`.
        heard: What was said in `sound`; `None` until it is known.
    """

    item: Item
    sound: Sound | None = None
    audio: bytes = b""
    wire_rate: int = 48000
    heard: str | None = None

    @property
    def audio_ms(self) -> int:
        """How much audio an assistant's message has, ms."""
        return len(self.audio) * 1000 // self.wire_rate

    def text(self) -> str:
        """All that it says."""
        if isinstance(self.item, FunctionCallOutputItem):
            return self.item.output
        if isinstance(self.item, McpCallItem):
            return self.item.error.message if self.item.error else given(self.item.output, "")
        if isinstance(self.item, McpApprovalResponseItem):
            return "" if self.item.approve else given(self.item.reason, "The call was not approved.")
        if not isinstance(self.item, MessageItem):
            return ""
        said = [str(part.text or part.transcript or "") for part in self.item.content]
        if self.heard is not None:
            said.append(self.heard)
        return " ".join(filter(None, said))

    def turn(self) -> Turn:
        """What a brain is given of it."""
        return Turn(self.item, self.text(), self.sound)

    def cut(self, content_index: int, audio_end_ms: int) -> None:
        """Drop an assistant's audio after `audio_end_ms`, and its transcript, which says more than was heard.

        Raises:
            ApiError: It has no such audio.
        """
        item = self.item
        if not isinstance(item, MessageItem) or item.role != "assistant" or not self.audio:
            raise ApiError("Only model output audio messages can be truncated", "invalid_value", "item_id")
        if not 0 <= content_index < len(item.content) or item.content[content_index].type != "output_audio":
            raise ApiError(f"No audio content at index {content_index}.", "invalid_value", "content_index")
        if audio_end_ms < 0 or audio_end_ms > self.audio_ms:
            message = f"Audio content of {self.audio_ms}ms is already shorter than {audio_end_ms}ms"
            raise ApiError(message, "invalid_value", "audio_end_ms")
        self.audio = self.audio[: audio_end_ms * self.wire_rate // 1000 // 2 * 2]
        content = list(item.content)
        content[content_index] = ContentPart(type="output_audio")
        self.item = msgspec.structs.replace(item, content=content)


class ItemStore:
    """An ordered collection of items by id."""

    def __init__(self) -> None:
        self._items: dict[str, StoredItem] = {}
        self._order: list[str] = []

    def all(self) -> list[StoredItem]:
        """Every item, oldest first."""
        return [self._items[item_id] for item_id in self._order]

    def last_id(self) -> str | None:
        """The id of the newest item."""
        return self._order[-1] if self._order else None

    def get(self, item_id: str) -> StoredItem | None:
        """The item of that id."""
        return self._items.get(item_id)

    def find(self, item_id: str, action: str, verb: str) -> StoredItem:
        """The item of that id; `action` and `verb` word the error.

        Raises:
            ApiError: There is none.
        """
        found = self._items.get(item_id)
        if found is None:
            raise missing_item(action, verb, item_id)
        return found

    def insert(self, stored: StoredItem, previous: str | None = None) -> str | None:
        """Add an item after `previous` ("root": at the head, `None`: at the tail).

        Returns:
            The id of the item before it, `None` at the head.

        Raises:
            ApiError: The id is taken, or there is no such previous item.
        """
        item_id = stored.item.id
        if item_id in self._items:
            message = f"Error adding item: an item with id '{item_id}' already exists."
            raise ApiError(message, "item_create_duplicate_item_id")
        if previous is None:
            at = len(self._order)
        elif previous == ROOT:
            at = 0
        elif previous in self._items:
            at = self._order.index(previous) + 1
        else:
            message = f"Error adding item: the previous item with id '{previous}' does not exist."
            raise ApiError(message, "item_create_invalid_previous_item_id", "previous_item_id")
        self._order.insert(at, item_id)
        self._items[item_id] = stored
        return self._order[at - 1] if at else None

    def before(self, item_id: str) -> str | None:
        """The id of the item before this one; `None` at the head, and for an item that is gone."""
        at = self._order.index(item_id) if item_id in self._items else 0
        return self._order[at - 1] if at else None

    def remove(self, item_id: str) -> None:
        """Remove an item.

        Raises:
            ApiError: There is none.
        """
        self.find(item_id, "delete", "deleting")
        del self._items[item_id]
        self._order.remove(item_id)

    def has_call(self, call_id: str) -> bool:
        """Whether there is a function call of that call id."""
        return any(
            isinstance(stored.item, FunctionCallItem) and stored.item.call_id == call_id
            for stored in self._items.values()
        )
