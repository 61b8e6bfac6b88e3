"""`antiphon version`."""

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version

import typer


def version() -> None:
    """Print the version of antiphon and of Python."""
    try:
        own = installed_version("antiphon")
    except PackageNotFoundError:
        own = "(not installed)"
    typer.echo(f"antiphon {own}, Python {platform.python_version()} on {platform.system()}")


def version_option(given: bool) -> None:
    """What `--version` does: the same, and no command is needed."""
    if given:
        version()
        raise typer.Exit
