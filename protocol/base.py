"""What every wire type is built on: the base struct, "not given", and what a frame we can't read becomes."""

import os
from typing import Any, ClassVar, TypeAlias, TypeVar, dataclass_transform

import msgspec
from msgspec import UNSET, Struct, StructMeta, UnsetType

T = TypeVar("T")

NOT_GIVEN = UNSET
"""The value of a field that is absent on the wire. It is falsy, and it is never the same as `None`."""

Maybe: TypeAlias = T | UnsetType | None
"""A field that the API tells apart in three ways: a value, null (`None`), or absent (`NOT_GIVEN`)."""


class _WireMeta(StructMeta):
    """Makes every struct below `Wire` frozen and keyword-only, without each saying so."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **config: Any) -> Any:
        return super().__new__(mcs, name, bases, namespace, **{"frozen": True, "kw_only": True} | config)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(msgspec.field,))
class Wire(Struct, metaclass=_WireMeta, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all wire structs: frozen, keyword-only; fields at their default are not encoded.

    A field where null means something has the default `NOT_GIVEN`, so an explicit `None` is encoded as null.
    Fields that we don't know are ignored when decoding. Enumerations are `str`: unknown values are kept.
    The repr leaves out what is at its default, and shows no audio, no picture and no secret.
    """

    # Fields whose content no repr shows.
    hidden: ClassVar[frozenset[str]] = frozenset(("authorization", "headers", "audio", "image_url"))

    def __repr__(self) -> str:
        defaults = {field.name: field.default for field in msgspec.structs.fields(self)}
        shown = [
            f"{name}={_shown(value, name in self.hidden)}"
            for name in self.__struct_fields__
            if (value := getattr(self, name)) is not defaults[name]
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


def _shown(value: Any, hidden: bool) -> str:
    if isinstance(value, bytes) or (hidden and isinstance(value, str)):
        return f"<{len(value)} {'bytes' if isinstance(value, bytes) else 'characters'}>"
    return "<hidden>" if hidden and isinstance(value, dict) else repr(value)


class UnknownEvent(Struct, frozen=True, kw_only=True, gc=False):
    """An event whose type we don't know.

    Attributes:
        type: The type string, as it came.
        raw: The whole frame, UTF-8 JSON.
    """

    type: str
    raw: bytes

    def __repr__(self) -> str:
        return f"UnknownEvent(type={self.type!r}, raw=<{len(self.raw)} bytes>)"


# The tag is a placeholder that only the codec writes and reads. Random, so that no server can send it and have
# its own text taken for the JSON of an unknown part.
UNKNOWN_TAG = f"antiphon.unknown.{os.urandom(8).hex()}"


class UnknownObject(Wire, tag_field="type", tag=UNKNOWN_TAG, gc=False):
    """A part of an event (tool, turn detection, tool choice, usage ...) whose `type` we don't know.

    Attributes:
        type: The type string, as it came; "" if it was missing or no string.
        id: Its `id`, or "".
        raw: Its JSON, UTF-8. The encoders put the same JSON back in its place.
    """

    type: str = msgspec.field(name="unknown_type")
    id: str = ""
    raw: bytes


class ProtocolError(ValueError):
    """A frame that can't be decoded. The message never holds any of the frame's content.

    Attributes:
        kind: What was wrong, for counting: "json" (not JSON), "utf8" (not UTF-8), "depth" (nested too
            deeply), "shape" (not an object, no type, a missing or mistyped field).
    """

    def __init__(self, message: str, kind: str = "shape") -> None:
        super().__init__(message)
        self.kind = kind


def given(value: T | UnsetType | None, default: T) -> T:
    """Return `value`, or `default` if it is `None` or `NOT_GIVEN`.

    >>> given(NOT_GIVEN, "x"), given(None, "x"), given("", "x")
    ('x', 'x', '')
    """
    return default if value is None or isinstance(value, UnsetType) else value
