"""What is found in a recording."""

from __future__ import annotations

import base64
import io
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scenes import Scene, picture_of, write_call

from antiphon import RealtimeModel, recording
from antiphon.report.prices import Prices
from antiphon.report.sound import encode, waves
from antiphon.testing import LocalServer


def test_the_users_speech_stands_where_the_server_heard_it_also_on_the_second_connection(
    minute: Path,
) -> None:
    speech = picture_of(minute).speech
    assert [span.start for span in speech] == pytest.approx([1, 13, 25, 37, 49], abs=0.01)
    assert [span.end for span in speech] == pytest.approx([3.5, 15.5, 27.5, 39.5, 51.5], abs=0.01)


def test_a_response_says_when_it_was_first_heard_and_how_long_the_user_waited(minute: Path) -> None:
    first = picture_of(minute).responses[0]
    assert (first.created, first.status) == (4.0, "completed")
    assert (first.first_audio, first.first_heard) == (pytest.approx(4.4), pytest.approx(4.5, abs=0.01))
    assert first.waited == pytest.approx(1.0, abs=0.01)


def test_the_silence_with_which_a_voice_begins_is_waited_for_too(file: Path) -> None:
    scene = Scene(file)
    scene.connect(0)
    scene.user_sends(0, 6, (1, 2))
    scene.user_says("item_u", 1, 2, "hello", 0)
    scene.model_says("a", 2.5, 1.0, "one", silence=0.2)
    scene.model_says("b", 5.0, 1.0, "", silence=1.0)
    a, b = picture_of(scene.write(8)).responses
    assert a.first_audio == pytest.approx(2.9)
    assert a.first_heard == pytest.approx(3.2, abs=0.01)
    assert a.waited == pytest.approx(1.2, abs=0.01)
    assert (b.first_heard, b.waited) == (None, None)


def test_nobody_waited_for_what_follows_on_the_models_own_words(file: Path) -> None:
    scene = Scene(file)
    scene.connect(0)
    scene.user_sends(0, 6, (1, 2))
    scene.user_says("item_u", 1, 2, "hello", 0)
    scene.model_says("a", 2.5, 1.0, "one")
    scene.model_says("b", 5.0, 1.0, "two")
    a, b = picture_of(scene.write(8)).responses
    assert a.waited == pytest.approx(1.0, abs=0.01)
    assert b.waited is None


def test_what_was_cut_is_told_from_what_was_heard(minute: Path) -> None:
    picture = picture_of(minute)
    whole, cut = picture.spoken[0], picture.spoken[2]
    assert (whole.heard_s, whole.arrived_s) == (pytest.approx(6.0), pytest.approx(6.0))
    assert whole.cut_at is None
    assert (cut.heard_s, cut.arrived_s, cut.cut_at) == (3.0, pytest.approx(6.0), pytest.approx(31.5))
    assert cut.heard == [(pytest.approx(28.5), pytest.approx(31.5))]
    assert picture.responses[2].status == "cancelled"
    assert picture.responses[2].reason == "turn_detected"
    by_item = {words.item: words for words in picture.words}
    assert by_item["item_2"].heard == pytest.approx(0.5)
    assert by_item["item_0"].heard is None


def test_words_come_in_the_order_in_which_they_sounded(minute: Path) -> None:
    words = picture_of(minute).words
    assert [said.who for said in words] == ["user", "model"] * 5
    assert words[2].text == "This is question number 1."
    assert (words[2].t, words[2].end) == (pytest.approx(13.0, abs=0.01), pytest.approx(15.5, abs=0.01))


def test_a_reconnect_says_what_was_restored(minute: Path) -> None:
    first, second = picture_of(minute).links
    assert (first.end, first.ended, first.code) == (35.4, "the server closed", 1012)
    assert (second.start, second.handshake) == (36.0, 0.12)
    restored = second.restored
    assert restored is not None
    assert (restored.items, restored.degraded, restored.lost) == (9, 4, 1)
    assert (restored.downtime, restored.audio_dropped_ms) == (pytest.approx(0.6), 250.0)


def test_tools_errors_restarts_and_lost_audio_are_there(minute: Path) -> None:
    picture = picture_of(minute)
    good, bad = picture.tools
    assert (good.name, good.failed, good.output) == ("get_weather", False, "<b>sunny</b> & warm")
    assert (good.start, good.end) == (pytest.approx(16.1), pytest.approx(16.9))
    assert (bad.name, bad.failed) == ("get_stock", True)
    restart, error, dropped = picture.marks
    assert (restart.kind, restart.title) == ("restart", "GenerationActor restarted")
    assert restart.text == "lost one Delta; KeyError: x"
    assert (error.kind, error.title, error.text) == ("error", "error", "APIError: rate limit")
    assert (dropped.kind, dropped.text) == ("dropped", "120 ms of the user's voice")


def test_tokens_are_added_up_and_priced(minute: Path) -> None:
    tokens = picture_of(minute, Prices.parse("input=1,output=2")).tokens
    assert (tokens.input, tokens.output, tokens.cached) == (5000, 1000, 2500)
    assert tokens.cost == pytest.approx(5 * 1400 / 1_000_000)


def test_a_tool_that_the_application_runs_itself_is_seen_on_the_wire(file: Path) -> None:
    scene = Scene(file)
    scene.connect(0)
    call = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "call_1", "output": "42"}
    scene.received(1, "response.output_item.done", item=call)
    scene.sent(1.5, "conversation.item.create", item=output)
    # Again, after a reconnect.
    scene.sent(3, "conversation.item.create", item=output)
    [tool] = picture_of(scene.write(4)).tools
    assert (tool.name, tool.start, tool.end, tool.output) == ("f", 1, 1.5, "42")


def test_a_tool_of_the_providers_is_seen(file: Path) -> None:
    scene = Scene(file)
    scene.connect(0)
    call = {"item_id": "item_m", "server_label": "docs", "name": "find", "arguments": "{}"}
    scene.event(1, "mcp_call", status="in_progress", **call)
    scene.event(2, "mcp_call", status="failed", error={"type": "http_error", "message": "gone"}, **call)
    [tool] = picture_of(scene.write(4)).tools
    assert (tool.server, tool.name, tool.start, tool.end) == ("docs", "find", 1, 2)
    assert (tool.failed, tool.output) == (True, "gone")


def test_a_response_ends_where_the_connection_does(file: Path) -> None:
    scene = Scene(file)
    scene.connect(0)
    scene.received(1, "response.created", response={"id": "resp_1"})
    scene.drop(2, 3)
    scene.received(4, "response.created", response={"id": "resp_2"})
    first, second = picture_of(scene.write(5)).responses
    assert (first.done, first.status) == (2, "lost")
    assert (second.done, second.status) == (5, "open")


def test_a_recording_that_was_broken_off_ends_with_its_last_line(tmp_path: Path) -> None:
    file = write_call(tmp_path / "call.jsonl", 0.4, ended=False)
    picture = picture_of(file)
    assert not picture.complete
    assert picture.ended == pytest.approx(24.0, abs=0.1)


def test_what_was_typed_is_there_once_although_it_was_restored(file: Path) -> None:
    scene = Scene(file)
    scene.connect(0)
    content = [{"type": "input_text", "text": "hello"}, {"type": "input_image"}]
    item = {"type": "message", "id": "item_t", "role": "user", "content": content}
    scene.received(1, "conversation.item.added", item=item)
    scene.drop(2, 3)
    scene.received(3, "conversation.item.added", item=item)
    [words] = picture_of(scene.write(4)).words
    assert (words.who, words.text, words.t, words.typed) == ("user", "hello [picture]", 1, True)


@pytest.mark.parametrize("name", ["response.text", "response.output_text"])
def test_an_answer_in_writing_is_read_from_its_deltas_if_its_end_is_missing(file: Path, name: str) -> None:
    scene = Scene(file)
    scene.connect(0)
    for delta in ("good ", "morning"):
        scene.received(1, f"{name}.delta", item_id="item_w", delta=delta)
    [words] = picture_of(scene.write(2)).words
    assert (words.who, words.text, words.typed) == ("model", "good morning", True)


def test_nonsense_on_the_wire_makes_a_picture_all_the_same(file: Path) -> None:
    scene = Scene(file)
    scene.connect(0)
    for kind in ("response.created", "response.done"):
        for response in (
            None,
            7,
            {},
            {"id": 3},
            {"id": "r", "status": [], "status_details": "odd", "usage": "x"},
        ):
            scene.received(1, kind, response=response)
    scene.received(1, "input_audio_buffer.speech_started", item_id=None, audio_start_ms="soon")
    scene.received(1, "input_audio_buffer.speech_stopped")
    scene.received(1, "conversation.item.added", item={"type": "message", "role": 5, "content": [3, None]})
    scene.received(1, "response.output_audio_transcript.done", item_id="i", transcript=None)
    picture = picture_of(scene.write(2))
    assert picture.ended == 2
    assert picture.words == []


def test_waves_show_the_loudest_sample_of_each_bin() -> None:
    mix = np.zeros((24_000, 2), np.int16)
    mix[12_000:12_240, 0] = -32768
    mix[100, 1] = 50
    mix[300, 1] = -200
    user, model = waves(mix, 24_000)
    assert user.rate == 100
    assert list(base64.b64decode(user.peaks)) == [0] * 50 + [255] + [0] * 49
    assert list(base64.b64decode(model.peaks))[:3] == [127, 255, 0]


def test_the_audio_of_the_page_is_the_mix_to_the_sample() -> None:
    mix = np.zeros((200_000, 2), np.int16)
    tone = (12_000 * np.sin(np.arange(24_000) * 0.1)).astype(np.int16)
    mix[50_000:74_000, 0] = tone
    mix[150_000:174_000, 1] = tone
    sound = encode(mix, 24_000)
    assert sound.type == "audio/ogg"
    assert len(sound.data) < mix.nbytes / 10
    heard, rate = soundfile.read(io.BytesIO(sound.data), dtype="int16")
    assert (rate, heard.shape) == (24_000, mix.shape)
    # Lossy, but at its place and in its channel.
    error = heard.astype(float) - mix
    assert np.sqrt((error**2).mean()) < 0.1 * np.sqrt((mix.astype(float) ** 2).mean())


def test_without_soundfile_the_audio_is_a_wav(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    mix = np.arange(2000, dtype=np.int16).reshape(-1, 2)
    sound = encode(mix, 8000)
    assert sound.type == "audio/wav"
    with wave.open(io.BytesIO(sound.data)) as file:
        assert (file.getframerate(), file.getnchannels()) == (8000, 2)
        assert file.readframes(1000) == mix.tobytes()


def test_a_real_call_has_its_words_and_its_answer(file: Path) -> None:
    samples = np.random.default_rng(1).integers(-3000, 3000, 14_400).astype(np.int16)
    with (
        LocalServer("parrot", api_key="any", pace=1000.0) as server,
        RealtimeModel(base_url=server.url, api_key="any", turn_detection=None) as model,
    ):
        session = model.session(start=False)
        session.record(file)
        session.start()
        session.push_audio(samples, 24_000, 1)
        session.commit_audio()
        session.generate_reply().result(20).done.result(20)
        session.close()
    picture = picture_of(file)
    assert picture.complete
    [response], [spoken], [link] = picture.responses, picture.spoken, picture.links
    assert response.status == "completed"
    assert response.tokens is not None
    assert response.tokens.output > 0
    assert spoken.estimated
    assert spoken.arrived_s == pytest.approx(0.6, abs=0.05)
    assert link.handshake is not None
    assert [words.who for words in picture.words][-1] == "model"
    assert recording.read(file).complete
