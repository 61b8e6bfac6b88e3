"""What it costs to record a call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from recording_harness import WIRE, answer, voice

from antiphon import RealtimeModel, recording
from antiphon.testing import LocalServer

# Of a core, for each call; measured: 0.2 % alone, 0.1 % among 20 calls.
LIMIT = 0.03
BLOCK = WIRE // 100


@pytest.mark.full
def test_the_writer_takes_a_small_part_of_a_core(
    make_model: Callable[..., RealtimeModel], file: Path
) -> None:
    said = voice(8000)
    with LocalServer("parrot", api_key="sk-a-key-for-these-tests-only", pace=1.0) as server:
        session = make_model(server, turn_detection=None).session(start=False)
        playback = session.playback
        session.record(file)
        session.start()
        session.push_audio(said, WIRE, 1)
        session.commit_audio()
        asking = threading.Thread(target=answer, args=(session,), name="asking")
        asking.start()
        [writer] = [thread for thread in threading.enumerate() if thread.name == "antiphon-recording"]
        assert writer.ident is not None
        clock = time.pthread_getcpuclockid(writer.ident)
        before, began = time.clock_gettime(clock), time.monotonic()
        for tick in range(700):
            session.push_audio(said[tick * BLOCK : (tick + 1) * BLOCK], WIRE, 1)
            playback.read(BLOCK)
            # The pace of a sound card; nothing is waited for.
            time.sleep(max(0.0, began + (tick + 1) / 100 - time.monotonic()))
        share = (time.clock_gettime(clock) - before) / (time.monotonic() - began)
        asking.join()
        session.close()
    call = recording.read(file)
    assert len(call.samples("in")) >= 15 * WIRE
    assert len(call.samples("out")) >= 7 * WIRE
    assert share < LIMIT
