"""§5: audio in, as it is on the wire."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from contract_line import PATIENT, QUICK, Line
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from numpy.typing import NDArray
from scripted_server import ScriptedServer

from antiphon import AudioFrame, decode_alaw, decode_ulaw, encode_alaw, encode_ulaw

Dial = Callable[..., Line]
Samples = NDArray[np.int16]
WIRE = 24_000
APPEND, COMMIT, CLEAR = (f"input_audio_buffer.{name}" for name in ("append", "commit", "clear"))
NOISE: Samples = np.random.default_rng(5).integers(-30_000, 30_000, 3 * WIRE).astype(np.int16)


def audio(events: list[dict[str, Any]]) -> bytes:
    return b"".join(base64.b64decode(event["audio"]) for event in events if event["type"] == APPEND)


def samples(events: list[dict[str, Any]]) -> Samples:
    return np.frombuffer(audio(events), "<i2")


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def flush(line: Line) -> list[dict[str, Any]]:
    """All that was pushed, in events."""
    line.session.commit_audio()
    return line.sent()


def tone(hertz: float, rate: int, seconds: float = 0.5) -> Samples:
    return (20_000 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.int16)


# -- what can be pushed ---------------------------------------------------------------------------------

MONO = NOISE[:4800]
STEREO = np.stack([MONO, MONO[::-1]], axis=1)
AVERAGE = STEREO.astype(np.float64).mean(axis=1)


@pytest.mark.parametrize(
    ("pushed", "rate", "channels", "heard"),
    [
        (AudioFrame(MONO, WIRE, 1), None, None, MONO),
        (MONO, WIRE, 1, MONO),
        (MONO, WIRE, None, MONO),
        (MONO.tobytes(), WIRE, 1, MONO),
        (bytearray(MONO.tobytes()), WIRE, 1, MONO),
        (MONO[:, None], WIRE, 1, MONO),
        ((MONO / 32768).astype(np.float32), WIRE, 1, MONO),
        (AudioFrame(STEREO, WIRE, 2), None, None, AVERAGE),
        (STEREO, WIRE, 2, AVERAGE),
        (STEREO.tobytes(), WIRE, 2, AVERAGE),
        ((STEREO / 32768).astype(np.float32), WIRE, 2, AVERAGE),
        (np.repeat(MONO[:, None], 8, axis=1), WIRE, 8, MONO),
    ],
)
def test_every_way_to_push(
    line: Line, pushed: Any, rate: int | None, channels: int | None, heard: Any
) -> None:
    line.session.push_audio(pushed, rate, channels)
    got = samples(flush(line))
    assert len(got) == len(heard)
    # 24 kHz mono int16 passes bit for bit; an average is right to the half of a step, floats to a step.
    exact = heard is MONO and not (isinstance(pushed, np.ndarray) and pushed.dtype == np.float32)
    assert np.abs(got - np.asarray(heard, np.float64)).max() <= (0 if exact else 1)


def test_floats_beyond_one_are_clipped(line: Line) -> None:
    line.session.push_audio(np.tile(np.float32([2.0, -2.0]), 2400), WIRE)
    got = samples(flush(line))
    assert (got.max(), got.min()) == (32767, -32768)


def test_floats_on_another_scale_are_warned_about_once_in_a_session(dial: Dial, caplog: Any) -> None:
    first = dial()
    first.session.push_audio(np.tile(np.float32([1.2, -1.2]), 2400), WIRE)
    first.session.push_audio(NOISE, WIRE)
    assert "32768" not in caplog.text, "a filter's overshoot is no other scale"
    for line in (first, dial()):
        for kind in (np.float32, np.float64):
            line.session.push_audio(NOISE.astype(kind), WIRE)
    warnings = [record for record in caplog.records if "divide by 32768" in record.getMessage()]
    assert [record.levelname for record in warnings] == ["WARNING"] * 2


@pytest.mark.parametrize(
    ("pushed", "rate", "channels", "words"),
    [
        (MONO.astype(np.int32), WIRE, 1, "int32"),
        (MONO.astype(np.float16), WIRE, 1, "float16"),
        (np.float32([0.0, np.nan]), WIRE, 1, "NaN"),
        (MONO, WIRE, 0, "num_channels|channels"),
        (MONO, WIRE, 9, "num_channels|channels"),
        (b"\0\0\0", WIRE, 1, "byte"),
        (MONO, None, None, "sample_rate"),
        (MONO, 7_999, 1, "sample_rate|rate"),
        (MONO, 192_001, 1, "sample_rate|rate"),
        (MONO, 23_999, 1, "23,?999"),
        (MONO, 0, 1, "rate"),
    ],
)
def test_bad_audio_is_named_and_nothing_is_sent(
    line: Line, pushed: Any, rate: int | None, channels: int | None, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        line.session.push_audio(pushed, rate, channels)
    assert flush(line) == []


# -- resampling -----------------------------------------------------------------------------------------

RATES = [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000]


@pytest.mark.parametrize(
    ("wire_format", "rate"),
    [
        *[("pcm16", rate) for rate in RATES],
        *[("g711_ulaw", rate) for rate in (8_000, 16_000, 44_100, 48_000)],
    ],
)
def test_the_length_is_exact_and_the_tone_comes_through(dial: Dial, wire_format: str, rate: int) -> None:
    line = dial(input_audio_format=wire_format)
    wire_rate = WIRE if wire_format == "pcm16" else 8_000
    line.session.push_audio(tone(1000.0, rate), rate)
    raw = audio(flush(line))
    got = np.frombuffer(raw, "<i2") if wire_format == "pcm16" else decode_ulaw(raw)
    assert abs(len(got) - wire_rate // 2) <= 1
    middle = slice(wire_rate // 10, -wire_rate // 10)
    off = got[middle] - tone(1000.0, wire_rate)[: len(got)][middle].astype(np.float64)
    # 0.1 dB of the amplitude; the telephone's law is coarser.
    assert np.abs(off).max() < (20_000 * 0.0116 if wire_format == "pcm16" else 20_000 * 0.05)


@pytest.mark.parametrize("rate", RATES)
def test_the_edge_of_the_passband_comes_through_and_aliases_do_not(dial: Dial, rate: int) -> None:
    line, lower = dial(), min(rate, WIRE)
    line.session.push_audio(tone(0.42 * lower, rate), rate)
    passed = samples(flush(line))[2400:-2400].astype(np.float64)
    assert abs(20 * np.log10(passed.std() / (20_000 / np.sqrt(2)))) < 0.1
    if rate > WIRE * 1.2:
        line.session.push_audio(tone(0.585 * WIRE, rate), rate)
        aliased = samples(flush(line))[2400:-2400].astype(np.float64)
        # 80 dB down, but for the rounding to whole steps.
        assert aliased.std() < 20_000 / np.sqrt(2) * 10 ** (-80 / 20) + 0.5


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(1, 4000), max_size=8), rate=st.sampled_from([16_000, 44_100, 48_000]))
def test_any_chunking_equals_the_whole(line: Line, sizes: list[int], rate: int) -> None:
    whole = NOISE[: rate // 4]
    line.session.push_audio(whole, rate)
    expected = samples(flush(line))
    for part in np.split(whole, np.minimum(np.cumsum(sizes), len(whole)) if sizes else []):
        line.session.push_audio(part, rate)
    got = samples(flush(line))
    assert len(got) == len(expected)
    assert np.abs(got.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(("first", "second"), [(48_000, 16_000), (16_000, 24_000), (24_000, 44_100)])
def test_a_change_of_rate_loses_no_tail(line: Line, first: int, second: int) -> None:
    for rate in (first, second, first):
        line.session.push_audio(tone(500.0, rate, 0.25), rate)
    got = samples(flush(line))
    assert abs(len(got) - 18_000) <= 3


@pytest.mark.parametrize(
    ("law", "encode", "decode"),
    [("g711_ulaw", encode_ulaw, decode_ulaw), ("g711_alaw", encode_alaw, decode_alaw)],
)
def test_the_telephones_laws(dial: Dial, law: str, encode: Any, decode: Any) -> None:
    line = dial(input_audio_format=law)
    pushed = NOISE[:1600]
    line.session.push_audio(pushed, 8_000)
    got = audio(flush(line))
    assert got == bytes(encode(pushed))
    assert np.abs(decode(got).astype(int) - pushed).max() <= 1024


# -- chunks, commits and clears -------------------------------------------------------------------------


@pytest.mark.parametrize("ms", [10, 20, 100, 137, 500])
@pytest.mark.parametrize("push_ms", [10, 1010])
def test_appends_are_chunks_of_input_chunk_ms(dial: Dial, ms: int, push_ms: int) -> None:
    line = dial(input_chunk_ms=ms)
    for start in range(0, 24 * 1010, 24 * push_ms):
        line.session.push_audio(NOISE[start : min(start + 24 * push_ms, 24 * 1010)], WIRE)
    sent = line.sent()
    assert [len(samples([event])) for event in sent] == [24 * ms] * (1010 // ms)
    assert audio(sent + flush(line)) == NOISE[: 24 * 1010].tobytes()


COMMITS = [
    ("pcm16", WIRE, [2400], False),
    ("pcm16", WIRE, [2401], True),
    ("pcm16", WIRE, [1200, 1200], False),
    ("pcm16", WIRE, [1200, 1201], True),
    ("pcm16", 48_000, [4800], False),
    ("pcm16", 48_000, [4804], True),
    ("g711_ulaw", 8_000, [800], False),
    ("g711_ulaw", 8_000, [801], True),
    ("pcm16", WIRE, [], False),
]


@pytest.mark.parametrize(("wire_format", "rate", "pushes", "commits"), COMMITS)
def test_a_commit_takes_more_than_100_ms(
    dial: Dial, wire_format: str, rate: int, pushes: list[int], commits: bool
) -> None:
    line = dial(input_audio_format=wire_format)
    for size in pushes:
        line.session.push_audio(NOISE[:size], rate)
    sent = flush(line)
    # The partial chunk is flushed in either case.
    width = 2 if wire_format == "pcm16" else 1
    wire_rate = WIRE if wire_format == "pcm16" else 8_000
    assert abs(len(audio(sent)) // width - sum(pushes) * wire_rate // rate) <= 1
    assert kinds(sent).count(COMMIT) == commits
    assert not commits or kinds(sent)[-1] == COMMIT
    assert flush(line) == []


def test_what_was_pushed_before_a_commit_that_was_not_sent_stays_counted(line: Line) -> None:
    line.session.push_audio(NOISE[:2400], WIRE)
    assert kinds(flush(line)) == [APPEND]
    line.session.push_audio(NOISE[:1], WIRE)
    assert kinds(flush(line)) == [APPEND, COMMIT]
    line.session.push_audio(NOISE[:2400], WIRE)
    assert kinds(flush(line)) == [APPEND]


def test_clear_drops_the_partial_chunk_and_resets_the_count(line: Line) -> None:
    line.session.push_audio(NOISE[:3600], WIRE)
    line.session.clear_audio()
    assert kinds(line.sent()) == [APPEND, CLEAR]
    line.session.push_audio(NOISE[:2400], WIRE)
    sent = flush(line)
    assert kinds(sent) == [APPEND]
    assert audio(sent) == NOISE[:2400].tobytes()


# -- the ring -------------------------------------------------------------------------------------------


def test_before_the_connection_the_newest_audio_is_kept_and_the_loss_is_told(line_to: Dial) -> None:
    line = line_to(timeouts=replace(QUICK, audio_ring=1.0))
    line.session.start()
    for start in range(0, len(NOISE), 2400):
        line.session.push_audio(NOISE[start : start + 2400], WIRE)
    line.answer()
    got = audio(flush(line))
    if line.of("audio_dropped"):
        assert sum(event.duration_ms for event in line.of("audio_dropped")) == len(NOISE) / 24 - len(got) / 48
    assert NOISE.tobytes().endswith(got)
    assert len(got) >= 2 * WIRE


def test_while_down_the_newest_audio_is_kept_and_sent_afterwards(dial: Dial, server: ScriptedServer) -> None:
    conn_options = replace(PATIENT, max_retry=1000)
    line = dial(timeouts=replace(QUICK, audio_ring=1.0), conn_options=conn_options)
    server.refusals.extend([503] * 1000)
    line.peer.drop()
    line.wait_until(lambda: len(line.of("error")) >= 2)
    for start in range(0, len(NOISE), 2400):
        line.session.push_audio(NOISE[start : start + 2400], WIRE)
    line.wait("audio_dropped")
    server.refusals.clear()
    line.answer()
    got = audio(flush(line))
    assert got == NOISE.tobytes()[-2 * WIRE :]
    assert line.wait("session_reconnected").audio_dropped_ms == pytest.approx(2000.0)
    assert sum(event.duration_ms for event in line.of("audio_dropped")) == pytest.approx(2000.0)
