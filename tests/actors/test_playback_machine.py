"""Playback and truncation against the local server's own conversation, whatever happens in whatever order.

The session runs under the driver and the server's core stands behind its wire; frames lie unread on either side
until a rule delivers them. All samples of a message have one value of its own, so what was heard of it is counted
in what `read` returns, and not taken from the ledger's word.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Any

import numpy as np
import pybase64
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
from antiphon import ConnectOptions, RealtimeModel, ServerVad, Timeouts
from antiphon.actors.playback import FADE_MS
from antiphon.testing import Driver, FakeWire
from antiphon.testing.conversation import Conversation
from antiphon.testing.effects import Effects, Halt, Hear, Respond
from antiphon.testing.generation import Generation
from antiphon.testing.ids import new_id
from antiphon.testing.steps import CallStep, Delta

ALL = 1_000_000
PER_MS = 24  # samples
FADE = int(FADE_MS * PER_MS)


class Server:
    """One connection's conversation; what it reads and what it says goes over piece by piece."""

    def __init__(self, wire: FakeWire) -> None:
        self.wire = wire
        self.core = Conversation("gpt-realtime", 0)
        self.outbox: deque[p.ServerEvent] = deque()
        self.running: list[Generation] = []
        self._read = 0
        self.do(self.core.open())

    def do(self, effects: Effects) -> None:
        for effect in effects:
            if isinstance(effect, Respond):
                self.running.append(effect.generation)
            elif isinstance(effect, Halt):
                self.running.remove(effect.generation)
            elif not isinstance(effect, Hear):
                self.outbox.append(effect)

    def read(self, count: int) -> int:
        """Carry out so many of the client's frames."""
        frames = self.wire.sent[self._read : self._read + count]
        self._read += len(frames)
        for frame in frames:
            self.do(self.core.receive(p.encode_client_event(frame)))
        return len(frames)


class PlaybackMachine(RuleBasedStateMachine):
    """See the top of the file."""

    @initialize(interrupts=st.booleans())
    def connect(self, interrupts: bool) -> None:
        self.driver = Driver()
        self.interrupts = interrupts
        model = RealtimeModel(
            api_key="test",
            base_url="http://test/v1",
            engine=self.driver,
            max_session_duration=None,
            turn_detection=ServerVad(create_response=False, interrupt_response=interrupts),
            conn_options=ConnectOptions(max_retry=100_000),
            timeouts=Timeouts(ping_interval=1e9),
        )
        self.session = model.session()
        self.playback = self.session.playback
        self.items: dict[int, str] = {}  # sample value → item id
        self.received: Counter[str] = Counter()  # samples that have arrived
        self.heard: Counter[str] = Counter()  # samples that were read
        self.told: dict[str, dict[str, Any]] = {}  # the truncation or deletion of each item
        self.beside: set[str] = set()
        self.silenced: set[str] = set()  # items that may not be heard any more
        self.finished: set[str] = set()
        self.responses: dict[str, str] = {}  # item id → response id
        self.silent_responses: set[str] = set()
        self.open_responses: set[str] = set()  # in the conversation, as far as the session knows
        self.silent_requests: set[str] = set()
        self.lost: set[str] = set()  # items of earlier connections
        self.gone: set[str] = set()  # items of whose deletion the session knows
        self.fade = self.foreseen = 0  # samples
        self.cut_unread = False  # whether playback was cut after the last read
        self.checked = 0
        self.server = Server(self.driver.accept())

    # -- the model speaks ------------------------------------------------------------------------------

    @rule(beside=st.booleans())
    def ask(self, beside: bool) -> None:
        self.session.generate_reply(**({"conversation": "none"} if beside else {}))
        self.driver.run()
        self.look()

    @precondition(lambda self: self.server.running)
    @rule(ms=st.sampled_from([20, 100, 250]), which=st.integers(0, 3), times=st.integers(1, 4))
    def speak(self, ms: int, which: int, times: int) -> None:
        generation = self.server.running[which % len(self.server.running)]
        for _ in range(times):
            value = self.value_for(generation)
            audio = np.full(ms * PER_MS, value, np.int16).tobytes()
            self.server.do(self.server.core.advance(generation, Delta("word ", audio, float(ms))))

    def value_for(self, generation: Generation) -> int:
        """A sample value that is this message's alone."""
        message = generation._message
        if message is None:
            self.server.do(self.server.core.advance(generation, Delta("Well, ")))
            message = generation._message
        assert message is not None
        item_id = message.stored.item.id
        for value, known in self.items.items():
            if known == item_id:
                return value
        value = 3000 + 131 * len(self.items)
        self.items[value] = item_id
        self.responses[item_id] = generation.id
        if not generation.in_conversation:
            self.beside.add(item_id)
        return value

    @precondition(lambda self: self.server.running)
    @rule(which=st.integers(0, 3), text=st.booleans())
    def say_nothing_aloud(self, which: int, text: bool) -> None:
        """A call ends the message, so that the next words begin another; or words without sound."""
        generation = self.server.running[which % len(self.server.running)]
        step = Delta("silently ") if text else CallStep("look", ("{}",))
        self.server.do(self.server.core.advance(generation, step))

    @precondition(lambda self: self.server.running)
    @rule(which=st.integers(0, 3))
    def finish(self, which: int) -> None:
        self.server.do(self.server.core.finish(self.server.running[which % len(self.server.running)]))

    @rule(ms=st.sampled_from([100, 400]), reads=st.integers(0, 40), ends=st.booleans())
    def tell_a_story(self, ms: int, reads: int, ends: bool) -> None:
        """What single rules would seldom bring about: a response that is on its way to the ear."""
        self.settle()
        self.ask(False)
        self.settle()
        if self.server.running:
            self.speak(ms, len(self.server.running) - 1, 3)
            if ends:
                self.finish(len(self.server.running) - 1)
            self.deliver(ALL)
            self.listen(reads * 10)

    # -- the user listens, and talks over it --------------------------------------------------------------

    @rule(ms=st.sampled_from([3, 10, 20, 100, 500]))
    def listen(self, ms: int) -> None:
        block = self.playback.read(ms * PER_MS)
        self.cut_unread = False
        # What fades out after a cut was not heard, and has other values.
        fading, self.fade = block[: self.fade], max(0, self.fade - len(block))
        for value, count in zip(*np.unique(block[len(fading) :], return_counts=True), strict=True):
            if value:
                item_id = self.items[int(value)]
                assert item_id not in self.silenced, "heard after it was cut"
                self.heard[item_id] += int(count)

    @rule(hasty=st.booleans())
    def interrupt(self, hasty: bool) -> None:
        self.driver.run()
        asked = [frame["response"] for frame in self.server.wire.of_type("response.create")]
        # Those that have been answered do no harm here.
        self.silent_requests |= {
            response["metadata"]["client_event_id"] for response in asked if "conversation" not in response
        }
        self.foresee_fade()
        self.session.interrupt()
        self.cut(hasty)

    @rule()
    def user_speaks(self) -> None:
        """As the server sees it: it cancels its response by itself."""
        core = self.server.core
        event = p.InputAudioBufferSpeechStarted(
            audio_start_ms=0, item_id=new_id("said"), event_id=new_id("event")
        )
        self.server.outbox.append(event)
        if self.interrupts and core._responder.active is not None:
            self.server.do(core._responder.cancel(None, "turn_detected"))
        self.deliver(ALL, until=event)
        if self.interrupts:
            self.cut(True)
        else:
            before = self.playback.queued_ms
            self.deliver(ALL)
            assert self.playback.queued_ms >= before

    def foresee_fade(self) -> None:
        """How much of what is queued will fade out if playback is cut now."""
        if self.cut_unread:
            # The player is where it was at the cut before: what has come since is not in its hands.
            self.foreseen = self.fade
            return
        waiting = self.fade + round(self.playback.queued_ms * PER_MS)
        self.foreseen = min(FADE, waiting) if self.playback._sounding else 0

    def cut(self, hasty: bool) -> None:
        """Playback was cut: check what the server is told, and forget what was queued."""
        running = {item for item in self.received if item not in self.finished}
        self.fade, self.cut_unread = self.foreseen, True
        unheard = {
            item
            for item in self.received.keys() - self.silenced
            if item in running or self.heard[item] + PER_MS <= self.received[item]
        }
        self.driver.run()
        assert self.playback.queued_ms == 0
        self.silenced |= self.received.keys()
        self.silent_responses |= self.open_responses | {self.responses[item] for item in running}
        self.look()
        for item in unheard - self.beside - self.lost - self.gone:
            assert item in self.told, "the server is not told how much was heard"
        if not hasty:
            self.settle()

    # -- the server and the network -------------------------------------------------------------------------

    @rule(which=st.integers(0, 9))
    def server_deletes(self, which: int) -> None:
        items = [
            item for item in self.server.core.items.all() if getattr(item.item, "status", "") == "completed"
        ]
        if items:
            item_id = items[which % len(items)].item.id
            self.server.do(
                self.server.core.receive(f'{{"type":"conversation.item.delete","item_id":"{item_id}"}}')
            )

    @rule(count=st.integers(1, 6))
    def server_reads(self, count: int) -> None:
        self.server.read(count)

    @rule(count=st.integers(1, 10))
    def session_reads(self, count: int) -> None:
        self.deliver(count)

    def deliver(self, count: int, until: p.ServerEvent | None = None) -> int:
        """Let so many of the server's frames arrive."""
        delivered = 0
        while self.server.outbox and delivered < count:
            event = self.server.outbox.popleft()
            delivered += 1
            self.note(event)
            if event is until:
                self.foresee_fade()
            self.server.wire.reply(event)
            if event is until:
                break
            self.look()
            if isinstance(event, p.ResponseOutputItemDone) and event.item.id in self.silenced:
                assert event.item.id in self.told.keys() | self.beside | self.gone, "nobody heard it"
        return delivered

    def note(self, event: Any) -> None:
        if isinstance(event, p.ResponseCreated):
            asked = (event.response.metadata or {}).get("client_event_id")
            if asked in self.silent_requests:
                self.silent_responses.add(event.response.id)
            if event.response.conversation_id:
                self.open_responses.add(event.response.id)
        elif isinstance(event, p.ResponseDone):
            self.open_responses.discard(event.response.id)
        elif isinstance(event, p.ResponseOutputAudioDelta):
            if event.response_id in self.silent_responses:
                self.silenced.add(event.item_id)
            self.received[event.item_id] += len(pybase64.b64decode(event.delta)) // 2
        elif isinstance(event, p.ResponseOutputItemDone):
            self.finished.add(event.item.id)
        elif isinstance(event, p.ConversationItemDeleted):
            self.gone.add(event.item_id)

    @rule(returns=st.booleans())
    def connection_drops(self, returns: bool) -> None:
        self.server.wire.drop()
        self.finished |= self.received.keys()
        self.open_responses.clear()
        self.lost |= self.received.keys()
        if not returns:
            # What was heard is cut in the mirror, which the next connection is told of.
            self.foresee_fade()
            self.session.interrupt()
            self.cut(True)
        while not self.driver.dialling:
            self.driver.advance(0.5)
        self.server = Server(self.driver.accept())
        self.checked = 0
        self.look()

    @rule()
    def settle(self) -> None:
        while self.server.read(ALL) + self.deliver(ALL):
            pass

    # -- what the session has sent ----------------------------------------------------------------------------

    def look(self) -> None:
        """Check the truncations and deletions that went out."""
        frames = self.server.wire.sent[self.checked :]
        self.checked += len(frames)
        for frame in frames:
            if frame["type"] not in ("conversation.item.truncate", "conversation.item.delete"):
                continue
            item_id = frame["item_id"]
            if item_id in self.told:
                # A deletion that the last connection did not confirm goes out again, under its own event id.
                assert frame.get("event_id", "") == self.told[item_id].get("event_id"), "told twice"
                assert item_id in self.lost, "told twice"
                continue
            self.told[item_id] = frame
            assert item_id not in self.gone, "the server has said that it doesn't have it"
            assert item_id not in self.beside, "it is in no conversation"
            heard_ms = self.heard[item_id] / PER_MS
            if frame["type"] == "conversation.item.delete":
                assert heard_ms < 1
                continue
            assert item_id not in self.lost, "the server has only its words"
            assert 0 < frame["audio_end_ms"] <= self.received[item_id] / PER_MS
            assert abs(frame["audio_end_ms"] - heard_ms) <= 1

    def teardown(self) -> None:
        self.session._close_soon(1.0)
        self.driver.run()
        self.server.wire.drop()
        assert self.session.state == "closed"


def run(examples: int, steps: int = 50, derandomize: bool = False) -> None:
    run_state_machine_as_test(
        PlaybackMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=derandomize,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.timeout(120)
def test_the_server_is_told_what_was_heard() -> None:
    # The same examples each time; the long run below looks for new ones.
    run(60, derandomize=True)


@pytest.mark.parametrize("dropping", [False, True])
def test_two_cuts_between_two_reads_fade_out_only_what_was_playing(dropping: bool) -> None:
    machine = PlaybackMachine()
    machine.connect(interrupts=True)
    if not dropping:
        machine.ask(beside=True)
    machine.tell_a_story(ends=not dropping, ms=100, reads=16)
    if dropping:
        machine.connection_drops(returns=False)
        machine.ask(beside=True)
        machine.settle()
    else:
        machine.interrupt(hasty=False)
    machine.listen(ms=3)
    machine.user_speaks()
    machine.speak(ms=20, times=1, which=0)
    machine.settle()
    machine.interrupt(hasty=False)
    machine.tell_a_story(ends=True, ms=100, reads=1 if dropping else 32)
    machine.user_speaks()
    machine.teardown()


@pytest.mark.full
@pytest.mark.timeout(600)
def test_the_server_is_told_what_was_heard_through_twenty_thousand_steps() -> None:
    run(400)
