"""The load server: one thread, one selector, frames made beforehand. A process of its own.

    python -m benchmarks.load_server

It prints its port. What a connection gets is told by the model's name in the address:

- `inbound-N`: after the client clears its audio buffer, N deltas in one burst
- `density-N`: after the same, N stamped deltas, one each 100 ms
- `sink`: nothing

A commit is answered with speech_started; a clear too, for `sink`: every client tells its user of that event.
What comes in is kept as it came, and decoded only when `audio` is asked for, on a connection that speaks lines in
place of HTTP; `forget` throws it away, `stats` tells the server's own CPU time.
"""

from __future__ import annotations

import base64
import hashlib
import heapq
import json
import re
import selectors
import socket
import time
from typing import Any

from benchmarks import wire

CLEAR, COMMIT, APPEND = (
    b"input_audio_buffer.clear",
    b"input_audio_buffer.commit",
    b"input_audio_buffer.append",
)
# Larger frames are audio and not looked at while the clock runs.
SMALL = 1024
PERIOD_S = wire.DELTA_MS / 1000
GOLDEN = 0.6180339887


def unmask(key: bytes, payload: bytes) -> bytes:
    """The payload of a client's frame."""
    size = len(payload)
    pad = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(size, "big")


class Peer:
    """One connection."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.sock = sock
        self.number = number
        self.speaks = ""
        self.scenario, self.count = "sink", 0
        self.incoming = bytearray()
        self.outgoing = memoryview(b"")
        self.read_ns = 0
        self.kept: list[tuple[int, bytes, bytes]] = []


class LoadServer:
    """Serves until it is killed."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self.port = self._listener.getsockname()[1]
        self._peers: list[Peer] = []
        self._due: list[tuple[float, int, int]] = []
        self._bursts: dict[int, bytes] = {}
        self._stamped = wire.StampedDelta()
        self._beginning, self._ending = wire.beginning(), wire.ending()

    def run(self) -> None:
        """The loop."""
        while True:
            wait = max(0.0, self._due[0][0] - time.monotonic()) if self._due else None
            for key, mask in self._selector.select(wait):
                if key.data is None:
                    self._accept()
                    continue
                if mask & selectors.EVENT_WRITE:
                    self._send(key.data, b"")
                if mask & selectors.EVENT_READ:
                    self._read(key.data)
            while self._due and self._due[0][0] <= time.monotonic():
                self._tick(*heapq.heappop(self._due))

    def _accept(self) -> None:
        sock, _ = self._listener.accept()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = Peer(sock, len(self._peers))
        self._peers.append(peer)
        self._selector.register(sock, selectors.EVENT_READ, peer)

    def _read(self, peer: Peer) -> None:
        try:
            data = peer.sock.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(peer)
            return
        peer.read_ns = time.monotonic_ns()
        peer.incoming += data
        if not peer.speaks:
            self._greet(peer)
        if peer.speaks == "lines":
            self._answer(peer)
        elif peer.speaks == "frames":
            self._parse(peer)

    def _drop(self, peer: Peer) -> None:
        if peer.sock.fileno() >= 0:
            self._selector.unregister(peer.sock)
            peer.sock.close()

    def _send(self, peer: Peer, data: bytes) -> None:
        if peer.sock.fileno() < 0:
            return
        waiting = memoryview(bytes(peer.outgoing) + data) if peer.outgoing and data else peer.outgoing or data
        view = memoryview(waiting)
        try:
            while view:
                view = view[peer.sock.send(view) :]
        except BlockingIOError:
            pass
        except OSError:
            self._drop(peer)
            return
        peer.outgoing = view
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if view else 0)
        self._selector.modify(peer.sock, events, peer)

    def _greet(self, peer: Peer) -> None:
        if not peer.incoming.startswith(b"GET "):
            peer.speaks = "lines"
            return
        end = peer.incoming.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(peer.incoming[:end]).decode()
        del peer.incoming[: end + 4]
        peer.speaks = "frames"
        if found := re.search(r"[?&]model=(inbound|density)-(\d+)", head):
            peer.scenario, peer.count = found[1], int(found[2])
            if peer.scenario == "inbound" and peer.count not in self._bursts:
                self._bursts[peer.count] = wire.burst(peer.count)
        key = re.search(r"(?im)^sec-websocket-key: *(\S+)", head)[1]  # type: ignore[index]
        digest = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        answer += f"Sec-WebSocket-Accept: {base64.b64encode(digest).decode()}\r\n\r\n"
        self._send(peer, answer.encode() + wire.SESSION_CREATED)

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
            self._send(peer, b"\x88\x02\x03\xe8")
        elif opcode == 9:
            self._send(peer, bytes((0x8A, len(payload))) + unmask(key, payload))
        elif opcode == 1:
            peer.kept.append((peer.read_ns, key, payload))
            if len(payload) < SMALL:
                text = unmask(key, payload)
                if COMMIT in text or (CLEAR in text and peer.scenario == "sink"):
                    self._send(peer, wire.SPEECH_STARTED)
                elif CLEAR in text and peer.scenario == "inbound":
                    self._send(peer, self._bursts[peer.count])
                elif CLEAR in text:
                    self._send(peer, self._beginning)
                    # Spread evenly over the period, however many there are.
                    first = time.monotonic() + PERIOD_S * (peer.number * GOLDEN % 1)
                    heapq.heappush(self._due, (first, peer.number, 0))

    def _tick(self, due: float, number: int, sent: int) -> None:
        peer = self._peers[number]
        self._send(peer, self._stamped.stamp(time.monotonic_ns()))
        if sent + 1 < peer.count:
            heapq.heappush(self._due, (due + PERIOD_S, number, sent + 1))
        else:
            self._send(peer, self._ending)

    def _answer(self, peer: Peer) -> None:
        while (end := peer.incoming.find(b"\n")) >= 0:
            command = bytes(peer.incoming[:end])
            del peer.incoming[: end + 1]
            reply: dict[str, Any] = {"cpu_s": time.process_time(), "wall_s": time.perf_counter()}
            if command == b"audio":
                reply = self._audio()
            elif command == b"forget":
                for other in self._peers:
                    other.kept.clear()
            self._send(peer, json.dumps(reply).encode() + b"\n")

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


if __name__ == "__main__":
    server = LoadServer()
    print(server.port, flush=True)
    server.run()
