"""A conversation on the deterministic driver in which everything happens that can, one turn after the other.

The server's part is played by rules: it answers what the session sends, whatever that is, so that the conversation
goes on when a message was lost. What each turn came to is noted under the turn's name.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import numpy as np

import antiphon.protocol as p
from antiphon import ChatContext, ChatMessage, RealtimeModel, StreamEnded, Timeouts, function_tool
from antiphon.actors import messages as m
from antiphon.actors.events import EVENT_NAMES
from antiphon.testing.driver import Driver, FakeWire

# What only says what came and went on the wire.
RAW = {"openai_server_event_received", "openai_client_event_queued"}
ACTORS = (m.CHAT_CTX, m.GENERATION, m.AUDIO_IN, m.CONNECTION)
CHUNK = base64.b64encode(np.arange(240, dtype="<i2").tobytes()).decode()
WORDS = ("one ", "two ", "three ")
Frame = dict[str, Any]


@function_tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


class Server:
    """The server's rules.

    Attributes:
        wire: The present connection; None while there is none.
        kind: What a requested response is: "spoken", "written", "call", "begun" (it never ends), "ignored".
        deaf: Types of frames that are not answered.
        refusals: How many handshakes to refuse.
        silent: Whether handshakes get no answer.
    """

    def __init__(self, driver: Driver) -> None:
        self.wire: FakeWire | None = None
        self.frames: list[Frame] = []
        self.kind = "spoken"
        self.deaf: set[str] = set()
        self.refusals = 0
        self.silent = False
        self.turn = ""
        self._driver = driver
        self._seen = self._pings = self._serial = 0
        self._open: dict[str, str] = {}
        self._answering = False

    def elapse(self, seconds: float) -> None:
        """Let time pass, and answer what comes."""
        for _ in range(round(seconds / 0.1)):
            self._driver.advance(0.1)
            self._accept()
            self._answer()

    def say(self, *events: Frame) -> None:
        """Send events, each with time for an actor that fails at it to come back."""
        for event in events:
            if self.wire is not None and not self.wire.aborted:
                self.wire.reply(event)
                self.elapse(0.1)

    def respond(self, metadata: Frame | None = None) -> None:
        """Make a response."""
        self._serial += 1
        response_id, item_id = f"{self.turn}_r{self._serial}", f"{self.turn}_m{self._serial}"
        begun = {"id": response_id, "object": "realtime.response", "status": "in_progress", "output": []}
        begun["metadata"] = metadata
        self.say({"type": "response.created", "response": begun})
        if self.kind == "begun":
            self._open[response_id] = item_id
            self._speak(response_id, item_id, CHUNK)
            return
        item = {"written": self._write, "spoken": self._speak, "call": self._call}[self.kind](
            response_id, item_id
        )
        self.end(response_id, "completed", [item])

    def end(self, response_id: str, status: str, output: list[Frame]) -> None:
        """End a response."""
        response = {"id": response_id, "object": "realtime.response", "status": status, "output": output}
        self.say({"type": "response.done", "response": response})

    def end_open(self, status: str = "cancelled") -> None:
        """End the responses that never end by themselves."""
        for response_id in list(self._open):
            item_id = self._open.pop(response_id)
            self.end(response_id, status, [_message(item_id, "output_audio", "one ")])

    def next_turn(self, name: str) -> None:
        """Number responses anew, and play by the usual rules."""
        self.turn, self._serial, self.kind = name, 0, "spoken"
        self.deaf.clear()
        self.frames.clear()

    def _accept(self) -> None:
        if self.wire is not None and self.wire.aborted:
            self.wire = None
        if self.wire is None and not self.silent and self._driver.dialling:
            if self.refusals:
                self.refusals -= 1
                self._driver.refuse(503)
                return
            self._seen = self._pings = 0
            self._open.clear()
            self.wire = self._driver.accept()

    def _answer(self) -> None:
        # What comes while an answer is given has its turn after it.
        if self._answering:
            return
        self._answering = True
        try:
            self._answer_all()
        finally:
            self._answering = False

    def _answer_all(self) -> None:
        wire = self.wire
        while wire is not None and not wire.aborted:
            if wire.close_code is not None:
                wire.close_by_server()
                return
            if wire.pings > self._pings:
                self._pings = wire.pings
                wire.answer_ping()
            if self._seen >= len(wire.sent):
                return
            frame = wire.sent[self._seen]
            self._seen += 1
            self.frames.append(frame)
            answer = getattr(self, "_" + frame["type"].replace(".", "_"), None)
            if answer is not None and frame["type"] not in self.deaf:
                answer(frame)

    # -- answers, by the type of what came ------------------------------------------------------------------

    def _session_update(self, frame: Frame) -> None:
        self.say({"type": "session.updated", "session": frame["session"]})

    def _response_create(self, frame: Frame) -> None:
        if self.kind != "ignored":
            kind, metadata = self.kind, frame.get("response", {}).get("metadata")
            self.respond(metadata)
            # After a call comes what the model says to its output.
            self.kind = "spoken" if kind == "call" else kind

    def _response_cancel(self, _: Frame) -> None:
        self.end_open()

    def _conversation_item_create(self, frame: Frame) -> None:
        item = frame["item"]
        if any("refuse" in (part.get("text") or "") for part in item.get("content") or ()):
            details = {"type": "invalid_request_error", "message": "no", "event_id": frame["event_id"]}
            self.say({"type": "error", "error": details})
            return
        previous = frame.get("previous_item_id", p.NOT_GIVEN)
        self.say(_added(item, previous), {"type": "conversation.item.done", "item": item})

    def _conversation_item_delete(self, frame: Frame) -> None:
        self.say({"type": "conversation.item.deleted", "item_id": frame["item_id"]})

    def _conversation_item_truncate(self, frame: Frame) -> None:
        self.say({**frame, "type": "conversation.item.truncated"})

    def _input_audio_buffer_commit(self, _: Frame) -> None:
        self._serial += 1
        self.hear(f"{self.turn}_u{self._serial}")

    def _input_audio_buffer_clear(self, _: Frame) -> None:
        self.say({"type": "input_audio_buffer.cleared"})

    # -- what things are made of ------------------------------------------------------------------------------

    def hear(self, item_id: str, failed: bool = False) -> None:
        """Commit what the user said, and transcribe it."""
        about = {"item_id": item_id, "content_index": 0}
        words = "conversation.item.input_audio_transcription."
        end = {"type": words + "completed", "transcript": "two words", "usage": None, **about}
        if failed:
            end = {"type": words + "failed", "error": {"type": "x", "message": "noise"}, **about}
        self.say(
            {"type": "input_audio_buffer.committed", "item_id": item_id},
            _added({"id": item_id, "type": "message", "role": "user", "content": [{"type": "input_audio"}]}),
            {"type": words + "delta", "delta": "two", **about},
            {"type": words + "delta", "delta": " words", **about},
            end,
        )

    def _begin(self, response_id: str, item: Frame) -> None:
        begun = {**item, "status": "in_progress", "content": []}
        self.say(
            {"type": "response.output_item.added", "response_id": response_id, "item": begun}, _added(begun)
        )

    def _finish(self, response_id: str, item: Frame) -> Frame:
        done = {**item, "status": "completed"}
        self.say(
            {"type": "response.output_item.done", "response_id": response_id, "item": done},
            {"type": "conversation.item.done", "item": done},
        )
        return done

    def _write(self, response_id: str, item_id: str) -> Frame:
        item = _message(item_id, "output_text", "".join(WORDS))
        about = {"response_id": response_id, "item_id": item_id, "content_index": 0}
        self._begin(response_id, item)
        self.say(*({"type": "response.output_text.delta", "delta": word, **about} for word in WORDS))
        return self._finish(response_id, item)

    def _speak(self, response_id: str, item_id: str, only: str = "") -> Frame:
        item = _message(item_id, "output_audio", "".join(WORDS))
        about = {"response_id": response_id, "item_id": item_id, "content_index": 0}
        self._begin(response_id, item)
        part = {"type": "output_audio", "transcript": ""}
        self.say({"type": "response.content_part.added", "part": part, **about})
        for word in WORDS[:1] if only else WORDS:
            self.say({"type": "response.output_audio.delta", "delta": CHUNK, **about})
            self.say({"type": "response.output_audio_transcript.delta", "delta": word, **about})
        return item if only else self._finish(response_id, item)

    def _call(self, response_id: str, item_id: str) -> Frame:
        call = {"name": "add", "arguments": '{"a": 1, "b": 2}', "call_id": f"call_{item_id}"}
        item = {"id": item_id, "type": "function_call", **call}
        self._begin(response_id, item)
        arguments = {"type": "response.function_call_arguments.done", "item_id": item_id, **call}
        self.say({**arguments, "response_id": response_id})
        return self._finish(response_id, item)


def _message(item_id: str, kind: str, words: str) -> Frame:
    part = {"type": kind, "transcript" if "audio" in kind else "text": words}
    return {"id": item_id, "type": "message", "role": "assistant", "content": [part]}


def _added(item: Frame, previous: Any = p.NOT_GIVEN) -> Frame:
    event = {"type": "conversation.item.added", "item": item}
    return event if previous is p.NOT_GIVEN else {**event, "previous_item_id": previous}


class Conversation:
    """The session, and what its turns came to.

    Attributes:
        notes: What each turn came to, by its name.
        restarts: What was reported of actors that failed.
        turn: The turn that is under way.
    """

    def __init__(self) -> None:
        self.driver = Driver()
        self.model = RealtimeModel(
            api_key="test",
            base_url="http://test/v1",
            engine=self.driver,
            max_session_duration=None,
            timeouts=Timeouts(reply=3.0, reply_wait=5.0, chat_ctx=3.0, ping_interval=2.0, ping_timeout=1.0),
        )
        self.session = self.model.session(start=False)
        self.server = Server(self.driver)
        self.notes: dict[str, list[Any]] = {}
        self.restarts: list[Any] = []
        self.errors: list[Any] = []
        self.turn = ""
        self._generations: list[Any] = []
        self._futures: list[Future[Any]] = []
        self.session.on("actor_restarted", self.restarts.append)
        self.session.on("error", self.errors.append)
        self.session.on("generation_created", self._generations.append)
        for name in EVENT_NAMES - {"actor_restarted", *RAW}:
            self.session.on(name, lambda _, name=name: self.note(name))

    def note(self, *what: Any) -> None:
        """Write down what happened in this turn."""
        self.notes[self.turn].append(what)

    def end(self) -> None:
        """End the session, whatever has become of it."""
        self.session._actors.strand.tell_urgently(m.SUPERVISOR, m.SessionEnded())
        self.driver.run()

    def run(self) -> None:
        """Hold the whole conversation."""
        for turn in TURNS:
            self.turn = turn.__name__
            self.notes[self.turn] = []
            self.server.next_turn(self.turn)
            turn(self)
            self.elapse(0.5)
            self._take_stock()

    def elapse(self, seconds: float) -> None:
        """Let time pass."""
        self.server.elapse(seconds)

    def tell(self, actor: str, make: Callable[[Future[Any]], m.Message]) -> Future[Any]:
        """Make a call that has a future."""
        future: Future[Any] = self.session._actors.make_future()
        self.session._actors.tell(actor, make(future))
        self._futures.append(future)
        self.elapse(0.5)
        return future

    def reply(self, kind: str = "spoken", seconds: float = 3.0) -> Future[Any]:
        """Ask for a response."""
        self.server.kind = kind
        future = self.session.generate_reply()
        self._futures.append(future)
        self.elapse(seconds)
        return future

    def push(self, ms: int) -> None:
        """Push audio."""
        self.session.push_audio(np.arange(ms * 24, dtype=np.int16), sample_rate=24_000)
        self.elapse(0.2)

    def read(self) -> ChatContext | None:
        """The conversation; None when the call was lost."""
        return _result(self.tell(m.CHAT_CTX, m.ReadChatCtx))

    def mirror(self) -> list[tuple[str, str]]:
        """The conversation, as ids and words."""
        context = self.read()
        items = context.items if context is not None else []
        # The output of a tool is the engine's own, with an id that is random.
        return [
            (
                "tools_output" if item.type == "function_call_output" else item.id,
                getattr(item, "text_content", ""),
            )
            for item in items
        ]

    def _take_stock(self) -> None:
        """Note what became of the turn's responses and calls, and what was sent."""
        for generation in self._generations:
            self.note("response", generation.response_id, *_read(generation))
        self._generations.clear()
        for future in self._futures:
            self.note("call", _outcome(future))
        self._futures.clear()
        self.note("sent", sorted({frame["type"] for frame in self.server.frames}))


def _result(future: Future[Any]) -> Any:
    """The result of a call; None when it has failed, or none has come."""
    return future.result(0) if _outcome(future) == "done" else None


def _outcome(future: Future[Any]) -> str:
    if not future.done():
        return "pending"
    if future.cancelled():
        return "cancelled"
    error = future.exception(0)
    return "done" if error is None else f"{type(error).__name__}: {error}"


def _read(generation: Any) -> list[Any]:
    read: list[Any] = []
    for message in _drain(generation.message_stream):
        text, sound = _drain(message.text_stream), _drain(message.audio_stream)
        samples = sum(frame.samples_per_channel for frame in sound)
        ended = message.text_stream.closed and message.audio_stream.closed
        read.append(("".join(text), samples, _outcome(message.modalities), ended))
    read.append([call.arguments for call in _drain(generation.function_stream)])
    ended = generation.message_stream.closed and generation.function_stream.closed
    return [*read, _outcome(generation.done), ended]


def _drain(stream: Any) -> list[Any]:
    items: list[Any] = []
    while True:
        try:
            items.append(stream.get(0))
        except (StreamEnded, TimeoutError):
            return items


# -- the turns ------------------------------------------------------------------------------------------------


def start(talk: Conversation) -> None:
    """The session opens."""
    talk.session.start()
    talk.elapse(4.0)
    talk.note(talk.session.state)


def speech(talk: Conversation) -> None:
    """The user speaks and the server answers by itself."""
    spoken = {"item_id": "speech_u1"}
    talk.server.say({"type": "input_audio_buffer.speech_started", "audio_start_ms": 0, **spoken})
    talk.push(300)
    talk.server.say({"type": "input_audio_buffer.speech_stopped", "audio_end_ms": 300, **spoken})
    talk.server.hear("speech_u1")
    talk.server.respond()


def mumbling(talk: Conversation) -> None:
    """Nobody understands what the user says."""
    talk.server.hear("mumbling_u1", failed=True)
    item = {"id": "mumbling_u2", "type": "message", "role": "user"}
    item["content"] = [{"type": "input_text", "text": "again"}]
    talk.server.say({"type": "conversation.item.created", "item": item})


def push_to_talk(talk: Conversation) -> None:
    """The application says when the user has spoken."""
    talk.push(250)
    talk.session.commit_audio()
    talk.elapse(1.0)
    talk.reply()
    talk.push(50)
    talk.session.clear_audio()


def writing(talk: Conversation) -> None:
    """The model writes in an audio session."""
    talk.reply("written")


def tools(talk: Conversation) -> None:
    """The model calls a tool and speaks of its result."""
    talk.session.update_tools([add], auto_execute=True)
    talk.elapse(0.5)
    talk.reply("call", 5.0)
    talk.session.update_tools([])


def provider_tools(talk: Conversation) -> None:
    """The provider lists the tools of an MCP server and, when it may, calls one."""
    server = talk.server
    listing = {"type": "mcp_list_tools", "id": "provider_tools_l1", "server_label": "shop", "tools": []}
    call = {"type": "mcp_call", "id": "provider_tools_c1", "server_label": "shop", "name": "buy"}
    call["arguments"] = "{}"
    request = {**call, "type": "mcp_approval_request", "id": "provider_tools_q1"}
    server.say(
        {"type": "mcp_list_tools.in_progress", "item_id": listing["id"]},
        {"type": "mcp_list_tools.failed", "item_id": listing["id"]},
        {"type": "mcp_list_tools.in_progress", "item_id": "provider_tools_l2"},
        {"type": "mcp_list_tools.completed", "item_id": "provider_tools_l2"},
        _added(request),
        {"type": "conversation.item.done", "item": request},
    )
    talk.session._actors.tell(m.GENERATION, m.SilenceMcp(frozenset({"other"})))
    talk.session._actors.tell(m.GENERATION, m.ApproveMcp("provider_tools_q1", True, None))
    talk.elapse(0.5)
    about = {"item_id": call["id"], "response_id": "provider_tools_r0"}
    begun = {"id": about["response_id"], "object": "realtime.response", "status": "in_progress", "output": []}
    server.say(
        {"type": "response.created", "response": begun},
        _added({**call, "arguments": ""}),
        {"type": "response.mcp_call_arguments.done", "arguments": "{}", **about},
        {"type": "response.mcp_call.in_progress", **about},
    )
    server.end("provider_tools_r0", "completed", [])
    outcome = {**call, "output": "bought"}
    server.say(
        {"type": "response.mcp_call.completed", **about}, {"type": "conversation.item.done", "item": outcome}
    )
    server.say({"type": "response.mcp_call.failed", "item_id": "provider_tools_c2"})
    talk.elapse(5.0)


def editing(talk: Conversation) -> None:
    """The application changes the conversation; the server refuses a part of it."""
    wanted = talk.read()
    if wanted is not None:
        wanted.items.append(ChatMessage("user", ["kept"], id="editing_1"))
        wanted.items.append(ChatMessage("user", ["to go"], id="editing_2"))
        wanted.items.append(ChatMessage("user", ["refuse this"], id="editing_3"))
        talk.tell(m.CHAT_CTX, lambda future: m.UpdateChatCtx(wanted.copy(), 3.0, future))
        talk.elapse(3.5)
        less = wanted.copy()
        less.items = [item for item in less.items if item.id not in ("editing_2", "editing_3")]
        talk.tell(m.CHAT_CTX, lambda future: m.UpdateChatCtx(less, 3.0, future))
        talk.elapse(3.5)


def truncating(talk: Conversation) -> None:
    """A message is cut to what was heard."""
    talk.reply("begun", 1.0)
    talk.session.truncate("truncating_m1", ["audio"], 5)
    talk.elapse(0.5)
    talk.server.end_open("completed")


def taking_back(talk: Conversation) -> None:
    """A request is cancelled before the socket has taken it."""
    wire = talk.server.wire
    if wire is None:
        return
    wire.full = True
    talk.session.send_event({"type": "conversation.item.retrieve", "item_id": "first"})
    future = talk.session.generate_reply()
    talk.elapse(0.3)
    future.cancel()
    talk.elapse(0.5)
    wire.drain()
    talk.reply()


def cancelling(talk: Conversation) -> None:
    """Responses are cut off, one by its handle and one by an interruption."""
    future = talk.reply("begun", 1.5)
    generation = _result(future)
    if generation is not None:
        generation.cancel()
    talk.elapse(1.0)
    talk.reply("begun", 1.5)
    talk.session.interrupt()
    talk.elapse(1.0)
    # Whatever was lost: the server ends in the end.
    talk.server.end_open()


def options(talk: Conversation) -> None:
    """The configuration changes."""
    talk.session.update_options(speed=1.2)
    talk.elapse(0.3)
    talk.session.update_instructions("Be brief.")
    talk.elapse(0.3)
    talk.session.update_options(speed=1.0)


def this_and_that(talk: Conversation) -> None:
    """What is only passed on, and an error that is nobody's."""
    talk.server.say(
        {"type": "rate_limits.updated", "rate_limits": []},
        {
            "type": "input_audio_buffer.timeout_triggered",
            "audio_start_ms": 0,
            "audio_end_ms": 1,
            "item_id": "x",
        },
        {"type": "input_audio_buffer.dtmf_event_received", "event": "5", "received_at": 1},
        {"type": "error", "error": {"type": "server_error", "message": "hiccup"}},
    )
    if talk.server.wire is not None:
        talk.server.wire._listener.skipped("binary")
    talk.elapse(0.2)
    talk.tell(m.GENERATION, m.ReadActivity)


def overdue(talk: Conversation) -> None:
    """The server leaves requests without an answer."""
    talk.reply("ignored", 4.0)
    talk.server.deaf.add("conversation.item.create")
    wanted = talk.read()
    if wanted is not None:
        wanted.items.append(ChatMessage("user", ["unheard"], id="overdue_1"))
        talk.tell(m.CHAT_CTX, lambda future: m.UpdateChatCtx(wanted, 2.0, future))
        talk.elapse(6.0)


def drop(talk: Conversation) -> None:
    """The connection breaks in the middle of an answer, and the server is away for a while."""
    talk.reply("begun", 1.0)
    talk.push(120)
    talk.server.refusals = 1
    if talk.server.wire is not None:
        talk.server.wire.drop()
    talk.elapse(8.0)
    talk.note(talk.session.state)


def goodbye(talk: Conversation) -> None:
    """The server closes the connection."""
    if talk.server.wire is not None:
        talk.server.wire.close_by_server(1001)
    talk.elapse(8.0)
    talk.note(talk.session.state)


def recycling(talk: Conversation) -> None:
    """The connection is replaced when the active response is done."""
    talk.reply("begun", 1.0)
    talk.session.restart()
    talk.elapse(0.5)
    talk.server.end_open("completed")
    talk.elapse(8.0)
    talk.note(talk.session.state)


def proof(talk: Conversation) -> None:
    """All is as ever."""
    talk.push(200)
    talk.session.commit_audio()
    talk.elapse(1.0)
    talk.reply()
    mine = [entry for entry in talk.mirror() if entry[0].startswith("proof")]
    talk.note(mine, talk.session.state)


def close(talk: Conversation) -> None:
    """The session ends while much is under way."""
    talk.notes["mirror"] = [*talk.mirror()]
    talk.reply("begun", 1.0)
    talk.reply("begun", 0.5)
    context = talk.tell(m.CHAT_CTX, m.ReadChatCtx)
    if context.exception(0) is None:
        talk.server.deaf.add("conversation.item.create")
        wanted = context.result(0)
        wanted.items.append(ChatMessage("user", ["late"], id="close_1"))
        talk.tell(m.CHAT_CTX, lambda future: m.UpdateChatCtx(wanted, 60.0, future))
    talk.session._close_soon(2.0)
    talk.elapse(5.0)
    talk.note(talk.session.state)


TURNS: tuple[Callable[[Conversation], None], ...] = (
    start,
    speech,
    mumbling,
    push_to_talk,
    writing,
    tools,
    provider_tools,
    editing,
    truncating,
    taking_back,
    cancelling,
    options,
    this_and_that,
    overdue,
    drop,
    goodbye,
    recycling,
    proof,
    close,
)
