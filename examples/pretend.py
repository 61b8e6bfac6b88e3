"""A pretended microphone and loudspeaker, for where there are none: pressed like `antiphon.devices.DeviceCall`."""

from __future__ import annotations

import threading
from pathlib import Path

from caller import Caller, Sentence, write_questions

from antiphon import RealtimeSession
from antiphon.devices import Levels

SCRIPT = (
    Sentence("Hello, can you hear me?"),
    Sentence("What is the weather in San Francisco?"),
    Sentence("Tell me a joke."),
    Sentence("Thank you, goodbye."),
)


class PretendedCall:
    """Each press speaks the next sentence, to its end, and after that and the release the model is asked to answer.

    Args:
        session: The conversation, without turn detection.
        folder: For the sentences.
    """

    def __init__(self, session: RealtimeSession, folder: Path) -> None:
        questions = folder / "questions.wav"
        self._session = session
        self._caller = Caller(session, questions, write_questions(questions, SCRIPT))
        self._presses = 0
        self._released = False
        threading.Thread(target=self._run, name="pretended-call", daemon=True).start()

    @property
    def levels(self) -> Levels:
        """How loud it is."""
        return Levels(*self._caller.levels)

    def press(self) -> None:
        """Interrupt the model, and speak."""
        self._session.interrupt()
        self._session.clear_audio()
        self._caller.say(self._presses % len(SCRIPT))
        self._presses += 1

    def release(self) -> None:
        """Have the sentence answered when it has been spoken."""
        self._released = True

    def _run(self) -> None:
        self._caller.listen(self._each_block, limit_s=3600.0)

    def _each_block(self, sound: bool) -> bool:
        if self._released and not self._caller.speaking:
            self._released = False
            self._session.commit_audio()
            self._session.generate_reply()
        return self._session.state == "closed"
