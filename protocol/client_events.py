"""Every event that a client sends. A struct's name is the CamelCase of its type."""

from typing import TypeAlias

from msgspec import UNSET

from antiphon.protocol.base import Maybe, UnknownEvent, Wire
from antiphon.protocol.items import Item
from antiphon.protocol.responses import ResponseCreateParams
from antiphon.protocol.session import SessionConfig


class ClientEventBase(Wire, tag_field="type", tag=False):
    """Base of client events.

    Attributes:
        event_id: Chosen by the client; a server's error names it.
    """

    event_id: Maybe[str] = UNSET


class SessionUpdate(ClientEventBase, tag="session.update"):
    """Change the session; only the fields that are given change."""

    session: SessionConfig


class InputAudioBufferAppend(ClientEventBase, tag="input_audio_buffer.append", gc=False):
    """More input audio: base64, in the session's input format, at most 15 MiB."""

    audio: str


class InputAudioBufferCommit(ClientEventBase, tag="input_audio_buffer.commit", gc=False):
    """Make a user message of the buffered audio."""


class InputAudioBufferClear(ClientEventBase, tag="input_audio_buffer.clear", gc=False):
    """Drop the buffered audio."""


class OutputAudioBufferClear(ClientEventBase, tag="output_audio_buffer.clear", gc=False):
    """WebRTC and SIP only: stop the output audio."""


class ConversationItemCreate(ClientEventBase, tag="conversation.item.create"):
    """Add an item.

    Attributes:
        item: The item.
        previous_item_id: The item to insert after; "root" for the head, absent or null for the tail.
    """

    previous_item_id: Maybe[str] = UNSET
    item: Item


class ConversationItemRetrieve(ClientEventBase, tag="conversation.item.retrieve", gc=False):
    """Ask for an item, as the server has it."""

    item_id: str


class ConversationItemTruncate(ClientEventBase, tag="conversation.item.truncate", gc=False):
    """Cut an assistant message's audio.

    Attributes:
        item_id: The message.
        content_index: Its audio part.
        audio_end_ms: How much stays, ms, not beyond the audio's length.
    """

    item_id: str
    content_index: int
    audio_end_ms: int


class ConversationItemDelete(ClientEventBase, tag="conversation.item.delete", gc=False):
    """Remove an item."""

    item_id: str


class ResponseCreate(ClientEventBase, tag="response.create"):
    """Start a response."""

    response: Maybe[ResponseCreateParams] = UNSET


class ResponseCancel(ClientEventBase, tag="response.cancel", gc=False):
    """Cancel a response; without an id, the running one of the default conversation."""

    response_id: Maybe[str] = UNSET


class SessionInputAudioBufferAppend(ClientEventBase, tag="session.input_audio_buffer.append", gc=False):
    """Translation sessions: more input audio, base64 of 24 kHz mono s16le."""

    audio: str


class SessionClose(ClientEventBase, tag="session.close", gc=False):
    """Translation sessions: finish what is pending, then close."""


KnownClientEvent: TypeAlias = (
    SessionUpdate
    | InputAudioBufferAppend
    | InputAudioBufferCommit
    | InputAudioBufferClear
    | OutputAudioBufferClear
    | ConversationItemCreate
    | ConversationItemRetrieve
    | ConversationItemTruncate
    | ConversationItemDelete
    | ResponseCreate
    | ResponseCancel
    | SessionInputAudioBufferAppend
    | SessionClose
)
"""The client events that have a struct."""

ClientEvent: TypeAlias = KnownClientEvent | UnknownEvent
"""What `decode_client_event` returns."""
