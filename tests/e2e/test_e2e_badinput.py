"""Bad input: a clear error where it was given, and a process that lives."""

from __future__ import annotations

import socket

import numpy as np
import pytest
from e2e_harness import KEY, PATIENCE, WIRE, Line, fence, kinds, model_for, push, read, write

from antiphon import (
    APIConnectionError,
    APIError,
    ConnectOptions,
    RealtimeError,
    RealtimeModel,
    RealtimeSession,
    Timeouts,
)
from antiphon.testing import LocalServer

IMPATIENT = {
    "conn_options": ConnectOptions(max_retry=2, retry_interval=0.05, timeout=5),
    "timeouts": Timeouts(first_retry=0.05),
}
WRONG = "sk-wrong-and-secret-0123456789"


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def check_alive(server: LocalServer) -> None:
    """The process goes on: another session converses."""
    with model_for(server, modalities=["text"]) as model:
        line = Line(model)
        write(line.session, "Are you there?")
        assert read(line.session.generate_reply().result(PATIENCE)).text == "Are you there?"
        assert line.close() == []


def failed(session: RealtimeSession) -> str:
    """Why a session ended."""
    with pytest.raises(RealtimeError) as caught:
        session.wait_open(PATIENCE)
    assert session.state == "closed"
    return str(caught.value)


def test_a_missing_key_is_said_with_both_ways_to_give_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ValueError, match=r"api_key=.*OPENAI_API_KEY"):
        RealtimeModel(base_url="http://127.0.0.1:1/v1")


def test_the_key_from_the_environment(serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve()
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    with RealtimeModel(modalities=["text"]) as model:
        line = Line(model)
        write(line.session, "Hello.")
        assert KEY not in f"{model!r} {line.session!r} {vars(model)}"
        assert line.close() == []


@pytest.mark.parametrize("address", ["127.0.0.1:8765/v1", "ftp://127.0.0.1/v1", "http:///v1", ""])
def test_an_address_that_is_none(address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "nonsense")
    with pytest.raises(ValueError, match="base_url"):
        RealtimeModel(base_url=address, api_key=KEY)


def test_an_unreachable_server(serve) -> None:
    port = closed_port()
    with RealtimeModel(base_url=f"http://127.0.0.1:{port}/v1", api_key=KEY, **IMPATIENT) as model:
        session = model.session(start=False)
        events = session.events("error", "state_changed")
        pending = session.generate_reply()
        session.push_audio(np.zeros(2_400, np.int16), sample_rate=WIRE, num_channels=1)
        session.start()
        message = failed(session)
        assert f"127.0.0.1:{port}" in message
        assert "is a server listening there?" in message
        with pytest.raises(RealtimeError):
            pending.result(PATIENCE)
        seen = list(events)
        errors = [payload for name, payload in seen if name == "error"]
        assert [error.recoverable for error in errors] == [True, True, False]
        for error in errors:
            assert isinstance(error.error, APIConnectionError)
            assert f"127.0.0.1:{port}" in str(error.error)
        assert [payload.new for name, payload in seen if name == "state_changed"] == ["closed"]
        session.close()
    check_alive(serve())


def test_a_name_that_does_not_resolve() -> None:
    with RealtimeModel(base_url="http://no-such-host.invalid/v1", api_key=KEY, **IMPATIENT) as model:
        assert "no-such-host.invalid" in failed(model.session())


def test_a_server_that_comes_up_late_is_found(serve) -> None:
    port = closed_port()
    patience = ConnectOptions(max_retry=100, retry_interval=0.05, timeout=5)
    with RealtimeModel(base_url=f"http://127.0.0.1:{port}/v1", api_key=KEY, conn_options=patience) as model:
        session = model.session(start=False)
        errors, reconnects = session.events("error"), session.events("session_reconnected")
        session.push_audio(np.zeros(4_800, np.int16), sample_rate=WIRE, num_channels=1)
        session.start()
        assert errors.get(PATIENCE)[1].recoverable
        server = serve(port=port)
        session.wait_open(PATIENCE)
        fence(session)
        # The first connection restores nothing, and nothing was said twice.
        assert len(kinds(server, "session.update")) == 1
        assert len(kinds(server, "input_audio_buffer.append")) == 2
        session.close()
        assert list(reconnects) == []


def test_a_wrong_key_ends_the_session_at_once_and_is_told_to_nobody(serve, caplog, capfd) -> None:
    server = serve()
    with model_for(server, api_key=WRONG, **IMPATIENT) as model:
        session = model.session(start=False)
        errors = session.events("error")
        session.start()
        message = failed(session)
        assert "401" in message
        ((_, error),) = list(errors)
        assert not error.recoverable
        assert isinstance(error.error, APIError)
        assert not error.error.retryable
        told = f"{message} {error!r} {error.error!r} {vars(error.error)} {model!r} {session!r} {caplog.text}"
        assert WRONG not in told
    out, err = capfd.readouterr()
    assert WRONG not in out + err
    assert not server.log.all(), "no WebSocket was opened"
    check_alive(server)


def test_a_key_that_has_expired_is_fetched_once_more(serve) -> None:
    server = serve()
    keys = [WRONG, KEY]
    with model_for(server, api_key=lambda: keys.pop(0), **IMPATIENT) as model:
        line = Line(model)
        assert keys == []
        assert line.close() == []


def test_a_key_function_that_fails_is_not_quoted(serve) -> None:
    def broken() -> str:
        raise LookupError(f"vault refused {WRONG}")

    with model_for(serve(), api_key=broken, **IMPATIENT) as model:
        assert WRONG not in failed(model.session())


@pytest.mark.parametrize(("path", "status"), [("/v2/nowhere", "404"), ("/v1/realtime", None)])
def test_a_wrong_path(serve, path, status) -> None:
    server = serve()
    with model_for(server, base_url=server.url.replace("/v1", path), **IMPATIENT) as model:
        session = model.session()
        if status is None:
            session.wait_open(PATIENCE)
        else:
            assert status in failed(session)


def test_too_many_connections(serve) -> None:
    server = serve(max_connections=1)
    with model_for(server, **IMPATIENT) as model:
        first = Line(model)
        assert "429" in failed(model.session())
        write(first.session, "I was here before.")
        assert first.close() == []


WRONG_OPTIONS = [
    ({"turn_detection": {"type": "server_vad", "treshold": 0.5}}, "treshold"),
    ({"turn_detection": {"type": "server_vad", "threshold": 1.5}}, "turn_detection.threshold"),
    ({"turn_detection": {"type": "psychic"}}, "turn_detection.type"),
    ({"turn_detection": {"type": "semantic_vad", "eagerness": "mad"}}, "turn_detection.eagerness"),
    ({"turn_detection": "server_vad"}, "turn_detection"),
    ({"input_audio_noise_reduction": "noisy"}, "input_audio_noise_reduction"),
    ({"input_audio_transcription": {"modle": "whisper-1"}}, "modle"),
    ({"speed": 3.0}, "speed"),
    ({"tool_choice": "sometimes"}, "tool_choice"),
    ({"max_response_output_tokens": 5000}, "max_response_output_tokens"),
    ({"truncation": {"retention_ratio": 2}}, "truncation.retention_ratio"),
    ({"tracing": 5}, "tracing"),
]


def test_a_wrong_option_is_refused_by_name_and_changes_nothing(serve) -> None:
    server = serve()
    with model_for(server) as model:
        line = Line(model)
        for options, named in WRONG_OPTIONS:
            with pytest.raises(ValueError, match=named):
                model_for(server, **options)
            for target in (line.session, model):
                with pytest.raises(ValueError, match=named):
                    target.update_options(voice="cedar", **options)
        fence(line.session)
        assert len(kinds(server, "session.update")) == 1
        assert line.close() == []


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"modalities": ["smell"]}, "modalities"),
        ({"input_audio_format": "mp3"}, "input_audio_format"),
        ({"output_audio_format": "mp3"}, "output_audio_format"),
        ({"input_chunk_ms": 5}, "input_chunk_ms"),
        ({"max_session_duration": 0}, "max_session_duration"),
        ({"max_message_size": 1}, "max_message_size"),
    ],
)
def test_a_wrong_option_of_the_model(options, named) -> None:
    with pytest.raises(ValueError, match=named):
        RealtimeModel(base_url="http://127.0.0.1:1/v1", api_key=KEY, **options)


def test_an_event_that_does_not_exist(serve) -> None:
    with model_for(serve()) as model:
        session = model.session()
        for subscribe in (session.on, session.once, session.off):
            with pytest.raises(ValueError, match="generation_created"):
                subscribe("generation_creatd", print)
        with pytest.raises(ValueError, match="generation_created"):
            session.events("generation_creatd")


BAD_AUDIO = [
    ((np.zeros(480, np.int32), 24_000, 1), "int32"),
    ((np.full(480, np.nan, np.float32), 24_000, 1), "(?i)nan"),
    ((np.full(480, np.inf, np.float32), 24_000, 1), "(?i)inf"),
    ((b"\0" * 481, 24_000, 1), "(?i)byte"),
    ((b"\0" * 6, 24_000, 2), "(?i)sample|channel|byte"),
    ((np.zeros(480, np.int16), 24_000, 0), "num_channels"),
    ((np.zeros(480, np.int16), 24_000, 9), "num_channels"),
    ((np.zeros((480, 3), np.int16), 24_000, 2), "(?i)channel"),
    ((np.zeros((4, 4, 4), np.int16), 24_000, 2), "(?i)shape|dim"),
    ((np.zeros(480, np.int16), 7_999, 1), "sample_rate"),
    ((np.zeros(480, np.int16), 192_001, 1), "sample_rate"),
    ((np.zeros(480, np.int16), 44_101, 1), "44101"),
    ((np.zeros(480, np.int16), 24_000.5, 1), "sample_rate"),
    (("sound", 24_000, 1), "str"),
    ((np.zeros(480, np.int16), None, 1), "sample_rate"),
]


def test_bad_audio_is_refused_and_nothing_of_it_is_sent(serve) -> None:
    server = serve("parrot", pace=50)
    good = np.arange(1_000, dtype=np.int16)
    with model_for(server) as model:
        line = Line(model, turn_detection_disabled=True)
        for (data, rate, channels), named in BAD_AUDIO:
            push(line.session, good, WIRE)
            with pytest.raises(ValueError, match=named):
                line.session.push_audio(data, sample_rate=rate, num_channels=channels)
        line.session.commit_audio()
        back = read(line.session.generate_reply().result(PATIENCE)).samples
        assert np.array_equal(back, np.tile(good, len(BAD_AUDIO)))
        assert line.close() == []
