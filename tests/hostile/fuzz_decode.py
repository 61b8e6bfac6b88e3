"""Coverage-guided fuzzing with atheris, by hand; pytest doesn't collect this. Findings become tests.

    pip install atheris
    python tests/hostile/fuzz_decode.py decode  -max_total_time=600 CORPUS_DIR
    python tests/hostile/fuzz_decode.py frames  -max_total_time=600 CORPUS_DIR
    python tests/hostile/fuzz_decode.py session -max_total_time=600 CORPUS_DIR

`decode`: no frame makes `decode_server_event` raise anything but `ProtocolError`. `frames`: the WebSocket's reader
raises nothing but `FramingError`, keeps to its limit, and reads the same however the bytes are cut. `session`: a
conversation under the driver is interrupted by frames, one in each line of the input; no actor fails, and unless
the server said that it is over, the session answers afterwards.
"""

from __future__ import annotations

import json
import logging
import random
import sys
from typing import Any

import atheris

with atheris.instrument_imports(include=["antiphon"]):
    from bad_frames import any_frame, spoil
    from interrupted import ACTIONS, Interrupted

    from antiphon.actors.websocket import CLOSE, FrameReader, FramingError
    from antiphon.protocol import ProtocolError, decode_server_event

LIMIT = 1000


def decode(data: bytes) -> None:
    """One frame."""
    try:
        decode_server_event(data)
    except ProtocolError:
        pass


def _read(pieces: list[bytes]) -> tuple[list[tuple[int, bytes]], bool]:
    reader, frames = FrameReader(LIMIT), []
    try:
        for piece in pieces:
            frames += reader.feed(piece)
    except FramingError as error:
        return frames + error.frames, True
    return frames, False


def frames(data: bytes) -> None:
    """A byte stream, at once and in pieces."""
    step = 1 + (data[0] if data else 0) % 17
    whole = _read([data])
    assert whole == _read([data[at : at + step] for at in range(0, len(data), step)])
    assert all(len(payload) <= (LIMIT if opcode < CLOSE else 125) for opcode, payload in whole[0])


def session(data: bytes) -> None:
    """A conversation."""
    with Interrupted() as conversation:
        conversation.hear(*data.split(b"\n"))
        conversation.check()


def mutate_lines(data: bytes, max_size: int, seed: int) -> bytes:
    """libFuzzer's mutation of one line, or one that knows JSON and the events."""
    choose = random.Random(seed)
    lines = data.split(b"\n")
    at = choose.randrange(len(lines))
    match choose.randrange(6):
        case 0:
            lines[at] = atheris.Mutate(lines[at], max(1, max_size // 4)).replace(b"\n", b" ")
        case 1:
            lines.insert(at, any_frame(choose))
        case 2:
            lines[at] = _spoilt(lines[at], choose)
        case 3:
            lines.insert(choose.randrange(len(lines) + 1), lines[at])
        case 4:
            del lines[at]
        case 5:
            lines.insert(at, choose.choice(ACTIONS))
    return b"\n".join(line.replace(b"\n", b" ") for line in lines)[:max_size]


def _spoilt(line: bytes, choose: random.Random) -> bytes:
    try:
        event: Any = json.loads(line)
    except (ValueError, RecursionError):
        return any_frame(choose)
    return spoil(event, choose) if isinstance(event, dict) else any_frame(choose)


TARGETS = {"decode": decode, "frames": frames, "session": session}

if __name__ == "__main__":
    logging.disable()
    target = sys.argv.pop(1)
    options = {} if target == "frames" else {"custom_mutator": mutate_lines}
    atheris.Setup(sys.argv, TARGETS[target], **options)
    atheris.Fuzz()
