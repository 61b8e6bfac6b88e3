"""The commands, put together. Each command is a module of its own with a function that typer reads."""

from typing import Annotated

import typer

from antiphon.cli.check_config import check_config
from antiphon.cli.doctor import doctor
from antiphon.cli.record import record
from antiphon.cli.replay import replay
from antiphon.cli.report import report
from antiphon.cli.serve import serve
from antiphon.cli.talk import talk
from antiphon.cli.version import version, version_option

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Real-time voice for Python programs that use threads.",
)


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", callback=version_option, is_eager=True),
    ] = False,
) -> None:
    """Take the options that stand before a command."""


app.command()(talk)
app.command()(serve)
app.command()(record)
app.command()(replay)
app.command()(report)
app.command("check-config")(check_config)
app.command()(doctor)
app.command()(version)
