"""§2, as a server sees it: addresses, keys, headers, and how a model and its sessions begin and end."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from contract_line import KEY, QUICK, Line
from scripted_server import ScriptedServer

from antiphon import ConnectOptions, Engine, RealtimeError, RealtimeModel, ServerVad
from antiphon.version import VERSION

Dial = Callable[..., Line]
LEGACY = {"azure_deployment": "d", "api_version": "2025-04-01"}
GA = {"azure_deployment": "d"}

URLS = [
    ({}, "", "/realtime?model=gpt-realtime"),
    ({}, "/", "/realtime?model=gpt-realtime"),
    ({}, "/v1", "/v1/realtime?model=gpt-realtime"),
    ({}, "/v1/", "/v1/realtime?model=gpt-realtime"),
    ({}, "/openai", "/openai/realtime?model=gpt-realtime"),
    ({}, "/openai/", "/openai/realtime?model=gpt-realtime"),
    ({}, "/openai/v1", "/openai/v1/realtime?model=gpt-realtime"),
    ({}, "/openai/v1/", "/openai/v1/realtime?model=gpt-realtime"),
    ({}, "/gateway/x", "/gateway/x?model=gpt-realtime"),
    ({}, "/gateway/", "/gateway/?model=gpt-realtime"),
    ({}, "/v1?model=other", "/v1/realtime?model=other"),
    ({}, "/v1?a=1", "/v1/realtime?a=1&model=gpt-realtime"),
    ({"model": "m 1"}, "/v1", "/v1/realtime?model=m+1"),
    (LEGACY, "", "/realtime?api-version=2025-04-01&deployment=d"),
    (LEGACY, "/", "/realtime?api-version=2025-04-01&deployment=d"),
    (LEGACY, "/openai", "/openai/realtime?api-version=2025-04-01&deployment=d"),
    (LEGACY, "/openai/", "/openai/realtime?api-version=2025-04-01&deployment=d"),
    (LEGACY, "/v1", "/v1?api-version=2025-04-01&deployment=d"),
    (LEGACY, "/openai/v1", "/openai/v1/realtime?model=d"),
    (GA, "", "/v1/realtime?model=d"),
    (GA, "/", "/v1/realtime?model=d"),
    (GA, "/openai", "/openai/v1/realtime?model=d"),
    (GA, "/openai/", "/openai/v1/realtime?model=d"),
    (GA, "/openai/v1", "/openai/v1/realtime?model=d"),
    (GA, "/openai/v1/", "/openai/v1/realtime?model=d"),
    (GA, "/v1", "/v1?model=d"),
]


@pytest.mark.parametrize(("options", "path", "asked"), URLS)
def test_the_address_that_is_asked_for(
    dial: Dial, server: ScriptedServer, options: dict[str, Any], path: str, asked: str
) -> None:
    assert dial(base_url=server.origin + path, **options).peer.path == asked


@pytest.mark.parametrize("scheme", ["http", "ws"])
def test_both_schemes_lead_to_a_websocket(dial: Dial, server: ScriptedServer, scheme: str) -> None:
    assert dial(base_url=server.url.replace("http", scheme, 1)).session.state == "open"


# -- keys and addresses of the environment -------------------------------------------------------------


def test_key_and_address_come_from_the_environment(
    dial: Dial, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    line = dial(api_key=..., base_url=...)
    assert line.peer.path == "/v1/realtime?model=gpt-realtime"
    assert line.peer.headers["Authorization"] == f"Bearer {KEY}"


def test_arguments_win_over_the_environment(
    dial: Dial, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "another")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://nowhere.invalid/v1")
    assert dial().peer.headers["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("endpoint", "version", "path"),
    [
        ("", None, "/openai/v1/realtime?model=d"),
        ("/", None, "/openai/v1/realtime?model=d"),
        ("", "2025-04-01", "/openai/realtime?api-version=2025-04-01&deployment=d"),
        ("/openai/v1", "2025-04-01", "/openai/v1/realtime?model=d"),
        ("/openai/v1/", "2025-04-01", "/openai/v1/realtime?model=d"),
    ],
)
def test_azure_from_its_environment(
    dial: Dial,
    server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    endpoint: str,
    version: str | None,
    path: str,
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", server.origin + endpoint)
    monkeypatch.setenv("OPENAI_API_KEY", "for another company")
    if version:
        monkeypatch.setenv("OPENAI_API_VERSION", version)
    line = dial(build=RealtimeModel.with_azure, azure_deployment="d", api_key=..., base_url=...)
    assert line.peer.path == path
    assert line.peer.headers["api-key"] == KEY
    assert "Authorization" not in line.peer.headers


def test_the_plain_constructor_reads_no_api_version(
    dial: Dial, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_VERSION", "2025-04-01")
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", server.origin)
    line = dial(api_key=..., base_url=..., azure_deployment="d")
    assert line.peer.path == "/openai/v1/realtime?model=d"


@pytest.mark.parametrize("name", ["azure_deployment", "entra_token", "api_version"])
def test_each_of_three_arguments_switches_azure_on(dial: Dial, name: str) -> None:
    line = dial(**{name: KEY})
    assert line.peer.headers.get("api-key") == (KEY if name != "entra_token" else None)


AZURE_ENDPOINT = {"azure_endpoint": "https://r.example"}


@pytest.mark.parametrize(
    ("build", "given", "words"),
    [
        (RealtimeModel, {}, r"api_key.*OPENAI_API_KEY"),
        (RealtimeModel, {"azure_deployment": "d"}, r"api_key.*entra_token.*AZURE_OPENAI_API_KEY"),
        (RealtimeModel, {"azure_deployment": "d", "api_key": "k"}, "AZURE_OPENAI_ENDPOINT"),
        (RealtimeModel.with_azure, {"azure_deployment": "d", **AZURE_ENDPOINT}, "no credentials"),
        (RealtimeModel.with_azure, {"azure_deployment": "d", "api_key": "k"}, "azure_endpoint"),
        (
            RealtimeModel.with_azure,
            {"azure_deployment": "d", "api_key": "k", "base_url": "https://r", **AZURE_ENDPOINT},
            "not both",
        ),
    ],
)
def test_what_is_missing_is_said(
    monkeypatch: pytest.MonkeyPatch, build: Callable[..., RealtimeModel], given: dict[str, Any], words: str
) -> None:
    if given:
        monkeypatch.setenv("OPENAI_API_KEY", "is not used on Azure")
    with pytest.raises(ValueError, match=words):
        build(**given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"engine": 3}, "engine must be a Runtime, not 3; pass an Engine, or None"),
        ({"engine": Engine}, "engine must be a Runtime, not .*Engine.*; pass an Engine, or None"),
        ({"ssl_context": 1}, r"ssl_context must be a SSLContext, not 1; .*create_default_context\(\)"),
    ],
)
def test_what_a_model_cannot_work_with_is_refused_when_it_is_made(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RealtimeModel(api_key=KEY, **given)


# -- headers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "name", "value"),
    [
        ({}, "Authorization", f"Bearer {KEY}"),
        ({"api_key": lambda: KEY}, "Authorization", f"Bearer {KEY}"),
        (GA, "api-key", KEY),
        ({**GA, "api_key": lambda: KEY}, "api-key", KEY),
        ({**LEGACY, "entra_token": KEY, "api_key": ...}, "Authorization", f"Bearer {KEY}"),
        ({**GA, "entra_token": lambda: KEY, "api_key": ...}, "Authorization", f"Bearer {KEY}"),
        ({"headers": {"X-Trace": "7"}}, "X-Trace", "7"),
        ({}, "User-Agent", f"antiphon/{VERSION}"),
    ],
)
def test_headers(dial: Dial, options: dict[str, Any], name: str, value: str) -> None:
    headers = dial(**options).peer.headers
    assert headers.get_all(name) == [value]
    assert "OpenAI-Beta" not in headers


@pytest.mark.parametrize("name", ["api_key", "entra_token"])
def test_a_callable_is_called_at_every_connect(dial: Dial, name: str) -> None:
    keys = iter(["one", "two", "three"])
    line = dial(**{"api_key": ..., name: lambda: next(keys)})
    line.peer.drop()
    again = line.answer()
    assert again.headers["Authorization"] == "Bearer two"


# -- the model and its sessions -------------------------------------------------------------------------


def test_session_returns_before_the_server_has_answered(server: ScriptedServer) -> None:
    with RealtimeModel(base_url=server.url, api_key=KEY, timeouts=QUICK) as model:
        session = model.session()
        assert session.state == "connecting"
        with pytest.raises(TimeoutError):
            session.wait_open(0.001)
        server.accept().expect("session.update")
        assert session.wait_open() is session
        assert session.state == "open"
        assert session.id


def test_a_model_is_told_by_its_server(line: Line, server: ScriptedServer) -> None:
    assert line.model.provider == server.origin.removeprefix("http://")
    assert line.model.model == "gpt-realtime"
    assert line.session.capabilities == line.model.capabilities
    with pytest.raises(AttributeError):
        line.model.capabilities.turn_detection = True  # type: ignore[misc]


CAPABILITIES = [
    ({}, True, True, True),
    ({"turn_detection": None}, False, True, True),
    ({"turn_detection": ServerVad(create_response=False)}, False, True, True),
    ({"input_audio_transcription": None}, True, False, True),
    ({"modalities": ["text"]}, True, True, False),
]


@pytest.mark.parametrize(("options", "detects", "transcribes", "speaks"), CAPABILITIES)
def test_capabilities_of_an_open_session(
    dial: Dial, options: dict[str, Any], detects: bool, transcribes: bool, speaks: bool
) -> None:
    line = dial(**{"turn_detection": ServerVad(), **options})
    assert msgspec.structs.asdict(line.session.capabilities) == {
        "message_truncation": True,
        "turn_detection": detects,
        "user_transcription": transcribes,
        "auto_tool_reply_generation": False,
        "audio_output": speaks,
        "manual_function_calls": True,
        "per_response_tool_choice": True,
        "mutable_chat_context": True,
        "mutable_instructions": True,
        "mutable_tools": True,
        "can_disable_turn_detection": True,
    }


def test_turn_detection_disabled_for_one_session_stays_so(dial: Dial) -> None:
    line = dial(turn_detection=ServerVad(), session={"turn_detection_disabled": True})
    assert line.first["session"]["audio"]["input"]["turn_detection"] is None
    line.model.update_options(turn_detection=ServerVad(threshold=0.9))
    assert line.sent() == []
    assert line.session.capabilities.turn_detection is False


def test_every_live_session_hears_of_the_models_change_and_no_other_of_a_sessions(
    line_to: Dial, dial: Dial, server: ScriptedServer
) -> None:
    line = dial()
    other = line.model.session()
    peer = server.accept()
    peer.expect("session.update")
    line.session.update_options(speed=1.5)
    line.model.update_options(voice="cedar")
    assert peer.expect("session.update")["session"] == {
        "type": "realtime",
        "audio": {"output": {"voice": "cedar"}},
    }
    assert [event["session"]["audio"]["output"] for event in line.sent()] == [
        {"speed": 1.5},
        {"voice": "cedar"},
    ]
    later = line.model.session()
    output = server.accept().expect("session.update")["session"]["audio"]["output"]
    assert (output["voice"], output["speed"]) == ("cedar", 1.0)
    assert (other.model, later.model) == (line.model, line.model)


def test_leaving_a_model_closes_its_sessions_and_leaving_a_session_closes_it(
    dial: Dial, server: ScriptedServer
) -> None:
    line = dial()
    with line.model.session() as session:
        peer = server.accept()
        session.wait_open()
    assert session.state == "closed"
    assert peer.close_code() == 1000
    assert line.session.state == "open"
    with line.model:
        pass
    assert line.session.state == "closed"
    assert line.peer.close_code() == 1000


def test_a_closed_model_makes_no_sessions(server: ScriptedServer) -> None:
    model = RealtimeModel(base_url=server.url, api_key="key")
    model.close()
    model.close()
    with pytest.raises(RealtimeError, match="model is closed"):
        model.session()


def test_a_dropped_session_closes_itself(server: ScriptedServer) -> None:
    model = RealtimeModel(base_url=server.url, api_key=KEY, timeouts=QUICK)
    session = model.session().wait_open()
    peer = server.accept()
    gone = weakref.ref(session)
    del session
    gc.collect()
    assert gone() is None
    assert peer.close_code() == 1000


def test_max_message_size_and_handshake_timeout_are_the_models(dial: Dial) -> None:
    line = dial(max_message_size=2048, conn_options=ConnectOptions(timeout=3.0))
    line.peer.send("rate_limits.updated", rate_limits=[], padding="x" * 2048)
    line.heard()
    assert line.of("rate_limits_updated") == []
    line.peer.send("rate_limits.updated", rate_limits=[], padding="x" * 1800)
    line.wait("rate_limits_updated")
