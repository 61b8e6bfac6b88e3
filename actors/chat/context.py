"""`ChatContext`: a conversation that an app holds, edits and hands back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from antiphon.actors.chat.serial import item_from_dict, item_to_dict
from antiphon.actors.chat.types import (
    AgentConfigUpdate,
    AgentHandoff,
    ChatContent,
    ChatItem,
    ChatMessage,
    ChatRole,
    FunctionCall,
    FunctionCallOutput,
    copy_item,
)

__all__ = ["ChatContext"]


class ChatContext:
    """An editable list of chat items, tied to nothing: changing it changes no session.

    Args:
        items: The items to start with, kept as they are (not copied).

    Attributes:
        items: The conversation, oldest first. Edit it freely.
    """

    INSTRUCTIONS_ID: ClassVar[str] = "item_instructions"
    """The id of the message that holds an agent's instructions; it is configuration, not conversation."""

    __slots__ = ("items",)

    def __init__(self, items: Iterable[ChatItem] = ()) -> None:
        self.items: list[ChatItem] = list(items)

    @classmethod
    def empty(cls) -> ChatContext:
        """Returns a context without items."""
        return cls()

    def add_message(
        self,
        *,
        role: ChatRole,
        content: str | ChatContent | Iterable[ChatContent],
        id: str | None = None,
        interrupted: bool = False,
    ) -> ChatMessage:
        """Appends a message and returns it."""
        message = ChatMessage(role, content, id=id, interrupted=interrupted)
        self.items.append(message)
        return message

    def insert(self, item: ChatItem, index: int | None = None) -> None:
        """Puts an item at `index`, or at the end."""
        self.items.insert(len(self.items) if index is None else index, item)

    def index_by_id(self, item_id: str) -> int | None:
        """Returns where the first item with this id stands, or None."""
        return next((index for index, item in enumerate(self.items) if item.id == item_id), None)

    def get_by_id(self, item_id: str) -> ChatItem | None:
        """Returns the first item with this id, or None."""
        return next((item for item in self.items if item.id == item_id), None)

    def copy(
        self,
        *,
        exclude_function_call: bool = False,
        exclude_instructions: bool = False,
        exclude_empty_message: bool = False,
        exclude_handoff: bool = False,
        exclude_config_update: bool = False,
    ) -> ChatContext:
        """Returns an independent copy, down to the items, without the kinds that are excluded.

        Args:
            exclude_function_call: Leave out calls and their outputs.
            exclude_instructions: Leave out the message with `INSTRUCTIONS_ID`; other system messages stay.
            exclude_empty_message: Leave out messages with nothing in them.
            exclude_handoff: Leave out `AgentHandoff` items.
            exclude_config_update: Leave out `AgentConfigUpdate` items.
        """

        def excluded(item: ChatItem) -> bool:
            match item:
                case ChatMessage():
                    if exclude_instructions and item.id == self.INSTRUCTIONS_ID:
                        return True
                    return exclude_empty_message and item.is_empty
                case FunctionCall() | FunctionCallOutput():
                    return exclude_function_call
                case AgentHandoff():
                    return exclude_handoff
                case AgentConfigUpdate():
                    return exclude_config_update

        return ChatContext(copy_item(item) for item in self.items if not excluded(item))

    def truncate(self, max_items: int) -> ChatContext:
        """Drops the oldest items, in place, until at most `max_items` are left; returns the context itself.

        The instructions stay (and count). So that the rest never starts with half an exchange, outputs whose
        call was dropped are dropped as well.
        """
        if max_items < 0:
            raise ValueError(f"max_items must not be negative, got {max_items}")
        if len(self.items) <= max_items:
            return self
        instructions = [item for item in self.items if item.id == self.INSTRUCTIONS_ID]
        others = [item for item in self.items if item.id != self.INSTRUCTIONS_ID]
        tail = others[max(len(others) - max(max_items - len(instructions), 0), 0) :]
        calls = {item.call_id for item in tail if isinstance(item, FunctionCall)}
        kept = [item for item in tail if not isinstance(item, FunctionCallOutput) or item.call_id in calls]
        self.items[:] = instructions + kept
        return self

    def to_dict(self) -> dict[str, Any]:
        """Returns the conversation as JSON-ready data; audio and pictures become base64."""
        return {"items": [item_to_dict(item) for item in self.items]}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ChatContext:
        """Returns the conversation that `to_dict` wrote.

        Raises:
            ValueError: The data doesn't have that shape; the message says where.
        """
        items = data.get("items")
        if not isinstance(items, list):
            raise ValueError("a chat context needs a list under 'items'")
        return cls(item_from_dict(item, f"items[{index}]") for index, item in enumerate(items))

    def __eq__(self, other: object) -> bool:
        return self.items == other.items if isinstance(other, ChatContext) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"ChatContext({self.items!r})"
