"""What a conversation is made of: messages, calls, their outputs, and notes that stay on this side.

All of it is plain data, equal by value. Messages can be edited in place; the parts inside a message can't,
which is what makes copying a long conversation cheap.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, TypeAlias, TypeVar, get_args

from antiphon.actors.audio import AudioFrame, VideoFrame

__all__ = [
    "AgentConfigUpdate",
    "AgentHandoff",
    "AudioContent",
    "ChatContent",
    "ChatItem",
    "ChatMessage",
    "ChatRole",
    "FunctionCall",
    "FunctionCallOutput",
    "ImageContent",
    "copy_item",
    "new_item_id",
]

ChatRole: TypeAlias = Literal["system", "developer", "user", "assistant"]


def new_item_id() -> str:
    """Returns a fresh id for an item made here: `item_` and hex, within the API's 32 characters."""
    return f"item_{os.urandom(12).hex()}"


@dataclass(frozen=True, slots=True, eq=False)
class ImageContent:
    """A picture inside a message.

    Args:
        image: A data URL, or a frame (encoded when it goes out; a JPEG or PNG frame passes through
            unchanged).
        detail: How closely the model looks at it: "auto", "low" or "high".
    """

    image: str | VideoFrame
    detail: str | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ImageContent):
            return NotImplemented
        return self.detail == other.detail and _picture_key(self.image) == _picture_key(other.image)

    def __repr__(self) -> str:
        image = f"<{len(self.image)} characters>" if isinstance(self.image, str) else repr(self.image)
        return f"ImageContent({image}, detail={self.detail!r})"

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, slots=True, eq=False)
class AudioContent:
    """Speech inside a message.

    Args:
        frames: The audio, in order; may be empty where only the words are known.
        transcript: What was said, or None where that isn't known.
    """

    frames: Sequence[AudioFrame] = ()
    transcript: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "frames", tuple(self.frames))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AudioContent):
            return NotImplemented
        return self.transcript == other.transcript and _audio_key(self.frames) == _audio_key(other.frames)

    __hash__ = None  # type: ignore[assignment]


def _picture_key(image: str | VideoFrame) -> object:
    if isinstance(image, str):
        return image
    if isinstance(image.data, bytes):
        return image.data
    return image.data.shape, image.data.tobytes()


def _audio_key(frames: Iterable[AudioFrame]) -> object:
    return [(frame.sample_rate, frame.num_channels, frame.to_bytes()) for frame in frames]


_ROLES: tuple[ChatRole, ...] = get_args(ChatRole)

ChatContent: TypeAlias = str | ImageContent | AudioContent


@dataclass(slots=True, init=False)
class ChatMessage:
    """Something that was said, shown or instructed.

    Args:
        role: Who speaks. `developer` goes out as `system`.
        content: The parts, in order; a bare string is one part.
        id: The item's id; made up if not given.
        interrupted: Whether the listener heard only the part that is left here.
        transcript_confidence: How sure the transcriber was, from 0 to 1; None where nothing was transcribed.
    """

    role: ChatRole
    content: list[ChatContent]
    id: str
    interrupted: bool
    transcript_confidence: float | None
    type: ClassVar[Literal["message"]] = "message"

    def __init__(
        self,
        role: ChatRole,
        content: str | ChatContent | Iterable[ChatContent],
        id: str | None = None,
        interrupted: bool = False,
        transcript_confidence: float | None = None,
    ) -> None:
        if role not in _ROLES:
            raise ValueError(f"role must be one of {', '.join(_ROLES)}, not {role!r}")
        self.role = role
        self.content = [content] if isinstance(content, str | ImageContent | AudioContent) else list(content)
        self.id = new_item_id() if id is None else id
        self.interrupted = interrupted
        self.transcript_confidence = transcript_confidence

    @property
    def text_content(self) -> str:
        """All that is known of the message in words, transcripts included, a line for each part."""
        texts = (part.transcript if isinstance(part, AudioContent) else part for part in self.content)
        return "\n".join(text for text in texts if isinstance(text, str) and text)

    @property
    def images(self) -> list[ImageContent]:
        """The pictures in the message."""
        return [part for part in self.content if isinstance(part, ImageContent)]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it: no words, no picture, no audio."""
        return not any(
            part.frames or part.transcript if isinstance(part, AudioContent) else part
            for part in self.content
        )


@dataclass(slots=True)
class FunctionCall:
    """The model asking for a function to be run; `arguments` is JSON as the model wrote it."""

    call_id: str
    name: str
    arguments: str
    id: str = field(default_factory=new_item_id)
    type: ClassVar[Literal["function_call"]] = "function_call"


@dataclass(slots=True)
class FunctionCallOutput:
    """What a function call came to, or, with `is_error`, what went wrong."""

    call_id: str
    output: str
    is_error: bool = False
    id: str = field(default_factory=new_item_id)
    type: ClassVar[Literal["function_call_output"]] = "function_call_output"


@dataclass(slots=True)
class AgentHandoff:
    """A note that another agent took over. It never reaches the wire."""

    new_agent_id: str
    old_agent_id: str | None = None
    id: str = field(default_factory=new_item_id)
    type: ClassVar[Literal["agent_handoff"]] = "agent_handoff"


@dataclass(slots=True)
class AgentConfigUpdate:
    """A note that instructions or tools changed (names of tools). It never reaches the wire."""

    instructions: str | None = None
    tools_added: list[str] = field(default_factory=list)
    tools_removed: list[str] = field(default_factory=list)
    id: str = field(default_factory=new_item_id)
    type: ClassVar[Literal["agent_config_update"]] = "agent_config_update"


ChatItem: TypeAlias = ChatMessage | FunctionCall | FunctionCallOutput | AgentHandoff | AgentConfigUpdate

ItemT = TypeVar("ItemT", bound=ChatItem)


def copy_item(item: ItemT) -> ItemT:
    """Returns an equal item that shares nothing editable with this one."""
    if isinstance(item, ChatMessage):
        # Whole conversations are copied on each call; `replace` takes four times as long.
        return type(item)(item.role, item.content, item.id, item.interrupted, item.transcript_confidence)
    if isinstance(item, AgentConfigUpdate):
        return replace(item, tools_added=list(item.tools_added), tools_removed=list(item.tools_removed))
    return replace(item)
