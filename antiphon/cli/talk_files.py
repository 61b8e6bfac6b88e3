"""Files instead of a microphone and a loudspeaker, in real time."""

from __future__ import annotations

import contextlib
import threading
import time
import wave
from pathlib import Path
from typing import Final

import numpy as np

from antiphon import RealtimeSession
from antiphon.actors.audio import Int16Array
from antiphon.devices import Levels

OUT_RATE: Final = 24_000
_BLOCK_S: Final = 0.02
# The call is over when the file is, and nothing was heard or under way for so long.
_QUIET_S: Final = 1.5
# How long to wait for an answer that doesn't come.
_PATIENCE_S: Final = 15.0


def read_wav(path: Path) -> tuple[Int16Array, int]:
    """Read a 16-bit WAV file: samples of shape (samples, channels), and their rate.

    Raises:
        ValueError: It is another kind of file; the message says which kinds do.
        OSError: It can't be read.
    """
    try:
        with wave.open(str(path), "rb") as file:
            if file.getsampwidth() != 2:
                raise ValueError(
                    f"{path} has {8 * file.getsampwidth()}-bit samples; give a 16-bit PCM WAV file"
                )
            data = np.frombuffer(file.readframes(file.getnframes()), np.int16)
            return data.reshape(-1, file.getnchannels()), file.getframerate()
    except (wave.Error, EOFError) as error:
        reason = str(error) or "it is empty or cut short"
        raise ValueError(f"{path} is no WAV file ({reason}); give a 16-bit PCM WAV file") from None


def refuse_same_file(question: Path, option: str, path: Path) -> None:
    """Protect the file of --in.

    Args:
        question: The file of --in.
        option: An option that names a file to write.
        path: That file.

    Raises:
        ValueError: They are one file, by whatever names.
        OSError: The question can't be looked at.
    """
    if path.exists() and path.samefile(question):
        raise ValueError(f"{option} {path} would overwrite the file of --in, {question}; give another name")


class FileCall:
    """Speaks a file into a session in step with the clock, then waits for the answers, and keeps what was heard.

    It has what a command line needs of `antiphon.devices.DeviceCall`, and can stand in its place.

    Args:
        session: The call; its ledger is configured.
        question: A 16-bit WAV file, spoken from its beginning once the session is open.
        answer: Where to write what was heard, mono at 24 kHz, in step with the question; None for nowhere.

    Raises:
        ValueError: The question is no such file, or the answer would overwrite it.
        OSError: A file can't be read or written.
    """

    def __init__(self, session: RealtimeSession, question: Path, answer: Path | None) -> None:
        self._session = session
        self._samples, self._rate = read_wav(question)
        self._files = contextlib.ExitStack()
        self._file: wave.Wave_write | None = None
        if answer is not None:
            refuse_same_file(question, "--out", answer)
            # Opened here: a Wave_write that can't open its file complains once more when it is collected.
            file = self._files.enter_context(answer.open("wb"))
            self._file = self._files.enter_context(wave.Wave_write(file))
            self._file.setnchannels(1)
            self._file.setsampwidth(2)
            self._file.setframerate(OUT_RATE)
        session.playback.configure(OUT_RATE)
        self.muted = False
        self.levels = Levels(0.0, 0.0)
        self.position_s = 0.0
        self._quiet_since = 0.0
        self._answered = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="antiphon-talk-files", daemon=True)
        self._thread.start()

    @property
    def duration_s(self) -> float:
        """How long the question is."""
        return len(self._samples) / self._rate

    @property
    def running(self) -> bool:
        """Whether something may still be said."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Stop, and finish the file."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        with self._files:
            if self._await_open():
                self._speak_and_listen()

    def _await_open(self) -> bool:
        # It may take several attempts; the session itself gives up in time.
        while self._session.state != "open":
            if self._session.state == "closed" or self._stopped.wait(_BLOCK_S):
                return False
        return True

    def _speak_and_listen(self) -> None:
        began = time.monotonic()
        tick = 0
        while not self._stopped.wait(max(0.0, began + tick * _BLOCK_S - time.monotonic())):
            self._step(tick)
            tick += 1
            if self._session.state == "closed" or self._is_over(tick * _BLOCK_S):
                return

    def _step(self, tick: int) -> None:
        size = int(self._rate * _BLOCK_S)
        block = self._samples[tick * size : (tick + 1) * size]
        if len(block) < size:
            gap = np.zeros((size - len(block), self._samples.shape[1]), np.int16)
            block = np.concatenate([block, gap])
        self._session.push_audio(block, self._rate, block.shape[1])
        heard = self._session.playback.read(int(OUT_RATE * _BLOCK_S))
        if self._file is not None:
            self._file.writeframes(heard.tobytes())
        self.levels = Levels(_peak(block), _peak(heard))
        self.position_s = min((tick + 1) * _BLOCK_S, self.duration_s)

    def _is_over(self, now_s: float) -> bool:
        busy = self.levels.speaker > 0 or self._session.playback.queued_ms > 0
        self._answered |= busy
        if busy or now_s <= self.duration_s:
            self._quiet_since = now_s
        quiet = now_s - self._quiet_since
        if quiet < _QUIET_S:
            return False
        if self._session.has_active_generation:
            self._quiet_since = now_s - _QUIET_S / 2
            return False
        return self._answered or quiet >= _PATIENCE_S


def _peak(block: Int16Array) -> float:
    return float(np.abs(block.astype(np.int32)).max()) / 32768
