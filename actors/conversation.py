"""What the parts of the ChatCtxActor share: the mirror, and how things stand with the server."""

from __future__ import annotations

import logging

from antiphon.actors.chat import Mirror
from antiphon.actors.config import SessionOptions, SessionSpec
from antiphon.actors.core import Core
from antiphon.actors.logs import get_logger
from antiphon.actors.replay import Replay
from antiphon.actors.undo import UndoDict

logger = get_logger("antiphon.chat_ctx")


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
        deleted: Items deleted on this connection: what is heard of them later doesn't bring them back.
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
        self.deleted: UndoDict[str, None] = UndoDict()
        self._warned: set[str] = set()

    def warn(self, message: str, *args: object) -> None:
        """Log a warning, the first of its kind: a server that errs once often errs a thousand times."""
        level = logging.DEBUG if message in self._warned else logging.WARNING
        self._warned.add(message)
        logger.log(level, message, *args)
