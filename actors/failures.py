"""From the server's errors to the ones that users meet."""

from __future__ import annotations

import time

import antiphon.protocol as p
from antiphon.actors.errors import APIError
from antiphon.actors.events import RealtimeModelError

# Another response runs already: one of ours was late, server VAD was faster.
COLLISION = "conversation_already_has_active_response"

# Nothing can be gained by trying again after these; servers send them as the code or as the type.
FATAL_CODES = frozenset(
    {
        "insufficient_quota",
        "credit_balance_exhausted",
        "invalid_api_key",
        "account_deactivated",
        "billing_hard_limit_reached",
    }
)


def error_code(error: p.ErrorDetail | p.ResponseError) -> str | None:
    """The error's code, which some servers put into `type`."""
    return p.given(error.code, "") or p.given(error.type, "") or None


def server_error(label: str, error: p.ErrorDetail, retryable: bool = True) -> APIError:
    """The server's error as an exception."""
    code = error_code(error)
    words = error.message or "no message"
    return APIError(f"{label} reported an error: {words}" + (f" ({code})" if code else ""), error, retryable)


def model_error(label: str, error: Exception, recoverable: bool) -> RealtimeModelError:
    """The payload of an error event."""
    return RealtimeModelError(timestamp=time.time(), label=label, error=error, recoverable=recoverable)
