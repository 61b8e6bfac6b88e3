"""Checks a JSON value against a description of what is allowed, and words the errors as the API does."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from antiphon.testing.apierror import ApiError, invalid_value

Check: TypeAlias = Callable[[Any, str], None]
"""Raises `ApiError` if the value (first) at the path (second) is not allowed."""

_NAMES: list[tuple[type, str]] = [
    (bool, "a boolean"),
    (int, "an integer"),
    (float, "a decimal"),
    (str, "a string"),
    (list, "an array"),
    (dict, "an object"),
]


def _got(value: object) -> str:
    return (
        "null"
        if value is None
        else next((name for kind, name in _NAMES if isinstance(value, kind)), "a value")
    )


def _wrong_type(path: str, expected: str, value: object) -> ApiError:
    message = f"Invalid type for '{path}': expected {expected}, but got {_got(value)} instead."
    return ApiError(message, "invalid_type", path)


def anything(value: Any, path: str) -> None:
    """Allow every value."""


def string(value: Any, path: str) -> None:
    """Allow a string."""
    if not isinstance(value, str):
        raise _wrong_type(path, "a string", value)


def boolean(value: Any, path: str) -> None:
    """Allow true or false."""
    if not isinstance(value, bool):
        raise _wrong_type(path, "a boolean", value)


def obj_of_anything(value: Any, path: str) -> None:
    """Allow any object."""
    if not isinstance(value, dict):
        raise _wrong_type(path, "an object", value)


def nullable(check: Check) -> Check:
    """Allow null, and what `check` allows."""

    def inner(value: Any, path: str) -> None:
        if value is not None:
            check(value, path)

    return inner


def one_of(*values: str) -> Check:
    """Allow one of some strings."""

    def inner(value: Any, path: str) -> None:
        string(value, path)
        if value not in values:
            raise invalid_value(value, values, path)

    return inner


def number(low: float, high: float, *, integer: bool = False, word: str | None = None) -> Check:
    """Allow a number within bounds, or `word` if given."""
    kind, name = ("integer", "an integer") if integer else ("decimal", "a decimal")

    def inner(value: Any, path: str) -> None:
        if word is not None and value == word:
            return
        if isinstance(value, bool) or not isinstance(value, int if integer else (int, float)):
            raise _wrong_type(path, f"{name} or '{word}'" if word else name, value)
        if value < low:
            raise _out_of_range(path, kind, "below minimum", f">= {low}", value, "below_min")
        if value > high:
            raise _out_of_range(path, kind, "above maximum", f"<= {high}", value, "above_max")

    return inner


def _out_of_range(path: str, kind: str, how: str, bound: str, value: object, code: str) -> ApiError:
    message = f"Invalid '{path}': {kind} {how} value. Expected a value {bound}, but got {value} instead."
    return ApiError(message, f"{kind}_{code}_value", path)


def array(check: Check) -> Check:
    """Allow a list whose elements `check` allows."""

    def inner(value: Any, path: str) -> None:
        if not isinstance(value, list):
            raise _wrong_type(path, "an array", value)
        for index, element in enumerate(value):
            check(element, f"{path}[{index}]")

    return inner


def array_or(array_check: Check, other: Check) -> Check:
    """Allow the list that `array_check` allows, or what `other` allows."""

    def inner(value: Any, path: str) -> None:
        (array_check if isinstance(value, list) else other)(value, path)

    return inner


def obj(fields: Mapping[str, Check], *, required: tuple[str, ...] = ()) -> Check:
    """Allow an object with these fields and no others."""

    def inner(value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise _wrong_type(path, "an object", value)
        for name in required:
            if name not in value:
                where = f"{path}.{name}"
                raise ApiError(f"Missing required parameter: '{where}'.", "missing_required_parameter", where)
        for name, field in value.items():
            where = f"{path}.{name}"
            if name not in fields:
                raise ApiError(f"Unknown parameter: '{where}'.", "unknown_parameter", where)
            fields[name](field, where)

    return inner


def tagged(kinds: Mapping[str, Check], *, key: str = "type") -> Check:
    """Allow an object of one of several kinds, told apart by `key`."""

    def inner(value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise _wrong_type(path, "an object", value)
        where = f"{path}.{key}"
        if key not in value:
            raise ApiError(f"Missing required parameter: '{where}'.", "missing_required_parameter", where)
        one_of(*kinds)(value[key], where)
        kinds[value[key]](value, path)

    return inner


def string_or(check: Check, *words: str) -> Check:
    """Allow one of some strings (any, if none are given), or what `check` allows."""

    def inner(value: Any, path: str) -> None:
        if isinstance(value, str):
            if words:
                one_of(*words)(value, path)
        else:
            check(value, path)

    return inner
