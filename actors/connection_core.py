"""The life of a session's connection: connect, replay, liveness, recycle, close. Decisions only, no sockets."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import antiphon.protocol as p
from antiphon.actors import messages as m
from antiphon.actors.config import SessionOptions, SessionSpec
from antiphon.actors.core import Arm, Disarm, TimerFired, handles
from antiphon.actors.emitter import CONNECTED, DISCONNECTED
from antiphon.actors.errors import APIConnectionError, APIError
from antiphon.actors.events import (
    MetricsMetadata,
    RealtimeModelMetrics,
    RealtimeSessionReconnectedEvent,
    StateChanged,
)
from antiphon.actors.failures import FATAL_CODES, model_error, server_error
from antiphon.actors.logs import get_logger
from antiphon.actors.socket_effects import (
    AdoptSocket,
    Flush,
    OpenSocket,
    RejectSocket,
    ReleaseSocket,
    ReportState,
    SendPing,
    State,
)
from antiphon.actors.traffic import Traffic
from antiphon.actors.websocket import POLICY_VIOLATION

logger = get_logger("antiphon.connection")

# The lifecycle: what may follow what. `closing` is within a state: the user sees closed when it is done.
TRANSITIONS: dict[tuple[State, str], State] = {
    ("connecting", "opened"): "open",
    ("connecting", "ended"): "closed",
    ("open", "dropped"): "reconnecting",
    ("open", "ended"): "closed",
    ("reconnecting", "opened"): "open",
    ("reconnecting", "ended"): "closed",
}


EXPIRED = "session_expired"

OTHERS = (m.CHAT_CTX, m.GENERATION, m.AUDIO_IN)

# What leads from one state to the next, in any of the actors.
STEPS = (
    m.Start,
    m.SocketConnected,
    m.SocketRefused,
    m.SocketDrained,
    m.SocketLost,
    m.CloseReceived,
    m.ConnectionOpened,
    m.ConnectionLost,
    m.ReplayWanted,
    m.ReplayItems,
    m.ReplayAudio,
)


class ConnectionCore(Traffic):
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
        super().__init__(spec, options, wants)
        self._jitter = jitter
        self._ever_open = False
        self._opened_at = 0.0
        self._pinged_at = 0.0
        self._pong_awaited = False
        self._retries = 0
        self._key_refetched = False
        self._lost_at = 0.0
        self._lost_reason = ""
        self._planned: str | None = None
        self._end_reason = "session closed"

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
        if message.attempt != self.attempt:
            # It comes too late: the attempt was given up.
            self.do(RejectSocket(message.transport))
            return
        self.do(Disarm("handshake"))
        self.do(AdoptSocket(message.transport))
        self._connected = True
        self._opened_at = self._heard_at = self.now
        self._server_spoke = self._key_refetched = False
        self._planned = None
        self._pong_awaited = False
        self.emit(CONNECTED, (self.attempt, message.seconds))
        self.emit("metrics_collected", self._connection_metrics(message.seconds))
        if not self._ever_open and self._opening is not None:
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
        self._count_dropped(message.lost_ms)
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
                items_lost=message.lost,
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
        self._dropped(reason, fatal=message.code == POLICY_VIOLATION, code=message.code)

    @handles(m.SocketLost)
    def socket_lost(self, message: m.SocketLost) -> None:
        """The socket ended."""
        if not self._is_current(message.attempt):
            return
        if self._closing:
            self._finish()
        else:
            self._dropped(message.reason)

    def _dropped(self, reason: str, fatal: bool = False, code: int | None = None) -> None:
        """An open connection is gone."""
        planned = self._planned
        self.emit(DISCONNECTED, (self.attempt, reason, code, False))
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
        logger.error("%s; the session is over", error)
        self._emit_error(error, recoverable=False)
        self._settle_everything(error.message)
        self._finish()

    @handles(m.MessageLost)
    def message_lost(self, message: m.MessageLost) -> None:
        """An actor failed at a message: begin anew where without it the connection would never open or end."""
        lost = message.message
        if isinstance(lost, m.SocketConnected):
            self.do(RejectSocket(lost.transport))
        if isinstance(lost, m.FramesWritten) and len(lost.entries) > 1:
            # One of them is at fault: each gets a message of its own.
            for entry in lost.entries:
                self.tell(m.CONNECTION, m.FramesWritten([entry]))
        elif isinstance(lost, m.RecycleWanted | m.RecycleReady):
            self._planned = None
            self.do(Arm("recycle", self.spec.timeouts.first_retry))
        elif isinstance(lost, m.Close):
            self._settle_everything("session closed")
            self._finish()
        elif isinstance(lost, STEPS) or (isinstance(lost, m.FramesWritten) and self._opening in lost.entries):
            self._begin_anew(f"an actor failed at {type(lost).__name__}")

    def _begin_anew(self, reason: str) -> None:
        if self.state == "closed":
            return
        if self._closing:
            self._finish()
            return
        # What this attempt may still bring is an old one's.
        self.attempt += 1
        self._opening = None
        self.do(Disarm("handshake"))
        self._disconnect(reason)
        self._failed(APIConnectionError(f"{self.spec.label}: {reason}"), fatal=False)

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
            self.emit(DISCONNECTED, (self.attempt, planned, None, True))
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

    @handles(m.SessionClosing, undo=False)
    def session_closing(self, _: m.SessionClosing) -> None:
        """Nothing to do: the session ends here first."""

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

    # -- configuration --------------------------------------------------------------------------------

    # -- small things ------------------------------------------------------------------------------------

    def _become(self, event: str) -> None:
        new = TRANSITIONS.get((self.state, event))
        if new is None:
            return
        old, self.state = self.state, new
        self.do(ReportState(new, self._end_reason))
        self.emit("state_changed", StateChanged(old=old, new=new))

    def _emit_error(self, error: Exception, recoverable: bool) -> None:
        self.emit("error", model_error(self.spec.label, error, recoverable))

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
