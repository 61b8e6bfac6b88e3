"""What the telephone examples share: how a call begins, what a pressed key does, when sound is due."""

from __future__ import annotations

import time
from collections.abc import Callable

from antiphon import RealtimeModel, RealtimeSession, ServerVad

FRAME_S = 0.02  # the telephone's packet


def g711_model() -> RealtimeModel:
    """A model that speaks mu-law, so that nothing is resampled; OPENAI_API_KEY and OPENAI_BASE_URL say where."""
    return RealtimeModel(
        turn_detection=ServerVad(), input_audio_format="g711_ulaw", output_audio_format="g711_ulaw"
    )


def greet(session: RealtimeSession) -> None:
    """Let the model speak first. Instructions and tools of your own belong here; it must not block."""
    session.generate_reply(instructions="Greet the caller in one short sentence.")


def press(session: RealtimeSession, digit: str) -> None:
    """Tell the model of a key: it falls silent and answers. Doesn't block.

    Args:
        session: The caller's.
        digit: One of 0 to 9, *, #, A to D.
    """
    session.interrupt()
    words = {"type": "input_text", "text": f"The caller pressed the key {digit}."}
    item = {"type": "message", "role": "user", "content": [words]}
    session.send_event({"type": "conversation.item.create", "item": item})
    session.generate_reply()


class Pacer:
    """Says when frames are due: whole periods after the start, so that no error adds up.

    Args:
        period: Seconds from one frame to the next.
        clock: Monotonic seconds.
    """

    def __init__(self, period: float = FRAME_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._period, self._clock, self._began, self._frames = period, clock, clock(), 0

    def wait_s(self) -> float:
        """Seconds until the next frame; 0 if it is due."""
        return max(0.0, self._began + (self._frames + 1) * self._period - self._clock())

    def due(self) -> int:
        """How many frames have become due since this was last called."""
        before = self._frames
        # The tiny addition makes a deadline that was met to the nanosecond count in spite of rounding.
        self._frames = int((self._clock() - self._began) / self._period + 1e-6)
        return self._frames - before
