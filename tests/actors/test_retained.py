"""Input audio that a new server would have to hear again, counted in milliseconds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import antiphon.protocol as p
from antiphon.actors.messages import AudioChunk
from antiphon.actors.retained import DETECTION_MS, RetainedAudio


def write(retained: RetainedAudio, *numbers: int, ms: float = 100.0) -> None:
    for number in numbers:
        retained.written(AudioChunk(b"%d" % number, ms))


def replay(retained: RetainedAudio) -> list[Any]:
    """Numbers of the chunks, "commit" for a commit."""
    return [
        int(entry.data) if isinstance(entry, AudioChunk) else "commit" for entry in retained.take_for_replay()
    ]


@pytest.fixture
def manual() -> RetainedAudio:
    """Turn detection is off."""
    retained = RetainedAudio(30_000)
    retained.detect_turns(None)
    return retained


@pytest.fixture
def detecting() -> RetainedAudio:
    """Turn detection is on, with 300 ms of padding."""
    retained = RetainedAudio(30_000)
    retained.detect_turns(300)
    return retained


# -- turn detection off: since the last commit or clear ----------------------------------------------


def test_everything_since_the_start(manual: RetainedAudio) -> None:
    write(manual, 1, 2, 3)
    assert manual.held_ms == 300
    assert replay(manual) == [1, 2, 3]


def test_a_confirmed_commit_ends_what_is_kept(manual: RetainedAudio) -> None:
    write(manual, 1, 2)
    manual.commit_written()
    write(manual, 3)
    manual.committed()
    assert manual.held_ms == 100
    assert replay(manual) == [3]


def test_an_unconfirmed_commit_keeps_its_audio_and_its_place(manual: RetainedAudio) -> None:
    write(manual, 1, 2)
    manual.commit_written()
    write(manual, 3)
    assert replay(manual) == [1, 2, "commit", 3]


def test_of_two_commits_the_first_is_confirmed_first(manual: RetainedAudio) -> None:
    write(manual, 1)
    manual.commit_written()
    write(manual, 2)
    manual.commit_written()
    write(manual, 3)
    manual.committed()
    assert replay(manual) == [2, "commit", 3]


def test_a_clear_forgets_what_was_not_committed(manual: RetainedAudio) -> None:
    write(manual, 1)
    manual.commit_written()
    write(manual, 2, 3)
    manual.clear_written()
    write(manual, 4)
    assert manual.held_ms == 200
    assert replay(manual) == [1, "commit", 4]


def test_no_more_than_the_limit_is_kept() -> None:
    retained = RetainedAudio(1000)
    retained.detect_turns(None)
    write(retained, *range(25))
    assert retained.held_ms == 1000
    assert replay(retained) == list(range(15, 25))


def test_what_was_taken_is_counted_again_when_it_is_written_again(manual: RetainedAudio) -> None:
    write(manual, 1, 2)
    assert replay(manual) == [1, 2]
    assert manual.held_ms == 0
    assert replay(manual) == []
    write(manual, 1, 2)
    assert replay(manual) == [1, 2]


def test_a_commit_whose_audio_was_all_too_old_is_not_replayed() -> None:
    # It would commit what comes after it, or nothing at all.
    retained = RetainedAudio(300)
    retained.detect_turns(None)
    write(retained, 1, 2)
    retained.commit_written()
    write(retained, 3, 4, 5)
    assert replay(retained) == [3, 4, 5]


# -- turn detection on: since the start of the speech in progress ---------------------------------------


def test_while_no_speech_is_reported_what_may_be_the_beginning_of_some(detecting: RetainedAudio) -> None:
    write(detecting, *range(50))
    detecting.server_heard()
    assert detecting.held_ms == 300 + DETECTION_MS
    assert replay(detecting) == list(range(37, 50))


def test_the_beginning_of_speech_is_not_what_belongs_to_the_last_turn(detecting: RetainedAudio) -> None:
    write(detecting, *range(50))
    detecting.speech_started(1000)
    detecting.speech_stopped(4500)
    detecting.committed()
    write(detecting, 50)
    assert replay(detecting) == [*range(45, 50), 50]


def test_while_the_server_is_not_heard_all_that_is_said_is_kept(detecting: RetainedAudio) -> None:
    # It may be dead, and nobody will ever tell that it was speech.
    write(detecting, *range(20))
    detecting.server_heard()
    write(detecting, *range(20, 80))
    assert replay(detecting) == list(range(7, 80))


def test_what_is_said_to_a_dead_server_and_does_not_fit_is_lost(detecting: RetainedAudio) -> None:
    for number in range(310):
        write(detecting, number)
    assert detecting.take_lost_ms() == 1_000


def test_a_turn_that_was_not_committed_is_kept_whole(detecting: RetainedAudio) -> None:
    write(detecting, *range(50))
    detecting.speech_started(4000)
    detecting.speech_stopped(4500)
    assert replay(detecting) == list(range(40, 50))


def test_since_the_start_of_the_speech_in_progress(detecting: RetainedAudio) -> None:
    write(detecting, *range(50))
    # The server hears the speech 700 ms late; its start has the padding counted in.
    detecting.speech_started(4300)
    write(detecting, 50, 51)
    assert replay(detecting) == list(range(43, 52))


def test_a_start_within_a_chunk_keeps_the_whole_chunk(detecting: RetainedAudio) -> None:
    write(detecting, *range(10))
    detecting.speech_started(450)
    assert replay(detecting) == [4, 5, 6, 7, 8, 9]


def test_long_speech_is_kept_whole_up_to_the_limit() -> None:
    retained = RetainedAudio(30_000)
    retained.detect_turns(300)
    write(retained, *range(10))
    retained.speech_started(0)
    write(retained, *range(10, 400))
    assert retained.held_ms == 30_000
    assert replay(retained) == list(range(100, 400))


def test_the_servers_own_commit_ends_the_speech(detecting: RetainedAudio) -> None:
    write(detecting, *range(10))
    detecting.speech_started(0)
    write(detecting, *range(10, 40))
    detecting.committed()
    detecting.server_heard()
    assert detecting.held_ms == 300 + DETECTION_MS
    assert replay(detecting) == []


def test_the_clock_starts_afresh_with_a_connection(detecting: RetainedAudio) -> None:
    write(detecting, *range(50))
    detecting.take_for_replay()
    write(detecting, *range(100, 110))
    detecting.speech_started(500)
    assert replay(detecting) == [105, 106, 107, 108, 109]


def test_a_clear_ends_the_speech(detecting: RetainedAudio) -> None:
    write(detecting, 1, 2)
    detecting.speech_started(0)
    detecting.clear_written()
    write(detecting, 3)
    assert replay(detecting) == [3]


def test_the_clock_runs_on_after_a_clear(detecting: RetainedAudio) -> None:
    write(detecting, *range(10))
    detecting.clear_written()
    write(detecting, *range(10, 20))
    detecting.speech_started(1500)
    assert replay(detecting) == [15, 16, 17, 18, 19]


def test_speech_in_progress_survives_a_second_drop_before_the_server_has_heard_it(
    detecting: RetainedAudio,
) -> None:
    write(detecting, *range(20))
    detecting.speech_started(1000)
    speech = replay(detecting)
    assert speech == list(range(10, 20))
    # The new connection is told, and breaks before it says that it hears anything.
    write(detecting, *speech, 20)
    assert replay(detecting) == [*speech, 20]


def test_replayed_speech_that_was_committed_is_not_replayed_again(detecting: RetainedAudio) -> None:
    write(detecting, *range(10))
    detecting.speech_started(0)
    write(detecting, *replay(detecting))
    detecting.committed()
    assert replay(detecting) == []


def test_a_commit_without_its_audio_is_not_replayed(detecting: RetainedAudio) -> None:
    # Not speech as far as the server has said: only the commit of it would arrive, for nothing.
    write(detecting, 1, 2)
    detecting.committed()
    detecting.commit_written()
    assert replay(detecting) == []


def test_a_commit_by_hand_is_made_again_with_its_audio(detecting: RetainedAudio) -> None:
    write(detecting, 1, 2)
    detecting.commit_written()
    write(detecting, 3)
    assert replay(detecting) == [1, 2, "commit", 3]
    write(detecting, 1, 2)
    detecting.commit_written()
    write(detecting, 3)
    detecting.committed()
    assert replay(detecting) == [3]


# -- a replay that breaks off ------------------------------------------------------------------------------


@pytest.mark.parametrize("reached", range(6))
def test_what_a_replay_did_not_get_to_is_kept_in_its_place(manual: RetainedAudio, reached: int) -> None:
    write(manual, 1, 2)
    manual.commit_written()
    write(manual, 3, 4)
    handed_over = manual.take_for_replay()
    for entry in handed_over[:reached]:
        if isinstance(entry, AudioChunk):
            manual.written(entry)
        else:
            manual.commit_written()
    manual.connection_lost()
    assert manual.held_ms == 400
    assert replay(manual) == [1, 2, "commit", 3, 4]


def test_a_replay_that_broke_off_counts_only_once(manual: RetainedAudio) -> None:
    write(manual, 1, 2)
    for _ in range(3):
        manual.take_for_replay()
        manual.connection_lost()
    manual.connection_lost()
    assert manual.held_ms == 200
    assert replay(manual) == [1, 2]


def test_what_is_said_after_a_whole_replay_is_not_part_of_it(manual: RetainedAudio) -> None:
    write(manual, 1)
    for chunk in manual.take_for_replay():
        manual.written(chunk)
    write(manual, 2)
    manual.connection_lost()
    assert replay(manual) == [1, 2]


def test_speech_in_progress_survives_a_replay_that_broke_off(detecting: RetainedAudio) -> None:
    write(detecting, *range(20))
    detecting.speech_started(1000)
    handed_over = detecting.take_for_replay()
    for entry in handed_over[:3]:
        detecting.written(entry)
    detecting.connection_lost()
    assert replay(detecting) == list(range(10, 20))


# -- switching ----------------------------------------------------------------------------------------


def test_switching_detection_on_forgets_what_is_too_old(manual: RetainedAudio) -> None:
    write(manual, *range(50))
    manual.server_heard()
    manual.detect_turns(200)
    assert manual.held_ms == 200 + DETECTION_MS


def test_switching_detection_off_keeps_from_then_on(detecting: RetainedAudio) -> None:
    write(detecting, *range(50))
    detecting.server_heard()
    detecting.detect_turns(None)
    write(detecting, *range(50, 80))
    assert detecting.held_ms == 300 + DETECTION_MS + 3000
    assert replay(detecting) == list(range(37, 80))


# -- any history --------------------------------------------------------------------------------------

steps = st.lists(st.sampled_from(["chunk", "chunk", "commit", "clear", "committed"]), max_size=60)


@settings(max_examples=200, deadline=None)
@given(steps)
def test_with_detection_off_any_history_keeps_what_is_not_confirmed(history: list[str]) -> None:
    retained = RetainedAudio(1e9)
    retained.detect_turns(None)
    expected: list[Any] = []
    for number, step in enumerate(history):
        if step == "chunk":
            write(retained, number)
            expected.append(number)
        elif step == "commit" and expected and expected[-1] != "commit":
            retained.commit_written()
            expected.append("commit")
        elif step == "clear":
            retained.clear_written()
            while expected and expected[-1] != "commit":
                expected.pop()
        elif step == "committed" and "commit" in expected:
            retained.committed()
            del expected[: expected.index("commit") + 1]
    assert retained.held_ms == 100 * sum(entry != "commit" for entry in expected)
    assert replay(retained) == expected


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from(["chunk", "started", "committed", "on", "off"]), max_size=60),
    st.floats(20, 900),
)
def test_whatever_happens_no_more_than_the_limit_is_held(history: list[str], ms: float) -> None:
    retained = RetainedAudio(1000)
    written = 0.0
    for number, step in enumerate(history):
        if step == "chunk":
            write(retained, number, ms=ms)
            written += ms
        elif step == "started":
            retained.speech_started(max(0.0, written - 400))
        elif step == "committed":
            retained.committed()
        else:
            retained.detect_turns(300 if step == "on" else None)
        assert -1e-6 <= retained.held_ms <= 1000
    kept = retained.take_for_replay()
    assert sum(entry.ms for entry in kept if not isinstance(entry, p.InputAudioBufferCommit)) <= 1000 + 1e-6
    assert retained.held_ms == 0


# -- what the limit costs --------------------------------------------------------------------------------


def test_what_is_beyond_the_limit_and_not_committed_is_counted_as_lost_once(manual: RetainedAudio) -> None:
    for number in range(310):
        write(manual, number)
    assert manual.take_lost_ms() == 1_000
    assert manual.take_lost_ms() == 0


@pytest.mark.parametrize("end", [RetainedAudio.committed, RetainedAudio.clear_written])
def test_what_the_server_has_committed_or_cleared_is_not_lost(manual: RetainedAudio, end: Any) -> None:
    for number in range(310):
        write(manual, number)
    end(manual)
    assert manual.take_lost_ms() == 0


def test_silence_that_is_let_go_is_not_lost_but_speech_is(detecting: RetainedAudio) -> None:
    for number in range(310):
        write(detecting, number)
    detecting.server_heard()
    assert detecting.take_lost_ms() == 0
    detecting.speech_started(30_900)
    for number in range(310):
        write(detecting, number)
    assert detecting.take_lost_ms() == 1_100
