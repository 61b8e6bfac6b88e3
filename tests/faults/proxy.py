"""A TCP proxy that misbehaves on request: what networks do to connections, on real sockets."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

Fault = Literal["forward", "reset", "stall", "unread", "black-hole", "mute", "drip", "refuse"]
Side = Literal["client", "server"]

BLOCK = 65536
# Between two bytes of a drip.
DRIP_SECONDS = 0.0002
# From whom a fault takes nothing more, so that the sender's buffers fill up.
UNREAD: dict[Fault, tuple[Side, ...]] = {"stall": ("client", "server"), "unread": ("client",)}
# Whose bytes it takes and does not pass on.
SWALLOWED: dict[Fault, tuple[Side, ...]] = {"black-hole": ("client", "server"), "mute": ("server",)}


@dataclass(frozen=True)
class Cut:
    """Where a connection is to end, once: after so many bytes of one side, or in the middle of a frame of the server.

    Attributes:
        after: Bytes that the client has to have sent; what brings them is not passed on.
        within: Text in the server's frame that ends in front of it, instead of `after`.
        how: "reset" (RST) or "fin" (as if the server had ended it in good order).
    """

    after: int = 0
    within: bytes = b""
    how: Literal["reset", "fin"] = "reset"


class FaultProxy:
    """Forwards connections to a server until it is told to do something else to them.

    Faults: "forward" none; "reset" cuts all connections with RST; "stall" takes nothing more from either side,
    so that buffers fill up, "unread" nothing from the client; "black-hole" takes everything and passes nothing
    on, "mute" nothing of the server's, and when they end, connections that have lost bytes are reset; "drip"
    passes one byte at a time; "refuse" stops listening (connections that are there go on).

    Args:
        upstream: host and port of the server.
    """

    def __init__(self, upstream: tuple[str, int]) -> None:
        self._upstream = upstream
        self._changed = threading.Condition()
        self._fault: Fault = "forward"
        self._links: set[_Link] = set()
        self._threads: list[threading.Thread] = []
        self._stopped = False
        self._cut: Cut | None = None
        # What every handshake is answered with, in the server's stead.
        self.answer: bytes | None = None
        self.accepted = 0
        self.client_bytes = 0
        self._listener: socket.socket | None = None
        self.port = 0
        self._listen()

    @property
    def url(self) -> str:
        """The base URL for clients."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def fault(self) -> Fault:
        """What is being done to connections."""
        return self._fault

    @fault.setter
    def fault(self, fault: Fault) -> None:
        with self._changed:
            links = list(self._links)
            was_refusing = self._fault == "refuse"
            self._fault = fault
            self._changed.notify_all()
        for link in links:
            # TCP has no holes: a connection that has lost bytes can't go on.
            if fault == "reset" or (link.robbed and fault not in SWALLOWED):
                link.reset()
        if fault == "refuse":
            self._stop_listening()
        elif was_refusing:
            self._listen()

    def cut(self, cut: Cut | None) -> None:
        """End a connection, this or a later one, where the cut says; once. None takes it back."""
        with self._changed:
            self._cut = cut

    @property
    def cut_pending(self) -> bool:
        """Whether a cut has not been made yet."""
        return self._cut is not None

    def suspend(self) -> None:
        """Forget all connections without a word to the client: it is told when it next says something."""
        with self._changed:
            links = list(self._links)
        for link in links:
            link.suspend()

    def wait_for_connections(self, count: int, timeout: float = 5.0) -> bool:
        """Wait until so many connections have been accepted in all."""
        with self._changed:
            return self._changed.wait_for(lambda: self.accepted >= count, timeout)

    def wait_for_bytes(self, count: int, timeout: float = 5.0) -> bool:
        """Wait until clients have brought so many bytes in all."""
        with self._changed:
            return self._changed.wait_for(lambda: self.client_bytes >= count, timeout)

    def close(self) -> None:
        """End all connections and threads."""
        with self._changed:
            self._stopped = True
            links = list(self._links)
            self._changed.notify_all()
        self._stop_listening()
        for link in links:
            link.close()
        for thread in self._threads:
            thread.join(5.0)
        assert not any(thread.is_alive() for thread in self._threads)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- threads ----------------------------------------------------------------------------------------

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, name="fault-proxy", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _listen(self) -> None:
        listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
        # Or the kernel would take seconds of audio on behalf of a reader that is stalled.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BLOCK)
        self.port = listener.getsockname()[1]
        self._listener = listener
        self._start(self._accept, listener)

    def _stop_listening(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            # Closing alone would not wake the thread that accepts.
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            if self._fault == "reset":
                _reset(client)
                continue
            if self.answer is not None:
                self._start(self._answer, client, self.answer)
                continue
            try:
                server = socket.create_connection(self._upstream, timeout=5.0)
            except OSError:
                _reset(client)
                continue
            server.settimeout(None)
            link = _Link(client, server)
            with self._changed:
                self._links.add(link)
                self.accepted += 1
                self._changed.notify_all()
            self._start(self._pump, link, "client")
            self._start(self._pump, link, "server")

    def _answer(self, client: socket.socket, answer: bytes) -> None:
        """Answer a handshake, and that is all."""
        with client:
            client.settimeout(5.0)
            try:
                request = b""
                while data := client.recv(BLOCK):
                    request += data
                    if b"\r\n\r\n" in request:
                        client.sendall(answer)
                        return
            except OSError:
                # The client went away.
                return

    def _pump(self, link: _Link, side: Side) -> None:
        source, target = (link.client, link.server) if side == "client" else (link.server, link.client)
        try:
            while True:
                self._wait_to_read(link, side)
                data = source.recv(BLOCK)
                # The fault may have come while this thread was waiting for the data.
                fault = self._wait_to_read(link, side, data)
                if link.suspended:
                    if side == "client":
                        link.reset()
                    return
                if not data:
                    if side not in SWALLOWED.get(fault, ()):
                        target.shutdown(socket.SHUT_WR)
                    return
                if self._is_cut(link, side, data, target):
                    return
                if fault == "drip":
                    self._drip(data, target)
                elif side not in SWALLOWED.get(fault, ()):
                    target.sendall(data)
        except OSError:
            if not link.suspended:
                link.close()
        finally:
            with self._changed:
                link.pumps -= 1
                if not link.pumps:
                    self._links.discard(link)
                    link.close()

    def _wait_to_read(self, link: _Link, side: Side, data: bytes = b"") -> Fault:
        """Wait until the fault lets this side's bytes pass; returns what happens to these."""
        with self._changed:
            self._changed.wait_for(
                lambda: side not in UNREAD.get(self._fault, ()) or self._stopped or link.closed
            )
            if data and side in SWALLOWED.get(self._fault, ()):
                link.robbed = True
            return self._fault

    def _is_cut(self, link: _Link, side: Side, data: bytes, target: socket.socket) -> bool:
        """Make the cut if this is the place for it."""
        with self._changed:
            if side == "client":
                link.client_bytes += len(data)
                self.client_bytes += len(data)
                self._changed.notify_all()
            cut = self._cut
            if cut is None:
                return False
            place = data.find(cut.within) if cut.within and side == "server" else -1
            enough = not cut.within and side == "client" and link.client_bytes >= cut.after
            if place < 0 and not enough:
                return False
            self._cut = None
        if place > 0:
            target.sendall(data[:place])
        if cut.how == "reset":
            link.reset()
        else:
            link.close()
        return True

    def _drip(self, data: bytes, target: socket.socket) -> None:
        for index in range(len(data)):
            with self._changed:
                if self._fault != "drip" or self._stopped:
                    target.sendall(data[index:])
                    return
                self._changed.wait(DRIP_SECONDS)
            target.sendall(data[index : index + 1])


class _Link:
    """A client's connection and the one to the server that goes with it."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.client_bytes = 0
        self.pumps = 2
        self.closed = False
        self.suspended = False
        self.robbed = False
        for sock in (client, server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def reset(self) -> None:
        self.closed = True
        _reset(self.client)
        _reset(self.server)

    def suspend(self) -> None:
        self.suspended = True
        _end(self.server)

    def close(self) -> None:
        self.closed = True
        _end(self.client)
        _end(self.server)


def _end(sock: socket.socket) -> None:
    """Close with FIN, and wake whoever reads from it."""
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        # The other side was faster.
        pass
    sock.close()


def _reset(sock: socket.socket) -> None:
    """Close with RST instead of FIN, and wake whoever reads from it."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        return
    try:
        # Wakes a thread that is in recv on it; the RST is sent when the descriptor is closed.
        sock.shutdown(socket.SHUT_RD)
    except OSError:
        pass
    sock.close()
