"""What `os.fork` leaves to the child: none of the parent's calls.

The threads that served them are not in the child, the sockets are, and locks that other threads held at that moment
stay locked for ever. So what owns any of these registers here, and lets go of it in the child before the fork returns.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol

LEFT_BEHIND = "session closed: it stayed with the process that forked this one; make a new one here"


class Forkable(Protocol):
    """Has locks, threads or sockets that a child can't use."""

    def abandon(self) -> None:
        """Let go of them, in a child that has just been forked, in which no other thread runs.

        Must take no lock that was made before the fork, say nothing on a socket, and not raise. May be called again.
        """


_owners: weakref.WeakSet[Forkable] = weakref.WeakSet()


def abandon_in_child(owner: Forkable) -> None:
    """Have `owner.abandon()` called in every child that is forked while the owner lives. Any thread."""
    _owners.add(owner)


def _abandon_all() -> None:
    for owner in list(_owners):
        owner.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)
