"""The audio callbacks: they don't wait, don't grow, and are in time."""

from __future__ import annotations

import gc
import os
import sys
import threading

import numpy as np
import pytest
from pulse_harness import PATIENCE, Pulse, await_true

from antiphon import RealtimeModel, RealtimeSession
from antiphon.devices import DeviceCall, talk
from antiphon.testing import LocalServer

pytestmark = pytest.mark.full

RUN_S = 60.0
BLOCK_MS = 20.0
HELD_S = 1.0


def feed(session: RealtimeSession, seconds: float) -> None:
    """Queue a tone, as if the model said it."""
    tone = 8000 * np.sin(np.arange(int(seconds * 24_000)) * 2 * np.pi * 440 / 24_000)
    for number, piece in enumerate(np.array_split(tone.astype(np.int16), int(seconds * 10))):
        session.playback.write(f"tone_{number // 50}", piece)


def await_running(call: DeviceCall) -> None:
    """Wait until both callbacks have run for a while."""
    await_true(lambda: all(side.blocks > 50 for side in call.stats), "both run")


@pytest.mark.timeout(180)
def test_a_minute_without_an_underrun_or_growth(pulse: Pulse) -> None:
    """One minute of sound both ways: no block was late because of us, and no callback keeps an object."""
    with (
        LocalServer("parrot", log_limit=10) as server,
        RealtimeModel(base_url=server.url, api_key="k") as model,
        model.session() as session,
        talk(session) as call,
    ):
        feed(session, RUN_S + 20)
        await_running(call)
        gc.collect()
        for side in call._sides:
            # What came before doesn't count: the garbage collection above kept the interpreter.
            side.slowest_s = 0.0
        began, objects = call.stats, sys.getallocatedblocks()
        threading.Event().wait(RUN_S)
        microphone, speaker = call.stats
        gc.collect()
        grown = sys.getallocatedblocks() - objects
        assert session.playback.queued_ms > 0
    print(microphone, speaker, f"{grown} objects")
    calls = microphone.blocks + speaker.blocks - sum(then.blocks for then in began)
    assert max(microphone.slowest_ms, speaker.slowest_ms) < BLOCK_MS
    assert microphone.dropped == 0
    assert session.playback.underruns == 0
    assert grown < calls / 4
    lost = microphone.xruns + speaker.xruns - sum(then.xruns for then in began)
    if lost and os.getloadavg()[0] > (os.cpu_count() or 1):
        pytest.skip(f"{lost} blocks came late, but the machine is too busy to tell whose fault that is")
    assert lost == 0
    assert calls > 0.98 * 2 * RUN_S * 1000 / BLOCK_MS


def test_the_callbacks_wait_for_no_lock(pulse: Pulse, session: RealtimeSession) -> None:
    """With the engine's locks held for a second the microphone is still recorded and the ledger still played."""
    with talk(session) as call:
        feed(session, 10)
        await_running(call)
        locks = [session._actors.audio._lock, session._actors.strand._lock]
        began = call.stats
        for lock in locks:
            lock.acquire()
        try:
            threading.Event().wait(HELD_S)
            microphone, speaker = call.stats
        finally:
            for lock in locks:
                lock.release()
        expected = 0.8 * HELD_S * 1000 / BLOCK_MS
        assert microphone.blocks - began[0].blocks > expected
        assert speaker.blocks - began[1].blocks > expected
        assert max(microphone.slowest_ms, speaker.slowest_ms) < BLOCK_MS
        assert microphone.dropped == 0
        taken = session.events("openai_client_event_queued")
        taken.get(PATIENCE)
