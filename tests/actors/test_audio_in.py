"""Audio from `push_audio` to the frames on the wire, on the deterministic driver."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon import AudioFrame, Timeouts
from antiphon.actors.audio import decode_alaw, decode_ulaw, encode_alaw, encode_ulaw
from antiphon.testing.driver import FakeWire

APPEND = "input_audio_buffer.append"
COMMIT = "input_audio_buffer.commit"
CLEAR = "input_audio_buffer.clear"

noise = np.random.default_rng(5)


def samples(count: int) -> np.ndarray[Any, np.dtype[np.int16]]:
    return noise.integers(-32768, 32768, count).astype(np.int16)


def chunks(wire: FakeWire, bytes_per_sample: int = 2) -> list[int]:
    """Samples in each append."""
    return [len(base64.b64decode(event["audio"])) // bytes_per_sample for event in wire.of_type(APPEND)]


def sound(wire: FakeWire) -> bytes:
    """All that was appended."""
    return b"".join(base64.b64decode(event["audio"]) for event in wire.of_type(APPEND))


def push(case: Any, audio: Any, rate: int = 24_000, channels: int = 1) -> None:
    case.session.push_audio(audio, sample_rate=rate, num_channels=channels)
    case.driver.run()


# -- chunks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ms", [10, 20, 100, 137, 500])
def test_audio_leaves_in_chunks_of_input_chunk_ms(make_case: Callable[..., Any], ms: int) -> None:
    case = make_case(input_chunk_ms=ms)
    data = samples(24 * 1010)
    for start in range(0, len(data), 240):
        push(case, data[start : start + 240])
    whole = 1010 // ms
    assert chunks(case.wire) == [24 * ms] * whole
    assert sound(case.wire) == data[: 24 * ms * whole].tobytes()


def test_a_chunk_leaves_with_the_push_that_completes_it(case: Any) -> None:
    push(case, samples(2399))
    assert chunks(case.wire) == []
    push(case, samples(1))
    assert chunks(case.wire) == [2400]


# The sums of a longer product are rounded otherwise.
@pytest.mark.parametrize(("rate", "off"), [(24_000, 0), (48_000, 1)])
def test_what_is_joined_in_a_backlog_is_what_it_is_one_by_one(
    make_case: Callable[..., Any], rate: int, off: int
) -> None:
    at_once, one_by_one = make_case(), make_case()
    for number in range(350):
        data = samples(rate // 100)
        for case in (at_once, one_by_one):
            case.session.push_audio(data, sample_rate=rate, num_channels=1)
            if number == 123:
                case.session.commit_audio()
        one_by_one.driver.run()
    assert chunks(at_once.wire) == []
    at_once.driver.run()
    assert at_once.wire.types == one_by_one.wire.types
    assert chunks(at_once.wire) == chunks(one_by_one.wire)
    first, second = (np.frombuffer(sound(case.wire), np.int16) for case in (at_once, one_by_one))
    assert np.abs(first.astype(int) - second).max() <= off


def test_one_long_push_is_cut_into_chunks(case: Any) -> None:
    data = samples(24_000 + 7)
    push(case, data)
    assert chunks(case.wire) == [2400] * 10
    case.session.commit_audio()
    case.driver.run()
    assert chunks(case.wire) == [2400] * 10 + [7]
    assert sound(case.wire) == data.tobytes()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(0, 6000), max_size=12))
def test_24_khz_mono_int16_passes_bit_exact_in_any_pieces(case: Any, sizes: list[int]) -> None:
    case.session.clear_audio()
    case.driver.run()
    case.wire.sent.clear()
    data = samples(sum(sizes))
    start = 0
    for size in sizes:
        push(case, data[start : start + size])
        start += size
    case.session.commit_audio()
    case.driver.run()
    assert sound(case.wire) == data.tobytes()
    assert case.wire.types[-1:] == ([COMMIT] if len(data) > 2400 else [APPEND] if len(data) else [])


def test_all_forms_of_the_same_audio_are_the_same(case: Any) -> None:
    data = samples(2400)
    forms: list[Any] = [
        (data, 24_000, 1),
        (data.tobytes(), 24_000, 1),
        ((data / 32768).astype(np.float32), 24_000, 1),
        (np.stack([data, data], axis=1), 24_000, 2),
    ]
    for audio, rate, channels in forms:
        push(case, audio, rate, channels)
    case.session.push_audio(AudioFrame(data, 24_000, 1))
    case.driver.run()
    assert sound(case.wire) == data.tobytes() * 5


PUSHES = st.lists(
    st.tuples(
        st.sampled_from([(24_000, 1), (24_000, 2), (48_000, 1), (8_000, 1)]),
        st.integers(0, 1500),
        st.sampled_from(["bytes", "bytes", "bytes", "array", "odd", "clear", "commit"]),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pushes=PUSHES)
def test_bytes_that_are_gathered_unseen_are_what_frames_of_them_are(
    make_case: Callable[..., Any], pushes: Any
) -> None:
    """The fast path for bytes against the way through an `AudioFrame` for each."""
    fast, slow = make_case(), make_case()
    for (rate, channels), count, kind in pushes:
        if kind in ("clear", "commit"):
            for case in (fast, slow):
                (case.session.clear_audio if kind == "clear" else case.session.commit_audio)()
            continue
        data = np.arange(count * channels, dtype=np.int16)
        if kind == "odd":
            with pytest.raises(ValueError, match="3 bytes"):
                fast.session.push_audio(bytes(3), rate, channels)
            continue
        fast.session.push_audio(data if kind == "array" else data.tobytes(), rate, channels)
        slow.session.push_audio(
            AudioFrame(data.reshape(-1, channels) if channels > 1 else data, rate, channels)
        )
    for case in (fast, slow):
        case.driver.run()
    said = [[{**event, "event_id": ""} for event in case.wire.sent] for case in (fast, slow)]
    assert said[0] == said[1]


@pytest.mark.parametrize("channels", [0, 9, "1"])
def test_a_bad_channel_count_is_refused_behind_good_bytes(case: Any, channels: Any) -> None:
    push(case, samples(2000).tobytes())
    with pytest.raises(ValueError, match="num_channels"):
        push(case, samples(2000).tobytes(), channels=channels)


def test_stereo_is_averaged(case: Any) -> None:
    left, right = np.full(2400, 1000, np.int16), np.full(2400, 3000, np.int16)
    push(case, np.stack([left, right], axis=1), 24_000, 2)
    assert sound(case.wire) == np.full(2400, 2000, np.int16).tobytes()


def test_the_callers_array_may_be_used_again_at_once(case: Any) -> None:
    data = samples(1200)
    kept = data.copy()
    case.session.push_audio(data, sample_rate=24_000)
    data[:] = 0
    case.session.push_audio(kept, sample_rate=24_000)
    case.driver.run()
    assert sound(case.wire) == kept.tobytes() * 2


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100, 48_000])
def test_other_rates_keep_their_length(case: Any, rate: int) -> None:
    for _ in range(100):
        push(case, samples(rate // 100), rate)
    assert chunks(case.wire) == [2400] * (len(chunks(case.wire)))
    case.session.commit_audio()
    case.driver.run()
    assert abs(sum(chunks(case.wire)) - 24_000) <= 1
    assert case.wire.types[-1] == COMMIT


def test_a_change_of_rate_loses_nothing(case: Any) -> None:
    push(case, samples(1600), 16_000)
    push(case, samples(4800), 48_000)
    push(case, samples(2400))
    case.session.commit_audio()
    case.driver.run()
    assert abs(sum(chunks(case.wire)) - 7200) <= 2


# -- committing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pushed", "commits"),
    [(0, False), (1, False), (2399, False), (2400, False), (2401, True), (4800, True)],
)
def test_a_commit_takes_strictly_more_than_100_ms(case: Any, pushed: int, commits: bool) -> None:
    push(case, samples(pushed))
    case.session.commit_audio()
    case.driver.run()
    assert bool(case.wire.of_type(COMMIT)) is commits
    # The partial chunk leaves in any case.
    assert sum(chunks(case.wire)) == pushed


def test_what_was_not_enough_stays_counted(case: Any) -> None:
    push(case, samples(2000))
    case.session.commit_audio()
    push(case, samples(400))
    case.session.commit_audio()
    assert case.wire.of_type(COMMIT) == []
    push(case, samples(1))
    case.session.commit_audio()
    case.driver.run()
    assert len(case.wire.of_type(COMMIT)) == 1


def test_a_commit_starts_the_count_afresh(case: Any) -> None:
    push(case, samples(2401))
    case.session.commit_audio()
    push(case, samples(2400))
    case.session.commit_audio()
    case.driver.run()
    assert len(case.wire.of_type(COMMIT)) == 1


def test_the_count_is_of_wire_samples(make_case: Callable[..., Any]) -> None:
    case = make_case(input_audio_format="g711_ulaw")
    push(case, samples(800), 8000)
    case.session.commit_audio()
    case.driver.run()
    assert case.wire.of_type(COMMIT) == []
    push(case, samples(1), 8000)
    case.session.commit_audio()
    case.driver.run()
    assert len(case.wire.of_type(COMMIT)) == 1


def test_the_filters_tail_leaves_before_the_commit(case: Any) -> None:
    push(case, samples(9600), 48_000)
    before = sum(chunks(case.wire))
    case.session.commit_audio()
    case.driver.run()
    assert before < 4800
    assert abs(sum(chunks(case.wire)) - 4800) <= 1
    assert case.wire.types[-1] == COMMIT


def test_commit_and_clear_carry_no_event_id(case: Any) -> None:
    push(case, samples(4800))
    case.session.commit_audio()
    case.session.clear_audio()
    case.driver.run()
    assert case.wire.sent[2:] == [{"type": COMMIT}, {"type": CLEAR}]
    assert set(case.wire.sent[0]) == {"type", "audio"}


# -- clearing -----------------------------------------------------------------------------------------


def test_clear_drops_the_partial_chunk_and_resets_the_count(case: Any) -> None:
    push(case, samples(3000))
    assert chunks(case.wire) == [2400]
    case.session.clear_audio()
    push(case, samples(2400))
    case.session.commit_audio()
    case.driver.run()
    assert case.wire.types == [APPEND, CLEAR, APPEND]
    assert chunks(case.wire) == [2400, 2400]


def test_clear_drops_what_the_filter_holds(case: Any) -> None:
    push(case, np.full(1600, 20_000, np.int16), 16_000)
    case.session.clear_audio()
    push(case, np.zeros(1600, np.int16), 16_000)
    case.session.commit_audio()
    case.driver.run()
    assert case.wire.types[0] == CLEAR
    assert set(sound(case.wire)) == {0}


# -- G.711 --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "encode", "decode"),
    [("g711_ulaw", encode_ulaw, decode_ulaw), ("g711_alaw", encode_alaw, decode_alaw)],
)
def test_g711_is_8_khz_and_one_byte_a_sample(
    make_case: Callable[..., Any], name: str, encode: Any, decode: Any
) -> None:
    case = make_case(input_audio_format=name)
    data = samples(1600)
    push(case, data, 8000)
    assert chunks(case.wire, 1) == [800, 800]
    assert sound(case.wire) == encode(data)
    assert np.array_equal(decode(sound(case.wire)), decode(encode(data)))


# -- bad input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("audio", "rate", "channels", "words"),
    [
        (np.zeros(480, np.int32), 24_000, 1, "int32"),
        (np.zeros(480, np.uint8), 24_000, 1, "uint8"),
        (np.array([0.0, np.nan], np.float32), 24_000, 1, "NaN"),
        (np.array([0.0, np.inf], np.float32), 24_000, 1, "infinity"),
        (b"\0" * 481, 24_000, 1, "odd"),
        (np.zeros(480, np.int16), 24_000, 0, "num_channels"),
        (np.zeros(480, np.int16), 24_000, 9, "num_channels"),
        (np.zeros(481, np.int16), 24_000, 2, "2-channel"),
        (np.zeros((480, 2), np.int16), 24_000, 1, "shape"),
        (np.zeros(480, np.int16), 7999, 1, "sample_rate"),
        (np.zeros(480, np.int16), 192_001, 1, "sample_rate"),
        (np.zeros(480, np.int16), 24_000.0, 1, "sample_rate"),
        (np.zeros(480, np.int16), 23_999, 1, "23999"),
        (np.zeros(480, np.int16), None, 1, "sample_rate"),
        ([0, 1, 2], 24_000, 1, "list"),
        ("text", 24_000, 1, "str"),
    ],
)
def test_bad_audio_is_named_and_nothing_is_sent(
    case: Any, audio: Any, rate: Any, channels: int, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        case.session.push_audio(audio, sample_rate=rate, num_channels=channels)
    case.session.commit_audio()
    case.driver.run()
    assert case.wire.sent == []


def test_bad_audio_between_good_audio_costs_nothing(case: Any) -> None:
    data = samples(2400)
    push(case, data[:1200])
    with pytest.raises(ValueError, match="odd"):
        push(case, b"123")
    push(case, data[1200:])
    assert sound(case.wire) == data.tobytes()


def test_too_loud_floats_are_clipped(case: Any) -> None:
    push(case, np.array([2.0, -2.0] * 1200, np.float32))
    assert sound(case.wire) == np.array([32767, -32768] * 1200, np.int16).tobytes()


# -- the bounded queue --------------------------------------------------------------------------------


def test_while_there_is_no_connection_the_oldest_audio_is_dropped_and_reported(
    make_case: Callable[..., Any],
) -> None:
    case = make_case(connect=False, timeouts=Timeouts(audio_ring=5.0, ping_interval=1e6))
    case.session.start()
    data = samples(24_000 * 8)
    for start in range(0, len(data), 2400):
        push(case, data[start : start + 2400])
    # Each second of loss is reported at once, the rest when the connection is there.
    assert [event.duration_ms for event in case.emitted("audio_dropped")] == [1000, 1000, 1000]
    case.wire = case.driver.accept()
    assert case.wire.types == ["session.update"] + [APPEND] * 50
    assert sound(case.wire) == data[24_000 * 3 :].tobytes()


def test_less_than_a_second_of_loss_is_reported_when_the_connection_is_there(
    make_case: Callable[..., Any],
) -> None:
    case = make_case(connect=False, timeouts=Timeouts(audio_ring=1.0, ping_interval=1e6))
    case.session.start()
    push(case, samples(2400 * 13))
    assert case.emitted("audio_dropped") == []
    case.driver.accept()
    assert [event.duration_ms for event in case.emitted("audio_dropped")] == [300]


def test_calls_between_dropped_audio_keep_their_place(make_case: Callable[..., Any]) -> None:
    case = make_case(connect=False, timeouts=Timeouts(audio_ring=0.2, ping_interval=1e6))
    case.session.start()
    push(case, samples(2400))
    case.session.send_event({"type": "mine", "n": 1})
    push(case, samples(4800))
    case.session.send_event({"type": "mine", "n": 2})
    case.driver.run()
    case.wire = case.driver.accept()
    assert case.wire.types == ["session.update", "mine", APPEND, APPEND, "mine"]


def test_a_stalled_socket_drops_the_oldest_audio_too(make_case: Callable[..., Any]) -> None:
    case = make_case(timeouts=Timeouts(audio_ring=1.0, ping_interval=1e6))
    case.wire.full = True
    data = samples(2400 * 31)
    for start in range(0, len(data), 2400):
        push(case, data[start : start + 2400])
    case.wire.drain()
    # One frame was in the socket's hands; of the other thirty the last ten fit.
    assert [event.duration_ms for event in case.emitted("audio_dropped")] == [1000, 1000]
    assert sound(case.wire) == data[:2400].tobytes() + data[-24_000:].tobytes()


def test_what_the_socket_takes_at_once_needs_no_room(make_case: Callable[..., Any]) -> None:
    case = make_case(timeouts=Timeouts(audio_ring=1.0))
    data = samples(24_000 * 5)
    push(case, data)
    assert case.emitted("audio_dropped") == []
    assert sound(case.wire) == data.tobytes()


def test_a_long_push_into_a_full_socket_leaves_what_fits(make_case: Callable[..., Any]) -> None:
    case = make_case(timeouts=Timeouts(audio_ring=1.0, ping_interval=1e6))
    case.wire.full = True
    data = samples(24_000 * 5)
    push(case, data)
    assert [event.duration_ms for event in case.emitted("audio_dropped")] == [3900]
    case.wire.drain()
    assert sound(case.wire) == data[:2400].tobytes() + data[-24_000:].tobytes()


def test_thirty_seconds_are_kept_by_default(make_case: Callable[..., Any]) -> None:
    case = make_case(connect=False)
    case.session.start()
    push(case, samples(24_000 * 31))
    case.wire = case.driver.accept()
    assert chunks(case.wire) == [2400] * 300
    assert [event.duration_ms for event in case.emitted("audio_dropped")] == [1000]


def test_pushes_before_the_start_are_sent(make_case: Callable[..., Any]) -> None:
    case = make_case(connect=False)
    data = samples(4800)
    case.session.push_audio(data, sample_rate=24_000)
    case.session.start()
    case.wire = case.driver.accept()
    assert sound(case.wire) == data.tobytes()


def test_pushes_after_the_end_do_nothing(case: Any) -> None:
    case.end()
    case.wire.sent.clear()
    push(case, samples(4800))
    case.session.commit_audio()
    case.session.clear_audio()
    case.driver.run()
    assert case.wire.sent == []
    with pytest.raises(ValueError, match="odd"):
        push(case, b"123")
