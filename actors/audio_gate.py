"""Where pushed audio enters: checked on the caller's thread, and gathered until a chunk is due.

A wake-up of the session costs more than all the rest of a 10 ms push, so nine of ten pushes only append. Bytes in the
format of those before are the usual case, and not even looked at until then: 1.5 µs a push in place of 4.
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
        # Bytes that follow the frames: pieces of one format, which has been checked.
        self._run: list[bytes] = []
        self._run_format: tuple[int, int] | None = None
        self._run_step = 2
        self._total_ms = 0.0
        self._due_ms = 0.0

    def push_bytes(self, data: bytes, sample_rate: int | None, num_channels: int | None) -> bool:
        """Take s16le bytes if they have the format of the bytes before; if they haven't, or aren't whole, do nothing.

        Returns:
            Whether they were taken.
        """
        with self._lock:
            given = sample_rate, 1 if num_channels is None else num_channels
            if given != self._run_format or len(data) % self._run_step:
                return False
            rate = self._run_format[0]
            self._begin_gathering(rate)
            self._run.append(data)
            self._count(len(data) / self._run_step * 1000 / rate)
            return True

    def push(self, frame: AudioFrame, begins_run: bool = False) -> None:
        """Take a frame.

        Args:
            frame: The frame.
            begins_run: Whether it was made of bytes, which more of the same format may follow.

        Raises:
            ValueError: Its rate can't be converted to the wire's.
        """
        rate = frame.sample_rate
        if rate != self._wire_rate:
            check_rates(rate, self._wire_rate)
        with self._lock:
            self._begin_gathering(rate)
            self._end_run()
            self._frames.append(frame)
            if begins_run:
                self._run_format = rate, frame.num_channels
                self._run_step = 2 * frame.num_channels
            self._count(frame.samples_per_channel * 1000 / rate)

    def tell_after(self, message: m.Message) -> None:
        """Send a message behind all audio pushed so far."""
        with self._lock:
            self._pass_on()
            self._total_ms = 0.0
            self._strand.tell(m.AUDIO_IN, message)

    def drop_and_tell(self, message: m.Message) -> None:
        """Forget what is gathered and send a message."""
        with self._lock:
            self._frames, self._run = [], []
            self._total_ms = 0.0
            self._strand.tell(m.AUDIO_IN, message)

    def abandon(self) -> None:
        """Be usable in a child that was forked, where the strand takes nothing."""
        self._lock = threading.Lock()
        self._frames, self._run = [], []

    def _begin_gathering(self, rate: int) -> None:
        if not self._frames and not self._run:
            held = 0.0 if rate == self._wire_rate else FILTER_MS
            chunks = self._total_ms // self._chunk_ms + 1
            self._due_ms = chunks * self._chunk_ms + held

    def _count(self, ms: float) -> None:
        self._total_ms += ms
        if self._total_ms >= self._due_ms:
            self._pass_on()

    def _end_run(self) -> None:
        if self._run and self._run_format is not None:
            self._frames.append(AudioFrame(b"".join(self._run), *self._run_format))
            self._run = []

    def _pass_on(self) -> None:
        self._end_run()
        if self._frames:
            self._strand.tell(m.AUDIO_IN, m.PushAudio(self._frames))
            self._frames = []
