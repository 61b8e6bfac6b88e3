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
    assert "s, answers: 1\n" in done.stdout
    call = recording.read(file)
    assert call.complete
    assert len(frames(call, "response.done")) == 1
    assert KEY not in file.read_text()
    heard, _ = soundfile.read(mix, dtype="int16")
    assert heard[:, 0].any()
    assert heard[:, 1].any()
    again = run("record", file, "--in", question, "--base-url", parrot.url)
    assert again.returncode == 1
    assert again.stderr.startswith(f"antiphon: {file} exists, and a recording is never overwritten")


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


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("nowhere/call.jsonl", "there is no folder {tmp}/nowhere; make it first"),
        ("folder", "{tmp}/folder is a folder; give the name of a file in it"),
        ("made.jsonl", "{tmp}/made.jsonl exists, and a recording is never overwritten; give another name"),
        ("track.jsonl", "{tmp}/track.in.wav exists, and a recording is never overwritten; give another name"),
    ],
)
def test_a_place_that_cannot_be_recorded_to_is_said_in_a_line(
    parrot: LocalServer, tmp_path: Path, place: str, reason: str
) -> None:
    """What is there stays as it is, and nothing is left beside it."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "made.jsonl").write_text("mine")
    (tmp_path / "track.in.wav").write_text("mine")
    write_question(tmp_path / "question.wav")
    before = sorted(tmp_path.rglob("*"))
    done = run("record", tmp_path / place, "--in", tmp_path / "question.wav", "--base-url", parrot.url)
    assert done.returncode == 1
    assert reason.format(tmp=tmp_path) in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Errno" not in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_a_call_that_cannot_be_made_leaves_no_files(parrot: LocalServer, file: Path, tmp_path: Path) -> None:
    """So the next attempt may have the same name."""
    question = tmp_path / "question.wav"
    question.touch()
    done = run("record", file, "--in", question, "--base-url", parrot.url)
    assert done.returncode == 1
    assert done.stderr == (
        f"antiphon: {question} is no WAV file (it is empty or cut short); give a 16-bit PCM WAV file\n"
    )
    assert not file.exists()


def test_a_mix_does_not_replace_the_question(parrot: LocalServer, file: Path, tmp_path: Path) -> None:
    question = tmp_path / "question.wav"
    write_question(question)
    before = question.read_bytes()
    done = run("record", file, "--in", question, "--mix", question, "--base-url", parrot.url)
    assert done.returncode == 1
    assert f"--mix {question} would overwrite the file of --in, {question}" in done.stderr
    assert question.read_bytes() == before


@pytest.mark.parametrize("command", ["serve", "replay"])
def test_a_port_in_use_is_said_in_a_line(
    parrot: LocalServer, make_model: MakeModel, file: Path, command: str
) -> None:
    port = re.search(r":(\d+)/", parrot.url)
    assert port is not None
    with make_model(parrot, turn_detection=None).session(start=False) as session, session.record(file):
        session.start()
        session.wait_open(PATIENCE)
        say(session, voice())
    done = run(command, *([file] if command == "replay" else []), "--port", port[1])
    assert done.returncode == 1
    assert done.stderr == (
        f"antiphon: port {port[1]} of 127.0.0.1 is in use; give another with --port (0 takes any that is free)\n"
    )
