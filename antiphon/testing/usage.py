"""What a response and a transcription cost, in tokens: counted roughly as the API counts."""

from collections.abc import Iterable

from antiphon.protocol import (
    CachedTokensDetails,
    InputTokenDetails,
    OutputTokenDetails,
    RateLimit,
    TranscriptionInputTokenDetails,
    TranscriptionTokensUsage,
    Usage,
)
from antiphon.testing.brains.base import Turn

_INPUT_TOKEN_MS = 100
_OUTPUT_TOKEN_MS = 50
_TOKEN_LIMIT = 40_000
_REQUEST_LIMIT = 5_000


def text_tokens(text: str) -> int:
    """Tokens of a text: one for each four characters begun."""
    return -(-len(text) // 4)


def heard_tokens(ms: float) -> int:
    """Tokens of the user's audio."""
    return -(-int(ms) // _INPUT_TOKEN_MS)


def spoken_tokens(ms: float) -> int:
    """Tokens of the agent's audio."""
    return -(-int(ms) // _OUTPUT_TOKEN_MS)


def response_usage(turns: Iterable[Turn], instructions: str, text_out: int, audio_out: int) -> Usage:
    """The usage of a response: its context, its instructions, and the tokens that came out."""
    text_in = text_tokens(instructions)
    audio_in = 0
    for turn in turns:
        if turn.sound is not None:
            audio_in += heard_tokens(turn.sound.ms)
        else:
            text_in += text_tokens(turn.text)
    return Usage(
        total_tokens=text_in + audio_in + text_out + audio_out,
        input_tokens=text_in + audio_in,
        output_tokens=text_out + audio_out,
        input_token_details=InputTokenDetails(
            text_tokens=text_in, audio_tokens=audio_in, cached_tokens_details=CachedTokensDetails()
        ),
        output_token_details=OutputTokenDetails(text_tokens=text_out, audio_tokens=audio_out),
    )


def transcription_usage(ms: float, transcript: str) -> TranscriptionTokensUsage:
    """The usage of a transcription."""
    audio, text = heard_tokens(ms), text_tokens(transcript)
    return TranscriptionTokensUsage(
        total_tokens=audio + text,
        input_tokens=audio,
        output_tokens=text,
        input_token_details=TranscriptionInputTokenDetails(audio_tokens=audio),
    )


def rate_limits(tokens_used: int, requests: int) -> list[RateLimit]:
    """What is left of limits that never bind."""
    return [
        RateLimit(
            name="requests",
            limit=_REQUEST_LIMIT,
            remaining=max(0, _REQUEST_LIMIT - requests),
            reset_seconds=60.0 * requests / _REQUEST_LIMIT,
        ),
        RateLimit(
            name="tokens",
            limit=_TOKEN_LIMIT,
            remaining=max(0, _TOKEN_LIMIT - tokens_used),
            reset_seconds=60.0 * min(1.0, tokens_used / _TOKEN_LIMIT),
        ),
    ]
