"""The files of a recording that is being made: the lines, and one WAV for each direction."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from antiphon.recording.format import AudioRef, Line, TrackName
from antiphon.recording.redact import Redactor
from antiphon.recording.wav import WavWriter, create

# How often the WAVs' headers are put right.
HEADER_SECONDS = 1.0

_ENCODER = msgspec.json.Encoder()


def track_path(path: Path, track: TrackName) -> Path:
    """Where a recording's track is: `call.in.wav` beside `call.jsonl`."""
    return path.with_suffix(f".{track}.wav")


class RecordingFiles:
    """Appends lines and audio. Not thread-safe.

    What `flush` has handed to the operating system survives the process, audio before the lines that name it.

    Args:
        path: Of the lines; the tracks stand beside it. None of the files may exist.
        encodings: The tracks' encodings.
        redactor: Takes secrets out of the lines.

    Raises:
        FileExistsError: One of the files exists.
        OSError: They can't be made.
    """

    def __init__(self, path: Path, encodings: Mapping[TrackName, str], redactor: Redactor) -> None:
        self._redactor = redactor
        self._lines = bytearray()
        self._audio: dict[TrackName, bytearray] = {}
        self._tracks: dict[TrackName, WavWriter] = {}
        self._headers_at = 0.0
        self._file = create(path)
        try:
            for track, encoding in encodings.items():
                self._tracks[track] = WavWriter(track_path(path, track), encoding)
                self._audio[track] = bytearray()
        except BaseException:
            self.close()
            for made in (path, *(track_path(path, track) for track in self._tracks)):
                made.unlink()
            raise

    def add_line(self, line: Line) -> None:
        """Append a line."""
        self._lines += self._redactor.line(_ENCODER.encode(line))
        self._lines += b"\n"

    def add_audio(self, track: TrackName, data: bytes) -> AudioRef | None:
        """Append a frame's audio; None, and nothing is appended, if it isn't whole samples."""
        width = self._tracks[track].bytes_per_sample
        if len(data) % width:
            return None
        waiting = self._audio[track]
        start = self._tracks[track].samples + len(waiting) // width
        waiting += data
        return AudioRef(track=track, start=start, samples=len(data) // width)

    def flush(self, now: float) -> None:
        """Hand everything to the operating system.

        Args:
            now: Monotonic seconds.

        Raises:
            OSError: The disk is full, or gone.
        """
        for track, waiting in self._audio.items():
            if waiting:
                self._tracks[track].write(bytes(waiting))
                waiting.clear()
        if now - self._headers_at >= HEADER_SECONDS:
            self._headers_at = now
            for wav in self._tracks.values():
                wav.update_header()
        rest = memoryview(bytes(self._lines))
        self._lines.clear()
        while rest:
            rest = rest[self._file.write(rest) :]

    def close(self) -> None:
        """Put the headers right and close the files."""
        try:
            for wav in self._tracks.values():
                wav.close()
        finally:
            self._file.close()
