"""A TCP proxy that misbehaves on request: what networks do to connections, on real sockets."""

from __future__ import annotations

import socket
import struct
import threading
from types import TracebackType
from typing import Literal, Self

Fault = Literal["forward", "reset", "stall", "black-hole", "drip", "refuse"]

BLOCK = 65536
# Between two bytes of a drip.
DRIP_SECONDS = 0.0002


class FaultProxy:
    """Forwards connections to a server until it is told to do something else to them.

    Faults: "forward" none; "reset" cuts all connections with RST; "stall" takes nothing more from either side,
    so that buffers fill up; "black-hole" takes everything and passes nothing on; "drip" passes one byte at a
    time; "refuse" stops listening (connections that are there go on).

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
        # Bytes from the client after which its connection is reset; None: never.
        self._reset_after: int | None = None
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
        if fault == "reset":
            for link in links:
                link.reset()
        if fault == "refuse":
            self._stop_listening()
        elif was_refusing:
            self._listen()

    def reset_after(self, client_bytes: int | None) -> None:
        """Reset the next connection that has brought so many bytes from its client; once."""
        with self._changed:
            self._reset_after = client_bytes

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

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, name="fault-proxy", daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _listen(self) -> None:
        listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
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
            self._start(self._pump, link, client, server)
            self._start(self._pump, link, server, client)

    def _pump(self, link: _Link, source: socket.socket, target: socket.socket) -> None:
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._fault != "stall" or self._stopped or link.closed)
                data = source.recv(BLOCK)
                # The fault may have come while this thread was waiting for the data.
                with self._changed:
                    self._changed.wait_for(lambda: self._fault != "stall" or self._stopped or link.closed)
                    fault = self._fault
                if not data:
                    if fault != "black-hole":
                        target.shutdown(socket.SHUT_WR)
                    return
                if source is link.client and self._is_enough(link, len(data)):
                    link.reset()
                    return
                if fault == "drip":
                    self._drip(data, target)
                elif fault != "black-hole":
                    target.sendall(data)
        except OSError:
            link.close()
        finally:
            with self._changed:
                link.pumps -= 1
                if not link.pumps:
                    self._links.discard(link)
                    link.close()

    def _is_enough(self, link: _Link, size: int) -> bool:
        link.client_bytes += size
        with self._changed:
            self.client_bytes += size
            self._changed.notify_all()
            if self._reset_after is None or link.client_bytes < self._reset_after:
                return False
            self._reset_after = None
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
        for sock in (client, server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def reset(self) -> None:
        self.closed = True
        _reset(self.client)
        _reset(self.server)

    def close(self) -> None:
        self.closed = True
        for sock in (self.client, self.server):
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
