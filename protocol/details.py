"""What server events carry besides items: errors, log probabilities, rate limits, a transcription's cost."""

from typing import TypeAlias

from msgspec import UNSET

from antiphon.protocol.base import Maybe, UnknownObject, Wire


class ErrorDetail(Wire, omit_defaults=False, gc=False):
    """What went wrong.

    Attributes:
        type: The kind, such as "invalid_request_error". Some servers put the code here and leave `code` null.
        code: The code, such as "session_expired".
        message: Text for people.
        param: The parameter it is about.
        event_id: The client event that caused it.
    """

    type: str = ""
    code: Maybe[str] = UNSET
    message: str = ""
    param: Maybe[str] = UNSET
    event_id: Maybe[str] = UNSET


class LogProb(Wire, omit_defaults=False):
    """The log probability (natural logarithm, at most 0) of one token of a transcript."""

    token: str = ""
    logprob: float
    bytes: Maybe[list[int]] = UNSET


class TranscriptionLanguage(Wire, gc=False):
    """A language heard in the audio."""

    code: str


class Conversation(Wire, gc=False):
    """The conversation of a session."""

    id: str = ""
    object: str = ""


class RateLimit(Wire, gc=False):
    """One rate limit.

    Attributes:
        name: "requests" or "tokens".
        limit: The most that is allowed.
        remaining: What is left.
        reset_seconds: Seconds until it is full again.
    """

    name: Maybe[str] = UNSET
    limit: Maybe[int] = UNSET
    remaining: Maybe[int] = UNSET
    reset_seconds: Maybe[float] = UNSET


class TranscriptionInputTokenDetails(Wire, omit_defaults=False, gc=False):
    """Input tokens of a transcription by kind."""

    text_tokens: int = 0
    audio_tokens: int = 0


class TranscriptionTokensUsage(Wire, omit_defaults=False, tag_field="type", tag="tokens", gc=False):
    """A transcription billed by tokens."""

    total_tokens: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    input_token_details: TranscriptionInputTokenDetails = TranscriptionInputTokenDetails()


class TranscriptionDurationUsage(Wire, omit_defaults=False, tag_field="type", tag="duration", gc=False):
    """A transcription billed by the length of the audio, in seconds."""

    seconds: float = 0.0


TranscriptionUsage: TypeAlias = TranscriptionTokensUsage | TranscriptionDurationUsage | UnknownObject
