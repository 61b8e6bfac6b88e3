"""The floor: a bare loop over one socket. Big reads, msgspec, SIMD base64; no thread, no session, no contract."""

from __future__ import annotations

import os
import socket
import ssl
import struct
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pybase64

from benchmarks import wire
from benchmarks.measure import Server, Window, check


class _Event(msgspec.Struct, gc=False):
    type: str
    delta: str = ""


def _connect(server: Server, model: str) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", server.port))
    if server.tls:
        sock = ssl.create_default_context().wrap_socket(sock, server_hostname="127.0.0.1")
    sock.sendall(
        f"GET /v1/realtime?model={model} HTTP/1.1\r\nHost: {server.host}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: Zmxvb3JmbG9vcmZsb29yZg==\r\n\r\n".encode()
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += sock.recv(1)
    return sock


def _send(sock: socket.socket, text: bytes) -> None:
    key = os.urandom(4)
    masked = bytes(byte ^ key[at % 4] for at, byte in enumerate(text))
    sock.sendall(struct.pack("!BB", 0x81, 0x80 | len(text)) + key + masked)


def _events(sock: socket.socket) -> Iterator[_Event]:
    decoder = msgspec.json.Decoder(_Event)
    block = bytearray(1 << 19)
    view, filled = memoryview(block), 0
    while read := sock.recv_into(view[filled:]):
        filled += read
        at = 0
        while filled - at >= 4:
            size, start = block[at + 1], at + 2
            if size == 126:
                size, start = block[at + 2] << 8 | block[at + 3], at + 4
            if filled < start + size:
                break
            yield decoder.decode(view[start : start + size])
            at = start + size
        rest = filled - at
        view[:rest] = bytes(view[at:filled])
        filled = rest


def inbound(server: Server, deltas: int) -> dict[str, Any]:
    """A burst of audio, to int16 samples."""
    sock = _connect(server, f"inbound-{deltas}")
    taken = words = 0
    with Window(server) as window:
        _send(sock, b'{"type":"input_audio_buffer.clear"}')
        for event in _events(sock):
            if event.type == "response.output_audio.delta":
                samples = np.frombuffer(pybase64.b64decode(event.delta), np.int16)
                check(len(samples) == wire.DELTA_SAMPLES and samples[0] == taken, f"delta {taken} is wrong")
                taken += 1
            elif event.type == "response.output_audio_transcript.delta":
                words += 1
            elif event.type == "response.done":
                break
    check(taken == deltas and words == wire.transcripts(deltas), f"{taken} deltas, {words} transcripts")
    return window.per_event(taken + words)
