"""The reference and the package name the same things. The site's build checks it too; this needs no Sphinx."""

from __future__ import annotations

import importlib
import re
from collections import Counter

import pytest
from docs_snippets import ROOT

REFERENCE = ROOT / "docs" / "reference"
MODULES = (
    "antiphon",
    "antiphon.protocol",
    "antiphon.testing",
    "antiphon.recording",
    "antiphon.devices",
    "antiphon.report",
    "antiphon.telemetry",
)
_PUBLIC = re.compile(r"^```\{public\} (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def documented(module: str) -> list[str]:
    """The names of a module that the reference has, in the order of its pages."""
    return [
        name
        for page in sorted(REFERENCE.glob("*.md"))
        for found in _PUBLIC.finditer(page.read_text("utf-8"))
        if found[1] == module
        for name in found[2].split()
    ]


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_documented_once(module: str) -> None:
    assert Counter(documented(module)) == Counter(importlib.import_module(module).__all__)


def test_every_event_has_a_row() -> None:
    from antiphon.actors.events import EVENT_NAMES

    page = (REFERENCE / "events.md").read_text("utf-8")
    rows = {
        name
        for row in re.findall(r"^\| (`[^|]*) \|", page, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    }
    assert rows == EVENT_NAMES


def test_the_lazy_names_are_the_public_ones() -> None:
    import antiphon

    assert {*antiphon._HOME, "__version__"} == set(antiphon.__all__)


def test_every_how_to_is_listed() -> None:
    listed = set((ROOT / "docs" / "howto" / "index.md").read_text("utf-8").split())
    assert {path.stem for path in (ROOT / "docs" / "howto").glob("*.md")} - {"index"} <= listed
