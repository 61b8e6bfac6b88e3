"""The command line of the examples that listen: a port."""

from __future__ import annotations

import argparse


def port_argument(about: str, default: int) -> int:
    """The port that the command line names. With --help, or something else than a port, the program ends here.

    Args:
        about: What --help tells of the program.
        default: The port when none is given.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "port", nargs="?", type=_port, default=default, help=f"port to listen at (default: {default})"
    )
    port: int = parser.parse_args().port
    return port


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"a port is a number from 1 to 65535, not {text!r}")
    return int(text)
