"""A server that says again what a recording's server said: an incident becomes a regression test."""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from antiphon.recording import Disconnected, Received, Recording, Sent, read
from antiphon.testing.connection import Connection
from antiphon.testing.handshake import Wish
from antiphon.testing.localserver import LocalServer
from antiphon.testing.log import frame_type
from antiphon.testing.script import Script

if TYPE_CHECKING:
    from websockets.sync.server import ServerConnection

PATIENCE = 5.0

# What the server's frames answer. Truncations and cancels are left out: they depend on when the client heard what.
CUES: Final = frozenset(
    {
        "session.update",
        "conversation.item.create",
        "conversation.item.delete",
        "conversation.item.retrieve",
        "input_audio_buffer.commit",
        "input_audio_buffer.clear",
        "response.create",
    }
)
# Where clients put ids of their own making, which servers echo.
_ID_PATHS: Final = (("event_id",), ("item", "id"), ("item_id",), ("response", "metadata", "client_event_id"))
_YEAR = 366 * 86_400.0

Json: TypeAlias = dict[str, Any]
Step: TypeAlias = Sent | Received | Disconnected


class ReplayServer(LocalServer):
    """Serves a recording to any client. Use it as a `LocalServer`: `url`, `log`, a `with` block.

    The first client gets what the server sent on the recorded call's first connection, and what happened to that
    connection in the end; the next gets the second's, and after the last it begins again. A frame is sent when it is
    due and the client has sent what the recorded one had sent before it (configuration, items, commits, requests for
    responses; not its audio, which may be another). Ids that the client made are put in the place of the recorded
    ones. Failed handshakes are not replayed.

    Args:
        recording: The recording, or its path.
        host: The address to listen at.
        port: The port, 0 for any that is free.
        api_key: The key that clients must give; `None` takes any, or none.
        pace: How many times faster than recorded; `math.inf` for at once.
        patience: Seconds to wait for something that the client is to send, before going on without it.

    Raises:
        ValueError: It is no recording, or nothing passed in it.
        OSError: The recording can't be read.
    """

    def __init__(
        self,
        recording: Recording | str | os.PathLike[str],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        api_key: str | None = None,
        pace: float = math.inf,
        patience: float = PATIENCE,
    ) -> None:
        if not pace > 0:
            raise ValueError(f"pace must be above 0, not {pace:g}")
        super().__init__(Script(), host=host, port=port, api_key=api_key, pace=pace)
        self.recording = recording if isinstance(recording, Recording) else read(recording)
        self._parts = _parts(self.recording)
        if not self._parts:
            raise ValueError(f"{self.recording.path}: nothing passed between client and server")
        self._patience = patience
        self._missed: list[Sent] = []

    @property
    def missed(self) -> list[Sent]:
        """What the recorded client had sent and the present one did not, in time: empty if it does the same."""
        return list(self._missed)

    def _connect(self, index: int, socket: ServerConnection, wanted: Wish) -> Connection:
        part = self._parts[index % len(self._parts)]
        return _ReplayConnection(index, socket, self, wanted, part)


def replay(
    recording: Recording | str | os.PathLike[str],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    api_key: str | None = None,
    pace: float = math.inf,
    patience: float = PATIENCE,
) -> ReplayServer:
    """A server for a `with` block that says again what a recording's server said; see `ReplayServer`.

    def test_the_incident_of_monday():
        with antiphon.testing.replay("monday.jsonl") as server:
            model = RealtimeModel(base_url=server.url, api_key="any")
            ...
    """
    return ReplayServer(recording, host=host, port=port, api_key=api_key, pace=pace, patience=patience)


class Echo:
    """What a client has sent, matched with what the recorded one had: knows whose id stands for whose."""

    def __init__(self) -> None:
        self._came: dict[str, deque[Json]] = {}
        self._ids: dict[str, str] = {}

    def came(self, event: Json) -> None:
        """The client sent this."""
        self._came.setdefault(event["type"], deque()).append(event)

    def match(self, recorded: Sent) -> bool:
        """Take the next event of this type for the recorded one; False if there is none yet."""
        waiting = self._came.get(recorded.type)
        if not waiting:
            return False
        present = waiting.popleft()
        for path in _ID_PATHS:
            old, new = _at(recorded.event, path), _at(present, path)
            if isinstance(old, str) and isinstance(new, str):
                self._ids[old] = new
        return True

    def translate(self, value: Any) -> Any:
        """An event with the present client's ids for the recorded one's."""
        if isinstance(value, str):
            return self._ids.get(value, value)
        if isinstance(value, dict):
            return {key: self.translate(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.translate(inner) for inner in value]
        return value


class _ReplayConnection(Connection):
    """Serves one client one part of the recording: one thread reads, another sends."""

    def __init__(
        self, index: int, socket: ServerConnection, server: ReplayServer, wanted: Wish, part: list[Step]
    ) -> None:
        super().__init__(
            index,
            socket,
            log=server.log,
            brain=None,
            player=None,
            model=wanted.model,
            names=wanted.names,
            session_limit_s=_YEAR,
            pace=server._pace,
        )
        self._part = part
        self._recording = server.recording
        self._patience = server._patience
        self._missed = server._missed
        self._echo = Echo()
        self._changed = threading.Condition()
        self._sender = threading.Thread(target=self._send_all, name=f"antiphon-replay-{index}", daemon=True)

    def _begin(self) -> None:
        self._sender.start()

    def _receive(self, frame: str | bytes) -> None:
        raw = frame.encode() if isinstance(frame, str) else frame
        kind = frame_type(raw)
        self._log.add(self.index, "received", kind, raw)
        if kind in CUES:
            with self._changed:
                self._echo.came(msgspec.json.decode(raw))
                self._changed.notify_all()

    def _stop(self) -> None:
        super()._stop()
        with self._changed:
            self._changed.notify_all()
        self._sender.join()

    # --- on the sender's thread

    def _send_all(self) -> None:
        first_t = self._part[0].t
        began = time.monotonic()
        for step in self._part:
            due = began + (step.t - first_t) / self._pace
            if isinstance(step, Sent):
                # A client that is slower than the recorded one gets its answers later, too.
                began += max(0.0, self._await(step) - due)
            elif self._closing.wait(max(0.0, due - time.monotonic())):
                return
            elif isinstance(step, Received):
                self._send_frame(step)
            else:
                self._end(step)
                return

    def _await(self, step: Sent) -> float:
        """Wait for what the client is to send; returns the time."""
        with self._changed:
            matched = self._changed.wait_for(
                lambda: self._closing.is_set() or self._echo.match(step), self._patience
            )
        if not matched:
            self._missed.append(step)
        return time.monotonic()

    def _end(self, step: Disconnected) -> None:
        if step.planned and self._closing.wait(self._patience):
            return
        self.drop(step.code, step.reason if step.code is not None else "")

    def _send_frame(self, step: Received) -> None:
        if step.audio is not None or step.text is not None:
            self.send(self._recording.payload(step))
            return
        with self._changed:
            event = self._echo.translate(step.event)
        self.send(msgspec.json.encode(event))


def _parts(recording: Recording) -> list[list[Step]]:
    """What a server has to wait for and to do, connection by connection."""
    parts: dict[int, list[Step]] = {}
    for line in recording.lines:
        if isinstance(line, Received | Disconnected) or (isinstance(line, Sent) and line.type in CUES):
            parts.setdefault(line.connection, []).append(line)
    return list(parts.values())


def _at(event: Json, path: tuple[str, ...]) -> Any:
    value: Any = event
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value
