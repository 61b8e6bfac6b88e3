"""Numbers as words, and words as numbers."""

from typing import Final

_WORDS: Final = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_SMALL: Final = tuple(_WORDS.split())
_TENS: Final = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_VALUES: Final = {word: value for value, word in enumerate(_SMALL)} | {
    word: 20 + 10 * index for index, word in enumerate(_TENS)
}

UNITS_OF_NUMBERS: Final = "|".join([*sorted(_VALUES, key=len, reverse=True), "one hundred", "hundred"])
"""A regular expression for one word of a number."""


def number_of(text: str) -> int | None:
    """The value of a number below 1000 in digits or words.

    >>> number_of("forty two"), number_of("17"), number_of("one hundred"), number_of("many")
    (42, 17, 100, None)
    """
    if text.isdecimal():
        return int(text)
    value = 0
    for word in text.replace("-", " ").split():
        if word == "hundred":
            value = max(value, 1) * 100
        elif word in _VALUES:
            value += _VALUES[word]
        else:
            return None
    return value


def number_in_words(value: int) -> str:
    """A whole number in words; from 1000 on in digits.

    >>> number_in_words(42), number_in_words(-3), number_in_words(105)
    ('forty-two', 'minus three', 'one hundred and five')
    """
    if value < 0:
        return f"minus {number_in_words(-value)}"
    if value < 20:
        return _SMALL[value]
    if value < 100:
        tens, unit = divmod(value - 20, 10)
        return _TENS[tens] + (f"-{_SMALL[unit]}" if unit else "")
    if value < 1000:
        hundreds, rest = divmod(value, 100)
        return f"{_SMALL[hundreds]} hundred" + (f" and {number_in_words(rest)}" if rest else "")
    return str(value)
