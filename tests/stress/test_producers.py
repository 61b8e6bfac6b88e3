"""Many threads use one session, and it is closed in the middle of it: everything ends and nothing fails."""

from __future__ import annotations

import logging
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import numpy as np
import pykka
import pytest

from antiphon import ChatMessage, Engine, GenerationCreatedEvent, RealtimeError, RealtimeModel, Timeouts
from antiphon.actors import pool
from antiphon.testing import LocalServer

# Of one run. Threads that switch between any two bytecodes are slow.
DEADLINE = 30.0
# After the end of the session, until everything that it handed out is settled; and for a busy machine.
SETTLED = 1.0 + 4.0
CLOSE = 2.0
# At most, between two steps of a thread.
PAUSE = 0.004
AUDIO = np.arange(480, dtype=np.int16)


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with LocalServer("parrot", pace=1000.0, log_limit=100) as made:
        yield made


@pytest.fixture(autouse=True)
def frequent_switches(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(pool, "IDLE_SECONDS", 0.02)
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


class Producers:
    """Threads that each do one thing to a session until it is closed, and all that the session gave them."""

    def __init__(self, server: LocalServer, engine: Engine, choose: random.Random) -> None:
        model = RealtimeModel(
            base_url=server.url,
            api_key="any",
            turn_detection=None,
            engine=engine,
            timeouts=Timeouts(close=CLOSE),
        )
        self.session = model.session(start=choose.random() < 0.5)
        self.replies: list[Future[GenerationCreatedEvent]] = []
        self.restarted: list[Any] = []
        self.surprises: list[BaseException] = []
        self.done = dict.fromkeys((work.__name__ for work in self.works()), 0)
        self._over = threading.Event()
        self.session.on("actor_restarted", self.restarted.append)
        seeds = [choose.random() for _ in self.works()]
        self._threads = [
            threading.Thread(target=self._repeat, args=(work, random.Random(seed)), name=work.__name__)
            for work, seed in zip(self.works(), seeds, strict=True)
        ]

    def works(self) -> tuple[Callable[[random.Random], object], ...]:
        """What the threads do."""
        return (
            self.push,
            self.push_at_another_rate,
            self.commit,
            self.reply,
            self.reply,
            self.read_reply,
            self.interrupt,
            self.truncate,
            self.edit,
            self.edit,
            self.set_options,
            self.look,
            self.play,
        )

    # -- one step of each ------------------------------------------------------------------------------------

    def push(self, choose: random.Random) -> None:
        self.session.push_audio(AUDIO, sample_rate=24_000)

    def push_at_another_rate(self, choose: random.Random) -> None:
        self.session.push_audio(AUDIO, sample_rate=16_000)

    def commit(self, choose: random.Random) -> None:
        if choose.random() < 0.8:
            self.session.commit_audio()
        else:
            self.session.clear_audio()

    def reply(self, choose: random.Random) -> None:
        future = self.session.generate_reply()
        self.replies.append(future)
        if choose.random() < 0.2:
            future.cancel()
        elif choose.random() < 0.5:
            future.exception(DEADLINE)

    def read_reply(self, choose: random.Random) -> None:
        future = self.session.generate_reply()
        self.replies.append(future)
        for message in future.result(DEADLINE).message_stream:
            list(message.audio_stream)
            list(message.text_stream)

    def interrupt(self, choose: random.Random) -> None:
        self.session.interrupt()
        time.sleep(choose.random() * 0.01)

    def truncate(self, choose: random.Random) -> None:
        items = self.session.chat_ctx.items
        if items:
            audio_ms = choose.choice((0, 10, 100))
            self.session.truncate(choose.choice(items).id, ["audio"], audio_ms, "So far")

    def edit(self, choose: random.Random) -> None:
        context = self.session.chat_ctx
        context.items.append(ChatMessage("user", ["Hello."]))
        if len(context.items) > 5:
            del context.items[choose.randrange(len(context.items))]
        self.session.update_chat_ctx(context, DEADLINE)

    def set_options(self, choose: random.Random) -> None:
        self.session.update_options(speed=choose.choice((0.5, 1.0, 1.5)))
        self.session.update_instructions(choose.choice(("Be brief.", "Be kind.")))

    def look(self, choose: random.Random) -> None:
        _ = self.session.has_active_generation, self.session.state, self.session.stats()
        self.session.events("error").close()

    def play(self, choose: random.Random) -> None:
        self.session.playback.read(240)
        self.session.playback.wait_drained(0.01)

    # -- the run -----------------------------------------------------------------------------------------------

    def _repeat(self, work: Callable[[random.Random], object], choose: random.Random) -> None:
        while not self._over.is_set():
            try:
                work(choose)
            except RealtimeError:
                # Refused, overtaken by the end, or by another thread's edit.
                pass
            except BaseException as error:
                self.surprises.append(error)
                return
            self.done[work.__name__] += 1
            # At this switch interval, threads that never wait would leave the engine no time.
            time.sleep(choose.random() * PAUSE)

    def run(self, seconds: float) -> None:
        """Let them loose, and close the session in the middle of it."""
        for thread in self._threads:
            thread.start()
        self.session.start()
        time.sleep(seconds)
        began = time.monotonic()
        self.session.close()
        assert time.monotonic() - began < CLOSE + SETTLED
        assert self.session.state == "closed"
        self._over.set()
        deadline = time.monotonic() + SETTLED
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        assert not [thread.name for thread in self._threads if thread.is_alive()]
        self._expect_settled(deadline)

    def _expect_settled(self, deadline: float) -> None:
        """All that was handed out has ended."""
        for future in self.replies:
            assert (
                future.cancelled() or future.exception(max(0.0, deadline - time.monotonic())) or future.done()
            )
            if future.cancelled() or future.exception(0):
                continue
            generation = future.result(0)
            generation.done.exception(max(0.0, deadline - time.monotonic()))
            for message in generation.message_stream:
                assert message.audio_stream.closed
                assert message.text_stream.closed
                assert message.modalities.done()
            assert generation.function_stream.closed


def stress(server: LocalServer, seed: int, caplog: pytest.LogCaptureFixture) -> None:
    """One run."""
    choose = random.Random(seed)
    before = set(pykka.ActorRegistry.get_all())
    engine = Engine(preload=False)
    producers = Producers(server, engine, choose)
    try:
        with caplog.at_level(logging.ERROR, "antiphon"):
            producers.run(choose.choice((0.0, 0.05, 0.3, 0.6)))
    finally:
        ended = engine.close(DEADLINE)
    assert ended
    assert engine.sessions == 0
    assert producers.surprises == []
    assert producers.restarted == []
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert set(pykka.ActorRegistry.get_all()) <= before


@pytest.mark.parametrize("seed", range(5))
def test_many_producers(server: LocalServer, seed: int, caplog: pytest.LogCaptureFixture) -> None:
    stress(server, seed, caplog)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(100, 150))
def test_many_producers_at_length(server: LocalServer, seed: int, caplog: pytest.LogCaptureFixture) -> None:
    stress(server, seed, caplog)
