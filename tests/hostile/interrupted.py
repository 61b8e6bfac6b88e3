"""A conversation under the driver that hostile frames interrupt, and what must be true of it afterwards."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self

from bad_frames import IDS

from antiphon import ChatContext, RealtimeModel, StreamEnded, Timeouts, function_tool
from antiphon.actors import messages as m
from antiphon.testing.driver import Driver

RESPONSE = {"id": "resp_1", "object": "realtime.response", "status": "in_progress", "output": []}
MESSAGE = {"id": "item_2", "type": "message", "role": "assistant", "content": []}
# A response is under way and has begun to speak when the frames come.
BEFORE: tuple[dict[str, Any], ...] = (
    {"type": "session.created", "session": {"id": "sess_1", "type": "realtime"}},
    {
        "type": "conversation.item.added",
        "item": {
            "id": "item_1",
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "Hello."}],
        },
    },
    {"type": "response.created", "response": RESPONSE},
    {"type": "response.output_item.added", "response_id": "resp_1", "output_index": 0, "item": MESSAGE},
    {
        "type": "response.output_audio.delta",
        "response_id": "resp_1",
        "item_id": "item_2",
        "content_index": 0,
        "delta": "AAAAAAAA",
    },
)
ANSWER = "Still here."

ACTIONS = (b"reply", b"interrupt", b"restart", b"truncate", b"push", b"edit", b"drop", b"wait")


@function_tool
def weather(city: str) -> str:
    """Tell the weather."""
    return f"Rain in {city}."


class Interrupted:
    """A session in mid-conversation, with everything attached to it that events can reach.

    Attributes:
        session: The session.
        driver: Its clock.
    """

    def __init__(self) -> None:
        self.driver = Driver()
        model = RealtimeModel(
            api_key="test",
            base_url="http://test/v1",
            engine=self.driver,
            max_session_duration=None,
            timeouts=Timeouts(ping_interval=1e6),
        )
        self.session = model.session(start=False)
        self._events = self.session.events("actor_restarted", "error")
        self.session.on("openai_server_event_received", lambda event: None)
        self.session.update_tools([weather], auto_execute=True)
        self.session.playback.read(10)
        self.session.start()
        self._wire = self.driver.accept()
        self._wire.reply(*BEFORE)
        self._actions: dict[bytes, Callable[[], object]] = {
            b"reply": self.session.generate_reply,
            b"interrupt": self.session.interrupt,
            b"restart": self.session.restart,
            b"truncate": lambda: self.session.truncate("item_2", ["audio"], 1),
            b"push": self._push,
            b"edit": self._edit,
            b"drop": self._drop,
            b"wait": lambda: self.driver.advance(3.0),
        }

    def hear(self, *frames: bytes) -> None:
        """Have frames arrive, all in one read; one that is the name of an action of ours is that action instead."""
        waiting: list[bytes] = []
        for frame in frames:
            if frame in self._actions:
                self._wire.reply(*waiting)
                waiting.clear()
                self._actions[frame]()
                self.driver.run()
            else:
                waiting.append(frame)
        self._wire.reply(*waiting)
        self.driver.advance(1.0)

    def _push(self) -> None:
        self.session.push_audio(bytes(9600), 24_000, 1)
        self.session.commit_audio()

    def _edit(self) -> None:
        # Not by `session.update_chat_ctx`, which would wait.
        context = ChatContext.empty()
        context.add_message(role="user", content="Or rather: good evening.", id="item_edit")
        self.session._actors.tell(m.CHAT_CTX, m.UpdateChatCtx(context, 5.0, Future()))

    def _drop(self) -> None:
        if not self.driver.dialling:
            self._wire.drop()
        self.driver.advance(0.1)
        if self.driver.dialling:
            self._wire = self.driver.accept()

    def check(self) -> None:
        """No actor has failed; and if the server didn't end the session, it answers."""
        fatal = False
        while True:
            try:
                name, payload = self._events.get(0)
            except (TimeoutError, StreamEnded):
                break
            if name == "actor_restarted":
                raise AssertionError(f"{payload.actor} failed at {payload.message_type}") from payload.error
            fatal = fatal or not payload.recoverable
        if fatal:
            assert self.session.state == "closed"
            return
        self._settle()
        future = self.session.generate_reply()
        self.driver.run()
        request = self._wire.of_type("response.create")[-1]
        self._answer(request["event_id"])
        generation = future.result(0)
        assert generation.done.result(0).status == "completed"
        message = generation.message_stream.get(0)
        assert "".join(message.text_stream) == ANSWER

    def _settle(self) -> None:
        """Let the server end what it may have begun."""
        ends = ({"type": "response.done", "response": RESPONSE | {"id": id_}} for id_ in IDS)
        self._wire.reply(*ends)
        for _ in range(60):
            if self.driver.dialling:
                self._wire = self.driver.accept()
            self.driver.advance(1.0)
        assert self.session.state == "open", self.session.state

    def _answer(self, event_id: str) -> None:
        response = RESPONSE | {"id": "resp_fine", "metadata": {"client_event_id": event_id}}
        item = MESSAGE | {"id": "item_fine"}
        part = {"response_id": "resp_fine", "item_id": "item_fine", "output_index": 0, "content_index": 0}
        self._wire.reply(
            {"type": "response.created", "response": response},
            {"type": "response.output_item.added", "item": item, **part},
            {"type": "response.output_audio_transcript.delta", "delta": ANSWER, **part},
            {"type": "response.done", "response": response | {"status": "completed"}},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.session._close_soon(1.0)
        self.driver.advance(10.0)
        assert self.session.state == "closed"
