"""The site builds without a warning, and needs nothing from elsewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from docs_snippets import ROOT

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

# What a browser would fetch: not the links that a reader may follow.
_ASSET = re.compile(
    r"<(?:script|img|iframe|source|audio|video|embed)\b[^>]*?\bsrc=\"([^\"]*)\"", re.IGNORECASE
)
_LINK = re.compile(r"<link\b[^>]*?\bhref=\"([^\"]*)\"", re.IGNORECASE)
_STYLE = re.compile(r"(?:@import\s+|url\()[\"']?((?:https?:)?//[^\"')]*)", re.IGNORECASE)


def build(source: Path, to: Path) -> subprocess.CompletedProcess[str]:
    """`make docs`, elsewhere."""
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-q", "-W", "--keep-going", str(source), str(to)]
    return subprocess.run(command, capture_output=True, text=True, timeout=280)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    to = tmp_path_factory.mktemp("site")
    built = build(ROOT / "docs", to)
    assert built.returncode == 0, built.stderr
    return to


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    fetched = {
        (page.name, address)
        for page in pages
        for pattern in (_ASSET, _LINK)
        for address in pattern.findall(page.read_text("utf-8"))
    }
    assert any(".css" in address for _, address in fetched)
    assert {where for where in fetched if re.match(r"(?:\w+:)?//", where[1])} == set()
    styles = {address for css in site.rglob("*.css") for address in _STYLE.findall(css.read_text("utf-8"))}
    assert styles == set()


def test_the_drawings_have_what_the_tables_have(site: Path) -> None:
    from antiphon.actors.connection_core import TRANSITIONS

    page = (site / "explanation" / "drops.html").read_text("utf-8")
    start = page.index('<svg class="drawn"')
    drawing = page[start : page.index("</svg>", start)]
    for (old, event), new in TRANSITIONS.items():
        assert f"{old}, {event}: {new}" in drawing
        assert all(f">{word}</text>" in drawing for word in (old, event, new))


# What is appended to a page, and what the build says to that.
MISTAKES = [
    ("tutorial.md", "[gone](howto/gone.md)", "'howto/gone.md'"),
    ("tutorial.md", "[gone](howto/tools.md#gone)", "'gone'"),
    ("tutorial.md", "See `session.no_such_call()`.", "antiphon.RealtimeSession.no_such_call"),
    ("reference/tools.md", "```{public} antiphon\nPlayback\n```", "antiphon.Playback is documented twice"),
]


def test_each_mistake_fails_the_build(tmp_path: Path) -> None:
    source = tmp_path / "docs"
    shutil.copytree(ROOT / "docs", source)
    for beside in ("DESIGN.md", "examples"):
        (tmp_path / beside).symlink_to(ROOT / beside)
    for page, text, _ in MISTAKES:
        with (source / page).open("a", encoding="utf-8") as file:
            file.write(f"\n\n{text}\n")
    tools = source / "reference" / "tools.md"
    tools.write_text(tools.read_text("utf-8").replace("\ncurrent_call\n", "\n", 1), "utf-8")
    built = build(source, tmp_path / "site")
    assert built.returncode != 0
    for _, _, complaint in MISTAKES:
        assert complaint in built.stderr
    assert "public name antiphon.current_call is in no page" in built.stderr
