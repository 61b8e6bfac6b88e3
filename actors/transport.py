"""A connection's socket under the io thread: dialled by websocket-client, then non-blocking."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import websocket

from antiphon.actors.errors import APIConnectionError, RealtimeError
from antiphon.actors.websocket import (
    BINARY,
    CLOSE,
    NORMAL_CLOSURE,
    OVERSIZED,
    PING,
    PONG,
    PROTOCOL_VIOLATION,
    TEXT,
    FrameReader,
    FramingError,
    decode_close,
    encode_close,
    encode_frame,
)

if TYPE_CHECKING:
    from antiphon.actors.engine import Engine

logger = logging.getLogger("antiphon.transport")

READ_SIZE = 65536
# Reads from one ready socket before the io thread turns to the others.
READS_AT_ONCE = 8


class DialSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is needed to open a connection. Made anew for each attempt.

    Attributes:
        url: ws:// or wss:// address.
        headers: Called on the dialling thread, so that it may run users' key callables.
        timeout: Seconds for the whole handshake.
        max_message_size: Bytes; larger messages are skipped.
        proxy: http://user:password@host:port, or None for what the environment says.
        ssl_context: TLS settings; None verifies against the system's authorities.
    """

    url: str
    headers: Callable[[], list[str]]
    timeout: float
    max_message_size: int
    proxy: str | None = None
    ssl_context: ssl.SSLContext | None = None


class SocketListener(Protocol):
    """Who hears from a connection. Called on io or dialling threads; must only pass it on."""

    def connected(self, transport: Transport, seconds: float) -> None:
        """The handshake is done."""

    def refused(self, error: HandshakeError) -> None:
        """The handshake failed."""

    def texts(self, payloads: list[bytes]) -> None:
        """Text messages arrived."""

    def skipped(self, kind: str) -> None:
        """A message was left out: "binary" or "oversized"."""

    def heard(self) -> None:
        """A ping or pong arrived: the peer lives."""

    def close_received(self, code: int, reason: str) -> None:
        """The peer's close frame arrived."""

    def drained(self) -> None:
        """What `send` could not write at once has been written."""

    def lost(self, reason: str) -> None:
        """The socket ended."""


class Transport(Protocol):
    """An open connection. All methods may be called from any thread and never block."""

    def send(self, payload: bytes) -> bool:
        """Write a text message; False when part of it had to be kept back (`drained` follows)."""

    def ping(self) -> None:
        """Send a ping."""

    def close(self, code: int) -> None:
        """Send a close frame."""

    def abort(self) -> None:
        """Let go of the socket now; nothing more is heard of it."""

    def pause(self, paused: bool) -> None:
        """Stop or resume reading."""


class Dial(Protocol):
    """An attempt to connect that is under way."""

    def abort(self) -> None:
        """Give up; the listener hears nothing more."""


class Connector(Protocol):
    """Opens connections."""

    def dial(self, spec: DialSpec, listener: SocketListener) -> Dial:
        """Begin a handshake; returns at once."""


class HandshakeError(APIConnectionError):
    """The server, or something on the way to it, did not let us in.

    Attributes:
        status: The HTTP status, None when there was none.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message, retryable=status not in (401, 403))
        self.status = status


class WebSocketConnector:
    """Dials with websocket-client on a thread that may block.

    Args:
        engine: Whose pool and io thread serve the connections.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._default_context: ssl.SSLContext | None = None

    def dial(self, spec: DialSpec, listener: SocketListener) -> Dial:
        """Begin a handshake on the dialling pool."""
        dial = _WebSocketDial(self._engine, self, spec, listener)
        self._engine.run_handshake(dial.run)
        return dial

    def ssl_context(self) -> ssl.SSLContext:
        """The context for those who gave none: made once, as loading the authorities takes 10 ms."""
        if self._default_context is None:
            self._default_context = ssl.create_default_context()
        return self._default_context


class _WebSocketDial:
    def __init__(
        self, engine: Engine, connector: WebSocketConnector, spec: DialSpec, listener: SocketListener
    ) -> None:
        self._engine = engine
        self._connector = connector
        self._spec = spec
        self._listener = listener
        self._lock = threading.Lock()
        self._aborted = False
        self._websocket: websocket.WebSocket | None = None

    def abort(self) -> None:
        with self._lock:
            self._aborted = True
            dialled = self._websocket
        if dialled is not None and dialled.sock is not None:
            try:
                dialled.sock.shutdown(socket.SHUT_RDWR)
            except (OSError, AttributeError):
                # Closed already, perhaps just now by the dialling thread.
                pass

    def run(self) -> None:
        began = time.monotonic()
        try:
            sock = self._handshake()
        except HandshakeError as error:
            failure: HandshakeError | None = error
        except Exception as error:
            failure = describe_failure(error, self._spec)
        else:
            failure = None
        with self._lock:
            aborted = self._aborted
            self._websocket = None
        if failure is not None:
            if not aborted:
                self._listener.refused(failure)
            return
        if aborted:
            sock.close()
            return
        try:
            transport = SocketTransport(self._engine, sock, self._listener, self._spec.max_message_size)
        except RealtimeError:
            # The engine stopped while the handshake was under way.
            sock.close()
            return
        self._listener.connected(transport, time.monotonic() - began)
        transport.start()

    def _handshake(self) -> socket.socket:
        spec = self._spec
        context = spec.ssl_context or (self._connector.ssl_context() if spec.url.startswith("wss") else None)
        tls: dict[str, Any] = {}
        if context is not None:
            # websocket-client writes these two back into the context: hand it what is there already.
            tls = {
                "context": context,
                "cert_reqs": context.verify_mode,
                "check_hostname": context.check_hostname,
            }
        dialled = websocket.WebSocket(sslopt=tls, enable_multithread=False, skip_utf8_validation=True)
        with self._lock:
            self._websocket = dialled
        connect: Callable[..., None] = dialled.connect
        connect(
            spec.url,
            header=spec.headers(),
            timeout=spec.timeout,
            suppress_origin=True,
            # A redirect would carry the key to another host.
            redirect_limit=0,
            **_proxy_options(spec.proxy),
        )
        status, sock = dialled.getstatus(), dialled.sock
        assert sock is not None
        if status != 101:
            sock.close()
            raise HandshakeError(f"{_place(spec)} answered the handshake with HTTP {status}", status)
        return sock


def _place(spec: DialSpec) -> str:
    return urllib.parse.urlsplit(spec.url).netloc.rpartition("@")[2]


def _proxy_options(proxy: str | None) -> dict[str, Any]:
    if proxy is None:
        return {}
    parts = urllib.parse.urlsplit(proxy)
    options: dict[str, Any] = {
        "proxy_type": parts.scheme or "http",
        "http_proxy_host": parts.hostname,
        "http_proxy_port": parts.port or 80,
        "http_no_proxy": [],
    }
    if parts.username:
        options["http_proxy_auth"] = (
            urllib.parse.unquote(parts.username),
            urllib.parse.unquote(parts.password or ""),
        )
    return options


def describe_failure(error: Exception, spec: DialSpec) -> HandshakeError:
    """Put a failed handshake into words that name the cause and no secret."""
    place = _place(spec)
    if isinstance(error, websocket.WebSocketBadStatusException):
        status = error.status_code
        hints = {
            401: "the key was refused; check api_key (or entra_token)",
            403: "access was refused; check the key's rights and the model's name",
            404: "no such address; check base_url and the model's or deployment's name",
            429: "too many requests or connections",
        }
        hint = hints.get(status, "")
        return HandshakeError(
            f"{place} answered the handshake with HTTP {status}" + (f": {hint}" if hint else ""), status
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        return HandshakeError(f"the TLS certificate of {place} was not accepted: {error.verify_message}")
    if isinstance(error, ssl.SSLError):
        return HandshakeError(f"TLS with {place} failed: {error.reason}")
    if isinstance(error, websocket.WebSocketAddressException | socket.gaierror):
        return HandshakeError(f"the name of {place} could not be resolved")
    if isinstance(error, websocket.WebSocketProxyException):
        return HandshakeError(f"the proxy on the way to {place} failed: {error}")
    if isinstance(error, websocket.WebSocketTimeoutException | TimeoutError):
        return HandshakeError(f"{place} did not answer the handshake within {spec.timeout:g} s")
    if isinstance(error, ConnectionRefusedError):
        return HandshakeError(f"{place} refused the connection: is a server listening there?")
    if isinstance(error, OSError):
        return HandshakeError(f"connecting to {place} failed: {error.strerror or type(error).__name__}")
    return HandshakeError(f"the handshake with {place} failed: {type(error).__name__}")


class SocketTransport:
    """A non-blocking socket that the io thread reads and any thread writes.

    Args:
        engine: Whose io thread watches the socket.
        sock: A socket whose WebSocket handshake is done.
        listener: Who hears what arrives.
        max_message_size: Bytes; larger messages are skipped.
    """

    def __init__(
        self, engine: Engine, sock: socket.socket, listener: SocketListener, max_message_size: int
    ) -> None:
        self._io = engine.choose_io()
        self._sock = sock
        self._listener = listener
        self._reader = FrameReader(max_message_size)
        # Guards the socket's writing side, and for TLS both sides, since OpenSSL's objects take one
        # thread at a time. Never held while waiting: the socket doesn't block.
        self._lock = threading.Lock()
        self._tls = isinstance(sock, ssl.SSLSocket)
        self._unsent = b""
        self._message_unsent = False
        self._paused = False
        self._ended = False
        sock.setblocking(False)

    def start(self) -> None:
        """Begin to read."""
        self._io.watch(self, read=True, write=False)
        if self._tls:
            # The handshake's last record may have brought data that the selector won't announce.
            self._io.call_later(0, self.on_readable)

    def fileno(self) -> int:
        """The socket's descriptor; -1 once closed."""
        return self._sock.fileno()

    # -- writing: any thread -----------------------------------------------------------------------

    def send(self, payload: bytes) -> bool:
        """Write a text message; False when part of it had to be kept back (`drained` follows)."""
        frame = encode_frame(TEXT, payload)
        with self._lock:
            if self._ended:
                return False
            if not self._unsent:
                self._write(frame)
            else:
                self._unsent += frame
            self._message_unsent = bool(self._unsent)
            return not self._message_unsent

    def ping(self) -> None:
        """Send a ping."""
        self._send_control(encode_frame(PING, b""))

    def close(self, code: int) -> None:
        """Send a close frame."""
        self._send_control(encode_close(code))

    def abort(self) -> None:
        """Let go of the socket now; nothing more is heard of it."""
        self._end()

    def pause(self, paused: bool) -> None:
        """Stop or resume reading."""
        self._paused = paused
        self._watch()

    def _send_control(self, frame: bytes) -> None:
        with self._lock:
            if self._ended:
                return
            if self._unsent:
                self._unsent += frame
            else:
                self._write(frame)

    def _write(self, data: bytes) -> None:
        """Write what the kernel takes now and keep the rest; the lock is held."""
        try:
            sent = self._sock.send(data)
        except (BlockingIOError, InterruptedError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            sent = 0
        except OSError:
            # The reading side will find out why and report it.
            sent = 0
        if sent < len(data):
            self._unsent = data[sent:]
            self._watch()

    def _watch(self) -> None:
        self._io.watch(self, read=not self._paused, write=bool(self._unsent))

    # -- the io thread --------------------------------------------------------------------------------

    def on_writable(self) -> None:
        """Write what was kept back."""
        with self._lock:
            if self._ended or not self._unsent:
                return
            data, self._unsent = self._unsent, b""
            self._write(data)
            if self._unsent:
                return
            self._watch()
            drained, self._message_unsent = self._message_unsent, False
        if drained:
            self._listener.drained()

    def on_readable(self) -> None:
        """Read what there is and pass it on as one batch."""
        for _ in range(READS_AT_ONCE):
            try:
                data = self._receive()
            except (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except OSError as error:
                self._lose(error.strerror or type(error).__name__)
                return
            if not data:
                self._lose("the server ended the connection without a close frame")
                return
            try:
                frames = self._reader.feed(data)
            except FramingError as error:
                self.close(PROTOCOL_VIOLATION)
                self._lose(str(error))
                return
            if frames:
                self._pass_on(frames)
            if self._ended or self._paused or (len(data) < READ_SIZE and not self._tls):
                return
        if self._tls:
            # Data that OpenSSL has read ahead is invisible to the selector.
            self._io.call_later(0, self.on_readable)

    def _receive(self) -> bytes:
        if not self._tls:
            return self._sock.recv(READ_SIZE)
        with self._lock:
            if self._ended:
                raise BlockingIOError
            return self._sock.recv(READ_SIZE)

    def _pass_on(self, frames: list[tuple[int, bytes]]) -> None:
        texts = [payload for opcode, payload in frames if opcode == TEXT]
        if texts:
            self._listener.texts(texts)
        if len(texts) == len(frames):
            return
        for opcode, payload in frames:
            if opcode == PING:
                self._send_control(encode_frame(PONG, payload))
                self._listener.heard()
            elif opcode == PONG:
                self._listener.heard()
            elif opcode == CLOSE:
                code, reason = decode_close(payload)
                self.close(code if 1000 <= code < 5000 and code != 1005 else NORMAL_CLOSURE)
                self._listener.close_received(code, reason)
            elif opcode == BINARY:
                self._listener.skipped("binary")
            elif opcode == OVERSIZED:
                self._listener.skipped("oversized")

    def _lose(self, reason: str) -> None:
        if self._end():
            self._listener.lost(reason)

    def _end(self) -> bool:
        with self._lock:
            if self._ended:
                return False
            self._ended = True
            self._unsent = b""
        self._io.forget(self, self._sock.close)
        return True
