"""What a brain is: it hears, and it decides what to say or which tool to call."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import numpy as np

from antiphon.actors.audio import Int16Array
from antiphon.protocol import (
    FunctionToolDef,
    Item,
    McpApprovalRequestItem,
    McpApprovalResponseItem,
    McpListToolsItem,
)

SILENCE: Int16Array = np.zeros(0, np.int16)


@dataclass(frozen=True, slots=True)
class Sound:
    """Mono audio.

    Attributes:
        samples: 1-D int16.
        rate: Samples per second.
    """

    samples: Int16Array
    rate: int

    @property
    def ms(self) -> float:
        """Its length in milliseconds."""
        return len(self.samples) * 1000 / self.rate


@dataclass(frozen=True, slots=True)
class Turn:
    """One item of the context that a response is made from.

    Attributes:
        item: The item, as the client sees it.
        text: What it says, as far as the server knows: text parts, transcripts, what was heard.
        sound: The user's audio, if it has any.
    """

    item: Item
    text: str = ""
    sound: Sound | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What a response is asked for.

    Attributes:
        turns: The context, oldest first.
        instructions: The system prompt.
        tools: The functions that may be called, those of MCP servers among them.
        tool_choice: "auto", "none", "required", or a function's name after "function:".
        audio: Whether it will be spoken; else it is text.
        rate: The wire's output rate, Hz.
        speed: 0.25 to 1.5, 1.0 is normal.
    """

    turns: Sequence[Turn]
    instructions: str = ""
    tools: Sequence[FunctionToolDef] = field(default_factory=tuple)
    tool_choice: str = "auto"
    audio: bool = True
    rate: int = 24000
    speed: float = 1.0


def last_said(request: Request) -> Turn | None:
    """The last turn that has something to tell: lists of tools, and a call's approval behind it, have not."""
    for turn in reversed(request.turns):
        granted = isinstance(turn.item, McpApprovalResponseItem) and turn.item.approve
        if not granted and not isinstance(turn.item, McpApprovalRequestItem | McpListToolsItem):
            return turn
    return None


@dataclass(frozen=True, slots=True)
class Say:
    """Say something. `sound` may be left out in a text response; consecutive ones make up one message."""

    text: str
    sound: Sound | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """Call a tool. `arguments` is JSON text."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Fail:
    """End the response as failed."""

    message: str
    code: str = "server_error"
    kind: str = "server_error"


Output: TypeAlias = Say | Call | Fail


class Brain(Protocol):
    """Hears and answers. One brain serves all connections of a server: its methods run on several threads at once."""

    def warm(self) -> None:
        """Load what is slow to load. Called when the server starts."""

    def hear(self, sound: Sound) -> str:
        """Return the transcript of what the user said; "" if nothing was."""

    def respond(self, request: Request) -> Iterator[Output]:
        """Yield what to do, piece by piece; iteration stops early if the response is cancelled."""
