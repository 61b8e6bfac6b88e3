"""A caller for examples: speaks sentences in real time into a session, hears the answers, records both."""

from __future__ import annotations

import time
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from antiphon import AudioFrame, RealtimeSession
from antiphon.actors.audio import Int16Array, Resampler
from antiphon.testing import synthesize

RATE = 48_000
BLOCK = 480  # 10 ms, as a sound card would deliver it
PAUSE_S = 0.5
QUIET_S = 0.6  # after so much quiet an answer is over
NOISE_LEVEL = 60  # of 32767: a quiet room


@dataclass(frozen=True)
class Sentence:
    """Something to say, and what should come of it.

    Attributes:
        text: What is said.
        heard: Words that the transcript must have.
        expect: Words that the answer must have.
        tool: A tool that must be called.
        cut_after_s: The next sentence is said into the answer when it has lasted so many seconds.
    """

    text: str
    heard: tuple[str, ...] = ()
    expect: tuple[str, ...] = ()
    tool: str | None = None
    cut_after_s: float | None = None


def room_noise(samples: int, seed: int = 7) -> Int16Array:
    """Quiet noise, shape (samples, 2): a different one in each ear, as in a room."""
    noise = np.random.default_rng(seed).normal(0.0, NOISE_LEVEL, (samples, 2))
    return noise.astype(np.int16)


def write_questions(path: Path, sentences: tuple[Sentence, ...]) -> list[tuple[int, int]]:
    """Speak the sentences into a 48 kHz stereo WAV with noise and pauses; returns where each one stands."""
    pause = np.zeros(int(PAUSE_S * RATE), np.int16)
    parts, places, at = [pause], [], len(pause)
    for sentence in sentences:
        samples, rate = synthesize(sentence.text)
        resampler = Resampler(rate, RATE)
        spoken = np.concatenate([resampler.push(samples), resampler.flush()])
        places.append((at, at + len(spoken)))
        parts += [spoken, pause]
        at += len(spoken) + len(pause)
    mono = np.concatenate(parts)
    stereo = np.clip(mono[:, None].astype(np.int32) + room_noise(len(mono)), -32768, 32767)
    write_wav(path, stereo.astype(np.int16))
    return places


def write_wav(path: Path, samples: Int16Array) -> None:
    """Write int16 samples of shape (samples, channels) at 48 kHz."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.tobytes())


def read_wav(path: Path) -> Int16Array:
    """Read an int16 WAV as shape (samples, channels)."""
    with wave.open(str(path), "rb") as file:
        data = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        return data.reshape(-1, file.getnchannels())


class Caller:
    """Ten milliseconds in, ten milliseconds out, in step with the clock.

    Args:
        session: The conversation; its playback ledger is read.
        questions: A 48 kHz stereo WAV.
        places: Where each sentence stands in it, in samples.
    """

    def __init__(self, session: RealtimeSession, questions: Path, places: list[tuple[int, int]]) -> None:
        self._session = session
        self._questions = read_wav(questions)
        self._places = places
        self._silence = room_noise(RATE)
        self._mouth: Int16Array | None = None
        self._blocks: list[Int16Array] = []
        session.playback.configure(RATE)

    @property
    def speaking(self) -> bool:
        """Whether a sentence is being said."""
        return self._mouth is not None

    def say(self, number: int) -> None:
        """Begin to say a sentence."""
        start, end = self._places[number]
        self._mouth = self._questions[start:end]

    def listen(self, each_block: Callable[[bool], bool], limit_s: float) -> None:
        """Speak and hear until `each_block(sound)` returns True, or `limit_s` seconds have passed.

        Args:
            each_block: Called after every 10 ms with whether something was heard.
            limit_s: When to give up.
        """
        began = time.monotonic()
        for tick in range(int(limit_s * RATE / BLOCK)):
            spoken = self._next_block(tick)
            self._session.push_audio(AudioFrame(spoken, RATE, 2))
            heard = self._session.playback.read(BLOCK)
            self._blocks.append(np.stack([spoken[:, 0], heard], axis=1))
            over = each_block(bool(heard.any()))
            time.sleep(max(0.0, began + (tick + 1) * BLOCK / RATE - time.monotonic()))
            if over:
                return

    def ask(
        self,
        number: int,
        each_block: Callable[[], object],
        cut_after_s: float | None = None,
        limit_s: float = 60.0,
    ) -> None:
        """Say a sentence and hear its answer to the end.

        Args:
            number: The sentence.
            each_block: Called after every 10 ms.
            cut_after_s: Hear only so many seconds of the answer.
            limit_s: When to give up.
        """
        self.say(number)
        since_answer = quiet = 0.0

        def over(sound: bool) -> bool:
            nonlocal since_answer, quiet
            each_block()
            if self.speaking:
                return False
            if sound or since_answer:
                since_answer += BLOCK / RATE
            if cut_after_s is not None:
                return since_answer >= cut_after_s
            quiet = 0.0 if sound else quiet + BLOCK / RATE
            return since_answer > 0 and quiet >= QUIET_S and not self._session.has_active_generation

        self.listen(over, limit_s)

    @property
    def levels(self) -> tuple[float, float]:
        """Peaks of the last 10 ms, 0 to 1: the caller's and the model's."""
        if not self._blocks:
            return 0.0, 0.0
        spoken, heard = np.abs(self._blocks[-1].astype(np.int32)).max(axis=0) / 32768
        return float(spoken), float(heard)

    def recording(self) -> Int16Array:
        """The call so far, shape (samples, 2): the caller left, the model right."""
        return np.concatenate(self._blocks)

    def _next_block(self, tick: int) -> Int16Array:
        if self._mouth is None:
            at = tick * BLOCK % (len(self._silence) - BLOCK)
            return self._silence[at : at + BLOCK]
        block, self._mouth = self._mouth[:BLOCK], self._mouth[BLOCK:]
        if not len(self._mouth):
            self._mouth = None
        if len(block) < BLOCK:
            block = np.concatenate([block, self._silence[: BLOCK - len(block)]])
        return block
