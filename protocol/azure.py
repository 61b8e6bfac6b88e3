"""The dialect of Azure's dated API versions: a flat session and the beta's names for its fields.

The input is the JSON of a GA client event, as a dict; the output is a new dict, the input is not changed.
An option that is absent stays absent; one that is switched off (`None`) is null. What the old wire has no
field for is dropped: truncation, reasoning, prompt, include, parallel_tool_calls.
"""

from typing import Any, Final

Json = dict[str, Any]

LEGACY_CHANGES: Final = frozenset(("session.update", "response.create", "conversation.item.create"))
"""The types of the client events that look different in this dialect."""

AUDIO_FORMATS: Final[dict[str, str]] = {
    "audio/pcm": "pcm16",
    "audio/pcmu": "g711_ulaw",
    "audio/pcma": "g711_alaw",
}
"""GA audio format type to legacy format name."""

_SESSION_KEPT: Final = ("model", "instructions", "tools", "tool_choice", "tracing")
_RESPONSE_KEPT: Final = ("conversation", "instructions", "metadata", "tools", "tool_choice")
_INPUT_NAMES: Final = {
    "noise_reduction": "input_audio_noise_reduction",
    "transcription": "input_audio_transcription",
    "turn_detection": "turn_detection",
}
_PART_TYPES: Final = {"output_text": "text", "output_audio": "audio"}


def to_legacy(event: Json) -> Json:
    """Translate one client event; events that are the same in both dialects come back as they are."""
    match event.get("type"):
        case "session.update" if isinstance(event.get("session"), dict):
            return {**event, "session": legacy_session(event["session"])}
        case "response.create" if isinstance(event.get("response"), dict):
            return {**event, "response": _legacy_response(event["response"])}
        case "conversation.item.create":
            return {**event, "item": _legacy_item(event.get("item"))}
    return event


def legacy_session(session: Json) -> Json:
    """Flatten a GA session: `audio.input.turn_detection` becomes `turn_detection`, and so on."""
    flat: Json = {key: session[key] for key in _SESSION_KEPT if key in session}
    flat.update(_modalities_and_limit(session))
    source = _side(session, "input")
    if "format" in source:
        flat["input_audio_format"] = _format(source["format"])
    flat.update({new: source[old] for old, new in _INPUT_NAMES.items() if old in source})
    flat.update(_output(session))
    return flat


def _legacy_response(response: Json) -> Json:
    flat: Json = {key: response[key] for key in _RESPONSE_KEPT if key in response}
    flat.update(_modalities_and_limit(response))
    flat.update(_output(response))
    if "input" in response:
        items = response["input"]
        flat["input"] = [_legacy_item(item) for item in items] if isinstance(items, list) else items
    return flat


def _modalities_and_limit(source: Json) -> Json:
    flat: Json = {}
    if "output_modalities" in source:
        wanted = source["output_modalities"]
        if wanted is None:
            flat["modalities"] = None
        else:
            flat["modalities"] = ["audio", "text"] if "audio" in wanted else ["text"]
    if "max_output_tokens" in source:
        flat["max_response_output_tokens"] = source["max_output_tokens"]
    return flat


def _side(source: Json, side: str) -> Json:
    audio = source.get("audio")
    found = audio.get(side) if isinstance(audio, dict) else None
    return found if isinstance(found, dict) else {}


def _output(source: Json) -> Json:
    output = _side(source, "output")
    flat: Json = {key: output[key] for key in ("voice", "speed") if key in output}
    if "format" in output:
        flat["output_audio_format"] = _format(output["format"])
    return flat


def _format(value: Any) -> Any:
    kind = value.get("type") if isinstance(value, dict) else value
    return AUDIO_FORMATS.get(kind, kind) if isinstance(kind, str) else kind


def _legacy_item(item: Any) -> Any:
    """Rename the parts of an assistant message; other items are the same."""
    if (
        not isinstance(item, dict)
        or item.get("role") != "assistant"
        or not isinstance(item.get("content"), list)
    ):
        return item
    return {**item, "content": [_legacy_part(part) for part in item["content"]]}


def _legacy_part(part: Any) -> Any:
    if isinstance(part, dict) and part.get("type") in _PART_TYPES:
        return {**part, "type": _PART_TYPES[part["type"]]}
    return part
