"""A session through the fault proxy, and what it has emitted."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from proxy import FaultProxy

from antiphon import ChatMessage, ConnectOptions, Engine, RealtimeModel, RealtimeSession, Timeouts
from antiphon.testing import LocalServer

DEADLINE = 15.0
# Fast enough for tests, slow enough for a busy machine.
QUICK = Timeouts(first_retry=0.05, ping_interval=0.5, ping_timeout=0.5, chat_ctx=10.0, close=1.0, uptime=0.2)
PATIENT = ConnectOptions(max_retry=100, retry_interval=0.1, timeout=1.0)

WIRE = 24_000
Samples = NDArray[np.int16]


class Line:
    """A session through the proxy, and what it has emitted."""

    def __init__(self, proxy: FaultProxy, engine: Engine, **options: Any) -> None:
        given = {
            "turn_detection": None,
            "timeouts": QUICK,
            "conn_options": PATIENT,
            "base_url": proxy.url,
            **options,
        }
        self.model = RealtimeModel(api_key="k", engine=engine, **given)
        self.session: RealtimeSession = self.model.session(start=False)
        self.events: list[tuple[str, Any]] = []
        self._changed = threading.Condition()
        for name in (
            "state_changed",
            "error",
            "session_reconnected",
            "actor_restarted",
            "audio_dropped",
            "tool_finished",
            "generation_created",
        ):
            self.session.on(name, lambda payload, name=name: self._note(name, payload))
        self.session.start()

    def _note(self, name: str, payload: Any) -> None:
        with self._changed:
            self.events.append((name, payload))
            self._changed.notify_all()

    def of(self, name: str) -> list[Any]:
        """The payloads of one event, oldest first."""
        return [payload for other, payload in self.events if other == name]

    def errors(self) -> list[str]:
        """What went wrong, in words."""
        return [str(event.error) for event in self.of("error")]

    def wait_until(self, condition: Callable[[], bool], seconds: float = DEADLINE) -> None:
        """Wait until what was emitted makes this true."""
        with self._changed:
            assert self._changed.wait_for(condition, seconds), self.events

    def wait_reconnected(self, times: int = 1) -> None:
        """Wait until the session has been whole again so many times."""
        self.wait_until(lambda: len(self.of("session_reconnected")) >= times)

    def wait_state(self, state: str) -> None:
        """Wait until the session has been in this state."""
        self.wait_until(lambda: any(event.new == state for event in self.of("state_changed")))

    def say(self, text: str) -> None:
        """Add a user message to the conversation."""
        context = self.session.chat_ctx
        context.items.append(ChatMessage("user", [text]))
        report = self.session.update_chat_ctx(context)
        assert report.rejected == {}

    def speak(self, samples: Samples) -> None:
        """Push audio, as fast as it goes."""
        for start in range(0, len(samples), 480):
            self.session.push_audio(samples[start : start + 480], sample_rate=WIRE)

    def texts(self) -> list[str]:
        """The texts of the conversation as the session sees it."""
        return [item.text_content for item in self.session.chat_ctx.items if item.type == "message"]

    def reply(self) -> str:
        """Ask for a response and wait for its end; returns how it ended."""
        generation = self.session.generate_reply().result(DEADLINE)
        status: str = generation.done.result(DEADLINE).status
        return status


def noise(samples: int, seed: int) -> Samples:
    """Audio that is like no other."""
    return np.random.default_rng(seed).integers(-9000, 9000, samples).astype(np.int16)


def served_texts(server: LocalServer) -> list[str]:
    """The texts of the newest connection's conversation."""
    return [part.text for item in server.conversation() for part in getattr(item, "content", []) if part.text]


def newest(server: LocalServer) -> int:
    """The index of the newest connection that has said something; -1 for none."""
    return max((record.connection for record in server.log.received()), default=-1)


def received_audio(server: LocalServer, connection: int) -> bytes:
    """All input audio that one connection has brought."""
    appended = server.log.received("input_audio_buffer.append", connection)
    return b"".join(base64.b64decode(record.event["audio"]) for record in appended)
