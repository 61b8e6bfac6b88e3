"""Decides whether one of the offered tools fits what was said, and fills in its arguments."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from antiphon.protocol import (
    FunctionCallOutputItem,
    FunctionToolDef,
    McpApprovalResponseItem,
    McpCallItem,
    MessageItem,
    given,
)
from antiphon.testing.brains.answers import city_in
from antiphon.testing.brains.base import Call, Request, last_said

_WORDS: Final = (
    "and are can could for from get give how like please tell the this what whats when where which who will with you "
    "your current now call use used user returns return given function tool any some not yes does did good thank "
    "thanks hello there"
)
_COMMON: Final = frozenset(_WORDS.split())
_PLACE: Final = frozenset({"city", "location", "place", "town", "where", "area", "region", "country"})


def call_for(request: Request) -> Call | None:
    """The call to make, or `None` if the answer should be spoken."""
    last = last_said(request)
    if request.tool_choice == "none" or not request.tools or last is None:
        return None
    if isinstance(last.item, FunctionCallOutputItem | McpCallItem | McpApprovalResponseItem):
        return None
    said = last.text if isinstance(last.item, MessageItem) else ""
    forced = request.tool_choice.removeprefix("function:") if ":" in request.tool_choice else None
    if forced is not None:
        tools = [tool for tool in request.tools if tool.name == forced]
        return _call(tools[0], said) if tools else None
    best = max(request.tools, key=lambda tool: _fit(tool, said))
    if _fit(best, said) > 0 or request.tool_choice == "required":
        return _call(best, said)
    return None


def _words(text: str) -> set[str]:
    spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", text)
    return {word for word in re.findall(r"[a-z]+", spaced.lower()) if len(word) > 2} - _COMMON


def _fit(tool: FunctionToolDef, said: str) -> float:
    """How many words of the question a tool has; those in its name count more."""
    spoken = _words(said)
    name, about = _words(tool.name), _words(given(tool.description, ""))
    return 2.0 * len(spoken & name) + len(spoken & (about - name))


def _call(tool: FunctionToolDef, said: str) -> Call:
    schema: Any = tool.parameters if isinstance(tool.parameters, dict) else {}
    properties = schema.get("properties") or {}
    required = schema.get("required") or []
    arguments = {}
    for name, about in properties.items():
        value = _argument(name, about if isinstance(about, dict) else {}, said, name in required)
        if value is not None:
            arguments[name] = value
    return Call(tool.name, msgspec.json.encode(arguments).decode())


def _argument(name: str, about: dict[str, Any], said: str, required: bool) -> Any:
    """A value for one parameter, `None` to leave it out."""
    if "enum" in about:
        named = [value for value in about["enum"] if str(value).lower() in said.lower()]
        return named[0] if named else about["enum"][0] if required else None
    kind = about.get("type", "string")
    if kind == "string":
        if _words(name) & _PLACE or _words(str(about.get("description", ""))) & _PLACE:
            place = city_in(said)
            return place if place is not None else ("here" if required else None)
        return said if required else None
    if not required:
        return None
    return {"integer": 1, "number": 1.0, "boolean": True, "array": [], "object": {}}.get(kind)
