"""A program that ends with a live session; test_exit.py runs it: NAME BASE_URL.

It prints "ending" when it is about to end; what follows is what its user would wait for.
"""

from __future__ import annotations

import ctypes
import socket
import sys
import threading
import time

import numpy as np

from antiphon import Engine, RealtimeModel, RealtimeSession, function_tool

DEADLINE = 20.0
FOREVER = 3600.0


def model_for(base_url: str) -> RealtimeModel:
    """A model that speaks in real time."""
    return RealtimeModel(base_url=base_url, api_key="any", turn_detection=None)


def opened() -> RealtimeSession:
    """A session with audio going out and coming in."""
    session = model_for(sys.argv[2]).session().wait_open(DEADLINE)
    session.push_audio(np.zeros(24_000, np.int16), sample_rate=24_000)
    session.commit_audio()
    session.generate_reply().result(DEADLINE)
    return session


def ending() -> None:
    """Say that the end begins."""
    print("ending", flush=True)


def end_of_main() -> None:
    """The last line of the program."""
    globals()["kept"] = opened()
    ending()


def without_reference() -> None:
    """The last line, after the session went out of sight."""
    opened()
    ending()


def with_many_sessions() -> None:
    """Twenty calls under way."""
    globals()["kept"] = [opened() for _ in range(20)]
    ending()


def with_sys_exit() -> None:
    """`sys.exit` with a status."""
    session = opened()
    ending()
    sys.exit(3 if session.state == "open" else 4)


def unhandled() -> None:
    """An exception that nobody handles."""
    session = opened()
    ending()
    raise RuntimeError(f"the program's own, while {session.state}")


def in_a_callback() -> None:
    """A callback blocks."""
    session, entered = opened(), threading.Event()

    def block(event: object) -> None:
        entered.set()
        time.sleep(FOREVER)

    session.on("generation_created", block)
    session.interrupt()
    session.generate_reply()
    assert entered.wait(DEADLINE)
    ending()


def in_a_tool() -> None:
    """A tool runs."""
    entered = threading.Event()

    @function_tool
    def work() -> str:
        """Work for long."""
        entered.set()
        time.sleep(FOREVER)
        return "never"

    session = model_for(sys.argv[2]).session().wait_open(DEADLINE)
    session.update_tools([work], auto_execute=True)
    session.generate_reply(tool_choice="required")
    assert entered.wait(DEADLINE)
    ending()


def in_a_handshake() -> None:
    """The server takes the connection and never answers."""
    listener = socket.create_server(("127.0.0.1", 0))
    model = model_for(f"http://127.0.0.1:{listener.getsockname()[1]}/v1")
    globals()["kept"] = model.session()
    client, _ = listener.accept()
    client.recv(1)
    # Or the end of this function would end the handshake.
    globals()["server"] = listener, client
    ending()


def in_a_look_up() -> None:
    """The name server never answers."""
    entered = threading.Event()

    def getaddrinfo(*_: object) -> None:
        entered.set()
        # As the real one: in C, without the interpreter's lock, and deaf to everything.
        ctypes.CDLL(None).sleep(int(FOREVER))

    setattr(socket, "getaddrinfo", getaddrinfo)  # noqa: B010
    globals()["kept"] = model_for("http://realtime.invalid/v1").session()
    assert entered.wait(DEADLINE)
    ending()


def with_a_thread_per_session() -> None:
    """The session has an engine of its own, with a thread of its own."""
    engine = Engine(dispatcher="thread")
    model = RealtimeModel(base_url=sys.argv[2], api_key="any", turn_detection=None, engine=engine)
    globals()["kept"] = model.session().wait_open(DEADLINE)
    ending()


def while_threads_talk() -> None:
    """The session is used by a daemon thread when the main thread ends."""
    session = opened()

    def talk() -> None:
        while True:
            session.push_audio(np.zeros(480, np.int16), sample_rate=48_000)
            session.update_options(speed=1.0)

    for _ in range(3):
        threading.Thread(target=talk, daemon=True).start()
    time.sleep(0.2)
    ending()


PROGRAMS = (
    end_of_main,
    without_reference,
    with_many_sessions,
    with_sys_exit,
    unhandled,
    in_a_callback,
    in_a_tool,
    in_a_handshake,
    in_a_look_up,
    with_a_thread_per_session,
    while_threads_talk,
)

if __name__ == "__main__":
    {program.__name__: program for program in PROGRAMS}[sys.argv[1]]()
