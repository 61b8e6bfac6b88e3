"""`Recorder`: writes down what a session hears, says and does."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from antiphon.actors.audio import codec_for
from antiphon.actors.config import SessionOptions
from antiphon.actors.emitter import CONNECTED, DISCONNECTED, FRAME_RECEIVED, FRAME_SENT, Emitter
from antiphon.actors.errors import RealtimeError
from antiphon.actors.logs import Origin, about, get_logger
from antiphon.actors.playback import Playback
from antiphon.actors.runtime import forbid_blocking
from antiphon.actors.session import ActorSession
from antiphon.recording.files import RecordingFiles, track_path
from antiphon.recording.format import End, Header, Lost, Track, TrackName
from antiphon.recording.notes import CUT, HEARD, MARKED, Note, NoteTaker
from antiphon.recording.redact import Redactor
from antiphon.recording.writer import shared_writer
from antiphon.version import VERSION

logger = get_logger("antiphon.recording")

# What may wait for a slow disk.
NOTE_LIMIT = 20_000
BYTE_LIMIT = 64 * 1024 * 1024
STOP_SECONDS = 5.0

# What a session tells its user and no frame shows, and the frames themselves.
EVENTS = (
    FRAME_RECEIVED,
    FRAME_SENT,
    CONNECTED,
    DISCONNECTED,
    "state_changed",
    "session_reconnected",
    "error",
    "actor_restarted",
    "audio_dropped",
    "tool_started",
    "tool_finished",
    "metrics_collected",
    "generation_created",
    "mcp_call",
)


def record(path: Path, session: ActorSession, options: SessionOptions, secrets: Iterable[str]) -> Recorder:
    """Begin to record a session. For `RealtimeSession.record`, which says more."""
    if session.ended:
        raise RealtimeError("the session is over; there is nothing to record")
    encodings: dict[TrackName, str] = {"in": options.input_audio_format, "out": options.output_audio_format}
    spec = session.spec
    header = Header(
        t=0.0,
        wall=time.time(),
        session=session.id,
        label=spec.label,
        model=spec.model_name,
        provider=spec.provider,
        state=session.state,
        antiphon=VERSION,
        tracks={
            name: Track(file=track_path(path, name).name, encoding=encoding, rate=codec_for(encoding).rate)
            for name, encoding in encodings.items()
        },
    )
    recorder = Recorder(
        path, header, session.emitter, session.playback, Redactor(secrets), session.strand.origin
    )
    recorder.start()
    return recorder


class Recorder:
    """A recording that is being made. Made by `RealtimeSession.record`; a context manager that stops it.

    It ends with the session. The engine's threads and the audio callback only note what passes, by appending to a
    deque; one thread of the process writes, five times a second. When the disk can't follow, notes are left out and
    counted; when it fails, that is logged and the recording ends, not the session. Thread-safe.

    Args:
        path: The file of the lines; neither it nor the tracks beside it may exist.
        header: Its first line.
        emitter: Of the session.
        playback: Of the session.
        redactor: Takes secrets out.
        origin: What the records are attributed to that it logs.

    Raises:
        FileExistsError: A file of this name exists.
        OSError: The files can't be made.

    Attributes:
        path: The file of the lines.
    """

    def __init__(
        self,
        path: Path,
        header: Header,
        emitter: Emitter,
        playback: Playback,
        redactor: Redactor,
        origin: Origin,
    ) -> None:
        self._origin = origin
        began_at = time.monotonic()
        self.path = path
        self._emitter = emitter
        self._playback = playback
        self._files = RecordingFiles(
            path, {name: track.encoding for name, track in header.tracks.items()}, redactor
        )
        self._files.add_line(header)
        self._files.flush(began_at)
        self._taker = NoteTaker(self._files, redactor, began_at)
        self._began_at = began_at
        self._notes: deque[Note] = deque()
        # Written by the session's strand only, and by the writer's thread only.
        self._bytes_noted = 0
        self._bytes_written = 0
        self._lost = 0
        self._lost_lock = threading.Lock()
        self._end_reason: str | None = None
        self._done = threading.Event()

    @property
    def recording(self) -> bool:
        """Whether it still records."""
        return not self._done.is_set()

    def start(self) -> None:
        """Listen to the session. For `RealtimeSession.record`."""
        self._playback.tap = self
        self._emitter.attach(self, EVENTS)
        shared_writer().add(self)

    def stop(self, timeout: float = STOP_SECONDS) -> bool:
        """End the recording; returns when its files are complete. Harmless after its end.

        Args:
            timeout: Seconds to wait for the disk.

        Returns:
            Whether the files are complete.

        Raises:
            RealtimeError: Called on an engine thread.
        """
        self._end("recording stopped")
        return self.join(timeout)

    def join(self, timeout: float) -> bool:
        """Wait until the recording has ended; False after `timeout` seconds.

        Raises:
            RealtimeError: Called on an engine thread.
        """
        if not self._done.is_set():
            forbid_blocking("waiting for a recording")
        return self._done.wait(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- taps: on the session's strand and on the player's thread -------------------------------------------

    def put(self, name: str, payload: Any) -> None:
        """Note an event or a frame."""
        if name is FRAME_RECEIVED or name is FRAME_SENT:
            size = len(payload[1])
            if self._bytes_noted - self._bytes_written + size > BYTE_LIMIT:
                self._lose()
                return
            self._bytes_noted += size
        self._note(name, payload)

    def close(self) -> None:
        """The session is over."""
        self._end("session closed")

    def heard(self, item_id: str, start_ms: float, end_ms: float) -> None:
        """Note what the player took."""
        self._note(HEARD, (item_id, start_ms, end_ms))

    def marked(self, item_id: str, start_ms: float, end_ms: float) -> None:
        """Note what a remote player said that it played."""
        self._note(MARKED, (item_id, start_ms, end_ms))

    def cut(self, item_id: str, heard_ms: int) -> None:
        """Note that playback was cut."""
        self._note(CUT, (item_id, heard_ms))

    def _note(self, what: str, payload: Any) -> None:
        if len(self._notes) >= NOTE_LIMIT:
            self._lose()
            return
        self._notes.append(Note(time.monotonic(), time.time(), what, payload))

    def _lose(self) -> None:
        with self._lost_lock:
            self._lost += 1

    def _end(self, reason: str) -> None:
        if self._end_reason is None:
            self._end_reason = reason
            self._emitter.detach(self)
            if self._playback.tap is self:
                self._playback.tap = None
            shared_writer().wake()

    # -- on the writer's thread ------------------------------------------------------------------------------

    def write(self) -> bool:
        """Write what was noted; returns whether more is to come. For the writer's thread."""
        with about(self._origin):
            try:
                return self._write()
            except OSError as error:
                logger.error("recording %s ends: %s", self.path, error)
            except Exception:
                logger.exception("recording %s ends", self.path)
        self._end("recording failed")
        try:
            self._files.close()
        except OSError:
            pass  # the disk that is full, or gone
        self._done.set()
        return False

    def _write(self) -> bool:
        # Read first: what was noted before the end is written then.
        reason = self._end_reason
        for _ in range(len(self._notes)):
            note = self._notes.popleft()
            self._taker.take(note)
            if note.what is FRAME_RECEIVED or note.what is FRAME_SENT:
                self._bytes_written += len(note.payload[1])
        now = time.monotonic()
        if self._lost:
            self._write_lost(now)
        self._taker.end_stretch(None if reason else now)
        if reason is None:
            self._files.flush(now)
            return True
        self._files.add_line(End(t=round(now - self._began_at, 6), wall=time.time(), reason=reason))
        self._files.flush(now)
        self._files.close()
        self._done.set()
        return False

    def _write_lost(self, now: float) -> None:
        with self._lost_lock:
            lost, self._lost = self._lost, 0
        logger.warning("recording %s: the disk is too slow, %d lines are missing", self.path, lost)
        self._files.add_line(Lost(t=round(now - self._began_at, 6), wall=time.time(), lines=lost))
