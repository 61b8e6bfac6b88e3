"""The command line of the examples that listen: a port."""

from __future__ import annotations

import argparse
import os
import sys

WHICH_MODEL = """\
OPENAI_API_KEY and OPENAI_BASE_URL say which model answers. To try it with one on this machine, offline:

    antiphon serve
    export OPENAI_API_KEY=local OPENAI_BASE_URL=http://127.0.0.1:8765/v1
"""


def port_argument(about: str, default: int, *, calls_model: bool = False) -> int:
    """The port that the command line names. With --help, or something else than a port, the program ends here.

    Args:
        about: What --help tells of the program.
        default: The port when none is given.
        calls_model: Whether the program talks with the model that the environment names; without a key it ends here.
    """
    parser = argparse.ArgumentParser(
        description=about,
        epilog=WHICH_MODEL if calls_model else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "port", nargs="?", type=_port, default=default, help=f"port to listen at (default: {default})"
    )
    port: int = parser.parse_args().port
    if calls_model and not os.environ.get("OPENAI_API_KEY"):
        sys.exit(
            f"{parser.prog}: OPENAI_API_KEY is not set; --help says how to try it without one of OpenAI's"
        )
    return port


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"a port is a number from 1 to 65535, not {text!r}")
    return int(text)
