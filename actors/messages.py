"""What the actors of a session say to each other, and what the world says to them.

Server events (`antiphon.protocol`) are messages as they are; these are the others.
"""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import msgspec
from antiphon.protocol import ClientEvent, Item, ResponseCreateParams

from antiphon.actors.audio import AudioFrame
from antiphon.actors.chat import ChatContext
from antiphon.actors.config import SessionOptions, ToolDef

if TYPE_CHECKING:
    from antiphon.actors.events import GenerationCreatedEvent
    from antiphon.actors.transport import HandshakeError, Transport

# The actors' addresses, in the order in which they start.
CHAT_CTX = "chat_ctx"
GENERATION = "generation"
AUDIO_IN = "audio_in"
CONNECTION = "connection"
SUPERVISOR = "supervisor"


class Message(msgspec.Struct, frozen=True):
    """Base of the messages."""


# -- from the socket to the connection; `attempt` tells an old socket's last words from the new one's --


class SocketConnected(Message):
    """The handshake is done."""

    attempt: int
    transport: Transport
    seconds: float


class SocketRefused(Message):
    """The handshake failed."""

    attempt: int
    error: HandshakeError


class FrameReceived(msgspec.Struct, frozen=True, gc=False):
    """A text message arrived."""

    attempt: int
    payload: bytes


class FrameSkipped(Message):
    """A binary or oversized message was left out."""

    attempt: int
    kind: str


class PeerHeard(Message):
    """A ping or pong arrived."""

    attempt: int


class SocketDrained(Message):
    """What could not be written at once has been written."""

    attempt: int


class CloseReceived(Message):
    """The server's close frame arrived."""

    attempt: int
    code: int
    reason: str


class SocketLost(Message):
    """The socket ended."""

    attempt: int
    reason: str


class FramesWritten(Message):
    """The connection's shell has handed these frames to the socket."""

    entries: list[Any]


# -- from the application ---------------------------------------------------------------------------


class Start(Message):
    """Begin to connect."""


class Close(Message):
    """End the session, politely if that takes no more than `timeout` seconds."""

    timeout: float


class Restart(Message):
    """Get a new connection when the active generation is done."""

    reason: str


class SendEvent(Message):
    """Send an event as it is."""

    event: ClientEvent | dict[str, Any]


class UpdateOptions(Message):
    """Change these options."""

    changes: dict[str, Any]


class UpdateInstructions(Message):
    """Change the instructions."""

    instructions: str


class UpdateTools(Message):
    """Change the tools."""

    tools: list[ToolDef]


class PushAudio(Message):
    """Input audio, gathered by the caller, in order."""

    frames: list[AudioFrame]


class CommitAudio(Message):
    """Commit the input audio."""


class ClearAudio(Message):
    """Throw the input audio away."""


class GenerateReply(Message):
    """Ask for a response."""

    params: ResponseCreateParams
    future: Future[GenerationCreatedEvent]


class ReplyCancelled(Message):
    """The future of a requested response was cancelled."""

    future: Future[GenerationCreatedEvent]


class CancelResponse(Message):
    """Cancel one response."""

    response_id: str


class Interrupt(Message):
    """Cancel what is active."""


class UpdateChatCtx(Message):
    """Make the server's conversation equal to this one."""

    context: ChatContext
    timeout: float
    future: Future[Any]


class ReadChatCtx(Message):
    """Settle the future with a copy of the conversation."""

    future: Future[ChatContext]


class Truncate(Message):
    """Cut a message to what was heard or shown."""

    message_id: str
    audio: bool
    audio_end_ms: int
    transcript: str | None


# -- among the actors -------------------------------------------------------------------------------


class Transmit(Message):
    """Send a client event, in its turn."""

    event: ClientEvent


class AudioChunk(msgspec.Struct, frozen=True, gc=False):
    """Input audio in the wire's encoding.

    Attributes:
        data: Encoded samples.
        ms: Its duration in milliseconds.
    """

    data: bytes
    ms: float


class AudioWritten(Message):
    """A chunk has been handed to the socket."""

    chunk: AudioChunk


class CommitWritten(Message):
    """A commit has been handed to the socket."""


class ClearWritten(Message):
    """A clear has been handed to the socket."""


class ItemEventWritten(Message):
    """A conversation.item event has been handed to the socket."""

    event: ClientEvent


class ReplyWritten(Message):
    """A response.create has been handed to the socket."""

    event_id: str


class OptionsChanged(Message):
    """The session's options are now these."""

    options: SessionOptions


class ConnectionOpened(Message):
    """The connection is open and its replay is in front of the queue."""

    first: bool


class ConnectionLost(Message):
    """The connection is gone; another one will be tried."""

    reason: str


class SessionClosing(Message):
    """The session ends: settle everything."""

    reason: str


class SessionEnded(Message):
    """The connection is gone for good: the actors may be stopped."""


class ReplayWanted(Message):
    """A new connection is there: what has to be said again?"""


class ReplayItems(Message):
    """The conversation, as events in the order in which to send them."""

    events: list[ClientEvent]


class ReplayAudio(Message):
    """Input audio that the server had not committed; commits stand between the chunks."""

    entries: list[Any]


class ReplaySettled(Message):
    """The server has, or won't have, what was replayed."""

    restored: int
    degraded: int


class RecycleWanted(Message):
    """Say `RecycleReady` as soon as no response is under way."""


class RecycleReady(Message):
    """Nothing is under way: the connection may be replaced."""


class ItemGenerating(Message):
    """An item of a response is being made, or is done with; until then it is protected from edits."""

    item_id: str
    active: bool


class ItemAudioReceived(Message):
    """How much audio of an item has arrived, in milliseconds, and in which content part."""

    item_id: str
    content_index: int
    ms: float


class MessageFinished(Message):
    """A response is done: this is its message's text."""

    item_id: str
    text: str
    item: Item | None = None


