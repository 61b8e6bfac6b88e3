"""What the conversation's core asks the server to do."""

from dataclasses import dataclass
from typing import TypeAlias

from antiphon.protocol import ServerEvent
from antiphon.testing.brains.base import Sound
from antiphon.testing.generation import Generation
from antiphon.testing.mcphost import RunMcp


@dataclass(frozen=True, slots=True)
class Hear:
    """Find out what was said in an item's audio, then call `Conversation.heard`."""

    item_id: str
    sound: Sound


@dataclass(frozen=True, slots=True)
class Respond:
    """Have the brain make this response."""

    generation: Generation


@dataclass(frozen=True, slots=True)
class Halt:
    """The response is over; the brain may stop."""

    generation: Generation


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection."""

    code: int
    reason: str


Effect: TypeAlias = ServerEvent | dict[str, object] | Hear | Respond | Halt | Close | RunMcp
"""An event to send (a struct, or a dict in GA spelling), or something to do."""

Effects: TypeAlias = list[Effect]
