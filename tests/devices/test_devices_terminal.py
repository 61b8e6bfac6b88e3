"""`antiphon talk` and `doctor` in a terminal, as a person uses them: tmux types and reads the screen."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pulse_harness import PATIENCE, Pulse, Recorder, await_true, spoken

from antiphon.testing import LocalServer

pytestmark = [
    pytest.mark.full,
    pytest.mark.timeout(180),
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed: apt-get install tmux"),
]

TOOLS = '''
def get_time() -> str:
    """Tell the time of day."""
    return "noon"
'''


class Terminal:
    """A shell in a terminal of 100 by 30, in which one command is started.

    Args:
        folder: Where it works.
        *command: The command; its exit code is shown behind it.
    """

    def __init__(self, folder: Path, *command: str) -> None:
        self._tmux = ["tmux", "-S", str(folder / "tmux.sock"), "-f", os.devnull]
        shell = ["env", "PS1=$ ", "bash", "--norc", "--noprofile", "-i"]
        self._run("new-session", "-d", "-x", "100", "-y", "30", "-c", str(folder), shlex.join(shell))
        (folder / "command.sh").write_text(f"exec {shlex.join(command)}\n")
        self.type("clear; sh command.sh; echo exit code $?", "Enter")

    @property
    def screen(self) -> str:
        """What is on the screen."""
        return self._run("capture-pane", "-p", "-S", "-200")

    def type(self, *keys: str) -> None:
        """Press keys, by tmux's names."""
        self._run("send-keys", *keys)

    def await_text(self, *texts: str) -> None:
        """Wait until all of these are on the screen."""
        try:
            await_true(lambda: all(text in self.screen for text in texts), "it is on the screen", every=0.1)
        except AssertionError:
            raise AssertionError(f"{texts} is not on the screen:\n{self.screen}") from None

    def close(self) -> None:
        """End it, whatever runs in it."""
        subprocess.run([*self._tmux, "kill-server"], check=False, timeout=PATIENCE)

    def _run(self, *words: str) -> str:
        done = subprocess.run([*self._tmux, *words], capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def folder(tmp_path: Path, pulse: Pulse) -> Path:
    """Where the terminal's programs run; PulseAudio is in their environment."""
    (tmp_path / "tools.py").write_text(TOOLS)
    return tmp_path


@pytest.fixture
def voice() -> Iterator[LocalServer]:
    """A server that listens and speaks."""
    with LocalServer("voice") as server:
        yield server


def antiphon(*words: str) -> list[str]:
    """The command."""
    return [sys.executable, "-m", "antiphon.cli", *words]


def test_a_call(folder: Path, pulse: Pulse, voice: LocalServer) -> None:
    """The live view: state, meters, transcript, tool, latency, muting; Ctrl-C hangs up."""
    command = antiphon("talk", "--base-url", voice.url, "--tool", "tools:get_time")
    terminal = Terminal(folder, *command)
    try:
        terminal.await_text("open · gpt-realtime at 127.0.0.1", "m: mute", "you   ····················")
        with Recorder(pulse) as recorder:
            pulse.play(spoken("What time is it?"))
            terminal.await_text(
                "you         what time is it", "get_time({}) -> noon", "ms from the end of speech"
            )
            recorder.await_sound()
            terminal.await_text("model █")
            recorder.await_quiet()
        assert "last answer after" in terminal.screen
        terminal.type("m")
        terminal.await_text("muted · m: unmute")
        terminal.type("m")
        terminal.await_text("m: mute")
        terminal.type("C-c")
        terminal.await_text("done        answers: 1", "\nexit code 0")
        # The live part is gone, and the terminal echoes again what is typed.
        assert "m: mute" not in terminal.screen
        terminal.type("hello")
        terminal.await_text("$ hello")
    finally:
        terminal.close()
    assert voice.wait_disconnected()


def test_push_to_talk(folder: Path, pulse: Pulse, voice: LocalServer) -> None:
    """The space bar opens the microphone, and closes it and asks for the answer."""
    terminal = Terminal(folder, *antiphon("talk", "--base-url", voice.url, "--push-to-talk"))
    try:
        terminal.await_text("open ·", "space: talk")
        terminal.type("Space")
        terminal.await_text("space: send")
        pulse.play(spoken("Can you hear me?"))
        terminal.type("Space")
        terminal.await_text("space: talk", "you         can you hear me", "model       ")
        terminal.type("C-c")
        terminal.await_text("\nexit code 0")
    finally:
        terminal.close()


def test_the_devices_go_and_come_back(folder: Path, pulse: Pulse, voice: LocalServer) -> None:
    """The view says so, and PortAudio's own complaints don't tear it."""
    terminal = Terminal(folder, *antiphon("talk", "--base-url", voice.url))
    try:
        terminal.await_text("open ·", "m: mute")
        pulse.stop()
        terminal.await_text("no microphone, looking for one", "the loudspeaker 'default' has stopped")
        pulse.start()
        terminal.await_text("the microphone is 'default' now", "the loudspeaker is 'default' now")
        assert "Expression" not in terminal.screen
        assert "ALSA lib" not in terminal.screen
        terminal.type("C-c")
        terminal.await_text("\nexit code 0")
    finally:
        terminal.close()


def test_doctor_listens(folder: Path, pulse: Pulse, voice: LocalServer) -> None:
    """A microphone that brings only zeros is a warning; one with sound is well."""
    from antiphon.cli.doctor_checks import examine_audio

    found = {finding.check: finding for finding in examine_audio()}
    assert found["microphone"].detail.startswith("default (of ")
    assert found["loudspeaker"].verdict == "ok"
    assert (found["recording"].verdict, "muted" in found["recording"].fix) == ("warning", True)
    pulse.control("load-module", "module-sine", "sink=voice", "frequency=440")
    assert {finding.check: finding for finding in examine_audio()}["recording"].verdict == "ok"
    terminal = Terminal(folder, *antiphon("doctor", "--base-url", voice.url))
    try:
        terminal.await_text("ok     recording", "ok     session", "\nexit code 0")
    finally:
        terminal.close()
