"""Decides whether a client may connect: path, origin, key, number of connections."""

from __future__ import annotations

import hmac
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, urlsplit

import msgspec

from antiphon.testing.conversation import Names

PATHS: Final = frozenset({"/v1/realtime", "/realtime", "/openai/v1/realtime", "/openai/realtime"})
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a client may not connect."""

    status: int
    message: str
    kind: str = "invalid_request_error"
    code: str | None = None

    def body(self) -> str:
        """The JSON that says so."""
        error = {"message": self.message, "type": self.kind, "param": None, "code": self.code}
        return msgspec.json.encode({"error": error}).decode()


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client asks for in its URL and headers."""

    model: str
    names: Names


def wish(path: str, headers: Mapping[str, str], default: Names) -> Wish:
    """Read the model and the dialect. Azure's dated API versions and the beta header mean the older one."""
    query = parse_qs(urlsplit(path).query)
    model = (query.get("model") or query.get("deployment") or ["gpt-realtime"])[0]
    names: Names = default
    if (
        query.get("names", [""])[0] == "beta"
        or "api-version" in query
        or "realtime=v1" in headers.get("OpenAI-Beta", "")
    ):
        names = "beta"
    return Wish(model, names)


def refusal(
    path: str, headers: Mapping[str, str], *, host: str, api_key: str | None, origins: Collection[str]
) -> Refusal | None:
    """Check path, origin and key; `None` if the client may connect.

    A browser says where its page comes from; only pages of this server (which listens at `host`), and of `origins`
    ("*": all), may connect.
    """
    parts = urlsplit(path)
    if parts.path.rstrip("/") not in PATHS:
        return Refusal(404, f"Invalid URL (GET {parts.path})")
    origin = headers.get("Origin")
    allowed = origin is None or "*" in origins or origin in origins
    if not allowed and not _own(str(origin), headers.get("Host", ""), host):
        return Refusal(403, f"Origin {origin} is not allowed.", code="origin_not_allowed")
    if api_key is None:
        return None
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    given = headers.get("api-key") or (token.strip() if scheme.lower() == "bearer" else "")
    if not given:
        message = "Missing bearer or basic authentication in header"
        return Refusal(401, message, code="missing_api_key")
    if not hmac.compare_digest(given.encode(), api_key.encode()):
        return Refusal(401, "Incorrect API key provided.", code="invalid_api_key")
    return None


def _own(origin: str, asked: str, host: str) -> bool:
    """Whether a page is from this server. A foreign name that was made to point here is not ours."""
    page = urlsplit(origin)
    return page.netloc == asked and page.hostname in _LOOPBACK | {host}
