"""What users may write for an option, and the one form that the engine works with."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from antiphon.actors.config import SessionOptions, ToolChoice, TurnDetection
from antiphon.protocol import (
    NOT_GIVEN,
    AudioTranscription,
    NoiseReduction,
    Prompt,
    Reasoning,
    RetentionRatioTruncation,
    SemanticVad,
    ServerVad,
    TokenLimits,
    ToolChoiceFunction,
    ToolChoiceMcp,
    Tracing,
    VoiceId,
)

T = TypeVar("T", bound=msgspec.Struct)

AUDIO_FORMATS = ("pcm16", "g711_ulaw", "g711_alaw")
_TOOL_CHOICES = ("auto", "none", "required")
_MODALITIES = ("text", "audio")
_EAGERNESS = ("low", "medium", "high", "auto")
_EFFORTS = ("minimal", "low", "medium", "high", "xhigh")
_NOISE = ("near_field", "far_field")
_INCLUDE = ("item.input_audio_transcription.logprobs",)

# Fields that either kind of turn detection has; a beta object carries those of both kinds.
_VAD_FIELDS = {
    "server_vad": set(ServerVad.__struct_fields__),
    "semantic_vad": set(SemanticVad.__struct_fields__),
}


def turn_detection(value: Any) -> TurnDetection | None:
    """A `ServerVad`, a `SemanticVad`, a dict of the same shape (beta fields of the other kind are dropped).

    Raises:
        ValueError: An unknown kind or key, or a value out of range.
    """
    if value is None:
        return None
    if isinstance(value, Mapping):
        kind = value.get("type")
        if not isinstance(kind, str) or kind not in _VAD_FIELDS:
            raise ValueError(f"turn_detection.type must be server_vad or semantic_vad, not {kind!r}")
        known = _VAD_FIELDS[kind]
        other = _VAD_FIELDS["semantic_vad" if kind == "server_vad" else "server_vad"]
        unknown = set(value) - known - other - {"type"}
        if unknown:
            raise ValueError(_unknown("turn_detection", unknown, known))
        value = {key: field for key, field in value.items() if key in known | {"type"}}
        value = _convert("turn_detection", value, ServerVad if kind == "server_vad" else SemanticVad)
    if isinstance(value, ServerVad):
        in_range("turn_detection.threshold", value.threshold, 0.0, 1.0)
        in_range("turn_detection.prefix_padding_ms", value.prefix_padding_ms, 0, 10_000)
        in_range("turn_detection.silence_duration_ms", value.silence_duration_ms, 0, 60_000)
        in_range("turn_detection.idle_timeout_ms", value.idle_timeout_ms, 1, 3_600_000)
        return value
    if isinstance(value, SemanticVad):
        _one_of("turn_detection.eagerness", value.eagerness, _EAGERNESS)
        return value
    raise ValueError(f"turn_detection must be a ServerVad, a SemanticVad, a dict or None, not {value!r}")


def noise_reduction(value: Any) -> NoiseReduction | None:
    """A `NoiseReduction`, a dict of the same shape, "near_field" or "far_field".

    Raises:
        ValueError: Anything else.
    """
    if value is None:
        return None
    if isinstance(value, str):
        value = NoiseReduction(type=value)
    elif isinstance(value, Mapping):
        value = _from_mapping("input_audio_noise_reduction", value, NoiseReduction)
    if not isinstance(value, NoiseReduction):
        raise ValueError(f"input_audio_noise_reduction must be one of {', '.join(_NOISE)}, not {value!r}")
    _one_of("input_audio_noise_reduction.type", value.type, _NOISE)
    return value


def transcription(value: Any) -> AudioTranscription | None:
    """An `AudioTranscription` or a dict of the same shape.

    Raises:
        ValueError: Anything else.
    """
    return _struct("input_audio_transcription", value, AudioTranscription)


def tracing(value: Any) -> Any:
    """A `Tracing`, a dict of the same shape, or "auto".

    Raises:
        ValueError: Anything else.
    """
    return value if value == "auto" else _struct("tracing", value, Tracing)


def truncation(value: Any) -> Any:
    """A `RetentionRatioTruncation`, a dict of the same shape, "auto" or "disabled".

    Raises:
        ValueError: Anything else.
    """
    if value in ("auto", "disabled"):
        return value
    if isinstance(value, Mapping):
        value = {key: field for key, field in value.items() if (key, field) != ("type", "retention_ratio")}
        if isinstance(value.get("token_limits"), Mapping):
            value["token_limits"] = _from_mapping(
                "truncation.token_limits", value["token_limits"], TokenLimits
            )
    made = _struct("truncation", value, RetentionRatioTruncation)
    if made is not None:
        in_range("truncation.retention_ratio", made.retention_ratio, 0.0, 1.0)
        if isinstance(made.token_limits, TokenLimits):
            in_range("truncation.token_limits.post_instructions", made.token_limits.post_instructions, 0, 1e9)
    return made


def reasoning(value: Any) -> Reasoning | None:
    """A `Reasoning` or a dict of the same shape.

    Raises:
        ValueError: Anything else.
    """
    made = _struct("reasoning", value, Reasoning)
    if made is not None:
        _one_of("reasoning.effort", made.effort, _EFFORTS)
    return made


def tool_choice(value: Any) -> ToolChoice | None:
    """ "auto", "none", "required", or one function: its struct, the flat dict or the nested one.

    Raises:
        ValueError: Anything else.
    """
    if value is None or isinstance(value, ToolChoiceFunction | ToolChoiceMcp):
        return value
    if isinstance(value, str):
        _one_of("tool_choice", value, _TOOL_CHOICES)
        return value
    if isinstance(value, Mapping) and value.get("type") == "function":
        nested = value.get("function")
        name = nested.get("name") if isinstance(nested, Mapping) else value.get("name")
        if isinstance(name, str) and name:
            return ToolChoiceFunction(name=name)
    if isinstance(value, Mapping) and value.get("type") == "mcp":
        return _convert("tool_choice", value, ToolChoiceMcp)
    raise ValueError(
        "tool_choice must be one of auto, none, required, or {'type': 'function', 'name': …}, "
        f"not {value!r}"
    )


def modalities(value: Any) -> tuple[str, ...]:
    """ "text", "audio", or both, as any iterable of strings.

    Raises:
        ValueError: Anything else.
    """
    given = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else ()
    if not given or any(item not in _MODALITIES for item in given):
        raise ValueError(f"modalities must be a list of text and/or audio, not {value!r}")
    return given


def speed(value: Any) -> float:
    """A factor from 0.25 to 1.5.

    Raises:
        ValueError: Anything else.
    """
    if value is None or value is NOT_GIVEN:
        raise ValueError("speed can't be switched off: it must be from 0.25 to 1.5")
    in_range("speed", value, 0.25, 1.5)
    return float(value)


def voice(value: Any) -> Any:
    """A voice's name, or a `VoiceId` for a custom one.

    Raises:
        ValueError: Anything else.
    """
    if isinstance(value, VoiceId) or (isinstance(value, str) and value):
        return value
    raise ValueError(f"voice must be the name of one, not {value!r}")


def max_output_tokens(value: Any) -> Any:
    """1 to 4096, "inf", or None.

    Raises:
        ValueError: Anything else.
    """
    if value is None or value == "inf":
        return value
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"max_response_output_tokens must be 1 to 4096 or 'inf', not {value!r}")
    in_range("max_response_output_tokens", value, 1, 4096)
    return value


def prompt(value: Any) -> Prompt | None:
    """A `Prompt` or a dict of the same shape.

    Raises:
        ValueError: Anything else.
    """
    return _struct("prompt", value, Prompt)


def include(value: Any) -> tuple[str, ...] | None:
    """Any iterable of the things that the API can send on demand.

    Raises:
        ValueError: Anything else.
    """
    if value is None:
        return None
    given = () if isinstance(value, str) or not isinstance(value, Iterable) else tuple(value)
    if not given or any(item not in _INCLUDE for item in given):
        raise ValueError(f"include must be a list of {', '.join(_INCLUDE)}, not {value!r}")
    return given


def parallel_tool_calls(value: Any) -> bool | None:
    """True, False or None.

    Raises:
        ValueError: Anything else.
    """
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"parallel_tool_calls must be True, False or None, not {value!r}")
    return value


def text(name: str, value: Any) -> str:
    """Text that is not empty.

    Raises:
        ValueError: Anything else.
    """
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} must be non-empty text, not {value!r}")
    return value


def instance(name: str, value: Any, kind: type[Any], hint: str = "") -> None:
    """Refuse what is not of this kind; the hint says what to do instead.

    Raises:
        ValueError: The value is of another kind.
    """
    if not isinstance(value, kind):
        raise ValueError(f"{name} must be a {kind.__name__}, not {value!r}{hint and '; '}{hint}")


def warn_about_temperature(temperature: Any) -> None:
    """Say that an argument that the API once had does nothing."""
    if temperature is not NOT_GIVEN:
        warnings.warn(
            "temperature is ignored: the Realtime API no longer has it", DeprecationWarning, stacklevel=3
        )


def audio_format(name: str, value: Any) -> str:
    """ "pcm16", "g711_ulaw" or "g711_alaw".

    Raises:
        ValueError: Anything else.
    """
    if not isinstance(value, str):
        raise ValueError(f"{name} must be one of {', '.join(AUDIO_FORMATS)}, not {value!r}")
    _one_of(name, value, AUDIO_FORMATS)
    return value


# What `update_options` may change, and how each is read.
UPDATABLE = {
    "voice": voice,
    "turn_detection": turn_detection,
    "tool_choice": tool_choice,
    "input_audio_transcription": transcription,
    "input_audio_noise_reduction": noise_reduction,
    "max_response_output_tokens": max_output_tokens,
    "speed": speed,
    "tracing": tracing,
    "truncation": truncation,
    "reasoning": reasoning,
}


def changes(given: Mapping[str, Any]) -> dict[str, Any]:
    """Read the arguments of `update_options`; those not given are left out."""
    return {name: UPDATABLE[name](value) for name, value in given.items() if value is not NOT_GIVEN}


def apply(options: SessionOptions, given: Mapping[str, Any]) -> SessionOptions:
    """Options with these changes made."""
    return msgspec.structs.replace(options, **given)


def _struct(name: str, value: Any, kind: type[T]) -> T | None:
    if value is None or isinstance(value, kind):
        return value
    if isinstance(value, Mapping):
        return _from_mapping(name, value, kind)
    raise ValueError(f"{name} must be a {kind.__name__}, a dict of the same shape or None, not {value!r}")


def _from_mapping(name: str, value: Mapping[str, Any], kind: type[T]) -> T:
    known = {field.name for field in msgspec.structs.fields(kind)}
    unknown = set(value) - known
    if unknown:
        raise ValueError(_unknown(name, unknown, known))
    return _convert(name, value, kind)


def _convert(name: str, value: Mapping[str, Any], kind: type[T]) -> T:
    try:
        return msgspec.convert(dict(value), kind)
    except msgspec.ValidationError as error:
        raise ValueError(f"{name}: {error}") from None


def _unknown(name: str, unknown: set[Any], known: set[str]) -> str:
    return f"{name} has no field {', '.join(sorted(map(str, unknown)))}; its fields are {', '.join(sorted(known))}"


def in_range(name: str, value: Any, low: float, high: float) -> None:
    """Refuse a number out of range; not given and None pass.

    Raises:
        ValueError: It is no number, or out of range.
    """
    if value is NOT_GIVEN or value is None:
        return
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{name} must be from {low:g} to {high:g}, not {value!r}")


def _one_of(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value is not NOT_GIVEN and value is not None and value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
