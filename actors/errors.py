"""The exceptions that reach users of a session."""

from __future__ import annotations

from typing import Any


class RealtimeError(Exception):
    """A request to the session could not be fulfilled.

    Attributes:
        message: What went wrong.
        code: The server's error code, when the server gave one.
    """

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class APIError(Exception):
    """The server reported an error, or the connection to it failed.

    Attributes:
        message: What went wrong.
        body: The server's own error object (`antiphon.protocol.ErrorDetail`) when it sent one.
        retryable: Whether trying again can help.
    """

    def __init__(self, message: str, body: Any = None, retryable: bool = True) -> None:
        super().__init__(message)
        self.message = message
        self.body = body
        self.retryable = retryable


class APIConnectionError(APIError):
    """The connection to the server could not be made, or was lost."""


class HeaderError(ValueError):
    """A header or key can't be sent; the message names it, not its value, and may be shown."""
