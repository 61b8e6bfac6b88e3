"""Frames as a hostile or broken server sends them: valid events of every type, and ways to spoil them."""

from __future__ import annotations

import base64
import copy
import functools
import json
import random
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import inspect

from antiphon.protocol.base import UNKNOWN_TAG
from antiphon.protocol.decoding import SERVER_EVENTS

# What ids are drawn from, so that events hang together by chance; "item_foreign" is never announced.
IDS = ("item_1", "item_2", "resp_1", "resp_2", "call_1", "root", "", "item_foreign", "é\u0000\ud7ff" * 20)
TEXTS = ("", "Hello.", "{}", '{"city": "Rome"}', "completed", "failed", "cancelled", "message", "null")
CODES = ("conversation_already_has_active_response", "item_not_found", "session_expired", "rate_limit")
AUDIO = base64.b64encode(b"\x01\x00" * 240).decode()
NUMBERS = (0, 1, -1, 2, 100, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308)

# Values that belong nowhere; the strings among them are put into the JSON as they are.
MISFITS: tuple[Any, ...] = (None, True, False, [], {}, [[]], [{}], {"type": "x"}, "", "\x00", *NUMBERS)
RAW_MISFITS = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "-",
    "tru",
    '"\\ud800"',
    '"\\u0000"',
    "[" * 2000,
    "{" * 9,
)


@functools.cache
def _fields(struct: type[msgspec.Struct]) -> tuple[inspect.Field, ...]:
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)
    return info.fields


def _text(name: str, choose: random.Random) -> str:
    if name in ("delta", "audio"):
        return choose.choice((AUDIO, "Hel", "!not base64!", "AAA", ""))
    if name == "id" or name.endswith("_id"):
        return choose.choice(IDS)
    if name == "code":
        return choose.choice(CODES)
    return choose.choice(TEXTS)


def _is_placeholder(kind: inspect.Type) -> bool:
    """Whether this stands for what can't be read; no server can send it."""
    return isinstance(kind, inspect.StructType) and kind.tag == UNKNOWN_TAG


def _value(name: str, kind: inspect.Type, choose: random.Random, depth: int) -> Any:
    make = functools.partial(_value, name, choose=choose, depth=depth + 1)
    match kind:
        case inspect.UnionType(types=options):
            return make(kind=choose.choice([option for option in options if not _is_placeholder(option)]))
        case inspect.StructType(cls=struct):
            return event_of(struct, choose, depth + 1)
        case inspect.ListType(item_type=item):
            return [make(kind=item) for _ in range(choose.randrange(3) if depth < 4 else 0)]
        case inspect.DictType(value_type=item):
            return {choose.choice(TEXTS): make(kind=item)} if depth < 4 else {}
        case inspect.LiteralType(values=values):
            return choose.choice(values)
        case inspect.BoolType():
            return choose.random() < 0.5
        case inspect.IntType():
            return choose.randrange(1000)
        case inspect.FloatType():
            return choose.random()
        case inspect.BytesType():
            return AUDIO
        case inspect.NoneType():
            return None
        case _:
            return _text(name, choose)


def event_of(struct: type[msgspec.Struct], choose: random.Random, depth: int = 0) -> dict[str, Any]:
    """A JSON object of this struct; optional fields are there in two cases of three."""
    made: dict[str, Any] = {}
    config = struct.__struct_config__
    if config.tag is not None:
        made[config.tag_field or "type"] = config.tag
    for field in _fields(struct):
        if field.required or (depth < 6 and choose.random() < 0.67):
            made[field.encode_name] = _value(field.encode_name, field.type, choose, depth)
    return made


def any_event(choose: random.Random) -> dict[str, Any]:
    """A valid event of any type."""
    return event_of(SERVER_EVENTS[choose.choice(list(SERVER_EVENTS))], choose)


def _places(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """All (container, key) pairs of a JSON tree."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            found.append((value, key))
            _places(value[key], found)
    return found


def spoil(event: dict[str, Any], choose: random.Random) -> bytes:
    """Make one to three things wrong in an event, and then perhaps in its text."""
    for _ in range(choose.randrange(1, 4)):
        places = _places(event, [])
        if not places:
            break
        holder, key = choose.choice(places)
        match choose.randrange(4):
            case 0:
                holder[key] = copy.deepcopy(choose.choice(MISFITS))
            case 1:
                del holder[key]
            case 2:
                other, place = choose.choice(places)
                holder[key] = copy.deepcopy(other[place])
            case 3:
                holder[key] = "\0raw"
    text = json.dumps(event)
    if '"\\u0000raw"' in text:
        text = text.replace('"\\u0000raw"', choose.choice(RAW_MISFITS))
    return _spoil_text(text.encode("utf-8", "surrogatepass"), choose)


_TEXT_FAULTS: tuple[Callable[[bytes, int], bytes], ...] = (
    lambda text, at: text[:at],
    lambda text, at: text[:at] + b"\xff\xfe" + text[at:],
    lambda text, at: text[:at] + b"\xed\xa0\x80" + text[at:],
    lambda text, at: text[:-1] + b', "type": "response.done"}',
    lambda text, at: text + text,
    lambda text, at: b"\xef\xbb\xbf" + text,
    lambda text, at: text.replace(b":", b":[", 1),
    lambda text, at: text.decode("utf-8", "replace").encode("utf-16"),
)


def _spoil_text(text: bytes, choose: random.Random) -> bytes:
    if choose.random() < 0.7:
        return text
    return choose.choice(_TEXT_FAULTS)(text, choose.randrange(len(text) + 1))


def any_frame(choose: random.Random) -> bytes:
    """A frame: valid, spoilt, or no event at all."""
    kind = choose.random()
    if kind < 0.5:
        return json.dumps(any_event(choose)).encode()
    if kind < 0.95:
        return spoil(any_event(choose), choose)
    return choose.choice((b"", b"null", b"[]", b"5", b'"x"', b"{}", b'{"type":5}', b'{"type":"x"}', b"\xff"))
