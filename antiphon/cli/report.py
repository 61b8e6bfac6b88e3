"""`antiphon report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from antiphon.cli.endings import end
from antiphon.report import Prices, write_report


def report(
    file: Annotated[Path, typer.Argument(help="The recording's lines, such as call.jsonl.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Where to; call.html beside call.jsonl if not given.")
    ] = None,
    audio: Annotated[bool, typer.Option(help="Whether the page can play the call.")] = True,
    price: Annotated[
        str | None,
        typer.Option(
            help="Prices of a million tokens, such as input=4,cached=0.4,output=16; also audio_input, audio_cached and "
            "audio_output. The page shows what the call cost."
        ),
    ] = None,
) -> None:
    """Make one HTML page of a recorded call: both voices, what happened, and the transcript.

    It opens offline in any browser and asks nothing of anybody. It holds what was said. A page of this name is
    replaced.

    Exits with 1 when the file is no recording, a price is wrong or the page can't be written.
    """
    page = file.with_suffix(".html") if out is None else out
    try:
        prices = None if price is None else Prices.parse(price)
        picture = write_report(file, page, audio=audio, prices=prices)
    except (ValueError, OSError) as error:
        end(error)
    seconds = picture.ended - picture.began
    typer.echo(f"antiphon: {page} shows {seconds:.1f} s, responses: {len(picture.responses)}")
