"""Many sessions at once in one process, each with its own audio."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from e2e_harness import PATIENCE, WIRE, Line, model_for, push, read

from antiphon import Engine
from antiphon.actors.io_loop import IoLoop

SESSIONS = 20
SECONDS = 1.0


def engine_threads() -> list[str]:
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith(("antiphon-io", "antiphon-worker"))]


@pytest.mark.parametrize("engines", ["shared", "own"])
def test_two_models_and_twenty_sessions_each_get_their_own_audio_back(serve, engines) -> None:
    server = serve("parrot", pace=50)
    shared = None if engines == "shared" else Engine(workers=3)
    everybody = threading.Barrier(SESSIONS)
    threads_seen = []

    def converse(number: int, line: Line) -> int:
        random = np.random.default_rng(number)
        for turn in range(2):
            size = int(WIRE * SECONDS) + 7 * number + turn
            sent = random.integers(-32768, 32768, size).astype(np.int16)
            everybody.wait(PATIENCE)
            push(line.session, sent, WIRE)
            line.session.commit_audio()
            generation = line.session.generate_reply().result(PATIENCE)
            back = read(generation).samples
            assert back.tobytes() == sent.tobytes(), f"session {number} turn {turn}"
            threads_seen.append(engine_threads())
        return number

    with model_for(server) as first, model_for(server, model="gpt-realtime-mini", engine=shared) as second:
        lines = [Line((first, second)[n % 2], turn_detection_disabled=True) for n in range(SESSIONS)]
        with ThreadPoolExecutor(SESSIONS) as pool:
            done = list(pool.map(converse, range(SESSIONS), lines))
        assert done == list(range(SESSIONS))
        assert len(server.connections) == SESSIONS
        assert max(map(len, threads_seen)) <= 8
        for line in lines:
            assert [item.role for item in line.session.chat_ctx.items] == ["user", "assistant"] * 2
            assert line.close() == []
    if shared is not None:
        assert shared.close()


def test_sessions_come_and_go_while_others_talk(serve) -> None:
    """The engine's threads end and start again with the last and the first session."""
    server = serve("parrot", pace=50)
    sent = np.arange(12_000, dtype=np.int16)

    def come_and_go(number: int) -> bool:
        for _ in range(3):
            with model_for(server) as model:
                line = Line(model, turn_detection_disabled=True)
                push(line.session, sent, WIRE)
                line.session.commit_audio()
                back = read(line.session.generate_reply().result(PATIENCE)).samples
                assert np.array_equal(back, sent)
                assert line.close() == []
        return True

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(come_and_go, range(6)))


def test_a_call_that_comes_while_wakeups_are_read_does_not_silence_those_after_it() -> None:
    """A lost wake-up would stall every session until the next timer."""
    loop = IoLoop("antiphon-io-e2e")
    between, after = threading.Event(), threading.Event()

    class Receiver:
        """The loop's own, with one call from another thread just before the first read."""

        def __init__(self, receiver: socket.socket) -> None:
            self.receiver = receiver
            self.calls = 0

        def recv(self, size: int) -> bytes:
            self.calls += 1
            if self.calls == 1:
                # Overdue, so that it comes before all other timers and wakes the loop.
                thread = threading.Thread(target=loop.call_later, args=(-1.0, between.set))
                thread.start()
                thread.join()
            return self.receiver.recv(size)

        def close(self) -> None:
            self.receiver.close()

    loop._receiver = Receiver(loop._receiver)  # type: ignore[assignment]
    loop.start()
    try:
        loop.call_later(0.0, lambda: None)
        assert between.wait(PATIENCE)
        # Nothing to wait for tells that the loop sleeps again; let it.
        assert not after.wait(0.3)
        loop.call_later(0.0, after.set)
        assert after.wait(PATIENCE)
    finally:
        loop.stop()
        loop.thread.join(PATIENCE)
