"""A WebSocket server without a mind of its own: the test plays each connection's server end, frame by frame."""

from __future__ import annotations

import json
import queue
import socket
import threading
import time
from collections import deque
from types import TracebackType
from typing import Any, Self

import msgspec
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

from antiphon.protocol import encode_server_event

PATIENCE = 10.0  # seconds; ends a test that would hang
OVER = object()


class _Wire(ServerConnection):
    """The library's connection, which tells of pings and can fall silent."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.pings = threading.Semaphore(0)
        self.mute = False
        super().__init__(*arguments, **options)

    def process_event(self, event: Any) -> None:
        if isinstance(event, Frame) and event.opcode is Opcode.PING:
            self.pings.release()
        super().process_event(event)

    def send_data(self) -> None:
        if self.mute:
            self.protocol.data_to_send()
        else:
            super().send_data()


class Peer:
    """The server's end of one connection. Frames wait in it until the test looks at them.

    Attributes:
        path: What the handshake asked for, with its query.
        headers: The handshake's headers.
        seen: Every event that the test has looked at.
    """

    def __init__(self, wire: _Wire) -> None:
        assert wire.request is not None
        self.path = wire.request.path
        self.headers = wire.request.headers
        self.seen: list[dict[str, Any]] = []
        self._wire = wire
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()

    # -- what the client sent

    def receive(self, timeout: float = PATIENCE) -> dict[str, Any]:
        """The next event.

        Raises:
            EOFError: The connection is over.
            queue.Empty: Nothing came in time.
        """
        frame = self._inbox.get(timeout=timeout)
        if frame is OVER:
            self._inbox.put(OVER)
            raise EOFError(f"the connection is over, with close code {self._wire.protocol.close_code}")
        event: dict[str, Any] = json.loads(frame)
        self.seen.append(event)
        return event

    def expect(self, kind: str) -> dict[str, Any]:
        """The next event, which must be of this type."""
        event = self.receive()
        assert event["type"] == kind, f"{kind} was to come, not {event}"
        return event

    def expect_item(self) -> dict[str, Any]:
        """The next event, which must create an item; it is acknowledged."""
        event = self.expect("conversation.item.create")
        previous = event.get("previous_item_id")
        self.send(
            "conversation.item.added",
            item=event["item"],
            previous_item_id=None if previous == "root" else previous,
        )
        return event

    def until(self, kind: str) -> list[dict[str, Any]]:
        """The events before the next of this type; that one is the last in `seen`."""
        before: list[dict[str, Any]] = []
        while (event := self.receive())["type"] != kind:
            before.append(event)
        return before

    def rest(self) -> list[dict[str, Any]]:
        """The events up to the connection's end."""
        events = []
        try:
            while True:
                events.append(self.receive())
        except EOFError:
            return events

    def close_code(self) -> int | None:
        """The code with which the client closed the connection; waits for that."""
        self.rest()
        return self._wire.protocol.close_code

    def expect_ping(self) -> None:
        """Wait for the next ping."""
        assert self._wire.pings.acquire(timeout=PATIENCE)

    # -- what the server sends

    def send(self, event: msgspec.Struct | str, /, **fields: Any) -> None:
        """Send an event: a struct of the protocol, or a type with its fields."""
        if isinstance(event, str):
            self.send_raw(json.dumps({"type": event, "event_id": "event_x", **fields}))
        else:
            self.send_raw(encode_server_event(event).decode())

    def send_raw(self, frame: str | bytes) -> None:
        """Send a frame: text, or binary."""
        self._wire.send(frame)

    def fall_silent(self) -> None:
        """Send nothing more, no pong either."""
        self._wire.mute = True

    def speak_up(self) -> None:
        """Send again; what was to be sent meanwhile is lost."""
        self._wire.mute = False

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection as the protocol wants it."""
        self._wire.close(code, reason)

    def drop(self) -> None:
        """Cut the socket off."""
        self._wire.socket.shutdown(socket.SHUT_RDWR)

    # -- on the connection's thread

    def _serve(self) -> None:
        try:
            for frame in self._wire:
                self._inbox.put(frame)
        except (ConnectionClosed, OSError):
            pass
        self._inbox.put(OVER)


class ScriptedServer:
    """Listens while the `with` block lasts; `accept` hands out the connections, oldest first.

    Attributes:
        requests: Every handshake's request, the refused ones too.
        times: When each of them came, in monotonic seconds.
        refusals: HTTP statuses for the handshakes to come; when there are none left, they succeed.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.times: list[float] = []
        self.refusals: deque[int] = deque()
        self.peers: list[Peer] = []
        self._waiting: queue.SimpleQueue[Peer] = queue.SimpleQueue()
        self._handlers: list[threading.Thread] = []
        self._server: Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def origin(self) -> str:
        """The address without a path."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.socket.getsockname()[1]}"

    @property
    def url(self) -> str:
        """The base URL."""
        return f"{self.origin}/v1"

    def accept(self, timeout: float = PATIENCE) -> Peer:
        """The next connection.

        Raises:
            queue.Empty: None came in time.
        """
        return self._waiting.get(timeout=timeout)

    def __enter__(self) -> Self:
        self._server = serve(
            self._handle,
            "127.0.0.1",
            0,
            process_request=self._check,
            create_connection=_Wire,
            compression=None,
            ping_interval=None,
            close_timeout=0.2,
        )
        self._thread = threading.Thread(target=self._server.serve_forever, name="scripted-server")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        assert self._thread is not None
        for thread in self._handlers:
            # The library looks only every 100 ms whether they have ended.
            thread.join(0.3)
        self._server.shutdown()
        self._thread.join(PATIENCE)

    def _check(self, wire: ServerConnection, request: Request) -> Response | None:
        self._handlers.append(threading.current_thread())
        self.requests.append(request)
        self.times.append(time.monotonic())
        if not self.refusals:
            return None
        return wire.respond(self.refusals.popleft(), "No.\n")

    def _handle(self, wire: ServerConnection) -> None:
        assert isinstance(wire, _Wire)
        peer = Peer(wire)
        self.peers.append(peer)
        self._waiting.put(peer)
        peer._serve()
