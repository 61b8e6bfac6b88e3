"""The one outgoing queue: order, the audio ring, partial writes, and what survives a drop."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import antiphon.protocol as p
from antiphon.actors.messages import AudioChunk
from antiphon.actors.outgoing import OutgoingQueue, encode_entry


def pushed(queue: OutgoingQueue, entry: Any) -> float:
    """Push an entry that the socket doesn't take; the milliseconds of audio that had to go for it."""
    queue.push(entry)
    return queue.drop_excess()


def chunk(number: int, ms: float = 100.0) -> AudioChunk:
    return AudioChunk(b"%d" % number, ms)


def event(number: int) -> p.ConversationItemDelete:
    return p.ConversationItemDelete(event_id=str(number), item_id="x")


def take_all(queue: OutgoingQueue) -> list[Any]:
    entries = []
    while (entry := queue.next()) is not None:
        entries.append(entry)
    return entries


COMMIT = p.InputAudioBufferCommit()


def test_entries_leave_in_the_order_of_the_calls() -> None:
    queue = OutgoingQueue(30_000)
    entries = [chunk(1), COMMIT, event(2), chunk(3), {"type": "x"}]
    for entry in entries:
        queue.push(entry)
    assert take_all(queue) == entries
    assert len(queue) == 0
    assert not queue


def test_the_ring_drops_the_oldest_audio_and_nothing_else() -> None:
    queue = OutgoingQueue(300)
    first = event(0)
    queue.push(first)
    dropped = [pushed(queue, chunk(number)) for number in range(1, 4)]
    queue.push(event(9))
    dropped += [pushed(queue, chunk(4)), pushed(queue, chunk(5, 150))]
    assert dropped == [0, 0, 0, 100, 200]
    assert take_all(queue) == [first, event(9), chunk(4), chunk(5, 150)]


def test_a_chunk_that_is_longer_than_the_ring_is_dropped_itself() -> None:
    queue = OutgoingQueue(50)
    assert pushed(queue, chunk(1, 100)) == 100
    assert take_all(queue) == []


def test_room_in_the_ring_is_given_back_when_audio_leaves() -> None:
    queue = OutgoingQueue(200)
    for number in range(20):
        assert pushed(queue, chunk(number)) == 0
        assert pushed(queue, chunk(number)) == 0
        assert len(take_all(queue)) == 2


def test_nothing_follows_an_entry_that_the_socket_took_in_part() -> None:
    queue = OutgoingQueue(30_000)
    queue.push(event(1))
    queue.push(event(2))
    entry = queue.next()
    assert entry == event(1)
    queue.hold(entry, replayed=False)
    assert queue.next() is None
    assert len(queue) == 2
    assert queue.drained() == event(1)
    assert queue.drained() is None
    assert queue.next() == event(2)


def test_a_replay_goes_first_in_the_order_in_which_it_is_given() -> None:
    queue = OutgoingQueue(30_000)
    queue.push(event(9))
    queue.begin_replay([event(1)])
    queue.begin_replay([event(2), chunk(3)])
    assert queue.replaying
    assert take_all(queue) == [event(1), event(2), chunk(3), event(9)]
    assert not queue.replaying


@pytest.mark.parametrize("entry", [event(1), chunk(1), {"type": "x"}])
def test_an_entry_in_mid_frame_is_kept_for_the_next_connection(entry: Any) -> None:
    queue = OutgoingQueue(30_000)
    queue.push(entry)
    queue.push(event(2))
    queue.hold(queue.next(), replayed=False)
    queue.connection_lost()
    assert take_all(queue) == [entry, event(2)]


@pytest.mark.parametrize("written", range(4))
@pytest.mark.parametrize("in_mid_frame", [False, True])
def test_a_replay_that_failed_is_forgotten(written: int, in_mid_frame: bool) -> None:
    # Configuration and conversation are made anew; RetainedAudio knows which audio was not written.
    queue = OutgoingQueue(300)
    queue.push(event(9))
    pushed(queue, chunk(9))
    queue.begin_replay([event(1), chunk(1), chunk(2), COMMIT, chunk(3)])
    for _ in range(written):
        queue.next()
    if in_mid_frame:
        replayed = queue.replaying
        queue.hold(queue.next(), replayed)
    queue.connection_lost()
    assert not queue.replaying
    assert [pushed(queue, chunk(number)) for number in (10, 11, 12)] == [0, 0, 100]
    assert take_all(queue) == [event(9), chunk(10), chunk(11), chunk(12)]


def test_clear_forgets_everything() -> None:
    queue = OutgoingQueue(200)
    queue.begin_replay([event(1)])
    pushed(queue, chunk(1))
    pushed(queue, chunk(2))
    queue.hold(queue.next(), replayed=True)
    queue.clear()
    assert not queue
    assert take_all(queue) == []
    assert pushed(queue, chunk(3)) == 0
    assert pushed(queue, chunk(4)) == 0


class QueueMachine(RuleBasedStateMachine):
    """Pushes, writes, partial writes and drops, against a plain list of what must come out."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = OutgoingQueue(500)
        self.pushed = 0
        self.expected: list[Any] = []
        self.held: Any = None
        self.audio_ms = 0.0

    @rule(audio=st.booleans(), ms=st.sampled_from([10.0, 100.0, 250.0]))
    def push(self, audio: bool, ms: float) -> None:
        self.pushed += 1
        entry = chunk(self.pushed, ms) if audio else event(self.pushed)
        dropped = pushed(self.queue, entry)
        self.expected.append(entry)
        waiting = [other for other in self.expected if isinstance(other, AudioChunk)]
        total = sum(other.ms for other in waiting)
        lost = 0.0
        while total - lost > 500:
            victim = waiting.pop(0)
            lost += victim.ms
            self.expected.remove(victim)
        assert dropped == lost

    @precondition(lambda self: self.held is None)
    @rule(whole=st.booleans())
    def write(self, whole: bool) -> None:
        entry = self.queue.next()
        assert entry == (self.expected.pop(0) if self.expected else None)
        if entry is not None and not whole:
            self.queue.hold(entry, replayed=False)
            self.held = entry

    @precondition(lambda self: self.held is not None)
    @rule()
    def drain(self) -> None:
        assert self.queue.next() is None
        assert self.queue.drained() == self.held
        self.held = None

    @rule()
    def drop(self) -> None:
        self.queue.connection_lost()
        if self.held is not None:
            self.expected.insert(0, self.held)
            self.held = None

    @invariant()
    def length_is_true(self) -> None:
        assert len(self.queue) == len(self.expected) + (self.held is not None)


QueueMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestQueueMachine = QueueMachine.TestCase


# -- encoding -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", ["ga", "azure-legacy"])
def test_a_chunk_is_an_append_with_its_bytes_and_no_event_id(dialect: Any) -> None:
    data = np.arange(-1200, 1200, dtype="<i2").tobytes()
    frame = json.loads(encode_entry(AudioChunk(data, 100.0), dialect))
    assert frame == {"type": "input_audio_buffer.append", "audio": base64.b64encode(data).decode()}
    assert frame == json.loads(p.encode_client_event(p.InputAudioBufferAppend(audio=frame["audio"]), dialect))


def test_a_dict_goes_out_as_it_is() -> None:
    given = {"type": "my.event", "event_id": "e", "deep": [{"n": None}]}
    assert json.loads(encode_entry(given, "ga")) == given
