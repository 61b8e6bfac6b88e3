"""What the actors of a session say to each other, and what the world says to them.

Server events (`antiphon.protocol`) are messages as they are; these are the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import msgspec

from antiphon.actors.audio import AudioFrame
from antiphon.actors.chat import ChatContext
from antiphon.actors.config import SessionOptions, ToolDef
from antiphon.protocol import (
    ClientEvent,
    ConversationItemCreate,
    ConversationItemDelete,
    Item,
    ResponseCreateParams,
)

if TYPE_CHECKING:
    from antiphon.actors.events import GenerationCreatedEvent
    from antiphon.actors.tool_calls import ToolExecutor, ToolResult
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


class SocketConnected(Message, frozen=True):
    """The handshake is done."""

    attempt: int
    transport: Transport
    seconds: float


class SocketRefused(Message, frozen=True):
    """The handshake failed."""

    attempt: int
    error: HandshakeError


class FrameReceived(msgspec.Struct, frozen=True, gc=False):
    """A text message arrived."""

    attempt: int
    payload: bytes


class FrameSkipped(Message, frozen=True):
    """A binary or oversized message was left out."""

    attempt: int
    kind: str


class PeerHeard(Message, frozen=True):
    """A ping or pong arrived."""

    attempt: int


class SocketDrained(Message, frozen=True):
    """What could not be written at once has been written."""

    attempt: int


class CloseReceived(Message, frozen=True):
    """The server's close frame arrived."""

    attempt: int
    code: int
    reason: str


class SocketLost(Message, frozen=True):
    """The socket ended."""

    attempt: int
    reason: str


class FramesWritten(Message, frozen=True):
    """The connection's shell has handed these frames to the socket, perhaps none; it may have no room for more."""

    entries: list[Any]


# -- from the application ---------------------------------------------------------------------------


class Start(Message, frozen=True):
    """Begin to connect."""


class Close(Message, frozen=True):
    """End the session, politely if that takes no more than `timeout` seconds."""

    timeout: float


class Restart(Message, frozen=True):
    """Get a new connection when the active generation is done."""

    reason: str


class SendEvent(Message, frozen=True):
    """Send an event as it is."""

    event: ClientEvent | dict[str, Any]


class UpdateOptions(Message, frozen=True):
    """Change these options."""

    changes: dict[str, Any]


class UpdateInstructions(Message, frozen=True):
    """Change the instructions."""

    instructions: str


class UpdateTools(Message, frozen=True):
    """Change the tools."""

    tools: list[ToolDef]


class PushAudio(Message, frozen=True):
    """Input audio, gathered by the caller, in order."""

    frames: list[AudioFrame]

    @staticmethod
    def joined(several: Sequence[PushAudio]) -> PushAudio:
        """One message in place of several: an actor that has fallen behind catches up with it."""
        return PushAudio([frame for one in several for frame in one.frames])


class CommitAudio(Message, frozen=True):
    """Commit the input audio."""


class ClearAudio(Message, frozen=True):
    """Throw the input audio away."""


class GenerateReply(Message, frozen=True):
    """Ask for a response."""

    params: ResponseCreateParams
    future: Future[GenerationCreatedEvent]


class ReplyCancelled(Message, frozen=True):
    """The future of a requested response was cancelled."""

    future: Future[GenerationCreatedEvent]


class CancelResponse(Message, frozen=True):
    """Cancel one response."""

    response_id: str


class Interrupt(Message, frozen=True):
    """Cancel what is active."""


class UpdateChatCtx(Message, frozen=True):
    """Make the server's conversation equal to this one."""

    context: ChatContext
    timeout: float
    future: Future[Any]


class ReadActivity(Message, frozen=True):
    """Settle the future with whether any response is asked for or under way."""

    future: Future[bool]


class ReadChatCtx(Message, frozen=True):
    """Settle the future with a copy of the conversation."""

    future: Future[ChatContext]


class Truncate(Message, frozen=True):
    """Cut a message to what was heard or shown; with `only_known`, not one that the server may not have."""

    message_id: str
    audio: bool
    audio_end_ms: int
    transcript: str | None
    only_known: bool = False


class SetToolExecutor(Message, frozen=True):
    """Run tools with this from now on; None leaves calls to the application."""

    executor: ToolExecutor | None


class ToolStarted(Message, frozen=True):
    """A tool's thread has begun a call."""

    call_id: str


class ToolFinished(Message, frozen=True):
    """A call has a result."""

    call_id: str
    result: ToolResult


class SilenceMcp(Message, frozen=True):
    """After calls of these MCP servers' tools, and only of these, the model is not asked to go on."""

    labels: frozenset[str]


class ApproveMcp(Message, frozen=True):
    """Answer the provider's request to call an MCP tool."""

    request_id: str
    approve: bool
    reason: str | None


# -- among the actors -------------------------------------------------------------------------------


class Transmit(Message, frozen=True):
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


class TransmitAudio(Message, frozen=True):
    """Send input audio, in its turn."""

    chunks: list[AudioChunk]


class AudioWritten(Message, frozen=True):
    """Chunks have been handed to the socket.

    Attributes:
        chunks: Which.
        heard: Whether the server has been heard since the chunk before them was written.
    """

    chunks: list[AudioChunk]
    heard: bool


class CommitWritten(Message, frozen=True):
    """A commit has been handed to the socket."""


class ClearWritten(Message, frozen=True):
    """A clear has been handed to the socket."""


class ItemEventWritten(Message, frozen=True):
    """A conversation.item event has been handed to the socket.

    Attributes:
        event: The event.
        entry: What was sent for it: the same, or the dict that the user gave.
    """

    event: ConversationItemCreate | ConversationItemDelete
    entry: Any


class ReplyWritten(Message, frozen=True):
    """A response.create has been handed to the socket."""

    event_id: str


class CreateItem(Message, frozen=True):
    """Add an item to the end of the conversation."""

    item: Item


class WithdrawReply(Message, frozen=True):
    """Don't send this response.create, if it has not been written yet."""

    event_id: str


class ReplyWithdrawn(Message, frozen=True):
    """The response.create has not been written, and won't be."""

    event_id: str


class OptionsChanged(Message, frozen=True):
    """The session's options are now these."""

    options: SessionOptions


class ConnectionOpened(Message, frozen=True):
    """The connection is open and its replay is in front of the queue."""

    first: bool


class ConnectionLost(Message, frozen=True):
    """The connection is gone; another one will be tried."""

    reason: str


class SessionClosing(Message, frozen=True):
    """The session ends: settle everything."""

    reason: str


class MessageLost(Message, frozen=True):
    """An actor failed at a message: what nothing else would bring about has to be done without it."""

    message: Any


class SessionEnded(Message, frozen=True):
    """The connection is gone for good: the actors may be stopped."""


class ReplayWanted(Message, frozen=True):
    """A new connection is there: what has to be said again?"""


class ReplayItems(Message, frozen=True):
    """The conversation, as events in the order in which to send them."""

    events: list[ClientEvent | dict[str, Any]]


class ReplayAudio(Message, frozen=True):
    """Input audio that the server had not committed; commits stand between the chunks.

    Attributes:
        lost_ms: Milliseconds of it that were too much to keep.
    """

    entries: list[Any]
    lost_ms: float = 0.0


class ReplaySettled(Message, frozen=True):
    """The server has, or won't have, what was replayed."""

    restored: int
    degraded: int
    lost: int


class RecycleWanted(Message, frozen=True):
    """Say `RecycleReady` as soon as no response is under way."""


class RecycleReady(Message, frozen=True):
    """Nothing is under way: the connection may be replaced."""


class ItemGenerating(Message, frozen=True):
    """An item of a response is being made, or is done with; until then it is protected from edits."""

    item_id: str
    active: bool


class ItemAudioReceived(Message, frozen=True):
    """How much audio of an item has arrived, in milliseconds, and in which content part."""

    item_id: str
    content_index: int
    ms: float


class MessageFinished(Message, frozen=True):
    """A response is done: this is its message's text."""

    item_id: str
    text: str
    item: Item | None = None
