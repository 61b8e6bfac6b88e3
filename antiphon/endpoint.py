"""Where a model's server is and how to be let in: addresses, keys, headers."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Container, Mapping
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from antiphon.actors.errors import HeaderError
from antiphon.defaults import OPENAI_BASE_URL

Secret = str | Callable[[], str]

_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
# What a path becomes, by kind of server; other paths stay as they are.
_OPENAI_PATHS = {path: f"{path}/realtime" for path in ("", "/v1", "/openai", "/openai/v1")}
_AZURE_GA_PATHS = {
    "": "/v1/realtime",
    "/openai": "/openai/v1/realtime",
    "/openai/v1": "/openai/v1/realtime",
}
_AZURE_LEGACY_PATHS = {"": "/realtime", "/openai": "/openai/realtime"}

_PRINTABLE = re.compile(r"[!-~]+")
_SECRET_RULE = "must be non-empty printable ASCII text without spaces"
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A server and the credentials for it; its repr shows no secret.

    Attributes:
        base_url: As given or found in the environment.
        model: The model's name.
        azure: Whether it is Azure.
        deployment: Azure's name for the model.
        api_version: Azure's dated API; with it the legacy dialect is spoken.
        api_key: The key, or what makes one.
        entra_token: Azure's bearer token, or what makes one.
    """

    base_url: str
    model: str
    azure: bool = False
    deployment: str | None = None
    api_version: str | None = None
    api_key: Secret | None = None
    entra_token: Secret | None = None

    def __repr__(self) -> str:
        kind = "Azure" if self.azure else "OpenAI"
        return f"<Endpoint {kind} {self.provider} model={self.model!r}>"

    @property
    def provider(self) -> str:
        """host[:port]."""
        return urlsplit(self.base_url).netloc.rpartition("@")[2]

    @property
    def legacy(self) -> bool:
        """Whether Azure's dated dialect is spoken."""
        return self.azure and self.api_version is not None

    @property
    def url(self) -> str:
        """The WebSocket's address."""
        return websocket_url(
            self.base_url,
            self.model,
            azure=self.azure,
            deployment=self.deployment,
            api_version=self.api_version,
        )

    @property
    def refetches_key(self) -> bool:
        """Whether asking again can bring another key."""
        return callable(self.api_key) or callable(self.entra_token)

    def headers(self, user_agent: str, extra: Mapping[str, str]) -> list[str]:
        """The handshake's headers, with fresh secrets. May block: it calls the users' callables."""
        check_headers(extra)
        # By their names in lower case: one of the user's replaces one of ours, but never our secret.
        headers = {"user-agent": f"User-Agent: {user_agent}"}
        headers |= {name.lower(): f"{name}: {value}" for name, value in extra.items()}
        if self.azure and self.entra_token is not None:
            headers["authorization"] = f"Authorization: Bearer {_fetch(self.entra_token, 'entra_token')}"
        elif self.api_key is not None:
            key = _fetch(self.api_key, "api_key")
            if self.azure:
                headers["api-key"] = f"api-key: {key}"
            else:
                headers["authorization"] = f"Authorization: Bearer {key}"
        return list(headers.values())

    @property
    def known_secrets(self) -> list[str]:
        """The credentials that were given as texts, so that what is written down can be kept free of them."""
        return [secret for secret in (self.api_key, self.entra_token) if isinstance(secret, str)]

    @property
    def sends_key_in_clear(self) -> bool:
        """Whether the key goes unencrypted to another machine."""
        parts = urlsplit(self.url)
        return parts.scheme == "ws" and not _is_loopback(parts.hostname or "")


def check_proxy(proxy: str | None) -> None:
    """Refuse what is no proxy's address.

    Raises:
        ValueError: It isn't; the message shows no password.
    """
    if proxy is None:
        return
    wanted = "proxy must be an address like http://user:password@host:port"
    if not isinstance(proxy, str):
        raise ValueError(f"{wanted}, not of type {type(proxy).__name__}")
    if not _is_address(proxy, ("http",)) or not _PRINTABLE.fullmatch(proxy):
        raise ValueError(f"{wanted}, not {_without_secrets(proxy)!r}")


def check_headers(headers: Mapping[str, str]) -> None:
    """Refuse headers that would be more than one line each.

    Raises:
        ValueError: A name is no token, or a value has control characters; the message shows no value.
    """
    for name, value in headers.items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise ValueError("headers has a name that is no HTTP token (letters, digits and hyphens)")
        if not isinstance(value, str) or any(ord(char) < 32 or ord(char) == 127 for char in value):
            raise ValueError(f"headers has a value that is not one line of text, under {name}")


def websocket_url(
    base_url: str,
    model: str,
    *,
    azure: bool = False,
    deployment: str | None = None,
    api_version: str | None = None,
) -> str:
    """The address to connect to.

    Raises:
        ValueError: `base_url` is no http(s) or ws(s) address.
    """
    if not _is_address(base_url, _SCHEMES):
        raise ValueError(
            f"base_url must be an address like https://host/v1, not {_without_secrets(base_url)!r}"
        )
    parts = urlsplit(base_url)
    if not azure:
        paths, wanted = _OPENAI_PATHS, {"model": model}
    elif api_version is not None:
        paths = _AZURE_LEGACY_PATHS
        wanted = {"api-version": api_version, "deployment": deployment or model}
    else:
        paths, wanted = _AZURE_GA_PATHS, {"model": deployment or model}
    path = paths.get(parts.path.rstrip("/"), parts.path)
    query = parse_qsl(parts.query, keep_blank_values=True)
    given = {name for name, _ in query}
    query += [(name, value) for name, value in wanted.items() if name not in given]
    return urlunsplit((_SCHEMES[parts.scheme], parts.netloc, path, urlencode(query), ""))


def find_endpoint(
    *,
    model: str,
    base_url: str | None,
    api_key: Secret | None,
    azure_deployment: str | None,
    entra_token: Secret | None,
    api_version: str | None,
) -> Endpoint:
    """Complete the arguments of `RealtimeModel` from the environment.

    Raises:
        ValueError: A key or an address is missing.
    """
    azure = any(value is not None for value in (azure_deployment, entra_token, api_version))
    if not azure:
        key = _find_key(api_key, "OPENAI_API_KEY")
        if not key:
            raise ValueError(
                "no API key: pass api_key=… to RealtimeModel or set the environment variable OPENAI_API_KEY"
            )
        return _checked(
            Endpoint(
                base_url=base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_BASE_URL,
                model=model,
                api_key=key,
            )
        )
    if entra_token is not None:
        _check_secret(entra_token, "entra_token")
    # OPENAI_API_KEY is not looked at: it would be sent to another company.
    key = _find_key(api_key, "AZURE_OPENAI_API_KEY")
    if not key and entra_token is None:
        raise ValueError(
            "no credentials for Azure: pass api_key=… or entra_token=…, or set AZURE_OPENAI_API_KEY"
        )
    if base_url is None:
        azure_endpoint = os.environ.get("AZURE_OPENAI_ENDPOINT")
        if not azure_endpoint:
            raise ValueError("no Azure address: pass base_url=… or set AZURE_OPENAI_ENDPOINT")
        base_url = azure_base_url(azure_endpoint)
    if is_azure_ga(base_url):
        api_version = None
    return _checked(
        Endpoint(
            base_url=base_url,
            model=model,
            azure=True,
            deployment=azure_deployment,
            api_version=api_version,
            api_key=key,
            entra_token=entra_token,
        )
    )


def azure_base_url(azure_endpoint: str) -> str:
    """The base URL of an Azure resource; one that ends in /openai/v1 stays."""
    endpoint = azure_endpoint.rstrip("/")
    return endpoint if is_azure_ga(endpoint) else f"{endpoint}/openai"


def is_azure_ga(base_url: str) -> bool:
    """Whether an Azure address means the GA API whatever the API version."""
    return urlsplit(base_url).path.rstrip("/").endswith("/openai/v1")


def _checked(endpoint: Endpoint) -> Endpoint:
    """Have a bad address fail where it was given, not on a thread later."""
    _ = endpoint.url
    return endpoint


def _fetch(secret: Secret, name: str) -> str:
    try:
        value = secret() if callable(secret) else secret
    except BaseException as error:
        # SystemExit too: it must not end the thread that dials. What it says may hold the secret.
        raise HeaderError(f"the callable for {name} raised {type(error).__name__}") from None
    if not isinstance(value, str) or not _PRINTABLE.fullmatch(value):
        raise HeaderError(f"{name} {_SECRET_RULE}")
    return value


def _find_key(given: Secret | None, variable: str) -> Secret | None:
    """The key that was given, else the environment's; one that no header can hold is refused here, not later."""
    key, name = (
        (given, "api_key") if given is not None and given != "" else (os.environ.get(variable), variable)
    )
    if key:
        _check_secret(key, name)
    return key or None


def _check_secret(secret: Secret, name: str) -> None:
    if callable(secret):
        return
    if not isinstance(secret, str):
        raise ValueError(f"{name} must be text or a callable that returns it, not {type(secret).__name__}")
    if not _PRINTABLE.fullmatch(secret):
        hint = ": there is a line break or space at its end" if secret.strip() != secret else ""
        raise ValueError(f"{name} {_SECRET_RULE}{hint}")


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_address(text: str, schemes: Container[str]) -> bool:
    """Whether there is one of these schemes, a host, and no port that can't be."""
    try:
        parts = urlsplit(text)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _without_secrets(url: str) -> str:
    """An address that could not be parsed, without what may be a password or a key in it."""
    return re.split(r"[?#]", url.rpartition("@")[2])[0]
