"""`antiphon check-config`."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from antiphon.actors.supervision import ConfigFile
from antiphon.cli.endings import end


def check_config(
    file: Annotated[Path, typer.Argument(help="A TOML, JSON or YAML file.")],
) -> None:
    """Check a configuration file of the supervisor and the engine, and show what it comes to.

    Exits with 1 when the file is wrong; the message names the key and what is allowed.
    """
    try:
        config = ConfigFile.load(file)
    except (ValueError, ImportError) as error:
        end(error)
    typer.echo(msgspec.json.format(msgspec.json.encode(config), indent=2).decode())
