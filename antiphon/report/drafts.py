"""What is known of a thing while a recording is gone through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from antiphon.report.picture import Link, Restored, Speech, Tool, Who, Words


@dataclass
class LinkDraft:
    """A connection."""

    number: int
    start: float
    handshake: float | None
    end: float | None = None
    ended: str = ""
    code: int | None = None
    planned: bool = False
    restored: Restored | None = None

    def finish(self, end: float) -> Link:
        """As it is shown, for a call that ended then."""
        return Link(
            number=self.number,
            start=self.start,
            end=end if self.end is None else self.end,
            handshake=self.handshake,
            ended=self.ended,
            code=self.code,
            planned=self.planned,
            restored=self.restored,
        )


@dataclass
class SpeechDraft:
    """The user's speech."""

    item: str
    start: float
    end: float | None = None

    def finish(self) -> Speech:
        """As it is shown."""
        return Speech(item=self.item, start=self.start, end=self.end)


@dataclass
class ResponseDraft:
    """A response."""

    id: str
    created: float
    connection: int
    done: float | None = None
    status: str = "open"
    reason: str = ""
    first_audio: float | None = None
    usage: dict[str, Any] | None = None


@dataclass
class SpokenDraft:
    """An item of the model's voice. `told_s`: how much of it was heard, by what the player told last."""

    item: str
    response: str = ""
    arrived_s: float = 0.0
    told_s: float = 0.0
    cut_at: float | None = None


@dataclass
class ToolDraft:
    """A tool call."""

    call: str
    name: str
    start: float
    arguments: str
    end: float | None = None
    output: str = ""
    failed: bool = False
    server: str = ""

    def finish(self) -> Tool:
        """As it is shown."""
        return Tool(
            call=self.call,
            name=self.name,
            start=self.start,
            end=self.end,
            arguments=self.arguments,
            output=self.output,
            failed=self.failed,
            server=self.server,
        )


@dataclass
class WordsDraft:
    """What one side said: deltas, and the whole text when it is known."""

    item: str
    who: Who
    t: float
    typed: bool = False
    whole: str = ""
    deltas: str = ""

    def add(self, event: dict[str, Any], key: str) -> None:
        """Take a delta, or the whole text under `key`."""
        if isinstance(event.get("delta"), str):
            self.deltas += event["delta"]
        elif isinstance(event.get(key), str):
            self.whole = event[key]

    def finish(self, start: float, end: float, heard: float | None) -> Words:
        """As it is shown, at the time at which it was said."""
        return Words(
            item=self.item,
            who=self.who,
            t=start,
            end=end,
            text=self.whole or self.deltas,
            heard=heard,
            typed=self.typed,
        )
