"""The picture of a call: a recording as one self-contained HTML page."""

from __future__ import annotations

import os
from pathlib import Path

from antiphon.recording import lay_out, read
from antiphon.report.drawing import draw
from antiphon.report.page import render
from antiphon.report.picture import Picture
from antiphon.report.prices import Prices
from antiphon.report.sound import encode

__all__ = ["write_report", "Prices", "Picture"]


def write_report(
    recording: str | os.PathLike[str],
    page: str | os.PathLike[str],
    *,
    audio: bool = True,
    prices: Prices | None = None,
) -> Picture:
    """Write the page of a recorded call; a page of this name is replaced.

    It needs nothing beside it: it opens offline, and lets no request out. It holds what was said, as text and (with
    `audio`) as sound: treat it as you treat the recording.

    Args:
        recording: The recording's lines, such as "call.jsonl".
        page: Where to, such as "call.html".
        audio: Whether the page can play the call. Compressed with the extra `record`, else 6 MB a minute.
        prices: What tokens cost; None: the page shows tokens only.

    Returns:
        What the page shows.

    Raises:
        ValueError: It is no recording, of a later format, or damaged.
        OSError: It can't be read, or the page can't be written.
    """
    call = read(recording)
    timeline = lay_out(call)
    mix = timeline.mix()
    picture = draw(call, timeline, mix, prices)
    text = render(picture, encode(mix, timeline.rate) if audio and len(mix) else None)
    Path(page).write_text(text, "utf-8")
    return picture
