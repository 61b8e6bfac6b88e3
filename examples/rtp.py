"""RTP with G.711 in and out: a UDP port and one thread for all calls, a packet each 20 ms.

    python examples/rtp.py 5004

Signalling is your SIP stack's: it sends callers here, and calls `hang_up` at a BYE. Each sender's address is a call,
until it has been quiet for half a minute. RTP has no password: let nobody but your gateway reach the port.
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
from collections.abc import Callable

from command_line import port_argument
from jitter import JitterBuffer
from phone import FRAME_S, Pacer, g711_model, greet

from antiphon import RealtimeModel, RealtimeSession, decode_alaw, decode_ulaw, encode_alaw, encode_ulaw

RATE, FRAME = 8000, 160
QUIET_FRAMES = 30 / FRAME_S
CODECS = {0: (encode_ulaw, decode_ulaw), 8: (encode_alaw, decode_alaw)}  # by payload type (RFC 3551)
Address = tuple[str, int]


class Call:
    """One caller: a session, and a stream in either direction."""

    def __init__(self, session: RealtimeSession) -> None:
        self.session = session
        self.quiet = 0  # frames since the caller was heard
        self._source = (-1, -1)  # the caller's payload type and SSRC
        self._ssrc, self._timestamp, self._sequence = *random.sample(range(2**32), 2), random.getrandbits(16)
        session.playback.configure(RATE)
        session.start()

    def hear(self, packet: bytes) -> None:
        """Take a packet (RFC 3550, 5.1): its header may list sources and have an extension, padding may follow."""
        start, end = 12 + 4 * (packet[0] & 0x0F), len(packet) - (packet[-1] if packet[0] & 0x20 else 0)
        if packet[0] & 0x10:
            start += 4 + 4 * int.from_bytes(packet[start + 2 : start + 4], "big")
        timestamp, ssrc = struct.unpack_from("!II", packet, 4)
        if self._source != (packet[1] & 0x7F, ssrc):
            self._source, self._jitter = (packet[1] & 0x7F, ssrc), JitterBuffer()
        self._jitter.put(timestamp, CODECS[self._source[0]][1](packet[start:end]))
        self.quiet = 0

    def frame(self) -> bytes:
        """Pass 20 ms on to the model; returns the packet with 20 ms of what it says."""
        self.session.push_audio(self._jitter.take(FRAME), RATE)
        header = struct.pack("!BBHII", 0x80, self._source[0], self._sequence, self._timestamp, self._ssrc)
        self._sequence, self._timestamp = (self._sequence + 1) % 2**16, (self._timestamp + FRAME) % 2**32
        self.quiet += 1
        return header + CODECS[self._source[0]][0](self.session.playback.read(FRAME))


class RtpBridge:
    """Takes calls in `serve`. `answer` is called with the session when a caller begins; it must not block."""

    def __init__(
        self, address: Address, model: RealtimeModel, answer: Callable[[RealtimeSession], None] = greet
    ) -> None:
        self._model, self._answer, self.stopping = model, answer, threading.Event()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self.port: int = self._socket.getsockname()[1]
        self.calls: dict[Address, Call] = {}

    def serve(self) -> None:
        """Carry all calls until `stopping` is set, then hang up."""
        pacer = Pacer()
        with self._socket:
            while not self.stopping.is_set():
                self._socket.settimeout(pacer.wait_s())
                try:
                    self._receive(*self._socket.recvfrom(2048))
                except (
                    OSError
                ):  # nothing is left to read; so what came in a hold-up is placed before it is late
                    for _ in range(pacer.due()):
                        self._tick()
        for address in list(self.calls):
            self.hang_up(address)

    def hang_up(self, address: Address) -> None:
        """End a call. Closing may take a moment, which the others are not to wait for."""
        if call := self.calls.pop(address, None):
            threading.Thread(target=call.session.close, name="rtp-hang-up").start()

    def _receive(self, packet: bytes, sender: Address) -> None:
        if len(packet) < 12 or packet[0] >> 6 != 2 or packet[1] & 0x7F not in CODECS:
            return  # not RTP, or not sound: RTCP, comfort noise, keys
        if sender not in self.calls:
            self.calls[sender] = Call(self._model.session(start=False))
            self._answer(self.calls[sender].session)
        self.calls[sender].hear(packet)

    def _tick(self) -> None:
        for address, call in list(self.calls.items()):
            if call.quiet >= QUIET_FRAMES or call.session.state == "closed":
                self.hang_up(address)
            else:
                with contextlib.suppress(OSError):  # no way there just now
                    self._socket.sendto(call.frame(), address)


if __name__ == "__main__":
    address = ("0.0.0.0", port_argument(__doc__, 5004, calls_model=True))
    with g711_model() as model, contextlib.suppress(KeyboardInterrupt):
        bridge = RtpBridge(address, model)
        print(f"Calls are taken at UDP port {bridge.port}. Ctrl-C ends it.", flush=True)
        bridge.serve()
