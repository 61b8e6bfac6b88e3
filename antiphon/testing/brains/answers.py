"""What the voice brain knows: a handful of everyday questions and their answers."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from antiphon.testing.brains.numbers import UNITS_OF_NUMBERS, number_in_words, number_of

GREETING: Final = "Hello! How can I help you?"
NOT_UNDERSTOOD: Final = "I am sorry, I did not understand that."
STORY: Final = (
    "Once upon a time there was a small lighthouse at the edge of the sea. "
    "Every evening its keeper climbed one hundred steps to light the lamp. "
    "One night a great storm came, and the wind blew the lamp out. "
    "The keeper lit it again, and the wind blew it out again. "
    "So she sat down beside the window and began to sing. "
    "Far out on the water, a fishing boat heard the song. "
    "The sailors turned their boat towards the voice and came safely home. "
    "From then on the keeper sang every night, in good weather and in bad. "
    "And the people of the village say that you can still hear her today. "
    "That is the end of the story."
)


def answer(said: str, now: datetime.datetime) -> str:
    """The answer to what was said or written."""
    text = said.lower().replace("’", "'")
    for pattern, reply in _REPLIES:
        found = pattern.search(text)
        if found is not None:
            return reply(found, now)
    return NOT_UNDERSTOOD if text.strip() else "I did not hear anything."


def spoken_result(output: str) -> str:
    """A sentence that tells the result of a tool, which is JSON or plain text."""
    try:
        value = msgspec.json.decode(output)
    except (msgspec.MsgspecError, UnicodeError):
        value = output
    told = ", ".join(_facts(value)).strip().rstrip(".")
    return f"{told[0].upper()}{told[1:]}." if told else "The tool gave no answer."


def city_in(said: str) -> str | None:
    """The city that a question is about, in capitals where they belong."""
    found = re.search(
        r"\b(?:in|for|at) ([a-z][a-z' ]+?)(?: today| tomorrow| now| please)*[?.! ]*$", said.lower()
    )
    return found[1].title() if found else None


def _facts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"the {re.sub(r'[_-]+', ' ', key)} is {' and '.join(_facts(inner))}"
    elif isinstance(value, list):
        for inner in value:
            yield from _facts(inner)
    elif value is not None:
        yield str(value)


def _time(found: re.Match[str], now: datetime.datetime) -> str:
    hour = number_in_words(now.hour % 12 or 12)
    minute = "o'clock" if now.minute == 0 else number_in_words(now.minute)
    if 0 < now.minute < 10:
        minute = f"oh {minute}"
    return f"It is {hour} {minute}."


def _weather(found: re.Match[str], now: datetime.datetime) -> str:
    city = city_in(found.string)
    return f"The weather in {city} is sunny today." if city else "The weather is sunny today."


def _sum(found: re.Match[str], now: datetime.datetime) -> str:
    first, second = number_of(found["first"]), number_of(found["second"])
    if first is None or second is None:
        return NOT_UNDERSTOOD
    symbol = found["operation"]
    if symbol == "divided by" and second == 0:
        return "Nothing can be divided by zero."
    result = {
        "plus": first + second,
        "minus": first - second,
        "times": first * second,
        "divided by": first / second if second else 0,
    }[symbol]
    told = number_in_words(round(result)) if result == round(result) else f"about {result:.2f}"
    return f"{number_in_words(first)} {symbol} {number_in_words(second)} is {told}.".capitalize()


def _fixed(text: str) -> Callable[[re.Match[str], datetime.datetime], str]:
    return lambda found, now: text


_NUMBER: Final = rf"(?:\d+|(?:{UNITS_OF_NUMBERS})(?:[ -](?:{UNITS_OF_NUMBERS}))?)"
_REPLIES: Final[list[tuple[re.Pattern[str], Callable[[re.Match[str], datetime.datetime], str]]]] = [
    (
        re.compile(rf"(?P<first>{_NUMBER}) (?P<operation>plus|minus|times|divided by) (?P<second>{_NUMBER})"),
        _sum,
    ),
    (re.compile(r"\bweather\b"), _weather),
    (re.compile(r"\b(?:what time|the time)\b"), _time),
    (re.compile(r"\bstory\b"), _fixed(STORY)),
    (
        re.compile(r"\bjoke\b"),
        _fixed("Why did the robot go on holiday? It needed to recharge its batteries."),
    ),
    (re.compile(r"\b(?:good ?bye|bye)\b"), _fixed("You are welcome. Goodbye!")),
    (re.compile(r"\b(?:thank you|thanks)\b"), _fixed("You are welcome.")),
    (re.compile(r"\bhow(?: are|'re) you\b"), _fixed("I am fine, thank you.")),
    (re.compile(r"\bhow old are you\b"), _fixed("I was started only a moment ago.")),
    (re.compile(r"\b(?:who are you|your name)\b"), _fixed("I am the voice of the local server.")),
    (
        re.compile(r"\bwhat can you do\b"),
        _fixed("I can tell you the time and the weather, do sums, and tell a story."),
    ),
    (re.compile(r"\bgood (?:morning|afternoon|evening)\b|\b(?:hello|hi)\b"), _fixed(GREETING)),
    (re.compile(r"\b(?:stop|yes|no)\b"), _fixed("All right.")),
]
"""The patterns, tried in order, and what answers them."""
