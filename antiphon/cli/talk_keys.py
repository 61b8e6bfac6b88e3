"""Single keys from a terminal, while something else is shown there."""

from __future__ import annotations

import os
import select
import sys
from types import TracebackType
from typing import Self

if sys.platform != "win32":
    import termios
    import tty


class Keys:
    """Reads keys without Enter while the `with` block lasts; without a terminal there are none."""

    def __init__(self) -> None:
        self.available = sys.platform != "win32" and sys.stdin.isatty() and sys.stdout.isatty()

    def pressed(self) -> str:
        """The keys since the last call, "" for none. Doesn't wait."""
        if not self.available or not select.select([sys.stdin], [], [], 0)[0]:
            return ""
        return os.read(sys.stdin.fileno(), 64).decode(errors="replace")

    def __enter__(self) -> Self:
        if self.available:
            self._saved = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.available:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._saved)
