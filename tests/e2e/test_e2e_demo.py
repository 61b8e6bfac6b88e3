"""`make demo`, as a newcomer runs it."""

from __future__ import annotations

import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
from e2e_harness import Samples, words

from antiphon.testing import transcribe

DEMO = Path(__file__).parents[2] / "examples" / "demo.py"
PAUSE_MS = 500


def utterances(samples: Samples, rate: int) -> list[Samples]:
    """What is said, cut where nothing is heard for a while."""
    block = rate // 100
    loud = (
        np.abs(samples[: len(samples) // block * block].reshape(-1, block).astype(np.int32)).max(axis=1) > 0
    )
    pieces, start, quiet = [], None, 0
    for index, sounds in enumerate([*loud, *[False] * (PAUSE_MS // 10)]):
        quiet = 0 if sounds else quiet + 1
        if sounds and start is None:
            start = index
        if start is not None and quiet >= PAUSE_MS // 10:
            pieces.append(samples[start * block : (index + 1) * block])
            start = None
    return pieces


@pytest.mark.full
@pytest.mark.timeout(120)
def test_the_demo_holds_its_conversation(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(DEMO), "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "get_weather" in done.stdout
    assert "lighthouse" in done.stdout.partition("the story was cut")[2]
    with wave.open(str(tmp_path / "call.wav"), "rb") as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, 48_000)
        call = np.frombuffer(file.readframes(file.getnframes()), np.int16).reshape(-1, 2)
    assert 10 < len(call) / 48_000 < 60
    spoken = utterances(call[:, 1], 48_000)
    assert len(spoken) >= 5
    heard = words(" ".join(transcribe(piece, 48_000) for piece in spoken))
    # The ear takes the story's lighthouse for a white house.
    assert {"sunny", "degrees", "once", "upon", "time", "house", "sea"} <= heard
