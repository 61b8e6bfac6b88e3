"""The parrot: says back what it heard, sample for sample. For tests of the audio path."""

from collections.abc import Iterator

from antiphon.protocol import FunctionCallOutputItem, McpApprovalResponseItem, McpCallItem, MessageItem
from antiphon.testing.brains.base import SILENCE, Call, Output, Request, Say, Sound

HEARD = "something the parrot heard"
"""The transcript of whatever it hears, and of the audio that it says back."""


class ParrotBrain:
    """Repeats the last thing that the user said or wrote; calls a tool when it has to."""

    def warm(self) -> None:
        """Nothing to load."""

    def hear(self, sound: Sound) -> str:
        """The same transcript for everything."""
        return HEARD

    def respond(self, request: Request) -> Iterator[Output]:
        """Say it back: the user's audio, the user's text, or the output of a tool."""
        if request.tool_choice == "required" and request.tools:
            yield Call(request.tools[0].name, "{}")
            return
        if request.tool_choice.startswith("function:"):
            yield Call(request.tool_choice.removeprefix("function:"), "{}")
            return
        for turn in reversed(request.turns):
            told = turn.text and isinstance(turn.item, McpCallItem | McpApprovalResponseItem)
            if (
                told
                or isinstance(turn.item, FunctionCallOutputItem)
                or (isinstance(turn.item, MessageItem) and turn.item.role == "user")
            ):
                yield Say(turn.text or HEARD, turn.sound or Sound(SILENCE, request.rate))
                return
        yield Say("Hello.", Sound(SILENCE, request.rate))
