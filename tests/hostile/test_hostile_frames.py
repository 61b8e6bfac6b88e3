"""Hostile frames over real sockets: the session lives, memory stays bounded, one log line tells of each kind."""

from __future__ import annotations

import base64
import json
import logging
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bad_frames import IDS, any_frame
from hostile_server import PATIENCE, Peer, attacked, frame
from websockets.frames import Opcode

from antiphon import Timeouts

LIMIT = 100_000
PAGE = os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(autouse=True)
def _short_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antiphon.actors.pool.IDLE_SECONDS", 0.05)


@pytest.fixture(autouse=True)
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], Counter[str]]]:
    """What was logged, how often; no line twice, however often its reason occurs."""
    caplog.set_level(logging.INFO, "antiphon")

    def logged() -> Counter[str]:
        return Counter(record.getMessage() for record in caplog.records)

    yield logged
    assert [line for line, times in logged().items() if times > 1] == []


def resident_mib() -> float:
    """The process's memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 2**20


def delta(**changes: object) -> bytes:
    """An audio delta of a response that nobody asked for."""
    event = {"type": "response.output_audio.delta", "response_id": "foreign", "item_id": "i", "delta": "AAAA"}
    return json.dumps(event | changes).encode()


# From CPython 3.12 on, the decoder goes about 10,000 deep.
NESTED = b'{"type":"error","error":' + b'{"a":' * 20_000 + b"1" + b"}" * 20_000 + b"}"
SKIPPED = {
    "bad JSON": (b'{"type":', "not valid JSON"),
    "no JSON at all": (b"<html>502 Bad Gateway</html>", "not valid JSON"),
    "no object": (b"[1, 2]", "not a JSON object"),
    "no type": (b'{"event_id":"x"}', "no event type"),
    "a type of another type": (b'{"type":["response.done"]}', "no event type"),
    "wrong types": (b'{"type":"response.created","response":[]}', "wrong shape of response.created"),
    "nested 20,000 deep": (NESTED, "nested too deeply"),
    "invalid UTF-8": (b'{"type":"response.done","x":"\xff\xfe"}', "not valid UTF-8"),
    "NaN": (b'{"type":"rate_limits.updated","rate_limits":[{"remaining":NaN}]}', "not valid JSON"),
}


@pytest.mark.parametrize(("bad", "line"), SKIPPED.values(), ids=SKIPPED)
def test_a_frame_that_cannot_be_read_is_skipped_and_logged_once(bad, line, lines) -> None:
    def attack(peer: Peer) -> None:
        for _ in range(50):
            peer.frame(bad)

    with attacked(attack) as victim:
        victim.converse()
        assert victim.close() == []
    (logged,) = lines()
    assert line in logged
    assert "more of this kind are counted, not logged" in logged


def test_readable_nonsense_is_ignored(lines) -> None:
    def attack(peer: Peer) -> None:
        for _ in range(20):
            peer.frame(
                b'{"type":"response.created","response":{"id":"a"},"type":"x","type":"rate_limits.updated"}'
            )
            peer.frame(delta(delta="!not base64!"))
            peer.frame(delta(response_id="", delta="A"))
            peer.frame(delta(item_id="\x00" * 100))
            peer.event(type="conversation.item.deleted", item_id="foreign" * 100)
            peer.event(
                type="conversation.item.truncated", item_id="foreign", audio_end_ms=-5, content_index=99
            )
            peer.event(type="response.done", response={"id": "foreign", "status": "completed", "output": []})
            peer.event(
                type="error", error={"type": "invalid_request_error", "event_id": "foreign", "message": ""}
            )
            peer.event(type="made.up", x=base64.b64encode(bytes(1000)).decode())

    with attacked(attack) as victim:
        victim.converse()
        assert {name for name, _ in victim.close()} == {"error"}


def test_events_out_of_order(lines) -> None:
    def attack(peer: Peer) -> None:
        item = {"id": "item_x", "type": "message", "role": "assistant", "content": []}
        part = {"response_id": "resp_x", "item_id": "item_x", "output_index": 0, "content_index": 0}
        events = [
            {"type": "response.created", "response": {"id": "resp_x", "status": "in_progress"}},
            {"type": "response.output_item.added", "item": item, **part},
            {"type": "response.output_text.delta", "delta": "Hello", **part},
            {"type": "response.output_item.done", "item": item, **part},
            {"type": "conversation.item.added", "item": item, "previous_item_id": "nowhere"},
            {"type": "conversation.item.deleted", "item_id": "item_x"},
        ]
        choose = random.Random(4)
        for _ in range(50):
            for event in choose.sample(events, len(events)):
                peer.event(**event)
        peer.event(type="response.done", response={"id": "resp_x", "status": "completed"})

    with attacked(attack) as victim:
        victim.converse()
        assert victim.close() == []
    assert lines()


@pytest.mark.parametrize("seed", range(8))
def test_any_frames(seed: int) -> None:
    choose = random.Random(seed)
    texts = [text for text in (any_frame(choose) for _ in range(500)) if b"session_expired" not in text]
    ends = [json.dumps({"type": "response.done", "response": {"id": id_, "status": "failed"}}) for id_ in IDS]

    def attack(peer: Peer) -> None:
        for text in texts:
            peer.frame(text)
        for end in ends:
            peer.frame(end.encode())

    with attacked(attack) as victim:
        victim.converse()
        assert {name for name, _ in victim.close()} <= {"error"}


# -- size and number -----------------------------------------------------------------------------------------


def test_a_message_at_the_limit_is_read_and_one_over_it_is_skipped(lines) -> None:
    def sized(size: int) -> bytes:
        frame = json.dumps({"type": "made.up", "x": ""}).encode()
        return frame[:-2] + b"x" * (size - len(frame)) + b'"}'

    def attack(peer: Peer) -> None:
        peer.frame(sized(LIMIT))
        peer.frame(sized(LIMIT + 1))
        for at in range(0, LIMIT + 1, 20_000):
            peer.frame(sized(LIMIT + 1)[at : at + 20_000], Opcode.CONT if at else Opcode.TEXT, at == LIMIT)

    with attacked(attack, max_message_size=LIMIT) as victim:
        victim.converse()
        assert victim.close() == []
        assert [len(event["x"]) for event in victim.seen if event["type"] == "made.up"] == [LIMIT - 28]
    (logged,) = lines()
    assert "oversized" in logged


def test_five_megabyte_strings_do_not_reach_the_log(lines) -> None:
    huge = "x" * 5_000_000

    def attack(peer: Peer) -> None:
        item = {"id": huge, "type": "message", "role": "user", "content": []}
        for _ in range(2):
            peer.event(type="conversation.item.added", item=item, previous_item_id=huge)
        peer.event(type="conversation.item.deleted", item_id=huge)
        peer.event(type="conversation.item.deleted", item_id=huge)
        peer.event(type="error", error={"type": "x", "message": huge})
        peer.event(type=huge)
        peer.frame(delta(delta=huge))

    with attacked(attack) as victim:
        victim.converse()
        ((name, _),) = victim.close()
        assert name == "error"
    assert lines()
    assert max(map(len, lines())) < 1000


@pytest.mark.full
def test_a_hundred_thousand_tiny_frames(lines) -> None:
    # As many kinds as there are: read, skipped, ignored.
    tiny = [frame(text) for text in (b"", b"{}", b"1", b'{"type":"x"}', delta(delta="A"))]
    block = b"".join(tiny) * 1000
    before = resident_mib()
    memory: list[float] = []

    def attack(peer: Peer) -> None:
        for _ in range(20):
            peer.send(block)
            memory.append(resident_mib() - before)

    with attacked(attack) as victim:
        victim.converse()
        assert victim.close() == []
    print(f"100,000 tiny frames: at most {max(memory):.0f} MiB more")
    assert max(memory) < 60
    assert len(lines()) == 2


def test_a_frame_without_end_is_not_held_in_memory(lines) -> None:
    size, block = 300 << 20, bytes(1 << 20)
    memory: list[float] = []

    def attack(peer: Peer) -> None:
        peer.send(bytes((0x81, 127)) + size.to_bytes(8))
        for _ in range(size // len(block)):
            peer.send(block)
            memory.append(resident_mib())

    with attacked(attack, max_message_size=LIMIT) as victim:
        victim.converse()
        assert victim.close() == []
    print(f"a frame of 300 MiB: at most {max(memory) - memory[0]:.0f} MiB more")
    assert max(memory) - memory[0] < 40
    (logged,) = lines()
    assert "oversized" in logged


@pytest.mark.parametrize("payload", [b"", b"a"])
def test_many_fragments_are_not_held_in_memory(payload) -> None:
    block = frame(payload, Opcode.CONT, final=False) * 50_000
    memory: list[float] = []

    def attack(peer: Peer) -> None:
        peer.frame(b"", Opcode.TEXT, final=False)
        for _ in range(6):
            peer.send(block)
            memory.append(resident_mib())
        peer.frame(b"", Opcode.CONT)

    with attacked(attack) as victim:
        victim.converse()
        assert victim.close() == []
    print(f"300,000 fragments: at most {max(memory) - memory[0]:.0f} MiB more")
    assert max(memory) - memory[0] < 10


# -- framing -------------------------------------------------------------------------------------------------


def test_a_flood_of_pings(lines) -> None:
    block = frame(b"p" * 125, Opcode.PING) * 10_000
    memory: list[float] = []

    def attack(peer: Peer) -> None:
        for _ in range(40):
            peer.send(block)
            memory.append(resident_mib())

    with attacked(attack) as victim:
        victim.converse()
        assert victim.close() == []
    print(f"400,000 pings: at most {max(memory) - memory[0]:.0f} MiB more")
    assert max(memory) - memory[0] < 30
    assert not lines()


def test_fragments_with_control_frames_between_them(lines) -> None:
    event = json.dumps({"type": "made.up", "x": "Häppchen"}, ensure_ascii=False).encode()

    def attack(peer: Peer) -> None:
        for at in range(len(event)):
            peer.frame(event[at : at + 1], Opcode.CONT if at else Opcode.TEXT, at == len(event) - 1)
            peer.frame(b"", Opcode.PING)
            peer.frame(b"nobody asked", Opcode.PONG)

    with attacked(attack) as victim:
        victim.converse()
        assert victim.close() == []
        assert "Häppchen" in [event["x"] for event in victim.seen if event["type"] == "made.up"]
    assert not lines()


BROKEN = {
    "deflate that was not agreed on": frame(b"\xaaV*\xa9", rsv1=True),
    "a masked frame": b"\x81\x81abcd\x00",
    "an unknown opcode": frame(b"x", 0x3),
    "an unknown control frame": frame(b"x", 0xB),
    "a long ping": frame(b"x" * 126, Opcode.PING),
    "a fragmented ping": frame(b"x", Opcode.PING, final=False),
    "a continuation of nothing": frame(b"x", Opcode.CONT),
    "a message within a message": frame(b"x", final=False) + frame(b"y"),
    "a thousand close frames": frame(b"\x03\xf3bye", Opcode.CLOSE) * 1000,
    "no WebSocket at all": b"HTTP/1.1 500 Internal Server Error\r\n\r\n",
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_broken_framing_costs_the_connection_and_not_the_session(broken, lines) -> None:
    with attacked(lambda peer: peer.send(broken), timeouts=Timeouts(first_retry=0.01)) as victim:
        assert victim.troubles.get(PATIENCE)[0] == "error"
        assert victim.troubles.get(PATIENCE)[0] == "session_reconnected"
        victim.converse()
        assert victim.close() == []
    (logged,) = lines()
    assert "trying again" in logged


@pytest.mark.parametrize(
    "offer", ["permessage-deflate", "permessage-deflate; server_no_context_takeover", "x-made-up"]
)
def test_an_extension_that_nobody_asked_for_does_no_harm_while_it_is_not_used(offer, lines) -> None:
    with attacked(lambda peer: None, extensions=offer) as victim:
        victim.converse()
        assert victim.close() == []
    assert not lines()
