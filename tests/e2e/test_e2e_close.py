"""What is left behind by a session that ends: nothing."""

from __future__ import annotations

import base64
import gc
import os
import random
import subprocess
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pykka
import pytest
from e2e_harness import KEY, PATIENCE, WIRE, Line, drain, kinds, model_for, push, read, write

from antiphon import RealtimeError, function_tool
from antiphon.testing import LocalServer, Script

POLL = "anon_inode:[eventpoll]"

SILENT = Script.parse('brain = "none"')


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("antiphon-")}


def files() -> Counter[str]:
    """What this process has open; sockets under their own names."""
    names: Counter[str] = Counter()
    for number in os.listdir("/proc/self/fd"):
        try:
            names[os.readlink(f"/proc/self/fd/{number}")] += 1
        except FileNotFoundError:
            pass  # the one that was open for the list itself
    return names


@contextmanager
def nothing_left(server: LocalServer) -> Iterator[None]:
    """Asserts that what begins in the block has ended soon after it: threads, sockets, actors, connections."""
    gc.collect()
    deadline = time.monotonic() + PATIENCE
    while not files()[POLL] and time.monotonic() < deadline:
        # The server's own selector, which its thread makes a moment after the server has started.
        threading.Event().wait(0.001)
    threads_before, files_before = threads(), files()
    yield
    gc.collect()
    deadline = time.monotonic() + 5
    for thread in threads() - threads_before:
        thread.join(max(0.0, deadline - time.monotonic()))
        assert not thread.is_alive(), thread.name
    assert files() - files_before == Counter()
    assert pykka.ActorRegistry.get_all() == []
    assert server.wait_disconnected()


@pytest.fixture(autouse=True)
def _linux() -> None:
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs /proc")


def test_close_leaves_no_thread_socket_or_actor(serve) -> None:
    server = serve("parrot", pace=50)
    with nothing_left(server):
        model = model_for(server)
        line = Line(model, turn_detection_disabled=True)
        push(line.session, np.arange(9_000, dtype=np.int16), WIRE)
        line.session.commit_audio()
        read(line.session.generate_reply().result(PATIENCE))
        assert line.close() == []
        assert line.session.state == "closed"
        line.session.close()


def test_calls_after_close_are_harmless(serve) -> None:
    server = serve("parrot")
    with model_for(server) as model:
        line = Line(model)
        write(line.session, "Hello.")
        line.close()
        line.session.push_audio(np.zeros(4_800, np.int16), sample_rate=WIRE, num_channels=1)
        line.session.commit_audio()
        line.session.clear_audio()
        line.session.interrupt()
        line.session.update_options(speed=1.1)
        line.session.send_event({"type": "input_audio_buffer.clear"})
        assert [item.text_content for item in line.session.chat_ctx.items] == ["Hello."]
        assert not line.session.has_active_generation
        with pytest.raises(RealtimeError, match="session closed"):
            line.session.generate_reply().result(PATIENCE)
        with pytest.raises(RealtimeError, match="session closed"):
            line.session.update_chat_ctx(line.session.chat_ctx)
        with pytest.raises(RealtimeError, match="session closed"):
            line.session.wait_open(PATIENCE)
        assert list(line.transcripts) == []


def test_what_is_queued_is_sent_before_the_close(serve) -> None:
    server = serve("parrot")
    sent = np.arange(20_000, dtype=np.int16)
    with model_for(server) as model:
        line = Line(model, turn_detection_disabled=True)
        server.log.wait_sent("session.updated", PATIENCE)
        push(line.session, sent, WIRE)
        line.session.commit_audio()
        line.close()
    assert server.log.wait_received("input_audio_buffer.commit", PATIENCE) is server.log.received()[-1]
    audio = [base64.b64decode(event["audio"]) for event in kinds(server, "input_audio_buffer.append")]
    assert b"".join(audio) == sent.tobytes()


def test_what_is_queued_is_heard_by_a_server_that_comes_late_to_it(serve) -> None:
    server = serve("parrot")
    with model_for(server) as model:
        line = Line(model, turn_detection_disabled=True)
        push(line.session, np.arange(20_000, dtype=np.int16), WIRE)
        line.session.commit_audio()
        line.session.update_instructions("The last word.")
        line.close()
    last = server.log.wait_for(lambda record: b"The last word." in record.frame, PATIENCE)
    assert last.event["session"] == {"type": "realtime", "instructions": "The last word."}


def test_close_settles_everything_that_waits(serve) -> None:
    """Against a server that never says a word."""
    server = serve(SILENT)
    with nothing_left(server), model_for(server) as model:
        line = Line(model)
        pending, waiting = line.session.generate_reply(), line.session.generate_reply()
        failed: list[str] = []

        def update() -> None:
            try:
                context = line.session.chat_ctx
                context.add_message(role="user", content="Hello?")
                line.session.update_chat_ctx(context, timeout=PATIENCE)
            except RealtimeError as error:
                failed.append(str(error))

        thread = threading.Thread(target=update)
        thread.start()
        server.log.wait_received("conversation.item.create", PATIENCE)
        line.session.close()
        thread.join(PATIENCE)
        assert len(failed) == 1
        assert "session closed" in failed[0]
        for future in (pending, waiting):
            with pytest.raises(RealtimeError, match="session closed"):
                future.result(PATIENCE)
        for stream in (line.transcripts, line.generations, line.reconnects):
            assert list(stream) == []


def test_close_in_the_middle_of_an_answer(serve) -> None:
    server = serve("parrot", pace=1)
    with nothing_left(server), model_for(server) as model:
        line = Line(model, turn_detection_disabled=True)
        push(line.session, np.arange(5 * WIRE).astype(np.int16), WIRE)
        line.session.commit_audio()
        generation = line.session.generate_reply().result(PATIENCE)
        message = generation.message_stream.get(PATIENCE)
        message.audio_stream.get(PATIENCE)
        assert line.close() == []
        assert sum(len(frame.data) for frame in drain(message.audio_stream)) < 5 * WIRE
        assert drain(generation.message_stream) == []
        with pytest.raises(RealtimeError, match="session closed"):
            generation.done.result(PATIENCE)


@pytest.mark.parametrize("tools", [False, True])
def test_a_session_that_nobody_refers_to_closes_itself(serve, tools) -> None:
    @function_tool
    def echo(text: str) -> str:
        return text

    server = serve("parrot", pace=1)
    with nothing_left(server):
        model = model_for(server)
        session = model.session(turn_detection_disabled=True).wait_open(PATIENCE)
        states = session.events("state_changed")
        if tools:
            session.update_tools([echo], auto_execute=True)
            session.on("generation_created", print)
        push(session, np.arange(2 * WIRE).astype(np.int16), WIRE)
        session.commit_audio()
        generation = session.generate_reply().result(PATIENCE)
        gone = weakref.ref(session)
        del session
        gc.collect()
        assert gone() is None
        assert [event.new for _, event in states] == ["closed"]
        with pytest.raises(RealtimeError, match="session closed"):
            generation.done.result(PATIENCE)


def test_a_session_that_is_dropped_before_it_was_started(serve) -> None:
    server = serve("parrot")
    with nothing_left(server):
        session = model_for(server).session(start=False)
        states = session.events("state_changed")
        del session
        gc.collect()
        assert [event.new for _, event in states] in ([], ["closed"])
    assert not server.log.all()


def test_closing_while_the_handshake_is_under_way_leaves_no_connection(serve) -> None:
    """At any moment of it; a connection that nobody knows of would live as long as its server."""
    server = serve("parrot", max_connections=1000)
    pause = random.Random(1)
    with nothing_left(server), model_for(server) as model:
        other = Line(model)
        for _ in range(300):
            session = model.session()
            end = time.perf_counter() + pause.uniform(0.0005, 0.006)
            while time.perf_counter() < end:
                pass
            session.close()
        deadline = time.monotonic() + 5
        while len(server.connections) > 1 and time.monotonic() < deadline:
            write(other.session, "Still here.")
        assert len(server.connections) == 1
        assert other.close() == []


def test_dropping_while_the_handshake_is_under_way_leaves_no_socket(serve) -> None:
    """The same, with nobody else to keep the io loop running; shows as a ResourceWarning."""
    server = serve("parrot", max_connections=1000)
    pause = random.Random(2)
    with nothing_left(server):
        model = model_for(server)
        for _ in range(200):
            session = model.session()
            end = time.perf_counter() + pause.uniform(0.0005, 0.006)
            while time.perf_counter() < end:
                pass
            del session
            gc.collect(0)


def test_leaving_the_model_closes_its_sessions(serve) -> None:
    server = serve("parrot")
    with nothing_left(server):
        with model_for(server) as model:
            lines = [Line(model) for _ in range(3)]
            unstarted = model.session(start=False)
        assert [line.session.state for line in lines] == ["closed"] * 3
        assert unstarted.state == "closed"
        assert all(line.close() == [] for line in lines)


def test_leaving_the_session_closes_it_and_not_the_model(serve) -> None:
    server = serve("parrot")
    with nothing_left(server), model_for(server) as model:
        other = Line(model)
        with model.session() as session:
            session.wait_open(PATIENCE)
        assert session.state == "closed"
        write(other.session, "Still here.")
        assert other.close() == []


def test_a_program_that_forgets_to_close_ends_all_the_same(serve) -> None:
    server = serve("parrot")
    program = f"""
from antiphon import RealtimeModel
model = RealtimeModel(base_url={server.url!r}, api_key={KEY!r})
session = model.session().wait_open(10)
session.push_audio(bytes(9600), sample_rate=24000, num_channels=1)
reply = session.generate_reply()
print(session.state)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "open\n", "")
