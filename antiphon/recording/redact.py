"""Keeps secrets out of recordings."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

MASK = "***"

# Fields of the protocol that hold credentials, wherever they stand: of MCP tools, of ephemeral keys.
_SECRET_FIELDS = frozenset({"authorization", "headers", "client_secret", "api_key", "api-key"})
# A shorter text is no secret, and may be a word of the protocol.
_SHORTEST_SECRET = 16
# What providers' keys look like: sk-…, ek_…; and what follows "Bearer".
_KEYS = rb"\b[se]k[-_][A-Za-z0-9_-]{8,}|(?<=[Bb]earer )[A-Za-z0-9._~+/=-]{8,}"


class Redactor:
    """Replaces secrets: fields that hold some, what looks like a key, and the texts that it is given.

    Args:
        secrets: Texts that must not appear; only those of at least 16 characters count.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = [secret.encode() for secret in secrets if len(secret) >= _SHORTEST_SECRET]
        known.sort(key=len, reverse=True)
        self._pattern = re.compile(b"|".join([*map(re.escape, known), _KEYS]))

    def line(self, line: bytes) -> bytes:
        """A line of JSON without what is known or looks like a secret."""
        return self._pattern.sub(MASK.encode(), line)

    def event(self, value: Any) -> Any:
        """Mask the fields of an event that hold secrets, in place; returns it."""
        if isinstance(value, dict):
            for key, inner in value.items():
                if key in _SECRET_FIELDS and inner is not None:
                    value[key] = MASK
                else:
                    self.event(inner)
        elif isinstance(value, list):
            for inner in value:
                self.event(inner)
        return value
