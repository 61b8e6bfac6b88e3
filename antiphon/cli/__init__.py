"""The command line, `antiphon`. Needs the extra `cli`; commands that need more say so."""

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line and exit."""
    try:
        from antiphon.cli.app import app
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        sys.exit("antiphon: the command line needs typer and rich: pip install 'antiphon[cli]'")
    app(prog_name="antiphon")
