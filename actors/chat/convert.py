"""Chat items as the wire has them, and back."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator

import pybase64
from msgspec import UNSET

from antiphon.actors.audio import VideoFrame, WireAudio, codec_for
from antiphon.actors.chat.types import (
    AudioContent,
    ChatContent,
    ChatItem,
    ChatMessage,
    ChatRole,
    FunctionCall,
    FunctionCallOutput,
    ImageContent,
)
from antiphon.protocol import ContentPart, FunctionCallItem, FunctionCallOutputItem, Item, MessageItem, given

__all__ = ["from_item", "has_wire_form", "image_url", "replay_item", "to_item", "wire_call_id"]

_MAX_CALL_ID = 32
_ROLES: dict[str, ChatRole] = {
    "user": "user",
    "assistant": "assistant",
    "system": "system",
    "developer": "system",
}


def to_item(item: ChatItem) -> Item:
    """Returns the item as it goes out.

    A user's message may hold text, pictures and audio. Other messages are text: of their audio the transcript
    goes out, and pictures don't.

    Raises:
        TypeError: Handoffs and config updates have no place on the wire.
        ImportError: A raw picture needs Pillow, which isn't installed.
    """
    match item:
        case ChatMessage():
            parts = _user_parts(item) if item.role == "user" else _text_parts(item)
            return MessageItem(id=item.id, role=_ROLES[item.role], content=list(parts))
        case FunctionCall():
            return FunctionCallItem(
                id=item.id, call_id=wire_call_id(item.call_id), name=item.name, arguments=item.arguments
            )
        case FunctionCallOutput():
            return FunctionCallOutputItem(id=item.id, call_id=wire_call_id(item.call_id), output=item.output)
        case _:
            raise TypeError(f"a {type(item).__name__} has no form on the wire")


def from_item(item: Item) -> ChatItem | None:
    """Returns the item as the app sees it, or None if it has no such form (MCP, unknown types).

    Of audio the app sees the words, where they are known; so a message's content may be empty.
    """
    match item:
        case MessageItem():
            content = [part for part in map(_from_part, item.content) if part]
            return ChatMessage(_ROLES.get(item.role, "system"), content, id=item.id)
        case FunctionCallItem():
            return FunctionCall(item.call_id, item.name, item.arguments, id=item.id)
        case FunctionCallOutputItem():
            return FunctionCallOutput(item.call_id, item.output, id=item.id)
        case _:
            return None


def replay_item(item: ChatItem) -> Item | None:
    """Returns what tells a new connection of an item, or None if there is nothing to tell.

    The app's side has only the words of what was spoken, so that audio comes back as text, if at all.
    """
    return to_item(item) if has_wire_form(item) else None


def has_wire_form(item: ChatItem) -> bool:
    """Whether there is anything of the item that `to_item` could put on the wire."""
    match item:
        case ChatMessage(role="user"):
            return not item.is_empty
        case ChatMessage():
            return bool(item.text_content)
        case _:
            return isinstance(item, FunctionCall | FunctionCallOutput)


def wire_call_id(call_id: str) -> str:
    """Returns the call id in a length that the API takes: the same for the call and its output."""
    if len(call_id) <= _MAX_CALL_ID:
        return call_id
    return hashlib.sha256(call_id.encode()).hexdigest()[:_MAX_CALL_ID]


def image_url(content: ImageContent) -> str:
    """Returns the picture as a URL; an encoded frame keeps its bytes, a raw one becomes a JPEG.

    Raises:
        ImportError: A raw picture needs Pillow, which isn't installed.
    """
    image = content.image
    if isinstance(image, str):
        return image
    encoding = "jpeg" if image.encoding == "rgb" else image.encoding
    return f"data:image/{encoding};base64,{pybase64.b64encode_as_string(_encoded(image))}"


def _encoded(frame: VideoFrame) -> bytes:
    if isinstance(frame.data, bytes):
        return frame.data
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            "to send raw pictures, Pillow is needed: pip install 'antiphon[video]' (or hand in JPEG or PNG)"
        ) from error
    file = io.BytesIO()
    Image.fromarray(frame.data).save(file, "JPEG")
    return file.getvalue()


def _user_parts(message: ChatMessage) -> Iterator[ContentPart]:
    for part in message.content:
        match part:
            case str() if part:
                yield ContentPart(type="input_text", text=part)
            case ImageContent():
                detail = UNSET if part.detail is None else part.detail
                yield ContentPart(type="input_image", image_url=image_url(part), detail=detail)
            case AudioContent() if part.frames:
                transcript = UNSET if part.transcript is None else part.transcript
                yield ContentPart(type="input_audio", audio=_wire_audio(part), transcript=transcript)
            case AudioContent(transcript=str(words)) if words:
                yield ContentPart(type="input_text", text=words)


def _text_parts(message: ChatMessage) -> Iterator[ContentPart]:
    kind = "output_text" if message.role == "assistant" else "input_text"
    for part in message.content:
        text = part.transcript if isinstance(part, AudioContent) else part
        if isinstance(text, str) and text:
            yield ContentPart(type=kind, text=text)


def _wire_audio(content: AudioContent) -> str:
    codec = codec_for("pcm16")
    audio = WireAudio(codec.rate)
    pcm = codec.encode(audio.push_many(content.frames)) + codec.encode(audio.flush())
    return pybase64.b64encode_as_string(pcm)


def _from_part(part: ContentPart) -> ChatContent | None:
    if part.type == "input_image":
        url = given(part.image_url, "")
        return ImageContent(url, given(part.detail, "") or None) if url else None
    return given(part.text, "") or given(part.transcript, "") or None
