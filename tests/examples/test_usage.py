"""What each example answers to --help, and to arguments that it doesn't take."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
# The other files are what these share.
PROGRAMS = sorted(path.name for path in EXAMPLES.glob("*.py") if '__name__ == "__main__"' in path.read_text())
LISTENING = ["audiosocket.py", "flask_live.py", "prometheus.py", "rtp.py", "twilio_flask.py"]
NO_TK = "Tk is not installed: apt-get install python3-tk"
CALLING = ["audiosocket.py", "prometheus.py", "rtp.py", "twilio_flask.py"]
PHONES = ["audiosocket.py", "rtp.py", "twilio_flask.py"]
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems' windows need no DISPLAY")


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A usage text needs none."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def run(name: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """Run an example that is to end at its command line, as Python runs it; returns the exit code."""
    if name == "tk_window.py":
        pytest.importorskip("tkinter", reason=NO_TK)
    with pytest.raises(SystemExit) as ended:
        start(name, words, monkeypatch)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def start(name: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run an example as Python runs it."""
    path = str(EXAMPLES / name)
    monkeypatch.setattr(sys, "argv", [path, *words])
    runpy.run_path(path, run_name="__main__")


def test_no_program_is_left_out() -> None:
    """Of those whose command line is looked at here."""
    assert {*LISTENING, "batch.py", "demo.py", "robot.py", "tk_window.py"} <= set(PROGRAMS)


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_is_a_usage_text(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says what the program is, too, and nothing goes wrong."""
    assert run(name, ["--help"], monkeypatch) == 0
    output, errors = capsys.readouterr()
    assert output.startswith(f"usage: {name} [-h]")
    first = (EXAMPLES / name).read_text().splitlines()[0].strip('"')
    assert " ".join(first.split()) in " ".join(output.split())
    assert errors == ""


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_unknown_option_is_named(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(name, ["--loud"], monkeypatch) == 2
    assert "unrecognized arguments: --loud" in capsys.readouterr().err


@pytest.mark.parametrize("port", ["lots", "0", "65536", "50.5"])
@pytest.mark.parametrize("name", LISTENING)
def test_what_is_no_port_is_refused(
    name: str, port: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(name, [port], monkeypatch) == 2
    assert f"a port is a number from 1 to 65535, not '{port}'" in capsys.readouterr().err


@pytest.mark.parametrize("name", CALLING)
def test_a_missing_key_is_said_in_a_line(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And --help says how to go without one of OpenAI's."""
    with pytest.raises(SystemExit, match=f"^{name}: OPENAI_API_KEY is not set; --help says .*$"):
        start(name, [], monkeypatch)
    assert run(name, ["--help"], monkeypatch) == 0
    usage = capsys.readouterr().out
    assert "antiphon serve" in usage
    assert "OPENAI_API_KEY=local OPENAI_BASE_URL=http://127.0.0.1:8765/v1" in usage


@pytest.mark.parametrize("name", PHONES)
def test_a_phone_example_is_short(name: str) -> None:
    """It is meant to be read in one go: under 120 lines."""
    assert len((EXAMPLES / name).read_text().splitlines()) < 120


def test_a_batch_of_none_at_once_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("batch.py", ["--at-once", "0"], monkeypatch) == 2
    assert "--at-once must be 1 or more" in capsys.readouterr().err


def test_a_batch_without_questions_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match=f"^There are no WAV files .* in {tmp_path}\\.$"):
        start("batch.py", [str(tmp_path), "--out", str(tmp_path / "out")], monkeypatch)
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "out").exists()


def says_what_to_do(message: str) -> bool:
    """Whether this is the one line for those who have no screen."""
    first, *more = message.splitlines()
    named = first.startswith("no screen for the window (") and "set DISPLAY" in first and "xvfb-run" in first
    return named and not more


@on_linux
def test_the_window_without_a_screen() -> None:
    pytest.importorskip("tkinter", reason=NO_TK)
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "tk_window.py")],
        env={name: value for name, value in os.environ.items() if name != "DISPLAY"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert says_what_to_do(done.stderr), done.stderr


@on_linux
def test_the_window_with_a_screen_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    window = pytest.importorskip("window", reason=NO_TK)
    monkeypatch.setenv("DISPLAY", ":987654")
    with pytest.raises(SystemExit) as ended:
        window.Window(None)
    assert says_what_to_do(str(ended.value.code))
