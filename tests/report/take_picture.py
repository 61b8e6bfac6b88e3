"""Takes the picture of a page for the README: `python take_picture.py call.html call-report.png`."""

import sys
import tempfile
from pathlib import Path

from browser import chromium

SIZE = (1400, 860)

with tempfile.TemporaryDirectory() as profile, chromium(Path(profile)) as page:
    page.dark(False)
    page.size(*SIZE)
    page.open(Path(sys.argv[1]).resolve())
    # The answer that was cut is chosen, so that the details show something.
    page.get(
        "[...document.querySelectorAll('#log button')].find((row) => row.querySelector('.unheard')).click()"
    )
    page.frame()
    page.screenshot(Path(sys.argv[2]))
