"""A session's configuration: its defaults, what a `session.update` may say, and how it changes what is there."""

import copy
import re
from typing import Any, Final, TypeAlias

from antiphon.testing import schema as s
from antiphon.testing.apierror import ApiError

Json: TypeAlias = dict[str, Any]

_PCM: Final[Json] = {"type": "audio/pcm", "rate": 24000}
_VAD_DEFAULTS: Final[dict[str, Json]] = {
    "server_vad": {
        "type": "server_vad",
        "threshold": 0.5,
        "prefix_padding_ms": 300,
        "silence_duration_ms": 500,
        "idle_timeout_ms": None,
        "create_response": True,
        "interrupt_response": True,
    },
    "semantic_vad": {
        "type": "semantic_vad",
        "eagerness": "auto",
        "create_response": True,
        "interrupt_response": True,
    },
}

_FORMAT: Final = s.tagged(
    {
        "audio/pcm": s.obj({"type": s.anything, "rate": s.number(24000, 24000, integer=True)}),
        "audio/pcmu": s.obj({"type": s.anything}),
        "audio/pcma": s.obj({"type": s.anything}),
    }
)
_TURN_DETECTION: Final = s.tagged(
    {
        "server_vad": s.obj(
            {
                "type": s.anything,
                "threshold": s.number(0.0, 1.0),
                "prefix_padding_ms": s.number(0, 10_000, integer=True),
                "silence_duration_ms": s.number(0, 10_000, integer=True),
                "idle_timeout_ms": s.nullable(s.number(5_000, 30_000, integer=True)),
                "create_response": s.boolean,
                "interrupt_response": s.boolean,
            }
        ),
        "semantic_vad": s.obj(
            {
                "type": s.anything,
                "eagerness": s.one_of("low", "medium", "high", "auto"),
                "create_response": s.boolean,
                "interrupt_response": s.boolean,
            }
        ),
    }
)
_TRANSCRIPTION: Final = s.obj(
    {
        "model": s.string,
        "language": s.nullable(s.string),
        "languages": s.nullable(s.array(s.string)),
        "prompt": s.nullable(s.string),
        "keywords": s.nullable(s.array(s.string)),
        "delay": s.nullable(s.one_of("minimal", "low", "medium", "high", "xhigh")),
    }
)
_VOICE: Final = s.string_or(s.obj({"id": s.string}, required=("id",)))
_MCP_FILTER: Final = s.obj({"tool_names": s.nullable(s.array(s.string)), "read_only": s.nullable(s.boolean)})
_TOOL: Final = s.tagged(
    {
        "function": s.obj(
            {
                "type": s.anything,
                "name": s.string,
                "description": s.nullable(s.string),
                "parameters": s.nullable(s.obj_of_anything),
            },
            required=("name",),
        ),
        "mcp": s.obj(
            {
                "type": s.anything,
                "server_label": s.string,
                "server_url": s.nullable(s.string),
                "connector_id": s.nullable(s.string),
                "tunnel_id": s.nullable(s.string),
                "server_description": s.nullable(s.string),
                "authorization": s.nullable(s.string),
                "headers": s.nullable(s.obj_of_anything),
                "allowed_tools": s.nullable(s.array_or(s.array(s.string), _MCP_FILTER)),
                "require_approval": s.nullable(
                    s.string_or(s.obj({"always": _MCP_FILTER, "never": _MCP_FILTER}), "always", "never")
                ),
                "allowed_callers": s.nullable(s.array(s.one_of("direct", "programmatic"))),
                "defer_loading": s.nullable(s.boolean),
            },
            required=("server_label",),
        ),
    }
)
_TOOL_CHOICE: Final = s.string_or(
    s.tagged(
        {
            "function": s.obj({"type": s.anything, "name": s.string}, required=("name",)),
            "mcp": s.obj(
                {"type": s.anything, "server_label": s.string, "name": s.nullable(s.string)},
                required=("server_label",),
            ),
        }
    ),
    "auto",
    "none",
    "required",
)
_MODALITIES: Final = s.array(s.one_of("text", "audio"))
_MAX_TOKENS: Final = s.nullable(s.number(1, 4096, integer=True, word="inf"))
_SHARED: Final = {
    "instructions": s.nullable(s.string),
    "output_modalities": _MODALITIES,
    "max_output_tokens": _MAX_TOKENS,
    "tools": s.array(_TOOL),
    "tool_choice": _TOOL_CHOICE,
    "parallel_tool_calls": s.nullable(s.boolean),
    "reasoning": s.nullable(
        s.obj({"effort": s.nullable(s.one_of("minimal", "low", "medium", "high", "xhigh"))})
    ),
    "prompt": s.nullable(s.obj_of_anything),
}
_SESSION: Final = s.obj(
    {
        **_SHARED,
        "type": s.one_of("realtime"),
        "model": s.string,
        "tracing": s.nullable(s.string_or(s.obj_of_anything, "auto")),
        "truncation": s.string_or(s.obj_of_anything, "auto", "disabled"),
        "include": s.nullable(s.array(s.one_of("item.input_audio_transcription.logprobs"))),
        "audio": s.obj(
            {
                "input": s.obj(
                    {
                        "format": _FORMAT,
                        "noise_reduction": s.nullable(
                            s.obj(
                                {
                                    "type": s.one_of("near_field", "far_field"),
                                    "strength": s.nullable(s.number(0.0, 1.0)),
                                }
                            )
                        ),
                        "transcription": s.nullable(_TRANSCRIPTION),
                        "turn_detection": s.nullable(_TURN_DETECTION),
                    }
                ),
                "output": s.obj({"format": _FORMAT, "speed": s.number(0.25, 1.5), "voice": _VOICE}),
            }
        ),
    },
    required=("type",),
)
_RESPONSE: Final = s.obj(
    {
        **_SHARED,
        "conversation": s.one_of("auto", "none"),
        "input": s.nullable(s.array(s.obj_of_anything)),
        "metadata": s.nullable(s.obj_of_anything),
        "audio": s.obj({"output": s.obj({"format": _FORMAT, "voice": _VOICE})}),
    }
)

_TOOL_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def default_session(session_id: str, model: str, expires_at: int) -> Json:
    """The configuration of a new session."""
    return {
        "type": "realtime",
        "object": "realtime.session",
        "id": session_id,
        "model": model,
        "expires_at": expires_at,
        "output_modalities": ["audio"],
        "instructions": "You are a helpful voice assistant. Answer briefly.",
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "truncation": "auto",
        "prompt": None,
        "include": None,
        "audio": {
            "input": {
                "format": dict(_PCM),
                "noise_reduction": None,
                "transcription": None,
                "turn_detection": dict(_VAD_DEFAULTS["server_vad"]),
            },
            "output": {"format": dict(_PCM), "speed": 1.0, "voice": "marin"},
        },
    }


def check_session(update: Any) -> None:
    """Check the `session` of a `session.update` in GA spelling.

    Raises:
        ApiError: Something in it is not allowed.
    """
    _SESSION(update, "session")
    _check_tools(update.get("tools", []), "session.tools")


def check_response(params: Any) -> None:
    """Check the `response` of a `response.create` in GA spelling.

    Raises:
        ApiError: Something in it is not allowed.
    """
    _RESPONSE(params, "response")
    _check_tools(params.get("tools", []), "response.tools")
    for key, value in (params.get("metadata") or {}).items():
        s.string(value, f"response.metadata.{key}")


def _check_tools(tools: list[Json], path: str) -> None:
    for index, tool in enumerate(tools):
        name = tool.get("name")
        if name is not None and not _TOOL_NAME.fullmatch(name):
            where = f"{path}[{index}].name"
            message = (
                f"Invalid '{where}': string does not match pattern. "
                "Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
            )
            raise ApiError(message, "invalid_value", where)


def merged(session: Json, update: Json) -> Json:
    """The configuration after an update that was checked.

    Objects are merged; turn detection of another type, formats, transcription and lists are replaced.
    """
    result = copy.deepcopy(session)
    _merge(result, update)
    if result["max_output_tokens"] is None:
        result["max_output_tokens"] = "inf"
    return result


_WHOLE: Final = frozenset(
    {"format", "transcription", "noise_reduction", "tracing", "truncation", "prompt", "voice"}
)


def _merge(target: Json, update: Json) -> None:
    for key, value in update.items():
        if key == "turn_detection" and value is not None:
            before: Json = target.get(key) or {}
            same = before.get("type") == value["type"]
            target[key] = {**(before if same else _VAD_DEFAULTS[value["type"]]), **value}
        elif key == "format" and value["type"] == "audio/pcm":
            target[key] = {**_PCM, **value}
        elif isinstance(value, dict) and isinstance(target.get(key), dict) and key not in _WHOLE:
            _merge(target[key], value)
        else:
            target[key] = copy.deepcopy(value)
