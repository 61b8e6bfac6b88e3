"""What the page shows of a call, as the page's script reads it. Times are seconds since the recording began."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Who: TypeAlias = Literal["user", "model", "system"]
Kind: TypeAlias = Literal["error", "restart", "dropped", "lost", "key", "idle"]


class Shown(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base: the script spells keys in camelCase."""


class Wave(Shown, frozen=True, kw_only=True):
    """A voice's loudness.

    Attributes:
        peaks: Base64 of one byte for each bin: 255 times the root of the bin's greatest amplitude over the loudest.
        rate: Bins per second. The first begins at `Picture.began`.
    """

    peaks: str
    rate: float


class Speech(Shown, frozen=True, kw_only=True):
    """The user spoke, as the server saw it; `end` is None if it never saw the end."""

    item: str
    start: float
    end: float | None = None


class Spoken(Shown, frozen=True, kw_only=True):
    """An item of the model's voice.

    Attributes:
        item: Its id.
        response: Whose it is.
        heard: When it sounded, as (start, end).
        arrived_s: Seconds of audio that the server sent.
        heard_s: Seconds of it that were played.
        cut_at: When its playback was cut.
        estimated: Nobody told when it was heard: the application plays by other means than the ledger.
    """

    item: str
    response: str
    heard: list[tuple[float, float]]
    arrived_s: float
    heard_s: float
    cut_at: float | None = None
    estimated: bool = False


class Tokens(Shown, frozen=True, kw_only=True):
    """What a response, or a call, used. `input` includes `cached`; `audio_input` and `audio_output` are parts."""

    input: int = 0
    output: int = 0
    cached: int = 0
    audio_input: int = 0
    audio_output: int = 0
    cost: float | None = None


class Response(Shown, frozen=True, kw_only=True):
    """A response of the model.

    Attributes:
        id: The server's.
        created: When it began.
        done: When the server said that it ended; if a drop or the end of the recording came first, when that was.
        status: As the server said; "lost" after a drop, "open" at the end of the recording.
        reason: The server's details.
        first_audio: When its first audio arrived.
        first_heard: When its first sound was heard: a voice may begin with silence.
        waited: Seconds from the end of the user's speech before it, as the server heard it (with the silence that told
            it), to the first sound. Of the responses to one turn, only the first that was heard has it.
        tokens: What it used.
    """

    id: str
    created: float
    done: float
    status: str
    reason: str = ""
    first_audio: float | None = None
    first_heard: float | None = None
    waited: float | None = None
    tokens: Tokens | None = None


class Tool(Shown, frozen=True, kw_only=True):
    """A tool call, the engine's or the provider's (`server` is the MCP server then)."""

    call: str
    name: str
    start: float
    end: float | None
    arguments: str
    output: str = ""
    failed: bool = False
    server: str = ""


class Restored(Shown, frozen=True, kw_only=True):
    """What a reconnect brought back."""

    reason: str
    downtime: float
    items: int
    degraded: int
    lost: int
    audio_dropped_ms: float


class Link(Shown, frozen=True, kw_only=True):
    """A connection.

    Attributes:
        number: As in the recording.
        start: When its handshake was done.
        end: When it ended.
        handshake: Seconds that took.
        ended: Why it ended; "" if it lasted.
        code: Of the server's close frame.
        planned: Whether the session replaced it by its own decision.
        restored: What was brought back when it began.
    """

    number: int
    start: float
    end: float
    handshake: float | None = None
    ended: str = ""
    code: int | None = None
    planned: bool = False
    restored: Restored | None = None


class Mark(Shown, frozen=True, kw_only=True):
    """Something that happened at a moment."""

    kind: Kind
    t: float
    title: str
    text: str = ""
    bad: bool = False


class Words(Shown, frozen=True, kw_only=True):
    """What one side said.

    Attributes:
        item: Its id.
        who: Who said it.
        t: When it began.
        end: When it ended.
        text: The words.
        heard: How much of the text was heard, 0 to 1, when it was cut: by the share of its audio.
        typed: Whether it is text, not speech.
    """

    item: str
    who: Who
    t: float
    end: float
    text: str
    heard: float | None = None
    typed: bool = False


class Picture(Shown, frozen=True, kw_only=True):
    """A call.

    Attributes:
        began: The time of the first sample; 0, or less for audio that is older than the recording.
        ended: The time of the last thing that happened.
        wall: Unix seconds at time 0.
        complete: Whether the recording came to its end.
    """

    file: str
    session: str
    model: str
    provider: str
    wall: float
    began: float
    ended: float
    complete: bool
    user: Wave
    assistant: Wave
    speech: list[Speech]
    spoken: list[Spoken]
    responses: list[Response]
    tools: list[Tool]
    links: list[Link]
    marks: list[Mark]
    words: list[Words]
    tokens: Tokens
    transcription_tokens: int
