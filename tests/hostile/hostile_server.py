"""A real WebSocket server that sends what it likes, byte by byte if need be, and then converses as if nothing was."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.frames import Opcode
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from antiphon import RealtimeModel, RealtimeSession
from antiphon.actors.emitter import EventStream

PATIENCE = 20.0
ANSWER = "Still here."
OVER = "attack.over"

Attack = Callable[["Peer"], None]


class Peer:
    """The server's end of a connection; `send` goes around the WebSocket library, straight into the socket."""

    def __init__(self, socket: ServerConnection) -> None:
        self._socket = socket

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self._socket.socket.sendall(data)

    def frame(
        self, payload: bytes, opcode: int = Opcode.TEXT, final: bool = True, rsv1: bool = False
    ) -> None:
        """Send one frame."""
        self.send(frame(payload, opcode, final, rsv1))

    def event(self, **event: Any) -> None:
        """Send an event as it should be sent."""
        self.frame(json.dumps(event).encode())

    def answer(self, event_id: str) -> None:
        """Answer a `response.create`."""
        response = {"id": "resp_fine", "status": "in_progress", "metadata": {"client_event_id": event_id}}
        part = {"response_id": "resp_fine", "item_id": "item_fine", "output_index": 0, "content_index": 0}
        item = {"id": "item_fine", "type": "message", "role": "assistant", "content": []}
        self.event(type="response.created", response=response)
        self.event(type="response.output_item.added", item=item, **part)
        self.event(type="response.output_text.delta", delta=ANSWER, **part)
        self.event(type="response.done", response=response | {"status": "completed"})


def frame(payload: bytes, opcode: int = Opcode.TEXT, final: bool = True, rsv1: bool = False) -> bytes:
    """One frame as a server sends it, or as the RFC forbids it."""
    first, size = (0x80 if final else 0) | (0x40 if rsv1 else 0) | opcode, len(payload)
    if size < 126:
        head = struct.pack("!BB", first, size)
    elif size < 65536:
        head = struct.pack("!BBH", first, 126, size)
    else:
        head = struct.pack("!BBQ", first, 127, size)
    return head + payload


@dataclass
class Victim:
    """A session at a hostile server.

    Attributes:
        session: The session.
        troubles: Its errors, restarts of actors, and reconnections.
        raw: The server's last events that it could read.
        seen: Those that were there when the attack was over.
    """

    session: RealtimeSession
    troubles: EventStream
    raw: EventStream
    seen: list[dict[str, Any]] = field(default_factory=list)

    def converse(self) -> None:
        """When the attack is over, the session still gets answers."""
        while not self.seen or self.seen[-1]["type"] != OVER:
            self.seen.append(self.raw.get(PATIENCE)[1])
        generation = self.session.generate_reply().result(PATIENCE)
        message = generation.message_stream.get(PATIENCE)
        assert generation.done.result(PATIENCE).status == "completed"
        assert "".join(message.text_stream) == ANSWER

    def close(self) -> list[tuple[str, Any]]:
        """Close the session; returns its troubles."""
        self.session.close()
        return list(self.troubles)


@contextmanager
def hostile_server(attack: Attack, extensions: str | None = None) -> Iterator[str]:
    """Serve: the first connection begins with the attack; then, and from then on, the server is polite.

    Args:
        attack: What happens on the server's side when the session has configured itself.
        extensions: Forced upon clients in the handshake.

    Yields:
        The base URL.
    """

    def force(_: ServerConnection, __: Request, response: Response) -> None:
        if extensions is not None:
            response.headers["Sec-WebSocket-Extensions"] = extensions

    attacks = [attack]

    def handle(socket: ServerConnection) -> None:
        peer = Peer(socket)
        try:
            for message in socket:
                event = json.loads(message)
                if event["type"] == "session.update":
                    if attacks:
                        attacks.pop()(peer)
                    peer.event(type=OVER)
                elif event["type"] == "response.create":
                    peer.answer(event["event_id"])
        except (ConnectionClosed, OSError):
            pass

    with serve(
        handle,
        "127.0.0.1",
        0,
        compression=None,
        process_response=force,
        close_timeout=0.3,
        ping_interval=None,
    ) as server:
        thread = threading.Thread(target=server.serve_forever, name="hostile-server")
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.socket.getsockname()[1]}/v1"
        finally:
            server.shutdown()
            thread.join(PATIENCE)


@contextmanager
def attacked(attack: Attack, extensions: str | None = None, **options: Any) -> Iterator[Victim]:
    """A text session at a server that attacks it."""
    with (
        hostile_server(attack, extensions) as url,
        RealtimeModel(base_url=url, api_key="test", modalities=["text"], **options) as model,
    ):
        session = model.session(start=False)
        troubles = session.events("error", "actor_restarted", "session_reconnected")
        victim = Victim(session, troubles, session.events("openai_server_event_received", maxsize=10))
        session.start()
        session.wait_open(PATIENCE)
        yield victim
