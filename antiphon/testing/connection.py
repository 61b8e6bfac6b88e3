"""One client's connection: its socket on one side, the conversation's core and the brain on the other."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from antiphon import protocol as p
from antiphon.actors.logs import get_logger
from antiphon.testing.brains.base import Brain, Fail, Output
from antiphon.testing.conversation import Conversation, Names
from antiphon.testing.effects import Close, Effects, Halt, Hear, Respond
from antiphon.testing.extras import require
from antiphon.testing.generation import Generation
from antiphon.testing.log import EventLog, frame_type
from antiphon.testing.mcp import McpServer
from antiphon.testing.mcphost import HostedCall, RunMcp
from antiphon.testing.script import Action, ScriptPlayer
from antiphon.testing.steps import Delta, steps
from antiphon.testing.worker import Worker

if TYPE_CHECKING:
    from websockets.sync.server import ServerConnection

logger = get_logger("antiphon.server")

Rewrite: TypeAlias = Callable[[dict[str, Any]], Iterable[dict[str, Any]]]
"""Makes of an event, as it would go out, the events that go out instead."""


class Connection:
    """Serves one client. The thread that calls `serve` reads; the brain works on another.

    Args:
        index: The connection's number, from 0.
        socket: The open WebSocket.
        log: Where all frames are noted.
        brain: Who answers; `None` if only a script does.
        player: The script, if there is one.
        model: The model that the client asked for.
        names: The dialect of the client.
        session_limit_s: After how many seconds the session expires.
        pace: How many times faster than real time audio is sent.
        rewrite: What becomes of each event that the conversation sends.
        mcp: The MCP servers that the session can reach.
    """

    def __init__(
        self,
        index: int,
        socket: ServerConnection,
        *,
        log: EventLog,
        brain: Brain | None,
        player: ScriptPlayer | None,
        model: str,
        names: Names,
        session_limit_s: float,
        pace: float,
        rewrite: Rewrite | None = None,
        mcp: Mapping[str, McpServer] | None = None,
    ) -> None:
        self.index = index
        self.names = names
        self._socket = socket
        self._log = log
        self._brain = brain
        self._player = player
        self._limit = session_limit_s
        self._pace = pace
        self._rewrite = rewrite
        self._ends = time.monotonic() + session_limit_s
        self._conversation = Conversation(model, round(time.time() + session_limit_s), names, mcp)
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._running: dict[str, threading.Event] = {}
        self._main = Worker(f"antiphon-server-{index}-brain")
        self._aside = Worker(f"antiphon-server-{index}-aside")
        self._mcp = Worker(f"antiphon-server-{index}-mcp")

    def items(self) -> list[p.Item]:
        """The items of the conversation, oldest first."""
        with self._lock:
            return [stored.item for stored in self._conversation.items.all()]

    def drop(self, code: int | None = None, reason: str = "") -> None:
        """End the connection: with a close frame if a code is given, else by cutting the socket off."""
        if code is not None:
            self._socket.close(code, reason)
            return
        try:
            self._socket.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it is gone already
        # only now: the reading thread, when it sees this, closes properly
        self._closing.set()

    def serve(self) -> None:
        """Read and answer until the connection ends."""
        closed = require("websockets.exceptions", "local").ConnectionClosed
        try:
            try:
                self._begin()
            except (closed, OSError):
                pass  # the client has left; what it said before counts all the same
            while not self._closing.is_set():
                try:
                    frame = self._socket.recv(timeout=max(0.0, self._ends - time.monotonic()))
                except TimeoutError:
                    self._perform(lambda: self._conversation.expire(self._limit / 60))
                    return
                self._receive(frame)
        except (closed, OSError):
            pass  # the client left, or we did
        finally:
            self._stop()

    def _begin(self) -> None:
        if self._brain is not None:
            self._perform(self._conversation.open)
        if self._player is not None:
            self._play(self._player.connected())

    def _stop(self) -> None:
        self._closing.set()
        with self._lock:
            for running in self._running.values():
                running.set()
        self._main.stop()
        self._aside.stop()
        self._mcp.stop()

    def _receive(self, frame: str | bytes) -> None:
        raw = frame.encode() if isinstance(frame, str) else frame
        self._log.add(self.index, "received", frame_type(raw), raw)
        actions: list[Action] = []
        if self._player is not None:
            actions, swallowed = self._player.received(raw)
            if swallowed:
                self._play(actions)
                return
        if self._brain is not None:
            self._perform(lambda: self._conversation.receive(frame))
        self._play(actions)

    # --- what is to be done

    def _perform(self, decide: Callable[[], Effects]) -> bool:
        """Do what the core decides, as one piece. Returns whether there was anything to do."""
        with self._lock:
            effects = decide()
            for effect in effects:
                if isinstance(effect, Hear):
                    self._main.submit(lambda hear=effect: self._hear(hear))  # type: ignore[misc]
                elif isinstance(effect, Respond):
                    self._start(effect.generation)
                elif isinstance(effect, Halt):
                    self._running.pop(effect.generation.id, threading.Event()).set()
                elif isinstance(effect, RunMcp):
                    self._mcp.submit(lambda call=effect.call: self._call_mcp(call))  # type: ignore[misc]
                elif isinstance(effect, Close):
                    self._closing.set()
                    self._socket.close(effect.code, effect.reason)
                else:
                    for frame in self._frames(p.encode_server_event(effect, self.names)):
                        self.send(frame)
            return bool(effects)

    def _frames(self, frame: bytes) -> Iterable[bytes]:
        if self._rewrite is None:
            return (frame,)
        return [msgspec.json.encode(event) for event in self._rewrite(msgspec.json.decode(frame))]

    def send(self, frame: bytes, *, binary: bool = False) -> None:
        """Send a frame as it is and note it."""
        kind = frame_type(frame)
        with self._lock:
            self._log.add(self.index, "sent", kind, frame)
            try:
                self._socket.send(frame, text=not binary)
            except require("websockets.exceptions", "local").ConnectionClosed:
                # Reading goes on to the end of what the client has sent, and then says so.
                return
            if self._player is not None:
                self._play(self._player.sent(kind))

    def _play(self, actions: list[Action]) -> None:
        for action in actions:
            if action.delay:
                self._closing.wait(action.delay)
            elif action.frame is not None:
                self.send(action.frame, binary=action.binary)
            else:
                self.drop(action.close, action.reason)

    # --- the brain's work

    def _hear(self, hear: Hear) -> None:
        assert self._brain is not None
        try:
            transcript = self._brain.hear(hear.sound)
        except Exception:
            logger.exception("the brain could not hear")
            transcript = ""
        self._quietly(lambda: self._conversation.heard(hear.item_id, hear.sound, transcript))

    def _call_mcp(self, call: HostedCall) -> None:
        result = call.server.call(call.item.name, call.item.arguments)
        self._quietly(lambda: self._conversation.mcp_done(call, result))

    def _start(self, generation: Generation) -> None:
        halted = self._running[generation.id] = threading.Event()
        worker = self._main if generation.in_conversation else self._aside
        worker.submit(lambda: self._respond(generation, halted))

    def _respond(self, generation: Generation, halted: threading.Event) -> None:
        assert self._brain is not None
        with self._lock:
            request = self._conversation.request(generation)
        try:
            for output in self._brain.respond(request):
                if not self._say(generation, output, halted):
                    return
        except Exception as error:
            logger.exception("the brain failed")
            self._say(generation, Fail(f"The brain failed: {error}"), halted)
        self._quietly(lambda: self._conversation.finish(generation))

    def _say(self, generation: Generation, output: Output, halted: threading.Event) -> bool:
        """Send one output, no faster than the pace allows. Returns whether the response goes on."""
        codec = generation.plan.codec if generation.plan.modality == "audio" else None
        due = time.monotonic()
        for step in steps(output, codec=codec):
            if halted.is_set():
                return False
            self._quietly(lambda step=step: self._conversation.advance(generation, step))  # type: ignore[misc]
            if isinstance(step, Delta) and step.ms:
                due += step.ms / 1000 / self._pace
                halted.wait(max(0.0, due - time.monotonic()))
        return not halted.is_set()

    def _quietly(self, decide: Callable[[], Effects]) -> None:
        """As `_perform`, for the brain's thread: the end of the connection ends the work."""
        closed = require("websockets.exceptions", "local").ConnectionClosed
        try:
            if not self._closing.is_set():
                self._perform(decide)
        except (closed, OSError):
            self._closing.set()
            for running in list(self._running.values()):
                running.set()
