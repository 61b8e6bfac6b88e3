"""What a session and the engine can say of themselves: counts, what waits where, and how long things take."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from antiphon.actors.emitter import CONNECTED, CUT, TRUNCATED
from antiphon.actors.events import ActorRestarted, AudioDropped, RealtimeModelMetrics

if TYPE_CHECKING:
    from antiphon.actors.connection_core import ConnectionCore
    from antiphon.actors.core import Core
    from antiphon.actors.emitter import Emitter
    from antiphon.actors.generation_core import GenerationCore
    from antiphon.actors.playback import Cut, Playback
    from antiphon.actors.strand import Strand

# Percentiles are of so many latest values.
WINDOW = 500


class Percentiles(msgspec.Struct, frozen=True, kw_only=True):
    """How long something takes, in seconds: of the latest 500 times, by nearest rank. All 0 before the first.

    Attributes:
        count: How often it has happened in all.
        p50: Half of the times it took no longer.
        p95: 95 of 100 times it took no longer.
        p99: 99 of 100 times it took no longer.
        max: The longest.
    """

    count: int = 0
    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    max: float = 0.0


class SessionStats(msgspec.Struct, frozen=True, kw_only=True):
    """What a session says of itself, from its beginning to now.

    The figures are read one by one while the session runs, so that reading costs it nothing: they may be a message
    apart from each other.

    Attributes:
        session_id: The session.
        state: connecting, open, reconnecting or closed.
        connections: Handshakes that succeeded.
        reconnects: How often the conversation was restored on a new connection.
        frames_in: Messages that came from the server.
        frames_out: Messages that were written to it.
        bytes_in: Bytes of those that came, as text, without the WebSocket's own.
        bytes_out: Bytes of those that were written.
        skipped: Frames that were left out, by kind: "binary", "oversized", "unreadable:…".
        ignored: Events of responses that are not known, and audio that could not be read.
        unhandled: Messages between actors that nobody expected; always 0, or it is a bug.
        responses: Responses that began.
        interruptions: How often playback was cut with something left to be heard.
        errors: `error` events.
        restarts: How often each actor failed and was started again.
        refused: Calls and messages that were refused because a mailbox was full or its actor gone.
        events_dropped: Events that fell out of full `events()` iterators.
        audio_dropped_ms: Milliseconds of input audio that were lost.
        mail_waiting: Messages that wait for each actor.
        frames_waiting: Messages that wait to be written.
        audio_waiting_ms: Milliseconds of input audio among them.
        callbacks_waiting: Calls of callbacks that wait for those before them.
        tools_running: Tools that the engine runs at this moment.
        tools_waiting: Tool calls that wait until fewer run.
        playback_ms: Milliseconds of the model's speech that the player has yet to take.
        playback_underruns: Blocks that the player got with a gap in the middle of an item.
        handshake: From dialling to the connection.
        time_to_first_audio: From a response's beginning to its first sound, or its first text in a text session.
        tool_duration: From a tool's beginning to its result.
        barge_in: From the cut of playback to the truncation's having been written.
    """

    session_id: str
    state: str
    connections: int
    reconnects: int
    frames_in: int
    frames_out: int
    bytes_in: int
    bytes_out: int
    skipped: dict[str, int]
    ignored: int
    unhandled: int
    responses: int
    interruptions: int
    errors: int
    restarts: dict[str, int]
    refused: int
    events_dropped: int
    audio_dropped_ms: float
    mail_waiting: dict[str, int]
    frames_waiting: int
    audio_waiting_ms: float
    callbacks_waiting: int
    tools_running: int
    tools_waiting: int
    playback_ms: float
    playback_underruns: int
    handshake: Percentiles
    time_to_first_audio: Percentiles
    tool_duration: Percentiles
    barge_in: Percentiles


class EngineStats(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine says of itself at this moment; like `SessionStats`, read while it runs.

    Attributes:
        sessions: Sessions that live.
        sessions_begun: Sessions that were ever begun.
        threads: Threads by kind: "io", "worker", "user", "tool", "dial".
        strands_waiting: Sessions that have something to do and wait for a worker.
        callbacks_waiting: Sessions with callbacks to make that wait for a user thread.
        tools_waiting: Tools that wait for a tool thread.
        handshakes_waiting: Handshakes that wait for a dial thread.
    """

    sessions: int
    sessions_begun: int
    threads: dict[str, int]
    strands_waiting: int
    callbacks_waiting: int
    tools_waiting: int
    handshakes_waiting: int


class Durations:
    """The latest durations of one kind. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latest: deque[float] = deque(maxlen=WINDOW)
        self._count = 0

    def add(self, seconds: float) -> None:
        """Take note of one."""
        with self._lock:
            self._count += 1
            self._latest.append(seconds)

    def percentiles(self) -> Percentiles:
        """What the latest ones come to."""
        with self._lock:
            count, latest = self._count, list(self._latest)
        if not latest:
            return Percentiles()
        latest.sort()
        p50, p95, p99 = (latest[math.ceil(len(latest) * share) - 1] for share in (0.5, 0.95, 0.99))
        return Percentiles(count=count, p50=p50, p95=p95, p99=p99, max=latest[-1])


class WireCounts:
    """Messages over all connections of a session; each direction has one writer, who adds once a batch."""

    __slots__ = ("bytes_in", "bytes_out", "frames_in", "frames_out")

    def __init__(self) -> None:
        self.frames_in = self.frames_out = self.bytes_in = self.bytes_out = 0


class SessionMeter:
    """Counts a session's events in passing, and reads what its parts count themselves.

    It is a tap on the events that come seldom; nothing of it is on the way of a frame.

    Args:
        now: Monotonic seconds.
        strand: The session's.
        emitter: The session's.
        playback: The session's.
        cores: All of its cores.
        connection: That of the connection.
        generation: That of the responses.

    Attributes:
        wire: What the connection's shell counts.
        refused: Messages that nobody took while the session lived.
    """

    def __init__(
        self,
        now: Callable[[], float],
        strand: Strand,
        emitter: Emitter,
        playback: Playback,
        cores: Iterable[Core],
        connection: ConnectionCore,
        generation: GenerationCore,
    ) -> None:
        self._now = now
        self._strand = strand
        self._emitter = emitter
        self._playback = playback
        self._cores = tuple(cores)
        self._connection = connection
        self._generation = generation
        self.wire = WireCounts()
        self.refused = 0
        self._connections = self._reconnects = self._responses = self._interruptions = self._errors = 0
        self._restarts: dict[str, int] = {}
        self._dropped_ms = 0.0
        self._handshakes, self._first_audio, self._tools, self._barge_ins = (Durations() for _ in range(4))
        # When each running tool began, and each item was cut whose truncation is not written yet.
        self._tool_began: dict[str, float] = {}
        self._cut_at: dict[str, float] = {}
        self._rows: dict[str, Callable[[Any], None]] = {
            CONNECTED: self._connected,
            CUT: self._cut,
            TRUNCATED: self._truncated,
            "metrics_collected": self._metrics,
            "generation_created": self._generation_created,
            "tool_started": self._tool_started,
            "tool_finished": self._tool_finished,
            "actor_restarted": self._actor_restarted,
            "session_reconnected": self._session_reconnected,
            "audio_dropped": self._audio_dropped,
            "error": self._error,
        }
        emitter.attach(self, self._rows)

    def put(self, name: str, payload: Any) -> None:
        """Count an event."""
        self._rows[name](payload)

    def close(self) -> None:
        """No more events will come; what was counted can still be read."""

    def read(self, session_id: str, state: str) -> SessionStats:
        """All figures."""
        wire, connection, generation = self.wire, self._connection, self._generation
        return SessionStats(
            session_id=session_id,
            state=state,
            connections=self._connections,
            reconnects=self._reconnects,
            frames_in=wire.frames_in,
            frames_out=wire.frames_out,
            bytes_in=wire.bytes_in,
            bytes_out=wire.bytes_out,
            skipped=dict(connection.skipped),
            ignored=generation.ignored,
            unhandled=sum(core.unhandled for core in self._cores),
            responses=self._responses,
            interruptions=self._interruptions,
            errors=self._errors,
            restarts=dict(self._restarts),
            refused=self.refused,
            events_dropped=self._emitter.dropped,
            audio_dropped_ms=self._dropped_ms + connection.unreported_drop_ms,
            mail_waiting=self._strand.waiting(),
            frames_waiting=len(connection.queue),
            audio_waiting_ms=connection.queue.audio_ms,
            callbacks_waiting=self._emitter.waiting,
            tools_running=len(self._tool_began),
            tools_waiting=generation.calls_waiting,
            playback_ms=self._playback.queued_ms,
            playback_underruns=self._playback.underruns,
            handshake=self._handshakes.percentiles(),
            time_to_first_audio=self._first_audio.percentiles(),
            tool_duration=self._tools.percentiles(),
            barge_in=self._barge_ins.percentiles(),
        )

    # -- one method per kind of event --------------------------------------------------------------------

    def _connected(self, payload: tuple[int, float]) -> None:
        self._connections += 1
        self._handshakes.add(payload[1])

    def _cut(self, payload: tuple[str, list[Cut]]) -> None:
        self._interruptions += 1
        now = self._now()
        # What was not heard at all is deleted, not truncated.
        self._cut_at = {cut.item_id: now for cut in payload[1] if cut.heard_ms}

    def _truncated(self, item_id: str) -> None:
        cut_at = self._cut_at.pop(item_id, None)
        if cut_at is not None:
            self._barge_ins.add(self._now() - cut_at)

    def _metrics(self, payload: Any) -> None:
        if isinstance(payload, RealtimeModelMetrics) and payload.request_id and payload.ttft >= 0:
            self._first_audio.add(payload.ttft)

    def _generation_created(self, _: Any) -> None:
        self._responses += 1

    def _tool_started(self, payload: Any) -> None:
        self._tool_began[payload.call_id] = self._now()

    def _tool_finished(self, payload: Any) -> None:
        began = self._tool_began.pop(payload.call_id, None)
        if began is not None:
            self._tools.add(self._now() - began)

    def _actor_restarted(self, payload: ActorRestarted) -> None:
        self._restarts[payload.actor] = self._restarts.get(payload.actor, 0) + 1

    def _session_reconnected(self, _: Any) -> None:
        self._reconnects += 1

    def _audio_dropped(self, payload: AudioDropped) -> None:
        self._dropped_ms += payload.duration_ms

    def _error(self, _: Any) -> None:
        self._errors += 1
