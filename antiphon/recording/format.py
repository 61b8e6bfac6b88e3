"""The recording's lines: what a call leaves behind as JSON, one line for each thing that happened.

`docs/recording.md` is the same in prose. A line is a tagged struct: its tag is the JSON key `kind`. Readers ignore
keys and kinds that they don't know, so that later versions may add some.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

FORMAT = "antiphon-recording"
VERSION = 1

TrackName: TypeAlias = Literal["in", "out"]


class Track(msgspec.Struct, frozen=True, kw_only=True):
    """A sidecar file: the audio of one direction as it was on the wire, end to end, nothing between.

    Attributes:
        file: Its name, in the directory of the recording. A mono WAV.
        encoding: "pcm16" (little-endian), "g711_ulaw" or "g711_alaw" (one byte a sample), as the model was given.
        rate: Samples per second.
    """

    file: str
    encoding: str
    rate: int


class AudioRef(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of a track: the audio that a frame carried.

    Attributes:
        track: "in" is the user's voice, "out" the model's.
        start: The first sample, from 0 at the beginning of the track.
        samples: How many.
    """

    track: TrackName
    start: int
    samples: int


class Line(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """What every line has.

    Attributes:
        t: Seconds since the recording began, by the monotonic clock. Lines are in the order in which they were noted;
            `t` falls only between lines of different threads, and then by less than a `heard` line lasts.
        wall: Unix seconds, by the system's clock, which may be set while a call lasts.
    """

    t: float
    wall: float


class Header(Line, frozen=True, kw_only=True, tag="header"):
    """The first line.

    Attributes:
        session: The session's id, as in logs.
        label: The model's label.
        model: The model's name.
        provider: host[:port] of the server.
        tracks: The sidecar files, by track.
        state: The session's state when the recording began.
        antiphon: The version of antiphon that wrote it.
        format: Always "antiphon-recording".
        version: Of the format.
    """

    session: str
    label: str
    model: str
    provider: str
    tracks: dict[TrackName, Track]
    state: str
    antiphon: str
    format: str = FORMAT
    version: int = VERSION


class Frame(Line, frozen=True, kw_only=True, omit_defaults=True):
    """A frame of the wire, in the wire's own spelling.

    Attributes:
        connection: Which of the session's connections, counted from 1 by attempts: failed ones leave gaps.
        event: The frame's JSON, without the audio that `audio` stands for and with secrets replaced.
        audio: Where the audio is that stood in `audio` (input_audio_buffer.append) or `delta` (output audio).
        text: The frame as it was, when it is no JSON object; `event` is empty then.
    """

    connection: int
    event: dict[str, Any] = {}
    audio: AudioRef | None = None
    text: str | None = None

    @property
    def type(self) -> str:
        """The event's type; "" if the frame is no event."""
        kind = self.event.get("type", "")
        return kind if isinstance(kind, str) else ""


class Sent(Frame, frozen=True, kw_only=True, omit_defaults=True, tag="sent"):
    """The socket took this frame."""


class Received(Frame, frozen=True, kw_only=True, omit_defaults=True, tag="received"):
    """The server sent this frame."""


class Connected(Line, frozen=True, kw_only=True, tag="connected"):
    """A connection begins.

    Attributes:
        connection: Its number, as in frames.
        seconds: How long the handshake took.
    """

    connection: int
    seconds: float


class Disconnected(Line, frozen=True, kw_only=True, tag="disconnected"):
    """A connection ends, but not because the session was closed.

    Attributes:
        connection: Its number.
        reason: Why, in words.
        code: Of the server's close frame; None if it sent none.
        planned: Whether the session replaced it by its own decision: it was old, had expired, or `restart` was called.
    """

    connection: int
    reason: str
    code: int | None = None
    planned: bool = False


class Event(Line, frozen=True, kw_only=True, tag="event"):
    """The session told its user something that the wire doesn't show.

    Attributes:
        name: state_changed, session_reconnected, error, actor_restarted, audio_dropped, tool_started, tool_finished,
            metrics_collected, generation_created or mcp_call.
        type: The payload's class, such as "RealtimeModelMetrics".
        payload: Its fields as JSON. An exception is {"type": class, "message": text}. Of generation_created only
            `response_id` and `user_initiated`.
    """

    name: str
    type: str
    payload: dict[str, Any]


class Heard(Line, frozen=True, kw_only=True, omit_defaults=True, tag="heard"):
    """The player took a stretch of an item without a pause; `t` is when it took the first sample.

    Attributes:
        item_id: The item.
        start_ms: Where in the item's audio it begins.
        end_ms: Where it ends.
        marked: True when a remote player said so by `mark_played`: then `t` is when it said so, the stretch's end.
    """

    item_id: str
    start_ms: float
    end_ms: float
    marked: bool = False


class Cut(Line, frozen=True, kw_only=True, tag="cut"):
    """Playback of an item was cut (the user talked over it, or `interrupt()`).

    Attributes:
        item_id: The item.
        heard_ms: How much of it had been heard.
    """

    item_id: str
    heard_ms: int


class Lost(Line, frozen=True, kw_only=True, tag="lost"):
    """The disk was too slow, and lines were left out.

    Attributes:
        lines: How many, since the last such line.
    """

    lines: int


class End(Line, frozen=True, kw_only=True, tag="end"):
    """The last line. A recording without it was broken off: the process died.

    Attributes:
        reason: "session closed" or "recording stopped".
    """

    reason: str


AnyLine: TypeAlias = Header | Connected | Disconnected | Sent | Received | Event | Heard | Cut | Lost | End
