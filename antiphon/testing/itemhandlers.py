"""The conversation's items: what a client creates, retrieves, deletes and truncates."""

import binascii
from typing import Any, Final

import msgspec
import pybase64

from antiphon import protocol as p
from antiphon.testing.apierror import ApiError, invalid_value
from antiphon.testing.brains.base import Sound
from antiphon.testing.effects import Effects, Hear
from antiphon.testing.ids import new_id
from antiphon.testing.itemstore import ItemStore, StoredItem
from antiphon.testing.sessionconfig import Json
from antiphon.testing.wirecodec import codec_of

_PARTS: Final = {
    "user": ("input_text", "input_audio", "input_image"),
    "system": ("input_text",),
    "assistant": ("output_text", "output_audio"),
}
_BETA_PARTS: Final = {"text": "output_text", "audio": "output_audio"}
_MAX_ID: Final = 32
_TYPES: Final = ("message", "function_call", "function_call_output", "mcp_approval_response")


def decode_audio(text: str, param: str) -> bytes:
    """Decode base64 audio.

    Raises:
        ApiError: It is no base64.
    """
    try:
        return pybase64.b64decode(text, validate=True)
    except binascii.Error:
        message = f"Invalid '{param}'. Expected base64-encoded audio bytes (mono PCM16 or G.711)."
        raise ApiError(message, "invalid_value", param) from None


class ItemHandlers:
    """Carries out the item events of a client."""

    def __init__(self, items: ItemStore) -> None:
        self._items = items

    def create(self, event: p.ConversationItemCreate, session: Json) -> Effects:
        """Add an item; user audio in it is listened to."""
        stored = self.stored(event.item, session, "item")
        item = stored.item
        if isinstance(item, p.FunctionCallOutputItem) and not self._items.has_call(item.call_id):
            message = f"Tool call ID '{item.call_id}' not found in conversation."
            raise ApiError(message, "invalid_tool_call_id", "item.call_id")
        previous = self._items.insert(stored, p.given(event.previous_item_id, "") or None)
        effects: Effects = [
            p.ConversationItemAdded(previous_item_id=previous, item=item, event_id=new_id("event")),
            p.ConversationItemDone(previous_item_id=previous, item=item, event_id=new_id("event")),
        ]
        if stored.sound is not None:
            effects.append(Hear(item.id, stored.sound))
        return effects

    def add_heard(self, item_id: str, sound: Sound) -> Effects:
        """Add a user message made of what was in the audio buffer."""
        part = p.ContentPart(type="input_audio", transcript=None)
        item = p.MessageItem(
            id=item_id, object="realtime.item", status="completed", role="user", content=[part]
        )
        previous = self._items.insert(StoredItem(item, sound=sound))
        return [
            p.InputAudioBufferCommitted(previous_item_id=previous, item_id=item_id, event_id=new_id("event")),
            p.ConversationItemAdded(previous_item_id=previous, item=item, event_id=new_id("event")),
            p.ConversationItemDone(previous_item_id=previous, item=item, event_id=new_id("event")),
            Hear(item_id, sound),
        ]

    def retrieve(self, event: p.ConversationItemRetrieve, session: Json) -> Effects:
        """Show an item, its audio included."""
        stored = self._items.find(event.item_id, "retrieve", "retrieving")
        item = stored.item
        if isinstance(item, p.MessageItem):
            codec = codec_of(session["audio"]["input"]["format"]["type"])
            audio = stored.audio if stored.sound is None else codec.encode(stored.sound.samples)
            encoded = pybase64.b64encode(audio).decode()
            content = [
                msgspec.structs.replace(part, audio=encoded) if part.type.endswith("_audio") else part
                for part in item.content
            ]
            item = msgspec.structs.replace(item, content=content)
        return [p.ConversationItemRetrieved(item=item, event_id=new_id("event"))]

    def delete(self, event: p.ConversationItemDelete) -> Effects:
        """Remove an item."""
        self._items.remove(event.item_id)
        return [p.ConversationItemDeleted(item_id=event.item_id, event_id=new_id("event"))]

    def truncate(self, event: p.ConversationItemTruncate) -> Effects:
        """Cut an assistant's audio."""
        stored = self._items.find(event.item_id, "truncate", "truncating")
        stored.cut(event.content_index, event.audio_end_ms)
        return [
            p.ConversationItemTruncated(
                item_id=event.item_id,
                content_index=event.content_index,
                audio_end_ms=event.audio_end_ms,
                event_id=new_id("event"),
            )
        ]

    def stored(self, item: p.Item, session: Json, path: str) -> StoredItem:
        """Check an item that a client sent, and complete it.

        Raises:
            ApiError: It is of a kind that a client can't send.
        """
        _check_length(item.id, f"{path}.id")
        if isinstance(item, p.MessageItem):
            return self._message(item, session, path)
        if isinstance(item, p.FunctionCallItem | p.FunctionCallOutputItem):
            _check_length(item.call_id, f"{path}.call_id")
        if isinstance(item, p.FunctionCallItem):
            call_id = item.call_id or new_id("call")
            return StoredItem(msgspec.structs.replace(item, call_id=call_id, **_completed(item.id)))
        if isinstance(item, p.FunctionCallOutputItem):
            return StoredItem(msgspec.structs.replace(item, **_completed(item.id)))
        if isinstance(item, p.McpApprovalResponseItem):
            return StoredItem(item)
        kind = item.type if isinstance(item, p.UnknownItem) else p.event_type(item)
        raise invalid_value(kind, _TYPES, f"{path}.type")

    def _message(self, item: p.MessageItem, session: Json, path: str) -> StoredItem:
        allowed = _PARTS.get(item.role)
        if allowed is None:
            raise invalid_value(item.role, tuple(_PARTS), f"{path}.role")
        sound: Sound | None = None
        content: list[p.ContentPart] = []
        for index, part in enumerate(item.content):
            where = f"{path}.content[{index}]"
            kind = _BETA_PARTS.get(part.type, part.type) if item.role == "assistant" else part.type
            if kind not in allowed:
                raise invalid_value(part.type, allowed, f"{where}.type")
            if kind == "input_audio":
                codec = codec_of(session["audio"]["input"]["format"]["type"])
                data = decode_audio(p.given(part.audio, ""), f"{where}.audio")
                sound = Sound(codec.decode(data[: len(data) // 2 * 2]), codec.rate)
            content.append(msgspec.structs.replace(part, type=kind, audio=msgspec.UNSET))
        complete = msgspec.structs.replace(item, content=content, **_completed(item.id))
        return StoredItem(complete, sound=sound)


def _check_length(text: str, path: str) -> None:
    if len(text) > _MAX_ID:
        message = (
            f"Invalid '{path}': string too long. Expected a string with maximum length {_MAX_ID}, "
            f"but got a string with length {len(text)} instead."
        )
        raise ApiError(message, "string_above_max_length", path)


def _completed(item_id: str) -> dict[str, Any]:
    return {"id": item_id or new_id("item"), "object": "realtime.item", "status": "completed"}
