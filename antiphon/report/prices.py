"""What tokens cost, at the prices that the user gives. There are none here: prices change, and differ by contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from antiphon.report.picture import Tokens


class Prices(msgspec.Struct, frozen=True, kw_only=True):
    """Prices of a million tokens, all in one currency.

    Attributes:
        input: Of input tokens that are no audio.
        cached: Of those that the server had in its cache.
        output: Of output tokens that are no audio.
        audio_input: Of audio input tokens.
        audio_cached: Of those that the server had in its cache.
        audio_output: Of audio output tokens.
    """

    input: float
    cached: float
    output: float
    audio_input: float
    audio_cached: float
    audio_output: float

    @classmethod
    def parse(cls, text: str) -> Prices:
        """Read "input=4,output=16,cached=0.4", with the names of this class's fields.

        `input` and `output` must be there. Audio costs the same as the rest and cached tokens the same as others, as
        long as nothing else is said.

        Raises:
            ValueError: A name is unknown, given twice or missing, or a price is no number from 0 up.
        """
        given = _numbers(text, cls.__struct_fields__)
        missing = [name for name in ("input", "output") if name not in given]
        if missing:
            raise ValueError(f"price {text!r} lacks {' and '.join(missing)}")
        audio_input = given.get("audio_input", given["input"])
        return cls(
            input=given["input"],
            cached=given.get("cached", given["input"]),
            output=given["output"],
            audio_input=audio_input,
            audio_cached=given.get("audio_cached", given.get("cached", audio_input)),
            audio_output=given.get("audio_output", given["output"]),
        )

    def cost(self, tokens: Tokens, audio_cached: int) -> float:
        """What tokens cost.

        Args:
            tokens: How many.
            audio_cached: How many of the cached ones are audio.
        """
        fresh_audio = tokens.audio_input - audio_cached
        millionths = (
            (tokens.input - tokens.cached - fresh_audio) * self.input
            + (tokens.cached - audio_cached) * self.cached
            + (tokens.output - tokens.audio_output) * self.output
            + fresh_audio * self.audio_input
            + audio_cached * self.audio_cached
            + tokens.audio_output * self.audio_output
        )
        return millionths / 1_000_000


def tokens_of(usage: Mapping[str, Any], prices: Prices | None) -> Tokens:
    """The figures of a `response.done`, and what they cost if prices are given."""
    inputs = _mapping(usage, "input_token_details")
    outputs = _mapping(usage, "output_token_details")
    tokens = Tokens(
        input=count(usage, "input_tokens"),
        output=count(usage, "output_tokens"),
        cached=count(inputs, "cached_tokens"),
        audio_input=count(inputs, "audio_tokens"),
        audio_output=count(outputs, "audio_tokens"),
    )
    if prices is None:
        return tokens
    audio_cached = count(_mapping(inputs, "cached_tokens_details"), "audio_tokens")
    return msgspec.structs.replace(tokens, cost=prices.cost(tokens, audio_cached))


def total(parts: list[Tokens]) -> Tokens:
    """The sum."""
    costs = [part.cost for part in parts if part.cost is not None]
    return Tokens(
        input=sum(part.input for part in parts),
        output=sum(part.output for part in parts),
        cached=sum(part.cached for part in parts),
        audio_input=sum(part.audio_input for part in parts),
        audio_output=sum(part.audio_output for part in parts),
        cost=sum(costs) if costs else None,
    )


def count(of: Mapping[str, Any], key: str) -> int:
    """A number of tokens; 0 if there is none."""
    value = of.get(key)
    return value if isinstance(value, int) else 0


def _mapping(of: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = of.get(key)
    return value if isinstance(value, dict) else {}


def _numbers(text: str, names: tuple[str, ...]) -> dict[str, float]:
    given: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = (piece.strip() for piece in part.partition("="))
        if name not in names or name in given:
            raise ValueError(f"price {part.strip()!r}: give name=number, each name once: {', '.join(names)}")
        try:
            given[name] = float(number)
        except ValueError:
            given[name] = -1.0
        if not 0 <= given[name] < float("inf"):
            raise ValueError(f"price {part.strip()!r} is no number from 0 up")
    return given
