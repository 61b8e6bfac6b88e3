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
    path = str(EXAMPLES / name)
    monkeypatch.setattr(sys, "argv", [path, *words])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(path, run_name="__main__")
    assert isinstance(ended.value.code, int)
    return ended.value.code


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


@pytest.mark.parametrize("name", PHONES)
def test_a_phone_example_is_short(name: str) -> None:
    """It is meant to be read in one go: under 120 lines."""
    assert len((EXAMPLES / name).read_text().splitlines()) < 120


def test_a_batch_of_none_at_once_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("batch.py", ["--at-once", "0"], monkeypatch) == 2
    assert "--at-once must be 1 or more" in capsys.readouterr().err


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
