"""The ChatCtxActor: the shell around the mirror's core."""

from __future__ import annotations

from antiphon.actors import messages as m
from antiphon.actors.chat_ctx_core import ChatCtxCore
from antiphon.actors.core import CoreActor
from antiphon.actors.emitter import Emitter
from antiphon.actors.strand import Strand


class ChatCtxActor(CoreActor):
    """Owns the mirror of the server's conversation.

    Args:
        strand: The session's strand.
        core: Decisions.
        emitter: Where events for the user go.
    """

    def __init__(self, strand: Strand, core: ChatCtxCore, emitter: Emitter) -> None:
        super().__init__(strand, m.CHAT_CTX, core, emitter)
