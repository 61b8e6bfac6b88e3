"""What the parts of the ChatCtxActor share: the mirror, and how things stand with the server."""

from __future__ import annotations

from antiphon.actors.chat import Mirror
from antiphon.actors.config import SessionOptions, SessionSpec
from antiphon.actors.core import Core
from antiphon.actors.replay import Replay


class Conversation(Core):
    """State that reading, editing and restoring the conversation have in common.

    Args:
        spec: What the session was made with.
        options: What the server is told.

    Attributes:
        mirror: The server's conversation.
        replay: The replay under way, if any.
        connected: Whether the server can be told anything.
        closed: Why the session ended, None while it lives.
        generating: Items of responses, announced before the server adds them to the conversation.
    """

    def __init__(self, spec: SessionSpec, options: SessionOptions) -> None:
        super().__init__()
        self.spec = spec
        self.options = options
        self.mirror = Mirror()
        self.replay: Replay | None = None
        self.connected = False
        self.closed: str | None = None
        self.generating: set[str] = set()
