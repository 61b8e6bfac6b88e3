"""What `session.stats()` and `engine.stats()` say is what happened."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import msgspec
import numpy as np
import pytest
from telemetry_harness import PATIENCE, Oracle, ask, drop, interrupt_in_the_middle, look_up, model_for

from antiphon import AudioFrame, Engine, Percentiles, RealtimeModel
from antiphon.actors.stats import WINDOW, Durations
from antiphon.testing import Driver, Script


def test_a_conversation_is_counted(serve) -> None:
    server = serve(Oracle())
    with model_for(server, turn_detection=None) as model:
        session = model.session(start=False)
        assert session.stats().state == "connecting"
        session.playback  # noqa: B018
        session.start()
        session.wait_open(PATIENCE)
        session.update_tools([look_up], auto_execute=True)
        ask(session, "look up tea")
        ask(session, "look up trouble")
        session.playback.read(24_000 * 10)
        interrupt_in_the_middle(session, server)
        stats = session.stats()
        assert stats.session_id == session.id
        assert (stats.connections, stats.reconnects, stats.state) == (1, 0, "open")
        # Two with calls, two that tell of their results, and the one that was cut.
        assert (stats.responses, stats.interruptions, stats.errors) == (5, 1, 0)
        assert stats.tool_duration.count == 2
        assert stats.time_to_first_audio.count == 3
        assert stats.handshake.count == 1
        assert 0 < stats.handshake.p50 == stats.handshake.max < PATIENCE
        assert stats.barge_in.count == 1
        assert 0 < stats.barge_in.p50 < 1
        assert (stats.tools_running, stats.tools_waiting, stats.unhandled, stats.refused) == (0, 0, 0, 0)
        assert stats.playback_ms == 0
        # The hums alone are 4 s each, in base64.
        assert stats.bytes_in > 3 * 4 * 48_000 * 4 / 3
        assert stats.bytes_out > 500
        drop(session, server)
        assert session.stats().connections == 2
        session.close()
    stats = session.stats()
    assert (stats.state, stats.reconnects, stats.handshake.count) == ("closed", 1, 2)
    assert (stats.frames_waiting, stats.mail_waiting, stats.callbacks_waiting) == (0, {}, 0)
    assert stats.responses == 5
    # For those who send it somewhere.
    assert msgspec.json.decode(msgspec.json.encode(stats))["barge_in"]["count"] == 1


def test_frames_are_counted_as_the_server_counts_them(serve) -> None:
    server = serve(Oracle())
    with model_for(server, turn_detection=None, input_audio_transcription=None) as model:
        session = model.session().wait_open(PATIENCE)
        frames = session.events("openai_server_event_received")
        ask(session, "hum")
        session.push_audio(AudioFrame(np.zeros(24_000, np.int16), 24_000, 1))
        session.commit_audio()
        for last in ("input_audio_buffer.committed", "conversation.item.done"):
            while frames.get(PATIENCE)[1]["type"] != last:
                pass
        session.close()
    stats = session.stats()
    assert stats.frames_in == len(server.log.sent()) > 50
    assert stats.frames_out == len(server.log.received()) > 12


ODD_FRAMES = """
brain = "parrot"
[[turn]]
after = "session.updated"
do = [
    { raw = "oops" },
    { raw = "oops" },
    { binary = "00ff" },
    { send = { type = "response.output_text.delta", response_id = "unknown", item_id = "i", delta = "?" } },
    { send = { type = "input_audio_buffer.speech_started", item_id = "item_u", audio_start_ms = 0 } },
]
"""


def test_what_is_left_out_is_counted_by_kind(serve) -> None:
    server = serve(Script.parse(ODD_FRAMES))
    with model_for(server) as model:
        session = model.session(start=False)
        speech = session.events("input_speech_started")
        session.start()
        speech.get(PATIENCE)
        stats = session.stats()
        session.close()
    assert stats.skipped["binary"] == 1
    assert [count for kind, count in stats.skipped.items() if kind.startswith("unreadable:")] == [2]
    assert stats.ignored == 1


def test_what_waits_is_counted(serve) -> None:
    with model_for(serve("parrot"), turn_detection=None) as model:
        session = model.session().wait_open(PATIENCE)
        entered, leave = threading.Event(), threading.Event()

        @session.on("metrics_collected")
        @session.on("remote_item_added")
        def block(_: object) -> None:
            entered.set()
            leave.wait(PATIENCE)

        stream = session.events("remote_item_added", maxsize=1)
        for text in ("one", "two", "three"):
            context = session.chat_ctx
            context.add_message(role="user", content=text)
            session.update_chat_ctx(context, PATIENCE)
        assert entered.wait(PATIENCE)
        stats = session.stats()
        leave.set()
        assert stats.callbacks_waiting == 2
        assert stats.events_dropped == 2
        assert set(stats.mail_waiting) == {"chat_ctx", "generation", "audio_in", "connection"}
        # What was told before the mailboxes were limited counts too: taking it out must not lead below nothing.
        assert min(stats.mail_waiting.values()) >= 0
        session.close()
        assert (session.stats().events_dropped, stream.dropped) == (2, 2)


def test_audio_that_waits_and_audio_that_is_lost_while_there_is_no_connection() -> None:
    driver = Driver()
    model = RealtimeModel(api_key="k", base_url="http://test/v1", engine=driver)  # type: ignore[arg-type]
    session = model.session()
    driver.run()
    second = AudioFrame(np.zeros(24_000, np.int16), 24_000, 1)
    for _ in range(3):
        session.push_audio(second)
    assert session.stats().mail_waiting["audio_in"] == 3
    driver.run()
    stats = session.stats()
    assert (stats.audio_waiting_ms, stats.audio_dropped_ms, stats.mail_waiting["audio_in"]) == (3000, 0, 0)
    # And the session.update.
    assert stats.frames_waiting == 31
    for _ in range(30):
        session.push_audio(second)
    driver.run()
    stats = session.stats()
    assert (stats.audio_waiting_ms, stats.audio_dropped_ms) == (30_000, 3000)
    driver.accept()
    assert session.stats().audio_waiting_ms == 0
    session._close_soon(1.0)
    driver.advance(10.0)


def test_the_engine_counts_sessions_and_threads(serve) -> None:
    engine = Engine(workers=3, tool_workers=2, preload=False)
    assert (engine.stats().sessions, set(engine.stats().threads.values())) == (0, {0})
    server = serve("parrot")
    with model_for(server, engine=engine) as model:
        sessions = [model.session().wait_open(PATIENCE) for _ in range(4)]
        started, leave = threading.Barrier(3), threading.Event()

        def tool() -> None:
            started.wait(PATIENCE)
            leave.wait(PATIENCE)

        for _ in range(5):
            engine.run_tool(tool)
        started.wait(PATIENCE)
        stats = engine.stats()
        leave.set()
        started.abort()
        assert (stats.sessions, stats.sessions_begun) == (4, 4)
        assert (stats.threads["io"], stats.threads["worker"], stats.threads["tool"]) == (1, 3, 2)
        assert stats.tools_waiting == 3
        for session in sessions:
            session.close()
        assert (engine.stats().sessions, engine.stats().sessions_begun) == (0, 4)
    assert engine.close(PATIENCE)
    stats = engine.stats()
    assert (stats.sessions, set(stats.threads.values()), stats.strands_waiting) == (0, {0}, 0)


@pytest.mark.parametrize("dispatcher", ["pool", "thread"])
def test_stats_can_be_read_from_any_thread_while_sessions_come_and_go(serve, dispatcher) -> None:
    engine = Engine(dispatcher=dispatcher, preload=False)
    server = serve("parrot")
    over = threading.Event()
    with model_for(server, engine=engine) as model:
        session = model.session(start=False)

        def read() -> int:
            readings = 0
            while not over.is_set():
                stats, own = engine.stats(), session.stats()
                assert 0 <= stats.threads["worker"] <= 9
                assert own.frames_in >= 0
                readings += 1
            return readings

        with ThreadPoolExecutor(2, "antiphon-test-reader") as readers:
            reading = [readers.submit(read) for _ in range(2)]
            session.start()
            for _ in range(8):
                model.session().wait_open(PATIENCE).close()
            session.wait_open(PATIENCE).close()
            over.set()
            assert all(one.result(PATIENCE) > 0 for one in reading)
    assert engine.close(PATIENCE)


def test_percentiles_are_by_nearest_rank_over_the_latest() -> None:
    durations = Durations()
    assert durations.percentiles() == Percentiles()
    durations.add(7.0)
    assert durations.percentiles() == Percentiles(count=1, p50=7.0, p95=7.0, p99=7.0, max=7.0)
    # The 7 falls out; 1 to 500 stay.
    for value in range(WINDOW, 0, -1):
        durations.add(float(value))
    assert durations.percentiles() == Percentiles(count=501, p50=250.0, p95=475.0, p99=495.0, max=500.0)
