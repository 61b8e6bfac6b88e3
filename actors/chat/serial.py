"""Chat items as JSON-ready dicts and back; audio and pictures travel as base64."""

from __future__ import annotations

import binascii
from typing import Any

import numpy as np
import pybase64

from antiphon.actors.audio import AudioFrame, VideoFrame
from antiphon.actors.chat.types import (
    AgentConfigUpdate,
    AgentHandoff,
    AudioContent,
    ChatContent,
    ChatItem,
    ChatMessage,
    FunctionCall,
    FunctionCallOutput,
    ImageContent,
)

__all__ = ["item_from_dict", "item_to_dict"]

_CLASSES = {
    cls.type: cls for cls in (ChatMessage, FunctionCall, FunctionCallOutput, AgentHandoff, AgentConfigUpdate)
}


def item_to_dict(item: ChatItem) -> dict[str, Any]:
    """Returns the item's fields, and which kind of item it is under `type`."""
    fields = {name: getattr(item, name) for name in item.__dataclass_fields__ if name != "type"}
    if isinstance(item, ChatMessage):
        fields["content"] = [_part_to_dict(part) for part in item.content]
    return {"type": item.type, **fields}


def item_from_dict(data: Any, where: str) -> ChatItem:
    """Returns the item that `item_to_dict` wrote.

    Raises:
        ValueError: The data has another shape; the message begins with `where`.
    """
    try:
        fields = dict(data)
        cls = _CLASSES[fields.pop("type")]
        if cls is ChatMessage:
            fields["content"] = [_part_from_dict(part) for part in fields["content"]]
        return cls(**fields)
    except KeyError as error:
        raise ValueError(f"{where}: unknown or missing {error}") from error
    except (TypeError, ValueError, binascii.Error) as error:
        raise ValueError(f"{where}: {error}") from error


def _part_to_dict(part: ChatContent) -> Any:
    match part:
        case str():
            return part
        case ImageContent():
            image = part.image if isinstance(part.image, str) else _picture_to_dict(part.image)
            return {"type": "image", "image": image, "detail": part.detail}
        case AudioContent():
            frames = [_audio_to_dict(frame) for frame in part.frames]
            return {"type": "audio", "frames": frames, "transcript": part.transcript}


def _part_from_dict(data: Any) -> ChatContent:
    if isinstance(data, str):
        return data
    if data["type"] == "image":
        image = data["image"]
        return ImageContent(image if isinstance(image, str) else _picture_from_dict(image), data["detail"])
    if data["type"] == "audio":
        return AudioContent([_audio_from_dict(frame) for frame in data["frames"]], data["transcript"])
    raise ValueError(f"a content part of type {data['type']!r}")


def _audio_to_dict(frame: AudioFrame) -> dict[str, Any]:
    data = pybase64.b64encode_as_string(frame.to_bytes())
    return {"data": data, "sample_rate": frame.sample_rate, "num_channels": frame.num_channels}


def _audio_from_dict(data: Any) -> AudioFrame:
    return AudioFrame(
        pybase64.b64decode(data["data"], validate=True), data["sample_rate"], data["num_channels"]
    )


def _picture_to_dict(frame: VideoFrame) -> dict[str, Any]:
    if isinstance(frame.data, bytes):
        return {"encoding": frame.encoding, "data": pybase64.b64encode_as_string(frame.data)}
    pixels = pybase64.b64encode_as_string(frame.data.tobytes())
    return {"encoding": frame.encoding, "data": pixels, "shape": list(frame.data.shape)}


def _picture_from_dict(data: Any) -> VideoFrame:
    raw = pybase64.b64decode(data["data"], validate=True)
    if data["encoding"] == "rgb":
        return VideoFrame(np.frombuffer(raw, np.uint8).reshape(data["shape"]))
    return VideoFrame(raw, data["encoding"])
