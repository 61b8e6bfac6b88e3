"""Framing against the `websockets` library's own protocol, for every way in which bytes may arrive."""

from __future__ import annotations

import itertools
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.exceptions import WebSocketException
from websockets.frames import Frame as LibraryFrame
from websockets.frames import Opcode
from websockets.protocol import CLIENT, SERVER, Protocol

from antiphon.actors.websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    NO_STATUS,
    OVERSIZED,
    PING,
    PONG,
    TEXT,
    FrameReader,
    FramingError,
    decode_close,
    encode_close,
    encode_frame,
    mask,
)

LIMIT = 200
FAST = settings(deadline=None, max_examples=150)

# Around the three encodings of a length, and around the limit on a message.
sizes = st.sampled_from([0, 1, 2, 125, 126, 127, LIMIT - 1, LIMIT, LIMIT + 1, 1000, 70_000])
payloads = st.builds(lambda size, byte: bytes([byte]) * size, sizes, st.integers(0, 255))
controls = st.tuples(st.sampled_from([PING, PONG]), st.binary(max_size=125))


def wire(opcode: int, payload: bytes, final: bool = True) -> bytes:
    """A frame as a server sends it."""
    return LibraryFrame(Opcode(opcode), payload, final).serialize(mask=False)


@st.composite
def messages(draw: st.DrawFn) -> tuple[bytes, list[tuple[int, bytes]]]:
    """A message in one or more frames with control frames in between, and what a reader has to make of it."""
    opcode = draw(st.sampled_from([TEXT, BINARY]))
    parts = draw(st.lists(payloads, min_size=1, max_size=4))
    data, expected = b"", []
    for index, part in enumerate(parts):
        data += wire(opcode if index == 0 else CONTINUATION, part, final=index == len(parts) - 1)
        if index < len(parts) - 1:
            for control in draw(st.lists(controls, max_size=2)):
                data += wire(*control)
                expected.append(control)
    whole = b"".join(parts)
    expected.append((opcode, whole) if len(whole) <= LIMIT else (OVERSIZED, b""))
    return data, expected


streams = st.lists(messages() | controls.map(lambda c: (wire(*c), [c])), max_size=6)


def feed_in_pieces(reader: FrameReader, data: bytes, cuts: list[int]) -> list[tuple[int, bytes]]:
    """Feed `data`, cut at these places."""
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    frames = []
    for start, end in itertools.pairwise(places):
        frames += reader.feed(data[start:end])
    return frames


@FAST
@given(streams, st.lists(st.integers(0, 400_000), max_size=12))
def test_any_messages_in_any_pieces_are_read(stream: Any, cuts: list[int]) -> None:
    data = b"".join(part for part, _ in stream)
    expected = [frame for _, frames in stream for frame in frames]
    assert feed_in_pieces(FrameReader(LIMIT), data, cuts) == expected


@settings(deadline=None, max_examples=40)
@given(st.lists(messages() | controls.map(lambda c: (wire(*c), [c])), min_size=1, max_size=3))
def test_byte_by_byte_is_the_same_as_at_once(stream: Any) -> None:
    data = b"".join(part for part, _ in stream)[:3000]
    reader = FrameReader(LIMIT)
    slowly = [frame for byte in data for frame in reader.feed(bytes([byte]))]
    assert slowly == FrameReader(LIMIT).feed(data)


def read_with_the_library(data: bytes) -> list[tuple[int, bytes]] | None:
    """What websockets' own protocol makes of the bytes; None when it finds fault with them."""
    oracle = Protocol(CLIENT, max_size=None)
    oracle.receive_data(data)
    try:
        frames = oracle.events_received()
    except WebSocketException:
        return None
    if oracle.parser_exc is not None:
        return None
    whole: list[tuple[int, bytes]] = []
    opcode, fragments = 0, b""
    for frame in frames:
        if not isinstance(frame, LibraryFrame):
            continue
        if frame.opcode >= CLOSE:
            whole.append((int(frame.opcode), bytes(frame.data)))
            continue
        if frame.opcode is not Opcode.CONT:
            opcode, fragments = int(frame.opcode), b""
        fragments += bytes(frame.data)
        if frame.fin:
            whole.append((opcode, fragments))
    return whole


@st.composite
def odd_headers(draw: st.DrawFn) -> bytes:
    """Frames with any first byte, masked or not, that are mostly wrong."""
    first = draw(st.integers(0, 255))
    payload = draw(st.sampled_from([b"", b"x" * 5, b"x" * 125, b"x" * 126, b"x" * 300, b"x" * 70_000]))
    masked = draw(st.sampled_from([0, 0, 0, 0x80]))
    size = len(payload)
    if size < 126:
        header = bytes((first, masked | size))
    elif size < 65536:
        header = struct.pack("!BBH", first, masked | 126, size)
    else:
        header = struct.pack("!BBQ", first, masked | 127, size)
    return header + (b"\0\0\0\0" if masked else b"") + payload


@settings(deadline=None, max_examples=400)
@given(st.lists(odd_headers() | st.builds(wire, st.just(TEXT), payloads), min_size=1, max_size=4))
def test_what_the_library_refuses_is_refused(frames: list[bytes]) -> None:
    # A close frame ends what the library reads; what comes behind it is nobody's business.
    frames = [frame for frame in frames if frame[0] & 0x0F != CLOSE]
    data = b"".join(frames)
    oracle = read_with_the_library(data)
    for limit in (1 << 20, LIMIT):
        reader = FrameReader(limit)
        if oracle is None:
            with pytest.raises(FramingError):
                reader.feed(data)
        else:
            expected = [
                (OVERSIZED, b"") if opcode < CLOSE and len(payload) > limit else (opcode, payload)
                for opcode, payload in oracle
            ]
            assert reader.feed(data) == expected


@pytest.mark.parametrize(
    ("first", "length", "why"),
    [
        (0x89, 1 << 40, "bad control frame"),
        (0x8A, 126, "bad control frame"),
        (0x88, 70_000, "bad control frame"),
        (0x09, 5, "bad control frame"),
        (0x83, 1 << 40, "unknown opcode 3"),
        (0x8B, 1 << 40, "bad control frame"),
        (0x80, 1 << 40, "without a message to continue"),
    ],
)
def test_a_bad_header_is_refused_before_its_payload_is_waited_for(first: int, length: int, why: str) -> None:
    header = bytes((first, length)) if length < 126 else struct.pack("!BBQ", first, 127, length)
    with pytest.raises(FramingError, match=why):
        FrameReader(LIMIT).feed(header)


@pytest.mark.parametrize("size", [10, 1000])
def test_a_new_message_inside_a_fragmented_one_is_refused_whatever_its_size(size: int) -> None:
    reader = FrameReader(LIMIT)
    assert reader.feed(wire(TEXT, b"a", final=False)) == []
    with pytest.raises(FramingError, match="inside a fragmented one"):
        reader.feed(wire(TEXT, b"b" * size))


def test_an_oversized_message_is_not_held_in_memory() -> None:
    reader = FrameReader(LIMIT)
    header = struct.pack("!BBQ", 0x81, 127, 1 << 33)
    assert reader.feed(header) == [(OVERSIZED, b"")]
    block = bytes(1 << 20)
    for _ in range(20):
        assert reader.feed(block) == []
    assert len(reader._begun) + len(reader._fragments or b"") == 0


def test_what_follows_an_oversized_message_in_the_same_read_is_read() -> None:
    data = wire(TEXT, b"x" * (LIMIT + 1)) + wire(PING, b"p") + wire(TEXT, b"after")
    assert FrameReader(LIMIT).feed(data) == [(OVERSIZED, b""), (PING, b"p"), (TEXT, b"after")]


def test_a_large_frame_in_many_pieces_is_joined_once() -> None:
    payload = bytes(range(256)) * 4096 * 5
    data = wire(TEXT, payload)
    reader = FrameReader(16 << 20)
    frames = [
        frame for start in range(0, len(data), 4096) for frame in reader.feed(data[start : start + 4096])
    ]
    assert frames == [(TEXT, payload)]


# -- what we send -------------------------------------------------------------------------------------


@FAST
@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_mask_is_the_naive_xor(payload: bytes, key: bytes) -> None:
    assert mask(payload, key) == bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))


@FAST
@given(st.lists(st.tuples(st.sampled_from([TEXT, PING, PONG]), payloads), max_size=5))
def test_the_library_reads_what_we_send(frames: list[tuple[int, bytes]]) -> None:
    frames = [(opcode, payload[:125] if opcode >= CLOSE else payload) for opcode, payload in frames]
    oracle = Protocol(SERVER, max_size=None)
    for opcode, payload in frames:
        oracle.receive_data(encode_frame(opcode, payload))
    received = [
        (int(f.opcode), bytes(f.data)) for f in oracle.events_received() if isinstance(f, LibraryFrame)
    ]
    assert received == frames
    assert oracle.parser_exc is None


def test_every_frame_has_its_own_mask() -> None:
    keys = {encode_frame(TEXT, b"same")[2:6] for _ in range(50)}
    assert len(keys) == 50


@FAST
@given(st.sampled_from([1000, 1001, 1002, 1008, 1011, 3000, 4999]), st.text(max_size=200))
def test_close_frames_are_valid_and_come_back(code: int, reason: str) -> None:
    oracle = Protocol(SERVER)
    oracle.receive_data(encode_close(code, reason))
    assert oracle.parser_exc is None
    assert oracle.close_rcvd is not None
    assert oracle.close_rcvd.code == code
    assert reason.startswith(oracle.close_rcvd.reason)
    assert len(oracle.close_rcvd.reason.encode()) > min(len(reason.encode()), 123) - 4
    payload = oracle.close_rcvd.serialize()
    assert decode_close(payload) == (code, oracle.close_rcvd.reason)


@pytest.mark.parametrize("payload", [b"", b"\x03"])
def test_a_close_without_a_code_says_so(payload: bytes) -> None:
    assert decode_close(payload) == (NO_STATUS, "")


def test_a_reason_that_is_no_utf8_does_no_harm() -> None:
    assert decode_close(b"\x03\xe8\xff\xfe") == (1000, "\ufffd\ufffd")
