"""A SIP phone's media: RTP (RFC 3550) with G.711 (RFC 3551) over UDP, with a network in between."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
from telephone import FRAME_S, PATIENCE, Telephone

from antiphon.actors.audio import decode_alaw, decode_ulaw, encode_alaw, encode_ulaw

FRAME = 160
PCMU, PCMA, COMFORT_NOISE = 0, 8, 13
CODECS = {PCMU: (encode_ulaw, decode_ulaw), PCMA: (encode_alaw, decode_alaw)}


@dataclass(frozen=True)
class Packet:
    """A packet that came."""

    at: float
    marker: bool
    kind: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes


def packet(
    kind: int, sequence: int, timestamp: int, ssrc: int, payload: bytes, first: int = 0x80, more: bytes = b""
) -> bytes:
    """A packet; `first` is its first byte, `more` what stands between the header and the payload."""
    head = struct.pack("!BBHII", first, kind, sequence % 2**16, timestamp % 2**32, ssrc)
    return head + more + payload


class SipPhone:
    """A phone that talks RTP each 20 ms; a context manager.

    Args:
        port: Where the bridge listens.
        kind: The payload type.
        loss: The part of its packets that is lost.
        jitter_s: By how much a packet may be late; more than 20 ms puts some out of order.
        suppress: Whether it sends nothing while its owner is silent, but for the first moment.
        talking: Whether it sends by itself.
    """

    def __init__(
        self,
        port: int,
        kind: int = PCMU,
        loss: float = 0.0,
        jitter_s: float = 0.0,
        suppress: bool = False,
        talking: bool = True,
    ) -> None:
        self.phone = Telephone()
        self.packets: list[Packet] = []
        self.ssrc = random.getrandbits(32)
        self._kind, self._loss, self._jitter, self._suppress = kind, loss, jitter_s, suppress
        # Both run over soon after the start.
        self._sequence, self._timestamp = 2**16 - 20, 2**32 - 20 * FRAME
        self._random = random.Random(3)
        self._stopping = threading.Event()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(("127.0.0.1", port))
        self._socket.settimeout(0.05)
        self.address: tuple[str, int] = self._socket.getsockname()
        jobs: dict[str, Callable[[], None]] = {"read": self._read}
        if talking:
            jobs["talk"] = self._talk
        self._threads = [
            threading.Thread(target=job, name=f"antiphon-test-{name}") for name, job in jobs.items()
        ]
        for thread in self._threads:
            thread.start()

    def send(self, data: bytes) -> None:
        """Send a datagram; nobody need be there."""
        with contextlib.suppress(ConnectionRefusedError):
            self._socket.send(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(PATIENCE)
        self._socket.close()

    def _talk(self) -> None:
        began, frames = time.monotonic(), 0
        under_way: list[tuple[float, bytes]] = []
        while not self._stopping.wait(max(0.0, began + frames * FRAME_S - time.monotonic())):
            frames += 1
            samples = self.phone.speak()
            if frames < 10 or not (self._suppress and np.abs(samples).max() < 200):
                sound = CODECS[self._kind][0](samples)
                data = packet(self._kind, self._sequence, self._timestamp, self.ssrc, sound)
                self._sequence += 1
                if self._random.random() >= self._loss:
                    arrives = time.monotonic() + self._random.uniform(0, self._jitter)
                    under_way.append((arrives, data))
            self._timestamp += FRAME
            now = time.monotonic()
            for arrives, data in sorted(under_way):
                if arrives <= now:
                    under_way.remove((arrives, data))
                    self.send(data)

    def _read(self) -> None:
        while not self._stopping.is_set():
            try:
                data = self._socket.recv(2048)
            except (TimeoutError, ConnectionRefusedError):
                continue
            first, second, sequence, timestamp, ssrc = struct.unpack_from("!BBHII", data)
            assert first == 0x80
            came = Packet(
                time.monotonic(), bool(second & 0x80), second & 0x7F, sequence, timestamp, ssrc, data[12:]
            )
            self.packets.append(came)
            self.phone.hear(np.array(CODECS[came.kind][1](came.payload)))
