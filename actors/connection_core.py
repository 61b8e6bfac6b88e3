"""The life of a session's connection: connect, replay, liveness, recycle, close. Decisions only, no sockets."""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable
from typing import Any, Literal

import msgspec

import antiphon.protocol as p
from antiphon.actors import config, ids
from antiphon.actors import messages as m
from antiphon.actors.config import SessionOptions, SessionSpec
from antiphon.actors.core import Arm, Core, Disarm, TimerFired, handles
from antiphon.actors.errors import APIConnectionError, APIError
from antiphon.actors.events import (
    AudioDropped,
    DtmfReceived,
    InputIdleTimeout,
    MetricsMetadata,
    RateLimitsUpdated,
    RealtimeModelMetrics,
    RealtimeSessionReconnectedEvent,
    StateChanged,
)
from antiphon.actors.failures import FATAL_CODES, model_error, server_error
from antiphon.actors.outgoing import ITEM_EVENTS, OutgoingQueue
from antiphon.actors.routes import ROUTES
from antiphon.actors.websocket import POLICY_VIOLATION

logger = logging.getLogger("antiphon.connection")

State = Literal["connecting", "open", "reconnecting", "closed"]

# The lifecycle: what may follow what. `closing` is within a state: the user sees closed when it is done.
TRANSITIONS: dict[tuple[State, str], State] = {
    ("connecting", "opened"): "open",
    ("connecting", "ended"): "closed",
    ("open", "dropped"): "reconnecting",
    ("open", "ended"): "closed",
    ("reconnecting", "opened"): "open",
    ("reconnecting", "ended"): "closed",
}

# Dropped audio is reported once for each second of it, and when the connection is back.
AUDIO_REPORT_MS = 1000.0

EXPIRED = "session_expired"

OTHERS = (m.CHAT_CTX, m.GENERATION, m.AUDIO_IN)


# -- effects that only the connection's shell performs -------------------------------------------------


class OpenSocket(msgspec.Struct, frozen=True):
    """Begin attempt number `attempt` to connect."""

    attempt: int


class AdoptSocket(msgspec.Struct, frozen=True):
    """This transport is the connection from now on."""

    transport: Any


class ReleaseSocket(msgspec.Struct, frozen=True):
    """Let go of the transport, or of the attempt that is under way; say goodbye with `code` first, if any."""

    code: int | None = None


class SayGoodbye(msgspec.Struct, frozen=True):
    """Send a close frame and go on reading."""

    code: int


class SendPing(msgspec.Struct, frozen=True):
    """Send a ping."""


class ReportState(msgspec.Struct, frozen=True):
    """The connection's state is this now; `reason` says why a session ended."""

    state: State
    reason: str


class Flush(msgspec.Struct, frozen=True):
    """Write what the queue holds, as far as the socket takes it."""


class ConnectionCore(Core):
    """State and decisions of the ConnectionActor.

    Args:
        spec: What the session was made with.
        options: What the server is to be told.
        wants: Whether anybody listens to an event of this name.
        jitter: A random factor for the time between attempts, so that many sessions don't come back at once.
    """

    def __init__(
        self,
        spec: SessionSpec,
        options: SessionOptions,
        wants: Callable[[str], bool],
        jitter: Callable[[], float] = lambda: random.uniform(0.8, 1.2),
    ) -> None:
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
        self._jitter = jitter
        self._connected = False
        self._ever_open = False
        self._opened_at = 0.0
        self._heard_at = 0.0
        self._pinged_at = 0.0
        self._server_spoke = False
        self._retries = 0
        self._key_refetched = False
        self._lost_at = 0.0
        self._lost_reason = ""
        self._planned: str | None = None
        self._end_reason = "session closed"
        self._closing = False
        self._said_goodbye = False
        self._opening: Any = None
        self._pong_awaited = False
        self._dropped_ms = 0.0
        self._unreported_drop_ms = 0.0

    # -- connecting ------------------------------------------------------------------------------

    @handles(m.Start)
    def start(self, _: m.Start) -> None:
        """Begin the first attempt; the configuration as it is now goes first."""
        self._opening = self._session_update()
        self.queue.push(self._opening)
        self._dial()

    def _dial(self) -> None:
        self.attempt += 1
        self.do(OpenSocket(self.attempt))
        self.do(Arm("handshake", self.spec.conn_options.timeout))

    @handles(m.SocketConnected)
    def socket_connected(self, message: m.SocketConnected) -> None:
        """Configure the new connection, and say again what the server has to know."""
        self.do(Disarm("handshake"))
        self.do(AdoptSocket(message.transport))
        self._connected = True
        self._opened_at = self._heard_at = self.now
        self._server_spoke = self._key_refetched = False
        self._planned = None
        self._pong_awaited = False
        self.emit("metrics_collected", self._connection_metrics(message.seconds))
        if not self._ever_open:
            self.do(Flush())
            return
        self._opening = self._session_update()
        replay: list[Any] = [self._opening]
        if self.tools:
            replay.append(self._tools_update())
        self.queue.begin_replay(replay)
        self.tell(m.CHAT_CTX, m.ReplayWanted())
        self.tell(m.AUDIO_IN, m.ReplayWanted())

    @handles(m.ReplayItems)
    def replay_items(self, message: m.ReplayItems) -> None:
        """The conversation, after the configuration."""
        self.queue.begin_replay(message.events)

    @handles(m.ReplayAudio)
    def replay_audio(self, message: m.ReplayAudio) -> None:
        """What was said but not committed comes last; then all of it goes out."""
        self.queue.begin_replay(message.entries)
        self.do(Flush())

    def _open(self) -> None:
        """The configuration is written: the connection is open."""
        first, self._ever_open = not self._ever_open, True
        self._become("opened")
        for other in OTHERS:
            self.tell(other, m.ConnectionOpened(first))
        self.do(Arm("ping", self.spec.timeouts.ping_interval))
        if self.spec.max_session_duration is not None:
            self.do(Arm("recycle", self.spec.max_session_duration))
        if self._unreported_drop_ms:
            self._report_dropped_audio()
        # What was asked for while the configuration was on its way.
        self.do(Flush())

    @handles(m.ReplaySettled)
    def replay_settled(self, message: m.ReplaySettled) -> None:
        """Tell the user that the session is whole again."""
        self.emit(
            "session_reconnected",
            RealtimeSessionReconnectedEvent(
                reason=self._lost_reason,
                downtime=self._opened_at - self._lost_at,
                items_restored=message.restored,
                items_degraded=message.degraded,
                audio_dropped_ms=self._dropped_ms,
            ),
        )

    # -- losing the connection ---------------------------------------------------------------------

    @handles(m.SocketRefused)
    def socket_refused(self, message: m.SocketRefused) -> None:
        """The handshake failed."""
        if message.attempt != self.attempt or self._connected:
            return
        self.do(Disarm("handshake"))
        error = message.error
        if error.status == 401 and self.spec.refetches_key and not self._key_refetched:
            # The key may just have expired: ask for it once more before it counts as a failure.
            self._key_refetched = True
            self._dial()
            return
        self._failed(error, fatal=not error.retryable)

    @handles(m.CloseReceived)
    def close_received(self, message: m.CloseReceived) -> None:
        """The server says goodbye."""
        if not self._is_current(message.attempt):
            return
        if self._closing:
            self._finish()
            return
        reason = f"the server closed the connection (code {message.code}"
        reason += f", {message.reason})" if message.reason else ")"
        self._dropped(reason, fatal=message.code == POLICY_VIOLATION)

    @handles(m.SocketLost)
    def socket_lost(self, message: m.SocketLost) -> None:
        """The socket ended."""
        if not self._is_current(message.attempt):
            return
        if self._closing:
            self._finish()
        else:
            self._dropped(message.reason)

    def _dropped(self, reason: str, fatal: bool = False) -> None:
        """An open connection is gone."""
        planned = self._planned
        self._disconnect(planned or reason)
        if planned and not fatal:
            self._dial_anew(planned)
            return
        self._failed(APIConnectionError(f"{self.spec.label}: {reason}", retryable=not fatal), fatal)

    def _dial_anew(self, planned: str) -> None:
        """Replace a connection at once; one that the server expires as soon as it is there counts as failed."""
        if planned != EXPIRED or self._retries == 0:
            self._retries += planned == EXPIRED
            self._dial()
        elif self._retries >= self.spec.conn_options.max_retry:
            self._collapse(APIConnectionError(f"{self.spec.label}: every new session has expired at once"))
        else:
            self._retries += 1
            self.do(Arm("retry", self.spec.conn_options.retry_interval * self._jitter()))

    def _disconnect(self, reason: str, goodbye: int | None = None) -> None:
        if self._server_spoke and self.now - self._opened_at >= self.spec.timeouts.uptime:
            self._retries = 0
        self._dropped_ms = 0.0
        self.do(ReleaseSocket(goodbye))
        self._connected = False
        self.queue.connection_lost()
        self._lost_at, self._lost_reason = self.now, reason
        for timer in ("ping", "pong", "recycle"):
            self.do(Disarm(timer))
        self._become("dropped")
        for other in OTHERS:
            self.tell(other, m.ConnectionLost(reason))

    def _failed(self, error: APIError, fatal: bool) -> None:
        """Try again, or give up."""
        if fatal or self._retries >= self.spec.conn_options.max_retry:
            self._collapse(error)
            return
        self._emit_error(error, recoverable=True)
        delay = (
            self.spec.timeouts.first_retry
            if self._retries == 0
            else self.spec.conn_options.retry_interval * self._jitter()
        )
        self._retries += 1
        logger.warning(
            "%s; trying again in %.1f s (%d of %d)",
            error,
            delay,
            self._retries,
            self.spec.conn_options.max_retry,
        )
        self.do(Arm("retry", delay))

    def _collapse(self, error: APIError) -> None:
        """End the session for a reason that no attempt can mend."""
        self._end_reason = error.message
        self._emit_error(error, recoverable=False)
        self._settle_everything(error.message)
        self._finish()

    # -- recycling -----------------------------------------------------------------------------------

    @handles(m.Restart)
    def restart(self, message: m.Restart) -> None:
        """Replace the connection once the active generation is done."""
        if self._connected and self._planned is None and not self._closing:
            self._planned = message.reason
            self.tell(m.GENERATION, m.RecycleWanted())

    @handles(m.RecycleReady)
    def recycle_ready(self, _: m.RecycleReady) -> None:
        """Nothing is under way: replace the connection now."""
        if self._connected and self._planned is not None and not self._closing:
            planned = self._planned
            self._disconnect(planned, goodbye=1000)
            self._dial_anew(planned)

    # -- closing -------------------------------------------------------------------------------------

    @handles(m.Close)
    def close(self, message: m.Close) -> None:
        """Send what is queued, say goodbye, and wait for the server's as long as the caller allows."""
        if self._closing or self.state == "closed":
            return
        self._closing = True
        self._settle_everything("session closed")
        if not self._connected:
            self._finish()
            return
        self.do(Arm("close", message.timeout))
        self.do(Flush())
        self._say_goodbye_when_all_is_said()

    def _settle_everything(self, reason: str) -> None:
        for other in OTHERS:
            self.tell(other, m.SessionClosing(reason))

    def _finish(self) -> None:
        self._closing = True
        self._connected = False
        for timer in ("handshake", "retry", "ping", "pong", "recycle", "close"):
            self.do(Disarm(timer))
        self.do(ReleaseSocket())
        self.queue.clear()
        self._become("ended")
        self.tell(m.SUPERVISOR, m.SessionEnded())

    # -- timers --------------------------------------------------------------------------------------

    @handles(TimerFired)
    def timer_fired(self, message: TimerFired) -> None:
        """One row per timer."""
        {
            "handshake": self._handshake_overdue,
            "retry": self._dial,
            "ping": self._ping,
            "pong": self._pong_due,
            "recycle": lambda: self.restart(m.Restart("max_session_duration")),
            "close": self._finish,
        }[str(message.key)]()

    def _handshake_overdue(self) -> None:
        self.do(ReleaseSocket())
        # What the attempt may still bring is an old one's.
        self.attempt += 1
        seconds = self.spec.conn_options.timeout
        self._failed(
            APIConnectionError(f"{self.spec.provider} did not answer the handshake within {seconds:g} s"),
            fatal=False,
        )

    def _ping(self) -> None:
        self.do(SendPing())
        if not self._pong_awaited:
            self._pong_awaited = True
            self._pinged_at = self.now
            self.do(Arm("pong", self.spec.timeouts.ping_timeout))
        self.do(Arm("ping", self.spec.timeouts.ping_interval))

    def _pong_due(self) -> None:
        self._pong_awaited = False
        if self._heard_at >= self._pinged_at:
            return
        if self._closing:
            self._finish()
        else:
            self._dropped(f"no answer to a ping within {self.spec.timeouts.ping_timeout:g} s")

    # -- what arrives ---------------------------------------------------------------------------------

    @handles(m.FrameReceived, undo=False)
    def frame_received(self, message: m.FrameReceived) -> None:
        """Decode a frame and pass it to those who care."""
        if not self._is_current(message.attempt):
            return
        self._heard_at = self.now
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
            self._skip(message.kind, f"a {message.kind} message")

    @handles(m.PeerHeard, undo=False)
    def peer_heard(self, message: m.PeerHeard) -> None:
        """The peer lives."""
        if self._is_current(message.attempt):
            self._heard_at = self.now

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

    @handles(p.ErrorEvent)
    def error_event(self, event: p.ErrorEvent) -> None:
        """Sort errors: fatal, harmless, or somebody's whose event id it names."""
        error = event.error
        codes = {error.code, error.type}
        if codes & FATAL_CODES:
            self._collapse(server_error(self.spec.label, error, retryable=False))
            return
        if "session_expired" in codes:
            self.restart(m.Restart(EXPIRED))
            return
        if "input_audio_buffer_commit_empty" in codes and self.options.turn_detection is not None:
            # Server VAD had committed it already.
            return
        # The mirror passes on what is none of its business; the generation reports what is nobody's.
        self.tell(m.CHAT_CTX, event)

    # -- what goes out ---------------------------------------------------------------------------------

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

    @handles(m.AudioChunk, undo=False)
    def transmit_audio(self, chunk: m.AudioChunk) -> None:
        """Send audio, or keep it while there is no connection."""
        dropped = self.queue.push(chunk)
        if dropped:
            self._dropped_ms += dropped
            self._unreported_drop_ms += dropped
            if self._unreported_drop_ms >= AUDIO_REPORT_MS:
                self._report_dropped_audio()
        if self.state == "open":
            self.do(Flush())

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
            self._written(written)
        self.do(Flush())
        self._say_goodbye_when_all_is_said()

    @handles(m.FramesWritten, undo=False)
    def frames_written(self, message: m.FramesWritten) -> None:
        """Tell those who keep account of what the server was told."""
        for entry in message.entries:
            self._written(entry)
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
            self.tell(m.AUDIO_IN, m.AudioWritten(entry))
        elif isinstance(entry, ITEM_EVENTS):
            self.tell(m.CHAT_CTX, m.ItemEventWritten(entry))
        elif isinstance(entry, p.InputAudioBufferCommit):
            self.tell(m.AUDIO_IN, m.CommitWritten())
        elif isinstance(entry, p.InputAudioBufferClear):
            self.tell(m.AUDIO_IN, m.ClearWritten())
        elif isinstance(entry, p.ResponseCreate) and isinstance(entry.event_id, str):
            self.tell(m.GENERATION, m.ReplyWritten(entry.event_id))

    # -- configuration --------------------------------------------------------------------------------

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

    # -- small things ------------------------------------------------------------------------------------

    def _is_current(self, attempt: int) -> bool:
        return self._connected and attempt == self.attempt

    def _become(self, event: str) -> None:
        new = TRANSITIONS.get((self.state, event))
        if new is None:
            return
        old, self.state = self.state, new
        self.do(ReportState(new, self._end_reason))
        self.emit("state_changed", StateChanged(old=old, new=new))

    def _emit_error(self, error: Exception, recoverable: bool) -> None:
        self.emit("error", model_error(self.spec.label, error, recoverable))

    def _report_dropped_audio(self) -> None:
        self.emit("audio_dropped", AudioDropped(duration_ms=self._unreported_drop_ms))
        self._unreported_drop_ms = 0.0

    def _connection_metrics(self, seconds: float) -> RealtimeModelMetrics:
        return RealtimeModelMetrics(
            timestamp=time.time(),
            request_id="",
            ttft=-1.0,
            duration=0.0,
            cancelled=False,
            label=self.spec.label,
            metadata=MetricsMetadata(model_name=self.spec.model_name, model_provider=self.spec.provider),
            acquire_time=seconds,
        )
