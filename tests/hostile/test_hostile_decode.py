"""Any bytes at the decoder, and any frames in the middle of a conversation under the driver."""

from __future__ import annotations

import gc
import json
import random
import tracemalloc

import pytest
from bad_frames import AUDIO, any_event, any_frame
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from interrupted import ACTIONS, Interrupted

from antiphon.protocol import ProtocolError, UnknownEvent, decode_server_event, encode_server_event

FAST = settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
SLOW = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
# Seeds, not `st.randoms`: thousands of draws each would exhaust the engine; a seed says as much in a report.
made_frames = st.builds(lambda seed: any_frame(random.Random(seed)), st.integers(0, 2**32))
frames = made_frames | st.binary(max_size=60) | JSON.map(lambda tree: json.dumps(tree).encode())


@FAST
@given(frames)
def test_no_frame_raises_anything_but_a_protocol_error(frame: bytes) -> None:
    for data in (frame, bytearray(frame), memoryview(frame), frame.decode("utf-8", "surrogateescape")):
        refused: ProtocolError | None = None
        try:
            encode_server_event(decode_server_event(data))
        except ProtocolError as error:
            refused = error
        # What can't be read is not quoted either.
        assert refused is None or (refused.__cause__, refused.__context__) == (None, None)


@FAST
@given(st.integers(0, 2**32))
def test_made_events_are_read(seed: int) -> None:
    # Otherwise the frames of these tests would all be refused at the door.
    event = any_event(random.Random(seed))
    assert type(decode_server_event(json.dumps(event).encode())) is not UnknownEvent


@SLOW
@given(st.lists(made_frames | st.sampled_from(ACTIONS), min_size=1, max_size=25))
def test_no_frames_break_a_conversation(interruptions: list[bytes]) -> None:
    with Interrupted() as conversation:
        conversation.hear(*interruptions)
        conversation.check()


@pytest.mark.full
@pytest.mark.parametrize("seed", range(10))
def test_no_frames_break_a_long_conversation(seed: int) -> None:
    choose = random.Random(seed)
    with Interrupted() as conversation:
        for _ in range(20):
            conversation.hear(
                *(any_frame(choose) if choose.random() < 0.7 else choose.choice(ACTIONS) for _ in range(25))
            )
            if conversation.session.state == "closed":
                break
        conversation.check()


def test_nonsense_leaves_nothing_in_memory() -> None:
    """What belongs to nothing is forgotten: deltas, ends and transcripts of foreign ids, unreadable frames."""
    part = {"response_id": "foreign", "item_id": "foreign", "content_index": 0, "output_index": 0}

    def nonsense(start: int) -> list[bytes]:
        events: list[dict[str, object]] = []
        for n in range(start, start + 100):
            foreign = part | {"response_id": f"resp_{n}", "item_id": f"item_{n}"}
            done = {"id": f"resp_{n}", "status": "completed", "output": []}
            events += [
                {"type": "response.output_audio.delta", "delta": AUDIO, **foreign},
                {"type": "response.output_text.delta", "delta": AUDIO, **foreign},
                {"type": "response.function_call_arguments.delta", "delta": AUDIO, **foreign},
                {"type": "response.done", "response": done},
                {"type": "response.done", "response": n},
                {"type": f"made.up.{n}"},
            ]
        return [json.dumps(event).encode() for event in events]

    with Interrupted() as conversation:
        conversation.hear(*nonsense(0))
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for round_ in range(1, 6):
            conversation.hear(*nonsense(1000 * round_))
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        conversation.check()
    print(f"3,000 events that belong to nothing: {grown / 1024:.0f} KiB more")
    assert grown < 50_000


@pytest.mark.parametrize("raw", ["!", "AAAA", 5])
def test_a_server_cannot_pass_for_our_own_placeholder(raw) -> None:
    item = {"type": "antiphon.unknown", "unknown_type": "x", "id": "i", "raw": raw}
    event = decode_server_event(json.dumps({"type": "conversation.item.added", "item": item}).encode())
    assert json.loads(encode_server_event(event))["item"] == item
