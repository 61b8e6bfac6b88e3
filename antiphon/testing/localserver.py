"""A real Realtime endpoint on this machine, in this process: for tests, demos and work without a network."""

from __future__ import annotations

import itertools
import logging
import socket
import threading
import weakref
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from antiphon.actors.logs import get_logger
from antiphon.protocol import Item
from antiphon.testing.brains.base import Brain
from antiphon.testing.brains.parrot import ParrotBrain
from antiphon.testing.connection import Connection, Rewrite
from antiphon.testing.conversation import Names
from antiphon.testing.extras import require
from antiphon.testing.handshake import Refusal, Wish, refusal, wish
from antiphon.testing.log import EventLog
from antiphon.testing.mcp import McpServer
from antiphon.testing.script import Script, ScriptPlayer

if TYPE_CHECKING:
    from websockets.http11 import Request, Response
    from websockets.sync.server import ServerConnection

_MAX_FRAME = 24 * 1024 * 1024
_CLOSE_TIMEOUT = 0.3  # for the closing handshake
_STOP_GRACE = 0.5  # then sockets are cut off


class LocalServer:
    """A Realtime server that runs on threads of this process while the `with` block lasts.

    Args:
        brain: Who answers: "voice" (listens and speaks), "parrot" (says back what it heard), the path of a script
            (`.toml`), a `Script`, or a `Brain` of your own.
        host: The address to listen at.
        port: The port, 0 for any that is free.
        api_key: The key that clients must give; `None` takes any, or none.
        max_connections: How many may be open at once; more are refused with HTTP 429.
        session_limit_s: After how many seconds a session expires.
        names: The dialect of clients that don't say: "ga", or "beta" for the older event names and flat session.
        allow_origins: Origins of web pages that may connect, besides those of this host; "*" for all.
        pace: How many times faster than real time audio is sent.
        log_limit: How many frames the log keeps, `None` for all.
        rewrite: To speak as other servers do: called with each event (a dict, in the client's dialect) before it is
            sent, returns what is sent instead, which may be nothing. Called under the connection's lock: it must
            not use the server. What a script sends is not passed to it.
        mcp: The MCP servers that sessions can use, by address (`server_url`), or connector or tunnel id. The brain
            sees their tools among the others; it is not asked to go on after a call, as the API's model isn't.

    Raises:
        MissingExtraError: The extra `local` is not installed.
        ValueError: The brain is unknown, or the port is out of range.
        OSError: The address can't be had.

    Attributes:
        log: Everything received and sent.
    """

    def __init__(
        self,
        brain: str | Path | Script | Brain = "parrot",
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        api_key: str | None = None,
        max_connections: int = 100,
        session_limit_s: float = 3600.0,
        names: Names = "ga",
        allow_origins: Collection[str] = (),
        pace: float = 4.0,
        log_limit: int | None = None,
        rewrite: Rewrite | None = None,
        mcp: Mapping[str, McpServer] | None = None,
    ) -> None:
        if not 0 <= port <= 65535:
            raise ValueError(f"port must be from 0 to 65535, not {port}")
        self.log = EventLog(log_limit)
        self._brain, self._script = _resolve(brain)
        self._host = host
        self._port = port
        self._api_key = api_key
        self._max = max_connections
        self._limit = session_limit_s
        self._names: Names = names
        self._origins = frozenset(allow_origins)
        self._pace = pace
        self._rewrite = rewrite
        self._mcp = dict(mcp or {})
        self._lock = threading.Lock()
        self._left = threading.Condition(self._lock)
        self._numbers = itertools.count()
        self._admitted: set[ServerConnection] = set()
        self._open: dict[int, Connection] = {}
        self._all: dict[int, Connection] = {}
        self._server: Any = None
        self._thread: threading.Thread | None = None
        self._handlers: weakref.WeakSet[threading.Thread] = weakref.WeakSet()

    @property
    def port(self) -> int:
        """The port that it listens at."""
        return self._port

    @property
    def url(self) -> str:
        """The base URL for clients, such as http://127.0.0.1:8765/v1."""
        return f"http://{self._host}:{self._port}/v1"

    @property
    def ws_url(self) -> str:
        """The URL of the WebSocket itself."""
        return f"ws://{self._host}:{self._port}/v1/realtime"

    @property
    def connections(self) -> list[Connection]:
        """The open connections, oldest first."""
        with self._lock:
            return list(self._open.values())

    def wait_disconnected(self, timeout: float = 5.0) -> bool:
        """Wait until no connection is open: a client that has left is read to its last word first.

        Args:
            timeout: How long at most, in seconds.

        Returns:
            Whether all have left.
        """
        with self._left:
            return self._left.wait_for(lambda: not self._open, timeout)

    def conversation(self, index: int = -1) -> list[Item]:
        """The items of a connection's conversation, oldest first; by default of the newest connection."""
        with self._lock:
            connection = list(self._all.values())[index]
        return connection.items()

    def drop_all(self, code: int | None = None, reason: str = "") -> None:
        """End all connections: with a close frame if a code is given, else by cutting the sockets off."""
        for connection in self.connections:
            connection.drop(code, reason)

    def start(self) -> None:
        """Listen. Returns when clients can connect; the brain's models are loaded then too."""
        server = require("websockets.sync.server", "local")
        if self._brain is not None:
            self._brain.warm()
        self._server = server.serve(
            self._serve,
            self._host,
            self._port,
            process_request=self._check,
            create_connection=_named(server.ServerConnection),
            subprotocols=["realtime"],
            select_subprotocol=_subprotocol,
            compression=None,
            max_size=_MAX_FRAME,
            close_timeout=_CLOSE_TIMEOUT,
            logger=_Discreet(get_logger("antiphon.server.websockets"), {}),
        )
        self._port = self._server.socket.getsockname()[1]
        self._thread = threading.Thread(
            target=self._accept, args=(self._server,), name="antiphon-server-accept", daemon=True
        )
        self._thread.start()

    def _accept(self, server: Any) -> None:
        try:
            server.serve_forever()
        except OSError:
            if self._server is server:
                raise
            # Stopped before this thread came to listen.

    def stop(self) -> None:
        """Close all connections and end all threads; done within about a second. Stopping twice is harmless."""
        server, self._server = self._server, None
        if server is None:
            return
        cut = threading.Timer(_STOP_GRACE, self.drop_all)
        cut.name = "antiphon-server-stop"
        cut.start()
        try:
            server.shutdown()
            self._end_connections()
        finally:
            cut.cancel()
            cut.join()
        if self._thread is not None:
            self._thread.join()

    def _end_connections(self) -> None:
        """Say goodbye to all clients and wait for the threads that served them.

        Before version 16 the library's `shutdown` only stops listening.
        """
        threads = [
            threading.Thread(target=connection.drop, args=(1001,), name="antiphon-server-close")
            for connection in self.connections
        ]
        for thread in threads:
            thread.start()
        for thread in (*threads, *self._handlers):
            if thread is not threading.current_thread():
                thread.join(2 * _STOP_GRACE)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- on the connections' threads

    def _check(self, socket: ServerConnection, request: Request) -> Response | None:
        refused = refusal(
            request.path, request.headers, host=self._host, api_key=self._api_key, origins=self._origins
        )
        if refused is None and not self._admit(socket):
            refused = Refusal(429, "Too many connections.", "rate_limit_error", "rate_limit_exceeded")
        if refused is None:
            return None
        response = socket.respond(refused.status, refused.body())
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = "application/json"
        return response

    def _admit(self, socket: ServerConnection) -> bool:
        """Count a connection in, from its handshake on, if there is room for it."""
        closed = require("websockets.protocol", "local").State.CLOSED
        with self._lock:
            self._admitted = {one for one in self._admitted if one.state is not closed}
            if len(self._admitted) >= self._max:
                return False
            self._admitted.add(socket)
            return True

    def _serve(self, socket: ServerConnection) -> None:
        request = socket.request
        assert request is not None
        wanted = wish(request.path, request.headers, self._names)
        with self._lock:
            connection = self._connect(next(self._numbers), socket, wanted)
            self._open[connection.index] = self._all[connection.index] = connection
        self._handlers.add(threading.current_thread())
        try:
            connection.serve()
        finally:
            with self._lock:
                del self._open[connection.index]
                self._admitted.discard(socket)
                self._left.notify_all()

    def _connect(self, index: int, socket: ServerConnection, wanted: Wish) -> Connection:
        """Make what serves a client."""
        return Connection(
            index,
            socket,
            log=self.log,
            brain=self._brain,
            player=ScriptPlayer(self._script) if self._script else None,
            model=wanted.model,
            names=wanted.names,
            session_limit_s=self._limit,
            pace=self._pace,
            rewrite=self._rewrite,
            mcp=self._mcp,
        )


def _resolve(brain: str | Path | Script | Brain) -> tuple[Brain | None, Script | None]:
    if isinstance(brain, Script):
        return (None if brain.brain == "none" else _resolve(brain.brain)[0]), brain
    if isinstance(brain, Path) or (isinstance(brain, str) and brain.endswith(".toml")):
        return _resolve(Script.load(brain))
    if brain == "parrot":
        return ParrotBrain(), None
    if brain == "voice":
        from antiphon.testing.brains.voice import VoiceBrain

        return VoiceBrain(), None
    if isinstance(brain, str):
        raise ValueError(f"unknown brain {brain!r}: use 'voice', 'parrot' or the path of a script (.toml)")
    return brain, None


def _subprotocol(socket: ServerConnection, offered: list[str]) -> str | None:
    return "realtime" if "realtime" in offered else None


class _Discreet(logging.LoggerAdapter[logging.Logger]):
    """The library's log without its details, among which are the headers, and so the clients' keys.

    A client that comes and goes without a handshake, such as a probe of the port, is no error of the server's.
    """

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802
        return level > logging.DEBUG and super().isEnabledFor(level)

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        if msg == "opening handshake failed":
            super().log(logging.INFO, "a client left before the handshake, or didn't make one")
        else:
            super().log(level, msg, *args, **kwargs)


def _named(base: type[ServerConnection]) -> type[ServerConnection]:
    """The library's connection, with names for its threads."""

    class NamedConnection(base):  # type: ignore[misc,valid-type]
        def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
            peer = sock.fileno()
            threading.current_thread().name = f"antiphon-server-read-{peer}"
            super().__init__(sock, *args, **kwargs)
            self.recv_events_thread.name = f"antiphon-server-socket-{peer}"

        def start_keepalive(self) -> None:
            super().start_keepalive()
            if (thread := getattr(self, "keepalive_thread", None)) is not None:
                thread.name = f"antiphon-server-ping-{self.socket.fileno()}"

    return NamedConnection
