"""A telephone for the carriers that the tests play: a mouth, an ear, and a conversation to hold with them."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon import RealtimeModel, RealtimeSession, ServerVad, StreamEnded
from antiphon.actors.audio import Resampler
from antiphon.protocol import MessageItem
from antiphon.testing import LocalServer, synthesize, transcribe
from antiphon.testing.brains.answers import STORY
from antiphon.testing.brains.base import Output, Request, Say, Sound

PATIENCE = 20.0  # seconds; ends a test that would hang
FRAME_S = 0.02
QUIET = 60  # of 32767; the ear takes less for silence
NOISE = 40  # RMS of the room that the mouth is in

Samples = NDArray[np.int16]
Sessions = list[RealtimeSession]


def model_for(server: LocalServer, **options: Any) -> RealtimeModel:
    """A model at this server."""
    options.setdefault("turn_detection", ServerVad(silence_duration_ms=400))
    return RealtimeModel(base_url=server.url, api_key="sk-test", **options)


def resampled(samples: Samples, old: int, new: int) -> Samples:
    """The same sound at another rate."""
    if old == new:
        return samples
    resampler = Resampler(old, new)
    return np.concatenate([resampler.push(samples), resampler.flush()])


def words(text: str) -> set[str]:
    """The words of a text, in lower case."""
    return set(re.findall(r"[a-z']+", text.lower()))


class Telephone:
    """What a person holds: the carrier takes a frame from it each 20 ms, and gives it what is to be heard.

    Args:
        rate: Samples per second.
    """

    def __init__(self, rate: int = 8000) -> None:
        self.rate = rate
        self.frame = round(rate * FRAME_S)
        self._noise = np.random.default_rng(5).normal(0, NOISE, rate).astype(np.int16)
        self._mouth = np.zeros(0, np.int16)
        self._ear: list[Samples] = []
        self._times: list[float] = []
        self._changed = threading.Condition()

    def speak(self) -> Samples:
        """The next 20 ms of the mouth: what it says, else the room."""
        with self._changed:
            frame, self._mouth = self._mouth[: self.frame], self._mouth[self.frame :]
        room = self._noise[: self.frame]
        return room if len(frame) < self.frame else frame

    def hear(self, samples: Samples) -> None:
        """Something has reached the ear."""
        with self._changed:
            self._ear.append(samples)
            self._times.append(time.monotonic())
            self._changed.notify_all()

    def say(self, text: str) -> None:
        """Begin to say a sentence."""
        spoken = resampled(*synthesize(text), self.rate)
        with self._changed:
            self._mouth = spoken[: len(spoken) // self.frame * self.frame]

    def heard(self, since: int = 0) -> Samples:
        """Everything since a number of pieces had been heard."""
        with self._changed:
            return np.concatenate([np.zeros(0, np.int16), *self._ear[since:]])

    def pieces(self) -> int:
        """How many pieces have been heard so far."""
        return len(self._ear)

    def loud(self, since: int) -> list[tuple[float, int]]:
        """When and how many samples, of the pieces with sound in them."""
        with self._changed:
            pieces = zip(self._times[since:], self._ear[since:], strict=True)
            return [(at, len(piece)) for at, piece in pieces if len(piece) and np.abs(piece).max() > QUIET]

    def wait(self, happened: Callable[[], Any], what: str) -> None:
        """Look after each piece whether something has happened."""
        with self._changed:
            assert self._changed.wait_for(happened, PATIENCE), f"it never came about: {what}"

    def wait_sound(self, seconds: float, since: int) -> None:
        """Wait until so much sound has been heard."""
        self.wait(
            lambda: sum(size for _, size in self.loud(since)) >= seconds * self.rate, f"{seconds} s of sound"
        )

    def wait_pieces(self, count: int) -> None:
        """Wait until so many more pieces have been heard."""
        goal = self.pieces() + count
        self.wait(lambda: self.pieces() >= goal, f"{count} more pieces")

    def wait_quiet(self, seconds: float, since: int) -> None:
        """Wait until the last sound is so long ago; there must have been one."""

        def quiet() -> bool:
            loud = self.loud(since)
            return bool(loud) and time.monotonic() - loud[-1][0] >= seconds

        self.wait(quiet, f"{seconds} s of silence after sound")

    def listen(self, since: int) -> str:
        """Hear an answer to its end; returns its words."""
        self.wait_quiet(1.0, since)
        return transcribe(self.heard(since), self.rate)


class Recital:
    """A brain that says the same sound whatever it is asked, and hears nothing.

    Args:
        sound: What it says.
    """

    def __init__(self, sound: Sound) -> None:
        self._sound = sound

    def warm(self) -> None:
        """Nothing to load."""

    def hear(self, sound: Sound) -> str:
        """Nothing."""
        return ""

    def respond(self, request: Request) -> Iterator[Output]:
        """The one thing that it knows."""
        yield Say("La la la.", self._sound)


def tune(seconds: float, rate: int = 8000) -> Sound:
    """A loud sound of which no two stretches are alike."""
    noise = np.random.default_rng(11).normal(0, 6000, round(seconds * rate))
    return Sound(noise.clip(-30000, 30000).astype(np.int16), rate)


def wait_closed(session: RealtimeSession) -> None:
    """Wait until a session has ended."""
    states = session.events("state_changed")
    try:
        while session.state != "closed":
            states.get(PATIENCE)
    except StreamEnded:
        pass
    assert session.state == "closed"


@contextmanager
def running(serve: Callable[[], None], stop: Callable[[], None]) -> Iterator[None]:
    """Run an example's server on a thread."""
    thread = threading.Thread(target=serve, name="antiphon-test-example")
    thread.start()
    try:
        yield
    finally:
        stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def hold_conversation(
    phone: Telephone, server: LocalServer, sessions: Sessions, slack_ms: float
) -> dict[str, Any]:
    """Be greeted, ask for a story, talk over it, hear silence, hear the answer; see that the mirror has the truth.

    Args:
        phone: Connected.
        server: With the voice brain.
        sessions: The example's session for this call.
        slack_ms: How far what the mirror says may be from what the ear had.

    Returns:
        The figures of the interruption.
    """
    greeting = phone.listen(0)
    assert "help" in words(greeting), greeting

    story = phone.pieces()
    phone.say("Tell me a long story.")
    phone.wait_sound(2.5, story)
    phone.say("Thank you, goodbye.")
    cut = server.log.wait_received("conversation.item.truncate", PATIENCE)
    # While the caller still speaks: what was under way at the cut was over soon, and then there is silence.
    phone.wait(lambda: time.monotonic() - cut.at > 0.5, "half a second")
    answer = phone.pieces()
    over = [at for at, _ in phone.loud(story) if at < cut.at + 0.5]
    silent_after_ms = (over[-1] - cut.at) * 1000
    assert silent_after_ms < 300, silent_after_ms
    reply = phone.listen(answer)
    assert "welcome" in words(reply), (reply, transcripts(server))
    assert "goodbye" in transcripts(server)[-1], transcripts(server)

    (session,) = sessions
    (told,) = [item for item in session.chat_ctx.items if getattr(item, "interrupted", False)]
    assert told.id == cut.event["item_id"]
    # What was heard is at least what was loud, and at most all the time since the first sound, which the voice delays.
    loud = [(at, size) for at, size in phone.loud(story) if at < cut.at + 0.5]
    least_ms = sum(size for _, size in loud) * 1000 / phone.rate
    most_ms = (cut.at - loud[0][0]) * 1000 + pause_before(STORY)
    heard_ms = cut.event["audio_end_ms"]
    figures = {"silent after the cut, ms": silent_after_ms, "mirror": heard_ms, "ear": (least_ms, most_ms)}
    assert least_ms - slack_ms < heard_ms < most_ms + slack_ms, figures
    said = words(transcribe(phone.heard(story)[: phone.frame * (answer - story)], phone.rate))
    assert {"once", "upon"} <= words(told.text_content) & said, (told.text_content, said)
    assert "end of the story" not in told.text_content
    return figures


def pause_before(text: str) -> float:
    """How long the voice waits before the first sentence of a text, in milliseconds."""
    samples, rate = synthesize(text.partition(".")[0] + ".")
    return float(np.argmax(np.abs(samples) > QUIET)) * 1000 / rate


def transcripts(server: LocalServer) -> list[str]:
    """What the server heard the caller say."""
    sent = server.log.sent("conversation.item.input_audio_transcription.completed")
    return [record.event["transcript"] for record in sent]


def pressed_keys(server: LocalServer) -> list[str]:
    """What the model was told of keys."""
    texts = [
        part.text
        for item in server.conversation()
        if isinstance(item, MessageItem) and item.role == "user"
        for part in item.content
    ]
    return [text for text in texts if isinstance(text, str) and "key" in text]
