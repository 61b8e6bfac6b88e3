"""JSON frames to event structs. One typed decode in the usual case; the repairs only when that fails."""

import functools
import operator
import typing
from collections.abc import Iterable
from typing import Any, Final, TypeAlias, cast

import msgspec

from antiphon.protocol import response_events as ev
from antiphon.protocol.base import ProtocolError, UnknownEvent, Wire
from antiphon.protocol.client_events import ClientEvent, KnownClientEvent
from antiphon.protocol.repair import error_path, loosen, repair
from antiphon.protocol.server_events import KnownServerEvent, ServerEvent

Frame: TypeAlias = bytes | str | memoryview | bytearray

# What msgspec raises for a bad frame; RecursionError for deep nesting, UnicodeError for what isn't UTF-8.
_FAILURES = (msgspec.MsgspecError, UnicodeError, RecursionError, OverflowError)
_MAX_FIXES = 64


class _BetaTextDelta(ev.ResponseOutputTextDelta, tag="response.text.delta", gc=False):
    pass


class _BetaTextDone(ev.ResponseOutputTextDone, tag="response.text.done", gc=False):
    pass


class _BetaAudioDelta(ev.ResponseOutputAudioDelta, tag="response.audio.delta", gc=False):
    pass


class _BetaAudioDone(ev.ResponseOutputAudioDone, tag="response.audio.done", gc=False):
    pass


class _BetaTranscriptDelta(
    ev.ResponseOutputAudioTranscriptDelta, tag="response.audio_transcript.delta", gc=False
):
    pass


class _BetaTranscriptDone(
    ev.ResponseOutputAudioTranscriptDone, tag="response.audio_transcript.done", gc=False
):
    pass


_BETA: Final[dict[type[Wire], type[Wire]]] = {
    _BetaTextDelta: ev.ResponseOutputTextDelta,
    _BetaTextDone: ev.ResponseOutputTextDone,
    _BetaAudioDelta: ev.ResponseOutputAudioDelta,
    _BetaAudioDone: ev.ResponseOutputAudioDone,
    _BetaTranscriptDelta: ev.ResponseOutputAudioTranscriptDelta,
    _BetaTranscriptDone: ev.ResponseOutputAudioTranscriptDone,
}


def _by_type(structs: Iterable[type[Wire]]) -> dict[str, type[Wire]]:
    return {cast(str, struct.__struct_config__.tag): struct for struct in structs}


SERVER_EVENTS: Final[dict[str, type[Wire]]] = _by_type(typing.get_args(KnownServerEvent))
"""The struct for each server event type, GA names."""

CLIENT_EVENTS: Final[dict[str, type[Wire]]] = _by_type(typing.get_args(KnownClientEvent))
"""The struct for each client event type."""

_SERVER_CLASSES: Final = SERVER_EVENTS | _by_type(_BETA)


def _decoder(structs: Iterable[type[Wire]]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(functools.reduce(operator.or_, structs))


_SERVER: Final = _decoder(_SERVER_CLASSES.values())
_CLIENT: Final = _decoder(CLIENT_EVENTS.values())


def decode_server_event(data: Frame) -> ServerEvent:
    """Decode one frame from a server.

    Beta names of the response's text, audio and transcript events give the GA structs.

    Args:
        data: One JSON text, UTF-8 if bytes.

    Returns:
        The event; `UnknownEvent` if its type has no struct here.

    Raises:
        ProtocolError: The frame can't be decoded, for whatever reason. No frame raises another exception.
    """
    try:
        event = _SERVER.decode(data)
    except _FAILURES:
        pass
    else:
        ga = _BETA.get(type(event))
        return cast(ServerEvent, event if ga is None else _as_ga(event, ga))
    return cast(ServerEvent, _decode_slowly(data, _SERVER_CLASSES))


def decode_client_event(data: Frame) -> ClientEvent:
    """Decode one frame from a client, GA dialect; the same rules as for `decode_server_event`."""
    try:
        return cast(ClientEvent, _CLIENT.decode(data))
    except _FAILURES:
        pass
    return cast(ClientEvent, _decode_slowly(data, CLIENT_EVENTS))


def _as_ga(event: Wire, ga: type[Wire]) -> Wire:
    return ga(**msgspec.structs.asdict(event))


def _decode_slowly(data: Frame, classes: dict[str, type[Wire]]) -> Wire | UnknownEvent:
    problem: ProtocolError
    try:
        return _decode_repaired(data, classes)
    except ProtocolError as error:
        problem = error
    except UnicodeError:
        problem = ProtocolError("not valid UTF-8", "utf8")
    except RecursionError:
        problem = ProtocolError("nested too deeply", "depth")
    except OverflowError:
        problem = ProtocolError("number out of range")
    except msgspec.MsgspecError:
        problem = ProtocolError("not valid JSON", "json")
    # raised out here, so that no exception in its context carries the frame's content
    try:
        raise problem
    finally:
        # it holds this frame by its traceback, and this frame it: a cycle for each bad frame of a flood
        del problem


def _decode_repaired(data: Frame, classes: dict[str, type[Wire]]) -> Wire | UnknownEvent:
    tree = msgspec.json.decode(data)
    if not isinstance(tree, dict):
        raise ProtocolError("not a JSON object")
    name = tree.get("type")
    if not isinstance(name, str):
        raise ProtocolError("no event type")
    struct = classes.get(name)
    if struct is None:
        return UnknownEvent(type=name, raw=data.encode() if isinstance(data, str) else bytes(data))
    repair(tree)
    where = "$"
    for _ in range(_MAX_FIXES):
        try:
            return _convert(tree, struct)
        except msgspec.ValidationError as error:
            where = error_path(error)
            if not loosen(tree, error):
                break
    raise ProtocolError(f"wrong shape of {name} at {where}")


def _convert(tree: dict[str, Any], struct: type[Wire]) -> Wire:
    event = msgspec.convert(tree, struct, builtin_types=(bytes,))
    ga = _BETA.get(struct)
    return event if ga is None else _as_ga(event, ga)
