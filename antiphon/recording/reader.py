"""Reads a recording, also one that was broken off."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import get_args

import msgspec
import pybase64

from antiphon.actors.audio import Int16Array, codec_for
from antiphon.recording.format import FORMAT, VERSION, AnyLine, AudioRef, End, Frame, Header, TrackName
from antiphon.recording.notes import audio_field
from antiphon.recording.wav import read_wav


class _Kind(msgspec.Struct):
    kind: str


_DECODER: msgspec.json.Decoder[AnyLine] = msgspec.json.Decoder(AnyLine)
_KIND = msgspec.json.Decoder(_Kind)
_KINDS = frozenset({line.__struct_config__.tag for line in get_args(AnyLine)})


class Recording:
    """A call as it was recorded. Tracks are loaded when they are first asked for.

    Attributes:
        path: The file of the lines.
        header: The first line.
        lines: All lines after it, as structs of `antiphon.recording`.
        torn: Whether the last line was broken off, and left out.
    """

    def __init__(self, path: Path, header: Header, lines: list[AnyLine], torn: bool) -> None:
        self.path = path
        self.header = header
        self.lines = lines
        self.torn = torn

    @property
    def complete(self) -> bool:
        """Whether the recording came to its end; else the process died before."""
        return bool(self.lines) and isinstance(self.lines[-1], End)

    @property
    def frames(self) -> list[Frame]:
        """The frames in both directions."""
        return [line for line in self.lines if isinstance(line, Frame)]

    @property
    def connections(self) -> list[int]:
        """The numbers of the connections on which anything passed, in order."""
        return sorted({line.connection for line in self.frames})

    def rate(self, track: TrackName) -> int:
        """Samples per second of a track."""
        return self.header.tracks[track].rate

    def samples(self, track: TrackName) -> Int16Array:
        """A whole track: int16, shape (samples,).

        Raises:
            OSError: Its file can't be read.
            ValueError: It is no WAV.
        """
        return self._tracks[track][1]

    def audio(self, ref: AudioRef) -> Int16Array:
        """What a frame carried: int16, shape (samples,)."""
        return self.samples(ref.track)[ref.start : ref.start + ref.samples]

    def payload(self, frame: Frame) -> bytes:
        """A frame as it was on the wire, its audio in its place; other JSON may be set differently."""
        if frame.text is not None:
            return frame.text.encode()
        field = audio_field(frame.type)
        if frame.audio is None or field is None:
            return msgspec.json.encode(frame.event)
        width = codec_for(self.header.tracks[frame.audio.track].encoding).bytes_per_sample
        first = frame.audio.start * width
        data = self._tracks[frame.audio.track][0][first : first + frame.audio.samples * width]
        return msgspec.json.encode({**frame.event, field: pybase64.b64encode(data).decode()})

    @cached_property
    def _tracks(self) -> dict[TrackName, tuple[bytes, Int16Array]]:
        folder = self.path.parent
        return {
            name: read_wav(folder / track.file, track.encoding) for name, track in self.header.tracks.items()
        }


def read(path: str | os.PathLike[str]) -> Recording:
    """Read a recording.

    A last line that was broken off is left out, and lines of kinds that this version doesn't know are skipped.

    Raises:
        ValueError: It is no recording, of a later format, or damaged; the message names the line.
        OSError: It can't be read.
    """
    file = Path(path)
    *whole, rest = file.read_bytes().split(b"\n")
    header, *lines = [_line(file, number, raw) for number, raw in enumerate(whole, 1)] or [None]
    if not isinstance(header, Header) or header.format != FORMAT:
        raise ValueError(f"{file} is no recording: its first line is no header")
    if header.version > VERSION:
        raise ValueError(
            f"{file} is of version {header.version} of the format; this antiphon reads up to {VERSION}"
        )
    return Recording(file, header, [line for line in lines if line is not None], torn=bool(rest))


def _line(file: Path, number: int, raw: bytes) -> AnyLine | None:
    """A line; None if its kind is not known."""
    try:
        return _DECODER.decode(raw)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        problem = error
    try:
        if _KIND.decode(raw).kind not in _KINDS:
            return None
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        pass
    raise ValueError(f"{file}, line {number} is no line of a recording: {problem}")
