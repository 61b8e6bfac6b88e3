"""`instrument`: has sessions watched."""

from __future__ import annotations

import threading
import time
import urllib.parse
import weakref
from typing import TYPE_CHECKING, Any

try:
    from opentelemetry import metrics, trace
except ImportError as error:
    raise ImportError("antiphon.telemetry needs the extra `otel`: pip install 'antiphon[otel]'") from error

from antiphon.actors.emitter import FRAME_RECEIVED, Emitter
from antiphon.model import RealtimeModel
from antiphon.session import RealtimeSession
from antiphon.telemetry import names
from antiphon.telemetry.instruments import Instruments
from antiphon.telemetry.spans import SessionSpans
from antiphon.version import VERSION

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from antiphon.actors.config import SessionSpec

# In the first bytes of the frames that hold what was said, where their type stands.
_SAID, _HEAD = (b"_transcript.done", b"_text.done"), 160

_lock = threading.Lock()
_watched: weakref.WeakSet[RealtimeSession] = weakref.WeakSet()


def instrument(
    target: RealtimeModel | RealtimeSession,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    *,
    capture_content: bool = False,
) -> None:
    """Make spans and metrics of a session, or of a model's sessions, those that live and those to come.

    To have a session from its first connection on, instrument its model, or begin it with
    `model.session(start=False)`. A session that is watched already is not watched twice. Thread-safe.

    Args:
        target: The session, or the model.
        tracer_provider: Where spans go; None for the global provider.
        meter_provider: Where metrics go; None for the global provider.
        capture_content: Put what user and model say, and what goes into tools and comes out, into the spans, as
            `gen_ai.input.messages`, `gen_ai.output.messages`, `gen_ai.tool.call.arguments` and
            `gen_ai.tool.call.result`.

    Raises:
        TypeError: `target` is neither.
    """
    if not isinstance(target, RealtimeModel | RealtimeSession):
        raise TypeError(f"instrument takes a RealtimeModel or a RealtimeSession, not {type(target).__name__}")
    tracer = trace.get_tracer("antiphon", VERSION, tracer_provider)
    meter = metrics.get_meter("antiphon", VERSION, meter_provider)
    instruments = Instruments(meter)

    def watch(session: RealtimeSession) -> None:
        with _lock:
            if session in _watched:
                return
            _watched.add(session)
        actors = session._actors
        output = "speech" if session._options.audio_output else "text"
        spans = SessionSpans(
            tracer, instruments, actors.id, _common(actors.spec), output, _Clock(), capture_content
        )
        _Watcher(actors.emitter, spans, capture_content).start()

    if isinstance(target, RealtimeSession):
        watch(target)
    else:
        target._watch_sessions(watch)


def _common(spec: SessionSpec) -> dict[str, Any]:
    """What all spans and metrics of a session say."""
    address = urllib.parse.urlsplit(spec.url)
    return {
        names.PROVIDER: "azure.ai.openai" if spec.label.startswith("Azure") else "openai",
        names.REQUEST_MODEL: spec.model_name,
        names.SERVER_ADDRESS: address.hostname or "",
        names.SERVER_PORT: address.port or (443 if address.scheme == "wss" else 80),
    }


class _Clock:
    """Unix nanoseconds that never go back while the session lasts."""

    def __init__(self) -> None:
        self._offset = time.time_ns() - time.monotonic_ns()

    def __call__(self) -> int:
        return self._offset + time.monotonic_ns()


class _Watcher:
    """Takes the time of a session's events, and has them dealt with where its callbacks run."""

    def __init__(self, emitter: Emitter, spans: SessionSpans, capture_content: bool) -> None:
        self._emitter = emitter
        self._spans = spans
        self._capture_content = capture_content

    def start(self) -> None:
        """Listen."""
        frames = (FRAME_RECEIVED,) if self._capture_content else ()
        self._emitter.attach(self, (*self._spans.events, *frames))

    def put(self, name: str, payload: Any) -> None:
        """An event has happened."""
        if name is FRAME_RECEIVED:
            head = payload[1][:_HEAD]
            if not any(said in head for said in _SAID):
                return
        at = self._spans.clock()
        self._emitter.run(lambda: self._spans.take(name, payload, at))

    def close(self) -> None:
        """The session is over."""
        at = self._spans.clock()
        self._emitter.run(lambda: self._spans.end(at))
