"""The load server: one thread, one selector, frames made beforehand. A process of its own.

    python -m benchmarks.load_server [CERTIFICATE.pem]

It prints two ports: of the API (TLS with a certificate), and of the control connection, which speaks lines. What a
connection of the API gets is told by the model's name in the address, see `scenarios`. What comes in is kept as it
came, and decoded only when it is asked for. The control's commands, each answered with one line of JSON:

- `stats`: the server's own CPU time
- `audio`: what came in, see `_audio`
- `chunks`: how many large frames came in
- `frames`: all small frames: connection, time of reading, text
- `sent`: when what is timed was sent, over all connections
- `connections`: when each was accepted
- `drop`: closes all connections without a word; when that was
- `forget`: throws away what came in
"""

from __future__ import annotations

import base64
import hashlib
import heapq
import json
import re
import resource
import selectors
import socket
import ssl
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks import wire
from benchmarks.scenarios import SCENARIOS, Sink

# Larger frames are audio and not looked at while the clock runs.
SMALL = 1024
APPEND = b"input_audio_buffer.append"
NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


def unmask(key: bytes, payload: bytes) -> bytes:
    """The payload of a client's frame."""
    size = len(payload)
    pad = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(size, "big")


class Peer:
    """One connection; a scenario's `Link`."""

    def __init__(self, server: LoadServer, sock: socket.socket, number: int) -> None:
        self.server = server
        self.sock = sock
        self.number = number
        self.accepted_ns = time.monotonic_ns()
        self.greeted = False
        self.scenario = Sink(self, 0)
        self.incoming = bytearray()
        self.outgoing = memoryview(b"")
        self.read_ns = 0
        self.kept: list[tuple[int, bytes, bytes]] = []

    @property
    def alive(self) -> bool:
        return self.sock.fileno() >= 0

    def send(self, data: bytes) -> None:
        if not self.alive:
            return
        waiting = bytes(self.outgoing) + data if self.outgoing and data else self.outgoing or data
        view = memoryview(waiting)
        try:
            while view:
                view = view[self.sock.send(view) :]
        except NOT_NOW:
            pass
        except OSError:
            self.server.drop(self)
            return
        if bool(view) != bool(self.outgoing):
            self.server.watch(self, writable=bool(view))
        self.outgoing = view

    def idle(self) -> bool:
        return not self.outgoing

    def call_at(self, when: float, what: Callable[[], None]) -> None:
        self.server.call_at(when, self, what)


class LoadServer:
    """Serves until it is killed.

    Args:
        tls: For wss:// in place of ws://.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._selector = selectors.DefaultSelector()
        self.port = self._listen(self._accept)
        self.control_port = self._listen(self._accept_control)
        self._peers: list[Peer] = []
        self._due: list[tuple[float, int, Peer, Callable[[], None]]] = []
        self._calls = 0

    def _listen(self, accept: Callable[[socket.socket], None]) -> int:
        listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ, partial(self._accept_all, listener, accept))
        port: int = listener.getsockname()[1]
        return port

    def run(self) -> None:
        """The loop."""
        while True:
            wait = max(0.0, self._due[0][0] - time.monotonic()) if self._due else None
            for key, mask in self._selector.select(wait):
                if not isinstance(key.data, Peer):
                    key.data()
                    continue
                if mask & selectors.EVENT_WRITE:
                    key.data.send(b"")
                if mask & selectors.EVENT_READ:
                    self._read(key.data)
            # Only what is due by now: the sockets must have their turn, however late it has become.
            now = time.monotonic()
            while self._due and self._due[0][0] <= now:
                _, _, peer, what = heapq.heappop(self._due)
                if peer.alive:
                    what()

    def call_at(self, when: float, peer: Peer, what: Callable[[], None]) -> None:
        """Call back at a monotonic time."""
        self._calls += 1
        heapq.heappush(self._due, (when, self._calls, peer, what))

    def watch(self, peer: Peer, *, writable: bool) -> None:
        """Watch for reading, and for writing too or not."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if writable else 0)
        self._selector.modify(peer.sock, events, peer)

    def drop(self, peer: Peer) -> None:
        """Close a connection without a word."""
        if peer.alive:
            self._selector.unregister(peer.sock)
            peer.sock.close()

    # -- connections ----------------------------------------------------------------------------------------

    def _accept_all(self, listener: socket.socket, accept: Callable[[socket.socket], None]) -> None:
        try:
            while True:
                sock, _ = listener.accept()
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                accept(sock)
        except BlockingIOError:
            pass

    def _accept(self, sock: socket.socket) -> None:
        if self._tls is not None:
            # The first reads make the handshake.
            sock = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        peer = Peer(self, sock, len(self._peers))
        self._peers.append(peer)
        self._selector.register(sock, selectors.EVENT_READ, peer)

    def _accept_control(self, sock: socket.socket) -> None:
        sock.setblocking(True)
        self._selector.register(sock, selectors.EVENT_READ, partial(self._obey, sock))

    def _read(self, peer: Peer) -> None:
        try:
            data = peer.sock.recv(1 << 18)
        except NOT_NOW:
            return
        except OSError:
            data = b""
        if not data:
            self.drop(peer)
            return
        peer.read_ns = time.monotonic_ns()
        peer.incoming += data
        if peer.greeted or self._greet(peer):
            self._parse(peer)

    def _greet(self, peer: Peer) -> bool:
        end = peer.incoming.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(peer.incoming[:end]).decode()
        del peer.incoming[: end + 4]
        peer.greeted = True
        if found := re.search(r"[?&]model=([a-z]+)-?(\d*)", head):
            peer.scenario = SCENARIOS[found[1]](peer, int(found[2] or 0))
        key = re.search(r"(?im)^sec-websocket-key: *(\S+)", head)
        assert key is not None
        digest = hashlib.sha1((key[1] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        answer += f"Sec-WebSocket-Accept: {base64.b64encode(digest).decode()}\r\n\r\n"
        peer.send(answer.encode() + wire.SESSION_CREATED)
        return True

    def _parse(self, peer: Peer) -> None:
        buffer, at = peer.incoming, 0
        while len(buffer) - at >= 6:
            opcode, size, start = buffer[at] & 15, buffer[at + 1] & 127, at + 2
            if size == 126:
                size, start = int.from_bytes(buffer[at + 2 : at + 4], "big"), at + 4
            elif size == 127:
                size, start = int.from_bytes(buffer[at + 2 : at + 10], "big"), at + 10
            end = start + 4 + size
            if len(buffer) < end:
                break
            self._frame(peer, opcode, bytes(buffer[start : start + 4]), bytes(buffer[start + 4 : end]))
            at = end
        del buffer[:at]

    def _frame(self, peer: Peer, opcode: int, key: bytes, payload: bytes) -> None:
        if opcode == 8:
            peer.send(b"\x88\x02\x03\xe8")
            self.drop(peer)
        elif opcode == 9:
            peer.send(bytes((0x8A, len(payload))) + unmask(key, payload))
        elif opcode == 1:
            peer.kept.append((peer.read_ns, key, payload))
            if len(payload) < SMALL:
                peer.scenario.take(unmask(key, payload))

    # -- control --------------------------------------------------------------------------------------------

    def _obey(self, sock: socket.socket) -> None:
        command = sock.recv(64).decode().strip()
        if not command:
            self._selector.unregister(sock)
            sock.close()
            return
        answer = getattr(self, f"_{command}")()
        sock.sendall(json.dumps(answer).encode() + b"\n")

    def _stats(self) -> dict[str, float]:
        return {"cpu_s": time.process_time(), "wall_s": time.perf_counter()}

    def _forget(self) -> None:
        for peer in self._peers:
            peer.kept.clear()

    def _drop(self) -> int:
        at = time.monotonic_ns()
        for peer in self._peers:
            self.drop(peer)
        return at

    def _connections(self) -> list[int]:
        return [peer.accepted_ns for peer in self._peers]

    def _sent(self) -> list[int]:
        return [at for peer in self._peers for at in peer.scenario.sent_ns]

    def _chunks(self) -> int:
        return sum(len(payload) >= SMALL for peer in self._peers for _, _, payload in peer.kept)

    def _frames(self) -> list[tuple[int, int, str]]:
        return [
            (peer.number, at, unmask(key, payload).decode())
            for peer in self._peers
            for at, key, payload in peer.kept
            if len(payload) < SMALL
        ]

    def _audio(self) -> dict[str, Any]:
        """What came in, over all connections: samples, one second from the middle, and how old stamps were.

        A stamp is at the start of the last 10 ms of a frame, if the client put one there.
        """
        parts, ages_ms = [], []
        for read_ns, key, payload in (kept for peer in self._peers for kept in peer.kept):
            text = unmask(key, payload)
            if APPEND in text:
                pcm = base64.b64decode(json.loads(text)["audio"])
                parts.append(pcm)
                ages_ms.append(wire.age_ms(pcm[-wire.PUSH_BYTES :], read_ns))
        pcm = b"".join(parts)
        middle = len(pcm) // 4 * 2
        excerpt = base64.b64encode(pcm[middle : middle + 2 * wire.RATE]).decode()
        return {"samples": len(pcm) // 2, "excerpt": excerpt, "ages_ms": ages_ms}


def main() -> None:
    """Serve."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    tls = None
    if sys.argv[1:]:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(sys.argv[1])
    server = LoadServer(tls)
    print(server.port, server.control_port, flush=True)
    server.run()


if __name__ == "__main__":
    main()
