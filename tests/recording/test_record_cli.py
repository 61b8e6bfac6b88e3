"""`antiphon record` and `antiphon replay`, as a person runs them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import wave
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
from recording_harness import KEY, PATIENCE, frames, said_text, say, voice

from antiphon import RealtimeModel, recording
from antiphon.testing import LocalServer, synthesize

MakeModel = Callable[..., RealtimeModel]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    return subprocess.run(
        [sys.executable, "-m", "antiphon.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env={**os.environ, "OPENAI_API_KEY": KEY},
    )


def write_question(path: Path) -> None:
    """Speak a sentence into a WAV file."""
    samples, rate = synthesize("How many apples are there?")
    with wave.open(str(path), "wb") as wav:
        wav.setparams((1, 2, rate, 0, "NONE", ""))
        wav.writeframes(samples.tobytes())


@pytest.mark.full
def test_a_call_is_made_and_recorded(parrot: LocalServer, file: Path, tmp_path: Path) -> None:
    question, mix = tmp_path / "question.wav", tmp_path / "mix.flac"
    write_question(question)
    done = run("record", file, "--in", question, "--mix", mix, "--base-url", parrot.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert "with 1 answers" in done.stdout
    call = recording.read(file)
    assert call.complete
    assert len(frames(call, "response.done")) == 1
    assert KEY not in file.read_text()
    heard, _ = soundfile.read(mix, dtype="int16")
    assert heard[:, 0].any()
    assert heard[:, 1].any()
    again = run("record", file, "--in", question, "--base-url", parrot.url)
    assert again.returncode == 1
    assert "File exists" in again.stderr


@pytest.mark.full
def test_a_recording_is_served_until_ctrl_c(parrot: LocalServer, make_model: MakeModel, file: Path) -> None:
    with make_model(parrot, turn_detection=None).session(start=False) as session, session.record(file):
        session.start()
        answer = said_text(say(session, voice()))
    process = subprocess.Popen(
        [sys.executable, "-m", "antiphon.cli", "replay", str(file), "--port", "0", "--at-once"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        found = re.search(r"http\S+", process.stdout.readline())
        assert found is not None
        with RealtimeModel(base_url=found[0], api_key="any", turn_detection=None) as model:
            session = model.session()
            session.wait_open(PATIENCE)
            assert said_text(say(session, voice())) == answer
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=PATIENCE)
        assert (process.returncode, rest) == (0, "antiphon: stopped\n")
    finally:
        process.kill()
        process.wait()


def test_what_is_no_recording_is_said_in_a_line(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("{}\n")
    done = run("replay", path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"antiphon: {path}, line 1 is no line of a recording")
    assert done.stderr.count("\n") == 1
