"""Opening connections: names, TCP, proxies, TLS and the WebSocket handshake, on threads that may block."""

from __future__ import annotations

import base64
import ipaddress
import socket
import ssl
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import websocket

from antiphon.actors.errors import HeaderError, RealtimeError
from antiphon.actors.forking import abandon_in_child
from antiphon.actors.transport import (
    Dial,
    DialSpec,
    HandshakeError,
    SocketListener,
    SocketTransport,
)

if TYPE_CHECKING:
    from antiphon.actors.engine import Engine

S = TypeVar("S", bound=socket.socket)

# A proxy's answer to CONNECT is a few lines.
MAX_PROXY_ANSWER = 65536

HINTS = {
    401: "the key was refused; check api_key (or entra_token)",
    403: "access was refused; check the key's rights and the model's name",
    404: "no such address; check base_url and the model's or deployment's name",
    429: "too many requests or connections",
}


class WebSocketConnector:
    """Dials on a thread that may block; websocket-client makes the handshake.

    Args:
        engine: Whose pool and io threads serve the connections.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._default_context: ssl.SSLContext | None = None

    def dial(self, spec: DialSpec, listener: SocketListener) -> Dial:
        """Begin a handshake on the dialling pool."""
        dial = _Dialling(self._engine, self, spec, listener)
        self._engine.run_handshake(dial.run)
        return dial

    def ssl_context(self) -> ssl.SSLContext:
        """The context for those who gave none: made once, as loading the authorities takes 10 ms."""
        if self._default_context is None:
            self._default_context = ssl.create_default_context()
        return self._default_context


class _Dialling:
    """One attempt. Its socket is known from the first moment on, so that it can be given up at any."""

    def __init__(
        self, engine: Engine, connector: WebSocketConnector, spec: DialSpec, listener: SocketListener
    ) -> None:
        self._engine = engine
        self._connector = connector
        self._spec = spec
        self._listener = listener
        self._deadline = 0.0
        self._lock = threading.Lock()
        self._aborted = False
        self._socket: socket.socket | None = None
        abandon_in_child(self)

    def abort(self) -> None:
        """Give up; the listener hears nothing more."""
        with self._lock:
            self._aborted = True
            sock = self._socket
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                # Not connected yet: closing wakes the connect up.
                sock.close()

    def abandon(self) -> None:
        """Close the descriptor in a child that was forked; the parent goes on dialling."""
        self._lock = threading.Lock()
        self._aborted = True
        if self._socket is not None:
            self._socket.close()

    def run(self) -> None:
        """Dial, and tell the listener how it went."""
        began = time.monotonic()
        self._deadline = began + self._spec.timeout
        sock: socket.socket | None = None
        failure: HandshakeError | None = None
        try:
            sock = self._open()
        except HandshakeError as error:
            failure = error
        except Exception as error:
            failure = describe_failure(error, self._spec.place, self._spec.timeout)
        with self._lock:
            aborted = self._aborted
            left, self._socket = self._socket, None
        if failure is not None or aborted or sock is None:
            if left is not None:
                left.close()
            if failure is not None and not aborted:
                self._listener.refused(failure)
            return
        try:
            transport = SocketTransport(self._engine, sock, self._listener, self._spec.max_message_size)
        except RealtimeError:
            # The engine stopped while the handshake was under way.
            sock.close()
            return
        self._listener.connected(transport, time.monotonic() - began)
        transport.start()

    def _open(self) -> socket.socket:
        spec = self._spec
        parts = urllib.parse.urlsplit(spec.url)
        secure = parts.scheme == "wss"
        host, port = parts.hostname or "", parts.port or (443 if secure else 80)
        # Asked for first: it may be a user's callable, and nobody is kept waiting by it yet.
        headers = spec.headers()
        proxy = spec.proxy or proxy_from_environment(host, port, secure)
        sock = self._connect(host, port) if proxy is None else self._connect_through(proxy, host, port)
        if secure:
            context = spec.ssl_context or self._connector.ssl_context()
            sock = self._adopt(context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False))
            sock.settimeout(self._time_left())
            sock.do_handshake()
        self._shake_hands(sock, headers)
        return sock

    def _connect(self, host: str, port: int) -> socket.socket:
        """Connect to the first address of a host that answers."""
        last: OSError | None = None
        addresses = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
        for tried, (family, kind, protocol, _, address) in enumerate(addresses):
            sock = self._adopt(socket.socket(family, kind, protocol))
            try:
                # A share of the time for each, so that a dead IPv6 route leaves some for IPv4.
                sock.settimeout(self._time_left() / (len(addresses) - tried))
                sock.connect(address)
            except OSError as error:
                sock.close()
                last = error
                continue
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            return sock
        raise last or OSError(f"{host} has no address")

    def _connect_through(self, proxy: str, host: str, port: int) -> socket.socket:
        """Have an HTTP proxy connect; the proxy's failures are told as its own."""
        parts = urllib.parse.urlsplit(proxy)
        place = parts.netloc.rpartition("@")[2]
        if parts.scheme not in ("http", "") or not parts.hostname:
            raise HandshakeError(
                f"the proxy {place or 'address'} is not supported: give http://user:password@host:port"
            )
        try:
            sock = self._connect(parts.hostname, parts.port or 80)
            status = self._ask_proxy(sock, parts, host, port)
        except HandshakeError:
            raise
        except OSError as error:
            reason = describe_failure(error, place, self._spec.timeout)
            raise HandshakeError(f"the proxy on the way to {self._spec.place} failed: {reason}") from None
        if status != 200:
            raise HandshakeError(f"the proxy {place} refused to connect to {host}:{port}: HTTP {status}")
        return sock

    def _ask_proxy(self, sock: socket.socket, proxy: urllib.parse.SplitResult, host: str, port: int) -> int:
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        if proxy.username:
            user = f"{urllib.parse.unquote(proxy.username)}:{urllib.parse.unquote(proxy.password or '')}"
            lines.append(f"Proxy-Authorization: Basic {base64.b64encode(user.encode()).decode()}")
        sock.settimeout(self._time_left())
        sock.sendall("\r\n".join([*lines, "", ""]).encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            # Byte by byte: what comes after the empty line is not the proxy's any more.
            sock.settimeout(self._time_left())
            byte = sock.recv(1)
            if not byte or len(answer) > MAX_PROXY_ANSWER:
                raise OSError("the proxy's answer broke off")
            answer += byte
        words = answer.split(None, 2)
        return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0

    def _shake_hands(self, sock: socket.socket, headers: list[str]) -> None:
        dialled = websocket.WebSocket(enable_multithread=False, skip_utf8_validation=True)
        connect: Callable[..., None] = dialled.connect
        try:
            connect(
                self._spec.url,
                header=headers,
                timeout=self._time_left(),
                suppress_origin=True,
                # A redirect would carry the key to another host.
                redirect_limit=0,
                socket=sock,
            )
            return
        except websocket.WebSocketBadStatusException as error:
            status = error.status_code
        except websocket.WebSocketException:
            answer: Any = dialled.handshake_response
            if answer is None or answer.status == 101:
                raise
            status = answer.status
        # Out here it has no context: the library's error quotes the answer's body, which may quote the key.
        raise self._refusal(status)

    def _refusal(self, status: int) -> HandshakeError:
        """The server answered with something else than a WebSocket."""
        # The path may be what is wrong; the query is left out, as it may hold a key.
        place = self._spec.place + urllib.parse.urlsplit(self._spec.url).path
        hint = f": {HINTS[status]}" if status in HINTS else ""
        return HandshakeError(f"{place} answered the handshake with HTTP {status}{hint}", status)

    def _adopt(self, sock: S) -> S:
        """Remember the socket for `abort`; one that comes after it is closed at once."""
        with self._lock:
            self._socket = sock
            aborted = self._aborted
        if aborted:
            sock.close()
            raise OSError("given up")
        return sock

    def _time_left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def proxy_from_environment(host: str, port: int, secure: bool) -> str | None:
    """The proxy that HTTPS_PROXY or HTTP_PROXY names, unless NO_PROXY excepts the host."""
    proxy = urllib.request.getproxies().get("https" if secure else "http")
    if not proxy or urllib.request.proxy_bypass(f"{host}:{port}") or _in_an_excepted_network(host):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _in_an_excepted_network(host: str) -> bool:
    """Whether NO_PROXY has a network such as 10.0.0.0/8 with this address in it: urllib doesn't look for them."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    for entry in urllib.request.getproxies().get("no", "").split(","):
        try:
            if "/" in entry and address in ipaddress.ip_network(entry.strip(), strict=False):
                return True
        except ValueError:
            continue
    return False


def describe_failure(error: Exception, place: str, timeout: float) -> HandshakeError:
    """Put a failed handshake into words that name the cause and no secret."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return HandshakeError(f"the TLS certificate of {place} was not accepted: {error.verify_message}")
    if isinstance(error, ssl.SSLError):
        return HandshakeError(f"TLS with {place} failed: {error.reason or 'the server broke off'}")
    if isinstance(error, socket.gaierror):
        return HandshakeError(f"the name of {place} could not be resolved")
    if isinstance(error, websocket.WebSocketTimeoutException | TimeoutError):
        return HandshakeError(f"{place} did not answer the handshake within {timeout:g} s")
    if isinstance(error, ConnectionRefusedError):
        return HandshakeError(f"{place} refused the connection: is a server listening there?")
    if isinstance(error, websocket.WebSocketConnectionClosedException | ConnectionResetError):
        return HandshakeError(f"{place} closed the connection during the handshake")
    if isinstance(error, OSError):
        return HandshakeError(f"connecting to {place} failed: {error.strerror or type(error).__name__}")
    if isinstance(error, HeaderError):
        return HandshakeError(f"the handshake with {place} could not be made: {error}")
    return HandshakeError(f"the handshake with {place} failed: {type(error).__name__}")
