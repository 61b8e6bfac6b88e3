"""Conversations as data: items, contexts, the mirror of the server's list, and the ways between them."""

from antiphon.actors.chat.context import ChatContext
from antiphon.actors.chat.convert import (
    from_item,
    has_wire_form,
    image_url,
    replay_item,
    to_item,
    wire_call_id,
)
from antiphon.actors.chat.diff import DiffPlan, Placement, diff
from antiphon.actors.chat.mirror import Entry, Inserted, Mirror
from antiphon.actors.chat.types import (
    AgentConfigUpdate,
    AgentHandoff,
    AudioContent,
    ChatContent,
    ChatItem,
    ChatMessage,
    ChatRole,
    FunctionCall,
    FunctionCallOutput,
    ImageContent,
    copy_item,
    new_item_id,
)

__all__ = [
    "AgentConfigUpdate",
    "AgentHandoff",
    "AudioContent",
    "ChatContent",
    "ChatContext",
    "ChatItem",
    "ChatMessage",
    "ChatRole",
    "DiffPlan",
    "Entry",
    "FunctionCall",
    "FunctionCallOutput",
    "ImageContent",
    "Inserted",
    "Mirror",
    "Placement",
    "copy_item",
    "diff",
    "from_item",
    "has_wire_form",
    "image_url",
    "new_item_id",
    "replay_item",
    "to_item",
    "wire_call_id",
]
