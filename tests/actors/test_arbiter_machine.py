"""The arbiter against a server that does everything it may, in any order (contract §6, "One arbiter")."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import hypothesis.strategies as st
import wire as w
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from antiphon import RealtimeModel
from antiphon.actors.config import ConnectOptions, Timeouts
from antiphon.actors.failures import COLLISION
from antiphon.testing.driver import Driver, FakeWire

REPLY = 10.0
WAIT = 30.0
STEP = 0.5


class ArbiterMachine(RuleBasedStateMachine):
    """Plays application, server and clock.

    The server reads frame by frame and late; it runs one response in the conversation and any number beside
    it. `in_flight` and `running` are what the client can know, from what has been delivered to it.
    """

    @initialize(echoes=st.booleans(), names_requests=st.booleans())
    def connect(self, echoes: bool, names_requests: bool) -> None:
        self.echoes = echoes
        self.names_requests = names_requests
        self.driver = Driver()
        self.model = RealtimeModel(
            api_key="test",
            base_url="http://test/v1",
            engine=self.driver,
            max_session_duration=None,
            conn_options=ConnectOptions(max_retry=10_000, retry_interval=STEP / 2),
            timeouts=Timeouts(ping_interval=1e6, reply=REPLY, reply_wait=WAIT),
        )
        self.session = self.model.session()
        self.futures: list[Future[Any]] = []
        self.handouts: list[Any] = []
        self.session.on("generation_created", self.handouts.append)
        self.count = 0
        self.accept()

    # -- bookkeeping ----------------------------------------------------------------------------------

    def accept(self) -> None:
        self.wire: FakeWire | None = self.driver.accept()
        self.looked = self.read = 0
        # By event id: until when a response.create counts as in flight if nothing is heard of it.
        self.in_flight: dict[str, float] = {}
        self.running: set[str] = set()
        self.server_active: str | None = None
        self.server_beside: list[str] = []
        self.look()

    def look(self, held: bool = False) -> None:
        """Check the frames that have come since the last look: the invariant of this machine.

        What the socket `held` was decided before, and can't be called back when a response begins meanwhile.
        """
        self.driver.run()
        now = self.driver.now()
        while self.wire is not None and self.looked < len(self.wire.sent):
            event = self.wire.sent[self.looked]
            self.looked += 1
            if event["type"] != "response.create" or "conversation" in event["response"]:
                continue
            open_ones = [event_id for event_id, until in self.in_flight.items() if now < until]
            assert not open_ones, "two response.create in flight"
            assert held or not self.running, "a response.create while a response is known to run"
            self.in_flight[event["event_id"]] = now + REPLY
        if self.wire is not None and self.wire.close_code is not None:
            # A restart, perhaps one that had to wait for a response.
            self.wire = None

    def deliver(self, *events: Any) -> None:
        assert self.wire is not None
        self.wire.reply(*events)
        self.look()

    def fresh_id(self) -> str:
        self.count += 1
        return f"r{self.count}"

    def begin(self, event: dict[str, Any] | None) -> None:
        """The server begins a response in the conversation and says so."""
        response_id = self.server_active = self.fresh_id()
        self.running = {response_id}
        if event is not None and self.echoes:
            self.in_flight.pop(event["event_id"], None)
        elif event is not None:
            # The client can only take it for the answer to the one that is pending, not to one that timed out.
            self.in_flight.clear()
        self.deliver(w.created(response_id, event if self.echoes else None))

    def finish(self, status: str) -> None:
        """The server ends it and says so."""
        assert self.server_active is not None
        response_id, self.server_active = self.server_active, None
        self.running.discard(response_id)
        self.deliver(w.done(response_id, status))

    def open(self) -> bool:
        return self.wire is not None

    # -- the application ---------------------------------------------------------------------------------

    @rule(beside=st.booleans())
    def ask(self, beside: bool) -> None:
        if beside and not self.echoes:
            # A known fault: without metadata, what answers a request beside the conversation late, or one that was
            # cancelled, can be taken for an answer in it, or the other way round.
            return
        self.futures.append(self.session.generate_reply(**({"conversation": "none"} if beside else {})))
        self.look()

    @precondition(lambda self: any(not future.done() for future in self.futures))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        future = data.draw(st.sampled_from([future for future in self.futures if not future.done()]))
        assert future.cancel()
        self.driver.run()
        if self.wire is not None and "response.cancel" in self.wire.types[self.looked :]:
            # It was the one in flight: that counts until a sign comes, or as long again.
            self.in_flight = dict.fromkeys(self.in_flight, self.driver.now() + REPLY)
        self.look()

    @rule()
    def interrupt(self) -> None:
        self.session.interrupt()
        self.look()

    # -- the server ------------------------------------------------------------------------------------------

    def unread(self) -> dict[str, Any] | None:
        if self.wire is None:
            return None
        while self.read < len(self.wire.sent):
            event = self.wire.sent[self.read]
            if event["type"] in ("response.create", "response.cancel"):
                return event
            self.read += 1
        return None

    @precondition(lambda self: self.unread() is not None)
    @rule(outcome=st.sampled_from(["answer", "answer", "answer", "refuse", "ignore"]))
    def serve(self, outcome: str) -> None:
        event = self.unread()
        assert event is not None
        self.read += 1
        if event["type"] == "response.cancel":
            self.serve_cancel(event)
        elif outcome == "refuse":
            self.in_flight.pop(event["event_id"], None)
            self.deliver(w.error("invalid_value", event_id=event["event_id"]))
        elif outcome == "ignore":
            pass
        elif event["response"].get("conversation") == "none":
            response_id = self.fresh_id()
            self.server_beside.append(response_id)
            self.deliver(w.created(response_id, event if self.echoes else None, conversation_id=None))
        elif self.server_active is not None:
            self.in_flight.pop(event["event_id"], None)
            event_id = event["event_id"] if self.names_requests else None
            self.deliver(w.error(COLLISION, "busy", event_id=event_id))
        else:
            self.begin(event)

    def serve_cancel(self, event: dict[str, Any]) -> None:
        which = event.get("response_id", self.server_active)
        if which is not None and which == self.server_active:
            self.finish("cancelled")
        elif which in self.server_beside:
            self.server_beside.remove(which)
            self.deliver(w.done(which, "cancelled"))
        else:
            # It says that nothing runs, so nothing counts as in flight any more.
            self.in_flight.clear()
            self.deliver(w.error(None, "Cancellation failed: no active response found"))

    @precondition(lambda self: self.open() and self.server_active is None)
    @rule()
    def server_turn(self) -> None:
        self.deliver(w.committed())
        self.begin(None)

    @precondition(lambda self: self.open() and self.server_active is not None)
    @rule(status=st.sampled_from(["completed", "incomplete", "failed"]))
    def server_done(self, status: str) -> None:
        self.finish(status)

    @precondition(lambda self: self.open() and self.server_beside)
    @rule()
    def beside_done(self) -> None:
        self.deliver(w.done(self.server_beside.pop()))

    # -- the world ----------------------------------------------------------------------------------------------

    @rule(steps=st.sampled_from([1, 3, 19, 20, 21, 61]))
    def wait(self, steps: int) -> None:
        for _ in range(steps):
            if self.wire is None and self.driver.dialling:
                self.accept()
            self.driver.advance(STEP)
            self.look()

    @precondition(lambda self: self.open())
    @rule(full=st.booleans())
    def clog(self, full: bool) -> None:
        assert self.wire is not None
        if full:
            self.wire.full = True
        else:
            self.wire.drain()
        self.look(held=True)

    @precondition(lambda self: self.open())
    @rule()
    def drop(self) -> None:
        assert self.wire is not None
        wire, self.wire = self.wire, None
        wire.drop()

    @precondition(lambda self: not self.open())
    @rule()
    def reconnect(self) -> None:
        while not self.driver.dialling:
            self.driver.advance(STEP / 2)
        self.accept()

    @precondition(lambda self: self.open())
    @rule()
    def restart(self) -> None:
        self.session.restart()
        self.look()

    # -- what must always hold ------------------------------------------------------------------------------------

    @invariant()
    def an_answer_reaches_the_one_who_asked(self) -> None:
        for future in self.futures:
            if future.done() and not future.cancelled() and future.exception() is None:
                assert future.result() in self.handouts

    def teardown(self) -> None:
        if not hasattr(self, "session"):
            return
        # The server falls silent: everything is settled, with an answer or an error.
        self.wait(int(2 * (WAIT + REPLY) / STEP) + 2)
        assert all(future.done() for future in self.futures)
        # What runs is done: nothing keeps the next request from going out and being answered.
        if self.wire is None:
            self.reconnect()
        self.wire.drain()
        self.look(held=True)
        self.wait(int(REPLY / STEP) + 1)
        if self.server_active is not None:
            self.finish("completed")
        while self.wire is not None and self.server_beside:
            self.beside_done()
        if self.wire is None:
            self.reconnect()
        assert not self.driver.call(lambda: self.session.has_active_generation)
        sent = len(self.wire.of_type("response.create"))
        last = self.session.generate_reply()
        self.driver.run()
        creates = self.wire.of_type("response.create")
        assert len(creates) == sent + 1
        self.wire.reply(w.created("last", creates[-1]), w.done("last"))
        assert last.result(0).done.result(0).status == "completed"
        assert all(handout.done.done() for handout in self.handouts)
        self.session._close_soon(1.0)
        self.driver.advance(10.0)
        assert self.session.state == "closed"


TestArbiterMachine = ArbiterMachine.TestCase
TestArbiterMachine.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
