"""The OpenAI SDK as the oracle: JSON made from its models, and a strict check against them."""

import types
import typing
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pydantic
from hypothesis import strategies as st
from openai.types.realtime import RealtimeClientEvent, RealtimeServerEvent
from openai.types.realtime.realtime_translation_client_event import RealtimeTranslationClientEvent
from openai.types.realtime.realtime_translation_server_event import RealtimeTranslationServerEvent

Model = type[pydantic.BaseModel]

TEXT = st.text(max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-100, 100) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXT,
    int: st.integers(0, 2**40),
    float: st.floats(-1e6, 1e6) | st.integers(-1000, 1000),
    bool: st.booleans(),
    type(None): st.none(),
    object: JSON,
    Any: JSON,
}


def members(union: Any) -> list[Model]:
    """The models of one of the SDK's event unions."""
    return [arm for arm in arms(union) if isinstance(arm, type)]


def arms(annotation: Any) -> list[Any]:
    """The alternatives of a union, flattened; one alternative if it is no union."""
    if get_origin(annotation) is Annotated:
        return arms(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [arm for part in get_args(annotation) for arm in arms(part)]
    return [annotation]


SERVER_MODELS = members(RealtimeServerEvent)
CLIENT_MODELS = members(RealtimeClientEvent)
TRANSLATION_SERVER_MODELS = [m for m in members(RealtimeTranslationServerEvent) if "type" in m.model_fields]
TRANSLATION_CLIENT_MODELS = members(RealtimeTranslationClientEvent)


def event_type(model: Model) -> str:
    """The type string of an event model."""
    return typing.cast(str, get_args(model.model_fields["type"].annotation)[0])


def wire_name(model: Model, name: str) -> str:
    """A field's name on the wire."""
    return model.model_fields[name].alias or name


def wire(annotation: Any) -> st.SearchStrategy[Any]:
    """JSON values that an annotation allows."""
    options = arms(annotation)
    if len(options) > 1:
        return st.one_of([wire(option) for option in options])
    (plain,) = options
    if get_origin(plain) is Literal:
        return st.sampled_from(get_args(plain))
    if get_origin(plain) in (list, typing.List):  # noqa: UP006
        return st.lists(wire(get_args(plain)[0]), max_size=2)
    if get_origin(plain) in (dict, typing.Dict):  # noqa: UP006
        return st.dictionaries(TEXT, wire(get_args(plain)[1]), max_size=2)
    if isinstance(plain, type) and issubclass(plain, pydantic.BaseModel):
        return st.deferred(lambda: wire_object(plain))
    return SCALARS[plain]


def wire_object(model: Model) -> st.SearchStrategy[dict[str, Any]]:
    """JSON objects of a model: optional fields are absent, null or set."""
    required, optional = {}, {}
    for name, field in model.model_fields.items():
        target = required if field.is_required() else optional
        target[wire_name(model, name)] = wire(field.annotation)
    return st.fixed_dictionaries(required, optional=optional)


def misfit(annotation: Any, value: Any, path: str = "$") -> str | None:
    """Why a JSON value doesn't fit an annotation, None if it does; a key the SDK doesn't know is a misfit."""
    options = arms(annotation)
    if len(options) > 1:
        problems = [misfit(option, value, path) for option in options]
        return None if None in problems else max((p for p in problems if p), key=lambda p: (p.count("."), p))
    (plain,) = options
    origin = get_origin(plain)
    if origin is Literal:
        return None if value in get_args(plain) else f"{path}: {value!r} is not one of the SDK's values"
    if origin is list:
        if not isinstance(value, list):
            return f"{path}: not a list"
        inner = (misfit(get_args(plain)[0], part, f"{path}[{i}]") for i, part in enumerate(value))
        return next((p for p in inner if p), None)
    if origin is dict:
        if not isinstance(value, dict):
            return f"{path}: not an object"
        inner = (misfit(get_args(plain)[1], part, f"{path}.{key}") for key, part in value.items())
        return next((p for p in inner if p), None)
    if isinstance(plain, type) and issubclass(plain, pydantic.BaseModel):
        return _object_misfit(plain, value, path)
    return _scalar_misfit(plain, value, path)


def _object_misfit(model: Model, value: Any, path: str) -> str | None:
    if not isinstance(value, dict):
        return f"{path}: not an object"
    fields = {wire_name(model, name): field for name, field in model.model_fields.items()}
    for key in value:
        if key not in fields:
            return f"{path}.{key}: unknown to {model.__name__}"
    for key, field in fields.items():
        if key not in value:
            if field.is_required():
                return f"{path}.{key}: missing"
        elif problem := misfit(field.annotation, value[key], f"{path}.{key}"):
            return problem
    return None


def _scalar_misfit(plain: Any, value: Any, path: str) -> str | None:
    if plain in (object, Any):
        return None
    fits = {
        str: isinstance(value, str),
        int: isinstance(value, int) and not isinstance(value, bool),
        float: isinstance(value, int | float) and not isinstance(value, bool),
        bool: isinstance(value, bool),
        type(None): value is None,
    }[plain]
    return None if fits else f"{path}: {value!r} is no {plain.__name__}"
