"""How `antiphon` itself begins: its version, and Ctrl-C while its modules are still loading."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_harness import PATIENCE, environment, run

# Ctrl-C comes in the middle of the first import of that module, as from a user who is quick.
QUICK = """
import importlib.abc, signal, sys

MODULE = sys.argv.pop()

class Quick(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == MODULE:
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Quick())
from antiphon.cli import main
main()
"""


@pytest.mark.parametrize("module", ["typer", "numpy", "antiphon.cli.talk", "antiphon.model"])
def test_ctrl_c_before_the_call_ends_quietly(module: str, tmp_path: Path) -> None:
    """The exit code is what shells report of a program that Ctrl-C ended."""
    done = subprocess.run(
        [sys.executable, "-c", QUICK, "talk", "--in", "q.wav", module],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGINT, "", "")


def test_the_version_by_command_and_by_option(tmp_path: Path) -> None:
    by_command, by_option = (run(word, folder=tmp_path) for word in ("version", "--version"))
    assert by_command.stdout.startswith("antiphon ")
    assert (by_option.returncode, by_option.stdout) == (0, by_command.stdout)
