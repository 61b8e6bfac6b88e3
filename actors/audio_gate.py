"""Where pushed audio enters: checked on the caller's thread, and gathered until a chunk is due.

A wake-up of the session costs more than all the rest of a 10 ms push, so nine of ten pushes only append.
"""

from __future__ import annotations

import threading

from antiphon.actors import messages as m
from antiphon.actors.audio import AudioFrame, check_rates, codec_for
from antiphon.actors.strand import Strand

# The resampler holds back up to 2 ms. A gathering that is longer by this makes a whole chunk of the wire's
# samples at once, instead of one that waits for the next gathering.
FILTER_MS = 3.0


class AudioGate:
    """Gathers frames for one session. Thread-safe; never waits.

    Args:
        strand: The session.
        chunk_ms: Milliseconds of audio in one frame on the wire.
        wire_format: "pcm16", "g711_ulaw" or "g711_alaw".
    """

    def __init__(self, strand: Strand, chunk_ms: int, wire_format: str) -> None:
        self._strand = strand
        self._chunk_ms = chunk_ms
        self._wire_rate = codec_for(wire_format).rate
        self._lock = threading.Lock()
        self._frames: list[AudioFrame] = []
        self._total_ms = 0.0
        self._due_ms = 0.0

    def push(self, frame: AudioFrame) -> None:
        """Take a frame.

        Raises:
            ValueError: Its rate can't be converted to the wire's.
        """
        rate = frame.sample_rate
        if rate != self._wire_rate:
            check_rates(rate, self._wire_rate)
        with self._lock:
            if not self._frames:
                held = 0.0 if rate == self._wire_rate else FILTER_MS
                chunks = self._total_ms // self._chunk_ms + 1
                self._due_ms = chunks * self._chunk_ms + held
            self._frames.append(frame)
            self._total_ms += frame.samples_per_channel * 1000 / rate
            if self._total_ms >= self._due_ms:
                self._pass_on()

    def tell_after(self, message: m.Message) -> None:
        """Send a message behind all audio pushed so far."""
        with self._lock:
            self._pass_on()
            self._total_ms = 0.0
            self._strand.tell(m.AUDIO_IN, message)

    def drop_and_tell(self, message: m.Message) -> None:
        """Forget what is gathered and send a message."""
        with self._lock:
            self._frames = []
            self._total_ms = 0.0
            self._strand.tell(m.AUDIO_IN, message)

    def abandon(self) -> None:
        """Be usable in a child that was forked, where the strand takes nothing."""
        self._lock = threading.Lock()
        self._frames = []

    def _pass_on(self) -> None:
        if self._frames:
            self._strand.tell(m.AUDIO_IN, m.PushAudio(self._frames))
            self._frames = []
