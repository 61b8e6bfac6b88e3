"""The playback ledger by itself: an audio callback on one side, the engine on the other."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from antiphon import Playback
from antiphon.actors.audio import Int16Array, Resampler
from antiphon.actors.playback import FADE_MS, HISTORY, Cut

WIRE = 24_000
PATIENCE = 10.0


def tone(ms: float, rate: int = WIRE, level: int = 8000) -> Int16Array:
    at = np.arange(int(ms * rate / 1000)) / rate
    return (level * np.sin(2 * np.pi * 440 * at)).astype(np.int16)


def steady(ms: int, level: int = 8000) -> Int16Array:
    return np.full(ms * WIRE // 1000, level, np.int16)


def resampled(samples: Int16Array, rate: int, wire: int = WIRE) -> Int16Array:
    if rate == wire:
        return samples
    resampler = Resampler(wire, rate)
    return np.concatenate([resampler.push(samples), resampler.flush()])


# -- what comes out ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_device_hears_the_models_audio_at_its_own_rate(rate: int, channels: int) -> None:
    playback = Playback(WIRE)
    playback.configure(rate, channels)
    sound = tone(500)
    for at in range(0, len(sound), 1111):
        playback.write("a", sound[at : at + 1111])
    playback.finish("a")
    blocks = []
    while playback.queued_ms:
        block = np.ones((137, channels) if channels > 1 else 137, np.int16)
        filled = playback.read_into(block)
        assert not block[filled:].any()
        blocks.append(block[:filled])
    heard = np.concatenate(blocks)
    expected = resampled(sound, rate)
    for channel in range(channels):
        got = heard if channels == 1 else heard[:, channel]
        assert len(got) == len(expected)
        assert np.abs(got.astype(int) - expected).max() <= 1
    assert abs(playback.played_ms("a") - 500) <= 1
    assert playback.underruns == 0
    assert playback.cut() == []


def test_read_is_read_into_a_new_block() -> None:
    playback = Playback(WIRE)
    playback.configure(WIRE, 2)
    playback.write("a", steady(10))
    block = playback.read(480)
    assert (block.shape, block.dtype) == ((480, 2), np.int16)
    assert (block[:240] == 8000).all()
    assert not block[240:].any()
    assert playback.read(0).shape == (0, 2)
    with pytest.raises(ValueError, match="n_samples"):
        playback.read(-1)


def test_two_items_at_once_do_not_run_through_one_filter() -> None:
    playback = Playback(WIRE)
    playback.configure(48_000)
    for _ in range(5):
        playback.write("a", steady(20, 8000))
        playback.write("b", steady(20, -8000))
    playback.finish("a")
    playback.finish("b")
    playback.read(48_000)
    assert playback.played_ms("a") == pytest.approx(100, abs=0.1)
    assert playback.played_ms("b") == pytest.approx(100, abs=0.1)


@pytest.mark.parametrize(
    ("channels", "block", "words"),
    [
        (1, np.zeros(480, np.float32), "float32"),
        (1, np.zeros(480, ">i2"), ">i2"),
        (1, [0] * 480, "list"),
        (1, bytearray(960), "frombuffer"),
        (1, np.zeros((480, 2), np.int16), r"\(samples, 1\) or \(samples,\)"),
        (2, np.zeros(480, np.int16), r"\(samples, 2\)"),
        (2, np.zeros((480, 3), np.int16), "configure"),
        (1, np.zeros((), np.int16), "shape"),
        (1, np.frombuffer(bytes(960), np.int16), "read-only"),
    ],
    ids=["float", "big-endian", "list", "bytearray", "stereo", "mono", "three", "no shape", "read-only"],
)
def test_a_block_that_cannot_be_filled_is_refused_and_nothing_is_lost(
    channels: int, block: Any, words: str
) -> None:
    playback = Playback(WIRE)
    playback.configure(WIRE, channels)
    playback.write("a", steady(20))
    with pytest.raises(ValueError, match=words):
        playback.read_into(block)
    assert playback.queued_ms == 20
    assert playback.played_ms("a") == 0


def test_a_column_is_a_mono_block() -> None:
    playback = Playback(WIRE)
    playback.write("a", steady(10))
    block = np.zeros((240, 1), np.int16)
    assert playback.read_into(block) == 240
    assert (block == 8000).all()


def test_underruns_count_the_blocks_with_a_gap_in_an_item() -> None:
    playback = Playback(WIRE)
    playback.read(240)
    assert playback.underruns == 0, "nothing was to be heard"
    playback.write("a", steady(15))
    playback.read(240)
    playback.read(240)
    playback.read(240)
    assert playback.underruns == 2
    playback.write("a", steady(10))
    playback.finish("a")
    playback.read(480)
    assert playback.underruns == 2, "it was at its end"


# -- cuts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delta_ms", [20, 100], ids=["between two pieces", "within a piece"])
@pytest.mark.parametrize("block", [32, 240, 4800])
@pytest.mark.parametrize("rate", [WIRE, 48_000])
def test_a_cut_fades_out_over_five_milliseconds(delta_ms: int, block: int, rate: int) -> None:
    playback = Playback(WIRE)
    playback.configure(rate)
    for _ in range(10):
        playback.write("a", steady(delta_ms))
    before = playback.read(rate * 40 // 1000)
    (cut,) = playback.cut()
    assert cut == Cut("a", 40)
    after = np.concatenate([before[-1:], *(playback.read(block) for _ in range(-(-rate // block)))])
    length = int(rate * FADE_MS / 1000)
    steps = np.diff(after.astype(int))
    assert np.abs(steps).max() <= 8100 / length + 2 + 0.02 * 8000, "a click"
    assert abs(np.count_nonzero(after) - length) <= 2
    assert playback.played_ms("a") == pytest.approx(40), "what fades is not counted"


def test_a_cut_before_anything_was_heard_is_silent() -> None:
    playback = Playback(WIRE)
    playback.read(240)
    playback.write("a", steady(100))
    assert playback.cut() == [Cut("a", 0)]
    assert not playback.read(WIRE).any()


def test_what_comes_after_a_cut_is_heard_whole() -> None:
    playback = Playback(WIRE)
    playback.write("a", steady(100))
    playback.read(240)
    playback.cut()
    playback.write("b", steady(100, 5000))
    assert playback.queued_ms == 100
    heard = playback.read(WIRE)
    assert np.count_nonzero(heard == 5000) == 2400
    assert playback.played_ms("b") == 100
    assert playback.queued_ms == 0


def test_each_item_is_told_of_once() -> None:
    playback = Playback(WIRE)
    for item_id in "abc":
        playback.write(item_id, steady(100))
        playback.finish(item_id)
    playback.write("beside", steady(100), beside=True)
    playback.read(2400 + 1200)
    assert playback.cut() == [Cut("b", 50), Cut("c", 0)]
    assert playback.cut() == []


# -- remote players ------------------------------------------------------------------------------------------


def test_a_remote_player_goes_by_its_marks_and_nothing_piles_up() -> None:
    playback = Playback(WIRE)
    playback.mark_played("a", 0)
    for _ in range(50):
        playback.write("a", steady(100))
    assert playback.queued_ms == 0
    playback.mark_played("a", 1200)
    playback.mark_played("a", 700)
    assert playback.played_ms("a") == 1200
    assert not playback.wait_drained(0)
    assert playback.cut() == [Cut("a", 1200)]
    assert playback.wait_drained(0)


def test_a_mark_beyond_the_end_is_the_end() -> None:
    playback = Playback(WIRE)
    playback.write("a", steady(100))
    playback.mark_played("a", 99_999)
    assert playback.cut() == [Cut("a", 100)]


def test_marks_wake_who_waits_for_a_remote_player() -> None:
    playback = Playback(WIRE)
    playback.mark_played("a", 0)
    playback.write("a", steady(100))
    playback.finish("a")
    woken = waiting(playback)
    playback.mark_played("a", 100)
    assert woken()


# -- wait_drained ----------------------------------------------------------------------------------------------


def waiting(playback: Playback) -> Callable[[], bool]:
    """Begin to wait on a thread; what is returned ends it and tells what it got."""
    got: list[bool] = []
    thread = threading.Thread(target=lambda: got.append(playback.wait_drained(PATIENCE)), daemon=True)
    thread.start()
    deadline = time.monotonic() + PATIENCE
    while not playback._waiters and thread.is_alive():
        assert time.monotonic() < deadline
        time.sleep(0)

    def woken() -> bool:
        thread.join(PATIENCE)
        return got == [True]

    return woken


@pytest.mark.parametrize("how", ["read", "cut"])
def test_wait_drained_ends_when_nothing_is_left(how: str) -> None:
    playback = Playback(WIRE)
    assert playback.wait_drained(0)
    playback.write("a", steady(100))
    assert not playback.wait_drained(0)
    assert not playback.wait_drained(-1)
    assert not playback._waiters
    woken = [waiting(playback) for _ in range(3)]
    playback.read(1200)
    assert playback._waiters
    if how == "read":
        playback.read(1200)
    else:
        playback.cut()
    assert all(end() for end in woken)
    assert playback.wait_drained(0)


# -- what an audio callback costs ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wire", "rate", "channels"), [(WIRE, 48_000, 2), (WIRE, 8_000, 1), (8_000, 8_000, 1)]
)
def test_ten_thousand_blocks_leave_nothing_behind(wire: int, rate: int, channels: int) -> None:
    playback = Playback(wire)
    playback.configure(rate, channels)
    block = np.zeros((rate // 100, channels), np.int16)
    piece = np.ones(wire // 10, np.int16)

    def play(blocks: int) -> None:
        for number in range(blocks):
            if number % 10 == 0:
                playback.write("a", piece)
            playback.read_into(block)

    play(200)
    before = sys.getallocatedblocks()
    play(10_000)
    assert sys.getallocatedblocks() - before < 100


def test_a_long_call_forgets_its_first_items() -> None:
    playback = Playback(WIRE)
    for number in range(HISTORY + 100):
        playback.write(f"item {number}", steady(10))
        playback.finish(f"item {number}")
        playback.read(240)
    assert len(playback._items) <= HISTORY + 1
    assert len(playback._open) <= 1
    assert playback.played_ms("item 0") == 0
    assert playback.played_ms(f"item {HISTORY + 99}") == 10


class Guarded:
    """A lock that one thread may only let go of."""

    reader = 0

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        assert threading.get_ident() != self.reader, "the reader took a lock"
        return self._lock.acquire(blocking, timeout)

    def release(self) -> None:
        self._lock.release()


def test_the_reader_takes_no_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    # All that the ledger can make of `threading`; anything else that it used would not be found.
    primitives = SimpleNamespace(Lock=Guarded, TIMEOUT_MAX=threading.TIMEOUT_MAX)
    monkeypatch.setattr("antiphon.actors.playback.threading", primitives)
    monkeypatch.setattr(Guarded, "reader", threading.get_ident())
    playback = Playback(WIRE)
    playback.configure(48_000, 2)
    block = np.zeros((480, 2), np.int16)
    playback.write("a", steady(100))
    woken = waiting(playback)
    for _ in range(5):
        playback.read_into(block)
    playback.write("a", steady(100))
    for _ in range(20):
        playback.read_into(block)
    assert woken()


def test_reading_while_the_engine_writes_and_cuts() -> None:
    """Every sample belongs to one item, in order; a cut tells how far each was heard, late by one block at most."""
    playback = Playback(WIRE)
    block = 240
    stop = threading.Event()
    heard: list[Int16Array] = []

    def play() -> None:
        while not stop.is_set():
            heard.append(playback.read(block))

    thread = threading.Thread(target=play, name="antiphon-test-player")
    thread.start()
    cuts: dict[int, int] = {}
    try:
        for number in range(1, 101):
            for _ in range(5):
                playback.write(str(number), np.full(480, 300 * number, np.int16))
            if number % 2:
                playback.finish(str(number))
                assert playback.wait_drained(PATIENCE)
            else:
                for cut in playback.cut():
                    cuts[int(cut.item_id)] = cut.heard_ms
    finally:
        stop.set()
        thread.join(PATIENCE)
    sound = np.concatenate(heard)
    for number in range(1, 101):
        count = np.count_nonzero(sound == 300 * number)
        if number % 2:
            assert count >= 2400, "lost"
        elif number in cuts:
            # A fade may pass through another item's value.
            assert 0 <= count / 24 - cuts[number] <= block / 24 + 3


def test_reading_nothing_is_not_hearing_something() -> None:
    playback = Playback(WIRE)
    playback.attach()
    playback.write("a", steady(100))
    playback.read(0)
    playback.cut()
    assert not playback.read(240).any()
