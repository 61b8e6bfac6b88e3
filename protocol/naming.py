"""Event names: the beta spelling, the GA spelling, and the name of an event struct."""

from typing import Final

import msgspec

from antiphon.protocol.base import UnknownEvent

GA_NAMES: Final[dict[str, str]] = {
    "conversation.item.created": "conversation.item.added",
    "response.text.delta": "response.output_text.delta",
    "response.text.done": "response.output_text.done",
    "response.audio.delta": "response.output_audio.delta",
    "response.audio.done": "response.output_audio.done",
    "response.audio_transcript.delta": "response.output_audio_transcript.delta",
    "response.audio_transcript.done": "response.output_audio_transcript.done",
}
"""Beta name to GA name, for the server events that were renamed."""

BETA_NAMES: Final[dict[str, str]] = {ga: beta for beta, ga in GA_NAMES.items()}
"""GA name to beta name."""


def ga_type(name: str) -> str:
    """Return the GA spelling of an event type; a name that was never changed comes back as it is.

    >>> ga_type("response.audio.delta")
    'response.output_audio.delta'
    """
    return GA_NAMES.get(name, name)


def event_type(event: msgspec.Struct) -> str:
    """Return the type string that an event struct has on the wire.

    Raises:
        TypeError: `event` is no event struct.
    """
    if isinstance(event, UnknownEvent):
        return event.type
    tag = event.__struct_config__.tag
    if not isinstance(tag, str):
        raise TypeError(f"{type(event).__name__} is not an event")
    return tag
