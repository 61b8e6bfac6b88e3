"""A process that is killed leaves a recording that can be read."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import wave
from pathlib import Path
from subprocess import PIPE

import numpy as np
import soundfile

from antiphon import recording
from antiphon.recording import Frame
from antiphon.testing import LocalServer, Script

CALL = Path(__file__).with_name("call_that_is_killed.py")
CHUNKS = 15
# The writer's interval, and as much again for a busy machine.
LOST_MS = 1000


def test_sigkill_leaves_what_was_said_until_just_before(file: Path) -> None:
    with LocalServer(Script()) as server:
        call = subprocess.Popen([sys.executable, CALL, server.url, file])
        try:
            numbers = itertools.count(1)
            server.log.wait_for(
                lambda record: record.type == "input_audio_buffer.append" and next(numbers) == CHUNKS, 30.0
            )
        finally:
            call.send_signal(signal.SIGKILL)
            call.wait(10.0)
        passed = len(server.log.received("input_audio_buffer.append"))
    left = recording.read(file)
    assert not left.complete
    pieces = [left.audio(line.audio) for line in left.lines if isinstance(line, Frame) and line.audio]
    # Chunks are 100 ms.
    assert (passed - len(pieces)) * 100 <= LOST_MS
    expected = np.repeat(np.arange(len(pieces) * 5), 480).astype(np.int16)
    assert np.array_equal(np.concatenate(pieces), expected)
    # Others' readers trust the header, which is at most a second older.
    with wave.open(str(file.with_name("call.in.wav"))) as wav:
        by_header = np.frombuffer(wav.readframes(wav.getnframes()), np.int16)
    assert np.array_equal(by_header, expected[: len(by_header)])
    assert len(by_header) >= len(expected) - 2 * 24_000
    by_others, rate = soundfile.read(file.with_name("call.in.wav"), dtype="int16")
    assert (len(by_others), rate) == (len(by_header), 24_000)


def test_the_end_of_the_process_writes_what_was_noted(file: Path) -> None:
    program = f"""
from antiphon import RealtimeModel
import sys
session = RealtimeModel(base_url=sys.argv[1], api_key="any").session(start=False)
session.record({str(file)!r})
session.start()
session.wait_open(20)
session.update_instructions("the last words")
sys.stdin.read()
"""
    with LocalServer(Script()) as server:
        command = [sys.executable, "-c", program, server.url]
        with subprocess.Popen(command, stdin=PIPE, stderr=PIPE, text=True) as call:
            server.log.wait_for(
                lambda record: record.event.get("session", {}).get("instructions") == "the last words", 30.0
            )
            # Its input ends, and so it does.
            _, complaints = call.communicate(timeout=20)
        assert (call.returncode, complaints) == (0, "")
        noted = [frame.event for frame in recording.read(file).frames]
        assert noted == [record.event for record in server.log.received()]
