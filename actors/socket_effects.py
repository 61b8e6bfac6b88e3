"""What the connection's core decides and only its shell can do: the effects on the socket."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

State = Literal["connecting", "open", "reconnecting", "closed"]


class OpenSocket(msgspec.Struct, frozen=True):
    """Begin attempt number `attempt` to connect."""

    attempt: int


class AdoptSocket(msgspec.Struct, frozen=True):
    """This transport is the connection from now on."""

    transport: Any


class RejectSocket(msgspec.Struct, frozen=True):
    """Close a connection that nobody waits for any more."""

    transport: Any


class ReleaseSocket(msgspec.Struct, frozen=True):
    """Let go of the transport, or of the attempt that is under way; say goodbye with `code` first, if any."""

    code: int | None = None


class SayGoodbye(msgspec.Struct, frozen=True):
    """Send a close frame and go on reading."""

    code: int


class SendPing(msgspec.Struct, frozen=True):
    """Send a ping."""


class ReportState(msgspec.Struct, frozen=True):
    """The connection's state is this now; `reason` says why a session ended."""

    state: State
    reason: str


class Announce(msgspec.Struct, frozen=True):
    """Show those who listen to the wire an entry of which the socket has just taken the rest."""

    entry: Any


class Flush(msgspec.Struct, frozen=True):
    """Write what the queue holds, as far as the socket takes it."""
