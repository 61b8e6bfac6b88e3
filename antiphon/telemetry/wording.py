"""What spans say of failures, ends and words."""

from __future__ import annotations

import json
from collections.abc import Iterable

from opentelemetry.trace import Span, StatusCode

import antiphon.protocol as p
from antiphon.actors.events import GenerationResult
from antiphon.actors.failures import error_code
from antiphon.actors.transport import HandshakeError
from antiphon.telemetry import names


def fail(span: Span, kind: str) -> None:
    """Mark a span as failed, in this way."""
    span.set_status(StatusCode.ERROR)
    span.set_attribute(names.ERROR_TYPE, kind)


def error_kind(error: Exception) -> str:
    """The provider's code for an error, the HTTP status of a handshake that was refused, or the exception's class."""
    code = error_code(body) if isinstance(body := getattr(error, "body", None), p.ErrorDetail) else None
    status = error.status if isinstance(error, HandshakeError) else None
    return code or (str(status) if status else type(error).__name__)


def failure(result: GenerationResult) -> str:
    """The provider's code for why a response failed."""
    details = result.status_details
    error = p.given(details.error, None) if isinstance(details, p.ResponseStatusDetails) else None
    return (error_code(error) if error is not None else None) or "failed"


def reason(result: GenerationResult) -> str:
    """Why a response ended."""
    details = result.status_details
    said = p.given(details.reason, None) if isinstance(details, p.ResponseStatusDetails) else None
    return said or result.status


def messages(role: str, texts: Iterable[str]) -> str:
    """Messages as the conventions write them."""
    parts = [{"type": "text", "content": text} for text in texts]
    return json.dumps([{"role": role, "parts": parts}])
