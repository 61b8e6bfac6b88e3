"""`antiphon serve`: the local Realtime server."""

import os
from typing import Annotated

import typer

from antiphon.cli.endings import end_listening
from antiphon.cli.signals import stop_signal
from antiphon.testing import LocalServer
from antiphon.testing.extras import MissingExtraError

_LOG_LIMIT = 10_000


def serve(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen at; 0 takes any that is free.")
    ] = 8765,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    brain: Annotated[
        str, typer.Option(help="Who answers: voice, parrot, or the path of a script (.toml).")
    ] = "voice",
    require_key: Annotated[
        bool, typer.Option(help="Take only clients that give the key in ANTIPHON_SERVER_KEY.")
    ] = False,
    max_connections: Annotated[int, typer.Option(min=1, help="How many clients at once.")] = 100,
    session_limit: Annotated[float, typer.Option(min=1, help="Seconds until a session expires.")] = 3600.0,
    allow_origin: Annotated[
        list[str] | None, typer.Option(help="Origin of web pages that may connect; may be repeated.")
    ] = None,
    pace: Annotated[
        float, typer.Option(min=0.1, help="How many times faster than real time to send audio.")
    ] = 4.0,
) -> None:
    """Run a Realtime server on this machine, offline, until Ctrl-C."""
    key = os.environ.get("ANTIPHON_SERVER_KEY") if require_key else None
    if require_key and not key:
        raise typer.BadParameter("set ANTIPHON_SERVER_KEY to the key that clients must give")
    try:
        server = LocalServer(
            brain,
            host=host,
            port=port,
            api_key=key,
            max_connections=max_connections,
            session_limit_s=session_limit,
            allow_origins=allow_origin or (),
            pace=pace,
            log_limit=_LOG_LIMIT,
        )
        stopped = stop_signal()
        with server:
            typer.echo(f"antiphon: the {brain} listens at {server.url} (Ctrl-C stops it)")
            stopped.wait()
    except (MissingExtraError, ValueError, OSError) as error:
        end_listening(error, host, port)
    typer.echo("antiphon: stopped")
