"""What happens when an actor fails, and how all of them stop (contract §11)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import msgspec
import pytest
import wire as w

import antiphon.protocol as p
from antiphon import RealtimeError
from antiphon.actors import messages as m
from antiphon.actors.core import Arm, Core, CoreActor, TimerFired, handles
from antiphon.actors.emitter import Emitter
from antiphon.actors.events import EVENT_NAMES
from antiphon.actors.strand import Strand
from antiphon.actors.supervision import ActorPolicy, Backoff, Mailbox, SupervisorConfig
from antiphon.actors.supervisor import ChildSpec, Supervisor
from antiphon.testing.driver import Driver

ORDER = (m.CHAT_CTX, m.GENERATION, m.AUDIO_IN, m.CONNECTION)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Failures are logged with their traceback; here they are meant."""
    caplog.set_level(logging.CRITICAL, "antiphon")


# -- toy actors under a real supervisor -----------------------------------------------------------------


class Add(m.Message, frozen=True):
    """Remember a number."""

    number: int


class Fail(m.Message, frozen=True):
    """Remember a number and raise."""

    number: int
    error: type[BaseException] = ValueError
    future: Any = None


class SetTimer(m.Message, frozen=True):
    """Remember 99 in so many seconds."""

    delay: float


class Memory(Core):
    """Remembers numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: list[int] = []

    @handles(Add)
    def add(self, message: Add) -> None:
        self.numbers.append(message.number)

    @handles(Fail)
    def fail(self, message: Fail) -> None:
        self.numbers.append(message.number)
        self.emit("error", "an effect of a handler that failed")
        raise message.error("on purpose")

    @handles(SetTimer)
    def set_timer(self, message: SetTimer) -> None:
        self.do(Arm("key", message.delay))

    @handles(TimerFired)
    def timer_fired(self, _: TimerFired) -> None:
        self.numbers.append(99)


class Actor(CoreActor):
    """Notes when it starts and stops."""

    def __init__(self, strand: Strand, name: str, core: Core, emitter: Emitter, log: list[str]) -> None:
        super().__init__(strand, name, core, emitter)
        self.log = log

    def on_start(self) -> None:
        self.log.append(f"+{self.name}")

    def on_stop(self) -> None:
        super().on_stop()
        self.log.append(f"-{self.name}")


class Bench:
    """Four toy actors with the addresses of a session's, and their supervisor."""

    def __init__(self, config: SupervisorConfig) -> None:
        self.driver = Driver()
        self.strand = Strand(self.driver, "test")
        emitter = Emitter(self.driver, EVENT_NAMES)
        self.restarts: list[Any] = []
        self.effects: list[Any] = []
        emitter.on("actor_restarted", self.restarts.append)
        emitter.on("error", self.effects.append)
        self.cores = {name: Memory() for name in ORDER}
        self.log: list[str] = []
        self.lost: list[Any] = []
        self.collapses: list[Exception] = []
        self.ends = 0
        self.dead: list[Any] = []
        self.strand.on_dead_letter = self.dead.append
        children = [
            ChildSpec(
                name,
                lambda name=name: Actor.start(self.strand, name, self.cores[name], emitter, self.log),
            )
            for name in ORDER
        ]
        Supervisor.start(
            self.strand, children, config, emitter, self.lost.append, self.collapses.append, self.end
        )
        self.strand.resume()
        self.driver.run()

    def end(self) -> None:
        self.ends += 1
        self.strand.close()

    def tell(self, name: str, *messages: Any) -> None:
        for message in messages:
            self.strand.tell(name, message)
        self.driver.run()

    def fail(self, name: str = m.GENERATION, times: int = 1, wait: float = 0.0) -> None:
        for _ in range(times):
            self.tell(name, Fail(0))
            self.driver.advance(wait)


@pytest.fixture
def make_bench() -> Iterator[Callable[..., Bench]]:
    """Makes benches; keywords are the configuration's."""
    benches: list[Bench] = []

    def make(**config: Any) -> Bench:
        benches.append(Bench(SupervisorConfig(**config)))
        return benches[-1]

    yield make
    for bench in benches:
        if not bench.ends:
            bench.strand.tell_urgently(m.SUPERVISOR, m.SessionEnded())
            bench.driver.run()


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    """A bench with the defaults."""
    return make_bench()


def test_the_defaults_are_those_of_the_contract() -> None:
    config = SupervisorConfig()
    assert config.strategy == "one_for_one"
    for name in ORDER:
        policy = config.policy(name)
        assert (policy.restart, policy.max_restarts, policy.within) == ("permanent", 3, 5.0)
        assert policy.backoff == Backoff(initial=0.05, max=2.0, factor=2.0)
        assert policy.mailbox == Mailbox(limit=10_000, overflow="block")


def test_actors_start_in_order_and_stop_in_the_opposite_one(bench: Bench) -> None:
    assert bench.log == [f"+{name}" for name in ORDER]
    bench.log.clear()
    bench.tell(m.SUPERVISOR, m.SessionEnded())
    assert bench.log == [f"-{name}" for name in reversed(ORDER)]
    assert bench.ends == 1


@pytest.mark.parametrize("error", [ValueError, KeyError, SystemExit])
def test_a_failed_actor_is_started_again_and_reported(bench: Bench, error: type[BaseException]) -> None:
    bench.log.clear()
    bench.tell(m.GENERATION, Fail(1, error))
    assert bench.log == ["+generation", "-generation"]
    (report,) = bench.restarts
    assert (report.actor, report.message_type, report.restarted) == ("generation", "Fail", True)
    assert "on purpose" in str(report.error)


def test_the_state_is_as_it_was_before_the_message_which_is_not_redelivered(bench: Bench) -> None:
    bench.tell(m.GENERATION, Add(1), Fail(2), Add(3))
    bench.driver.advance(0.05)
    assert bench.cores[m.GENERATION].numbers == [1, 3]
    assert bench.effects == []


def test_the_lost_message_is_handed_over(bench: Bench) -> None:
    message = Fail(1)
    bench.tell(m.GENERATION, message)
    assert bench.lost == [message]


def test_the_address_stays_the_same(bench: Bench) -> None:
    before = bench.strand.actor(m.GENERATION)
    bench.fail()
    assert bench.strand.actor(m.GENERATION) is not before
    bench.driver.advance(0.05)
    bench.tell(m.GENERATION, Add(1))
    assert bench.cores[m.GENERATION].numbers == [1]


def test_timers_go_on(bench: Bench) -> None:
    bench.tell(m.GENERATION, SetTimer(1.0), Fail(0))
    bench.driver.advance(0.9)
    assert bench.cores[m.GENERATION].numbers == []
    bench.driver.advance(0.2)
    assert bench.cores[m.GENERATION].numbers == [99]


def test_mail_waits_for_the_backoff_and_is_not_lost(bench: Bench) -> None:
    bench.fail()
    bench.tell(m.GENERATION, Add(1))
    bench.tell(m.CHAT_CTX, Add(2))
    assert bench.cores[m.GENERATION].numbers == bench.cores[m.CHAT_CTX].numbers == []
    bench.driver.advance(0.04)
    assert bench.cores[m.GENERATION].numbers == []
    bench.driver.advance(0.02)
    assert bench.cores[m.GENERATION].numbers == [1]
    assert bench.cores[m.CHAT_CTX].numbers == [2]


def test_the_backoff_doubles(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(generation=ActorPolicy(backoff=Backoff(initial=0.5, max=1.5)))
    for delay in (0.5, 1.0, 1.5):
        bench.tell(m.GENERATION, Fail(0))
        bench.tell(m.GENERATION, Add(1))
        bench.driver.advance(delay - 0.1)
        assert bench.cores[m.GENERATION].numbers == []
        bench.driver.advance(0.2)
        assert bench.cores[m.GENERATION].numbers == [1]
        bench.cores[m.GENERATION].numbers.clear()
    assert bench.collapses == []


@pytest.mark.parametrize(
    ("failures", "random", "delay"),
    [(1, 0.5, 0.05), (2, 0.5, 0.1), (3, 0.5, 0.2), (20, 0.5, 2.0), (1, 0.0, 0.05), (1, 1.0, 0.05)],
)
def test_how_long_the_backoff_is(failures: int, random: float, delay: float) -> None:
    assert Backoff().delay(failures, random) == pytest.approx(delay)


@pytest.mark.parametrize(("random", "delay"), [(0.0, 0.5), (0.5, 1.0), (1.0, 1.5)])
def test_jitter_is_added_or_taken_away(random: float, delay: float) -> None:
    assert Backoff(initial=1.0, jitter=0.5).delay(1, random) == pytest.approx(delay)


def test_the_fourth_failure_within_five_seconds_is_one_too_many(bench: Bench) -> None:
    bench.fail(times=3, wait=1.0)
    assert bench.collapses == []
    assert len(bench.restarts) == 3
    bench.fail()
    (error,) = bench.collapses
    assert "on purpose" in str(error)
    assert len(bench.restarts) == 3


def test_failures_that_are_further_apart_do_not_add_up(bench: Bench) -> None:
    bench.fail(times=12, wait=1.7)
    assert bench.collapses == []
    assert len(bench.restarts) == 12


def test_each_actor_has_its_own_count(bench: Bench) -> None:
    for name in ORDER[:3]:
        bench.fail(name, times=3, wait=0.3)
    assert bench.collapses == []


def test_the_limits_are_settings(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(generation=ActorPolicy(max_restarts=0))
    bench.fail()
    assert len(bench.collapses) == 1


def test_after_a_collapse_further_failures_change_nothing(bench: Bench) -> None:
    bench.fail(times=4, wait=0.3)
    bench.fail(times=2)
    assert len(bench.collapses) == 1


def test_a_temporary_actor_stays_away(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(audio_in=ActorPolicy(restart="temporary"))
    bench.fail(m.AUDIO_IN)
    assert [report.restarted for report in bench.restarts] == [False]
    bench.tell(m.AUDIO_IN, Add(1))
    assert bench.dead == [Add(1)]
    bench.tell(m.GENERATION, Add(2))
    assert bench.cores[m.GENERATION].numbers == [2]


def test_a_session_without_its_connection_is_over(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(connection=ActorPolicy(restart="temporary"))
    bench.fail(m.CONNECTION)
    assert len(bench.collapses) == 1


@pytest.mark.parametrize(
    ("strategy", "restarted"),
    [
        ("one_for_one", ["generation"]),
        ("rest_for_one", ["generation", "audio_in", "connection"]),
        ("one_for_all", list(ORDER)),
    ],
)
def test_the_strategy_says_who_else_is_started_again(
    make_bench: Callable[..., Bench], strategy: Any, restarted: list[str]
) -> None:
    bench = make_bench(strategy=strategy)
    before = {name: bench.strand.actor(name) for name in ORDER}
    bench.tell(m.CHAT_CTX, Add(1))
    bench.fail()
    after = {name: bench.strand.actor(name) for name in ORDER}
    assert [name for name in ORDER if after[name] is not before[name]] == restarted
    assert all(not before[name].actor_ref.is_alive() for name in restarted)
    assert bench.cores[m.CHAT_CTX].numbers == [1]
    assert len(bench.restarts) == 1


def test_stopping_is_served_before_ten_thousand_messages(bench: Bench) -> None:
    bench.strand.tell_all(m.GENERATION, [Add(number) for number in range(10_000)])
    bench.strand.tell_urgently(m.SUPERVISOR, m.SessionEnded())
    bench.driver.run()
    assert bench.ends == 1
    assert bench.cores[m.GENERATION].numbers == []
    assert len(bench.dead) == 10_000


def test_stopping_does_not_wait_for_the_backoff(bench: Bench) -> None:
    bench.fail()
    bench.strand.tell_urgently(m.SUPERVISOR, m.SessionEnded())
    bench.driver.run()
    assert bench.ends == 1
    bench.driver.advance(10)
    assert bench.log[-1] == "-chat_ctx"


def test_a_stopped_actors_timers_do_not_fire(bench: Bench) -> None:
    bench.tell(m.GENERATION, SetTimer(1.0))
    bench.tell(m.SUPERVISOR, m.SessionEnded())
    bench.driver.advance(2)
    assert bench.cores[m.GENERATION].numbers == []
    assert bench.dead == []


def test_the_supervisors_mailbox_limits_are_the_configurations(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(generation=ActorPolicy(mailbox=Mailbox(limit=2, overflow="fail")))
    bench.tell(m.GENERATION, Add(1), Add(2), Add(3))
    assert bench.dead == [Add(3)]
    assert bench.cores[m.GENERATION].numbers == [1, 2]


# -- a real session -----------------------------------------------------------------------------------------


class Junk(msgspec.Struct, frozen=True):
    """Nothing that a handler can work with."""


def trip(case: Any, future: Any = None) -> None:
    """Have the generation fail at a call, as a bug in it would."""
    case.session._actors.tell(m.GENERATION, m.GenerateReply(Junk(), future or Future()))  # type: ignore[arg-type]
    case.driver.run()


def test_a_failure_costs_one_call_and_the_conversation_goes_on(case: Any) -> None:
    case.wire.reply(w.created("r1"), w.transcript("r1", "m1", "so "))
    generation = case.emitted("generation_created")[0]
    waiting = case.reply()
    lost: Future[Any] = Future()
    trip(case, lost)
    (report,) = case.emitted("actor_restarted")
    assert (report.actor, report.message_type) == ("generation", "GenerateReply")
    assert isinstance(lost.exception(0), RealtimeError)
    case.driver.advance(0.1)
    case.wire.reply(w.transcript("r1", "m1", "far"), w.done("r1"))
    assert generation.done.result(0).status == "completed"
    (message,) = generation.message_stream
    assert list(message.text_stream) == ["so ", "far"]
    case.wire.reply(w.created("r2", case.creates()[0]))
    assert waiting.result(0).response_id == "r2"
    assert case.session.state == "open"


def test_of_a_done_that_fails_half_way_nothing_is_done_but_the_response_ends(case: Any) -> None:
    case.wire.reply(w.created("r1"), w.transcript("r1", "m1", "all"))
    generation = case.emitted("generation_created")[0]
    case.reply()
    # A done that names a message nobody can read: much has been decided by the time that is found out.
    broken = p.Response(id="r1", status="completed", output=[w.call("c1", "call_1"), Junk()])  # type: ignore[list-item]
    case.session._actors.tell(m.GENERATION, p.ResponseDone(response=broken))
    case.driver.run()
    case.driver.advance(0.1)
    assert len(case.emitted("actor_restarted")) == 1
    # No other done will come: it ends with an error, and what waits for its end goes on.
    assert isinstance(generation.done.exception(0), RealtimeError)
    assert list(generation.function_stream) == []
    (message,) = generation.message_stream
    assert list(message.text_stream) == ["all"]
    assert len(case.creates()) == 1


def test_over_the_limit_the_session_closes_with_an_error_and_others_live(make_case: Any) -> None:
    case, other = make_case(), make_case()
    pending = case.reply()
    case.wire.reply(w.created("r1", case.creates()[0]))
    waiting = case.reply()
    for _ in range(4):
        trip(case)
        case.driver.advance(0.5)
    assert case.session.state == "closed"
    assert [payload.recoverable for payload in case.emitted("error")] == [False]
    assert case.wire.aborted
    assert isinstance(pending.result(0).done.exception(0), RealtimeError)
    assert isinstance(waiting.exception(0), RealtimeError)
    assert isinstance(case.session.generate_reply().exception(0), RealtimeError)
    assert other.session.state == "open"
    other.reply()
    assert len(other.creates()) == 1


def test_a_collapse_changes_the_state(case: Any) -> None:
    for _ in range(4):
        trip(case)
        case.driver.advance(0.5)
    assert [(change.old, change.new) for change in case.emitted("state_changed")] == [("open", "closed")]
