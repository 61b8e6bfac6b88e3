"""`RealtimeModel`: its arguments, the environment, Azure, warnings, and what it never shows."""

from __future__ import annotations

import inspect
import logging
import ssl
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

import antiphon.model
from antiphon import (
    NOT_GIVEN,
    AudioTranscription,
    ConnectOptions,
    NoiseReduction,
    Prompt,
    RealtimeModel,
    SemanticVad,
    ServerVad,
    Timeouts,
)
from antiphon.defaults import SHUTDOWNS
from antiphon.testing import Driver, FakeWire
from antiphon.version import VERSION

SECRET = "sk-SECRET-0123456789"
VARIABLES = (
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "OPENAI_API_VERSION",
    "AZURE_OPENAI_API_KEY",
    "AZURE_OPENAI_ENDPOINT",
)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def driver() -> Driver:
    return Driver()


@pytest.fixture
def connect(driver: Driver) -> Iterator[Callable[..., FakeWire]]:
    """Opens a session with these arguments and returns the server's end."""
    opened = []

    def make(build: Callable[..., RealtimeModel] = RealtimeModel, **options: Any) -> FakeWire:
        session = build(engine=driver, **options).session()
        wire = driver.accept()
        opened.append((session, wire))
        return wire

    yield make
    for session, wire in opened:
        session._close_soon(1.0)
        driver.run()
        wire.close_by_server()


def headers_of(wire: FakeWire) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in wire.spec.headers())


# -- arguments ----------------------------------------------------------------------------------------


def test_all_arguments_are_keyword_only_and_the_contracts() -> None:
    parameters = inspect.signature(RealtimeModel).parameters
    assert {parameter.kind for parameter in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}
    wanted = """model voice modalities tool_choice base_url input_audio_transcription
        input_audio_noise_reduction turn_detection speed tracing truncation reasoning
        max_response_output_tokens api_key azure_deployment entra_token api_version max_session_duration
        conn_options temperature input_audio_format output_audio_format input_chunk_ms prompt
        parallel_tool_calls include proxy ssl_context headers max_message_size engine timeouts"""
    assert set(wanted.split()) <= set(parameters)
    with pytest.raises(TypeError):
        RealtimeModel("gpt-realtime")  # type: ignore[misc]


def test_the_defaults_on_the_wire(connect: Callable[..., FakeWire]) -> None:
    wire = connect(api_key="k")
    assert wire.spec.url == "wss://api.openai.com/v1/realtime?model=gpt-realtime"
    assert headers_of(wire) == {"User-Agent": f"antiphon/{VERSION}", "Authorization": "Bearer k"}
    (frame,) = wire.sent
    assert frame.pop("event_id").startswith("session_update_")
    assert frame == {
        "type": "session.update",
        "session": {
            "type": "realtime",
            "model": "gpt-realtime",
            "output_modalities": ["audio"],
            "audio": {
                "input": {
                    "format": {"type": "audio/pcm", "rate": 24000},
                    "noise_reduction": None,
                    "transcription": {"model": "gpt-4o-mini-transcribe"},
                    "turn_detection": {
                        "type": "semantic_vad",
                        "create_response": True,
                        "eagerness": "medium",
                        "interrupt_response": True,
                    },
                },
                "output": {
                    "format": {"type": "audio/pcm", "rate": 24000},
                    "speed": 1.0,
                    "voice": "marin",
                },
            },
            "max_output_tokens": "inf",
            "tool_choice": "auto",
            "tracing": None,
        },
    }


def test_the_other_defaults(driver: Driver, connect: Callable[..., FakeWire]) -> None:
    wire = connect(api_key="k", timeouts=Timeouts(ping_interval=1e6))
    assert wire.spec.timeout == 10.0
    assert wire.spec.max_message_size == 16 * 1024 * 1024
    assert wire.spec.proxy is None
    assert wire.spec.ssl_context is None
    driver.advance(1199.9)
    assert not wire.aborted
    driver.advance(0.2)
    assert wire.aborted
    assert driver.dialling


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"input_chunk_ms": 9}, "input_chunk_ms"),
        ({"input_chunk_ms": 501}, "input_chunk_ms"),
        ({"max_session_duration": 0}, "max_session_duration"),
        ({"max_session_duration": -1.0}, "max_session_duration"),
        ({"max_message_size": 1023}, "max_message_size"),
        ({"modalities": []}, "modalities"),
        ({"modalities": ["video"]}, "modalities"),
        ({"speed": 2.0}, "speed"),
        ({"max_response_output_tokens": 0}, "max_response_output_tokens"),
        ({"tool_choice": "any"}, "tool_choice"),
        ({"turn_detection": {"type": "server_vad", "x": 1}}, "turn_detection.*x"),
        ({"input_audio_noise_reduction": "quiet"}, "input_audio_noise_reduction"),
        ({"input_audio_transcription": {"x": 1}}, "input_audio_transcription"),
        ({"tracing": 1}, "tracing"),
        ({"truncation": "some"}, "truncation"),
        ({"reasoning": "much"}, "reasoning"),
        ({"input_audio_format": "mp3"}, "input_audio_format"),
        ({"output_audio_format": "mp3"}, "output_audio_format"),
        ({"base_url": "nonsense"}, "base_url"),
    ],
)
def test_a_bad_argument_is_named(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RealtimeModel(api_key="k", **given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"voice": None}, "voice"),
        ({"include": "item.input_audio_transcription.logprobs"}, "include"),
        ({"prompt": {"version": "1"}}, "prompt"),
        ({"headers": {"X": "a\r\nY: b"}}, "headers"),
    ],
)
def test_these_bad_arguments_are_named_too(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RealtimeModel(api_key="k", **given)


def test_shorthands_are_read(connect: Callable[..., FakeWire]) -> None:
    wire = connect(
        api_key="k",
        turn_detection={"type": "server_vad", "threshold": 0.4, "eagerness": "low"},
        input_audio_noise_reduction="far_field",
        input_audio_transcription={"model": "gpt-transcribe", "language": "de"},
        tool_choice={"type": "function", "function": {"name": "f"}},
        tracing={"workflow_name": "w"},
        truncation={"type": "retention_ratio", "retention_ratio": 0.5},
        reasoning={"effort": "low"},
    )
    session = wire.sent[0]["session"]
    source = session["audio"]["input"]
    assert source["turn_detection"] == {"type": "server_vad", "threshold": 0.4}
    assert source["noise_reduction"] == {"type": "far_field"}
    assert source["transcription"] == {"model": "gpt-transcribe", "language": "de"}
    assert session["tool_choice"] == {"type": "function", "name": "f"}
    assert session["tracing"] == {"workflow_name": "w"}
    assert session["truncation"] == {"type": "retention_ratio", "retention_ratio": 0.5}
    assert session["reasoning"] == {"effort": "low"}


def test_everything_else_gets_to_where_it_belongs(connect: Callable[..., FakeWire]) -> None:
    context = ssl.create_default_context()
    wire = connect(
        api_key="k",
        base_url="https://host/v1",
        prompt=Prompt(id="p", version="2"),
        parallel_tool_calls=False,
        include=["item.input_audio_transcription.logprobs"],
        input_audio_format="g711_ulaw",
        output_audio_format="g711_alaw",
        max_response_output_tokens=100,
        proxy="http://p:1",
        ssl_context=context,
        max_message_size=2048,
        conn_options=ConnectOptions(timeout=3.0),
        headers={"X-A": "b"},
    )
    session = wire.sent[0]["session"]
    assert session["prompt"] == {"id": "p", "version": "2"}
    assert session["parallel_tool_calls"] is False
    assert session["include"] == ["item.input_audio_transcription.logprobs"]
    assert session["audio"]["input"]["format"] == {"type": "audio/pcmu"}
    assert session["audio"]["output"]["format"] == {"type": "audio/pcma"}
    assert session["max_output_tokens"] == 100
    assert (wire.spec.proxy, wire.spec.max_message_size, wire.spec.timeout) == ("http://p:1", 2048, 3.0)
    assert wire.spec.ssl_context is context
    assert headers_of(wire)["X-A"] == "b"


def test_switched_off_is_null(connect: Callable[..., FakeWire]) -> None:
    wire = connect(
        api_key="k",
        turn_detection=None,
        input_audio_transcription=None,
        max_response_output_tokens=None,
        modalities=["text"],
    )
    session = wire.sent[0]["session"]
    assert session["audio"]["input"]["turn_detection"] is None
    assert session["audio"]["input"]["transcription"] is None
    assert session["max_output_tokens"] is None
    assert session["output_modalities"] == ["text"]


def test_temperature_is_accepted_warned_about_and_never_sent(connect: Callable[..., FakeWire]) -> None:
    with pytest.warns(DeprecationWarning, match="temperature") as caught:
        wire = connect(api_key="k", temperature=0.8)
    assert len(caught) == 1
    assert "temperature" not in str(wire.sent)
    model = RealtimeModel(api_key="k")
    with pytest.warns(DeprecationWarning, match="temperature") as caught:
        model.update_options(temperature=None)
    assert caught[0].filename == __file__


# -- the environment ----------------------------------------------------------------------------------


def test_the_environment_is_read_when_the_model_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"api_key.*OPENAI_API_KEY"):
        RealtimeModel()
    monkeypatch.setenv("OPENAI_API_KEY", "env")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://env.test:1/v1")
    assert RealtimeModel().provider == "env.test:1"
    assert RealtimeModel(base_url="http://arg.test/v1").provider == "arg.test"


def test_azure_is_switched_on_by_its_arguments(
    monkeypatch: pytest.MonkeyPatch, connect: Callable[..., FakeWire]
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://r.openai.azure.com")
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("OPENAI_API_VERSION", "2025-04-01")
    with pytest.raises(ValueError, match="AZURE_OPENAI_API_KEY"):
        RealtimeModel(azure_deployment="d")
    wire = connect(azure_deployment="d", api_key="k")
    assert wire.spec.url == "wss://r.openai.azure.com/openai/v1/realtime?model=d"
    assert headers_of(wire) == {"User-Agent": f"antiphon/{VERSION}", "api-key": "k"}
    assert wire.sent[0]["session"]["type"] == "realtime"


# -- with_azure ---------------------------------------------------------------------------------------


def test_with_azure_reads_its_environment(
    monkeypatch: pytest.MonkeyPatch, connect: Callable[..., FakeWire]
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "azure's")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://r.openai.azure.com/")
    monkeypatch.setenv("OPENAI_API_VERSION", "2025-04-01")
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("OPENAI_BASE_URL", "https://other.test")
    wire = connect(RealtimeModel.with_azure, azure_deployment="d")
    assert wire.spec.url == ("wss://r.openai.azure.com/openai/realtime?api-version=2025-04-01&deployment=d")
    assert headers_of(wire) == {"User-Agent": f"antiphon/{VERSION}", "api-key": "azure's"}
    assert wire.sent[0]["session"]["modalities"] == ["audio", "text"]


def test_with_azures_arguments_win(monkeypatch: pytest.MonkeyPatch, connect: Callable[..., FakeWire]) -> None:
    for name in ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT", "OPENAI_API_VERSION"):
        monkeypatch.setenv(name, "https://env.test")
    wire = connect(
        RealtimeModel.with_azure,
        azure_deployment="d",
        azure_endpoint="https://arg.test",
        api_version="v",
        entra_token=lambda: "t",
    )
    assert wire.spec.url == "wss://arg.test/openai/realtime?api-version=v&deployment=d"
    assert headers_of(wire)["Authorization"] == "Bearer t"


def test_without_an_api_version_azure_speaks_ga(connect: Callable[..., FakeWire]) -> None:
    wire = connect(RealtimeModel.with_azure, azure_deployment="d", azure_endpoint="https://r", api_key="k")
    assert wire.spec.url == "wss://r/openai/v1/realtime?model=d"
    assert wire.sent[0]["session"]["type"] == "realtime"


@pytest.mark.parametrize("slash", ["", "/"])
def test_an_endpoint_of_the_ga_api_means_ga_whatever_the_version(
    monkeypatch: pytest.MonkeyPatch, connect: Callable[..., FakeWire], slash: str
) -> None:
    monkeypatch.setenv("OPENAI_API_VERSION", "2025-04-01")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", f"https://r/openai/v1{slash}")
    wire = connect(RealtimeModel.with_azure, azure_deployment="d", api_key="k")
    assert wire.spec.url == "wss://r/openai/v1/realtime?model=d"
    assert wire.sent[0]["session"]["type"] == "realtime"


@pytest.mark.parametrize(
    ("given", "environment", "words"),
    [
        ({"azure_endpoint": "https://r"}, {}, r"api_key.*entra_token.*AZURE_OPENAI_API_KEY"),
        ({"azure_endpoint": "https://r"}, {"OPENAI_API_KEY": "k"}, "AZURE_OPENAI_API_KEY"),
        ({"api_key": "k"}, {}, r"azure_endpoint.*AZURE_OPENAI_ENDPOINT"),
        ({"api_key": "k"}, {"OPENAI_BASE_URL": "https://o"}, "AZURE_OPENAI_ENDPOINT"),
        ({"api_key": "k", "azure_endpoint": "https://r", "base_url": "https://b"}, {}, "not both"),
    ],
)
def test_with_azure_says_what_is_missing_or_too_much(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], environment: dict[str, str], words: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=words):
        RealtimeModel.with_azure(azure_deployment="d", **given)


def test_a_base_url_is_taken_as_it_is_and_the_endpoint_variable_does_not_matter(
    monkeypatch: pytest.MonkeyPatch, connect: Callable[..., FakeWire]
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://env.test")
    wire = connect(
        RealtimeModel.with_azure, azure_deployment="d", base_url="https://gateway/a/b", api_key="k"
    )
    assert wire.spec.url == "wss://gateway/a/b?model=d"


def test_azures_own_defaults_and_how_to_override_them(connect: Callable[..., FakeWire]) -> None:
    azure = {"azure_deployment": "d", "azure_endpoint": "https://r", "api_key": "k"}
    source = connect(RealtimeModel.with_azure, **azure).sent[0]["session"]["audio"]["input"]
    assert source["turn_detection"] == {
        "type": "server_vad",
        "threshold": 0.5,
        "prefix_padding_ms": 300,
        "silence_duration_ms": 200,
        "create_response": True,
    }
    assert source["transcription"] == {"model": "whisper-1"}
    wire = connect(
        RealtimeModel.with_azure,
        **azure,
        turn_detection=None,
        input_audio_transcription=None,
        voice="alloy",
    )
    session = wire.sent[0]["session"]
    assert session["audio"]["input"]["turn_detection"] is None
    assert session["audio"]["input"]["transcription"] is None
    assert session["audio"]["output"]["voice"] == "alloy"


# -- properties ---------------------------------------------------------------------------------------


def test_model_provider_and_label() -> None:
    model = RealtimeModel(api_key="k", base_url="http://localhost:8000/v1", model="m")
    assert (model.model, model.provider, model.label) == ("m", "localhost:8000", "OpenAI Realtime API")
    azure = RealtimeModel.with_azure(azure_deployment="d", azure_endpoint="https://r", api_key="k")
    assert (azure.provider, azure.label) == ("r", "Azure OpenAI Realtime API")


FIXED = {
    "message_truncation": True,
    "auto_tool_reply_generation": False,
    "manual_function_calls": True,
    "per_response_tool_choice": True,
    "mutable_chat_context": True,
    "mutable_instructions": True,
    "mutable_tools": True,
    "can_disable_turn_detection": True,
}


@pytest.mark.parametrize(
    ("options", "detects", "transcribes", "speaks"),
    [
        ({}, True, True, True),
        ({"turn_detection": None}, False, True, True),
        ({"turn_detection": ServerVad()}, True, True, True),
        ({"turn_detection": ServerVad(create_response=False)}, False, True, True),
        ({"turn_detection": SemanticVad(create_response=False)}, False, True, True),
        ({"input_audio_transcription": None}, True, False, True),
        ({"modalities": ["text"]}, True, True, False),
        ({"modalities": ["audio"]}, True, True, True),
    ],
)
def test_capabilities(options: dict[str, Any], detects: bool, transcribes: bool, speaks: bool) -> None:
    capabilities = RealtimeModel(api_key="k", **options).capabilities
    assert msgspec.structs.asdict(capabilities) == {
        **FIXED,
        "turn_detection": detects,
        "user_transcription": transcribes,
        "audio_output": speaks,
    }
    with pytest.raises(AttributeError):
        capabilities.turn_detection = True


def test_capabilities_follow_the_options(driver: Driver) -> None:
    with RealtimeModel(api_key="k", engine=driver) as model:
        session = model.session(start=False)
        disabled = model.session(start=False, turn_detection_disabled=True)
        assert session.capabilities.turn_detection is True
        assert disabled.capabilities.turn_detection is False
        session.update_options(input_audio_transcription=None)
        assert session.capabilities.user_transcription is False
        assert model.capabilities.user_transcription is True
        model.update_options(turn_detection=ServerVad(create_response=True))
        assert disabled.capabilities.turn_detection is False


def test_a_session_returns_at_once_and_knows_its_model(driver: Driver) -> None:
    with RealtimeModel(api_key="k", engine=driver) as model:
        first, second = model.session(), model.session()
        assert first.state == "connecting"
        assert first.model is model
        assert first.id != second.id
        assert driver.dialling
        with pytest.raises(TimeoutError, match="connecting"):
            first.wait_open(0)
        for session in (first, second):
            session._close_soon(1.0)
        driver.run()


def test_start_false_lets_the_application_subscribe_first(driver: Driver) -> None:
    with RealtimeModel(api_key="k", engine=driver) as model:
        session = model.session(start=False)
        assert not driver.dialling
        seen: list[str] = []
        session.on("openai_client_event_queued", lambda event: seen.append(event["type"]))
        session.start()
        session.start()
        wire = driver.accept()
        assert seen == ["session.update"]
        assert not driver.dialling
        session._close_soon(1.0)
        driver.run()
        wire.close_by_server()


# -- announced shutdowns ------------------------------------------------------------------------------


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What has been warned about; nothing was before."""
    monkeypatch.setattr(antiphon.model, "_warned_of", set())
    caplog.set_level(logging.WARNING, "antiphon.model")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "antiphon.model"]


@pytest.mark.parametrize(
    ("model", "transcriber", "date"),
    [
        ("gpt-realtime", None, "2027-01-20"),
        ("gpt-realtime-mini", None, "2027-01-20"),
        ("new", "whisper-1", "2027-02-26"),
        ("new", "gpt-4o-transcribe", "2027-02-26"),
        ("new", "gpt-4o-mini-transcribe", "2027-02-26"),
    ],
)
def test_a_model_that_ends_is_warned_about_once(
    warned: Callable[[], list[str]], model: str, transcriber: str | None, date: str
) -> None:
    for _ in range(2):
        RealtimeModel(
            api_key="k",
            model=model,
            input_audio_transcription=transcriber and AudioTranscription(model=transcriber),
        )
    (text,) = warned()
    name = transcriber or model
    assert name in text
    assert date in text
    assert SHUTDOWNS[name][1] in text


def test_models_that_stay_and_other_hosts_are_not_warned_about(warned: Callable[[], list[str]]) -> None:
    RealtimeModel(api_key="k", model="new", input_audio_transcription=None)
    RealtimeModel(api_key="k", base_url="http://localhost/v1")
    RealtimeModel.with_azure(azure_deployment="d", azure_endpoint="https://r", api_key="k")
    assert warned() == []


def test_the_sdk_names_every_model_that_is_warned_about() -> None:
    import openai.types.realtime as sdk
    from openai.types.realtime import audio_transcription, realtime_session_create_request

    assert sdk
    known = inspect.getsource(audio_transcription) + inspect.getsource(realtime_session_create_request)
    for name, (_, successor) in SHUTDOWNS.items():
        assert f'"{name}"' in known
        assert f'"{successor}"' in known


# -- options of the model and of its sessions -----------------------------------------------------------


def test_the_models_update_changes_live_sessions_and_those_to_come(driver: Driver) -> None:
    with RealtimeModel(api_key="k", engine=driver) as model:
        sessions = [model.session(), model.session()]
        wires = [driver.accept(), driver.accept()]
        model.update_options(voice="cedar", input_audio_noise_reduction="near_field")
        driver.run()
        for wire in wires:
            assert wire.sent[1]["session"] == {
                "type": "realtime",
                "audio": {"input": {"noise_reduction": {"type": "near_field"}}, "output": {"voice": "cedar"}},
            }
        sessions.append(model.session())
        wires.append(driver.accept())
        assert wires[2].sent[0]["session"]["audio"]["output"]["voice"] == "cedar"
        for session, wire in zip(sessions, wires, strict=True):
            session._close_soon(1.0)
            driver.run()
            wire.close_by_server()


def test_a_sessions_options_are_its_own(driver: Driver) -> None:
    with RealtimeModel(api_key="k", engine=driver) as model:
        session, other = model.session(), model.session()
        wire, other_wire = driver.accept(), driver.accept()
        session.update_options(voice="cedar", speed=1.2)
        driver.run()
        assert len(other_wire.sent) == 1
        # The model pushes only what its caller gave: the session's own speed stays.
        model.update_options(voice="ash")
        driver.run()
        assert wire.sent[-1]["session"] == {"type": "realtime", "audio": {"output": {"voice": "ash"}}}
        later = model.session()
        later_wire = driver.accept()
        output = later_wire.sent[0]["session"]["audio"]["output"]
        assert (output["voice"], output["speed"]) == ("ash", 1.0)
        for one, its_wire in ((session, wire), (other, other_wire), (later, later_wire)):
            one._close_soon(1.0)
            driver.run()
            its_wire.close_by_server()


def test_a_session_with_detection_disabled_keeps_it_so(driver: Driver) -> None:
    with RealtimeModel(api_key="k", engine=driver) as model:
        session = model.session(turn_detection_disabled=True)
        wire = driver.accept()
        assert wire.sent[0]["session"]["audio"]["input"]["turn_detection"] is None
        model.update_options(turn_detection=ServerVad(), speed=1.2)
        driver.run()
        assert wire.sent[1]["session"] == {"type": "realtime", "audio": {"output": {"speed": 1.2}}}
        session._close_soon(1.0)
        driver.run()
        wire.close_by_server()


def test_a_bad_option_changes_nothing(driver: Driver) -> None:
    with RealtimeModel(api_key="k", engine=driver) as model:
        session = model.session()
        wire = driver.accept()
        for changed in (model, session):
            with pytest.raises(ValueError, match="speed"):
                changed.update_options(voice="cedar", speed=9)
        driver.run()
        assert len(wire.sent) == 1
        session._close_soon(1.0)
        driver.run()
        wire.close_by_server()


def test_the_sessions_update_options_takes_what_the_models_takes() -> None:
    from antiphon import RealtimeSession

    model = set(inspect.signature(RealtimeModel.update_options).parameters)
    session = set(inspect.signature(RealtimeSession.update_options).parameters)
    assert model - session <= {"temperature"}


def test_a_sessions_update_options_accepts_temperature(driver: Driver) -> None:
    with RealtimeModel(api_key="k", engine=driver) as model:
        session = model.session(start=False)
        with pytest.warns(DeprecationWarning, match="temperature"):
            session.update_options(temperature=0.8)


# -- what is never shown --------------------------------------------------------------------------------


def test_no_secret_is_shown_in_reprs_and_logs(driver: Driver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    errors: list[Any] = []
    model = RealtimeModel(
        api_key=SECRET,
        base_url=f"https://user:{SECRET}@host/v1?key={SECRET}",
        headers={"X-Key": SECRET},
        engine=driver,
        conn_options=ConnectOptions(max_retry=1, retry_interval=0),
        timeouts=Timeouts(first_retry=0.1),
    )
    session = model.session(start=False)
    session.on("error", errors.append)
    session.start()
    driver.refuse(500)
    driver.advance(1.0)
    driver.refuse(401, "the key was refused")
    assert len(errors) == 2
    shown = [repr(model), str(model), repr(session), caplog.text, model.provider, model.label]
    shown += [repr(error) + str(error.error) + repr(error.error.__dict__) for error in errors]
    shown += [repr(session._actors.spec.label), repr(model._endpoint)]
    assert SECRET not in "".join(shown)


def test_the_specs_that_carry_secrets_show_none(driver: Driver) -> None:
    model = RealtimeModel(
        api_key="k",
        base_url=f"https://u:{SECRET}@host/v1?key={SECRET}",
        proxy=f"http://u:{SECRET}@p:1",
        engine=driver,
    )
    session = model.session()
    wire = driver.accept()
    assert SECRET not in repr(wire.spec)
    assert SECRET not in repr(session._actors.spec)
    session._close_soon(1.0)
    driver.run()
    wire.close_by_server()


def test_no_warning_is_raised_by_ordinary_use(driver: Driver) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with RealtimeModel(api_key="k", engine=driver, temperature=NOT_GIVEN) as model:
            model.update_options(voice="cedar", input_audio_noise_reduction=NoiseReduction(type="near_field"))
