"""A turn: what the user says, or the application in his place, and all that comes of it."""

from __future__ import annotations

from opentelemetry.trace import Span


class Turn:
    """The span of a turn, which ends with the last span in it once another turn has begun.

    A response after a tool continues the turn; one after a response that ended without a call begins another.

    Args:
        span: Of the turn.
        at: When it began, in Unix nanoseconds.

    Attributes:
        span: Of the turn.
        answered: Whether a response has ended and no tool was called in it.
    """

    def __init__(self, span: Span, at: int) -> None:
        self.span = span
        self.answered = False
        self._open = 0
        self._calls = 0
        self._over = False
        self._last = at

    def response_began(self) -> None:
        """A response begins in it."""
        self._open += 1
        self._calls = 0
        self.answered = False

    def response_ended(self, at: int) -> None:
        """A response of it has ended."""
        self.answered = self._calls == 0
        self._child_ended(at)

    def tool_began(self) -> None:
        """A tool begins in it."""
        self._open += 1
        self._calls += 1
        self.answered = False

    def tool_ended(self, at: int) -> None:
        """A tool of it has ended."""
        self._child_ended(at)

    def lasts_until(self, at: int) -> None:
        """Something of the turn happened then."""
        self._last = max(self._last, at)

    def over(self) -> None:
        """Another turn has begun: end with what is still open."""
        self._over = True
        self._end_if_over()

    def _child_ended(self, at: int) -> None:
        self._open -= 1
        self.lasts_until(at)
        self._end_if_over()

    def _end_if_over(self) -> None:
        if self._over and self._open <= 0:
            self.span.end(self._last)
