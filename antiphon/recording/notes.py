"""From what the engine's threads noted in passing to the lines of a recording. Runs on the writer's thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import pybase64

from antiphon.actors.emitter import CONNECTED, DISCONNECTED, FRAME_RECEIVED, FRAME_SENT
from antiphon.actors.events import GenerationCreatedEvent
from antiphon.recording.files import RecordingFiles
from antiphon.recording.format import (
    AudioRef,
    Connected,
    Cut,
    Disconnected,
    Event,
    Heard,
    Received,
    Sent,
    TrackName,
)
from antiphon.recording.redact import Redactor

HEARD, MARKED, CUT = "heard", "marked", "cut"

# A stretch that was heard becomes a line when it has lasted so long, or when the player paused for so long.
STRETCH_SECONDS = 1.0
PAUSE_SECONDS = 0.25

# Where frames carry audio that goes into a track. A session speaks one dialect of these names.
_AUDIO_FIELDS: dict[str, tuple[str, TrackName]] = {
    "input_audio_buffer.append": ("audio", "in"),
    "response.output_audio.delta": ("delta", "out"),
    "response.audio.delta": ("delta", "out"),
}


def audio_field(event_type: str) -> str | None:
    """The field of an event in which audio of a track stands; None for the other events."""
    row = _AUDIO_FIELDS.get(event_type)
    return None if row is None else row[0]


class Note(NamedTuple):
    """What a tap saw.

    Attributes:
        at: Monotonic seconds.
        wall: Unix seconds.
        what: The name of an event, or one of HEARD, MARKED and CUT.
        payload: The event's, or what the ledger said.
    """

    at: float
    wall: float
    what: str
    payload: Any


class NoteTaker:
    """Turns notes into lines. Not thread-safe.

    Args:
        files: Where the lines go.
        redactor: Takes secrets out of events.
        began_at: The monotonic time at which the recording began.
    """

    def __init__(self, files: RecordingFiles, redactor: Redactor, began_at: float) -> None:
        self._files = files
        self._redactor = redactor
        self._began_at = began_at
        self._stretch: _Stretch | None = None
        self._writers: dict[str, Callable[[Note, float], None]] = {
            FRAME_RECEIVED: self._frame,
            FRAME_SENT: self._frame,
            CONNECTED: self._connected,
            DISCONNECTED: self._disconnected,
            HEARD: self._heard,
            MARKED: self._marked,
            CUT: self._cut,
        }

    def take(self, note: Note) -> None:
        """Write a note's line, or remember it for one."""
        self._writers.get(note.what, self._event)(note, self._since(note.at))

    def _since(self, at: float) -> float:
        return round(at - self._began_at, 6)

    def end_stretch(self, now: float | None = None) -> None:
        """Write what was heard without a pause so far: at all, or (given the time) only if it is old enough."""
        stretch = self._stretch
        if stretch is None or (now is not None and now - stretch.note.at < STRETCH_SECONDS):
            return
        self._stretch = None
        self._files.add_line(
            Heard(
                t=self._since(stretch.note.at),
                wall=stretch.note.wall,
                item_id=stretch.item_id,
                start_ms=stretch.start_ms,
                end_ms=stretch.end_ms,
            )
        )

    # -- one method per kind of note ---------------------------------------------------------------------

    def _frame(self, note: Note, t: float) -> None:
        line = Sent if note.what == FRAME_SENT else Received
        connection, payload = note.payload
        try:
            event = msgspec.json.decode(payload)
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict):
            text = payload.decode("utf-8", "replace")
            self._files.add_line(line(t=t, wall=note.wall, connection=connection, text=text))
            return
        audio = self._take_audio(event)
        if audio is None:
            self._redactor.event(event)
        self._files.add_line(line(t=t, wall=note.wall, connection=connection, event=event, audio=audio))

    def _take_audio(self, event: dict[str, Any]) -> AudioRef | None:
        kind = event.get("type")
        row = _AUDIO_FIELDS.get(kind) if isinstance(kind, str) else None
        if row is None:
            return None
        field, track = row
        try:
            data = pybase64.b64decode(event[field], validate=True)
        except (KeyError, TypeError, ValueError):
            return None
        ref = self._files.add_audio(track, data)
        if ref is not None:
            del event[field]
        return ref

    def _connected(self, note: Note, t: float) -> None:
        connection, seconds = note.payload
        self._files.add_line(Connected(t=t, wall=note.wall, connection=connection, seconds=seconds))

    def _disconnected(self, note: Note, t: float) -> None:
        connection, reason, code, planned = note.payload
        self._files.add_line(
            Disconnected(
                t=t, wall=note.wall, connection=connection, reason=reason, code=code, planned=planned
            )
        )

    def _event(self, note: Note, t: float) -> None:
        payload = note.payload
        self._files.add_line(
            Event(
                t=t,
                wall=note.wall,
                name=note.what,
                type=type(payload).__name__,
                payload=_fields(payload),
            )
        )

    def _heard(self, note: Note, t: float) -> None:
        item_id, start_ms, end_ms = note.payload
        stretch = self._stretch
        if stretch is not None and not stretch.goes_on(note, item_id, start_ms):
            self.end_stretch()
            stretch = None
        if stretch is None:
            self._stretch = _Stretch(note, item_id, start_ms, end_ms)
        else:
            stretch.end_ms = end_ms

    def _marked(self, note: Note, t: float) -> None:
        item_id, start_ms, end_ms = note.payload
        self._files.add_line(
            Heard(t=t, wall=note.wall, item_id=item_id, start_ms=start_ms, end_ms=end_ms, marked=True)
        )

    def _cut(self, note: Note, t: float) -> None:
        self.end_stretch()
        item_id, heard_ms = note.payload
        self._files.add_line(Cut(t=t, wall=note.wall, item_id=item_id, heard_ms=heard_ms))


class _Stretch:
    """What the player has taken of an item without a pause."""

    __slots__ = ("end_ms", "item_id", "note", "start_ms")

    def __init__(self, note: Note, item_id: str, start_ms: float, end_ms: float) -> None:
        self.note = note
        self.item_id = item_id
        self.start_ms = start_ms
        self.end_ms = end_ms

    def goes_on(self, note: Note, item_id: str, start_ms: float) -> bool:
        """Whether this note continues the stretch, and the stretch is not due to be written."""
        due_at = self.note.at + (self.end_ms - self.start_ms) / 1000
        return (
            item_id == self.item_id
            and start_ms == self.end_ms
            and note.at - due_at < PAUSE_SECONDS
            and note.at - self.note.at < STRETCH_SECONDS
        )


def _fields(payload: Any) -> dict[str, Any]:
    """A payload's fields as JSON; of a generation those that are no streams."""
    if isinstance(payload, GenerationCreatedEvent):
        return {"response_id": payload.response_id, "user_initiated": payload.user_initiated}
    fields: dict[str, Any] = msgspec.to_builtins(payload, enc_hook=_describe)
    return fields


def _describe(value: Any) -> Any:
    if isinstance(value, BaseException):
        return {"type": type(value).__name__, "message": str(value)}
    return repr(value)
