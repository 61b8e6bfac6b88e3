"""Ids that we make: a prefix that tells what it is for, and 16 random hex digits."""

from __future__ import annotations

import os

SESSION_UPDATE = "session_update_"
OPTIONS_UPDATE = "options_update_"
TOOLS_UPDATE = "tools_update_"
INSTRUCTIONS_UPDATE = "instructions_update_"
CHAT_CTX_CREATE = "chat_ctx_create_"
CHAT_CTX_DELETE = "chat_ctx_delete_"
VIDEO = "video_"
RESPONSE_CREATE = "response_create_"


def new_id(prefix: str) -> str:
    """A fresh id."""
    return prefix + os.urandom(8).hex()
