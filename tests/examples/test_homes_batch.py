"""The example that answers a folder of recordings: run as a person would run it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from antiphon.testing import synthesize, transcribe

pytestmark = [pytest.mark.full, pytest.mark.timeout(240)]

PATIENCE = 60.0  # seconds; ends a test that would hang
PROGRAM = Path(__file__).parents[2] / "examples" / "batch.py"


def record(path: Path, text: str, *, channels: int = 1, width: int = 2) -> None:
    """A spoken question as a WAV file."""
    samples, rate = synthesize(text)
    data = np.repeat(samples, channels).tobytes() if width == 2 else bytes(3 * len(samples))
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, width, rate, 0, "NONE", ""))
        file.writeframes(data)


@contextlib.contextmanager
def running(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """The program, while the block lasts."""
    with subprocess.Popen(
        [sys.executable, str(PROGRAM), *map(str, arguments)],
        env={**os.environ, "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as program:
        try:
            yield program
        finally:
            program.kill()


def finish(program: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for its end: its exit code and what it printed."""
    output, _ = program.communicate(timeout=PATIENCE)
    assert "Traceback" not in output, output
    return program.returncode, output


def run(*arguments: object) -> tuple[int, str]:
    """Run it to its end."""
    with running(*arguments) as program:
        return finish(program)


def spoken(path: Path) -> str:
    """What a recording says."""
    with wave.open(str(path), "rb") as file:
        return transcribe(np.frombuffer(file.readframes(file.getnframes()), np.int16), file.getframerate())


def names(folder: Path, ending: str) -> list[str]:
    """The files in a folder that end so."""
    return sorted(path.name for path in folder.iterdir() if path.name.endswith(ending))


def test_without_a_folder_it_answers_questions_of_its_own_and_asks_none_twice(tmp_path) -> None:
    out = tmp_path / "out"
    code, output = run("--out", out)
    assert code == 0, output
    assert "100%" in output
    assert names(out, ".txt") == ["1.txt", "2.txt", "3.txt"]
    asked, answered = (out / "3.txt").read_text().splitlines()
    assert asked == "user: what is seven times eight"
    assert answered == "model: Seven times eight is fifty-six."
    assert "fifty" in spoken(out / "3.wav")
    (out / "2.txt").unlink()
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    code, output = run("--out", out)
    assert code == 0
    assert "3 questions" in output
    assert "2 answered before" in output
    after = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert {name for name in after if before.get(name) != after[name]} - {"questions"} == {"2.wav", "2.txt"}


def test_a_file_that_cannot_be_asked_fails_alone(tmp_path) -> None:
    questions, out = tmp_path / "questions", tmp_path / "out"
    questions.mkdir()
    record(questions / "stereo.wav", "What time is it?", channels=2)
    record(questions / "deep.wav", "Hello.", width=3)
    (questions / "text.wav").write_text("no sound")
    (questions / "empty.wav").touch()
    code, output = run(questions, "--out", out)
    assert code == 1, output
    assert "deep.wav: has 24-bit samples" in output
    assert "text.wav: is no WAV file: " in output
    assert "empty.wav: is no WAV file: it is empty or cut short" in output
    assert names(out, "") == ["stereo.txt", "stereo.wav"]
    assert "what time is it" in (out / "stereo.txt").read_text()


def test_it_does_not_write_answers_over_questions(tmp_path) -> None:
    record(tmp_path / "one.wav", "Hello.")
    code, output = run(tmp_path, "--out", tmp_path)
    assert code == 2
    assert "not the one for the answers" in output
    code, output = run(tmp_path / "nowhere", "--out", tmp_path)
    assert code == 2
    assert "must be a folder" in output


def test_ctrl_c_stops_it_soon_and_it_goes_on_where_it_was(tmp_path) -> None:
    questions, out = tmp_path / "questions", tmp_path / "out"
    questions.mkdir()
    count = 30
    record(questions / "00.wav", "What time is it?")
    for number in range(1, count):
        shutil.copy(questions / "00.wav", questions / f"{number:02}.wav")
    with running(questions, "--out", out, "--at-once", 2) as program:
        # Looked for again and again: into a pipe the progress bar is only printed at the end.
        deadline = time.monotonic() + PATIENCE
        while not (out.is_dir() and names(out, ".txt")):
            assert time.monotonic() < deadline, "nothing was answered"
            assert program.poll() is None
            time.sleep(0.05)
        program.send_signal(signal.SIGINT)
        told = time.monotonic()
        code, output = finish(program)
    assert time.monotonic() - told < PATIENCE / 2
    assert code == 130, output
    assert "Stopped." in output
    done = names(out, ".txt")
    assert 0 < len(done) < count
    assert not names(out, ".part")
    shutil.copy(questions / "00.wav", questions / "last.wav")
    for later in questions.glob("*.wav"):
        if f"{later.stem}.txt" not in done and later.stem != "last":
            later.unlink()
    code, output = run(questions, "--out", out)
    assert code == 0, output
    found = re.search(r"(\d+) questions in .*, (\d+) answered", output.replace("\n", ""))
    assert found is not None, output
    assert (int(found[1]), int(found[2])) == (len(done) + 1, len(done))
    assert names(out, ".txt") == [*done, "last.txt"]
