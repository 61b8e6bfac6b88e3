"""When the audio of a recording sounded: both voices on the clock of the call."""

from __future__ import annotations

import os
from collections import deque

import msgspec
import numpy as np

from antiphon.actors.audio import Int16Array, Resampler
from antiphon.recording.format import AudioRef, Heard, Received, Sent, TrackName
from antiphon.recording.reader import Recording

# Chunks are sent when they are full and a thread has time: gaps below this are not silence but its delay.
JITTER_SECONDS = 0.25
# So long are chunks looked at for the one that was sent with the least delay.
WINDOW_SECONDS = 1.0
# Below this, what the chunks tell of the clock is no reason to cut the sound.
STEP_SECONDS = 0.02


class Stretch(msgspec.Struct, frozen=True, kw_only=True):
    """Samples that sounded one after the other.

    Attributes:
        t: When the first sounded, in seconds since the recording began; negative if that was before.
        start: The first sample, in the track.
        samples: How many.
        connection: Of the user's voice: on which connection it was sent. Of the model's: 0.
        item_id: Of the model's voice: whose audio. Of the user's: "".
        estimated: Whether nobody told when it was heard: the application plays by other means than the ledger.
    """

    t: float
    start: int
    samples: int
    connection: int = 0
    item_id: str = ""
    estimated: bool = False


class Timeline:
    """Both voices on the clock of the call.

    Attributes:
        user: The user's voice, by connection and time. What was sent again after a reconnect is there twice.
        model: The model's voice as it was heard, by time.
    """

    def __init__(self, recording: Recording, user: list[Stretch], model: list[Stretch]) -> None:
        self._recording = recording
        self.user = user
        self.model = model

    @property
    def began(self) -> float:
        """The time of the first sample of `mix`: 0, or the time of audio that is older than the recording."""
        return min(0.0, *(stretch.t for stretch in (*self.user, *self.model)), 0.0)

    @property
    def rate(self) -> int:
        """Samples per second of `mix`."""
        return max(self._recording.rate("in"), self._recording.rate("out"))

    def input_time(self, connection: int, ms: float) -> float | None:
        """When a moment that the server counts in milliseconds of a connection's input was, in `t`.

        None if nothing was sent on this connection.
        """
        stretches = [stretch for stretch in self.user if stretch.connection == connection]
        if not stretches:
            return None
        rate = self._recording.rate("in")
        sample = stretches[0].start + ms * rate / 1000
        last = [stretch for stretch in stretches if stretch.start <= sample] or stretches[:1]
        return last[-1].t + (sample - last[-1].start) / rate

    def mix(self) -> Int16Array:
        """Both voices: int16, shape (samples, 2), the user left, the model right, from `began` on."""
        rate, began = self.rate, self.began
        voices: tuple[tuple[TrackName, list[Stretch]], ...] = (("in", self.user), ("out", self.model))
        ends = [
            stretch.t + stretch.samples / self._recording.rate(track)
            for track, stretches in voices
            for stretch in stretches
        ]
        mixed = np.zeros((round((max(ends, default=began) - began) * rate), 2), np.int16)
        for side, (track, stretches) in enumerate(voices):
            factor = rate / self._recording.rate(track)
            samples = _at_rate(self._recording.samples(track), self._recording.rate(track), rate)
            for stretch in stretches:
                at = round((stretch.t - began) * rate)
                first = round(stretch.start * factor)
                piece = samples[first : first + round(stretch.samples * factor)][: len(mixed) - at]
                mixed[at : at + len(piece), side] = piece
        return mixed


def lay_out(recording: Recording) -> Timeline:
    """Find out when the audio of a recording sounded.

    The user's ends when it was sent, and before what was sent after it at once; the model's begins when the player
    took it. If the application plays by other means than `session.playback`, the model's is estimated: it begins when
    it arrived and what came before has been said, and ends where the server was told to truncate it.
    """
    heard = [line for line in recording.lines if isinstance(line, Heard)]
    model = _heard(recording, heard) if heard else _estimated(recording)
    return Timeline(recording, _user(recording), sorted(model, key=lambda stretch: stretch.t))


def save_mix(recording: Recording, path: str | os.PathLike[str]) -> None:
    """Write both voices on the clock of the call into one stereo file, the user left, the model right.

    Args:
        recording: The call.
        path: Where to; its suffix says how: .flac, .wav, .ogg or another of libsndfile's.

    Raises:
        MissingExtraError: The extra `record` is not installed.
        ValueError: The suffix is not known.
        OSError: It can't be written.
    """
    from antiphon.testing.extras import require

    soundfile = require("soundfile", "record")
    timeline = lay_out(recording)
    try:
        soundfile.write(os.fspath(path), timeline.mix(), timeline.rate)
    except TypeError as error:
        raise ValueError(f"{path}: its suffix names no kind of audio file, such as .flac or .wav") from error
    except soundfile.LibsndfileError as error:
        raise OSError(f"{path} can't be written: {error}") from None


# -- the user ---------------------------------------------------------------------------------------------


def _user(recording: Recording) -> list[Stretch]:
    rate = recording.rate("in")
    chunks: dict[int, list[tuple[float, AudioRef]]] = {}
    for line in recording.lines:
        if isinstance(line, Sent) and line.audio is not None:
            chunks.setdefault(line.connection, []).append((line.t, line.audio))
    return [
        Stretch(t=t, start=start, samples=samples, connection=connection)
        for connection, sent in chunks.items()
        for t, start, samples in _ending_when_sent(sent, rate)
    ]


def _ending_when_sent(chunks: list[tuple[float, AudioRef]], rate: int) -> list[tuple[float, int, int]]:
    """Place the chunks of a connection, as (t, start, samples)."""
    placed: list[tuple[float, int, int]] = []
    end = float("-inf")
    for (_, ref), (begin, confirmed) in zip(chunks, _begins(chunks, rate), strict=True):
        late = begin - end
        goes_on = -STEP_SECONDS < late < (STEP_SECONDS if confirmed else JITTER_SECONDS)
        if goes_on and sum(placed[-1][1:]) == ref.start:
            t, start, samples = placed.pop()
            placed.append((t, start, samples + ref.samples))
        else:
            placed.append((end if goes_on else begin, ref.start, ref.samples))
        end = placed[-1][0] + placed[-1][2] / rate
    return placed


def _begins(chunks: list[tuple[float, AudioRef]], rate: int) -> list[tuple[float, bool]]:
    """When each chunk began, and whether those sent soon after it confirm it.

    A chunk ended before it was sent, and before those that follow on it began. How long before is seen from the one
    that was sent with the least delay. Only those of the next second are asked: the sender's clock is not this one,
    and audio may be missing.
    """
    begins: list[tuple[float, bool]] = []
    ahead: deque[tuple[float, float]] = deque()  # (sent, when the connection's audio began), least delay last
    at = sum(ref.samples for _, ref in chunks)
    for sent_at, ref in reversed(chunks):
        began = sent_at - at / rate
        at -= ref.samples
        while ahead and ahead[-1][0] > sent_at + WINDOW_SECONDS:
            ahead.pop()
        confirmed = bool(ahead)
        while ahead and ahead[0][1] >= began:
            ahead.popleft()
        ahead.appendleft((sent_at, began))
        begins.append((ahead[-1][1] + at / rate, confirmed))
    return begins[::-1]


# -- the model --------------------------------------------------------------------------------------------


def _arrivals(recording: Recording) -> dict[str, list[tuple[float, AudioRef]]]:
    """The audio of each item, as it arrived."""
    arrivals: dict[str, list[tuple[float, AudioRef]]] = {}
    for line in recording.lines:
        if isinstance(line, Received) and line.audio is not None:
            arrivals.setdefault(str(line.event.get("item_id", "")), []).append((line.t, line.audio))
    return arrivals


def _heard(recording: Recording, lines: list[Heard]) -> list[Stretch]:
    rate = recording.rate("out")
    arrivals = _arrivals(recording)
    stretches: list[Stretch] = []
    for line in lines:
        t = line.t - (line.end_ms - line.start_ms) / 1000 if line.marked else line.t
        first, last = round(line.start_ms * rate / 1000), round(line.end_ms * rate / 1000)
        at = 0
        for _, ref in arrivals.get(line.item_id, ()):
            begin, end = max(first, at), min(last, at + ref.samples)
            if begin < end:
                stretches.append(
                    Stretch(
                        t=t + (begin - first) / rate,
                        start=ref.start + begin - at,
                        samples=end - begin,
                        item_id=line.item_id,
                    )
                )
            at += ref.samples
    return _joined(stretches, rate)


def _joined(stretches: list[Stretch], rate: int) -> list[Stretch]:
    """Stretches that follow on one another in the track and in time made one."""
    joined: list[Stretch] = []
    for stretch in stretches:
        before = joined[-1] if joined else None
        if (
            before is not None
            and before.item_id == stretch.item_id
            and before.start + before.samples == stretch.start
            and abs(before.t + before.samples / rate - stretch.t) < JITTER_SECONDS
        ):
            joined[-1] = msgspec.structs.replace(before, samples=before.samples + stretch.samples)
        else:
            joined.append(stretch)
    return joined


def _estimated(recording: Recording) -> list[Stretch]:
    rate = recording.rate("out")
    limits = {
        line.event.get("item_id"): line.event.get("audio_end_ms", 0) * rate // 1000
        for line in recording.lines
        if isinstance(line, Sent) and line.type == "conversation.item.truncate"
    }
    stretches: list[Stretch] = []
    free_at = 0.0
    for item_id, arrivals in _arrivals(recording).items():
        left = limits.get(item_id, float("inf"))
        for t, ref in arrivals:
            samples = int(min(ref.samples, left))
            if not samples:
                break
            left -= samples
            begin = max(t, free_at)
            free_at = begin + samples / rate
            stretches.append(
                Stretch(t=begin, start=ref.start, samples=samples, item_id=item_id, estimated=True)
            )
    return _joined(stretches, rate)


def _at_rate(samples: Int16Array, rate: int, wanted: int) -> Int16Array:
    if rate == wanted or not len(samples):
        return samples
    resampler = Resampler(rate, wanted)
    return np.concatenate([resampler.push(samples), resampler.flush()])
