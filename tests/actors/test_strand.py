"""A session as one scheduling unit: order, batches, failures, dead letters, limits."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import pykka
import pytest

from antiphon.actors.engine import Engine
from antiphon.actors.strand import BATCH, JOINED, Strand, StrandActor
from antiphon.testing.driver import Driver

DEADLINE = 10.0


class Recorder(StrandActor):
    """Notes what it gets; a tuple is a list of (address, message) to send on, an exception is raised."""

    def __init__(self, strand: Strand, name: str, log: list[Any]) -> None:
        super().__init__(strand, name)
        self.log = log

    def on_receive(self, message: Any) -> Any:
        self.log.append((self.name, message))
        if isinstance(message, BaseException):
            raise message
        if isinstance(message, tuple):
            for to, what in message:
                self.strand.tell(to, what)
        return message


class Bench:
    """A strand on the driver with three recorders, a, b and c."""

    def __init__(self) -> None:
        self.driver = Driver()
        self.strand = Strand(self.driver, "test")
        self.log: list[Any] = []
        self.refs = {name: Recorder.start(self.strand, name, self.log) for name in "abc"}
        self.strand.resume()

    def run(self) -> list[Any]:
        self.driver.run()
        return self.log


@pytest.fixture
def bench() -> Iterator[Bench]:
    """A running strand."""
    made = Bench()
    yield made
    for actor in list(made.strand._actors.values()):
        actor.retire()


# -- order ---------------------------------------------------------------------------------------------


def test_mail_is_served_in_the_order_of_the_calls_whoever_it_is_for(bench: Bench) -> None:
    for number, name in enumerate("abcabc"):
        bench.strand.tell(name, number)
    assert bench.log == []
    assert bench.run() == [("a", 0), ("b", 1), ("c", 2), ("a", 3), ("b", 4), ("c", 5)]


def test_a_call_and_all_that_follows_from_it_is_one_step(bench: Bench) -> None:
    bench.strand.tell("a", (("b", (("c", "end"),)),))
    bench.strand.tell("a", "next call")
    names = [name for name, _ in bench.run()]
    assert names == ["a", "b", "c", "a"]


def test_what_follows_is_delivered_depth_first(bench: Bench) -> None:
    bench.strand.tell("a", (("b", (("c", 1), ("c", 2))), ("b", 3)))
    assert [message for _, message in bench.run()[2:]] == [1, 2, 3]


def test_what_waits_of_a_kind_that_can_be_joined_is_one_message_but_never_past_another(bench: Bench) -> None:
    bench.strand.joins[int] = sum
    bench.strand.limit("a", 100, "block")
    for to, message in (("a", 1), ("a", 2), ("a", "x"), ("a", 4), ("b", 8), ("a", 16), ("a", 32), ("a", 64)):
        bench.strand.tell(to, message)
    assert bench.strand.waiting() == {"a": 7}
    assert bench.run() == [("a", 3), ("a", "x"), ("a", 4), ("b", 8), ("a", 112)]
    assert bench.strand.waiting() == {"a": 0}


def test_not_more_than_so_many_are_joined(bench: Bench) -> None:
    bench.strand.joins[int] = sum
    for _ in range(2 * JOINED):
        bench.strand.tell("a", 1)
    assert bench.run() == [("a", JOINED), ("a", JOINED)]


def test_urgent_mail_is_served_first(bench: Bench) -> None:
    for number in range(10_000):
        bench.strand.tell("a", number)
    bench.strand.tell_urgently("b", "stop")
    bench.driver.step()
    assert bench.log == [("b", "stop")]


def test_mail_waits_until_the_strand_begins_but_urgent_mail_does_not() -> None:
    driver, log = Driver(), list[Any]()
    strand = Strand(driver, "test")
    ref = Recorder.start(strand, "a", log)
    strand.tell("a", 1)
    driver.run()
    assert log == []
    strand.tell_urgently("a", 2)
    driver.run()
    assert log == [("a", 2)]
    strand.resume()
    driver.run()
    assert log == [("a", 2), ("a", 1)]
    strand.actor("a").retire()
    assert not ref.is_alive()


def test_held_mail_waits_and_is_not_lost(bench: Bench) -> None:
    bench.strand.hold()
    bench.strand.tell("a", 1)
    bench.strand.tell_all("a", [2, 3])
    assert bench.run() == []
    bench.strand.resume()
    assert bench.run() == [("a", 1), ("a", 2), ("a", 3)]


def test_a_flooding_strand_gives_way_after_a_batch() -> None:
    driver, log = Driver(), list[Any]()
    strands = [Strand(driver, name) for name in ("flooding", "quiet")]
    for strand in strands:
        Recorder.start(strand, strand.name, log)
        strand.resume()
    driver.run()
    strands[0].tell_all("flooding", range(10 * BATCH))
    strands[1].tell("quiet", "hey")
    driver.step(BATCH)
    driver.step(BATCH)
    assert len(log) == BATCH + 1
    assert log[-1] == ("quiet", "hey")
    driver.run()
    assert len(log) == 10 * BATCH + 1
    for strand in strands:
        strand.actor(strand.name).retire()


def test_len_is_what_waits(bench: Bench) -> None:
    bench.strand.tell("a", 1)
    bench.strand.tell_urgently("a", 2)
    assert len(bench.strand) == 2
    bench.run()
    assert len(bench.strand) == 0


# -- pykka's side ----------------------------------------------------------------------------------------


def test_ask_gets_the_answer(bench: Bench) -> None:
    future = bench.refs["a"].ask("hey", block=False)
    bench.run()
    assert future.get(timeout=DEADLINE) == "hey"


def test_a_ref_tells_through_the_strand(bench: Bench) -> None:
    bench.strand.tell("b", 1)
    bench.refs["a"].tell(2)
    assert bench.run() == [("b", 1), ("a", 2)]


def test_ask_gets_the_exception_and_the_actor_lives(bench: Bench) -> None:
    future = bench.refs["a"].ask(ValueError("no"), block=False)
    bench.run()
    with pytest.raises(ValueError, match="no"):
        future.get(timeout=DEADLINE)
    assert bench.refs["a"].is_alive()


def test_a_retired_actor_is_gone(bench: Bench) -> None:
    dead: list[Any] = []
    bench.strand.on_dead_letter = dead.append
    bench.strand.actor("a").retire()
    assert not bench.refs["a"].is_alive()
    assert pykka.ActorRegistry.get_by_urn(bench.refs["a"].actor_urn) is None
    bench.strand.tell("a", 1)
    assert bench.run() == []
    assert dead == [1]
    with pytest.raises(KeyError):
        bench.strand.actor("a")


def test_a_successor_keeps_the_address_when_its_predecessor_retires(bench: Bench) -> None:
    old = bench.strand.actor("a")
    bench.refs["a"] = Recorder.start(bench.strand, "a", bench.log)
    old.retire()
    bench.strand.tell("a", 1)
    assert bench.run() == [("a", 1)]


# -- failures ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1), KeyboardInterrupt()])
def test_a_failure_is_reported_and_the_mail_goes_on(bench: Bench, error: BaseException) -> None:
    failures: list[Any] = []
    bench.strand.on_failure = lambda *report: failures.append(report)
    bench.strand.tell("a", error)
    bench.strand.tell("b", 1)
    assert bench.run()[-1] == ("b", 1)
    assert failures == [("a", error, error)]


def test_a_failure_that_nobody_hears_of_is_logged(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.strand.tell("a", ValueError("no"))
    bench.strand.tell("a", 1)
    with caplog.at_level(logging.ERROR, "antiphon.strand"):
        assert bench.run()[-1] == ("a", 1)
    assert len(caplog.records) == 1


# -- dead letters ------------------------------------------------------------------------------------------


def test_mail_for_nobody_is_a_dead_letter(bench: Bench) -> None:
    dead: list[Any] = []
    bench.strand.on_dead_letter = dead.append
    bench.strand.tell("nobody", 1)
    bench.run()
    assert dead == [1]


def test_close_makes_dead_letters_of_what_waits_and_of_what_comes(bench: Bench) -> None:
    dead: list[Any] = []
    bench.strand.on_dead_letter = dead.append
    bench.strand.tell("a", 1)
    bench.strand.tell_urgently("a", 2)
    bench.strand.close()
    bench.strand.tell("a", 3)
    bench.strand.tell_all("a", [4, 5])
    assert bench.run() == []
    assert sorted(dead) == [1, 2, 3, 4, 5]
    assert bench.strand.closed


def test_close_from_inside_stops_the_step(bench: Bench) -> None:
    dead: list[Any] = []
    bench.strand.on_dead_letter = dead.append
    bench.strand.on_failure = lambda *_: bench.strand.close()
    bench.strand.tell("a", (("b", ValueError("no")), ("c", "never")))
    assert [name for name, _ in bench.run()] == ["a", "b"]
    assert dead == ["never"]


def test_whoever_asks_a_closed_strand_is_told(bench: Bench) -> None:
    waiting = bench.refs["a"].ask(1, block=False)
    bench.strand.close()
    later = bench.refs["a"].ask(2, block=False)
    for future in (waiting, later):
        with pytest.raises(pykka.ActorDeadError):
            future.get(timeout=DEADLINE)


# -- limits ------------------------------------------------------------------------------------------------


def test_a_full_mailbox_that_fails_refuses_the_newest(bench: Bench) -> None:
    dead: list[Any] = []
    bench.strand.on_dead_letter = dead.append
    bench.strand.limit("a", 2, "fail")
    for number in range(4):
        bench.strand.tell("a", number)
    bench.strand.tell("b", "unlimited")
    assert bench.run() == [("a", 0), ("a", 1), ("b", "unlimited")]
    assert dead == [2, 3]


def test_a_full_mailbox_that_drops_loses_the_oldest(bench: Bench) -> None:
    dead: list[Any] = []
    bench.strand.on_dead_letter = dead.append
    bench.strand.limit("a", 2, "drop_oldest")
    bench.strand.tell_all("a", range(4))
    assert bench.run() == [("a", 2), ("a", 3)]
    assert dead == [0, 1]


def test_a_full_mailbox_that_blocks_reports_pressure_and_relief_and_loses_nothing(bench: Bench) -> None:
    pressure: list[bool] = []
    bench.strand.on_pressure = pressure.append
    bench.strand.limit("a", 4, "block")
    bench.strand.tell_all("a", range(10))
    assert pressure == [True]
    assert bench.run() == [("a", number) for number in range(10)]
    assert pressure == [True, False]


def test_what_actors_send_each_other_is_not_limited(bench: Bench) -> None:
    bench.strand.limit("b", 1, "fail")
    bench.strand.tell("a", tuple(("b", number) for number in range(5)))
    assert len(bench.run()) == 6


# -- with real threads ----------------------------------------------------------------------------------------


class Counter(StrandActor):
    """Notes messages, and whether another of its session ran at the same time."""

    def __init__(self, strand: Strand, name: str, shared: dict[str, Any]) -> None:
        super().__init__(strand, name)
        self.shared = shared

    def on_receive(self, message: Any) -> None:
        if not self.shared["lock"].acquire(blocking=False):
            self.shared["overlaps"] += 1
            return
        self.shared["got"].append(message)
        self.shared["lock"].release()
        if message == "end":
            self.shared["done"].set()


@pytest.mark.parametrize("dispatcher", ["pool", "thread"])
def test_no_two_actors_of_a_session_run_at_once_and_senders_keep_their_order(dispatcher: Any) -> None:
    engine = Engine(workers=2, dispatcher=dispatcher)
    engine.acquire("test", lambda _: None)
    strands = [Strand(engine, f"s{number}") for number in range(3)]
    states = []
    for strand in strands:
        shared = {"lock": threading.Lock(), "got": [], "overlaps": 0, "done": threading.Event()}
        states.append(shared)
        for name in "ab":
            Counter.start(strand, name, shared)
        strand.resume()

    def send(sender: int) -> None:
        for number in range(300):
            for strand in strands:
                strand.tell("ab"[number % 2], (sender, number))

    senders = [threading.Thread(target=send, args=(sender,)) for sender in range(3)]
    for thread in senders:
        thread.start()
    for thread in senders:
        thread.join(DEADLINE)
    for strand, shared in zip(strands, states, strict=True):
        strand.tell("a", "end")
        assert shared["done"].wait(DEADLINE)
        assert shared["overlaps"] == 0
        assert len(shared["got"]) == 901
        for sender in range(3):
            mine = [got[1] for got in shared["got"][:-1] if got[0] == sender]
            assert mine == list(range(300))
        for name in "ab":
            strand.actor(name).retire()
        strand.close()
    engine.release("test")
    assert engine.close(DEADLINE)


# -- running where the mail comes from -------------------------------------------------------------------


def test_a_strand_at_rest_runs_on_the_thread_that_asks_for_it(bench: Bench) -> None:
    bench.run()
    bench.strand.tell_all("a", [(("b", "follows"),), "next"], here=True)
    assert bench.log == [("a", (("b", "follows"),)), ("b", "follows"), ("a", "next")]
    assert not bench.driver.step()


@pytest.mark.parametrize("busy", ["waiting", "urgent", "held"])
def test_a_strand_that_has_work_takes_it_in_its_turn(bench: Bench, busy: str) -> None:
    bench.run()
    if busy == "waiting":
        bench.strand.tell("b", "first")
    elif busy == "urgent":
        bench.strand.tell_urgently("b", "first")
    else:
        bench.strand.hold()
        bench.strand.tell("b", "first")
    bench.strand.tell_all("a", ["second"], here=True)
    assert bench.log == []
    bench.strand.resume()
    assert bench.run() == [("b", "first"), ("a", "second")]


def test_what_does_not_fit_a_mailbox_is_not_run_there_either(bench: Bench) -> None:
    bench.run()
    bench.strand.limit("a", 3, "fail")
    refused: list[Any] = []
    bench.strand.on_dead_letter = refused.append
    bench.strand.tell_all("a", range(5), here=True)
    assert bench.run() == [("a", 0), ("a", 1), ("a", 2)]
    assert refused == [3, 4]


def test_a_closed_strand_returns_what_it_is_to_run(bench: Bench) -> None:
    returned: list[Any] = []
    bench.strand.on_dead_letter = returned.append
    bench.strand.close()
    bench.strand.tell_all("a", [1, 2], here=True)
    assert (bench.log, returned) == ([], [1, 2])


def test_more_than_a_batch_goes_on_with_the_workers(bench: Bench) -> None:
    bench.run()
    bench.strand.tell_all("a", range(BATCH + 1), here=True)
    assert len(bench.log) == BATCH
    assert len(bench.run()) == BATCH + 1
