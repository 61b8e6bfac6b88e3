"""What goes over a connection: frames in, sorted and passed on; frames out, queued, in order; the configuration."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import groupby
from typing import Any

import msgspec

import antiphon.protocol as p
from antiphon.actors import config, ids
from antiphon.actors import messages as m
from antiphon.actors.config import SessionOptions, SessionSpec
from antiphon.actors.core import Core, handles
from antiphon.actors.emitter import FRAME_RECEIVED, TRUNCATED
from antiphon.actors.events import AudioDropped, DtmfReceived, InputIdleTimeout, RateLimitsUpdated
from antiphon.actors.item_ops import item_event
from antiphon.actors.logs import get_logger
from antiphon.actors.outgoing import OutgoingQueue
from antiphon.actors.routes import ROUTES
from antiphon.actors.socket_effects import Announce, Flush, SayGoodbye, State

logger = get_logger("antiphon.connection")

# Dropped audio is reported once for each second of it, and when the connection is back.
AUDIO_REPORT_MS = 1000.0


def _is_audio(entry: Any) -> bool:
    return type(entry) is m.AudioChunk


class Traffic(Core):
    """The part of the ConnectionActor that reads and writes; connecting and closing is ConnectionCore's.

    Args:
        spec: What the session was made with.
        options: What the server is to be told.
        wants: Whether anybody listens to an event of this name.
    """

    def __init__(self, spec: SessionSpec, options: SessionOptions, wants: Callable[[str], bool]) -> None:
        super().__init__()
        self.spec = spec
        self.options = options
        self.instructions: str | None = None
        self.tools: list[config.ToolDef] = []
        self.state: State = "connecting"
        self.queue = OutgoingQueue(spec.timeouts.audio_ring * 1000)
        self.attempt = 0
        self.skipped: dict[str, int] = {}
        self._wants = wants
        self._connected = False
        self._heard_at = self._heard_told = 0.0
        self._server_spoke = False
        self._closing = False
        self._said_goodbye = False
        # The session.update that opens a connection, until it is written.
        self._opening: Any = None
        self._dropped_ms = 0.0
        self._unreported_drop_ms = 0.0

    def _open(self) -> None:
        """The configuration is written; see ConnectionCore."""
        raise NotImplementedError

    @handles(m.FrameReceived, undo=False)
    def frame_received(self, message: m.FrameReceived) -> None:
        """Decode a frame and pass it to those who care."""
        if not self._is_current(message.attempt):
            return
        self._heard_at = self.now
        if self._wants(FRAME_RECEIVED):
            self.emit(FRAME_RECEIVED, (message.attempt, message.payload))
        try:
            event = p.decode_server_event(message.payload)
        except p.ProtocolError as error:
            self._skip(f"unreadable:{error.kind}", str(error))
            return
        self._server_spoke = True
        if self._wants("openai_server_event_received"):
            self._emit_raw(message.payload)
        for actor in ROUTES[type(event)]:
            self.tell(actor, event)

    def _emit_raw(self, payload: bytes) -> None:
        try:
            raw = json.loads(payload)
        except (ValueError, RecursionError):
            # The engine doesn't look into fields that it doesn't know; a listener's dict would hold them.
            self._skip("raw", "a frame whose unknown fields can't be shown to raw listeners")
            return
        raw["type"] = p.ga_type(raw["type"])
        self.emit("openai_server_event_received", raw)

    @handles(m.FrameSkipped)
    def frame_skipped(self, message: m.FrameSkipped) -> None:
        """A frame that the transport left out."""
        if self._is_current(message.attempt):
            self._heard_at = self.now
            self._skip(message.kind, f"one that is {message.kind}")

    @handles(m.PeerHeard, undo=False)
    def peer_heard(self, message: m.PeerHeard) -> None:
        """The peer lives."""
        if self._is_current(message.attempt):
            self._heard_at = self.now
            self.tell(m.AUDIO_IN, message)

    @handles(p.RateLimitsUpdated)
    def rate_limits_updated(self, event: p.RateLimitsUpdated) -> None:
        """Pass on the rate limits."""
        self.emit("rate_limits_updated", RateLimitsUpdated(rate_limits=event.rate_limits))

    @handles(p.InputAudioBufferTimeoutTriggered)
    def idle_timeout(self, event: p.InputAudioBufferTimeoutTriggered) -> None:
        """Nobody spoke for a while."""
        self.emit(
            "input_idle_timeout",
            InputIdleTimeout(
                item_id=event.item_id,
                audio_start_ms=event.audio_start_ms,
                audio_end_ms=event.audio_end_ms,
            ),
        )

    @handles(p.InputAudioBufferDtmfEventReceived)
    def dtmf_received(self, event: p.InputAudioBufferDtmfEventReceived) -> None:
        """A key was pressed on the caller's phone."""
        self.emit("dtmf_received", DtmfReceived(event=event.event, received_at=event.received_at))

    def _skip(self, kind: str, what: str) -> None:
        self.skipped[kind] = self.skipped.get(kind, 0) + 1
        if self.skipped[kind] == 1:
            logger.warning("skipped a frame: %s; more of this kind are counted, not logged", what)

    @handles(m.SendEvent)
    def send_event(self, message: m.SendEvent) -> None:
        """Send the user's own event as it is."""
        self._queue(message.event)

    @handles(m.WithdrawReply)
    def withdraw_reply(self, message: m.WithdrawReply) -> None:
        """Take a request back before the server hears of it."""
        if self.queue.withdraw(message.event_id):
            self.tell(m.GENERATION, m.ReplyWithdrawn(message.event_id))

    @handles(m.Transmit)
    def transmit(self, message: m.Transmit) -> None:
        """Send another actor's event."""
        self._queue(message.event)

    @handles(m.TransmitAudio, undo=False)
    def transmit_audio(self, message: m.TransmitAudio) -> None:
        """Send audio, or keep it while there is no connection."""
        for chunk in message.chunks:
            self.queue.push(chunk)
        if self.state == "open" and not self.queue.held:
            self.do(Flush())
        else:
            self._count_dropped(self.queue.drop_excess())

    def _queue(self, event: Any) -> None:
        if self._closing:
            return
        self.queue.push(event)
        if self.state == "open":
            self.do(Flush())

    @handles(m.SocketDrained)
    def socket_drained(self, message: m.SocketDrained) -> None:
        """The socket takes more."""
        if not self._is_current(message.attempt):
            return
        written = self.queue.drained()
        if written is not None:
            self.do(Announce(written))
            self._written(written)
        self.do(Flush())
        self._say_goodbye_when_all_is_said()

    @handles(m.FramesWritten, undo=lambda core, _: core._opening is not None)
    def frames_written(self, message: m.FramesWritten) -> None:
        """Tell those who keep account of what the server was told."""
        for is_audio, entries in groupby(message.entries, _is_audio):
            if is_audio:
                self._audio_written(list(entries))
            else:
                for entry in entries:
                    self._written(entry)
        self._count_dropped(self.queue.drop_excess())
        self._say_goodbye_when_all_is_said()

    def _say_goodbye_when_all_is_said(self) -> None:
        if self._closing and not self._said_goodbye and not self.queue:
            self._said_goodbye = True
            self.do(SayGoodbye(1000))

    def _written(self, entry: Any) -> None:
        if entry is self._opening:
            self._opening = None
            self._open()
            return
        if type(entry) is m.AudioChunk:
            self._audio_written([entry])
        elif (event := item_event(entry)) is not None:
            self.tell(m.CHAT_CTX, m.ItemEventWritten(event, entry))
        elif isinstance(entry, p.InputAudioBufferCommit):
            self.tell(m.AUDIO_IN, m.CommitWritten())
        elif isinstance(entry, p.InputAudioBufferClear):
            self.tell(m.AUDIO_IN, m.ClearWritten())
        elif isinstance(entry, p.ResponseCreate) and isinstance(entry.event_id, str):
            self.tell(m.GENERATION, m.ReplyWritten(entry.event_id))
        elif isinstance(entry, p.ConversationItemTruncate):
            self.emit(TRUNCATED, entry.item_id)

    def _audio_written(self, chunks: list[m.AudioChunk]) -> None:
        self.tell(m.AUDIO_IN, m.AudioWritten(chunks, self._heard_at > self._heard_told))
        self._heard_told = self._heard_at

    @handles(m.UpdateOptions)
    def update_options(self, message: m.UpdateOptions) -> None:
        """Send only what differs from what the server has been told."""
        old = self.options
        self.options = msgspec.structs.replace(old, **message.changes)
        update = config.changed_update(old, self.options, self.spec.dialect)
        if update is not None:
            self._queue(p.SessionUpdate(event_id=ids.new_id(ids.OPTIONS_UPDATE), session=update))
        if old != self.options:
            self.tell(m.AUDIO_IN, m.OptionsChanged(self.options))
            self.tell(m.GENERATION, m.OptionsChanged(self.options))
            self.tell(m.CHAT_CTX, m.OptionsChanged(self.options))

    @handles(m.UpdateInstructions)
    def update_instructions(self, message: m.UpdateInstructions) -> None:
        """Send the instructions and remember them for the next connection."""
        self.instructions = message.instructions
        self._queue(
            p.SessionUpdate(
                event_id=ids.new_id(ids.INSTRUCTIONS_UPDATE),
                session=config.instructions_update(message.instructions),
            )
        )
        self.tell(m.GENERATION, message)

    @handles(m.UpdateTools)
    def update_tools(self, message: m.UpdateTools) -> None:
        """Send the tools and remember them for the next connection."""
        self.tools = list(message.tools)
        self._queue(self._tools_update())

    def _session_update(self) -> p.SessionUpdate:
        return p.SessionUpdate(
            event_id=ids.new_id(ids.SESSION_UPDATE),
            session=config.first_update(self.options, self.instructions, self.spec.dialect),
        )

    def _tools_update(self) -> p.SessionUpdate:
        return p.SessionUpdate(
            event_id=ids.new_id(ids.TOOLS_UPDATE),
            session=config.tools_update(self.options.model, self.tools),
        )

    def _is_current(self, attempt: int) -> bool:
        return self._connected and attempt == self.attempt

    @property
    def unreported_drop_ms(self) -> float:
        """Milliseconds of audio that were dropped since the last report."""
        return self._unreported_drop_ms

    def _count_dropped(self, ms: float) -> None:
        self._dropped_ms += ms
        self._unreported_drop_ms += ms
        if self._unreported_drop_ms >= AUDIO_REPORT_MS:
            self._report_dropped_audio()

    def _report_dropped_audio(self) -> None:
        self.emit("audio_dropped", AudioDropped(duration_ms=self._unreported_drop_ms))
        self._unreported_drop_ms = 0.0
