"""Calls that are dropped and recycled for long, then calls one after another: nothing may be left of any.

    python -m benchmarks.soak [--short] [--write]

The local server runs in a process of its own and cuts connections at random. It fails if threads, descriptors or
actors are more than before, or if memory has grown by more than 5 MB. `--write` puts the figures into docs/soak.md.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import logging
import os
import platform
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pykka

from antiphon import ConnectOptions, Engine, RealtimeError, RealtimeModel, RealtimeSession, Timeouts
from antiphon.testing import LocalServer
from benchmarks.measure import rss_mb, threads

PAGE = Path(__file__).parents[1] / "docs" / "soak.md"
GROWTH_MB = 5.0
DEADLINE = 60.0
# Threads of the application; each takes care of as many calls as the others, in turn.
CALLERS = 10
# 0.3 s of the user, at the rate of a sound card.
UTTERANCE = np.arange(14_400, dtype=np.int16)
RATE = 48_000


@dataclass(frozen=True)
class Plan:
    """How much of it.

    Attributes:
        sessions: Calls at once.
        seconds: How long they last.
        drops: Connections that the server cuts each second, of all calls together.
        recycle: Seconds after which a connection is recycled.
        successive: Calls that are opened and closed one after another, after that.
    """

    sessions: int
    seconds: float
    drops: float
    recycle: float
    successive: int


LONG = Plan(sessions=100, seconds=600.0, drops=5.0, recycle=30.0, successive=2000)
SHORT = Plan(sessions=40, seconds=25.0, drops=5.0, recycle=5.0, successive=300)


@dataclass(frozen=True)
class Footprint:
    """What the process has of everything that could be left behind."""

    threads: int
    descriptors: int
    actors: int
    memory_mb: float

    @classmethod
    def take(cls, engine: Engine) -> Footprint:
        """Look, when the engine has had time to come to rest."""
        deadline = time.monotonic() + DEADLINE
        while engine.stats().sessions or any(engine.stats().threads.values()):
            assert time.monotonic() < deadline, f"the engine doesn't come to rest: {engine.stats()}"
            time.sleep(0.05)
        gc.collect()
        with contextlib.suppress(OSError, AttributeError):
            # What is free but not given back would count as growth. glibc only.
            ctypes.CDLL(None).malloc_trim(0)
        return cls(threads(), len(os.listdir("/proc/self/fd")), len(pykka.ActorRegistry.get_all()), rss_mb())

    def problems(self, before: Footprint) -> list[str]:
        """What is more than before."""
        found = [
            f"{name}: {getattr(self, name)} in place of {getattr(before, name)}"
            for name in ("threads", "descriptors", "actors")
            if getattr(self, name) > getattr(before, name)
        ]
        if self.memory_mb - before.memory_mb > GROWTH_MB:
            found.append(f"memory: {self.memory_mb:.1f} MB in place of {before.memory_mb:.1f} MB")
        return found


class Load:
    """Calls at once, each with a turn every few seconds.

    Attributes:
        counts: What has happened.
    """

    def __init__(self, model: RealtimeModel, plan: Plan) -> None:
        self.counts: Counter[str] = Counter()
        self._plan = plan
        self._lock = threading.Lock()
        self._sessions = [self._begin(model) for _ in range(plan.sessions)]

    def _begin(self, model: RealtimeModel) -> RealtimeSession:
        session = model.session(start=False)
        session.on("session_reconnected", lambda event: self._count("reconnections"))
        session.on("actor_restarted", lambda event: self._count("actors restarted"))
        session.start()
        return session

    def _count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1

    def run(self) -> None:
        """Talk until the time is over, then close all calls."""
        ends = time.monotonic() + self._plan.seconds
        callers = [
            threading.Thread(target=self._call, args=(self._sessions[n::CALLERS], ends), name=f"caller-{n}")
            for n in range(CALLERS)
        ]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        for session in self._sessions:
            self._count(
                "calls that lived to the end" if session.state != "closed" else "calls that ended early"
            )
            session.close()
        self._sessions.clear()

    def _call(self, sessions: list[RealtimeSession], ends: float) -> None:
        while time.monotonic() < ends:
            for session in sessions:
                self._turn(session)
                # Some 20 turns a second in all: much more than people take, and little enough for the server.
                time.sleep(0.4)

    def _turn(self, session: RealtimeSession) -> None:
        for start in range(0, len(UTTERANCE), 480):
            session.push_audio(UTTERANCE[start : start + 480], sample_rate=RATE)
        session.commit_audio()
        try:
            generation = session.generate_reply().result(DEADLINE)
            for message in generation.message_stream:
                for _ in message.audio_stream:
                    pass
            generation.done.result(DEADLINE)
            self._count("turns")
        except RealtimeError:
            self._count("turns that a drop ended")


def open_and_close(model: RealtimeModel, count: int) -> None:
    """Calls one after another, with a turn in every tenth."""
    for number in range(count):
        with model.session() as session:
            session.wait_open(DEADLINE)
            if number % 10 == 0:
                session.generate_reply().result(DEADLINE).done.result(DEADLINE)


# -- the server's process ------------------------------------------------------------------------------------


def serve(drops: float) -> None:
    """Serve until the standard input ends, and cut a random connection so many times a second."""
    over = threading.Event()

    def cut() -> None:
        choose = random.Random(0)
        while not over.wait(choose.expovariate(drops)):
            # The others are calls that are opened and closed one after another.
            if len(server.connections) > 1:
                with contextlib.suppress(IndexError):
                    choose.choice(server.connections).drop(choose.choice((None, 1011)))

    with LocalServer("parrot", pace=1000.0, log_limit=100, max_connections=1000) as server:
        cutter = threading.Thread(target=cut, name="cutter")
        cutter.start()
        print(server.url, flush=True)
        sys.stdin.read()
        over.set()
        cutter.join()


@contextlib.contextmanager
def served(drops: float) -> Iterator[str]:
    """The base URL of a server in another process."""
    command = [sys.executable, "-m", "benchmarks.soak", "--serve", str(drops)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
            process.stdin.close()
            process.wait(DEADLINE)
        finally:
            process.kill()


# -- the run -------------------------------------------------------------------------------------------------


def soak(plan: Plan, say: Callable[[str], None]) -> bool:
    """Carry the plan out; returns whether nothing was left."""
    engine = Engine()
    with served(plan.drops) as base_url:
        model = RealtimeModel(
            base_url=base_url,
            api_key="any",
            turn_detection=None,
            engine=engine,
            max_session_duration=plan.recycle,
            conn_options=ConnectOptions(max_retry=100, retry_interval=0.2),
            timeouts=Timeouts(first_retry=0.05),
        )
        # As much at once as later: what is loaded or pooled for good is not growth.
        Load(model, Plan(plan.sessions, 2.0, plan.drops, plan.recycle, 0)).run()
        open_and_close(model, 20)
        before = Footprint.take(engine)
        load = Load(model, plan)
        load.run()
        between = Footprint.take(engine)
        began = time.monotonic()
        open_and_close(model, plan.successive)
        per_call = (time.monotonic() - began) / plan.successive
        after = Footprint.take(engine)
    rows = {"before": before, f"after {plan.sessions} calls at once": between}
    rows[f"after {plan.successive:,} calls one after another"] = after
    say(f"{plan.sessions} calls for {plan.seconds:g} s, a connection recycled after {plan.recycle:g} s, and")
    say(f"{plan.drops:g} connections cut each second; then {plan.successive:,} calls one after another.\n")
    say("| | threads | descriptors | actors | memory, MB |\n| --- | --- | --- | --- | --- |")
    for name, row in rows.items():
        say(f"| {name} | {row.threads} | {row.descriptors} | {row.actors} | {row.memory_mb:.1f} |")
    say("\n| what happened | how often |\n| --- | --- |")
    for what, count in sorted(load.counts.items()):
        say(f"| {what} | {count:,} |")
    say(f"\nA call that was opened and closed took {per_call * 1000:.1f} ms.")
    problems = between.problems(before) + after.problems(before)
    for what in ("actors restarted", "calls that ended early"):
        if load.counts[what]:
            problems.append(f"{load.counts[what]} {what}")
    for problem in problems:
        print(f"! {problem}", file=sys.stderr)
    return not problems


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak")
    parser.add_argument(
        "--short", action="store_true", help="under a minute, in place of a quarter of an hour"
    )
    parser.add_argument("--write", action="store_true", help="put the figures into docs/soak.md")
    parser.add_argument("--serve", type=float, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.serve is not None:
        serve(chosen.serve)
        return
    # A warning for each drop would hide everything else.
    logging.getLogger("antiphon").setLevel(logging.ERROR)
    lines: list[str] = []

    def say(line: str) -> None:
        print(line, flush=True)
        lines.append(line)

    passed = soak(SHORT if chosen.short else LONG, say)
    if chosen.write and passed:
        made_on = f"CPython {platform.python_version()}, {os.cpu_count()} cores"
        head = f"# Soak\n\nWritten by `make soak`, not by hand. {made_on}.\n\n"
        PAGE.write_text(head + "\n".join(lines) + "\n", "utf-8")
    sys.exit(not passed)


if __name__ == "__main__":
    main()
