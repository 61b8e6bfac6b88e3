"""Users' code that raises, blocks, calls back, or exits its thread, wherever the engine calls it: sessions live."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from antiphon import ChatContext, GenerationCreatedEvent, RealtimeModel, RealtimeSession, function_tool
from antiphon.testing import LocalServer

KEY = "sk-for-these-tests-only"
PATIENCE = 20.0

Misdeed = Callable[[], None]


def raises() -> None:
    raise LookupError("a bug in the application")


def exits() -> None:
    sys.exit(3)


def interrupts() -> None:
    raise KeyboardInterrupt


def recurses() -> None:
    recurses()


MISDEEDS: list[Misdeed] = [raises, exits, interrupts, recurses]


@pytest.fixture(autouse=True)
def _short_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antiphon.actors.pool.IDLE_SECONDS", 0.05)


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with LocalServer("parrot", api_key=KEY, pace=100) as server:
        yield server


@pytest.fixture
def model(server: LocalServer) -> Iterator[RealtimeModel]:
    with RealtimeModel(base_url=server.url, api_key=KEY, modalities=["text"]) as model:
        yield model


def say(session: RealtimeSession, text: str) -> None:
    """Have the user write something."""
    context = session.chat_ctx
    context.add_message(role="user", content=text)
    session.update_chat_ctx(context, PATIENCE)


def read(generation: GenerationCreatedEvent) -> str:
    """A response's text."""
    message = generation.message_stream.get(PATIENCE)
    text = "".join(message.text_stream)
    assert generation.done.result(PATIENCE).status == "completed"
    return text


def converse(session: RealtimeSession, text: str = "Are you there?") -> None:
    """The parrot says what the user wrote."""
    say(session, text)
    assert read(session.generate_reply().result(PATIENCE)) == text


class Pair:
    """The session that suffers, and its neighbour on the same engine."""

    def __init__(self, model: RealtimeModel) -> None:
        self.session = model.session(start=False)
        self.troubles = self.session.events("actor_restarted", "error")
        self.neighbour = model.session().wait_open(PATIENCE)

    def start(self) -> None:
        """Open the session."""
        self.session.start()
        self.session.wait_open(PATIENCE)

    def check(self) -> None:
        """Both converse, and no actor was hurt."""
        converse(self.neighbour)
        converse(self.session)
        self.session.close()
        assert list(self.troubles) == []


@pytest.fixture
def pair(model: RealtimeModel) -> Pair:
    return Pair(model)


@pytest.mark.parametrize("misdeed", MISDEEDS)
def test_a_callback_that_does_it(pair: Pair, misdeed: Misdeed) -> None:
    called = threading.Event()
    # A few times only: to log a recursion takes long.
    times = iter(range(5))

    def callback(payload: Any) -> None:
        called.set()
        if next(times, None) is not None:
            misdeed()

    for name in ("openai_server_event_received", "generation_created", "state_changed", "metrics_collected"):
        pair.session.on(name, callback)
    pair.start()
    assert called.wait(PATIENCE)
    pair.check()


@pytest.mark.parametrize("misdeed", MISDEEDS)
def test_a_done_callback_of_a_reply_that_does_it(pair: Pair, misdeed: Misdeed) -> None:
    pair.start()
    say(pair.session, "Hello.")
    called = threading.Event()

    def callback(future: Any) -> None:
        called.set()
        misdeed()

    future = pair.session.generate_reply()
    future.add_done_callback(callback)
    generation = future.result(PATIENCE)
    # These settle on an engine thread.
    generation.done.add_done_callback(callback)
    read(generation)
    assert called.wait(PATIENCE)
    pair.check()


@pytest.mark.parametrize("misdeed", MISDEEDS)
def test_a_reader_of_streams_that_does_it(pair: Pair, misdeed: Misdeed) -> None:
    pair.start()
    say(pair.session, "Hello.")

    def consume(generation: GenerationCreatedEvent) -> None:
        for message in generation.message_stream:
            for _ in message.text_stream:
                misdeed()

    # On a thread of the engine's pool; the stream is left half read.
    pair.session.once("generation_created", consume)
    pair.session.generate_reply().result(PATIENCE).done.result(PATIENCE)
    pair.check()


@pytest.mark.parametrize("misdeed", MISDEEDS)
def test_a_tool_that_does_it(pair: Pair, misdeed: Misdeed) -> None:
    @function_tool(reply=False)
    def misbehave() -> str:
        """Misbehave."""
        misdeed()
        return "done"

    pair.session.update_tools([misbehave], auto_execute=True)
    finished = pair.session.events("tool_finished")
    added = pair.session.events("remote_item_added")
    pair.start()
    pair.session.generate_reply(tool_choice="required").result(PATIENCE).done.result(PATIENCE)
    assert finished.get(PATIENCE)[1].is_error
    # A message that is added before the server has announced the output would go in front of it.
    while added.get(PATIENCE)[1].item.type != "function_call_output":
        pass
    pair.check()


def test_a_callback_that_blocks_delays_only_its_own_session(pair: Pair) -> None:
    blocked, let_go = threading.Event(), threading.Event()

    def callback(payload: Any) -> None:
        blocked.set()
        assert let_go.wait(PATIENCE)

    pair.session.on("generation_created", callback)
    pair.start()
    try:
        say(pair.session, "Hello.")
        future = pair.session.generate_reply()
        assert blocked.wait(PATIENCE)
        # The session itself isn't delayed either, only its other callbacks are.
        assert read(future.result(PATIENCE)) == "Hello."
        converse(pair.neighbour)
    finally:
        let_go.set()
    pair.check()


def test_callbacks_that_call_back_into_the_session(pair: Pair) -> None:
    session, seen, failures = pair.session, [], []

    def callback(generation: GenerationCreatedEvent) -> None:
        try:
            seen.append(read(generation))
            context = session.chat_ctx
            context.add_message(role="user", content="From a callback.")
            session.update_chat_ctx(context, PATIENCE)
            session.update_instructions("Be brief.")
            session.push_audio(bytes(480), 24_000, 1)
            session.on("error", lambda error: None)
            seen.append(session.has_active_generation)
        except BaseException as error:
            failures.append(error)

    session.once("generation_created", callback)
    pair.start()
    say(session, "Hello.")
    assert session.generate_reply().result(PATIENCE).done.result(PATIENCE).status == "completed"
    pair.check()
    assert failures == []
    assert seen == ["Hello.", False]


def test_a_callback_may_close_its_own_session_and_its_neighbours(pair: Pair) -> None:
    done = threading.Event()

    def callback(payload: Any) -> None:
        pair.session.close()
        pair.neighbour.close()
        done.set()

    pair.session.on("generation_created", callback)
    pair.start()
    say(pair.session, "Hello.")
    pair.session.generate_reply()
    assert done.wait(PATIENCE)
    assert pair.session.state == pair.neighbour.state == "closed"
    assert list(pair.troubles) == []


def test_more_blocked_callbacks_than_there_are_threads(model: RealtimeModel) -> None:
    """64 sessions whose callbacks never come back take all threads of the pool; engines and calls go on."""
    let_go = threading.Event()
    blocked = threading.Semaphore(0)

    def callback(payload: Any) -> None:
        blocked.release()
        assert let_go.wait(PATIENCE)

    sessions = [model.session(start=False) for _ in range(64)]
    try:
        for session in sessions:
            session.on("state_changed", callback)
            session.start()
        for _ in sessions:
            assert blocked.acquire(timeout=PATIENCE)
        neighbour = model.session().wait_open(PATIENCE)
        converse(neighbour)
        converse(sessions[0])
    finally:
        let_go.set()
    began = time.monotonic()
    for session in sessions:
        session.close()
    assert time.monotonic() - began < PATIENCE


@pytest.mark.parametrize("misdeed", [raises, exits, interrupts])
def test_a_key_callable_that_does_it(server: LocalServer, misdeed: Misdeed) -> None:
    calls = []

    def key() -> str:
        calls.append(threading.current_thread().name)
        if len(calls) == 1:
            misdeed()
        return KEY

    with RealtimeModel(base_url=server.url, api_key=key, modalities=["text"]) as model:
        session = model.session()
        session.wait_open(PATIENCE)
        converse(session)
        session.close()
    assert len(calls) == 2


def test_an_application_that_changes_what_it_was_handed(pair: Pair) -> None:
    pair.session.on("openai_server_event_received", lambda event: event.clear())
    pair.session.on("remote_item_added", lambda event: vars(event) if hasattr(event, "__dict__") else None)
    pair.start()
    context = pair.session.chat_ctx
    context.items.append("no item")  # type: ignore[arg-type]
    with pytest.raises((TypeError, ValueError, AttributeError)):
        pair.session.update_chat_ctx(context, 1.0)
    assert isinstance(pair.session.chat_ctx, ChatContext)
    pair.check()
