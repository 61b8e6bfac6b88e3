"""From a Python signature to a JSON schema and a decoder for it.

msgspec does both; this module finds out what to hand it, and puts its schema into the form that models are
used to: one object without references.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

__all__ = ["Signature", "read_docstring", "read_signature"]

_SESSION_CLASS = "RealtimeSession"
_SESSION_NAMES = frozenset({"session", "context"})
_REF = "#/$defs/"
_SECTION = re.compile(r"(Args|Arguments|Parameters|Returns?|Raises|Yields?|Examples?|Notes?):\s*$")
_ARGUMENT = re.compile(r"(\w+)\s*(?:\([^)]*\))?:\s*(.*)$")


@dataclass(frozen=True, slots=True)
class Signature:
    """What a function takes from the model.

    Attributes:
        parameters: JSON schema of the arguments object.
        arguments: Decodes and checks that object into a struct whose fields are UNSET where nothing was
            given.
        injected: Parameters that get the session instead.
    """

    parameters: dict[str, Any]
    arguments: msgspec.json.Decoder[msgspec.Struct]
    injected: tuple[str, ...]


def read_signature(fn: Callable[..., Any], name: str, descriptions: dict[str, str]) -> Signature:
    """Reads a function's type hints.

    Args:
        fn: A plain function; every parameter but the session needs a type that msgspec knows.
        name: What to call it in messages.
        descriptions: What is said of each parameter; a description in the type hint comes first.

    Raises:
        TypeError: The function can't be a tool; the message names tool and parameter.
    """
    if inspect.iscoroutinefunction(fn) or inspect.isasyncgenfunction(fn):
        raise TypeError(f"{name}: a tool is a plain function, not an async one (it runs on its own thread)")
    parameters = inspect.signature(fn).parameters
    for parameter in parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise TypeError(f"{name}: parameter `{parameter}` can't be filled by name from JSON")
    injected = tuple(parameter.name for parameter in parameters.values() if _takes_session(parameter))
    fields: list[Any] = []
    for parameter in parameters.values():
        if parameter.name in injected:
            continue
        hint = _hint(fn, parameter, f"{name}: parameter `{parameter.name}`")
        if parameter.default is parameter.empty:
            fields.append((parameter.name, hint))
        else:
            fields.append((parameter.name, hint | msgspec.UnsetType, msgspec.UNSET))
    struct = msgspec.defstruct(name, fields, kw_only=True, forbid_unknown_fields=True)
    schema = msgspec.json.schema(struct)
    for key, about in schema["$defs"][schema["$ref"].removeprefix(_REF)]["properties"].items():
        _describe(about, descriptions.get(key), parameters[key].default)
    return Signature(_inlined(schema), msgspec.json.Decoder(struct), injected)


def read_docstring(fn: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """Returns what a Google docstring says of the function and of each argument."""
    about: list[str] = []
    arguments: dict[str, str] = {}
    section = name = ""
    indent = 0
    for line in (inspect.getdoc(fn) or "").splitlines():
        text = line.strip()
        depth = len(line) - len(line.lstrip())
        if depth == 0 and (header := _SECTION.match(line)):
            section, name = header[1], ""
        elif not section:
            about.append(line)
        elif section in ("Args", "Arguments", "Parameters") and text:
            indent = indent or depth
            if depth == indent and (entry := _ARGUMENT.match(text)):
                name, text = entry[1], entry[2]
                arguments[name] = text
            elif name:
                arguments[name] = f"{arguments[name]} {text}".strip()
    return "\n".join(about).strip(), arguments


def _takes_session(parameter: inspect.Parameter) -> bool:
    hint = parameter.annotation
    if hint is parameter.empty:
        return parameter.name in _SESSION_NAMES
    words = re.findall(r"\w+", hint) if isinstance(hint, str) else [getattr(hint, "__name__", "")]
    return _SESSION_CLASS in words


def _describe(about: dict[str, Any], description: str | None, default: Any) -> None:
    if description:
        about.setdefault("description", description)
    if default is not inspect.Parameter.empty:
        try:
            about["default"] = msgspec.to_builtins(default)
        except TypeError:
            pass  # a marker object: the model can leave the argument out, but not write the default


def _hint(fn: Callable[..., Any], parameter: inspect.Parameter, where: str) -> Any:
    if parameter.annotation is parameter.empty:
        raise TypeError(f"{where} needs a type hint")
    holder = type("Holder", (), {"__annotations__": {parameter.name: parameter.annotation}})
    try:
        hint = typing.get_type_hints(
            holder, globalns=getattr(inspect.unwrap(fn), "__globals__", {}), include_extras=True
        )[parameter.name]
    except NameError as error:
        raise TypeError(f"{where} has a type hint that can't be looked up: {error}") from error
    try:
        msgspec.json.schema(hint)
        msgspec.json.Decoder(hint)
    except TypeError as error:
        raise TypeError(f"{where}: {str(error).splitlines()[-1]}") from error
    return hint


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """Puts definitions where they are used; only those that contain themselves stay under `$defs`."""
    defs: dict[str, Any] = schema.pop("$defs", {})
    uses = {name: set(_references(node)) for name, node in defs.items()}
    recursive = {name for name in defs if name in _reachable(uses, name)}

    def walk(node: Any) -> Any:
        if isinstance(node, list):
            return [walk(item) for item in node]
        if not isinstance(node, dict):
            return node
        result = {key: walk(value) for key, value in node.items() if key != "$ref"}
        if "anyOf" in node:
            result.pop("discriminator", None)  # it points into `$defs`
        name = node["$ref"].removeprefix(_REF) if "$ref" in node else None
        if name in recursive:
            result["$ref"] = _REF + str(name)
        elif name is not None:
            result = definition(name) | result
        return result

    def definition(name: str) -> dict[str, Any]:
        result: dict[str, Any] = walk(defs[name])
        result.pop("title", None)  # the class's name, which tells the model nothing
        return result

    whole: dict[str, Any] = walk(schema)
    if recursive:
        whole["$defs"] = {name: definition(name) for name in sorted(recursive)}
    return whole


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"].removeprefix(_REF)
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def _reachable(uses: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    todo = list(uses[start])
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo.extend(uses[name])
    return seen
