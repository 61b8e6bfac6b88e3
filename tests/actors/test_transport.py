"""Sockets under the io thread, plain and TLS: every fault that a peer or a network can think of."""

from __future__ import annotations

import base64
import hashlib
import logging
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trustme
from websockets.frames import Frame, Opcode

from antiphon.actors import pool
from antiphon.actors.engine import Engine
from antiphon.actors.transport import DialSpec, HandshakeError, SocketTransport
from antiphon.actors.websocket import FrameReader, mask

DEADLINE = 10.0
SECRET = "sk-SECRET-0123456789"
MEGABYTE = 1 << 20
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Recorder:
    """Keeps what a socket's listener hears."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.messages: list[bytes] = []
        self.batches: list[int] = []
        self.transport: Any = None
        self._changed = threading.Condition()

    def _add(self, *event: Any) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def connected(self, transport: Any, seconds: float) -> None:
        self.transport = transport
        self._add("connected", seconds)

    def refused(self, error: HandshakeError) -> None:
        self._add("refused", error)

    def texts(self, payloads: list[bytes]) -> None:
        with self._changed:
            self.messages += payloads
            self.batches.append(len(payloads))
            self._changed.notify_all()

    def skipped(self, kind: str) -> None:
        self._add("skipped", kind)

    def heard(self) -> None:
        self._add("heard")

    def close_received(self, code: int, reason: str) -> None:
        self._add("close", code, reason)

    def drained(self) -> None:
        self._add("drained")

    def lost(self, reason: str) -> None:
        self._add("lost", reason)

    def wait(self, condition: Callable[[], Any]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, DEADLINE), (self.events, len(self.messages))

    def wait_for(self, name: str) -> tuple[Any, ...]:
        self.wait(lambda: any(event[0] == name for event in self.events))
        return next(event for event in self.events if event[0] == name)


@pytest.fixture(autouse=True)
def _impatient_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each test waits for its threads to end.
    monkeypatch.setattr(pool, "IDLE_SECONDS", 0.02)


@pytest.fixture
def engine() -> Iterator[Engine]:
    """An engine that runs."""
    made = Engine()
    made.acquire("a session", lambda seconds: None)
    yield made
    made.release("a session")
    assert made.close(DEADLINE)


class Peer:
    """The server's end of a connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(DEADLINE)
        self._reader = bytearray()

    def send(self, opcode: int, payload: bytes) -> None:
        self.sock.sendall(Frame(Opcode(opcode), payload).serialize(mask=False))

    def text(self, payload: bytes) -> None:
        self.send(1, payload)

    def receive(self) -> tuple[int, bytes]:
        """The next frame from the client."""
        first, second = self._take(2)
        assert second & 0x80, "a client must mask"
        size = second & 0x7F
        if size == 126:
            size = struct.unpack("!H", self._take(2))[0]
        elif size == 127:
            size = struct.unpack("!Q", self._take(8))[0]
        key = self._take(4)
        return first & 0x0F, mask(self._take(size), key)

    def at_end(self) -> bool:
        """Whether the client has closed; what it still sent is thrown away."""
        try:
            while self.sock.recv(65536):
                pass
        except (ConnectionError, ssl.SSLError):
            return True
        return True

    def _take(self, size: int) -> bytes:
        while len(self._reader) < size:
            data = self.sock.recv(MEGABYTE)
            if not data:
                raise EOFError
            self._reader += data
        taken = bytes(self._reader[:size])
        del self._reader[:size]
        return taken


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


@pytest.fixture(scope="module")
def client_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    return client, server


def tls_pair(
    client_context: ssl.SSLContext, server_context: ssl.SSLContext
) -> tuple[socket.socket, socket.socket]:
    client, server = tcp_pair()
    wrapped: list[ssl.SSLSocket] = []
    thread = threading.Thread(target=lambda: wrapped.append(server_context.wrap_socket(server, True)))
    thread.start()
    tls = client_context.wrap_socket(client, server_hostname="127.0.0.1")
    thread.join(DEADLINE)
    return tls, wrapped[0]


Link = tuple[SocketTransport, Peer, Recorder]


@pytest.fixture(params=["tcp", "tls"])
def link(
    request: pytest.FixtureRequest,
    engine: Engine,
    client_context: ssl.SSLContext,
    server_context: ssl.SSLContext,
) -> Iterator[Link]:
    """A transport that reads, the peer at its other end, and what its listener hears."""
    ours, theirs = tcp_pair() if request.param == "tcp" else tls_pair(client_context, server_context)
    recorder = Recorder()
    transport = SocketTransport(engine, ours, recorder, MEGABYTE * 16)
    transport.start()
    peer = Peer(theirs)
    yield transport, peer, recorder
    transport.abort()
    peer.sock.close()


# -- reading ------------------------------------------------------------------------------------------


def test_messages_arrive_whole_and_in_order(link: Link) -> None:
    _, peer, recorder = link
    sent = [b'{"n":%d}' % n * (n % 50 + 1) for n in range(500)]
    for payload in sent:
        peer.text(payload)
    recorder.wait(lambda: len(recorder.messages) == 500)
    assert recorder.messages == sent
    assert recorder.events == []


def test_what_one_read_brings_is_one_batch(link: Link) -> None:
    _, peer, recorder = link
    peer.sock.sendall(b"".join(Frame(Opcode.TEXT, b"x").serialize(mask=False) for _ in range(100)))
    recorder.wait(lambda: len(recorder.messages) == 100)
    assert len(recorder.batches) < 10


def test_a_slow_drip_is_read(link: Link) -> None:
    _, peer, recorder = link
    peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    data = b"".join(Frame(Opcode.TEXT, b"%d" % n * n).serialize(mask=False) for n in range(1, 25))
    for byte in data:
        peer.sock.sendall(bytes([byte]))
    recorder.wait(lambda: len(recorder.messages) == 24)
    assert recorder.messages == [b"%d" % n * n for n in range(1, 25)]


def test_a_frame_of_5_mb_is_read(link: Link) -> None:
    _, peer, recorder = link
    payload = bytes(range(256)) * (5 * MEGABYTE // 256)
    peer.text(payload)
    peer.text(b"after")
    recorder.wait(lambda: len(recorder.messages) == 2)
    assert recorder.messages == [payload, b"after"]


def test_control_frames_binary_and_oversized_messages(link: Link) -> None:
    _, peer, recorder = link
    peer.send(9, b"are you there")
    assert peer.receive() == (10, b"are you there")
    peer.send(10, b"")
    peer.send(2, b"binary")
    peer.send(1, bytes(16 * MEGABYTE + 1))
    peer.text(b"after")
    recorder.wait(lambda: recorder.messages == [b"after"])
    assert recorder.events == [("heard",), ("heard",), ("skipped", "binary"), ("skipped", "oversized")]


@pytest.mark.parametrize(
    ("payload", "heard", "answer"),
    [
        (struct.pack("!H", 1000) + b"bye", (1000, "bye"), 1000),
        (struct.pack("!H", 1008), (1008, ""), 1008),
        (struct.pack("!H", 4999), (4999, ""), 4999),
        (b"", (1005, ""), 1000),
        (struct.pack("!H", 7), (7, ""), 1000),
    ],
)
def test_a_close_frame_is_answered_and_reported(
    link: Link, payload: bytes, heard: tuple[int, str], answer: int
) -> None:
    _, peer, recorder = link
    peer.send(8, payload)
    assert peer.receive() == (8, struct.pack("!H", answer))
    assert recorder.wait_for("close") == ("close", *heard)


def test_the_end_of_the_socket_is_reported_once(link: Link) -> None:
    _, peer, recorder = link
    peer.text(b"last")
    peer.sock.close()
    _, reason = recorder.wait_for("lost")
    assert "without a close frame" in reason
    assert recorder.messages == [b"last"]
    assert recorder.events == [("lost", reason)]


def test_a_reset_is_reported(link: Link) -> None:
    _, peer, recorder = link
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    # Detach: a TLS object would say goodbye before it closes.
    socket.socket(fileno=peer.sock.detach()).close()
    _, reason = recorder.wait_for("lost")
    assert "reset" in reason.lower() or "end" in reason.lower()


def test_broken_framing_is_answered_with_1002_and_ends_the_connection(link: Link) -> None:
    _, peer, recorder = link
    peer.text(b"fine")
    recorder.wait(lambda: recorder.messages == [b"fine"])
    peer.sock.sendall(b"\xf1\x00")
    assert peer.receive() == (8, struct.pack("!H", 1002))
    assert "extension bits" in recorder.wait_for("lost")[1]
    assert peer.at_end()


def test_pause_stops_reading_and_resume_goes_on(link: Link) -> None:
    transport, peer, recorder = link
    transport.pause(True)
    settled = threading.Event()
    transport._io.call_later(0, settled.set)
    assert settled.wait(DEADLINE)
    peer.text(b"waiting")
    for _ in range(3):
        settled.clear()
        transport._io.call_later(0, settled.set)
        assert settled.wait(DEADLINE)
    assert recorder.messages == []
    transport.pause(False)
    recorder.wait(lambda: recorder.messages == [b"waiting"])


# -- writing ------------------------------------------------------------------------------------------


def test_what_is_sent_arrives_in_order(link: Link) -> None:
    transport, peer, _ = link
    for n in range(300):
        assert transport.send(b"%d" % n)
    assert [peer.receive() for _ in range(300)] == [(1, b"%d" % n) for n in range(300)]


def test_ping_and_close_are_sent(link: Link) -> None:
    transport, peer, _ = link
    transport.ping()
    transport.close(1000)
    assert peer.receive() == (9, b"")
    assert peer.receive() == (8, struct.pack("!H", 1000))


def test_a_stalled_reader_gets_everything_in_the_end(link: Link) -> None:
    transport, peer, recorder = link
    sent: list[bytes] = []
    while True:
        payload = b"%d" % len(sent) * 10_000
        sent.append(payload)
        if not transport.send(payload):
            break
        assert len(sent) < 10_000, "the socket's buffer has no end"
    # Control frames go behind what is half written, never into it.
    transport.ping()
    assert not any(event[0] == "drained" for event in recorder.events)
    assert [peer.receive() for _ in sent] == [(1, payload) for payload in sent]
    recorder.wait_for("drained")
    assert peer.receive() == (9, b"")
    assert transport.send(b"again")
    assert peer.receive() == (1, b"again")
    assert [event for event in recorder.events if event[0] == "drained"] == [("drained",)]


def test_a_flood_of_pings_at_a_full_socket_is_answered_once(link: Link) -> None:
    transport, peer, recorder = link
    texts = 0
    while transport.send(bytes(10_000)):
        texts += 1
    for n in range(20_000):
        peer.send(9, b"%d" % n)
    peer.text(b"after")
    recorder.wait(lambda: recorder.messages == [b"after"])
    assert [peer.receive()[0] for _ in range(texts + 1)] == [1] * (texts + 1)
    # What was half written first; then nothing but the answer to the last ping.
    assert peer.receive() == (10, b"19999")
    assert transport.send(b"again")
    assert peer.receive() == (1, b"again")


def test_a_frame_of_5_mb_is_written_while_others_are_read(link: Link) -> None:
    transport, peer, recorder = link
    payload = bytes(range(256)) * (5 * MEGABYTE // 256)
    whole = transport.send(payload)
    peer.text(b"meanwhile")
    recorder.wait(lambda: recorder.messages == [b"meanwhile"])
    assert peer.receive() == (1, payload)
    if not whole:
        recorder.wait_for("drained")
    assert transport.send(b"after")
    assert peer.receive() == (1, b"after")


def test_both_sides_may_send_much_at_the_same_time(link: Link) -> None:
    transport, peer, recorder = link
    payload = bytes(range(256)) * (2 * MEGABYTE // 256)
    thread = threading.Thread(target=lambda: [peer.text(payload) for _ in range(3)])
    thread.start()
    transport.send(payload)
    recorder.wait(lambda: len(recorder.messages) == 3)
    thread.join(DEADLINE)
    assert recorder.messages == [payload] * 3
    assert peer.receive() == (1, payload)


def test_abort_ends_the_socket_and_nothing_more_is_heard(link: Link) -> None:
    transport, peer, recorder = link
    transport.abort()
    transport.abort()
    assert peer.at_end()
    assert transport.send(b"late") is False
    transport.ping()
    transport.close(1000)
    transport.pause(True)
    transport.pause(False)
    assert recorder.events == []
    settled = threading.Event()
    transport._io.call_later(0, settled.set)
    assert settled.wait(DEADLINE)
    assert transport.fileno() == -1


def test_abort_with_unsent_data_lets_go_at_once(link: Link) -> None:
    transport, peer, recorder = link
    while transport.send(bytes(100_000)):
        pass
    transport.abort()
    assert peer.at_end()
    assert [event for event in recorder.events if event[0] != "drained"] == []


def test_a_write_to_a_dead_socket_is_reported_by_the_reading_side(link: Link) -> None:
    transport, peer, recorder = link
    socket.socket(fileno=peer.sock.detach()).close()
    recorder.wait_for("lost")
    assert transport.send(b"x") is False


def test_one_stalled_connection_delays_no_other(engine: Engine) -> None:
    links = []
    for _ in range(3):
        ours, theirs = tcp_pair()
        recorder = Recorder()
        transport = SocketTransport(engine, ours, recorder, MEGABYTE)
        transport.start()
        links.append((transport, Peer(theirs), recorder))
    stalled, others = links[0], links[1:]
    while stalled[0].send(bytes(100_000)):
        pass
    for n in range(20):
        for transport, peer, recorder in others:
            peer.text(b"%d" % n)
            recorder.wait(lambda recorder=recorder, n=n: len(recorder.messages) == n + 1)
            transport.send(b"%d" % n)
            assert peer.receive() == (1, b"%d" % n)
    for transport, peer, _ in links:
        transport.abort()
        peer.sock.close()


# -- dialling -----------------------------------------------------------------------------------------


class Server:
    """Accepts connections and hands each, with the head of its request, to a function on a thread."""

    def __init__(
        self, serve: Callable[[socket.socket, str], None], context: ssl.SSLContext | None = None
    ) -> None:
        self._serve = serve
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.requests: list[str] = []
        self.over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self._start(self._accept)

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True, name="test-server")
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(sock)
            self._start(self._handle, sock)

    def _handle(self, sock: socket.socket) -> None:
        sock.settimeout(DEADLINE)
        try:
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)
                self._sockets.append(sock)
            head = b""
            while b"\r\n\r\n" not in head:
                data = sock.recv(65536)
                if not data:
                    return
                head += data
            self.requests.append(head.decode())
            self._serve(sock, head.decode())
        except (OSError, EOFError):
            # The client let go, which is what many tests are about.
            pass
        finally:
            sock.close()

    def close(self) -> None:
        self.over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._sockets:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()
        for thread in self._threads:
            thread.join(DEADLINE)
        assert not any(thread.is_alive() for thread in self._threads)


def upgrade(sock: socket.socket, head: str, extra: bytes = b"") -> None:
    """Agree to a handshake."""
    key = next(
        line.split(": ")[1] for line in head.split("\r\n") if line.lower().startswith("sec-websocket-key")
    )
    accept = base64.b64encode(hashlib.sha1(key.encode() + GUID).digest())
    sock.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n" + extra
    )


def echo(sock: socket.socket, head: str) -> None:
    upgrade(sock, head)
    peer = Peer(sock)
    while True:
        opcode, payload = peer.receive()
        if opcode == 8:
            peer.send(8, payload)
            return
        peer.send(opcode, payload)


Serve = Callable[..., Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[Server] = []

    def start(
        function: Callable[[socket.socket, str], None], context: ssl.SSLContext | None = None
    ) -> Server:
        servers.append(Server(function, context))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def dial(
    engine: Engine,
    url: str,
    *,
    headers: Callable[[], list[str]] | None = None,
    timeout: float = 5.0,
    **given: Any,
) -> tuple[Recorder, Any]:
    recorder = Recorder()
    spec = DialSpec(
        url=url,
        headers=headers or (lambda: [f"Authorization: Bearer {SECRET}", "User-Agent: antiphon/test"]),
        timeout=timeout,
        max_message_size=MEGABYTE,
        **given,
    )
    return recorder, engine.connector.dial(spec, recorder)


def refusal(recorder: Recorder) -> HandshakeError:
    error = recorder.wait_for("refused")[1]
    assert isinstance(error, HandshakeError)
    text = f"{error} {error!r} {error.__dict__} {error.__cause__!r} {error.__context__!r}"
    assert SECRET not in text
    assert error.message
    return error


@pytest.mark.parametrize("secure", [False, True])
def test_a_handshake_and_a_conversation(
    engine: Engine,
    serve: Serve,
    client_context: ssl.SSLContext,
    server_context: ssl.SSLContext,
    secure: bool,
) -> None:
    server = serve(echo, server_context if secure else None)
    url = f"{'wss' if secure else 'ws'}://127.0.0.1:{server.port}/v1/realtime?model=m"
    recorder, _ = dial(engine, url, ssl_context=client_context if secure else None)
    assert recorder.wait_for("connected")[1] > 0
    recorder.transport.send(b"hello")
    recorder.wait(lambda: recorder.messages == [b"hello"])
    recorder.transport.close(1000)
    assert recorder.wait_for("close") == ("close", 1000, "")
    recorder.wait_for("lost")
    (head,) = server.requests
    assert head.startswith("GET /v1/realtime?model=m HTTP/1.1\r\n")
    lines = head.split("\r\n")
    assert f"Authorization: Bearer {SECRET}" in lines
    assert "User-Agent: antiphon/test" in lines
    assert not any(line.lower().startswith("origin") for line in lines)


@pytest.mark.parametrize("secure", [False, True])
def test_what_comes_in_one_packet_with_the_handshakes_answer_is_read(
    engine: Engine,
    serve: Serve,
    client_context: ssl.SSLContext,
    server_context: ssl.SSLContext,
    secure: bool,
) -> None:
    early = Frame(Opcode.TEXT, b"early").serialize(mask=False)

    def greet(sock: socket.socket, head: str) -> None:
        upgrade(sock, head, early * 3)
        server.over.wait(DEADLINE)

    server = serve(greet, server_context if secure else None)
    url = f"{'wss' if secure else 'ws'}://127.0.0.1:{server.port}/"
    recorder, _ = dial(engine, url, ssl_context=client_context if secure else None)
    recorder.wait(lambda: recorder.messages == [b"early"] * 3)
    recorder.transport.abort()


@pytest.mark.parametrize(
    ("status", "words", "retryable"),
    [
        (400, "HTTP 400", True),
        (401, "key was refused", False),
        (403, "access was refused", False),
        (404, "no such address", True),
        (429, "too many", True),
        (500, "HTTP 500", True),
        (503, "HTTP 503", True),
    ],
)
def test_a_refusal_names_the_status_and_what_to_do(
    engine: Engine, serve: Serve, status: int, words: str, retryable: bool
) -> None:
    body = f'{{"error": {{"message": "your key {SECRET} is wrong"}}}}'

    def refuse(sock: socket.socket, head: str) -> None:
        sock.sendall(f"HTTP/1.1 {status} No\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())

    server = serve(refuse)
    recorder, _ = dial(engine, f"ws://user:{SECRET}@127.0.0.1:{server.port}/?key={SECRET}")
    error = refusal(recorder)
    assert words in str(error)
    assert f"127.0.0.1:{server.port}" in str(error)
    assert (error.status, error.retryable) == (status, retryable)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(engine: Engine, serve: Serve, status: int) -> None:
    elsewhere = serve(echo)

    def redirect(sock: socket.socket, head: str) -> None:
        sock.sendall(
            f"HTTP/1.1 {status} Moved\r\nLocation: ws://127.0.0.1:{elsewhere.port}/\r\n"
            "Content-Length: 0\r\n\r\n".encode()
        )

    server = serve(redirect)
    recorder, _ = dial(engine, f"ws://127.0.0.1:{server.port}/")
    refusal(recorder)
    assert elsewhere.requests == []


def test_a_redirect_is_refused_with_its_status(engine: Engine, serve: Serve) -> None:
    server = serve(
        lambda sock, head: sock.sendall(
            b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n"
        )
    )
    recorder, _ = dial(engine, f"ws://127.0.0.1:{server.port}/")
    error = refusal(recorder)
    assert error.status == 302
    assert "HTTP 302" in str(error)


def test_nobody_listens(engine: Engine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    recorder, _ = dial(engine, f"ws://127.0.0.1:{port}/")
    assert "refused the connection" in str(refusal(recorder))


def test_a_server_that_says_nothing_times_out(engine: Engine, serve: Serve) -> None:
    def stay_silent(sock: socket.socket, head: str) -> None:
        server.over.wait(DEADLINE)

    server = serve(stay_silent)
    recorder, _ = dial(engine, f"ws://127.0.0.1:{server.port}/", timeout=0.2)
    error = refusal(recorder)
    assert "0.2 s" in str(error)
    assert error.retryable


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: d3Jvbmc=\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"\xff\xfe\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_whatever_else_a_server_answers_is_a_refusal(engine: Engine, serve: Serve, answer: bytes) -> None:
    server = serve(lambda sock, head: sock.sendall(answer))
    recorder, _ = dial(engine, f"ws://127.0.0.1:{server.port}/", timeout=2.0)
    error = refusal(recorder)
    assert f"127.0.0.1:{server.port}" in str(error)
    assert error.retryable


def test_a_certificate_that_nobody_vouches_for_is_not_accepted(
    engine: Engine, serve: Serve, server_context: ssl.SSLContext
) -> None:
    server = serve(echo, server_context)
    recorder, _ = dial(engine, f"wss://127.0.0.1:{server.port}/")
    assert "certificate" in str(refusal(recorder))
    assert server.requests == []


def test_a_certificate_for_another_host_is_not_accepted(
    engine: Engine, serve: Serve, authority: trustme.CA, client_context: ssl.SSLContext
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("other.test").configure_cert(context)
    server = serve(echo, context)
    recorder, _ = dial(engine, f"wss://127.0.0.1:{server.port}/", ssl_context=client_context)
    assert "certificate" in str(refusal(recorder))
    assert server.requests == []


def test_the_users_context_is_used_and_left_as_it_is(
    engine: Engine, serve: Serve, server_context: ssl.SSLContext
) -> None:
    server = serve(echo, server_context)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    recorder, _ = dial(engine, f"wss://127.0.0.1:{server.port}/", ssl_context=context)
    recorder.wait_for("connected")
    assert (context.check_hostname, context.verify_mode) == (False, ssl.CERT_NONE)
    recorder.transport.abort()


def test_tls_to_a_server_that_speaks_none_fails_in_words(
    engine: Engine, serve: Serve, client_context: ssl.SSLContext
) -> None:
    server = serve(echo)
    recorder, _ = dial(engine, f"wss://127.0.0.1:{server.port}/", ssl_context=client_context, timeout=0.3)
    refusal(recorder)


def test_a_name_that_does_not_exist(engine: Engine) -> None:
    recorder, _ = dial(engine, "ws://does-not-exist.invalid/")
    assert "does-not-exist.invalid" in str(refusal(recorder))


@pytest.mark.parametrize("error", [ValueError(SECRET), RuntimeError(SECRET), KeyError(SECRET)])
def test_a_key_callable_that_fails_shows_nothing(
    engine: Engine, serve: Serve, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server = serve(echo)

    def headers() -> list[str]:
        raise error

    recorder, _ = dial(engine, f"ws://127.0.0.1:{server.port}/", headers=headers)
    assert type(error).__name__ in str(refusal(recorder))
    assert SECRET not in caplog.text


def test_the_key_callable_runs_on_a_thread_that_may_block(engine: Engine, serve: Serve) -> None:
    server = serve(echo)
    names: list[str] = []

    def headers() -> list[str]:
        names.append(threading.current_thread().name)
        return []

    recorder, _ = dial(engine, f"ws://127.0.0.1:{server.port}/", headers=headers)
    recorder.wait_for("connected")
    assert names[0].startswith("antiphon-dial")
    recorder.transport.abort()


def test_no_secret_is_logged(engine: Engine, serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server = serve(echo)
    recorder, _ = dial(engine, f"ws://user:{SECRET}@127.0.0.1:{server.port}/?key={SECRET}")
    recorder.wait_for("connected")
    recorder.transport.abort()
    assert SECRET not in caplog.text


# -- giving up ----------------------------------------------------------------------------------------


def test_an_aborted_dial_is_heard_of_no_more(engine: Engine, serve: Serve) -> None:
    reached = threading.Event()

    def stay_silent(sock: socket.socket, head: str) -> None:
        reached.set()
        server.over.wait(DEADLINE)

    server = serve(stay_silent)
    recorder, attempt = dial(engine, f"ws://127.0.0.1:{server.port}/", timeout=60.0)
    assert reached.wait(DEADLINE)
    attempt.abort()
    attempt.abort()
    # The thread that dialled is free again.
    assert engine._dial_pool.join(DEADLINE)
    assert recorder.events == []


def test_an_aborted_dial_frees_its_thread_within_a_second_also_in_the_tls_handshake(
    engine: Engine, client_context: ssl.SSLContext
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        _, attempt = dial(
            engine, f"wss://127.0.0.1:{silent.getsockname()[1]}/", ssl_context=client_context, timeout=5.0
        )
        sock, _ = silent.accept()
        with sock:
            assert sock.recv(1)
            attempt.abort()
            assert engine._dial_pool.join(1.0)


def test_an_aborted_dial_frees_its_thread_while_nobody_answers_the_syn(engine: Engine) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1) as full:
        # Connections that nobody accepts, until there is room for no more: then a SYN gets no answer.
        waiting = []
        for _ in range(16):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(full.getsockname())
            waiting.append(one)
        recorder, attempt = dial(engine, f"ws://127.0.0.1:{full.getsockname()[1]}/", timeout=30.0)
        assert not recorder.events
        attempt.abort()
        assert engine._dial_pool.join(1.0)
        assert recorder.events == []
        for one in waiting:
            one.close()


def test_an_abort_while_the_key_is_fetched_reaches_nobody(engine: Engine, serve: Serve) -> None:
    going, aborted = threading.Event(), threading.Event()

    def headers() -> list[str]:
        going.set()
        aborted.wait(DEADLINE)
        return []

    server = serve(echo)
    recorder, attempt = dial(engine, f"ws://127.0.0.1:{server.port}/", headers=headers)
    assert going.wait(DEADLINE)
    attempt.abort()
    aborted.set()
    assert engine._dial_pool.join(DEADLINE)
    assert recorder.events == []
    assert server.requests == []


def test_an_engine_that_stops_during_a_handshake_leaves_no_socket(serve: Serve) -> None:
    engine = Engine()
    engine.acquire("a session", lambda seconds: None)
    going, stopped, ended = threading.Event(), threading.Event(), threading.Event()

    def late(sock: socket.socket, head: str) -> None:
        going.set()
        stopped.wait(DEADLINE)
        upgrade(sock, head)
        Peer(sock).at_end()
        ended.set()

    server = serve(late)
    recorder, _ = dial(engine, f"ws://127.0.0.1:{server.port}/")
    assert going.wait(DEADLINE)
    engine.release("a session")
    stopped.set()
    assert ended.wait(DEADLINE)
    assert recorder.events == []
    assert engine.close(DEADLINE)


# -- proxies ------------------------------------------------------------------------------------------


@pytest.fixture
def proxy(serve: Serve) -> Server:
    """Answers CONNECT like a proxy, and then is the server itself."""

    def connect(sock: socket.socket, head: str) -> None:
        if not head.startswith("CONNECT "):
            echo(sock, head)
            return
        sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        inner = b""
        while b"\r\n\r\n" not in inner:
            inner += sock.recv(65536)
        echo(sock, inner.decode())

    return serve(connect)


def test_the_given_proxy_is_used_with_its_credentials(engine: Engine, proxy: Server) -> None:
    recorder, _ = dial(engine, "ws://host.invalid/v1", proxy=f"http://me%40x:p%3Aw@127.0.0.1:{proxy.port}")
    recorder.wait_for("connected")
    head = proxy.requests[0]
    assert head.startswith("CONNECT host.invalid:80 HTTP/1.1\r\n")
    assert base64.b64encode(b"me@x:p:w").decode() in head
    assert SECRET not in head
    recorder.transport.abort()


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY"])
def test_a_proxy_of_the_environment_is_honoured(
    engine: Engine, proxy: Server, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    recorder, _ = dial(engine, "ws://host.invalid/v1")
    recorder.wait_for("connected")
    assert proxy.requests[0].startswith("CONNECT host.invalid:80")
    recorder.transport.abort()


@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY"])
def test_wss_takes_the_proxy_for_https(
    engine: Engine, serve: Serve, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    proxy = serve(lambda sock, head: sock.sendall(b"HTTP/1.1 403 No\r\n\r\n"))
    monkeypatch.setenv(name, f"http://user:{SECRET}@127.0.0.1:{proxy.port}")
    recorder, _ = dial(engine, "wss://host.invalid/v1")
    error = refusal(recorder)
    assert "proxy" in str(error)
    assert "403" in str(error)
    assert proxy.requests[0].startswith("CONNECT host.invalid:443")


@pytest.mark.parametrize("no_proxy", ["127.0.0.1", "*", "x.test,127.0.0.1"])
def test_no_proxy_is_honoured(
    engine: Engine, serve: Serve, proxy: Server, monkeypatch: pytest.MonkeyPatch, no_proxy: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    server = serve(echo)
    recorder, _ = dial(engine, f"ws://127.0.0.1:{server.port}/")
    recorder.wait_for("connected")
    assert proxy.requests == []
    recorder.transport.abort()


def test_the_given_proxy_wins_over_no_proxy(
    engine: Engine, proxy: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "host.invalid")
    recorder, _ = dial(engine, "ws://host.invalid/v1", proxy=f"http://127.0.0.1:{proxy.port}")
    recorder.wait_for("connected")
    recorder.transport.abort()


def test_a_proxys_password_is_not_shown(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    recorder, _ = dial(engine, "ws://host.invalid/", proxy=f"http://user:{SECRET}@127.0.0.1:{port}")
    refusal(recorder)
    assert SECRET not in caplog.text


def test_the_reader_is_the_one_that_was_tested(engine: Engine) -> None:
    # The limit of the model is the limit of the socket's reader.
    ours, theirs = tcp_pair()
    recorder = Recorder()
    transport = SocketTransport(engine, ours, recorder, 100)
    assert isinstance(transport._reader, FrameReader)
    transport.start()
    peer = Peer(theirs)
    peer.text(bytes(101))
    peer.text(b"x" * 100)
    recorder.wait(lambda: recorder.messages == [b"x" * 100])
    assert recorder.events == [("skipped", "oversized")]
    transport.abort()
    theirs.close()
