"""Turn detection and recognition on spoken questions, as they would come from a microphone."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from openai.resources.realtime.realtime import RealtimeConnection
from server_oracle import check_log, connected, of, until

from antiphon.testing import LocalServer, synthesize, transcribe
from antiphon.testing.vad import SpeechDetector

NOISE = 60.0

# the SDK calls websockets in the way of older versions
pytestmark = pytest.mark.filterwarnings("ignore:connect.. must be used:DeprecationWarning")


def recording(*texts: str, pause_ms: int = 900, noise: float = NOISE) -> np.ndarray[Any, np.dtype[np.int16]]:
    """Spoken sentences with pauses around them, and noise."""
    pause = np.zeros(24 * pause_ms)
    parts = [pause]
    for text in texts:
        parts += [synthesize(text)[0], pause]
    clean = np.concatenate(parts)
    return (clean + np.random.default_rng(1).normal(0, noise, len(clean))).astype(np.int16)


def push(sdk: RealtimeConnection, audio: np.ndarray[Any, np.dtype[np.int16]]) -> None:
    for start in range(0, len(audio), 2400):
        sdk.input_audio_buffer.append(audio=base64.b64encode(audio[start : start + 2400].tobytes()).decode())


@pytest.mark.parametrize(
    "question",
    [
        "What time is it?",
        "What is the weather in San Francisco?",
        "Tell me a long story.",
        "What is two plus three?",
        "Thank you, goodbye.",
        "Hello.",
        "Where is the train station?",
        "My cat is sleeping on the sofa.",
    ],
)
@pytest.mark.parametrize("noise", [0.0, NOISE])
def test_questions_are_recognized(question: str, noise: float) -> None:
    said = recording(question, pause_ms=300, noise=noise)
    assert transcribe(said, 24000) == "".join(c for c in question.lower() if c.isalpha() or c == " ")


def test_silence_and_noise_are_no_words() -> None:
    assert transcribe(np.zeros(24000, np.int16), 24000) == ""
    assert transcribe(np.zeros(0, np.int16), 24000) == ""


@pytest.mark.parametrize("rate", [8000, 24000])
def test_detector_finds_speech_between_noise(rate: int) -> None:
    audio = recording("What time is it?", "Thank you, goodbye.", pause_ms=1000)[:: 24000 // rate]
    detector = SpeechDetector(rate, 0.5, 500)
    edges = [
        edge for start in range(0, len(audio), 777) for edge in detector.feed(audio[start : start + 777])
    ]
    assert [edge.started for edge in edges] == [True, False, True, False]
    assert 900 <= edges[0].at_ms <= 1300
    first_ms = len(synthesize("What time is it?")[0]) / 24
    assert 1000 + first_ms - 150 <= edges[1].at_ms <= 1000 + first_ms + 700  # the voice ends in silence


def test_detector_ignores_noise_alone() -> None:
    noise = np.random.default_rng(2).normal(0, 300, 24000 * 5).astype(np.int16)
    assert SpeechDetector(24000, 0.5, 500).feed(noise) == []


def test_a_spoken_question_gets_a_spoken_answer() -> None:
    audio = {"input": {"transcription": {"model": "whisper-1"}}}
    with LocalServer("voice", pace=20) as server, connected(server, audio=audio) as sdk:
        push(sdk, recording("What is two plus three?"))
        events = until(sdk, "response.done")
        (started,) = of(events, "input_audio_buffer.speech_started")
        (stopped,) = of(events, "input_audio_buffer.speech_stopped")
        (committed,) = of(events, "input_audio_buffer.committed")
        assert started.item_id == stopped.item_id == committed.item_id
        assert 500 <= started.audio_start_ms <= 1000  # the beginning less the padding
        (heard,) = of(events, "conversation.item.input_audio_transcription.completed")
        assert heard.transcript == "what is two plus three"
        assert heard.usage.type == "tokens"
        assert of(events, "response.output_audio_transcript.done")[0].transcript == "Two plus three is five."
        spoken = b"".join(base64.b64decode(e.delta) for e in of(events, "response.output_audio.delta"))
        assert "plus three is five" in transcribe(np.frombuffer(spoken, np.int16), 24000)
        check_log(server)


def test_speech_interrupts_the_answer() -> None:
    with LocalServer("voice", pace=1) as server, connected(server) as sdk:
        push(sdk, recording("Tell me a long story."))
        until(sdk, "response.output_audio.delta")
        push(sdk, recording("Stop."))
        events = until(sdk, "response.done")
        assert of(events, "input_audio_buffer.speech_started")
        assert events[-1].response.status_details.reason == "turn_detected"
        events = until(sdk, "response.done")
        assert events[-1].response.status == "completed"
        check_log(server)


def test_semantic_vad_waits_longer_when_less_eager() -> None:
    ends: dict[str, int] = {}
    with LocalServer("parrot", pace=50) as server:
        for eagerness in ("high", "low"):
            detection = {"type": "semantic_vad", "eagerness": eagerness, "create_response": False}
            with connected(server, audio={"input": {"turn_detection": detection}}) as sdk:
                push(sdk, recording("What time is it?", pause_ms=1500))
                ends[eagerness] = until(sdk, "input_audio_buffer.speech_stopped")[-1].audio_end_ms
        assert ends["low"] - ends["high"] == 700
        assert server.log.sent("response.created") == []


def test_idle_timeout_makes_the_agent_speak() -> None:
    detection = {"type": "server_vad", "idle_timeout_ms": 5000}
    with (
        LocalServer("parrot", pace=50) as server,
        connected(server, audio={"input": {"turn_detection": detection}}) as sdk,
    ):
        push(sdk, recording("Hello."))
        until(sdk, "response.done")
        push(sdk, np.zeros(24000 * 9, np.int16))
        (timeout,) = of(until(sdk, "response.done"), "input_audio_buffer.timeout_triggered")
        assert timeout.audio_end_ms - timeout.audio_start_ms >= 5000
        check_log(server)
