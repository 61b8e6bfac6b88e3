"""`antiphon replay`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from antiphon.cli.endings import end_listening
from antiphon.cli.signals import stop_signal
from antiphon.testing import replay as serve_recording
from antiphon.testing.extras import MissingExtraError


def replay(
    file: Annotated[Path, typer.Argument(help="The recording's lines, such as call.jsonl.")],
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen at; 0 takes any that is free.")
    ] = 8765,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    pace: Annotated[float, typer.Option(min=0.01, help="How many times faster than it was recorded.")] = 1.0,
    at_once: Annotated[bool, typer.Option("--at-once", help="As fast as the client goes.")] = False,
) -> None:
    """Serve a recorded call again, until Ctrl-C: what its server said, when the client has asked for it.

    The recording's first connection is for the first client, and so on; after the last it begins again.

    Exits with 1 when the file is no recording or the port can't be had.
    """
    try:
        server = serve_recording(file, host=host, port=port, pace=math.inf if at_once else pace)
        stopped = stop_signal()
        with server:
            typer.echo(f"antiphon: {file} is served at {server.url} (Ctrl-C stops it)")
            stopped.wait()
    except (MissingExtraError, ValueError, OSError) as error:
        end_listening(error, host, port)
    for line in server.missed:
        typer.echo(f"antiphon: no client sent the {line.type} of {line.t:.3f} s", err=True)
    typer.echo("antiphon: stopped")
