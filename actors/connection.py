"""The ConnectionActor: the shell that gives the connection's core its socket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from antiphon.actors import messages as m
from antiphon.actors.connection_core import ConnectionCore
from antiphon.actors.core import CoreActor
from antiphon.actors.emitter import FRAME_SENT, Emitter
from antiphon.actors.logs import get_logger
from antiphon.actors.outgoing import encode_entry
from antiphon.actors.socket_effects import (
    AdoptSocket,
    Announce,
    Flush,
    OpenSocket,
    RejectSocket,
    ReleaseSocket,
    ReportState,
    SayGoodbye,
    SendPing,
    State,
)
from antiphon.actors.stats import WireCounts
from antiphon.actors.strand import Strand
from antiphon.actors.transport import Dial, DialSpec, HandshakeError, Transport
from antiphon.protocol import ga_type

logger = get_logger("antiphon.connection")


# In the first bytes of a frame, where its type usually stands; a wrong guess only costs time.
_DELTA, _HEAD = b".delta", 64


class _Listener:
    """Passes what a socket says to the strand, stamped with the attempt that it belongs to."""

    def __init__(self, strand: Strand, attempt: int, wire: WireCounts) -> None:
        self._strand = strand
        self._attempt = attempt
        self._wire = wire

    def connected(self, transport: Transport, seconds: float) -> None:
        self._strand.tell(m.CONNECTION, m.SocketConnected(self._attempt, transport, seconds))

    def refused(self, error: HandshakeError) -> None:
        self._strand.tell(m.CONNECTION, m.SocketRefused(self._attempt, error))

    def texts(self, payloads: list[bytes]) -> None:
        attempt, strand, wire = self._attempt, self._strand, self._wire
        wire.frames_in += len(payloads)
        wire.bytes_in += sum(map(len, payloads))
        # Deltas are all that comes in numbers, and cost little: the io thread sees to them itself, which saves
        # two thread switches (20 µs) a read. Anything else may set off work that others must not wait for.
        here = strand.runtime.io_may_work and all(_DELTA in payload[:_HEAD] for payload in payloads)
        strand.tell_all(m.CONNECTION, [m.FrameReceived(attempt, payload) for payload in payloads], here)

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
        wire: Counts what passes.
    """

    core: ConnectionCore

    def __init__(
        self,
        strand: Strand,
        core: ConnectionCore,
        emitter: Emitter,
        on_state: Callable[[State, str], None],
        wire: WireCounts,
    ) -> None:
        super().__init__(strand, m.CONNECTION, core, emitter)
        self._on_state = on_state
        self._wire = wire
        strand.on_pressure = self._pressed
        self._dial: Dial | None = None
        self._transport: Transport | None = None

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
        self.strand.origin.connection_id = effect.attempt
        self._dial = self.strand.runtime.connector.dial(
            DialSpec(
                url=spec.url,
                headers=spec.headers,
                timeout=spec.conn_options.timeout,
                max_message_size=spec.max_message_size,
                proxy=spec.proxy,
                ssl_context=spec.ssl_context,
            ),
            _Listener(self.strand, effect.attempt, self._wire),
        )

    def _adopt_socket(self, effect: AdoptSocket) -> None:
        self._dial = None
        self._transport = effect.transport

    def _reject_socket(self, effect: RejectSocket) -> None:
        effect.transport.abort()

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
        """Count what has been written, and show it to those who listen to the wire."""
        self._wire.frames_out += 1
        self._wire.bytes_out += len(payload)
        if self.emitter.wants(FRAME_SENT):
            self.emitter.emit(FRAME_SENT, (self.core.attempt, payload))
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
        held = False
        while True:
            replayed = queue.replaying
            entry = queue.next()
            if entry is None:
                break
            try:
                payload = encode_entry(entry, dialect)
            except (TypeError, ValueError, RecursionError) as error:
                # Only `send_event` can bring such a thing; it must cost nobody else their turn.
                logger.error("an event could not be encoded and is left out: %s", error)
                continue
            if not transport.send(payload):
                queue.hold(entry, replayed)
                held = True
                break
            self._announce_payload(payload)
            written.append(entry)
        if written or held:
            # A message of its own, so that what can fail in it costs nothing else.
            self.strand.tell_from_inside(m.CONNECTION, m.FramesWritten(written))


ConnectionActor.performers.update(
    {
        OpenSocket: ConnectionActor._open_socket,
        AdoptSocket: ConnectionActor._adopt_socket,
        RejectSocket: ConnectionActor._reject_socket,
        ReleaseSocket: ConnectionActor._release_socket,
        ReportState: ConnectionActor._report_state,
        SayGoodbye: ConnectionActor._say_goodbye,
        SendPing: ConnectionActor._send_ping,
        Flush: ConnectionActor._flush,
        Announce: ConnectionActor._announce,
    }
)
