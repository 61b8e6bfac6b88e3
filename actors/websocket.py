"""The WebSocket framing of RFC 6455, client side, as bytes in and frames out; it does no I/O.

websocket-client makes the handshake; from then on frames are parsed here out of one big read, where that
library takes three reads and a selector object for each. UTF-8 is left to the JSON decoder, which checks it
anyway.
"""

from __future__ import annotations

import os
import struct

import numpy as np

CONTINUATION = 0x0
TEXT = 0x1
BINARY = 0x2
CLOSE = 0x8
PING = 0x9
PONG = 0xA
# Not on the wire: stands in for a text or binary message that was over the limit and has been skipped.
OVERSIZED = 0x100

NORMAL_CLOSURE = 1000
PROTOCOL_VIOLATION = 1002
NO_STATUS = 1005
POLICY_VIOLATION = 1008

Frame = tuple[int, bytes]


class FramingError(Exception):
    """The peer broke the framing; the connection can't be used any more.

    Attributes:
        frames: What had been read before, in the same go.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.frames: list[Frame] = []


class FrameReader:
    """Cuts a byte stream into messages and control frames.

    Not thread-safe: belongs to the thread that reads the socket.

    Args:
        max_size: Largest message in bytes; a larger one is skipped without being held in memory.
    """

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        # The beginning of a frame. One buffer, not a list: it may come byte by byte.
        self._begun = bytearray()
        # Bytes needed before parsing can go on.
        self._need = 2
        # Bytes of an oversized frame that are still to come.
        self._skip = 0
        # One buffer, not a list: a message may come in millions of fragments of a byte or none.
        self._fragments: bytearray | None = None
        self._fragments_size = 0
        self._fragments_opcode = 0

    def feed(self, data: bytes) -> list[Frame]:
        """Take what was read and return the messages and control frames that it completes.

        Returns:
            Pairs of opcode (TEXT, BINARY, CLOSE, PING, PONG or OVERSIZED) and payload.

        Raises:
            FramingError: The bytes are not valid frames from a server.
        """
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            if skipped == len(data):
                return []
            data = data[skipped:]
        if self._begun:
            self._begun += data
            if len(self._begun) < self._need:
                return []
            data = bytes(self._begun)
            self._begun.clear()
        frames: list[Frame] = []
        try:
            position = self._parse(data, frames)
        except FramingError as error:
            error.frames = frames
            raise
        if position < len(data):
            self._begun += data[position:] if position else data
        return frames

    def _parse(self, data: bytes, frames: list[Frame]) -> int:
        """Parse whole frames from `data`; returns where the first incomplete one begins."""
        position = 0
        end = len(data)
        while end - position >= 2:
            first = data[position]
            length = data[position + 1]
            header = 2
            if length >= 126:
                header = 4 if length == 126 else 10
                if length > 127:
                    raise FramingError("a frame from the server was masked")
                if end - position < header:
                    self._need = header
                    return position
                length = int.from_bytes(data[position + 2 : position + header], "big")
            opcode = first & 0x0F
            if first != 0x81 or self._fragments is not None:
                self._check_header(first, length)
            if length > self._max_size and opcode < CLOSE:
                self._skip_frame(opcode, bool(first & 0x80), frames)
                available = end - position - header
                if available < length:
                    self._skip = length - available
                    return end
                position += header + length
                continue
            if end - position < header + length:
                self._need = header + length
                return position
            position += header
            payload = data[position : position + length]
            position += length
            if first == 0x81:
                # A whole text message in one frame: all that a Realtime server normally sends.
                frames.append((TEXT, payload))
            else:
                self._accept(opcode, bool(first & 0x80), payload, frames)
        self._need = 2
        return position

    def _check_header(self, first: int, length: int) -> None:
        """Refuse a bad frame by its header: its payload may be without end, and is never waited for."""
        if first & 0x70:
            raise FramingError("a frame used extension bits that were not agreed on")
        opcode, final = first & 0x0F, first & 0x80
        if opcode >= CLOSE:
            if not final or length > 125 or opcode > PONG:
                raise FramingError(f"bad control frame (opcode {opcode}, {length} bytes)")
        elif opcode > BINARY:
            raise FramingError(f"unknown opcode {opcode}")
        elif opcode == CONTINUATION:
            if self._fragments is None:
                raise FramingError("a continuation frame without a message to continue")
        elif self._fragments is not None:
            raise FramingError("a new message began inside a fragmented one")

    def _accept(self, opcode: int, final: bool, payload: bytes, frames: list[Frame]) -> None:
        """Take a frame whose header has been checked."""
        if opcode == CONTINUATION:
            self._add_fragment(payload)
            if final:
                self._finish_fragments(frames)
            return
        if final:
            frames.append((opcode, payload))
            return
        self._fragments_opcode = opcode
        self._fragments = bytearray()
        self._fragments_size = 0
        self._add_fragment(payload)

    def _add_fragment(self, payload: bytes) -> None:
        assert self._fragments is not None
        self._fragments_size += len(payload)
        if self._fragments_size > self._max_size:
            self._fragments.clear()
        else:
            self._fragments += payload

    def _finish_fragments(self, frames: list[Frame]) -> None:
        assert self._fragments is not None
        if self._fragments_size > self._max_size:
            frames.append((OVERSIZED, b""))
        else:
            frames.append((self._fragments_opcode, bytes(self._fragments)))
        self._fragments = None

    def _skip_frame(self, opcode: int, final: bool, frames: list[Frame]) -> None:
        if final and self._fragments is None:
            frames.append((OVERSIZED, b""))
            return
        if self._fragments is None:
            self._fragments = bytearray()
            self._fragments_opcode = opcode
        self._fragments.clear()
        self._fragments_size = self._max_size + 1
        if final:
            self._finish_fragments(frames)


def encode_frame(opcode: int, payload: bytes) -> bytes:
    """Make one final, masked frame.

    Args:
        opcode: TEXT, PING, PONG or CLOSE.
        payload: The frame's content.
    """
    size = len(payload)
    key = os.urandom(4)
    if size < 126:
        header = bytes((0x80 | opcode, 0x80 | size))
    elif size < 65536:
        header = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, size)
    else:
        header = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, size)
    return b"".join((header, key, mask(payload, key)))


def mask(payload: bytes, key: bytes) -> bytes:
    """XOR `payload` with the repeated 4-byte `key`: 3 µs for 6.4 KB, where big integers take 17."""
    size = len(payload)
    words = np.frombuffer(payload + bytes(-size % 4), np.uint32) ^ np.frombuffer(key, np.uint32)
    return words.tobytes()[:size]


def encode_close(code: int, reason: str = "") -> bytes:
    """Make a close frame; a reason that is too long for one is cut, at a whole character."""
    words = reason.encode()[:123].decode("utf-8", "ignore").encode()
    return encode_frame(CLOSE, struct.pack("!H", code) + words)


def decode_close(payload: bytes) -> tuple[int, str]:
    """The code and reason of a close frame's payload; 1005 when it names none."""
    if len(payload) < 2:
        return NO_STATUS, ""
    return int.from_bytes(payload[:2], "big"), payload[2:].decode("utf-8", "replace")
