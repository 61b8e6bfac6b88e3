"""Finds the Python in pages and runs it, page by page, as a reader would who types it in from top to bottom.

Said in comments of a page: `<!-- page: brain=voice full -->` (who answers in the local server; a page for
`make test-full`), and before a block `<!-- needs: PySide6 -->` (run where that is installed, else only compiled) or
`<!-- only compiled: why -->`. A block of `text` behind a block of Python is what that prints; `…` stands for anything.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from antiphon.actors.audio import Int16Array, Resampler
from antiphon.testing import synthesize

ROOT = Path(__file__).parents[2]
# Read in the repository as well, and written for that: their blocks are parts of programs.
PARTS = {"docs/recording.md"}

_FENCE = re.compile(
    r"(?:<!-- (?P<say>needs|only compiled): (?P<what>[^>]*) -->\n+)?"
    r"^(?P<indent> *)```(?P<language>\w+)[^\n]*\n(?P<code>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
_PAGE = re.compile(r"<!-- page: ([^>]*) -->")


@dataclass(frozen=True)
class Block:
    """A block of Python.

    Attributes:
        line: Where it begins in the page, from 1.
        code: The block.
        runs: False if it is only compiled.
        output: What it prints, None if the page doesn't say.
    """

    line: int
    code: str
    runs: bool
    output: str | None


@dataclass(frozen=True)
class Page:
    """A page with Python in it."""

    path: Path
    brain: str
    full: bool
    blocks: tuple[Block, ...]

    @property
    def name(self) -> str:
        """Its path in the repository."""
        return self.path.relative_to(ROOT).as_posix()


def pages() -> Iterator[Page]:
    """All pages with Python in them, the README first."""
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        text = path.read_text("utf-8")
        said = (_PAGE.search(text) or [None, ""])[1].split()
        brain = next((word[6:] for word in said if word.startswith("brain=")), "parrot")
        in_parts = path.relative_to(ROOT).as_posix() in PARTS
        if blocks := tuple(_blocks(text, in_parts)):
            yield Page(path, brain, "full" in said, blocks)


def _blocks(text: str, in_parts: bool) -> Iterator[Block]:
    found = list(_FENCE.finditer(text))
    for match, following in itertools.zip_longest(found, found[1:]):
        if match["language"] != "python":
            continue
        needed = match["what"] if match["say"] == "needs" else None
        runs = not in_parts and match["say"] != "only compiled"
        if needed and importlib.util.find_spec(needed) is None:
            runs = False
        output = following["code"] if following and following["language"] == "text" else None
        indent = match["indent"]
        code = re.sub(rf"^{indent}", "", match["code"], flags=re.MULTILINE) if indent else match["code"]
        yield Block(text.count("\n", 0, match.start("code")) + 1, code, runs, output)


def run(page: Page, url: str) -> None:
    """Run a page's blocks in one namespace.

    Args:
        page: The page.
        url: Of the server that is there instead of the one that the page starts.
    """
    namespace: dict[str, Any] = {
        "__name__": "page",
        "microphone": microphone,
        "loudspeaker": io.BytesIO(),
    }
    for block in page.blocks:
        # Empty lines in front, so that a traceback names the page's line.
        source = "\n" * (block.line - 1) + block.code.replace("http://127.0.0.1:8765/v1", url)
        code = compile(source, str(page.path), "exec")
        if not block.runs:
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, namespace)
        if block.output is not None:
            check_output(printed.getvalue(), block.output, f"{page.name}:{block.line}")


def check_output(printed: str, expected: str, where: str) -> None:
    """Compare what was printed with what the page says."""
    pattern = ".*".join(re.escape(part) for part in expected.strip().split("…"))
    assert re.fullmatch(pattern, printed.strip(), re.DOTALL), (
        f"{where} printed\n{printed}\nand the page says\n{expected}"
    )


def microphone() -> Iterator[Int16Array]:
    """A question and a second of silence, in blocks of 10 ms at 48 kHz, as fast as they are taken."""
    samples, rate = synthesize("hello can you hear me")
    resampler = Resampler(rate, 48_000)
    sound = np.concatenate([resampler.push(samples), resampler.flush(), np.zeros(48_000, np.int16)])
    for start in range(0, len(sound) - 480, 480):
        yield sound[start : start + 480]
