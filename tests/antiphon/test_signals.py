"""Ctrl-C gets through every call that waits, at once, and leaves a session that can be closed."""

from __future__ import annotations

import base64
import hashlib
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from antiphon import ChatMessage, Engine, RealtimeModel, RealtimeSession
from antiphon.actors import pool
from antiphon.testing import LocalServer, Script

# Each call would wait as long as this.
LONG = 50.0
DEADLINE = 20.0
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    monkeypatch.setattr(pool, "IDLE_SECONDS", 0.02)
    made = Engine()
    yield made
    assert made.close(DEADLINE)


@pytest.fixture(scope="module")
def deaf() -> Iterator[LocalServer]:
    """A server that answers nothing."""
    with LocalServer(Script()) as made:
        yield made


def session_with(base_url: str, engine: Engine) -> RealtimeSession:
    """A session that nobody closes but the test."""
    model = RealtimeModel(base_url=base_url, api_key="any", turn_detection=None, engine=engine)
    return model.session(start=False)


def agree_to_a_handshake(listener: socket.socket) -> socket.socket:
    """The server's end of a connection, which never says more than that."""
    listener.settimeout(DEADLINE)
    peer, _ = listener.accept()
    peer.settimeout(DEADLINE)
    request = peer.recv(65536).decode()
    key = request.partition("Sec-WebSocket-Key: ")[2].partition("\r\n")[0]
    accept = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
    upgrade = f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    peer.sendall(f"HTTP/1.1 101 Switching Protocols\r\n{upgrade}".encode())
    return peer


@contextmanager
def interrupted() -> Iterator[None]:
    """Interrupts the main thread when it waits in the block, and expects that to end the wait at once."""
    main = threading.main_thread().ident
    assert main is not None
    done = threading.Event()
    sent: list[float] = []

    def interrupt() -> None:
        place: object = None
        while not done.wait(0.05):
            frame = sys._current_frames()[main]
            here = (frame, frame.f_lasti)
            if here == place:
                # It has been at the same instruction for a while: it waits.
                sent.append(time.monotonic())
                signal.pthread_kill(main, signal.SIGINT)
                return
            place = here

    thread = threading.Thread(target=interrupt, name="interrupts")
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
        assert time.monotonic() - sent[0] < 5.0
    finally:
        done.set()
        thread.join(DEADLINE)


def wait_for_update(session: RealtimeSession) -> None:
    """A change of the conversation that no server confirms."""
    context = session.chat_ctx
    context.items.append(ChatMessage("user", ["Hello."]))
    session.update_chat_ctx(context, LONG)


def wait_for_playback(session: RealtimeSession) -> None:
    """Playback that nobody reads."""
    session.playback.write("item_1", np.zeros(2400, np.int16))
    session.playback.wait_drained(LONG)


WAITS: list[Callable[[RealtimeSession], object]] = [
    lambda session: session.generate_reply().result(LONG),
    lambda session: session.generate_reply().exception(LONG),
    lambda session: session.events("error").get(LONG),
    lambda session: list(session.events("error")),
    wait_for_update,
    wait_for_playback,
]


@pytest.mark.parametrize("wait", WAITS, ids=["result", "exception", "get", "iterate", "update", "drained"])
def test_an_interrupt_ends_the_wait(
    deaf: LocalServer, engine: Engine, wait: Callable[[RealtimeSession], object]
) -> None:
    session = session_with(deaf.url, engine)
    session.start()
    session.wait_open(DEADLINE)
    with interrupted():
        wait(session)
    assert session.state == "open"
    session.close(DEADLINE)
    assert session.state == "closed"


def test_an_interrupt_ends_the_wait_for_a_connection(engine: Engine) -> None:
    # The kernel takes the connection; nobody answers on it.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        session = session_with(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", engine)
        session.start()
        with interrupted():
            session.wait_open(LONG)
        session.close(DEADLINE)
        assert session.state == "closed"


def test_close_can_be_called_again_after_an_interrupt(engine: Engine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        session = session_with(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", engine)
        session.start()
        with agree_to_a_handshake(listener):
            session.wait_open(DEADLINE)
            with interrupted():
                session.close(LONG)
            session.close(0.5)
            assert session.state == "closed"


def test_an_interrupt_ends_a_stream(engine: Engine) -> None:
    with LocalServer("parrot", pace=0.1) as server:
        session = session_with(server.url, engine)
        session.start()
        session.wait_open(DEADLINE)
        session.push_audio(np.zeros(24_000, np.int16), sample_rate=24_000)
        session.commit_audio()
        generation = session.generate_reply().result(DEADLINE)
        message = generation.message_stream.get(DEADLINE)
        with interrupted():
            list(message.audio_stream)
        session.close(DEADLINE)
        assert session.state == "closed"
