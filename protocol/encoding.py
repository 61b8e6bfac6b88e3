"""Event structs (or dicts of the same shape) to JSON frames, in the dialect that the other side speaks."""

from typing import Any, Final, Literal, TypeAlias

import msgspec

from antiphon.protocol.azure import LEGACY_CHANGES, to_legacy
from antiphon.protocol.base import UNKNOWN_TAG, UnknownEvent
from antiphon.protocol.client_events import ClientEvent, InputAudioBufferAppend, SessionUpdate
from antiphon.protocol.naming import BETA_NAMES, event_type
from antiphon.protocol.response_events import ResponseOutputAudioDelta
from antiphon.protocol.server_events import ServerEvent
from antiphon.protocol.session import RealtimeSessionConfig, SessionConfig, TranslationSessionConfig

Dialect: TypeAlias = Literal["ga", "azure-legacy"]
Names: TypeAlias = Literal["ga", "beta"]
Json = dict[str, Any]

_ENCODE: Final = msgspec.json.Encoder().encode
_UNKNOWN_TAG: Final = UNKNOWN_TAG.encode()


def encode_client_event(event: ClientEvent | Json, dialect: Dialect = "ga") -> bytes:
    """Encode one event for a server.

    Args:
        event: A struct, or a dict in GA spelling; an `UnknownEvent` goes out as its raw JSON. What only
            servers say of a session (id, object, expires_at) is left out of a struct, but sent from a dict.
        dialect: "ga", or "azure-legacy" for Azure's dated API versions.

    Returns:
        UTF-8 JSON.

    Raises:
        ValueError: The dialect is unknown.
        TypeError: The event holds something that JSON can't express.
    """
    if dialect not in ("ga", "azure-legacy"):
        raise ValueError(f"unknown dialect {dialect!r}: use 'ga' or 'azure-legacy'")
    if type(event) is InputAudioBufferAppend:
        return _ENCODE(event)
    if isinstance(event, UnknownEvent):
        return event.raw
    if isinstance(event, SessionUpdate):
        event = _session_update(event)
    name = event.get("type") if isinstance(event, dict) else event_type(event)
    if dialect == "azure-legacy" and name in LEGACY_CHANGES:
        return _ENCODE(to_legacy(_tree(event)))
    return _encode(event)


def encode_server_event(event: ServerEvent | Json, names: Names = "ga") -> bytes:
    """Encode one event for a client: what a server does.

    Args:
        event: A struct, or a dict in GA spelling; an `UnknownEvent` goes out as its raw JSON.
        names: "ga", or "beta" for the older event names. Only names change, not the shape of a session.

    Returns:
        UTF-8 JSON.

    Raises:
        ValueError: `names` is unknown.
        TypeError: The event holds something that JSON can't express.
    """
    if names not in ("ga", "beta"):
        raise ValueError(f"unknown names {names!r}: use 'ga' or 'beta'")
    if isinstance(event, UnknownEvent):
        return event.raw
    if isinstance(event, dict):
        name = event.get("type")
        return _encode({**event, "type": BETA_NAMES.get(name, name)} if names == "beta" and name else event)
    frame = _ENCODE(event) if type(event) is ResponseOutputAudioDelta else _encode(event)
    name = event_type(event)
    beta = BETA_NAMES.get(name) if names == "beta" else None
    if beta is None:
        return frame
    # a struct's tag always comes first
    return b'{"type":"' + beta.encode() + frame[len('{"type":"') + len(name) :]


def _encode(event: Any) -> bytes:
    frame = _ENCODE(event)
    return _ENCODE(_tree(event)) if _UNKNOWN_TAG in frame else frame


def _tree(event: Any) -> Any:
    return _unwrap(msgspec.to_builtins(event, builtin_types=(bytes,)))


def _unwrap(value: Any) -> Any:
    """Put the raw JSON of unknown parts back in place of their placeholders."""
    if isinstance(value, dict):
        if value.get("type") == UNKNOWN_TAG and isinstance(raw := value.get("raw"), bytes):
            return msgspec.json.decode(raw)
        return {key: _unwrap(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_unwrap(inner) for inner in value]
    return value


def _session_update(event: SessionUpdate) -> SessionUpdate | Json:
    """Leave out of a session what only servers say."""
    session: SessionConfig = event.session
    if isinstance(session, TranslationSessionConfig):
        tree: Json = _tree(event)
        tree["session"] = {key: value for key, value in tree["session"].items() if key == "audio"}
        return tree
    if not (session.id or session.object or session.expires_at is not msgspec.UNSET):
        return event
    bare: SessionConfig
    if isinstance(session, RealtimeSessionConfig):
        bare = msgspec.structs.replace(session, id="", object="", expires_at=msgspec.UNSET)
    else:
        bare = msgspec.structs.replace(session, id="", object="", expires_at=msgspec.UNSET)
    return msgspec.structs.replace(event, session=bare)
