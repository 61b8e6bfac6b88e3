"""What a session's recording holds, against what the server saw."""

from __future__ import annotations

import base64
import json
import logging
import wave
from collections.abc import Callable
from io import FileIO
from pathlib import Path

import numpy as np
import pytest
import soundfile
from recording_harness import KEY, PATIENCE, WIRE, answer, carried, events, frames, say, voice

from antiphon import RealtimeError, RealtimeModel, function_tool, recording
from antiphon.recording import Connected, Cut, Disconnected, End, Frame, Heard, Lost, Received, Sent
from antiphon.testing import LocalServer, Script

MakeModel = Callable[..., RealtimeModel]
MANUAL = {"turn_detection": None}


def test_both_directions_are_there_as_the_server_saw_them(
    parrot: LocalServer, make_model: MakeModel, file: Path
) -> None:
    session = make_model(parrot, **MANUAL).session(start=False)
    session.record(file)
    session.start()
    say(session, voice())
    session.close()
    call = recording.read(file)
    assert call.complete
    assert not call.torn
    assert call.header.session == session.id
    for direction, kind in (("received", Sent), ("sent", Received)):
        noted = [frame for frame in call.frames if isinstance(frame, kind)]
        seen = [record for record in parrot.log.all() if record.direction == direction]
        assert [json.loads(call.payload(frame)) for frame in noted] == [record.event for record in seen]
        assert {frame.connection for frame in noted} == {1}
    assert call.samples("in").tobytes() == carried(parrot, "received")
    assert call.samples("out").tobytes() == carried(parrot, "sent") != b""


def test_a_frame_says_where_its_audio_is(parrot: LocalServer, make_model: MakeModel, file: Path) -> None:
    said = voice()
    with make_model(parrot, **MANUAL).session() as session, session.record(file):
        say(session, said)
    call = recording.read(file)
    sent = frames(call, "input_audio_buffer.append")
    assert all("audio" not in frame.event for frame in sent)
    pieces = [call.audio(frame.audio) for frame in sent if frame.audio is not None]
    assert len(pieces) == len(sent) > 1
    assert np.array_equal(np.concatenate(pieces), said)
    refs = [frame.audio for frame in sent if frame.audio is not None]
    assert [ref.start for ref in refs] == [sum(ref.samples for ref in refs[:n]) for n in range(len(refs))]


def test_the_tracks_are_wav_files_that_others_read(
    parrot: LocalServer, make_model: MakeModel, file: Path
) -> None:
    said = voice()
    with make_model(parrot, **MANUAL).session() as session, session.record(file):
        say(session, said)
    with wave.open(str(file.with_name("call.in.wav"))) as wav:
        assert (wav.getframerate(), wav.getnchannels(), wav.getsampwidth()) == (WIRE, 1, 2)
        assert wav.readframes(wav.getnframes()) == said.tobytes()
    heard, rate = soundfile.read(file.with_name("call.out.wav"), dtype="int16")
    assert rate == WIRE
    assert heard.tobytes() == carried(parrot, "sent")


@pytest.mark.parametrize("encoding", ["g711_ulaw", "g711_alaw"])
def test_telephone_audio_stays_as_it_was_on_the_wire(
    parrot: LocalServer, make_model: MakeModel, file: Path, encoding: str
) -> None:
    model = make_model(parrot, **MANUAL, input_audio_format=encoding, output_audio_format=encoding)
    with model.session() as session, session.record(file):
        say(session, voice())
    call = recording.read(file)
    assert call.rate("in") == 8000
    sent = frames(call, "input_audio_buffer.append")
    wire = b"".join(base64.b64decode(json.loads(call.payload(frame))["audio"]) for frame in sent)
    assert wire == carried(parrot, "received") != b""
    by_others, _ = soundfile.read(file.with_name("call.in.wav"), dtype="int16")
    assert np.array_equal(by_others, call.samples("in"))


def test_what_was_heard_and_what_was_cut(parrot: LocalServer, make_model: MakeModel, file: Path) -> None:
    with make_model(parrot, **MANUAL).session() as session:
        # It ends with the session: the server may have a frame before it is noted as sent.
        session.record(file)
        playback = session.playback
        generation = say(session, voice(1000))
        # The parrot says what it heard: one second. 300 ms of it are taken, in blocks.
        for _ in range(30):
            playback.read(WIRE // 100)
        session.interrupt()
        parrot.log.wait_received("conversation.item.truncate", PATIENCE)
    call = recording.read(file)
    heard = [line for line in call.lines if isinstance(line, Heard)]
    item_id = next(iter(generation.message_stream)).message_id
    assert {line.item_id for line in heard} == {item_id}
    assert (heard[0].start_ms, heard[-1].end_ms) == (0.0, 300.0)
    cut = [line for line in call.lines if isinstance(line, Cut)]
    assert [(line.item_id, line.heard_ms) for line in cut] == [(item_id, 300)]
    assert frames(call, "conversation.item.truncate")[0].event["audio_end_ms"] == 300
    assert call.lines.index(heard[-1]) < call.lines.index(cut[0])


def test_what_a_remote_player_says_it_played(parrot: LocalServer, make_model: MakeModel, file: Path) -> None:
    with make_model(parrot, **MANUAL).session() as session, session.record(file):
        session.playback.mark_played("item_x", 100)
        session.playback.mark_played("item_x", 250)
        session.playback.mark_played("item_x", 200)
    heard = [line for line in recording.read(file).lines if isinstance(line, Heard)]
    assert [(line.start_ms, line.end_ms, line.marked) for line in heard] == [
        (0.0, 100.0, True),
        (100.0, 250.0, True),
    ]


def test_a_drop_and_what_was_restored(parrot: LocalServer, make_model: MakeModel, file: Path) -> None:
    session = make_model(parrot, **MANUAL).session(start=False)
    with session.record(file):
        session.start()
        say(session, voice())
        reconnects = session.events("session_reconnected")
        parrot.drop_all(1011, "on purpose")
        payload = reconnects.get(PATIENCE)[1]
    session.close()
    call = recording.read(file)
    ends = [line for line in call.lines if isinstance(line, Disconnected)]
    assert [(line.connection, line.code, line.planned) for line in ends] == [(1, 1011, False)]
    assert "on purpose" in ends[0].reason
    begins = [line for line in call.lines if isinstance(line, Connected)]
    assert begins[0].connection == 1
    assert len(begins) == 2
    assert call.connections == [line.connection for line in begins]
    [restored] = events(call, "session_reconnected")
    assert restored["items_restored"] == payload.items_restored == 2
    states = [(change["old"], change["new"]) for change in events(call, "state_changed")]
    assert states[:3] == [("connecting", "open"), ("open", "reconnecting"), ("reconnecting", "open")]
    [error] = events(call, "error")
    assert error["error"]["type"] == "APIConnectionError"
    assert error["recoverable"] is True


def test_tools_and_metrics(make_model: MakeModel, file: Path) -> None:
    script = Script.parse("""
        [[turn]]
        wait = "response.create"
        do = [
            { send = { type = "response.created", response = { id = "r", status = "in_progress", output = [] } } },
            { send = { type = "response.output_item.done", response_id = "r", output_index = 0, item = { id = "i", \
type = "function_call", call_id = "c", name = "double", arguments = '{"number": 4}' } } },
            { send = { type = "response.done", response = { id = "r", status = "completed", output = [] } } },
        ]
    """)

    @function_tool(reply=False)
    def double(number: int) -> int:
        """Twice the number."""
        return 2 * number

    with LocalServer(script, api_key=KEY) as server:
        session = make_model(server).session(start=False)
        finished = session.events("tool_finished")
        session.record(file)
        session.start()
        session.update_tools([double], auto_execute=True)
        answer(session)
        finished.get(PATIENCE)
        session.close()
    call = recording.read(file)
    assert events(call, "tool_started") == [{"call_id": "c", "name": "double", "arguments": '{"number": 4}'}]
    [done] = events(call, "tool_finished")
    assert (done["output"], done["is_error"]) == ("8", False)
    assert [made["request_id"] for made in events(call, "metrics_collected")] == ["", "r"]
    assert events(call, "generation_created") == [{"response_id": "r", "user_initiated": True}]


def test_a_frame_that_is_no_json_is_kept_as_text(make_model: MakeModel, file: Path) -> None:
    script = Script.parse("""
        [[turn]]
        wait = "session.update"
        do = [{ raw = '{"type": "oops' }, { send = { type = "session.updated", session = {} } }]
    """)
    with LocalServer(script, api_key=KEY) as server:
        session = make_model(server).session(start=False)
        raw = session.events("openai_server_event_received")
        session.record(file)
        session.start()
        raw.get(PATIENCE)
        session.close()
    first = next(line for line in recording.read(file).lines if isinstance(line, Received))
    assert (first.text, first.event, first.type) == ('{"type": "oops', {}, "")


def test_no_secret_is_in_it(parrot: LocalServer, make_model: MakeModel, file: Path) -> None:
    other = "a-secret-that-looks-like-nothing"
    token = "sk-proj-0123456789abcdef"
    model = make_model(parrot, **MANUAL, headers={"X-Company-Token": other})
    with model.session() as session:
        session.record(file)
        session.send_event(
            {
                "type": "session.update",
                "session": {
                    "type": "realtime",
                    "instructions": f"Never say {KEY}, nor {other}, nor {token}.",
                    "tools": [
                        {
                            "type": "mcp",
                            "server_label": "x",
                            "server_url": "https://x",
                            "authorization": "hush",
                        }
                    ],
                },
            }
        )
        parrot.log.wait_for(lambda record: b"hush" in record.frame, PATIENCE)
    text = file.read_text()
    for secret in (KEY, other, token, "hush"):
        assert secret not in text
    [update] = [
        frame for frame in frames(recording.read(file), "session.update") if "tools" in frame.event["session"]
    ]
    assert update.event["session"]["instructions"] == "Never say ***, nor ***, nor ***."
    assert update.event["session"]["tools"][0]["authorization"] == "***"


def test_a_recording_can_end_before_the_session_and_another_follow(
    parrot: LocalServer, make_model: MakeModel, file: Path
) -> None:
    with make_model(parrot, **MANUAL).session() as session:
        session.wait_open(PATIENCE)
        first = session.record(file)
        with pytest.raises(RealtimeError, match="recorded already"):
            session.record(file.with_name("other.jsonl"))
        assert first.stop()
        assert not first.recording
        assert first.stop()
        say(session, voice())
        second = session.record(file.with_name("second.jsonl"))
        assert second.recording
    assert not second.recording
    call = recording.read(file)
    assert call.header.state == "open"
    assert isinstance(call.lines[-1], End)
    assert call.lines[-1].reason == "recording stopped"
    assert not frames(call, "response.create")
    last = recording.read(file.with_name("second.jsonl")).lines[-1]
    assert isinstance(last, End)
    assert last.reason == "session closed"


def test_nothing_is_overwritten(parrot: LocalServer, make_model: MakeModel, file: Path) -> None:
    track = file.with_name("call.out.wav")
    track.write_bytes(b"precious")
    with make_model(parrot).session() as session:
        with pytest.raises(FileExistsError, match=r"call\.out\.wav"):
            session.record(file)
        assert track.read_bytes() == b"precious"
        assert not file.exists()
        assert not file.with_name("call.in.wav").exists()
        track.unlink()
        session.record(file)


def test_a_session_that_is_over_is_not_recorded(
    parrot: LocalServer, make_model: MakeModel, file: Path
) -> None:
    session = make_model(parrot).session()
    session.close()
    with pytest.raises(RealtimeError, match="over"):
        session.record(file)
    assert not file.exists()


def test_a_full_disk_ends_the_recording_and_not_the_session(
    parrot: LocalServer, make_model: MakeModel, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with make_model(parrot, **MANUAL).session() as session:
        session.wait_open(PATIENCE)
        recorder = session.record(file)
        recorder._files._file.close()
        recorder._files._file = FileIO("/dev/full", "wb")
        assert say(session, voice()).done.result(PATIENCE).status == "completed"
        assert recorder.join(PATIENCE)
        assert not recorder.recording
        assert answer(session).done.result(PATIENCE).status == "completed"
    [record] = [record for record in caplog.records if record.name == "antiphon.recording"]
    assert record.levelno == logging.ERROR
    assert str(file) in record.getMessage()
    assert "No space left" in record.getMessage()


def test_what_a_slow_disk_cannot_take_is_counted(
    parrot: LocalServer, make_model: MakeModel, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("antiphon.recording.recorder.NOTE_LIMIT", 3)
    with make_model(parrot, **MANUAL).session() as session, session.record(file):
        say(session, voice(3000))
    call = recording.read(file)
    lost = sum(line.lines for line in call.lines if isinstance(line, Lost))
    passed = len(parrot.log.all())
    assert lost > 0
    assert call.complete
    assert len([line for line in call.lines if isinstance(line, Frame)]) < passed
