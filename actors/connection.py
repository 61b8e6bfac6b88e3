"""The ConnectionActor: the shell that gives the connection's core its socket."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import msgspec

from antiphon.actors import messages as m
from antiphon.actors.connection_core import ConnectionCore
from antiphon.actors.core import CoreActor
from antiphon.actors.emitter import Emitter
from antiphon.actors.outgoing import encode_entry
from antiphon.actors.socket_effects import (
    AdoptSocket,
    Announce,
    Flush,
    OpenSocket,
    ReleaseSocket,
    ReportState,
    SayGoodbye,
    SendPing,
    State,
)
from antiphon.actors.strand import Strand
from antiphon.actors.transport import Dial, DialSpec, HandshakeError, Transport
from antiphon.protocol import ga_type

logger = logging.getLogger("antiphon.connection")


class _Listener:
    """Passes what a socket says to the strand, stamped with the attempt that it belongs to."""

    def __init__(self, strand: Strand, attempt: int) -> None:
        self._strand = strand
        self._attempt = attempt

    def connected(self, transport: Transport, seconds: float) -> None:
        self._strand.tell(m.CONNECTION, m.SocketConnected(self._attempt, transport, seconds))

    def refused(self, error: HandshakeError) -> None:
        self._strand.tell(m.CONNECTION, m.SocketRefused(self._attempt, error))

    def texts(self, payloads: list[bytes]) -> None:
        attempt = self._attempt
        self._strand.tell_all(m.CONNECTION, [m.FrameReceived(attempt, payload) for payload in payloads])

    def skipped(self, kind: str) -> None:
        self._strand.tell(m.CONNECTION, m.FrameSkipped(self._attempt, kind))

    def heard(self) -> None:
        self._strand.tell(m.CONNECTION, m.PeerHeard(self._attempt))

    def close_received(self, code: int, reason: str) -> None:
        self._strand.tell(m.CONNECTION, m.CloseReceived(self._attempt, code, reason))

    def drained(self) -> None:
        self._strand.tell(m.CONNECTION, m.SocketDrained(self._attempt))

    def lost(self, reason: str) -> None:
        self._strand.tell(m.CONNECTION, m.SocketLost(self._attempt, reason))


class ConnectionActor(CoreActor):
    """Owns the socket and writes the one outgoing queue.

    Args:
        strand: The session's strand.
        core: Decisions.
        emitter: Where events for the user go.
        on_state: Called with the connection's new state, and with why a session ended.
    """

    core: ConnectionCore

    def __init__(
        self,
        strand: Strand,
        core: ConnectionCore,
        emitter: Emitter,
        on_state: Callable[[State, str], None],
    ) -> None:
        super().__init__(strand, m.CONNECTION, core, emitter)
        self._on_state = on_state
        strand.on_pressure = self._pressed
        self._dial: Dial | None = None
        self._transport: Transport | None = None

    def on_receive(self, message: Any) -> None:
        """Handle one message; a connection that comes too late is closed, not forgotten."""
        if type(message) is m.SocketConnected and message.attempt != self.core.attempt:
            message.transport.abort()
            return
        super().on_receive(message)

    def take_over(self, predecessor: CoreActor) -> None:
        """Continue for a predecessor that failed: its socket goes on too."""
        super().take_over(predecessor)
        assert isinstance(predecessor, ConnectionActor)
        self._dial, predecessor._dial = predecessor._dial, None
        self._transport, predecessor._transport = predecessor._transport, None

    def on_stop(self) -> None:
        """Let go of the socket."""
        super().on_stop()
        self._release_socket(ReleaseSocket())

    def _open_socket(self, effect: OpenSocket) -> None:
        spec = self.core.spec
        self._dial = self.strand.runtime.connector.dial(
            DialSpec(
                url=spec.url,
                headers=spec.headers,
                timeout=spec.conn_options.timeout,
                max_message_size=spec.max_message_size,
                proxy=spec.proxy,
                ssl_context=spec.ssl_context,
            ),
            _Listener(self.strand, effect.attempt),
        )

    def _adopt_socket(self, effect: AdoptSocket) -> None:
        self._dial = None
        self._transport = effect.transport

    def _release_socket(self, effect: ReleaseSocket) -> None:
        dial, self._dial = self._dial, None
        transport, self._transport = self._transport, None
        if dial is not None:
            dial.abort()
        if transport is not None:
            if effect.code is not None:
                transport.close(effect.code)
            transport.abort()

    def _announce(self, effect: Announce) -> None:
        self._announce_payload(encode_entry(effect.entry, self.core.spec.dialect))

    def _announce_payload(self, payload: bytes) -> None:
        """Show those who listen to the wire what has been written."""
        if self.emitter.wants("openai_client_event_queued"):
            event = msgspec.json.decode(payload)
            event["type"] = ga_type(event.get("type", ""))
            self.emitter.emit("openai_client_event_queued", event)

    def _say_goodbye(self, effect: SayGoodbye) -> None:
        if self._transport is not None:
            self._transport.close(effect.code)

    def _pressed(self, pressed: bool) -> None:
        """Called on any thread: a full mailbox has the socket wait, so that the io thread never does."""
        transport = self._transport
        if transport is not None:
            transport.pause(pressed)

    def _report_state(self, effect: ReportState) -> None:
        self._on_state(effect.state, effect.reason)

    def _send_ping(self, _: SendPing) -> None:
        if self._transport is not None:
            self._transport.ping()

    def _flush(self, _: Flush) -> None:
        """Write until the queue is empty or the socket is full."""
        if self._transport is None:
            return
        queue, transport, dialect = self.core.queue, self._transport, self.core.spec.dialect
        written: list[Any] = []
        while True:
            replayed = queue.replaying
            entry = queue.next()
            if entry is None:
                break
            try:
                payload = encode_entry(entry, dialect)
            except (TypeError, ValueError) as error:
                # Only `send_event` can bring such a thing; it must cost nobody else their turn.
                logger.error("an event could not be encoded and is left out: %s", error)
                continue
            if not transport.send(payload):
                queue.hold(entry, replayed)
                break
            self._announce_payload(payload)
            written.append(entry)
        if written:
            for effect in self.core.handle(m.FramesWritten(written), self.strand.runtime.now()):
                self.performers[type(effect)](self, effect)


ConnectionActor.performers.update(
    {
        OpenSocket: ConnectionActor._open_socket,
        AdoptSocket: ConnectionActor._adopt_socket,
        ReleaseSocket: ConnectionActor._release_socket,
        ReportState: ConnectionActor._report_state,
        SayGoodbye: ConnectionActor._say_goodbye,
        SendPing: ConnectionActor._send_ping,
        Flush: ConnectionActor._flush,
        Announce: ConnectionActor._announce,
    }
)
