"""The dialect of Azure's dated API versions, against a table and against the SDK's beta models."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from openai.types.beta.realtime import ResponseCreateEvent, SessionUpdateEvent
from sdk_oracle import misfit
from wire_strategies import structs

import antiphon.protocol as p
from antiphon.protocol import encode_client_event
from antiphon.protocol.azure import to_legacy

SOME = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example],
)


def legacy(event: Any) -> Any:
    return json.loads(encode_client_event(event, dialect="azure-legacy"))


def config(**options: Any) -> Any:
    return legacy(p.SessionUpdate(session=p.RealtimeSessionConfig(**options)))["session"]


def heard(**options: Any) -> Any:
    return config(audio=p.AudioConfig(input=p.AudioInputConfig(**options)))


def spoken(**options: Any) -> Any:
    return config(audio=p.AudioConfig(output=p.AudioOutputConfig(**options)))


VAD = p.ServerVad(threshold=0.5, prefix_padding_ms=300, silence_duration_ms=200, create_response=True)
TABLE = [
    (config(), {}),
    (config(output_modalities=["audio"]), {"modalities": ["audio", "text"]}),
    (config(output_modalities=["text", "audio"]), {"modalities": ["audio", "text"]}),
    (config(output_modalities=["text"]), {"modalities": ["text"]}),
    (config(instructions="x", model="m"), {"instructions": "x", "model": "m"}),
    (config(max_output_tokens="inf"), {"max_response_output_tokens": "inf"}),
    (config(max_output_tokens=None), {"max_response_output_tokens": None}),
    (config(tool_choice="auto", tools=[]), {"tool_choice": "auto", "tools": []}),
    (
        config(tools=[p.FunctionToolDef(name="f", parameters={"type": "object"})]),
        {"tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}]},
    ),
    (config(tracing=None), {"tracing": None}),
    (config(tracing="auto"), {"tracing": "auto"}),
    (config(truncation="auto", reasoning=p.Reasoning(effort="low"), prompt=p.Prompt(id="x"), include=[]), {}),
    (config(truncation=None, reasoning=None, prompt=None, include=None, parallel_tool_calls=True), {}),
    (config(audio=None), {}),
    (config(audio=p.AudioConfig(input=None, output=None)), {}),
    (heard(format=p.AudioFormat(type="audio/pcm", rate=24000)), {"input_audio_format": "pcm16"}),
    (heard(format=p.AudioFormat(type="audio/pcmu")), {"input_audio_format": "g711_ulaw"}),
    (heard(format=p.AudioFormat(type="audio/pcma")), {"input_audio_format": "g711_alaw"}),
    (heard(turn_detection=None), {"turn_detection": None}),
    (heard(transcription=None), {"input_audio_transcription": None}),
    (heard(noise_reduction=None), {"input_audio_noise_reduction": None}),
    (
        heard(turn_detection=VAD),
        {
            "turn_detection": {
                "type": "server_vad",
                "threshold": 0.5,
                "prefix_padding_ms": 300,
                "silence_duration_ms": 200,
                "create_response": True,
            }
        },
    ),
    (
        heard(transcription=p.AudioTranscription(model="whisper-1")),
        {"input_audio_transcription": {"model": "whisper-1"}},
    ),
    (
        heard(noise_reduction=p.NoiseReduction(type="far_field")),
        {"input_audio_noise_reduction": {"type": "far_field"}},
    ),
    (spoken(voice="alloy", speed=1.25), {"voice": "alloy", "speed": 1.25}),
    (spoken(format=p.AudioFormat(type="audio/pcm", rate=24000)), {"output_audio_format": "pcm16"}),
]


@pytest.mark.parametrize(("got", "expected"), TABLE, ids=range(len(TABLE)))
def test_sessions(got: Any, expected: Any) -> None:
    assert got == expected


def test_a_dict_gives_the_same_and_is_left_alone() -> None:
    session = {"type": "realtime", "output_modalities": ["audio"], "audio": {"output": {"voice": "alloy"}}}
    event = {"type": "session.update", "event_id": "e", "session": session}
    before = json.dumps(event)
    expected = {"modalities": ["audio", "text"], "voice": "alloy"}
    assert legacy(event) == {"type": "session.update", "event_id": "e", "session": expected}
    assert json.dumps(event) == before


def test_assistant_parts_are_renamed_and_no_others() -> None:
    def create(role: str, *kinds: str) -> Any:
        parts = [p.ContentPart(type=kind, text="t") for kind in kinds]
        event = p.ConversationItemCreate(
            item=p.MessageItem(role=role, content=parts), previous_item_id="root"
        )
        sent = legacy(event)
        assert sent["previous_item_id"] == "root"
        return [part["type"] for part in sent["item"]["content"]]

    assert create("assistant", "output_text", "output_audio", "text") == ["text", "audio", "text"]
    assert create("user", "input_text", "input_audio") == ["input_text", "input_audio"]
    assert create("system", "input_text") == ["input_text"]


def test_responses_are_flattened_too() -> None:
    item = p.MessageItem(role="assistant", content=[p.ContentPart(type="output_text", text="t")])
    params = p.ResponseCreateParams(
        conversation="none",
        input=[item],
        metadata={"k": "v"},
        output_modalities=["text"],
        max_output_tokens=100,
        instructions="x",
        audio=p.ResponseAudioConfig(output=p.ResponseAudioOutputConfig(voice="alloy")),
        reasoning=p.Reasoning(effort="low"),
    )
    assert legacy(p.ResponseCreate(response=params, event_id="e")) == {
        "type": "response.create",
        "event_id": "e",
        "response": {
            "conversation": "none",
            "input": [{"type": "message", "role": "assistant", "content": [{"type": "text", "text": "t"}]}],
            "metadata": {"k": "v"},
            "modalities": ["text"],
            "max_response_output_tokens": 100,
            "instructions": "x",
            "voice": "alloy",
        },
    }
    assert legacy(p.ResponseCreate()) == {"type": "response.create"}


@pytest.mark.parametrize(
    "event",
    [
        p.InputAudioBufferAppend(audio="AA=="),
        p.InputAudioBufferCommit(),
        p.ConversationItemDelete(item_id="i"),
        p.ConversationItemTruncate(item_id="i", content_index=0, audio_end_ms=5),
        p.ConversationItemCreate(item=p.FunctionCallOutputItem(call_id="c", output="")),
        p.ResponseCancel(),
    ],
    ids=p.event_type,
)
def test_other_events_are_the_same_in_both_dialects(event: Any) -> None:
    assert legacy(event) == json.loads(encode_client_event(event))


@SOME
@given(structs(p.RealtimeSessionConfig))
def test_the_beta_models_know_every_key_of_a_session(session: p.RealtimeSessionConfig) -> None:
    sent = legacy(p.SessionUpdate(session=session))
    assert set(sent["session"]) <= set(SessionUpdateEvent.model_fields["session"].annotation.model_fields)
    # what follows names is the beta's too, unless it was asked for something newer than the beta
    flat = {key: sent["session"].get(key) for key in ("modalities", "max_response_output_tokens", "tracing")}
    assert misfit(SessionUpdateEvent, {"type": "session.update", "session": flat}) is None


@SOME
@given(structs(p.ResponseCreateParams))
def test_the_beta_models_know_every_key_of_a_response(params: p.ResponseCreateParams) -> None:
    sent = legacy(p.ResponseCreate(response=params))
    beta = ResponseCreateEvent.model_fields["response"].annotation
    known = {key for model in beta.__args__ if hasattr(model, "model_fields") for key in model.model_fields}
    assume(sent["response"])
    assert set(sent["response"]) <= known


@pytest.mark.parametrize("odd", [{}, {"type": "session.update"}, {"type": "session.update", "session": None}])
def test_events_without_the_usual_parts_pass_through(odd: Any) -> None:
    assert to_legacy(odd) == odd
