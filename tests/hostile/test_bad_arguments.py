"""What a newcomer gets wrong is refused where it was written, in words that name it and what to do."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
from typing import Any

import pytest
from hostile_server import PATIENCE, attacked

from antiphon import ConnectOptions, RealtimeError, RealtimeModel, Timeouts
from antiphon.testing import LocalServer

KEY = "sk-for-these-tests-only"
URL = "http://127.0.0.1:1/v1"

BAD_OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"api_key": f"{KEY}\n"}, "api_key must be .* without spaces: there is a line break or space at its end"),
    ({"api_key": "sk-ключ"}, "api_key must be non-empty printable ASCII"),
    ({"api_key": 5}, "api_key must be text or a callable that returns it, not int"),
    ({"api_key": KEY.encode()}, "api_key must be text or a callable that returns it, not bytes"),
    ({"azure_deployment": "d", "entra_token": ""}, "entra_token must be non-empty"),
    ({"azure_deployment": "d", "entra_token": 5}, "entra_token must be text or a callable"),
    ({"proxy": "proxy.example:8080"}, "proxy must be an address like http://user:password@host:port"),
    ({"proxy": "socks5://proxy.example:1080"}, "proxy must be"),
    ({"proxy": "http://"}, "proxy must be"),
    ({"proxy": "http://proxy.example:eighty"}, "proxy must be"),
    ({"proxy": "http://proxy.example:99999"}, "proxy must be"),
    ({"proxy": "http://proxy example"}, "proxy must be"),
    ({"proxy": 8080}, "proxy must be .* not of type int"),
    ({"include": ["bogus"]}, r"include must be a list of item\.input_audio_transcription\.logprobs"),
    ({"include": [[]]}, "include must be"),
    ({"parallel_tool_calls": "yes"}, "parallel_tool_calls must be True, False or None"),
    ({"parallel_tool_calls": 1}, "parallel_tool_calls must be"),
]


@pytest.mark.parametrize(("options", "words"), BAD_OPTIONS)
def test_options_that_can_never_work(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RealtimeModel(**{"base_url": URL, "api_key": KEY, **options})


def test_a_bad_key_of_the_environment_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")
    with pytest.raises(ValueError, match=r"OPENAI_API_KEY must be .*line break"):
        RealtimeModel(base_url=URL)


@pytest.mark.parametrize(
    "proxy", ["http://proxy.example", "http://user:p%40ss@proxy.example:3128", "http://[::1]:8080", None]
)
def test_proxies_that_may_work(proxy: str | None) -> None:
    RealtimeModel(base_url=URL, api_key=KEY, proxy=proxy)


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (5, "must be a struct of antiphon.protocol or a dict, not int"),
        (None, "not NoneType"),
        ('{"type":"response.cancel"}', "not str"),
        ([{"type": "response.cancel"}], "not list"),
        ({}, "an event needs a type"),
        ({"type": 5}, "an event needs a type"),
    ],
)
def test_an_event_that_is_none(event: Any, words: str) -> None:
    with attacked(lambda peer: None) as victim:
        with pytest.raises(TypeError, match=words):
            victim.session.send_event(event)
        victim.converse()
        assert victim.close() == []


def test_an_event_without_end_costs_only_itself(caplog: pytest.LogCaptureFixture) -> None:
    endless: dict[str, Any] = {"type": "made.up"}
    endless["again"] = endless
    with attacked(lambda peer: None) as victim:
        victim.session.send_event(endless)
        victim.converse()
        assert victim.close() == []
    assert "could not be encoded" in caplog.text


@pytest.mark.parametrize("port", ["99999"])
def test_a_port_that_is_none(port: str) -> None:
    command = [sys.executable, "-m", "antiphon.cli", "serve", "--port", port]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert refused.returncode == 2
    assert "--port" in refused.stderr
    assert "Traceback" not in refused.stderr
    with pytest.raises(ValueError, match="port must be from 0 to 65535"):
        LocalServer("parrot", port=int(port))


def test_a_wrong_path_is_tried_again_and_says_what_to_check() -> None:
    # 404 is what gateways say while a deployment comes up, too: it counts against `max_retry` like other failures.
    once_more = ConnectOptions(max_retry=1, retry_interval=0.05)
    with (
        LocalServer("parrot") as server,
        RealtimeModel(
            base_url=server.url.replace("/v1", "/v2"),
            api_key=KEY,
            conn_options=once_more,
            timeouts=Timeouts(first_retry=0.01),
        ) as model,
    ):
        session = model.session(start=False)
        errors = session.events("error")
        session.start()
        with pytest.raises(
            RealtimeError, match=r"HTTP 404: .*check base_url and the model's or deployment's name"
        ):
            session.wait_open(PATIENCE)
        assert [error.recoverable for _, error in errors] == [True, False]


# -- where secrets and microphones could get out -------------------------------------------------------------


@pytest.mark.parametrize(
    ("base_url", "warned"),
    [
        ("http://realtime.example/v1", True),
        ("ws://10.0.0.7:8080/v1", True),
        ("http://[2001:db8::1]/v1", True),
        ("http://0.0.0.0.example/v1", True),
        ("https://realtime-2.example/v1", False),
        ("http://localhost:8765/v1", False),
        ("http://api.localhost/v1", False),
        ("http://127.0.0.9:1/v1", False),
        ("ws://[::1]:1/v1", False),
    ],
)
def test_a_key_in_clear_text_is_warned_about_once(
    base_url: str, warned: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("antiphon.model._warned_of", set())
    caplog.set_level(logging.WARNING, "antiphon.model")
    models = [RealtimeModel(base_url=base_url, api_key=KEY) for _ in range(2)]
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        f"the key goes to {models[0].provider} unencrypted, where others on the way can read it; "
        "use https:// or wss://"
    ] * int(warned)


def test_the_local_server_is_reached_from_this_machine_only() -> None:
    with LocalServer("parrot") as server:
        assert server._server.socket.getsockname()[0] == "127.0.0.1"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            # Sends nothing; tells the address by which others would reach this machine.
            probe.connect(("192.0.2.1", 9))
            outside = probe.getsockname()[0]
        if outside.startswith("127."):
            pytest.skip("this machine has no address but loopback")
        with pytest.raises(OSError), socket.create_connection((outside, server.port), 2.0):  # noqa: PT011
            pass
