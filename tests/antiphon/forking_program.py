"""A program that forks in mid-call; test_fork.py runs it: NAME BASE_URL [CA_FILE].

Each child ends with 0 when all went as it should; the alarm ends one that hangs.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import ssl
import sys
import threading
import time
from collections.abc import Callable

import numpy as np
import pykka

from antiphon import Engine, RealtimeError, RealtimeModel, RealtimeSession
from antiphon.actors.forking import LEFT_BEHIND

DEADLINE = 20.0
CHILD_SECONDS = 15
BLOCK = np.zeros(240, np.int16)


def model_for(base_url: str, authority: str | None, engine: Engine | None) -> RealtimeModel:
    """A model that answers with text, at once."""
    context = None if authority is None else ssl.create_default_context(cafile=authority)
    return RealtimeModel(
        base_url=base_url,
        api_key="any",
        modalities=["text"],
        turn_detection=None,
        ssl_context=context,
        engine=engine,
    )


def converse(session: RealtimeSession) -> None:
    """Show that the call is alive."""
    generation = session.generate_reply().result(DEADLINE)
    assert generation.done.result(DEADLINE).status == "completed"


def in_child(work: Callable[[], object]) -> None:
    """Fork, do the work in the child, which then ends as programs do, and expect it to succeed."""
    child = os.fork()
    if child == 0:
        # A child that hangs must not stay.
        signal.alarm(CHILD_SECONDS)
        work()
        sys.exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == 0, f"the child ended with {status}"


def expect_left_behind(call: Callable[[], object]) -> None:
    """The call fails at once, and its error says what to do."""
    failure = ""
    try:
        call()
    except RealtimeError as error:
        failure = str(error)
    assert failure == LEFT_BEHIND, failure


def use_what_is_left_behind(session: RealtimeSession) -> None:
    """Everything that a child may do to its parent's session ends at once."""
    events = session.events()
    expect_left_behind(lambda: session.wait_open(DEADLINE))
    expect_left_behind(lambda: session.generate_reply().result(DEADLINE))
    expect_left_behind(lambda: session.update_chat_ctx(session.chat_ctx))
    session.push_audio(BLOCK, sample_rate=24_000)
    session.commit_audio()
    session.interrupt()
    session.update_options(voice="cedar")
    session.restart()
    assert session.state == "closed"
    assert not session.has_active_generation
    assert list(events) == []
    session.close()


def sockets() -> int:
    """How many descriptors of this process are sockets or selectors."""
    kinds = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _exists(fd)]
    return sum(kind.startswith(("socket:", "anon_inode:[eventpoll]")) for kind in kinds)


def _exists(descriptor: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{descriptor}")


# -- the programs --------------------------------------------------------------------------------------------


def old_session(model: RealtimeModel) -> None:
    """The child uses the parent's session, drops it, and ends."""
    session = model.session().wait_open(DEADLINE)
    states = session.events("state_changed")
    waiting = session.events()

    def child() -> None:
        nonlocal session
        use_what_is_left_behind(session)
        # What had come can still be taken; then it ends.
        list(waiting)
        assert sockets() == 0
        assert not pykka.ActorRegistry.get_all()
        del session
        gc.collect()

    for _ in range(3):
        in_child(child)
        converse(session)
    session.close()
    assert [event.new for _, event in states] == ["closed"]


def pending(model: RealtimeModel) -> None:
    """Futures and streams that were under way end in the child."""
    session = model.session().wait_open(DEADLINE)
    # The server says back what it heard, as slowly as it was said.
    session.push_audio(np.zeros(4 * 24_000, np.int16), sample_rate=24_000)
    session.commit_audio()
    generation = session.generate_reply(modalities=["audio"]).result(DEADLINE)
    behind = session.generate_reply()

    def child() -> None:
        expect_left_behind(lambda: generation.done.result(DEADLINE))
        expect_left_behind(lambda: behind.result(DEADLINE))
        for message in generation.message_stream:
            list(message.audio_stream)
        list(generation.function_stream)

    in_child(child)
    assert not generation.done.done(), "the response ended before the fork was over; it shows nothing"
    session.interrupt()
    assert generation.done.result(DEADLINE).status == "cancelled"
    assert behind.result(DEADLINE).done.result(DEADLINE).status == "completed"
    session.close()


def new_session(model: RealtimeModel) -> None:
    """The child makes calls of its own, with the default engine and with one that was made before."""
    engine = Engine()
    other = model_for(sys.argv[2], _authority(), engine)
    sessions = [made.session().wait_open(DEADLINE) for made in (model, other)]

    def child() -> None:
        assert engine.sessions == Engine.default().sessions == 0
        for made in (model, other):
            with made.session() as session:
                session.wait_open(DEADLINE)
                converse(session)
        # A grandchild too.
        with model.session() as session:
            session.wait_open(DEADLINE)
            in_child(lambda: use_what_is_left_behind(session))
            converse(session)

    in_child(child)
    for session in sessions:
        converse(session)
        session.close()


def multiprocess(model: RealtimeModel) -> None:
    """The same under multiprocessing, which ends its children in a way of its own."""
    with model.session() as session:
        session.wait_open(DEADLINE)
        process = multiprocessing.get_context("fork").Process(target=_child_of_multiprocessing, args=(model,))
        process.start()
        process.join(CHILD_SECONDS)
        assert process.exitcode == 0, process.exitcode
        converse(session)


def _child_of_multiprocessing(model: RealtimeModel) -> None:
    with model.session() as session:
        session.wait_open(DEADLINE)
        converse(session)


def busy(model: RealtimeModel) -> None:
    """Forks while other threads are in the middle of everything: a lock that one of them holds must hang no child."""
    # Thread switches between any two bytecodes, so that forks find locks held.
    sys.setswitchinterval(1e-6)
    session = model.session().wait_open(DEADLINE)
    stop = threading.Event()

    def talk() -> None:
        while not stop.is_set():
            session.push_audio(BLOCK, sample_rate=16_000)
            session.update_options(speed=1.0)
            session.events("error").close()

    def open_and_close() -> None:
        while not stop.is_set():
            with model.session():
                pass

    threads = [threading.Thread(target=work) for work in (talk, talk, open_and_close, open_and_close)]
    for thread in threads:
        thread.start()

    def child() -> None:
        use_what_is_left_behind(session)
        with model.session() as own:
            own.wait_open(DEADLINE)

    try:
        ends = time.monotonic() + 2.0
        while time.monotonic() < ends:
            in_child(child)
    finally:
        stop.set()
        for thread in threads:
            thread.join(DEADLINE)
    converse(session)
    session.close()


def loading(model: RealtimeModel) -> None:
    """A fork while the engine loads scipy in the background: the child must be able to load it too."""
    with model.session():

        def child() -> None:
            with model.session() as session:
                session.wait_open(DEADLINE)
                import scipy.signal

                assert scipy.signal.firwin is not None

        in_child(child)


def _authority() -> str | None:
    return sys.argv[3] if len(sys.argv) > 3 else None


PROGRAMS = (old_session, pending, new_session, multiprocess, busy, loading)

if __name__ == "__main__":
    program = {program.__name__: program for program in PROGRAMS}[sys.argv[1]]
    engine = Engine(preload=True) if program is loading else None
    program(model_for(sys.argv[2], _authority(), engine))
    print("done")
