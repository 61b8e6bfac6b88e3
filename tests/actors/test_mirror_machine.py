"""The mirror against the local server's own conversation, through random edits, refusals, drops and returns.

The session runs under the driver and the server's core stands behind its wire, so nothing happens unless a rule
says so: frames lie unread on either side, and a drop loses them. When all has been read, the session's
conversation is the server's, and the server's is the one that the last accepted edit wanted.
"""

from __future__ import annotations

import random
from collections import deque
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

import antiphon.protocol as p
from antiphon import ConnectOptions, RealtimeModel, Timeouts
from antiphon.actors import messages as m
from antiphon.actors.chat import ChatContext, ChatItem, ChatMessage, FunctionCall, FunctionCallOutput
from antiphon.actors.item_ops import ChatCtxReport
from antiphon.testing import Driver, FakeWire
from antiphon.testing.apierror import ApiError
from antiphon.testing.brains.base import Sound
from antiphon.testing.conversation import Conversation
from antiphon.testing.effects import Effects, Halt, Hear, Respond
from antiphon.testing.generation import Generation
from antiphon.testing.ids import new_id
from antiphon.testing.itemstore import StoredItem
from antiphon.testing.steps import CallStep, Delta

ALL = 1_000_000
WORDS = ("yes", "no", "maybe", "seven", "tea", "rain", "why", "left")
SOUND = Sound(np.zeros(2400, np.int16), 24000)
AUDIO = b"\0" * 4800

Content = tuple[str, ...]

# One number per decision of a rule would make most of a run's time go into drawing.
RNG = st.builds(random.Random, st.integers(0, 0xFFFF))


class Server:
    """One connection's conversation; what it reads and what it says goes over piece by piece."""

    def __init__(self, wire: FakeWire) -> None:
        self.wire = wire
        self.core = Conversation("gpt-realtime", 0)
        self.outbox: deque[bytes] = deque()
        self.unheard: list[Hear] = []
        self.generation: Generation | None = None
        self.refusals = 0
        # Items that the application truncated to nothing.
        self.may_go: set[str] = set()
        # What it would not take: in a replay also things that an earlier connection had, such as the output of a
        # call that is gone.
        self.refused: set[str] = set()
        # Whether the server changed the conversation by itself and has not yet told the session of it.
        self.ahead = False
        self._read = 0
        self.do(self.core.open())

    def do(self, effects: Effects) -> None:
        for effect in effects:
            if isinstance(effect, Hear):
                self.unheard.append(effect)
            elif isinstance(effect, Respond):
                self.generation = effect.generation
            elif isinstance(effect, Halt):
                self.generation = None
            else:
                self.outbox.append(p.encode_server_event(effect))

    def read(self, count: int) -> int:
        """Carry out so many of the client's frames."""
        frames = self.wire.sent[self._read : self._read + count]
        self._read += len(frames)
        for frame in frames:
            if self.refusals and frame["type"] == "conversation.item.create":
                self.refusals -= 1
                self.do([ApiError("I'd rather not.", "invalid_value").event(frame.get("event_id"))])
                self.refused.add(frame["item"]["id"])
                continue
            if frame["type"] == "conversation.item.delete" and frame["item_id"] not in self.may_go:
                stored = self.core.items.get(frame["item_id"])
                assert getattr(stored and stored.item, "status", "") != "in_progress", (
                    "it was being generated"
                )
            effects = self.core.receive(p.encode_client_event(frame))
            self.do(effects)
            if any(isinstance(effect, p.ErrorEvent) for effect in effects) and "item" in frame:
                self.refused.add(frame["item"]["id"])
        return len(frames)

    def deliver(self, count: int) -> int:
        """Let so many of the server's frames arrive."""
        frames = [self.outbox.popleft() for _ in range(min(count, len(self.outbox)))]
        self.wire.reply(*frames)
        if not self.outbox:
            self.ahead = False
        return len(frames)

    def add(self, item: p.Item, previous: str | None) -> None:
        before = self.core.items.insert(StoredItem(item), previous)
        self.do([p.ConversationItemAdded(previous_item_id=before, item=item)])

    @property
    def items(self) -> list[p.Item]:
        return [stored.item for stored in self.core.items.all()]

    @property
    def ids(self) -> list[str]:
        return [item.id for item in self.items]

    def unfinished(self) -> set[str]:
        """Items that are being generated, or whose words nobody knows."""
        return {item.id for item in self.items if is_hollow(item)}


def is_hollow(item: p.Item) -> bool:
    if isinstance(item, p.MessageItem):
        return not server_content(item)[0]
    return getattr(item, "status", "") == "in_progress"


def server_content(item: p.Item) -> Content:
    match item:
        case p.MessageItem():
            return ("\n".join(filter(None, (part.text or part.transcript or "" for part in item.content))),)
        case p.FunctionCallItem():
            return (item.name, item.arguments)
        case p.FunctionCallOutputItem():
            return (item.output,)
    raise AssertionError(item)


def chat_content(item: ChatItem) -> Content:
    match item:
        case ChatMessage():
            return (item.text_content,)
        case FunctionCall():
            return (item.name, item.arguments)
        case FunctionCallOutput():
            return (item.output,)
    raise AssertionError(item)


def was_cut(item: p.Item) -> bool:
    """The server drops a truncated message's transcript; only the session knows what was heard."""
    return isinstance(item, p.MessageItem) and item.role == "assistant" and is_hollow(item)


class MirrorMachine(RuleBasedStateMachine):
    """See the top of the file."""

    @initialize()
    def connect(self) -> None:
        self.driver = Driver()
        model = RealtimeModel(
            api_key="test",
            base_url="http://test/v1",
            engine=self.driver,
            max_session_duration=None,
            conn_options=ConnectOptions(max_retry=100_000),
            timeouts=Timeouts(ping_interval=1e9),
        )
        self.session = model.session()
        self.reconnected = 0
        self.session.on("session_reconnected", self.count_reconnect)
        self.drops = 0
        self.updates: list[Future[ChatCtxReport]] = []
        # Items that the application sent by itself, perhaps still on their way: edits don't reckon with them.
        self.sent: set[str] = set()
        # The conversation that the last edit asked for, and ids of which it can't be sure; None if anything else
        # has changed the conversation since.
        self.wanted: tuple[ChatContext, set[str]] | None = None
        self.server: Server | None = Server(self.driver.accept())
        self.update(ChatContext([ChatMessage("user", word) for word in WORDS[:4]]))
        self.settle()

    def count_reconnect(self, _: object) -> None:
        self.reconnected += 1

    # -- what the application does -------------------------------------------------------------------

    def read_mirror(self) -> ChatContext:
        future: Future[ChatContext] = Future()
        self.session._actors.tell(m.CHAT_CTX, m.ReadChatCtx(future))
        self.driver.run()
        return future.result(0)

    def update(self, wanted: ChatContext) -> None:
        unsure = self.sent | (self.server.unfinished() if self.server else set())
        self.wanted = None if self.server and self.server.ahead else (wanted, unsure)
        future: Future[ChatCtxReport] = Future()
        self.updates.append(future)
        self.session._actors.tell(m.CHAT_CTX, m.UpdateChatCtx(wanted, 5.0, future))
        self.driver.run()

    @rule(rng=RNG, size=st.integers(0, 8))
    def edit(self, rng: random.Random, size: int) -> None:
        items = [item for item in self.read_mirror().items if rng.random() < 0.8][:size]
        if rng.random() < 0.3:
            rng.shuffle(items)
        for item in items:
            if isinstance(item, ChatMessage) and rng.random() < 0.2:
                item.content = [rng.choice(WORDS)]
        for _ in range(rng.randint(0, 3)):
            items[(at := rng.randint(0, len(items))) : at] = new_items(rng)
        self.update(ChatContext(items))

    @rule(rng=RNG, size=st.integers(2, 12), dropping=st.booleans())
    def edit_in_peace(self, rng: random.Random, size: int, dropping: bool) -> None:
        """Nothing but an edit goes on, and perhaps a drop."""
        self.settle()
        self.edit(rng, size)
        assert self.server is not None
        if dropping:
            self.server.read(rng.randrange(4))
            self.server.deliver(rng.randrange(4))
            self.connection_drops()
        self.settle()

    @rule()
    def edit_twice(self) -> None:
        """A second edit begins while the first is under way."""
        first, second = self.read_mirror(), self.read_mirror()
        first.add_message(role="user", content="first")
        second.add_message(role="assistant", content="second")
        self.update(first)
        self.update(second)

    @rule(rng=RNG)
    def send_item(self, rng: random.Random) -> None:
        item = p.MessageItem(
            id=new_id("own"),
            role="user",
            content=[p.ContentPart(type="input_text", text=rng.choice(WORDS))],
        )
        self.session.send_event(p.ConversationItemCreate(event_id=new_id("mine"), item=item))
        self.sent.add(item.id)
        self.driver.run()
        self.wanted = None

    @precondition(lambda self: self.server is not None)
    @rule(rng=RNG, ms=st.sampled_from([0, 30, 99, 5000]))
    def truncate(self, rng: random.Random, ms: int) -> None:
        assert self.server is not None
        spoken = [item.id for item in self.server.items if getattr(item, "role", "") == "assistant"]
        if spoken:
            item_id = rng.choice(spoken)
            self.server.may_go.add(item_id)
            self.session.truncate(item_id, ["audio", "text"], ms)
            self.driver.run()
            self.wanted = None

    # -- stories that single rules would seldom tell ------------------------------------------------------

    @rule(first=RNG, second=RNG)
    def edits_time_out_without_a_connection(self, first: random.Random, second: random.Random) -> None:
        self.settle()
        self.connection_drops()
        self.edit(first, 8)
        self.time_passes_without_a_connection(6.0)
        self.edit(second, 8)
        self.settle()

    @rule(rng=RNG, place=st.integers(0, 4))
    def edit_around_a_spoken_item_and_drop(self, rng: random.Random, place: int) -> None:
        self.settle()
        self.user_speaks()
        assert self.server is not None
        for _ in range(place):
            part = p.ContentPart(type="input_text", text="later")
            item = p.MessageItem(id=new_id("srv"), role="user", status="completed", content=[part])
            self.server.add(item, rng.choice([None, self.server.ids[-1]]))
        self.edit_in_peace(rng, 12, dropping=rng.random() < 0.5)
        self.connection_drops()
        self.edit(rng, 12)
        self.settle()

    @precondition(lambda self: self.server is not None and self.server.generation is None)
    @rule(ms=st.sampled_from([30, 99, 150]), drop_first=st.booleans())
    def cut_and_drop(self, ms: int, drop_first: bool) -> None:
        self.response_begins()
        self.response_goes_on("and then", call=False)
        self.response_ends()
        self.settle()
        assert self.server is not None
        if not self.server.ids:
            return  # an edit that was under way has taken it
        self.session.truncate(self.server.ids[-1], ["audio"], ms)
        self.driver.run()
        self.wanted = None
        if not drop_first:
            self.settle()
        self.connection_drops()
        self.settle()

    @precondition(lambda self: self.server is not None and self.server.generation is None)
    @rule(rng=RNG, dropping=st.booleans())
    def delete_what_a_running_response_has_said(self, rng: random.Random, dropping: bool) -> None:
        self.response_begins()
        self.response_goes_on("", call=True)
        self.settle()
        self.update(ChatContext(self.read_mirror().items[: rng.randrange(3)]))
        self.settle()
        if dropping:
            self.connection_drops()
        else:
            self.response_ends()
        self.settle()

    # -- what the server does --------------------------------------------------------------------------

    def by_itself(self) -> Server:
        assert self.server is not None
        self.server.ahead = True
        self.wanted = None
        return self.server

    @precondition(lambda self: self.server is not None)
    @rule(rng=RNG, kind=st.sampled_from(["text", "mcp"]))
    def server_adds(self, rng: random.Random, kind: str) -> None:
        server = self.by_itself()
        item_id = new_id("srv")
        item: p.Item = p.McpListToolsItem(id=item_id, server_label="x", tools=[])
        if kind == "text":
            part = p.ContentPart(type="input_text", text=rng.choice(WORDS))
            item = p.MessageItem(id=item_id, role="user", status="completed", content=[part])
        server.add(item, rng.choice(["root", None, *server.ids]))

    @precondition(lambda self: self.server is not None)
    @rule(rng=RNG)
    def both_add_the_same_id(self, rng: random.Random) -> None:
        server = self.by_itself()
        item_id = new_id("both")
        part = p.ContentPart(type="input_text", text="the server's")
        server.add(p.MessageItem(id=item_id, role="user", status="completed", content=[part]), None)
        wanted = self.read_mirror()
        wanted.add_message(role="user", content="the session's", id=item_id)
        self.update(wanted)
        self.wanted = None

    @precondition(lambda self: self.server is not None)
    @rule(rng=RNG)
    def server_deletes(self, rng: random.Random) -> None:
        assert self.server is not None
        finished = [item.id for item in self.server.items if not is_hollow(item)]
        if finished:
            server = self.by_itself()
            server.do(
                server.core.receive(
                    f'{{"type":"conversation.item.delete","item_id":"{rng.choice(finished)}"}}'
                )
            )

    @precondition(lambda self: self.server is not None)
    @rule(rng=RNG, old_name=st.booleans())
    def server_repeats_itself(self, rng: random.Random, old_name: bool) -> None:
        server = self.server
        assert server is not None
        if not server.outbox and server.items:
            kind = p.ConversationItemCreated if old_name else p.ConversationItemAdded
            server.do([kind(previous_item_id=None, item=rng.choice(server.items))])

    @precondition(lambda self: self.server is not None)
    @rule()
    def user_speaks(self) -> None:
        server = self.by_itself()
        server.do(server.core._handlers.add_heard(new_id("said"), SOUND))

    @precondition(lambda self: self.server is not None and self.server.unheard)
    @rule(text=st.sampled_from(WORDS))
    def transcript_comes(self, text: str) -> None:
        server = self.by_itself()
        hear = server.unheard.pop(0)
        server.do(server.core.heard(hear.item_id, hear.sound, text))

    @precondition(lambda self: self.server is not None and self.server.generation is None)
    @rule()
    def response_begins(self) -> None:
        server = self.by_itself()
        server.do(server.core._respond({}))
        self.response_goes_on("well", call=False)

    @precondition(lambda self: self.server is not None and self.server.generation is not None)
    @rule(word=st.sampled_from(WORDS), call=st.booleans())
    def response_goes_on(self, word: str, call: bool) -> None:
        server = self.by_itself()
        assert server.generation is not None
        step = CallStep("look", ("{", "}")) if call else Delta(word, AUDIO, 100.0)
        server.do(server.core.advance(server.generation, step))

    @precondition(lambda self: self.server is not None and self.server.generation is not None)
    @rule()
    def response_ends(self) -> None:
        server = self.by_itself()
        assert server.generation is not None
        server.do(server.core.finish(server.generation))

    @precondition(lambda self: self.server is not None)
    @rule()
    def server_will_refuse(self) -> None:
        assert self.server is not None
        self.server.refusals += 1

    # -- what the network does ---------------------------------------------------------------------------

    @precondition(lambda self: self.server is not None)
    @rule(count=st.integers(1, 4))
    def server_reads(self, count: int) -> None:
        assert self.server is not None
        self.server.read(count)

    @precondition(lambda self: self.server is not None)
    @rule(count=st.integers(1, 6))
    def session_reads(self, count: int) -> None:
        assert self.server is not None
        self.server.deliver(count)

    @precondition(lambda self: self.server is not None)
    @rule()
    def socket_is_full(self) -> None:
        assert self.server is not None
        self.server.wire.full = True

    @precondition(lambda self: self.server is not None)
    @rule()
    def connection_drops(self) -> None:
        assert self.server is not None
        self.server.wire.drop()
        self.server = None
        self.drops += 1

    @precondition(lambda self: self.server is None)
    @rule()
    def connection_returns(self) -> None:
        while not self.driver.dialling:
            self.driver.advance(0.5)
        self.server = Server(self.driver.accept())

    @precondition(lambda self: self.server is None)
    @rule(seconds=st.sampled_from([0.5, 6.0]))
    def time_passes_without_a_connection(self, seconds: float) -> None:
        self.driver.advance(seconds)

    # -- quiescence ----------------------------------------------------------------------------------------

    @rule()
    def settle(self) -> None:
        if self.server is None:
            self.connection_returns()
        server = self.server
        assert server is not None
        if server.wire.full:
            server.wire.drain()
        while server.read(ALL) + server.deliver(ALL):
            pass
        self.checked = False
        self.check_mirror(server)
        self.check_updates(server)
        self.checked = True
        self.sent.clear()

    def check_mirror(self, server: Server) -> None:
        theirs = [item for item in server.items if not isinstance(item, p.McpListToolsItem)]
        ours = self.read_mirror().items
        assert [item.id for item in ours] == [item.id for item in theirs]
        for our, their in zip(ours, theirs, strict=True):
            if not was_cut(their):
                assert chat_content(our) == server_content(their)

    def check_updates(self, server: Server) -> None:
        assert all(update.done() for update in self.updates), "an edit is left waiting"
        if self.wanted is None:
            return
        update = self.updates[-1]
        if update.exception() is not None or update.result().rejected:
            return
        wanted, unsure = self.wanted
        # Without content it is only said that an item may stay, whatever the server has there.
        unsure |= {item.id for item in wanted.items if chat_content(item) == ("",)}
        unsure |= server.unfinished() | server.refused
        goal = [item for item in wanted.items if item.id not in unsure]
        there = [
            item
            for item in server.items
            if item.id not in unsure and not isinstance(item, p.McpListToolsItem)
        ]
        assert [item.id for item in there] == [item.id for item in goal]
        assert [server_content(item) for item in there] == [chat_content(item) for item in goal]

    def teardown(self) -> None:
        if not getattr(self, "checked", False):
            return  # it has failed already
        self.settle()
        assert self.reconnected <= self.drops
        self.session._close_soon(1.0)
        self.driver.run()
        assert self.server is not None
        self.server.wire.drop()
        assert self.session.state == "closed"


def new_items(rng: random.Random) -> list[ChatItem]:
    kind = rng.randrange(8)
    if kind == 0:
        return [ChatMessage("user", [])]
    if kind == 1:
        # The server refuses an output without its call.
        return [FunctionCallOutput(new_id("call"), rng.choice(WORDS))]
    if kind == 2:
        call_id = new_id("call") + "x" * 20
        return [FunctionCall(call_id, "look", "{}"), FunctionCallOutput(call_id, rng.choice(WORDS))]
    role: Any = ("user", "assistant", "system", "developer")[kind % 4]
    return [ChatMessage(role, rng.choice(WORDS))]


def run(examples: int, derandomize: bool = False) -> None:
    run_state_machine_as_test(
        MirrorMachine,
        settings=settings(
            max_examples=examples,
            derandomize=derandomize,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.timeout(300)
def test_the_mirror_is_the_servers_conversation() -> None:
    # The same examples each time; the long run below looks for new ones.
    run(40, derandomize=True)


@pytest.mark.full
@pytest.mark.timeout(600)
def test_the_mirror_is_the_servers_conversation_through_twenty_thousand_steps() -> None:
    run(400)
