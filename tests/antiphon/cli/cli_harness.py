"""Runs the command line as a user does: a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import wave
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from antiphon.testing import synthesize, transcribe

PATIENCE = 50.0  # seconds; ends a test that would hang
KEY = "sk-for-these-tests-only"
COMMAND = [sys.executable, "-m", "antiphon.cli"]

WEATHER_MODULE = '''
def get_weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"In {city} it is sunny and warm."
'''


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The tests' environment without keys and addresses that a developer may have in it."""
    kept = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("OPENAI_", "AZURE_")) and "proxy" not in k.lower()
    }
    return {**kept, "OPENAI_API_KEY": KEY, "COLUMNS": "200", **(more or {})}


def run(*words: str, folder: Path, more: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run `antiphon` in a folder, to its end; what it prints never has the key in it."""
    done = subprocess.run(
        [*COMMAND, *words],
        cwd=folder,
        env=environment(more),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert KEY not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done


def notes(output: str) -> list[dict[str, Any]]:
    """The JSON lines of an output."""
    return [msgspec.json.decode(line) for line in output.splitlines()]


def write_question(path: Path, text: str) -> None:
    """Speak a sentence into a WAV file, with a moment of quiet before it."""
    samples, rate = synthesize(text)
    with wave.Wave_write(str(path)) as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.concatenate([np.zeros(rate // 4, np.int16), samples]).tobytes())


def read_wav(path: Path) -> tuple[NDArray[np.int16], int]:
    """The samples of a mono WAV file, and their rate."""
    with wave.Wave_read(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16), file.getframerate()


def heard_in(path: Path) -> str:
    """What is said in a WAV file."""
    return transcribe(*read_wav(path))
