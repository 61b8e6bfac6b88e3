"""A connection: what it is dialled with, who hears from it, and its socket under the io thread."""

from __future__ import annotations

import socket
import ssl
import threading
import urllib.parse
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import msgspec

from antiphon.actors.errors import APIConnectionError
from antiphon.actors.forking import abandon_in_child
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

    @property
    def place(self) -> str:
        """host[:port], for messages."""
        return urllib.parse.urlsplit(self.url).netloc.rpartition("@")[2]

    def __repr__(self) -> str:
        # The address and the proxy may hold secrets.
        return f"<DialSpec {self.place}>"


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
        # The answer to the latest ping, while the socket is full. RFC 6455 asks for no more; a flood of pings must
        # cost neither memory nor time.
        self._pong = b""
        self._message_unsent = False
        self._paused = False
        self._ended = False
        sock.setblocking(False)
        abandon_in_child(self)

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

    def abandon(self) -> None:
        """Close the descriptor in a child that was forked; the connection, and TLS on it, stays the parent's."""
        self._lock = threading.Lock()
        self._ended = True
        self._sock.close()

    def pause(self, paused: bool) -> None:
        """Stop or resume reading."""
        self._paused = paused
        self._watch()

    def _answer_ping(self, payload: bytes) -> None:
        with self._lock:
            if self._ended:
                return
            self._pong = encode_frame(PONG, payload)
            if not self._unsent:
                self._write_pong()

    def _write_pong(self) -> None:
        pong, self._pong = self._pong, b""
        self._write(pong)

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

    def on_loop_end(self) -> None:
        """Nobody watches the socket any more."""
        self._end()

    # -- the io thread --------------------------------------------------------------------------------

    def on_writable(self) -> None:
        """Write what was kept back."""
        with self._lock:
            if self._ended or not self._unsent:
                return
            data, self._unsent = self._unsent, b""
            self._write(data)
            if self._pong and not self._unsent:
                self._write_pong()
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
                self._pass_on(error.frames)
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
        pings = [payload for opcode, payload in frames if opcode == PING]
        if pings:
            self._answer_ping(pings[-1])
        if pings or any(opcode == PONG for opcode, _ in frames):
            self._listener.heard()
        for opcode, payload in frames:
            if opcode == CLOSE:
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
