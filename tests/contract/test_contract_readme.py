"""The table in README.md can't go stale: what it points to exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
README = (HERE / "README.md").read_text("utf-8")
TESTS = {
    name for file in HERE.glob("test_*.py") for name in re.findall(r"def test_(\w+)", file.read_text("utf-8"))
}
ROWS = [
    (line, shown)
    for line, shown in re.findall(r"^\| (.+?) \| (.+) \|$", README, re.MULTILINE)
    if line not in ("line", "---")
]
# Where a pointer may say what it is about, or in which file a name stands.
PREFIX = re.compile(r"^(?:\d\d(?:_\w+)? |\w+: )")


def is_there(pointer: str) -> bool:
    """Whether a pointer leads to a file beside this folder, one of these files, or a test in them."""
    if "/" in pointer:
        path = HERE.parent / pointer.split()[0]
        return path.is_dir() or path.with_suffix(".py").is_file()
    while PREFIX.match(pointer):
        pointer = PREFIX.sub("", pointer)
    if re.fullmatch(r"\d\d(_\w+)?", pointer):
        return any(HERE.glob(f"test_contract_{pointer}*.py"))
    words = pointer.removesuffix("…").strip().replace(" ", "_").replace("-", "_")
    return any(words in name for name in TESTS)


@pytest.mark.parametrize(("line", "shown"), ROWS, ids=[line for line, _ in ROWS])
def test_what_a_row_points_to_exists(line: str, shown: str) -> None:
    pointers = re.split(r"[,;] ", re.sub(r"\([^)]*\)|pure: ", "", shown))
    missing = [pointer for pointer in map(str.strip, pointers) if pointer and not is_there(pointer)]
    assert not missing, f"{line}: {missing}"


def test_every_section_is_in_the_table() -> None:
    assert len(ROWS) > 80
    for section in (1, 2, 3, 4, 5, 6, 7, 10, 12):
        assert re.search(rf"^## {section}\b", README, re.MULTILINE)
