"""How a call is shown: a live view on a terminal, plain lines elsewhere, or one JSON object per line."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Final, Protocol, Self

import msgspec
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from antiphon.cli.talk_log import CallLog, Note
from antiphon.devices import Levels

_BAR: Final = 20
# The quietest peak that moves a meter, dB below full scale.
_FLOOR_DB: Final = -50.0
# How fast a meter falls, of its length in one refresh.
_FALL: Final = 0.15
_STYLES: Final = {
    "user": "cyan",
    "model": "green",
    "tool": "yellow",
    "warning": "yellow",
    "error": "bold red",
}
_WHO: Final = {"user": "you"}


class View(Protocol):
    """What shows a call, while its `with` block lasts."""

    def tell(self, note: Note) -> None:
        """Something happened."""

    def refresh(self, log: CallLog, levels: Levels, status: str) -> None:
        """Ten times a second."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def line_of(note: Note) -> str:
    """A note in one line of text."""
    text = note.text
    if note.kind == "latency":
        text = f"{note.ms} ms from the end of speech to the answer's first sound"
    elif note.kind == "interrupted":
        text = f"after {note.ms} ms"
    elif note.kind == "tool":
        text = f"{note.name}({note.arguments or ''}) -> {note.text}"
    elif note.cut:
        text += " [interrupted]"
    return f"{note.at:7.2f} s  {_WHO.get(note.kind, note.kind):<11} {text}"


class LineView:
    """A line for each note, and nothing else: for pipes and files.

    Args:
        render: Makes the line.
    """

    def __init__(self, render: Callable[[Note], str]) -> None:
        self._render = render

    def tell(self, note: Note) -> None:
        """Print it at once."""
        print(self._render(note), flush=True)

    def refresh(self, log: CallLog, levels: Levels, status: str) -> None:
        """Nothing moves in a file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class LiveView:
    """Notes scroll by; below them stay the state, the meters and what is being said.

    What libraries in C write to standard error (PortAudio does, when a device goes) would tear the picture, and is
    thrown away meanwhile; what Python writes there comes as a line.
    """

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        self._meters = [0.0, 0.0]
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._stderr = -1

    def tell(self, note: Note) -> None:
        """Print it above what moves."""
        self._console.print(Text(line_of(note), style=_STYLES.get(note.kind, "dim")))

    def refresh(self, log: CallLog, levels: Levels, status: str) -> None:
        """Draw what moves."""
        for side, level in enumerate((levels.microphone, levels.speaker)):
            self._meters[side] = max(meter(level), self._meters[side] - _FALL)
        self._live.update(self._draw(log, status), refresh=True)

    def _draw(self, log: CallLog, status: str) -> RenderableType:
        minutes, seconds = divmod(int(log.seconds), 60)
        latency = "" if log.latency_ms is None else f" · last answer after {log.latency_ms} ms"
        rows = [Text(f"{log.state} · {self._title} · {minutes}:{seconds:02d}{latency}", style="bold")]
        for name, style, filled, text in (
            ("you", "cyan", self._meters[0], log.user_text),
            ("model", "green", self._meters[1], log.model_text),
        ):
            bars = round(filled * _BAR)
            row = Text(f"{name:<6}{'█' * bars}{'·' * (_BAR - bars)} ", style=style)
            row.append(_end_of(text, self._console.width - len(row)), style="default")
            rows.append(row)
        rows.append(Text(status, style="dim"))
        return Group(*rows)

    def __enter__(self) -> Self:
        self._stderr = os.dup(2)
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()
        os.dup2(self._stderr, 2)
        os.close(self._stderr)


def meter(level: float) -> float:
    """How much of a meter a peak fills, 0 to 1: linear in dB, as the ear hears."""
    if level <= 0:
        return 0.0
    return max(0.0, 1 - 20 * math.log10(level) / _FLOOR_DB)


def _end_of(text: str, width: int) -> str:
    """The last of a text, which is what is being said now, in one line."""
    width, line = max(1, width), " ".join(text.split())
    return line if len(line) <= width else "…" + line[len(line) - width + 1 :]


def make_view(title: str, *, json: bool) -> View:
    """The view for this standard output."""
    if json:
        return LineView(lambda note: msgspec.json.encode(note).decode())
    if sys.stdout.isatty():
        return LiveView(Console(highlight=False), title)
    return LineView(line_of)
