"""The pacer keeps time for ten minutes; the jitter buffer puts sound where it belongs."""

from __future__ import annotations

import random

import numpy as np
import pytest
from jitter import DELAY, LATE_PACKETS, SPAN, JitterBuffer
from phone import FRAME_S, Pacer

FRAME = 160
TEN_MINUTES = 600.0


class Clock:
    """Time that the test moves."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("start", [0.0, 12_345.678, 9e6], ids=["boot", "day", "months"])
def test_in_ten_minutes_no_frame_is_lost_and_no_lateness_adds_up(start) -> None:
    """A thread that always sleeps a little too long, works a little, and sometimes is held up for a while."""
    clock, chance = Clock(start), random.Random(1)
    pacer = Pacer(clock=clock)
    frames, latest = 0, 0.0
    while clock.now < start + TEN_MINUTES:
        wait = pacer.wait_s()
        assert 0 <= wait <= FRAME_S + 1e-6
        late = chance.choice([5e-5, 1e-3, 8e-3]) if chance.random() < 0.999 else 0.3
        clock.now += wait + late
        frames += pacer.due()
        # Frame n is due at n * 20 ms, however late those before it were.
        behind = clock.now - (start + frames * FRAME_S)
        assert -1e-6 <= behind < FRAME_S
        latest = max(latest, late)
    assert latest == 0.3
    assert frames == int((clock.now - start) / FRAME_S + 1e-6)
    assert frames >= 30_000


def test_a_naive_sleeper_would_have_drifted() -> None:
    """What the deadlines are for: 1 ms too long on each of 30,000 sleeps is half a minute."""
    clock = Clock()
    pacer = Pacer(clock=clock)
    sleeps = frames = 0
    while clock.now < TEN_MINUTES:
        clock.now += pacer.wait_s() + 1e-3
        sleeps += 1
        frames += pacer.due()
    assert sleeps * (FRAME_S + 1e-3) > TEN_MINUTES + 29
    assert abs(clock.now - frames * FRAME_S) < FRAME_S


def sound(number: int) -> np.ndarray:
    """A frame that tells its number."""
    return np.full(FRAME, number + 1, np.int16)


def play(buffer: JitterBuffer, frames: int) -> list[int]:
    """The numbers of the frames that come out; -1 is silence."""
    taken = [buffer.take(FRAME) for _ in range(frames)]
    assert all((frame == frame[0]).all() for frame in taken)
    return [int(frame[0]) - 1 for frame in taken]


@pytest.mark.parametrize("origin", [0, 77, 2**31 - 200, 2**32 - 3 * FRAME], ids=["0", "77", "half", "wrap"])
def test_order_and_repetition_do_not_matter(origin) -> None:
    buffer = JitterBuffer()
    for number in (0, 2, 1, 1, 4, 3, 0):
        buffer.put((origin + number * FRAME) % 2**32, sound(number))
    assert play(buffer, 10) == [-1, -1, -1, 0, 1, 2, 3, 4, -1, -1]


def test_what_is_lost_is_silence_and_what_is_late_is_dropped() -> None:
    buffer = JitterBuffer()
    for number in (0, 2, 3):
        buffer.put(number * FRAME, sound(number))
    assert play(buffer, 6) == [-1, -1, -1, 0, -1, 2]
    buffer.put(FRAME, sound(1))
    assert play(buffer, 2) == [3, -1]


def test_a_pause_keeps_its_length() -> None:
    """Silence suppression: the sequence numbers go on, the timestamps jump."""
    buffer = JitterBuffer()
    buffer.put(0, sound(0))
    assert play(buffer, 103) == [-1, -1, -1, 0] + [-1] * 99
    buffer.put(103 * FRAME, sound(5))
    assert play(buffer, 4) == [-1, -1, -1, 5]


def test_frames_of_any_length() -> None:
    buffer = JitterBuffer()
    for start in range(0, 960, 240):
        buffer.put(start, np.arange(start, start + 240, dtype=np.int16))
    buffer.take(DELAY)
    assert (buffer.take(960) == np.arange(960)).all()


@pytest.mark.parametrize("jump", [2 * SPAN, 10**6, -(10**6), 2**31])
def test_a_clock_that_jumps_is_followed(jump) -> None:
    buffer = JitterBuffer()
    buffer.put(1000, sound(0))
    play(buffer, 4)
    heard = []
    for number in range(LATE_PACKETS + 6):
        buffer.put((1000 + jump + number * FRAME) % 2**32, sound(number))
        heard += play(buffer, 1)
    assert [number for number in heard if number >= 0][-1] == heard[-1] >= 0


@pytest.mark.parametrize("drift", [3e-4, -3e-4])
def test_a_sender_whose_clock_is_wrong_is_heard_for_ten_minutes(drift) -> None:
    """The buffer runs empty or full now and then, and loses a fraction of a second."""
    buffer, sent, heard, silent = JitterBuffer(), 0, 0, 0
    for tick in range(30_000):
        while sent <= tick * (1 + drift):
            buffer.put(sent * FRAME, sound(sent % 1000))
            sent += 1
        silent += not buffer.take(FRAME).any()
        heard += 1
    assert silent / heard < 0.005
