"""`antiphon doctor`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
import typer
from rich.console import Console
from rich.text import Text

from antiphon import ConnectOptions, defaults
from antiphon.cli import connect, doctor_checks
from antiphon.cli.doctor_checks import Finding

_MARKS = {"ok": ("ok", "green"), "warning": ("!", "yellow"), "wrong": ("WRONG", "bold red")}


def doctor(
    base_url: connect.BaseUrl = None,
    model: connect.Model = defaults.MODEL,
    network: Annotated[bool, typer.Option(help="Look at the network and open a session.")] = True,
    audio: Annotated[bool, typer.Option(help="Look at microphone and loudspeaker.")] = True,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
    azure_deployment: connect.AzureDeployment = None,
    azure_endpoint: connect.AzureEndpoint = None,
    api_version: connect.ApiVersion = None,
) -> None:
    """Find out why a call doesn't work: key, address, network, clock and devices; what is wrong and what to do.

    A session is opened and closed again; it costs nothing, as nothing is said in it.

    Exit codes: 0 nothing is wrong, 1 something is, 2 wrong usage, 130 stopped by Ctrl-C.
    """
    options = connect.Options(base_url, model, azure_deployment, azure_endpoint, api_version)
    console = Console(highlight=False, soft_wrap=True)
    wrong = 0
    with _quiet_log():
        for finding in examine(options, network=network, audio=audio):
            wrong += finding.verdict == "wrong"
            if json:
                print(msgspec.json.encode(finding).decode(), flush=True)
            else:
                _show(console, finding)
    raise typer.Exit(1 if wrong else 0)


def examine(options: connect.Options, *, network: bool, audio: bool) -> Iterator[Finding]:
    """All checks, one after the other; each finding as soon as it is made."""
    yield from doctor_checks.examine_install()
    azure = options.azure_deployment is not None
    yield from doctor_checks.examine_key(
        "AZURE_OPENAI_API_KEY" if azure else "OPENAI_API_KEY",
        needed=azure or not connect.is_this_machine(connect.address_of(options)),
    )
    if network:
        yield from _examine_connection(options)
    if audio:
        yield from doctor_checks.examine_audio()


def _examine_connection(options: connect.Options) -> Iterator[Finding]:
    try:
        made = connect.make_model(options, conn_options=ConnectOptions(max_retry=0))
    except ValueError as error:
        # It says what to do.
        yield Finding("settings", "wrong", str(error))
        return
    with made:
        url = made._endpoint.url
        # Without a password or a key that may be in it.
        yield Finding("address", "ok", f"{made.model} at {made.provider}{urlsplit(url).path}")
        findings = doctor_checks.examine_network(url)
        yield from findings
        if all(finding.verdict != "wrong" for finding in findings):
            yield from doctor_checks.examine_handshake(made)


def _show(console: Console, finding: Finding) -> None:
    mark, style = _MARKS[finding.verdict]
    line = Text(f"{mark:<7}", style=style)
    line.append(f"{finding.check:<12} {finding.detail}", style="default")
    console.print(line)
    if finding.fix:
        console.print(Text(f"{'':<20}-> {finding.fix}", style="italic"))


@contextmanager
def _quiet_log() -> Iterator[None]:
    """The findings say it better."""
    logger, handler = logging.getLogger("antiphon"), logging.NullHandler()
    logger.addHandler(handler)
    propagated, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagated
