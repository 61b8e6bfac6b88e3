"""When the audio of a recording sounded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import soundfile
from test_reader import HEADER

from antiphon import recording
from antiphon.recording import AudioRef, Heard, Line, Received, Recording, Sent, TrackName
from antiphon.recording.wav import WavWriter

RATE = 24_000
CHUNK = RATE // 10


class Call:
    """A recording, put together by hand. Each chunk of audio is 100 ms and holds its own number."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lines: list[Line] = [HEADER]
        self._tracks: dict[TrackName, list[np.ndarray[Any, np.dtype[np.int16]]]] = {"in": [], "out": []}

    def _audio(self, track: TrackName) -> AudioRef:
        number = len(self._tracks[track])
        self._tracks[track].append(np.full(CHUNK, number + 1, np.int16))
        return AudioRef(track=track, start=number * CHUNK, samples=CHUNK)

    def sent(self, t: float, connection: int = 1) -> None:
        """A chunk of the user's."""
        event = {"type": "input_audio_buffer.append"}
        self._lines.append(Sent(t=t, wall=t, connection=connection, event=event, audio=self._audio("in")))

    def arrived(self, t: float, item_id: str) -> None:
        """A chunk of the model's."""
        event = {"type": "response.output_audio.delta", "item_id": item_id}
        self._lines.append(Received(t=t, wall=t, connection=1, event=event, audio=self._audio("out")))

    def line(self, line: Line) -> None:
        """Another line."""
        self._lines.append(line)

    def read(self) -> Recording:
        """Write and read it."""
        self._file.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in self._lines))
        for track, chunks in self._tracks.items():
            wav = WavWriter(self._file.with_suffix(f".{track}.wav"), "pcm16")
            wav.write(b"".join(chunk.tobytes() for chunk in chunks))
            wav.close()
        return recording.read(self._file)


@pytest.fixture
def call(file: Path) -> Call:
    """An empty one."""
    return Call(file)


def test_what_is_said_without_a_pause_has_none_in_it_although_threads_are_late(call: Call) -> None:
    for t in (1.1, 1.26, 1.3, 1.49, 1.5):
        call.sent(t)
    [stretch] = recording.lay_out(call.read()).user
    assert stretch.t == pytest.approx(1.0)
    assert (stretch.start, stretch.samples, stretch.connection) == (0, 5 * CHUNK, 1)


def test_one_late_chunk_at_the_end_does_not_move_what_came_before(call: Call) -> None:
    for t in (1.1, 1.2, 1.3, 1.5):
        call.sent(t)
    [stretch] = recording.lay_out(call.read()).user
    assert stretch.t == pytest.approx(1.0)


def test_a_clock_that_runs_fast_does_not_move_what_was_said_long_before(call: Call) -> None:
    """10 ms are sent too much each second, as by a sound card with another clock; a real one is slower to do it."""
    sent = [1.1 + number * 0.099 for number in range(100)]
    for t in sent:
        call.sent(t)
    timeline = recording.lay_out(call.read())
    for number in (0, 50, 99):
        assert timeline.input_time(1, 100 * (number + 1)) == pytest.approx(sent[number], abs=0.03)


@pytest.mark.parametrize("missing", [0.1, 0.2])
def test_audio_that_is_missing_does_not_move_what_comes_after_it(call: Call, missing: float) -> None:
    before = [1.1 + number * 0.1 for number in range(20)]
    after = [3.1 + missing + number * 0.1 for number in range(20)]
    for t in (*before, *after):
        call.sent(t)
    first, second = recording.lay_out(call.read()).user
    assert (first.t, first.samples) == (pytest.approx(1.0), 20 * CHUNK)
    assert (second.t, second.samples) == (pytest.approx(3.0 + missing), 20 * CHUNK)


def test_a_pause_stays_one(call: Call) -> None:
    for t in (1.1, 1.2, 3.0):
        call.sent(t)
    first, second = recording.lay_out(call.read()).user
    assert (first.t, first.samples) == (pytest.approx(1.0), 2 * CHUNK)
    assert (second.t, second.start) == (pytest.approx(2.9), 2 * CHUNK)


def test_what_waited_for_a_connection_was_said_before_it_was_sent(call: Call) -> None:
    for t in (5.0, 5.0, 5.0, 5.1):
        call.sent(t, connection=2)
    [stretch] = recording.lay_out(call.read()).user
    assert stretch.t == pytest.approx(4.7)


def test_a_moment_of_the_servers_clock_is_found(call: Call) -> None:
    for t in (1.1, 1.2, 3.1, 3.2):
        call.sent(t)
    call.sent(9.1, connection=2)
    timeline = recording.lay_out(call.read())
    assert timeline.input_time(1, 150) == pytest.approx(1.15)
    assert timeline.input_time(1, 250) == pytest.approx(3.05)
    assert timeline.input_time(2, 50) == pytest.approx(9.05)
    assert timeline.input_time(3, 50) is None


def test_the_models_voice_is_where_the_player_took_it(call: Call) -> None:
    call.arrived(1.0, "a")
    call.arrived(1.0, "b")
    call.arrived(1.01, "a")
    call.line(Heard(t=2.0, wall=0.0, item_id="a", start_ms=0, end_ms=150))
    call.line(Heard(t=2.15, wall=0.0, item_id="a", start_ms=150, end_ms=180))
    call.line(Heard(t=4.0, wall=0.0, item_id="b", start_ms=50, end_ms=100, marked=True))
    first, second, third = recording.lay_out(call.read()).model
    assert (first.t, first.start, first.samples, first.item_id) == (2.0, 0, CHUNK, "a")
    assert (second.t, second.start, second.samples) == (pytest.approx(2.1), 2 * CHUNK, 0.8 * CHUNK)
    assert (third.t, third.start, third.samples) == (pytest.approx(3.95), 1.5 * CHUNK, 0.5 * CHUNK)
    assert not any(stretch.estimated for stretch in (first, second, third))


def test_without_the_ledger_it_is_estimated(call: Call) -> None:
    for t in (1.0, 1.01, 1.02):
        call.arrived(t, "a")
    call.arrived(1.03, "b")
    truncate = {"type": "conversation.item.truncate", "item_id": "a", "audio_end_ms": 250}
    call.line(Sent(t=1.5, wall=0.0, connection=1, event=truncate))
    first, second = recording.lay_out(call.read()).model
    assert first.estimated
    assert (first.t, first.start, first.samples) == (1.0, 0, 2.5 * CHUNK)
    assert (second.t, second.item_id) == (pytest.approx(1.25), "b")


def test_the_mix_has_both_voices_at_their_times(call: Call, tmp_path: Path) -> None:
    call.sent(0.5)
    call.arrived(0.6, "a")
    call.line(Heard(t=0.7, wall=0.0, item_id="a", start_ms=0, end_ms=100))
    read = call.read()
    mixed = recording.lay_out(read).mix()
    assert mixed.shape == (round(0.8 * RATE), 2)
    for side, t in ((0, 0.4), (1, 0.7)):
        sounding = np.flatnonzero(mixed[:, side])
        assert (sounding[0], len(sounding)) == (round(t * RATE), CHUNK)
    recording.save_mix(read, tmp_path / "mix.flac")
    written, rate = soundfile.read(tmp_path / "mix.flac", dtype="int16")
    assert rate == RATE
    assert np.array_equal(written, mixed)
    with pytest.raises(ValueError, match="suffix"):
        recording.save_mix(read, tmp_path / "mix.what")


def test_audio_from_before_the_recording_comes_before_zero(call: Call) -> None:
    for _ in range(5):
        call.sent(0.1)
    timeline = recording.lay_out(call.read())
    assert timeline.began == pytest.approx(-0.4)
    assert timeline.mix()[0, 0] == 1


def test_nothing_said_is_nothing_mixed(call: Call) -> None:
    assert recording.lay_out(call.read()).mix().shape == (0, 2)
