"""Which session a log record belongs to: two fields on every record of the loggers under `antiphon`.

`session_id` is the session's id, "-" for what belongs to no session; `connection_id` counts the session's
connections from 1, as its recording does, and is 0 before the first. A formatter takes them like any other field:

    handler = logging.StreamHandler()
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)s %(name)s %(session_id)s/%(connection_id)s %(message)s")
    )
    logging.getLogger("antiphon").addHandler(handler)

A handler that also takes other libraries' records, or the application's own, gets the fields for those with a
`SessionFields` filter; what callbacks and tools log then carries their session too:

    handler.addFilter(SessionFields())
    logging.getLogger().addHandler(handler)

The engine notes on each thread whose work it does, once for a batch of messages; the fields are only looked at when
something is logged.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Origin:
    """Where records come from. Written by the session's strand, read by whoever logs.

    Attributes:
        session_id: The session's id.
        connection_id: Counts the session's connections; 0 before the first.
    """

    __slots__ = ("connection_id", "session_id")

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self.connection_id = 0


class _Here(threading.local):
    """The origin of what the present thread logs."""

    origin = Origin("-")


_here = _Here()


def enter(origin: Origin) -> Origin:
    """Attribute to `origin` what this thread logs from now on; returns the one before, to be entered again."""
    before = _here.origin
    _here.origin = origin
    return before


@contextmanager
def about(origin: Origin) -> Iterator[None]:
    """Attribute to `origin` what this thread logs inside the `with` block."""
    before = enter(origin)
    try:
        yield
    finally:
        enter(before)


class SessionFields(logging.Filter):
    """Gives each record the fields `session_id` and `connection_id`, unless it has them; lets all pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields."""
        if "session_id" not in record.__dict__:
            origin = _here.origin
            record.session_id, record.connection_id = origin.session_id, origin.connection_id
        return True


_FIELDS = SessionFields()


def get_logger(name: str) -> logging.Logger:
    """The logger of this name, with the fields on its records."""
    logger = logging.getLogger(name)
    logger.addFilter(_FIELDS)
    return logger
