"""How commands end when something went wrong: one line that says what, and an exit code."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Final, NoReturn

import typer

FAILED: Final = 1
LOST: Final = 3
NO_DEVICE: Final = 4


def end(reason: object, code: int = FAILED) -> NoReturn:
    """Say why, and end the command."""
    typer.echo(f"antiphon: {_describe(reason)}", err=True)
    raise typer.Exit(code) from None


def end_listening(error: Exception, host: str, port: int) -> NoReturn:
    """Say why a server didn't start, and end the command.

    Args:
        error: What was raised.
        host: Where it was to listen.
        port: At which port.
    """
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        end(f"port {port} of {host} is in use; give another with --port (0 takes any that is free)")
    if isinstance(error, OSError) and error.filename is None and error.strerror is not None:
        end(f"can't listen at {host}:{port}: {error.strerror}; choose others with --host and --port")
    end(error)


def _describe(reason: object) -> str:
    """The reason without the numbers and types that Python names a file's errors by."""
    if not isinstance(reason, OSError) or reason.filename is None:
        return str(reason)
    path = Path(reason.filename)
    if isinstance(reason, FileNotFoundError) and not path.parent.is_dir():
        return f"{path}: there is no folder {path.parent}; make it first"
    return f"{path}: {reason.strerror}"
