"""A session as the engine knows it: its strand, its actors, and the way in for the application."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from typing import Any, TypeVar

from antiphon.actors import messages as m
from antiphon.actors.audio import codec_for
from antiphon.actors.audio_gate import AudioGate
from antiphon.actors.audio_in import AudioInActor, AudioInCore
from antiphon.actors.chat import ChatContext
from antiphon.actors.chat_ctx import ChatCtxActor
from antiphon.actors.chat_ctx_core import ChatCtxCore
from antiphon.actors.config import SessionOptions, SessionSpec
from antiphon.actors.connection import ConnectionActor
from antiphon.actors.connection_core import ConnectionCore
from antiphon.actors.core import settle
from antiphon.actors.emitter import Emitter
from antiphon.actors.errors import RealtimeError
from antiphon.actors.events import EVENT_NAMES, StateChanged
from antiphon.actors.failures import model_error
from antiphon.actors.forking import LEFT_BEHIND, abandon_in_child
from antiphon.actors.generation_core import GenerationCore
from antiphon.actors.generations import GenerationActor
from antiphon.actors.ids import new_id
from antiphon.actors.logs import Origin
from antiphon.actors.playback import Playback
from antiphon.actors.runtime import Runtime, forbid_blocking
from antiphon.actors.socket_effects import State
from antiphon.actors.stats import SessionMeter, SessionStats
from antiphon.actors.strand import Strand
from antiphon.actors.streams import SessionFuture
from antiphon.actors.supervisor import ChildSpec, Supervisor

# Beyond the time that a polite close is given, so that its outcome can still arrive.
CLOSE_GRACE = 0.5

T = TypeVar("T")


class ActorSession:
    """Wires one session's actors together. Thread-safe.

    Args:
        runtime: Services.
        spec: What the session is made with.
        options: What the server is told at first.
    """

    def __init__(self, runtime: Runtime, spec: SessionSpec, options: SessionOptions) -> None:
        self.id = new_id("sess_")
        self.spec = spec
        self.strand = Strand(runtime, f"session {self.id}")
        self.strand.joins[m.PushAudio] = m.PushAudio.joined
        self.strand.origin = Origin(self.id)
        self.emitter = Emitter(runtime, EVENT_NAMES, self.strand.origin)
        self.audio = AudioGate(self.strand, spec.input_chunk_ms, options.input_audio_format)
        self.playback = Playback(codec_for(options.output_audio_format).rate)
        self._runtime = runtime
        self._final: Future[ChatContext] = Future()
        self._changed = threading.Condition()
        self._state: State = "connecting"
        self._end_reason = ""
        self._started = False
        self._ended = False
        self.strand.on_dead_letter = self._dead_letter
        # The first letter of all: what the application asks for before `start` comes behind it.
        self.strand.tell(m.CONNECTION, m.Start())
        self._build(options)
        abandon_in_child(self)

    def _build(self, options: SessionOptions) -> None:
        spec, strand, emitter = self.spec, self.strand, self.emitter
        chat_ctx = ChatCtxCore(spec, options, self._final)
        playback = self.playback
        generation = GenerationCore(spec, options, playback, self.make_future, self._cancel_response)
        audio_in = AudioInCore(spec, options)
        connection = ConnectionCore(spec, options, emitter.wants)
        cores = (chat_ctx, generation, audio_in, connection)
        meter = SessionMeter(self._runtime.now, strand, emitter, playback, cores, connection, generation)
        self._meter = meter
        self._children = [
            ChildSpec(m.CHAT_CTX, lambda: ChatCtxActor.start(strand, chat_ctx, emitter)),
            ChildSpec(m.GENERATION, lambda: GenerationActor.start(strand, generation, emitter, playback)),
            ChildSpec(m.AUDIO_IN, lambda: AudioInActor.start(strand, audio_in, emitter)),
            ChildSpec(
                m.CONNECTION,
                lambda: ConnectionActor.start(strand, connection, emitter, self._state_changed, meter.wire),
            ),
        ]

    # -- life -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to connect; returns at once. Calling it again does nothing.

        Raises:
            RealtimeError: The engine was closed.
        """
        with self._changed:
            if self._started or self._ended:
                return
            self._runtime.acquire(self, self.close_soon)
            self._started = True
        Supervisor.start(
            self.strand,
            self._children,
            self.spec.supervision,
            self.emitter,
            self._lost,
            self._collapsed,
            self._over,
        )
        self.strand.resume()

    def close(self, timeout: float) -> bool:
        """End the session; returns when it has ended, or soon after `timeout` seconds.

        Returns:
            Whether it has ended.

        Raises:
            RealtimeError: Called on an engine thread.
        """
        with self._changed:
            if self._ended:
                return True
            never_started = not self._started
            self._started = True
        if never_started:
            self._over(release=False)
            return True
        forbid_blocking("close")
        self.strand.tell(m.CONNECTION, m.Close(timeout))
        with self._changed:
            if self._changed.wait_for(lambda: self._ended, timeout + CLOSE_GRACE):
                return True
        # The session is too busy to get there: end it before all that waits.
        self.strand.tell_urgently(m.SUPERVISOR, m.SessionEnded())
        with self._changed:
            return self._changed.wait_for(lambda: self._ended, CLOSE_GRACE)

    def close_soon(self, timeout: float) -> None:
        """End the session without waiting for it; for the garbage collector's thread."""
        with self._changed:
            if self._ended:
                return
            started = self._started
        if started:
            self.strand.tell(m.CONNECTION, m.Close(timeout))
        else:
            self.close(timeout)

    def abandon(self) -> None:
        """Be closed in a child that was forked; the conversation goes on in the parent."""
        self._changed = threading.Condition()
        self.strand.abandon()
        self.audio.abandon()
        self.emitter.abandon()
        self._started = self._ended = True
        self._state, self._end_reason = "closed", LEFT_BEHIND
        self._final = Future()
        self._final.set_result(ChatContext.empty())

    @property
    def ended(self) -> bool:
        """Whether the session is over."""
        return self._ended

    @property
    def state(self) -> State:
        """connecting, open, reconnecting or closed."""
        return self._state

    def stats(self) -> SessionStats:
        """What there is to count and to measure; works at any time, also after the end."""
        return self._meter.read(self.id, self._state)

    def wait_open(self, timeout: float) -> None:
        """Wait until the connection is open.

        Raises:
            TimeoutError: It isn't open after `timeout` seconds.
            RealtimeError: The session is over, or this is an engine thread.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            if self._state != "open":
                forbid_blocking("wait_open")
            settled = self._changed.wait_for(
                lambda: self._state in ("open", "closed"), max(0.0, deadline - time.monotonic())
            )
            if self._state == "closed":
                raise RealtimeError(self._end_reason)
            if not settled:
                raise TimeoutError(f"the session is not open after {timeout:g} s (state: {self._state})")

    # -- asking ---------------------------------------------------------------------------------------

    def tell(self, actor: str, message: m.Message) -> None:
        """Send a message; after the end it is refused quietly, and its future, if any, fails."""
        self.strand.tell(actor, message)

    def make_future(self) -> SessionFuture[Any]:
        """A future whose done-callbacks run where this session's callbacks run."""
        return SessionFuture(self.emitter.run)

    def chat_ctx(self, timeout: float) -> ChatContext:
        """A copy of the mirror, with all that was called before taken into account.

        Raises:
            RealtimeError: Called on an engine thread, or the engine doesn't answer.
        """
        if not self._started:
            return ChatContext.empty()
        if not self._ended:
            future: Future[ChatContext] = Future()
            self.tell(m.CHAT_CTX, m.ReadChatCtx(future))
            try:
                return self._wait(future, timeout, "chat_ctx")
            except RealtimeError:
                if not self.ended:
                    raise
        return self._final.result(timeout).copy()

    def has_active_generation(self, timeout: float) -> bool:
        """Whether any response is asked for or under way."""
        if not self._started or self._ended:
            return False
        future: Future[bool] = Future()
        self.tell(m.GENERATION, m.ReadActivity(future))
        try:
            return self._wait(future, timeout, "has_active_generation")
        except RealtimeError:
            if self.ended:
                return False
            raise

    def _wait(self, future: Future[T], timeout: float, what: str) -> T:
        forbid_blocking(what)
        try:
            return future.result(timeout)
        except TimeoutError:
            raise RealtimeError(f"{what}: the engine did not answer within {timeout:g} s") from None

    # -- what the actors report ------------------------------------------------------------------------

    def _cancel_response(self, response_id: str) -> None:
        self.tell(m.GENERATION, m.CancelResponse(response_id))

    def _state_changed(self, state: State, reason: str) -> None:
        with self._changed:
            self._state = state
            self._end_reason = reason
            self._changed.notify_all()

    def _end(self, reason: str) -> None:
        """The session ends without the connection having said so."""
        old = self._state
        if old != "closed":
            self._state_changed("closed", reason)
            self.emitter.emit("state_changed", StateChanged(old=old, new="closed"))

    def _lost(self, message: Any) -> None:
        """An actor failed at a message: whoever waits for its outcome is told."""
        _refuse(message, "the call was lost: the actor that handled it failed; the session goes on")
        if not isinstance(message, m.MessageLost):
            for actor in (m.CONNECTION, m.GENERATION):
                self.strand.tell(actor, m.MessageLost(message))

    def _collapsed(self, error: Exception) -> None:
        """An actor failed too often: end without the actors' help."""
        reason = f"session closed: an actor failed too often ({type(error).__name__}: {error})"
        wrapped = RealtimeError(reason)
        self.emitter.emit("error", model_error(self.spec.label, wrapped, recoverable=False))
        for actor in (m.GENERATION, m.CHAT_CTX, m.AUDIO_IN):
            self.strand.tell(actor, m.SessionClosing(reason))
        self._end(reason)
        self.strand.tell(m.SUPERVISOR, m.SessionEnded())

    def _over(self, release: bool = True) -> None:
        """The actors are stopped: refuse what comes, end the event streams, let the engine go."""
        self._end("session closed")
        self.strand.close()
        self.emitter.close()
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        if not self._final.done():
            self._final.set_result(ChatContext.empty())
        if release:
            self._runtime.release(self)

    def _dead_letter(self, message: Any) -> None:
        """A message that nobody will handle: after the end, or over a mailbox's limit."""
        if isinstance(message, m.SocketConnected):
            message.transport.abort()
        if self._state != "closed":
            self._meter.refused += 1
        refused = "the call was refused: the session has too much to do, or the actor for it has failed"
        _refuse(message, self._end_reason if self._state == "closed" else refused)


def _refuse(message: Any, reason: str) -> None:
    future = getattr(message, "future", None)
    if isinstance(future, Future) and not future.done():
        settle(future, RealtimeError(reason))
