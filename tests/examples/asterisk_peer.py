"""Asterisk's side of AudioSocket: connects, sends the UUID, then a frame of the channel's audio each 20 ms."""

from __future__ import annotations

import socket
import struct
import threading
import time
import uuid
from types import TracebackType
from typing import Self

import numpy as np
from telephone import FRAME_S, PATIENCE, Telephone

CALL_ID = uuid.UUID("40325ec2-5efd-4bd3-805f-53576e581d13")
SLIN = 0x10
RATES = (8000, 12000, 16000, 24000, 32000, 44100, 48000, 96000, 192000)


def message(kind: int, payload: bytes) -> bytes:
    """Type, length in network order, payload."""
    return struct.pack("!BH", kind, len(payload)) + payload


class Asterisk:
    """A channel in the application AudioSocket; a context manager that hangs up.

    Like Asterisk it takes only audio and hang-ups from the other side, and closes at anything else. It passes on what
    it gets at once: who sends faster than real time is heard too early.

    Args:
        port: Where the AudioSocket server listens.
        kind: The type of the audio.
        talking: Whether the channel has a telephone, whose frames are sent; else a test sends what it wants.
    """

    def __init__(self, port: int, kind: int = SLIN, talking: bool = True) -> None:
        self.kind = kind
        self.phone = Telephone(RATES[kind - SLIN])
        self.kinds: list[int] = []
        self.sizes: set[int] = set()
        self.times: list[float] = []
        self.hung_up = threading.Event()
        self.closed = threading.Event()
        self._stopping = threading.Event()
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threads = [threading.Thread(target=self._read, name="antiphon-test-asterisk-read")]
        if talking:
            self.send(message(0x01, CALL_ID.bytes))
            threads.append(threading.Thread(target=self._talk, name="antiphon-test-asterisk-talk"))
        self._threads = threads
        for thread in threads:
            thread.start()

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self._socket.sendall(data)

    def hang_up(self) -> None:
        """The channel is gone."""
        self.send(message(0x00, b""))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        for thread in self._threads:
            thread.join(PATIENCE)
        self._socket.close()

    def _talk(self) -> None:
        began, frames = time.monotonic(), 0
        while not self._stopping.wait(max(0.0, began + frames * FRAME_S - time.monotonic())):
            frames += 1
            try:
                self.send(message(self.kind, self.phone.speak().astype("<i2").tobytes()))
            except OSError:
                return

    def _read(self) -> None:
        try:
            with self._socket.makefile("rb") as stream:
                while header := stream.read(3):
                    kind, size = struct.unpack("!BH", header)
                    payload = stream.read(size)
                    self.kinds.append(kind)
                    if kind == 0x00:
                        self.hung_up.set()
                    if kind not in range(0x10, 0x19) or not payload:
                        return
                    self.sizes.add(size)
                    self.times.append(time.monotonic())
                    self.phone.hear(np.frombuffer(payload, "<i2").astype(np.int16))
        except OSError:
            pass
        finally:
            self.closed.set()
