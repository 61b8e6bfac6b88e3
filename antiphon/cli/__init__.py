"""The command line, `antiphon`. Needs the extra `cli`; commands that need more say so."""

import sys

__all__ = ["main"]

# What shells report of a program that Ctrl-C ended.
_INTERRUPTED = 130


def main() -> None:
    """Run the command line and exit; with 130 at a Ctrl-C before a command has begun to listen to it."""
    try:
        # Imported here: this takes most of a second, in which somebody may think better of it.
        from antiphon.cli.app import app
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        sys.exit("antiphon: the command line needs typer and rich: pip install 'antiphon[cli]'")
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    app(prog_name="antiphon")
