"""WAV files that are valid at every moment while they grow, so that a process that is killed leaves a readable one.

FLAC is out: its frames are only written as its encoder fills them, and its header is only right after a proper end.
A WAV's header needs two lengths. They are put right about once a second; readers here take what is in the file beyond
them. After 4 GiB (a day of 24 kHz audio) the lengths stay at their greatest value, and the file goes on.
"""

from __future__ import annotations

import os
import struct
from io import FileIO
from pathlib import Path

from antiphon.actors.audio import Int16Array, codec_for

_FORMAT_TAGS = {"pcm16": 1, "g711_alaw": 6, "g711_ulaw": 7}
_LIMIT = 2**32 - 1
# RIFF, fmt with an (empty) extension, fact, and the head of the data.
_HEADER = struct.Struct("<4sI4s 4sIHHIIHHH 4sII 4sI")


def create(path: Path) -> FileIO:
    """Make a file of a recording, unbuffered: what was written survives the process.

    Raises:
        FileExistsError: It exists, or is a folder; the message says what to do.
        FileNotFoundError: Its folder doesn't exist.
        OSError: It can't be made.
    """
    try:
        return FileIO(os.fspath(path), "xb")
    except FileExistsError:
        if path.is_dir():
            reason = f"{path} is a folder; give the name of a file in it, such as {path / 'call.jsonl'}"
        else:
            reason = f"{path} exists, and a recording is never overwritten; give another name, or remove it"
        raise FileExistsError(reason) from None
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: there is no folder {path.parent}; make it first") from None


class WavWriter:
    """A mono WAV that grows. Not thread-safe.

    Args:
        path: The file; it must not exist.
        encoding: "pcm16", "g711_ulaw" or "g711_alaw".

    Raises:
        FileExistsError: It exists.
        OSError: It can't be made.

    Attributes:
        samples: How many were written.
    """

    def __init__(self, path: Path, encoding: str) -> None:
        codec = codec_for(encoding)
        self._tag = _FORMAT_TAGS[encoding]
        self._rate = codec.rate
        self.bytes_per_sample = codec.bytes_per_sample
        self.samples = 0
        self._file = create(path)
        self._file.write(self._header())

    def write(self, data: bytes) -> None:
        """Append whole samples."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]
        self.samples += len(data) // self.bytes_per_sample

    def update_header(self) -> None:
        """Put the lengths right."""
        self._file.seek(0)
        self._file.write(self._header())
        self._file.seek(0, 2)

    def close(self) -> None:
        """Put the lengths right and close the file."""
        try:
            self.update_header()
        finally:
            self._file.close()

    def _header(self) -> bytes:
        width = self.bytes_per_sample
        data = min(self.samples * width, _LIMIT - _HEADER.size)
        return _HEADER.pack(
            *(b"RIFF", data + _HEADER.size - 8, b"WAVE"),
            *(b"fmt ", 18, self._tag, 1, self._rate, self._rate * width, width, 8 * width, 0),
            *(b"fact", 4, data // width),
            *(b"data", data),
        )


def read_wav(path: Path, encoding: str) -> tuple[bytes, Int16Array]:
    """Read what a `WavWriter` wrote, up to the last whole sample, whatever its header says.

    Returns:
        The wire's bytes, and their samples as int16, shape (samples,).

    Raises:
        ValueError: It is no WAV.
        OSError: It can't be read.
    """
    content = path.read_bytes()
    at = content.find(b"data", 12, 4096)
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE" or at < 0:
        raise ValueError(f"{path} is no WAV file")
    codec = codec_for(encoding)
    end = len(content) - (len(content) - at - 8) % codec.bytes_per_sample
    data = content[at + 8 : end]
    return data, codec.decode(data)
