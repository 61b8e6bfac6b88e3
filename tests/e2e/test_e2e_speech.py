"""A spoken question in, a spoken answer out."""

from __future__ import annotations

import base64

import numpy as np
import openai
import pytest
from e2e_harness import KEY, WIRE, Line, model_for, push, read, spoken, words, write

from antiphon import ServerVad
from antiphon.testing import transcribe

# the SDK calls websockets in the way of older versions
pytestmark = pytest.mark.filterwarnings("ignore:connect.. must be used:DeprecationWarning")

VAD = ServerVad(silence_duration_ms=400)
WEATHER = "What is the weather in San Francisco?"


def said(samples: np.ndarray, rate: int = WIRE) -> set[str]:
    return words(transcribe(samples, rate))


@pytest.mark.parametrize(
    ("question", "heard", "answered"),
    [
        (WEATHER, {"weather", "san", "francisco"}, {"weather", "sunny"}),
        ("What is two plus three?", {"two", "plus", "three"}, {"is", "five"}),
        ("Tell me a joke.", {"tell", "me", "joke"}, {"robot"}),
    ],
)
def test_a_spoken_question_gets_a_spoken_answer(serve, question, heard, answered) -> None:
    server = serve("voice", pace=20)
    with model_for(server, turn_detection=VAD) as model:
        line = Line(model)
        push(line.session, spoken(question), 48_000)
        generation = line.generation()
        assert not generation.user_initiated
        assert heard <= words(line.transcript().transcript)
        answer = read(generation)
        assert generation.done.result(20).status == "completed"
        assert answered <= words(answer.text)
        assert answered <= said(answer.samples)
        assert answer.modalities == [["audio", "text"]]
        # The conversation, as the server has it, has the words of both.
        user, agent = line.session.chat_ctx.items
        assert heard <= words(user.text_content)
        assert answered <= words(agent.text_content)
        assert [item.id for item in server.conversation()] == [user.id, agent.id]
        assert line.close() == []


@pytest.mark.full
def test_a_conversation_of_several_turns_in_one_session(serve) -> None:
    server = serve("voice", pace=20)
    with model_for(server, turn_detection=VAD) as model:
        line = Line(model)
        for question, answered in [
            ("What is two plus three?", "five"),
            (WEATHER, "sunny"),
            ("How are you?", "fine"),
        ]:
            push(line.session, spoken(question), 48_000)
            answer = read(line.generation())
            line.transcript()
            assert answered in words(answer.text)
            assert answered in said(answer.samples)
        assert len(server.conversation()) == 6
        assert line.close() == []


def test_default_options_understand_speech_too(serve) -> None:
    server = serve("voice", pace=20)
    with model_for(server) as model:
        line = Line(model)
        push(line.session, spoken(WEATHER, 16_000, 1), 16_000)
        answer = read(line.generation())
        assert "francisco" in words(line.transcript().transcript)
        assert "sunny" in said(answer.samples)
        assert line.close() == []


@pytest.mark.parametrize("law", ["g711_ulaw", "g711_alaw"])
def test_a_telephone_call(serve, law) -> None:
    """The bundled recognizer is made for wideband; on the telephone it gets short sentences only."""
    server = serve("voice", pace=20)
    with model_for(server, turn_detection=VAD, input_audio_format=law, output_audio_format=law) as model:
        line = Line(model)
        push(line.session, spoken("Good morning.", 8_000, 1), 8_000)
        generation = line.generation()
        assert {"good", "morning"} <= words(line.transcript().transcript)
        answer = read(generation)
        assert {"how", "can", "help", "you"} <= said(answer.samples, 8_000)
        assert line.close() == []


@pytest.mark.full
def test_the_official_client_talks_to_the_same_server_at_the_same_time(serve) -> None:
    server = serve("voice", pace=20)
    with model_for(server, turn_detection=VAD) as model:
        line = Line(model)
        client = openai.OpenAI(api_key=KEY, base_url=server.url, max_retries=0)
        with client, client.realtime.connect(model="gpt-realtime") as sdk:
            assert sdk.recv().type == "session.created"
            push(line.session, spoken(WEATHER), 48_000)
            assert _ask_with_the_sdk(sdk, "What is two plus three?") >= {"is", "five"}
            ours = read(line.generation())
            # and once more, by voice
            assert _say_with_the_sdk(sdk, "Hello, can you hear me?") >= {"help", "you"}
        assert "sunny" in said(ours.samples)
        assert len(server.conversation(0)) == 2
        assert len(server.conversation(1)) == 4
        assert line.close() == []


def _answer(sdk) -> set[str]:
    sound = b""
    while (event := sdk.recv()).type != "response.done":
        assert event.type != "error", event
        if event.type == "response.output_audio.delta":
            sound += base64.b64decode(event.delta)
    assert event.response.status == "completed"
    return said(np.frombuffer(sound, np.int16))


def _ask_with_the_sdk(sdk, text: str) -> set[str]:
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    sdk.conversation.item.create(item=item)
    sdk.response.create()
    return _answer(sdk)


def _say_with_the_sdk(sdk, text: str) -> set[str]:
    sound = spoken(text, WIRE, 1)[:, 0].tobytes()
    for at in range(0, len(sound), 9_600):
        sdk.input_audio_buffer.append(audio=base64.b64encode(sound[at : at + 9_600]).decode())
    return _answer(sdk)


def test_a_written_question_is_answered_aloud(serve) -> None:
    server = serve("voice", pace=20)
    with model_for(server) as model:
        line = Line(model)
        write(line.session, "How much is seven times six?")
        generation = line.session.generate_reply().result(20)
        assert generation.user_initiated
        assert {"forty", "two"} <= said(read(generation).samples)
        assert line.close() == []
