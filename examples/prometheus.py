"""Metrics for Prometheus: what `engine.stats()`, `session.stats()` and sessions' events say, at /metrics.

    pip install antiphon prometheus-client
    python examples/prometheus.py [PORT]

It watches a session at OPENAI_BASE_URL with OPENAI_API_KEY, and serves at http://127.0.0.1:9464/metrics until Ctrl-C.
`grafana-dashboard.json` beside this file shows what is in it. In a program of yours: make one `Metrics`, call `watch`
with each session before it starts, and give its registry to whatever serves your metrics.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable

from command_line import port_argument
from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from antiphon import (
    ActorRestarted,
    AudioDropped,
    Engine,
    RealtimeModel,
    RealtimeModelError,
    RealtimeModelMetrics,
    RealtimeSession,
    RealtimeSessionReconnectedEvent,
    SessionStats,
    ToolFinishedEvent,
    TranscriptionMetrics,
)

PORT = 9464
SECONDS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30)


class Metrics(Collector):
    """Counts what sessions report, and asks the engine and the live sessions when it is scraped. Thread-safe.

    Args:
        engine: Whose threads and queues are shown.
        registry: Where the metrics are registered.
    """

    def __init__(self, engine: Engine, registry: CollectorRegistry) -> None:
        self._engine = engine
        self._sessions: weakref.WeakSet[RealtimeSession] = weakref.WeakSet()

        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(f"antiphon_{name}", what, labels, registry=registry)

        def histogram(name: str, what: str) -> Histogram:
            return Histogram(f"antiphon_{name}_seconds", what, buckets=SECONDS, registry=registry)

        self._responses = counter("responses", "Responses that ended.", "cancelled")
        self._tokens = counter("tokens", "Tokens used.", "direction")
        self._tools = counter("tools", "Tools that ended.", "tool", "error")
        self._errors = counter("errors", "Errors of sessions.", "kind", "recoverable")
        self._restarts = counter("actor_restarts", "Actors that failed.", "actor")
        self._dropped = counter("audio_dropped_seconds", "Input audio that was lost.")
        self._first_audio = histogram(
            "time_to_first_audio", "From a response's beginning to its first sound."
        )
        self._response = histogram("response_duration", "From a response's beginning to its end.")
        self._handshake = histogram("handshake", "From dialling to the connection.")
        self._downtime = histogram("reconnect_downtime", "Time without a connection.")
        registry.register(self)

    def watch(self, session: RealtimeSession) -> None:
        """Count what a session reports; it is forgotten when it is collected."""
        self._sessions.add(session)
        session.on("metrics_collected", self._measured)
        session.on("tool_finished", self._tool_finished)
        session.on("session_reconnected", self._reconnected)
        session.on("actor_restarted", self._restarted)
        session.on("audio_dropped", self._audio_dropped)
        session.on("error", self._failed)

    # -- on the sessions' callback threads ---------------------------------------------------------------

    def _measured(self, metrics: RealtimeModelMetrics | TranscriptionMetrics) -> None:
        self._tokens.labels("input").inc(metrics.input_tokens)
        self._tokens.labels("output").inc(metrics.output_tokens)
        if isinstance(metrics, TranscriptionMetrics):
            return
        if metrics.acquire_time:
            self._handshake.observe(metrics.acquire_time)
            return
        self._responses.labels(str(metrics.cancelled).lower()).inc()
        self._response.observe(metrics.duration)
        if metrics.ttft >= 0:
            self._first_audio.observe(metrics.ttft)

    def _tool_finished(self, event: ToolFinishedEvent) -> None:
        self._tools.labels(event.name, str(event.is_error).lower()).inc()

    def _reconnected(self, event: RealtimeSessionReconnectedEvent) -> None:
        self._downtime.observe(event.downtime)

    def _restarted(self, event: ActorRestarted) -> None:
        self._restarts.labels(event.actor).inc()

    def _failed(self, event: RealtimeModelError) -> None:
        self._errors.labels(type(event.error).__name__, str(event.recoverable).lower()).inc()

    def _audio_dropped(self, event: AudioDropped) -> None:
        self._dropped.inc(event.duration_ms / 1000)

    # -- at each scrape ----------------------------------------------------------------------------------

    def collect(self) -> Iterable[Metric]:
        """What there is at this moment."""
        engine = self._engine.stats()
        yield gauge("sessions", "Sessions that live.", engine.sessions)
        threads = GaugeMetricFamily("antiphon_threads", "Threads of the engine.", labels=["kind"])
        for kind, count in engine.threads.items():
            threads.add_metric([kind], count)
        yield threads
        yield gauge("strands_waiting", "Sessions that wait for a worker.", engine.strands_waiting)
        yield gauge("tools_waiting", "Tools that wait for a thread.", engine.tools_waiting)
        sessions = [session.stats() for session in list(self._sessions) if session.state != "closed"]
        states = GaugeMetricFamily("antiphon_session_states", "Sessions by state.", labels=["state"])
        for state in ("connecting", "open", "reconnecting"):
            states.add_metric([state], sum(stats.state == state for stats in sessions))
        yield states
        yield from waiting(sessions)


def waiting(sessions: list[SessionStats]) -> Iterable[Metric]:
    """What waits in the sessions, all together, and the worst of them."""
    yield gauge("callbacks_waiting", "Callbacks to be called.", sum(s.callbacks_waiting for s in sessions))
    mail = [sum(stats.mail_waiting.values()) for stats in sessions]
    yield gauge("mail_waiting", "Messages that wait for actors.", sum(mail))
    yield gauge("mail_waiting_most", "Of the session with the most of them.", max(mail, default=0))
    audio = [stats.audio_waiting_ms / 1000 for stats in sessions]
    yield gauge("audio_waiting_seconds", "Input audio that waits to be sent.", sum(audio))
    yield gauge("playback_seconds", "Speech yet to be played.", sum(s.playback_ms for s in sessions) / 1000)


def gauge(name: str, what: str, value: float) -> Metric:
    """A gauge with one value."""
    return GaugeMetricFamily(f"antiphon_{name}", what, value=value)


def main() -> None:
    """Watch one session until Ctrl-C."""
    port = port_argument(__doc__, PORT, calls_model=True)
    registry = CollectorRegistry()
    metrics = Metrics(Engine.default(), registry)
    server, thread = start_http_server(port, "127.0.0.1", registry)
    with RealtimeModel() as model:
        session = model.session(start=False)
        metrics.watch(session)
        session.start()
        print(f"http://127.0.0.1:{port}/metrics", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            pass
    server.shutdown()
    thread.join()


if __name__ == "__main__":
    main()
