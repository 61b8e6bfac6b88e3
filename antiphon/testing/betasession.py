"""The beta API's flat session, as older clients and Azure's dated API versions send and expect it."""

from typing import Any, Final

from antiphon.protocol.azure import AUDIO_FORMATS, legacy_session
from antiphon.testing.sessionconfig import Json

_FORMATS: Final = {name: kind for kind, name in AUDIO_FORMATS.items()}
_INPUT: Final = {
    "input_audio_format": "format",
    "input_audio_noise_reduction": "noise_reduction",
    "input_audio_transcription": "transcription",
    "turn_detection": "turn_detection",
}
_OUTPUT: Final = {"output_audio_format": "format", "voice": "voice", "speed": "speed"}
_RENAMED: Final = {"max_response_output_tokens": "max_output_tokens", "modalities": "output_modalities"}
_IGNORED: Final = frozenset({"temperature", "type"})


def is_flat(config: Json) -> bool:
    """Whether a session or response is in the beta's spelling."""
    return any(key in config for key in (*_INPUT, *_OUTPUT, *_RENAMED))


def to_ga(flat: Json, *, session: bool) -> Json:
    """Translate a flat session (or, with `session=False`, a flat response) to GA spelling; what is unknown stays."""
    config: Json = {"type": "realtime"} if session else {}
    audio: Json = {}
    for key, value in flat.items():
        if key in _INPUT:
            audio.setdefault("input", {})[_INPUT[key]] = _value(key, value)
        elif key in _OUTPUT:
            audio.setdefault("output", {})[_OUTPUT[key]] = _value(key, value)
        elif key not in _IGNORED:
            config[_RENAMED.get(key, key)] = _value(key, value)
    if audio:
        config["audio"] = audio
    return config


def _value(key: str, value: Any) -> Any:
    if key.endswith("_format"):
        return {"type": _FORMATS.get(value, value)}
    if key == "modalities":
        return ["audio"] if "audio" in value else ["text"]
    if key == "tools":
        return [{name: field for name, field in tool.items() if name != "strict"} for tool in value]
    return value


def to_flat(session: Json) -> Json:
    """Translate a session in GA spelling to the flat one that `session.updated` shows a beta client."""
    kept = {key: session[key] for key in ("id", "object", "expires_at")}
    return {**kept, **legacy_session(session)}
