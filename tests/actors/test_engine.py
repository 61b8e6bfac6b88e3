"""The engine's threads over real sockets: when they start, when they end, and what may not run on them."""

from __future__ import annotations

import gc
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from test_transport import Peer, upgrade

from antiphon import ChatContext, ConnectOptions, Engine, RealtimeError, RealtimeModel, Timeouts
from antiphon.actors import pool
from antiphon.testing import LocalServer

DEADLINE = 10.0


@pytest.fixture(autouse=True)
def _impatient_pools(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    for name in ("OPENAI_BASE_URL", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    if "real_pools" not in request.fixturenames:
        # Each test waits for its threads to end.
        monkeypatch.setattr(pool, "IDLE_SECONDS", 0.02)


@pytest.fixture
def real_pools() -> None:
    """Asks for the pools' own patience."""


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with LocalServer("parrot") as made:
        yield made


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine()
    yield made
    assert made.close(DEADLINE)


def model_at(url: str, engine: Engine | None, **options: Any) -> RealtimeModel:
    return RealtimeModel(api_key="k", base_url=url, engine=engine, **options)


def engine_threads() -> list[threading.Thread]:
    """Threads that sessions run on; those for user code and handshakes are not counted."""
    return [
        thread for thread in threading.enumerate() if thread.name.startswith(("antiphon-io", "antiphon-work"))
    ]


def pool_threads() -> list[threading.Thread]:
    return [
        thread
        for thread in threading.enumerate()
        if thread.name.startswith(("antiphon-user", "antiphon-dial", "antiphon-tool"))
    ]


def join_all(threads: list[threading.Thread], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    assert [thread.name for thread in threads if thread.is_alive()] == []


class Silent:
    """Takes connections, agrees to the handshake if told to, and never says another word."""

    def __init__(self, handshake: bool) -> None:
        self._handshake = handshake
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        self.sockets: list[socket.socket] = []
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._accept, name="silent-server", daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            # Not before the request is there: then the client waits for the answer, and nothing else.
            request = sock.recv(65536).decode()
            if self._handshake:
                upgrade(sock, request)
            with self._changed:
                self.sockets.append(sock)
                self._changed.notify_all()

    def wait(self, count: int = 1) -> socket.socket:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.sockets) >= count, DEADLINE)
            return self.sockets[count - 1]

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self.sockets:
            sock.close()
        self._thread.join(DEADLINE)


@pytest.fixture
def silent() -> Iterator[Callable[..., Silent]]:
    servers: list[Silent] = []

    def make(handshake: bool = True) -> Silent:
        servers.append(Silent(handshake))
        return servers[-1]

    yield make
    for one in servers:
        one.close()


# -- arguments ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"workers": 0}, "workers"),
        ({"io_threads": 0}, "io_threads"),
        ({"tool_workers": -1}, "tool_workers"),
        ({"dispatcher": "fork"}, "dispatcher"),
    ],
)
def test_bad_arguments_are_named(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Engine(**given)


def test_there_is_one_default_engine_and_it_starts_nothing() -> None:
    before = threading.active_count()
    assert Engine.default() is Engine.default()
    assert threading.active_count() == before


def test_a_closed_engine_refuses_sessions_and_says_what_to_do(server: LocalServer) -> None:
    engine = Engine()
    assert engine.close(1.0)
    assert engine.close(1.0)
    model = model_at(server.url, engine)
    with pytest.raises(RealtimeError, match="closed"):
        model.session()


def test_a_session_that_could_not_start_closes_at_once(server: LocalServer) -> None:
    engine = Engine()
    engine.close(1.0)
    session = model_at(server.url, engine).session(start=False)
    with pytest.raises(RealtimeError, match="closed"):
        session.start()
    began = time.monotonic()
    session.close(2.0)
    assert time.monotonic() - began < 1.0
    assert session.state == "closed"


# -- threads come and go ------------------------------------------------------------------------------


@pytest.mark.parametrize("dispatcher", ["pool", "thread"])
def test_threads_end_within_a_second_of_the_last_session_and_start_again(
    server: LocalServer, real_pools: None, dispatcher: Any
) -> None:
    engine = Engine(dispatcher=dispatcher)
    before = set(threading.enumerate())
    for _ in range(3):
        model = model_at(server.url, engine)
        sessions = [model.session().wait_open(DEADLINE) for _ in range(3)]
        for session in sessions:
            session.on("state_changed", lambda _: None)
        ours = [
            thread
            for thread in set(threading.enumerate()) - before
            if thread.name.startswith("antiphon-") and "server" not in thread.name
        ]
        assert any(thread.name.startswith("antiphon-io") for thread in ours)
        model.close()
        join_all(ours, 1.0)
        assert engine.sessions == 0
    assert engine.close(1.0)


def test_the_default_engines_threads_end_too(server: LocalServer, real_pools: None) -> None:
    for _ in range(2):
        with model_at(server.url, None) as model:
            model.session().wait_open(DEADLINE)
            assert engine_threads()
            ours = engine_threads() + pool_threads()
        join_all(ours, 1.0)


def test_threads_live_as_long_as_any_session(server: LocalServer, engine: Engine) -> None:
    with model_at(server.url, engine) as model:
        first, second = (model.session().wait_open(DEADLINE) for _ in range(2))
        ours = engine_threads()
        first.close()
        assert [thread.is_alive() for thread in ours] == [True] * len(ours)
        assert second.state == "open"
        assert second.generate_reply().result(DEADLINE)


def test_threads_dont_grow_with_sessions(server: LocalServer, engine: Engine) -> None:
    with model_at(server.url, engine) as model:
        sessions = [model.session()]
        sessions[0].wait_open(DEADLINE)
        count = len(engine_threads())
        assert count == 3
        sessions += [model.session() for _ in range(25)]
        for session in sessions:
            session.wait_open(DEADLINE)
        assert len(engine_threads()) == count
        assert engine.sessions == 26
        assert len(pool_threads()) <= 128
    assert engine.sessions == 0


def test_sessions_may_begin_and_end_on_many_threads_at_once(server: LocalServer, engine: Engine) -> None:
    model = model_at(server.url, engine)
    failures: list[BaseException] = []

    def live() -> None:
        try:
            for _ in range(4):
                with model.session() as session:
                    session.wait_open(DEADLINE)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=live) for _ in range(6)]
    for thread in threads:
        thread.start()
    join_all(threads, 4 * DEADLINE)
    assert failures == []
    assert engine.sessions == 0


def test_a_dropped_session_ends_by_itself(server: LocalServer, engine: Engine) -> None:
    model = model_at(server.url, engine)
    session = model.session().wait_open(DEADLINE)
    ended = threading.Event()
    session.on("state_changed", lambda event: ended.set() if event.new == "closed" else None)
    del session
    gc.collect()
    assert ended.wait(DEADLINE)
    join_all(engine_threads(), 1.0)
    assert engine.sessions == 0


def test_an_engine_that_is_closed_under_a_session_leaves_no_socket(silent: Callable[..., Silent]) -> None:
    engine = Engine()
    peer = silent()
    session = model_at(peer.url, engine).session()
    session.wait_open(DEADLINE)
    sock = peer.wait()
    sock.settimeout(3.0)
    began = time.monotonic()
    assert engine.close(0.5)
    assert time.monotonic() - began < 2.0
    session.close(0.1)
    while sock.recv(65536):
        pass


# -- closing, on real sockets -----------------------------------------------------------------------------


def test_close_sends_what_is_queued_and_waits_for_the_answer(
    engine: Engine, silent: Callable[..., Silent]
) -> None:
    server = silent()
    session = model_at(server.url, engine).session().wait_open(DEADLINE)
    peer = Peer(server.wait())
    frames: list[tuple[int, bytes]] = []

    def read_and_answer() -> None:
        while not frames or frames[-1][0] != 8:
            frames.append(peer.receive())
        peer.send(8, frames[-1][1])

    for n in range(50):
        session.send_event({"type": "filler", "n": n, "text": "x" * 100_000})
    reader = threading.Thread(target=read_and_answer)
    reader.start()
    began = time.monotonic()
    session.close(DEADLINE)
    assert time.monotonic() - began < DEADLINE / 2
    assert session.state == "closed"
    reader.join(DEADLINE)
    sent = [json.loads(payload) for opcode, payload in frames if opcode == 1]
    assert sent[0]["type"] == "session.update"
    assert [event["n"] for event in sent[1:]] == list(range(50))
    assert frames[-1] == (8, struct.pack("!H", 1000))


@pytest.mark.parametrize("timeout", [0.0, 0.3])
def test_close_returns_in_time_against_a_server_that_never_answers(
    engine: Engine, silent: Callable[..., Silent], timeout: float
) -> None:
    peer = silent()
    session = model_at(peer.url, engine).session().wait_open(DEADLINE)
    sock = peer.wait()
    future = session.generate_reply()
    began = time.monotonic()
    session.close(timeout)
    assert time.monotonic() - began < timeout + 1.0
    assert session.state == "closed"
    with pytest.raises(RealtimeError, match="session closed"):
        future.result(1.0)
    session.close(timeout)
    sock.settimeout(DEADLINE)
    data = b""
    while block := sock.recv(65536):
        data += block
    # The last frame is our close frame: opcode 8, masked, two bytes.
    assert data[-8:-6] == bytes((0x88, 0x82))
    code = bytes(byte ^ key for byte, key in zip(data[-2:], data[-6:-2], strict=False))
    assert struct.unpack("!H", code) == (1000,)


def test_close_with_more_queued_than_a_silent_server_takes_returns_in_time(
    engine: Engine, silent: Callable[..., Silent]
) -> None:
    peer = silent()
    session = model_at(peer.url, engine).session().wait_open(DEADLINE)
    peer.wait()
    for _ in range(30):
        session.send_event({"type": "filler", "text": "x" * 1_000_000})
    began = time.monotonic()
    session.close(0.3)
    assert time.monotonic() - began < 1.5
    assert session.state == "closed"


def test_close_while_connecting_is_immediate(engine: Engine, silent: Callable[..., Silent]) -> None:
    peer = silent(handshake=False)
    session = model_at(peer.url, engine, conn_options=ConnectOptions(timeout=60.0)).session()
    sock = peer.wait()
    began = time.monotonic()
    session.close(5.0)
    assert time.monotonic() - began < 1.0
    assert session.state == "closed"
    sock.settimeout(DEADLINE)
    while sock.recv(65536):
        pass
    assert engine.join(1.0)


def test_close_between_attempts_is_immediate(engine: Engine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
    session = model_at(url, engine, timeouts=Timeouts(first_retry=60.0)).session(start=False)
    refused = threading.Event()
    session.on("error", lambda _: refused.set())
    session.start()
    assert refused.wait(DEADLINE)
    began = time.monotonic()
    session.close(5.0)
    assert time.monotonic() - began < 1.0


def test_a_model_closes_many_silent_sessions_in_the_time_of_one(
    engine: Engine, silent: Callable[..., Silent]
) -> None:
    peer = silent()
    model = model_at(peer.url, engine)
    sessions = [model.session().wait_open(DEADLINE) for _ in range(5)]
    began = time.monotonic()
    model.close(0.5)
    assert time.monotonic() - began < 1.5
    assert {session.state for session in sessions} == {"closed"}
    assert engine.sessions == 0


def test_closing_from_many_threads_at_once_is_harmless(engine: Engine, silent: Callable[..., Silent]) -> None:
    peer = silent()
    session = model_at(peer.url, engine).session().wait_open(DEADLINE)
    threads = [threading.Thread(target=session.close, args=(0.2,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    join_all(threads, 3.0)
    assert session.state == "closed"


def test_closing_in_a_callback_works(server: LocalServer, engine: Engine) -> None:
    session = model_at(server.url, engine).session(start=False)
    closed = threading.Event()

    def close(event: Any) -> None:
        if event.new == "open":
            session.close()
            closed.set()

    session.on("state_changed", close)
    session.start()
    assert closed.wait(DEADLINE)
    assert session.state == "closed"


# -- what may not run on engine threads ---------------------------------------------------------------------


def on_io_thread(engine: Engine, call: Callable[[], Any]) -> BaseException | None:
    """What a call raises on the io thread."""
    raised: list[BaseException | None] = []
    done = threading.Event()

    def run() -> None:
        try:
            call()
            raised.append(None)
        except BaseException as error:
            raised.append(error)
        done.set()

    engine.call_later(0, run)
    assert done.wait(DEADLINE)
    return raised[0]


def test_blocking_calls_on_an_engine_thread_raise_instead_of_deadlocking(
    server: LocalServer, engine: Engine
) -> None:
    with model_at(server.url, engine) as model:
        session = model.session().wait_open(DEADLINE)
        silent = model.session(start=False)
        future = silent.generate_reply()
        calls: list[Callable[[], Any]] = [
            lambda: session.chat_ctx,
            lambda: session.has_active_generation,
            lambda: session.update_chat_ctx(ChatContext()),
            session.close,
            lambda: silent.wait_open(1.0),
            lambda: future.result(1.0),
            lambda: session.events("error").get(1.0),
        ]
        for call in calls:
            error = on_io_thread(engine, call)
            assert isinstance(error, RealtimeError), error
            assert "engine thread" in str(error)
        # What doesn't block is allowed, and an open session needs no wait.
        assert on_io_thread(engine, lambda: session.wait_open(1.0)) is None
        assert on_io_thread(engine, lambda: session.push_audio(np.zeros(240, np.int16), 24_000)) is None
        assert on_io_thread(engine, session.commit_audio) is None
        assert session.state == "open"


def test_users_code_never_runs_on_engine_threads(server: LocalServer, engine: Engine) -> None:
    names: list[str] = []
    done = threading.Event()

    def key() -> str:
        names.append(threading.current_thread().name)
        return "k"

    with RealtimeModel(api_key=key, base_url=server.url, engine=engine) as model:
        session = model.session(start=False)

        def note(_: Any) -> None:
            names.append(threading.current_thread().name)

        session.on("state_changed", note)
        session.on("openai_server_event_received", note)
        session.on("generation_created", note)
        session.start()
        session.wait_open(DEADLINE)
        future = session.generate_reply()

        def finish(_: Any) -> None:
            names.append(threading.current_thread().name)
            done.set()

        future.add_done_callback(finish)
        assert done.wait(DEADLINE)
    assert len(names) > 4
    assert {name.rpartition("-")[0] for name in names} == {"antiphon-dial", "antiphon-user"}


def test_a_slow_callback_delays_only_its_own_session(server: LocalServer, engine: Engine) -> None:
    release, stuck = threading.Event(), threading.Event()
    with model_at(server.url, engine) as model:
        slow = model.session(start=False)

        def block(_: Any) -> None:
            stuck.set()
            release.wait(DEADLINE)

        slow.on("state_changed", block)
        slow.start()
        assert stuck.wait(DEADLINE)
        quick = model.session().wait_open(DEADLINE)
        assert quick.generate_reply().result(DEADLINE)
        # The slow one's engine goes on too: only its callbacks wait.
        assert slow.wait_open(DEADLINE).generate_reply().result(DEADLINE)
        release.set()


@pytest.mark.parametrize("error", [RuntimeError("boom"), SystemExit(3), KeyboardInterrupt()])
def test_a_raising_callback_is_logged_and_the_session_lives(
    server: LocalServer, engine: Engine, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    with model_at(server.url, engine) as model:
        session = model.session(start=False)
        after = threading.Event()

        def fail(_: Any) -> None:
            raise error

        session.on("state_changed", fail)
        session.on("state_changed", lambda _: after.set())
        session.start()
        session.wait_open(DEADLINE)
        assert after.wait(DEADLINE)
        assert session.generate_reply().result(DEADLINE)
        assert session.state == "open"
    assert "callback raised" in caplog.text
