"""Where to connect and how to be let in: addresses as a table, credentials, and what must never be shown."""

from __future__ import annotations

import traceback
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from antiphon.endpoint import Endpoint, azure_base_url, find_endpoint, is_azure_ga, websocket_url

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


def find(**given: Any) -> Endpoint:
    arguments: dict[str, Any] = dict.fromkeys(
        ("base_url", "api_key", "azure_deployment", "entra_token", "api_version")
    )
    return find_endpoint(**{"model": "m", **arguments, **given})


# -- addresses ----------------------------------------------------------------------------------------

OPENAI = [
    ("https://api.openai.com/v1", "wss://api.openai.com/v1/realtime?model=m"),
    ("http://host:8080", "ws://host:8080/realtime?model=m"),
    ("http://host:8080/", "ws://host:8080/realtime?model=m"),
    ("https://host/v1", "wss://host/v1/realtime?model=m"),
    ("https://host/v1/", "wss://host/v1/realtime?model=m"),
    ("https://host/openai", "wss://host/openai/realtime?model=m"),
    ("https://host/openai/", "wss://host/openai/realtime?model=m"),
    ("https://host/openai/v1", "wss://host/openai/v1/realtime?model=m"),
    ("https://host/openai/v1/", "wss://host/openai/v1/realtime?model=m"),
    ("ws://host/v1", "ws://host/v1/realtime?model=m"),
    ("wss://host/v1", "wss://host/v1/realtime?model=m"),
    ("HTTPS://host/v1", "wss://host/v1/realtime?model=m"),
    # Any other path stays as it is.
    ("https://host/v2", "wss://host/v2?model=m"),
    ("https://host/v1/realtime", "wss://host/v1/realtime?model=m"),
    ("https://host/my/path/", "wss://host/my/path/?model=m"),
    ("https://host/realtime", "wss://host/realtime?model=m"),
    ("https://host/V1", "wss://host/V1?model=m"),
    # The query stays, and its model wins.
    ("https://host/v1?model=theirs", "wss://host/v1/realtime?model=theirs"),
    ("https://host/v1?model=", "wss://host/v1/realtime?model="),
    ("https://host/v1?a=1&b=", "wss://host/v1/realtime?a=1&b=&model=m"),
    ("https://host/v1?a=1&a=2", "wss://host/v1/realtime?a=1&a=2&model=m"),
    ("https://[::1]:9/v1", "wss://[::1]:9/v1/realtime?model=m"),
]

AZURE_LEGACY = [
    ("https://r.openai.azure.com", "wss://r.openai.azure.com/realtime?api-version=2025-04-01&deployment=d"),
    ("https://r.openai.azure.com/", "wss://r.openai.azure.com/realtime?api-version=2025-04-01&deployment=d"),
    ("https://r/openai", "wss://r/openai/realtime?api-version=2025-04-01&deployment=d"),
    ("https://r/openai/", "wss://r/openai/realtime?api-version=2025-04-01&deployment=d"),
    ("https://r/v1", "wss://r/v1?api-version=2025-04-01&deployment=d"),
    ("https://r/gateway/x", "wss://r/gateway/x?api-version=2025-04-01&deployment=d"),
    ("https://r/openai?deployment=e", "wss://r/openai/realtime?deployment=e&api-version=2025-04-01"),
    ("https://r/openai?api-version=z", "wss://r/openai/realtime?api-version=z&deployment=d"),
]

AZURE_GA = [
    ("https://r.openai.azure.com", "wss://r.openai.azure.com/v1/realtime?model=d"),
    ("https://r.openai.azure.com/", "wss://r.openai.azure.com/v1/realtime?model=d"),
    ("https://r/openai", "wss://r/openai/v1/realtime?model=d"),
    ("https://r/openai/", "wss://r/openai/v1/realtime?model=d"),
    ("https://r/openai/v1", "wss://r/openai/v1/realtime?model=d"),
    ("https://r/openai/v1/", "wss://r/openai/v1/realtime?model=d"),
    ("https://r/v1", "wss://r/v1?model=d"),
    ("https://r/gateway/openai/v1", "wss://r/gateway/openai/v1?model=d"),
    ("http://r:1/openai", "ws://r:1/openai/v1/realtime?model=d"),
]


@pytest.mark.parametrize(("base_url", "url"), OPENAI)
def test_openai_addresses(base_url: str, url: str) -> None:
    assert websocket_url(base_url, "m") == url


@pytest.mark.parametrize(("base_url", "url"), AZURE_LEGACY)
def test_azure_addresses_with_an_api_version(base_url: str, url: str) -> None:
    assert websocket_url(base_url, "m", azure=True, deployment="d", api_version="2025-04-01") == url


@pytest.mark.parametrize(("base_url", "url"), AZURE_GA)
def test_azure_addresses_without_one(base_url: str, url: str) -> None:
    assert websocket_url(base_url, "m", azure=True, deployment="d") == url


def test_names_are_quoted() -> None:
    url = websocket_url("https://host/v1", "a model/with & signs=")
    assert parse_qsl(urlsplit(url).query) == [("model", "a model/with & signs=")]


@pytest.mark.parametrize("version", [None, "2025-04-01"])
def test_without_a_deployment_the_model_is_named(version: str | None) -> None:
    url = websocket_url("https://r/openai", "m", azure=True, api_version=version)
    assert dict(parse_qsl(urlsplit(url).query))["model" if version is None else "deployment"] == "m"


@pytest.mark.parametrize(
    "base_url", ["", "host/v1", "ftp://host/v1", "https://", "/v1", "host:80/v1", "https:/v1"]
)
def test_what_is_no_address_is_refused_at_once(base_url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        websocket_url(base_url, "m")


# -- the environment ----------------------------------------------------------------------------------


def test_the_key_is_the_argument_else_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "env")
    assert find().api_key == "env"
    assert find(api_key="arg").api_key == "arg"
    assert find(api_key="").api_key == "env"


@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_key_says_both_ways_to_give_it(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    if value is not None:
        monkeypatch.setenv("OPENAI_API_KEY", value)
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "azure's")
    with pytest.raises(ValueError, match=r"api_key.*OPENAI_API_KEY"):
        find()


def test_the_address_is_the_argument_else_the_variable_else_the_public_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert find(api_key="k").url == "wss://api.openai.com/v1/realtime?model=m"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://env:1/v1")
    assert find(api_key="k").url == "ws://env:1/v1/realtime?model=m"
    assert find(api_key="k", base_url="http://arg:2/v1").url == "ws://arg:2/v1/realtime?model=m"
    monkeypatch.setenv("OPENAI_BASE_URL", "")
    assert find(api_key="k").url == "wss://api.openai.com/v1/realtime?model=m"


def test_a_bad_address_in_the_environment_fails_where_the_model_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "api.example.com")
    with pytest.raises(ValueError, match="base_url"):
        find(api_key="k")


@pytest.mark.parametrize("switch", ["azure_deployment", "entra_token", "api_version"])
def test_each_of_three_arguments_switches_azure_on(monkeypatch: pytest.MonkeyPatch, switch: str) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://r.openai.azure.com")
    assert find(api_key="k").azure is False
    endpoint = find(api_key="k", **{switch: "x"})
    assert endpoint.azure is True
    assert endpoint.legacy is (switch == "api_version")


def test_openais_key_is_never_used_for_azure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://r.openai.azure.com")
    with pytest.raises(ValueError, match=r"api_key.*entra_token.*AZURE_OPENAI_API_KEY"):
        find(azure_deployment="d")
    endpoint = find(azure_deployment="d", entra_token="token")
    assert SECRET not in "".join(endpoint.headers("a", {}))
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "azure's")
    assert endpoint_headers(find(azure_deployment="d")) == {"User-Agent": "a", "api-key": "azure's"}


def test_openais_address_is_never_used_for_azure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "https://other.test/v1")
    with pytest.raises(ValueError, match=r"base_url.*AZURE_OPENAI_ENDPOINT"):
        find(api_key="k", azure_deployment="d")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "")
    with pytest.raises(ValueError, match=r"base_url.*AZURE_OPENAI_ENDPOINT"):
        find(api_key="k", azure_deployment="d")


@pytest.mark.parametrize(
    ("endpoint", "version", "url"),
    [
        ("https://r.azure", None, "wss://r.azure/openai/v1/realtime?model=d"),
        ("https://r.azure/", None, "wss://r.azure/openai/v1/realtime?model=d"),
        ("https://r.azure", "2025", "wss://r.azure/openai/realtime?api-version=2025&deployment=d"),
        ("https://r.azure/openai/v1", None, "wss://r.azure/openai/v1/realtime?model=d"),
        ("https://r.azure/openai/v1/", None, "wss://r.azure/openai/v1/realtime?model=d"),
        ("https://r.azure/openai/v1/", "2025", "wss://r.azure/openai/v1/realtime?model=d"),
    ],
)
def test_the_azure_endpoint_gets_openai_unless_it_is_ga_already(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, version: str | None, url: str
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", endpoint)
    assert find(api_key="k", azure_deployment="d", api_version=version).url == url


def test_the_plain_constructor_reads_no_api_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_VERSION", "2025-04-01")
    endpoint = find(api_key="k", azure_deployment="d", base_url="https://r/openai")
    assert endpoint.legacy is False
    assert endpoint.url == "wss://r/openai/v1/realtime?model=d"


@pytest.mark.parametrize(
    ("endpoint", "base_url", "ga"),
    [
        ("https://r", "https://r/openai", False),
        ("https://r/", "https://r/openai", False),
        ("https://r/openai/v1", "https://r/openai/v1", True),
        ("https://r/openai/v1/", "https://r/openai/v1", True),
    ],
)
def test_azure_base_url(endpoint: str, base_url: str, ga: bool) -> None:
    assert azure_base_url(endpoint) == base_url
    assert is_azure_ga(base_url) is ga


# -- headers ------------------------------------------------------------------------------------------


def endpoint_headers(endpoint: Endpoint, **extra: str) -> dict[str, str]:
    lines = [line.partition(": ") for line in endpoint.headers("a", extra)]
    assert len({name.lower() for name, _, _ in lines}) == len(lines)
    return {name: value for name, _, value in lines}


def test_openai_headers() -> None:
    assert endpoint_headers(find(api_key="k"), X="1") == {
        "User-Agent": "a",
        "X": "1",
        "Authorization": "Bearer k",
    }


def test_azure_headers() -> None:
    azure = {"base_url": "https://r/openai", "azure_deployment": "d"}
    assert endpoint_headers(find(api_key="k", **azure)) == {"User-Agent": "a", "api-key": "k"}
    assert endpoint_headers(find(entra_token="t", **azure)) == {
        "User-Agent": "a",
        "Authorization": "Bearer t",
    }
    both = endpoint_headers(find(entra_token="t", api_key="k", **azure))
    assert both == {"User-Agent": "a", "Authorization": "Bearer t"}


@pytest.mark.parametrize("name", ["api_key", "entra_token"])
def test_callables_are_called_for_every_handshake_and_not_before(name: str) -> None:
    calls: list[str] = []

    def secret() -> str:
        calls.append(name)
        return f"s{len(calls)}"

    azure = {"base_url": "https://r/openai"} if name == "entra_token" else {}
    endpoint = find(**{name: secret}, **azure)
    assert calls == []
    assert endpoint_headers(endpoint)["Authorization"] == "Bearer s1"
    assert endpoint_headers(endpoint)["Authorization"] == "Bearer s2"
    assert endpoint.refetches_key is True
    assert find(api_key="k").refetches_key is False


@pytest.mark.parametrize(
    "value", ["", "a b", "a\r\nX-Evil: 1", "a\n", "schlüssel", None, 7, b"bytes", "a\x7f"]
)
@pytest.mark.parametrize("name", ["api_key", "entra_token"])
def test_a_secret_that_is_no_token_is_refused_and_not_shown(name: str, value: Any) -> None:
    endpoint = find(base_url="https://r/openai", azure_deployment="d", **{name: lambda: value})
    with pytest.raises(ValueError, match=f"^{name} must be") as caught:
        endpoint.headers("a", {})
    if value:
        assert str(value) not in str(caught.value)


@pytest.mark.parametrize(
    "headers",
    [
        {"X": "a\r\nX-Evil: 1"},
        {"X": "a\nb"},
        {"X\r\nY": "a"},
        {"X:Y": "a"},
        {"": "a"},
        {"X Y": "a"},
        {"X": "ü\0"},
    ],
)
def test_a_header_that_is_more_than_one_is_refused_and_not_shown(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="headers") as caught:
        find(api_key="k").headers("a", headers)
    assert "Evil" not in str(caught.value)


@pytest.mark.parametrize("name", ["authorization", "AUTHORIZATION", "Authorization", "user-agent"])
def test_a_header_of_the_users_does_not_double_one_of_ours(name: str) -> None:
    headers = endpoint_headers(find(api_key="k"), **{name: "theirs"})
    values = {key.lower(): value for key, value in headers.items()}
    assert values["authorization"] == "Bearer k"
    if name == "user-agent":
        assert values["user-agent"] == "theirs"


# -- what must never be shown ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        {"api_key": SECRET},
        {"api_key": SECRET, "base_url": f"https://user:{SECRET}@host/v1"},
        {"api_key": SECRET, "base_url": f"https://host/v1?key={SECRET}"},
        {"entra_token": SECRET, "base_url": "https://r/openai"},
        {"api_key": SECRET, "azure_deployment": "d", "base_url": "https://r/openai"},
    ],
)
def test_the_repr_shows_no_secret(given: dict[str, Any]) -> None:
    endpoint = find(**given)
    for shown in (repr(endpoint), str(endpoint), f"{endpoint}", f"{[endpoint]}", endpoint.provider):
        assert SECRET not in shown


@pytest.mark.parametrize(
    "base_url",
    [
        f"ftp://user:{SECRET}@host/v1",
        f"ftp://host/v1?key={SECRET}",
        f"user:{SECRET}@host",
        f"ftp://user:{SECRET}@host/v1?mail=a@b",
        f"ftp://host/v1#{SECRET}",
    ],
)
def test_an_address_that_is_refused_shows_no_secret(base_url: str) -> None:
    with pytest.raises(ValueError, match="base_url") as caught:
        find(api_key="k", base_url=base_url)
    assert SECRET not in "".join(traceback.format_exception(caught.value, chain=True)[-1:])


@pytest.mark.parametrize(
    ("base_url", "provider"),
    [
        ("https://api.openai.com/v1", "api.openai.com"),
        ("http://localhost:8000/v1", "localhost:8000"),
        ("https://user:pw@host:1/v1", "host:1"),
        ("https://[::1]:9/v1", "[::1]:9"),
    ],
)
def test_the_provider_is_host_and_port(base_url: str, provider: str) -> None:
    assert find(api_key="k", base_url=base_url).provider == provider
