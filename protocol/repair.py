"""The slow path of decoding: bring a frame that the typed decoder refused into a shape that it takes.

It is reached by item, tool or turn detection types that we don't know, and by servers that differ from the
API in small ways: a session without `type`, an item without `content`, an error that is a bare string, null
where a string belongs, 12.0 for 12. All functions work in place, on the decoded JSON of one frame that nobody
else holds.
"""

import math
import re
from typing import Any, Final

import msgspec

from antiphon.protocol.base import UNKNOWN_TAG

Json = dict[str, Any]

ITEM_TYPES: Final = frozenset(
    (
        "message",
        "function_call",
        "function_call_output",
        "mcp_list_tools",
        "mcp_call",
        "mcp_approval_request",
        "mcp_approval_response",
    )
)
_INPUT_TYPES: Final = ITEM_TYPES | {"item_reference"}
_TOOL_TYPES: Final = frozenset(("function", "mcp"))
_TURN_DETECTION_TYPES: Final = frozenset(("server_vad", "semantic_vad"))
_SESSION_TYPES: Final = frozenset(("realtime", "transcription", "translation"))
_TRUNCATION_TYPES: Final = frozenset(("retention_ratio",))
_USAGE_TYPES: Final = frozenset(("tokens", "duration"))
_PATH: Final = re.compile(r"at `(\$[^`]*)`$")
_STEP: Final = re.compile(r"\.([^.\[]+)|\[(\d+)\]")


def repair(event: Json) -> None:
    """Repair one event: unknown parts become placeholders, what can be inferred is filled in."""
    _replace(event, "item", ITEM_TYPES, _item)
    if isinstance(session := event.get("session"), dict):
        _session(session)
    if isinstance(response := event.get("response"), dict):
        _replace_each(response, "output", ITEM_TYPES, _item)
        _replace_each(response, "input", _INPUT_TYPES, _item)
        _tools(response)
    _replace(event, "usage", _USAGE_TYPES, _usage)
    _error(event)


def loosen(event: Json, problem: msgspec.ValidationError) -> bool:
    """Fix the one value that `problem` is about, if it is null, a number for a string, or 12.0 for 12.

    A null is taken out, so that the field gets its default. Returns whether something was changed.
    """
    text = str(problem)
    path = error_path(problem)
    if "..." in path:  # inside a dict with free keys, whose names the path leaves out
        return False
    steps = [int(index) if index else name for name, index in _STEP.findall(path)]
    if not steps:
        return False
    holder: Any = event
    for step in steps[:-1]:
        holder = holder[step]
    last = steps[-1]
    value = holder[last]
    if value is None and isinstance(holder, dict):
        del holder[last]
        return True
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if isinstance(value, float) and "`int" in text and math.isfinite(value):
        holder[last] = round(value)
        return True
    if "`str" in text:
        holder[last] = str(value)
        return True
    return False


def error_path(problem: msgspec.ValidationError) -> str:
    """Return where `problem` is, such as "$.item.content[0]"; field names and indices only, no content."""
    found = _PATH.search(str(problem))
    return found[1] if found else "$"


def _placeholder(part: Json) -> Json:
    kind, part_id = part.get("type"), part.get("id")
    return {
        "type": UNKNOWN_TAG,
        "unknown_type": kind if isinstance(kind, str) else "",
        "id": part_id if isinstance(part_id, str) else "",
        "raw": msgspec.json.encode(part),
    }


def _checked(part: Any, known: frozenset[str], fill: Any) -> Any:
    """Return `part` filled in if its type is known, else a placeholder; anything but a dict as it is."""
    if not isinstance(part, dict):
        return part
    fill(part)
    kind = part.get("type")
    return part if isinstance(kind, str) and kind in known else _placeholder(part)


def _replace(holder: Json, key: str, known: frozenset[str], fill: Any) -> None:
    if key in holder:
        holder[key] = _checked(holder[key], known, fill)


def _replace_each(holder: Json, key: str, known: frozenset[str], fill: Any) -> None:
    if isinstance(parts := holder.get(key), list):
        holder[key] = [_checked(part, known, fill) for part in parts]


def _nothing(_part: Json) -> None:
    pass


def _item(item: Json) -> None:
    if item.get("type") is None and "role" in item:
        item["type"] = "message"
    match item.get("type"):
        case "message":
            item.setdefault("role", "")
            if item.get("content") is None:
                item["content"] = []
        case "function_call":
            if item.get("arguments") is None:
                item["arguments"] = ""
        case "function_call_output":
            if item.get("output") is None:
                item["output"] = ""
        case "mcp_list_tools":
            if item.get("tools") is None:
                item["tools"] = []


def _tool(tool: Json) -> None:
    if tool.get("type") is None:  # the SDK has it optional
        tool["type"] = "function"


def _tool_choice(choice: Json) -> None:
    """Accept the nested spelling `{"type": "function", "function": {"name": ...}}`."""
    function = choice.get("function")
    if choice.get("type") == "function" and "name" not in choice and isinstance(function, dict):
        choice["name"] = function.get("name")


def _tools(holder: Json) -> None:
    _replace_each(holder, "tools", _TOOL_TYPES, _tool)
    _replace(holder, "tool_choice", _TOOL_TYPES, _tool_choice)


def _session(session: Json) -> None:
    kind = session.get("type")
    audio = session.get("audio")
    sides = audio if isinstance(audio, dict) else {}
    if not isinstance(kind, str) or kind not in _SESSION_TYPES:
        output = sides.get("output")
        translates = isinstance(output, dict) and "language" in output
        session["type"] = "translation" if translates else "realtime"
    _tools(session)
    _replace(session, "truncation", _TRUNCATION_TYPES, _nothing)
    if isinstance(source := sides.get("input"), dict):
        _replace(source, "turn_detection", _TURN_DETECTION_TYPES, _nothing)


def _usage(usage: Json) -> None:
    if "type" not in usage:
        usage["type"] = "duration" if "seconds" in usage else "tokens"


def _error(event: Json) -> None:
    if isinstance(error := event.get("error"), str):
        event["error"] = {"message": error}
