"""A session at a scripted server: what it sends is the peer's to look at, what it emits is noted here."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from scripted_server import PATIENCE, Peer, ScriptedServer

from antiphon import ConnectOptions, RealtimeModel, RealtimeSession, Stream, StreamEnded, Timeouts

KEY = "sk-for-these-tests-only"
MARK = "test.mark"
# Short where a test waits for it, long where it would be in the way.
QUICK = Timeouts(first_retry=0.01, chat_ctx=PATIENCE, close=1.0, uptime=0.05)
PATIENT = ConnectOptions(max_retry=5, retry_interval=0.02, timeout=PATIENCE)
NAMES = [
    "input_speech_started",
    "input_speech_stopped",
    "input_audio_transcription_completed",
    "generation_created",
    "remote_item_added",
    "metrics_collected",
    "session_reconnected",
    "error",
    "openai_server_event_received",
    "openai_client_event_queued",
    "state_changed",
    "rate_limits_updated",
    "input_idle_timeout",
    "dtmf_received",
    "actor_restarted",
    "audio_dropped",
]


class Line:
    """One session, its server, and the connection that it has now.

    Args:
        server: Where to connect to.
        build: What makes the model.
        **options: The model's; those that it needs here are filled in.

    Attributes:
        first: The first frame of the present connection.
        events: (name, payload) of all that was emitted.
    """

    def __init__(
        self,
        server: ScriptedServer,
        build: Callable[..., RealtimeModel] = RealtimeModel,
        session: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        given = {
            "base_url": server.url,
            "api_key": KEY,
            "timeouts": QUICK,
            "conn_options": PATIENT,
            "turn_detection": None,
            **options,
        }
        self.server = server
        self.model = build(**{name: value for name, value in given.items() if value is not ...})
        self.session: RealtimeSession = self.model.session(start=False, **(session or {}))
        self.events: list[tuple[str, Any]] = []
        self.peer: Peer
        self.first: dict[str, Any] = {}
        self._changed = threading.Condition()
        for name in NAMES:
            self.session.on(name, lambda payload, name=name: self._note(name, payload))

    def open(self) -> Line:
        """Connect, and take the first frame."""
        self.session.start()
        self.answer()
        self.session.wait_open(PATIENCE)
        # What came of the beginning is told before the test begins.
        self.heard()
        return self

    def answer(self) -> Peer:
        """Take the next connection and its first frame, and say hello as servers do."""
        self.peer = self.server.accept()
        self.first = self.peer.expect("session.update")
        self.peer.send("session.created", session={"type": "realtime", "id": "sess_1"})
        return self.peer

    def _note(self, name: str, payload: Any) -> None:
        with self._changed:
            self.events.append((name, payload))
            self._changed.notify_all()

    def nudge(self) -> None:
        """Have `wait_until` look again."""
        with self._changed:
            self._changed.notify_all()

    # -- what was emitted

    def of(self, name: str) -> list[Any]:
        """The payloads of one event so far."""
        with self._changed:
            return [payload for other, payload in self.events if other == name]

    def wait(self, name: str, times: int = 1) -> Any:
        """The so-manieth payload of an event; waits for it."""
        self.wait_until(lambda: len(self.of(name)) >= times)
        return self.of(name)[times - 1]

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until what was emitted makes this true."""
        with self._changed:
            assert self._changed.wait_for(condition, PATIENCE), self.events

    def wait_closed(self) -> None:
        """Wait for the session's end, and for all that it emitted before."""
        self.wait_until(lambda: any(event.new == "closed" for event in self.of("state_changed")))

    def errors(self) -> list[str]:
        """The errors so far, in words."""
        return [str(event.error) for event in self.of("error")]

    # -- fences

    def heard(self) -> None:
        """Return when all that the peer has sent has taken effect, and been emitted."""
        marks = sum(event["type"] == MARK for event in self.of("openai_server_event_received")) + 1
        self.peer.send(MARK)
        self.wait_until(
            lambda: sum(event["type"] == MARK for event in self.of("openai_server_event_received")) == marks
        )

    def sent(self) -> list[dict[str, Any]]:
        """The events that the session has sent, and that the test has not looked at, in answer to all so far."""
        self.heard()
        self.session.send_event({"type": MARK})
        return self.peer.until(MARK)

    # -- responses

    def ask(self, **arguments: Any) -> tuple[Any, dict[str, Any]]:
        """`generate_reply`: the future and the event that went out."""
        future = self.session.generate_reply(**arguments)
        return future, self.peer.expect("response.create")


def background(function: Callable[..., Any], *arguments: Any, **options: Any) -> Future[Any]:
    """Call what blocks, on a thread of its own."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(function(*arguments, **options))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="test-background", daemon=True).start()
    return future


def drain(stream: Stream[Any]) -> list[Any]:
    """All that a stream brings, to its end."""
    items = []
    while True:
        try:
            items.append(stream.get(PATIENCE))
        except StreamEnded:
            return items
