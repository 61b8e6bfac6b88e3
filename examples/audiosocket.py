"""Asterisk on the line: an AudioSocket server with a thread and a session for each call.

    same => n,AudioSocket(40325ec2-5efd-4bd3-805f-53576e581d13,127.0.0.1:9092)     ; the dialplan, after Answer()
    python examples/audiosocket.py 9092

AudioSocket knows no encryption and no password: listen where nobody but Asterisk can connect.
"""

from __future__ import annotations

import logging
import socket
import socketserver
import struct
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress

from command_line import port_argument
from phone import FRAME_S, Pacer, greet, press

from antiphon import RealtimeModel, RealtimeSession, ServerVad

HANGUP, UUID, DTMF, ERROR = 0x00, 0x01, 0x03, 0xFF
# By the type of the audio, which is s16le mono.
RATES = dict(enumerate((8000, 12000, 16000, 24000, 32000, 44100, 48000, 96000, 192000), start=0x10))
PATIENCE_S = 5.0  # for the first audio, and for a peer that takes nothing
logger = logging.getLogger("audiosocket")


class Call(socketserver.BaseRequestHandler):
    """One call, on a thread of its own: takes what comes, and every 20 ms says what the model has to say."""

    server: AudioSocketServer

    def handle(self) -> None:
        """The call, to its end."""
        self.audio = 0  # the type of the caller's audio, and of ours; 0 before it is known
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self.server.model.session(start=False) as self.session:
            try:
                for kind, payload in self.messages():
                    if kind == HANGUP:
                        return
                    self.take(kind, payload)
                self.request.sendall(struct.pack("!BH", HANGUP, 0))
            except (OSError, ValueError) as error:
                logger.warning("the call ended: %s", error)

    def messages(self) -> Iterator[tuple[int, bytes]]:
        """What Asterisk sends, as (type, payload); meanwhile speaks whenever that is due."""
        inbox = bytearray()
        while not self.server.stopping.is_set() and self.session.state != "closed":
            self.request.settimeout(max(0.001, self.pacer.wait_s()) if self.audio else PATIENCE_S)
            try:
                data = self.request.recv(65536)
            except TimeoutError:
                if not self.audio:
                    raise
            else:
                if not data:
                    yield HANGUP, b""
                inbox += data
            while len(inbox) >= 3 and len(inbox) >= (end := 3 + int.from_bytes(inbox[1:3], "big")):
                message = inbox[0], bytes(inbox[3:end])
                del inbox[:end]
                yield message
            self.speak()

    def take(self, kind: int, payload: bytes) -> None:
        """Do what a message asks for; types that are not known ask for nothing."""
        if kind == UUID:
            threading.current_thread().name = f"call-{uuid.UUID(bytes=payload)}"
        elif kind == DTMF:
            press(self.session, payload.decode("ascii"))
        elif kind == ERROR:
            logger.warning("Asterisk reports the error %s", payload.hex() or "without a code")
        elif kind in RATES:
            if not self.audio:
                self.audio, self.pacer = kind, Pacer()
                self.session.playback.configure(RATES[kind])
                self.session.start()
                self.server.answer(self.session)
            self.session.push_audio(payload, RATES[kind], 1)

    def speak(self) -> None:
        """Send what is due."""
        for _ in range(self.pacer.due() if self.audio else 0):
            block = self.session.playback.read(round(RATES[self.audio] * FRAME_S)).astype("<i2").tobytes()
            self.request.settimeout(PATIENCE_S)
            self.request.sendall(struct.pack("!BH", self.audio, len(block)) + block)


class AudioSocketServer(socketserver.ThreadingTCPServer):
    """`answer` is called with the session when a caller's audio begins; it must not block."""

    allow_reuse_address = True

    def __init__(
        self,
        address: tuple[str, int],
        model: RealtimeModel,
        answer: Callable[[RealtimeSession], None] = greet,
    ) -> None:
        self.model, self.answer, self.stopping = model, answer, threading.Event()
        super().__init__(address, Call)

    def server_close(self) -> None:
        """Stop listening, hang up, wait for the calls' threads."""
        self.stopping.set()
        super().server_close()


if __name__ == "__main__":
    port, model = port_argument(__doc__, 9092, calls_model=True), RealtimeModel(turn_detection=ServerVad())
    with model, AudioSocketServer(("127.0.0.1", port), model) as server, suppress(KeyboardInterrupt):
        print(f"Calls are taken at 127.0.0.1:{port}. Ctrl-C ends it.", flush=True)
        server.serve_forever()
