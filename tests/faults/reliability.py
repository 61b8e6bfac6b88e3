"""docs/reliability.md: written by the runs of the fault tests and of the account, checked by a test."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
# Set in the environment, a run of the fault tests writes its table into the page.
WRITE = "ANTIPHON_WRITE_RELIABILITY"

HEAD = "| fault | what the user sees | bound | measured |\n| --- | --- | --- | --- |\n"


@dataclass(eq=False)
class Row:
    """A fault of the table.

    Attributes:
        fault: What goes wrong on the wire.
        sees: What the user sees of it.
        bound: Of which settings the bound is the sum.
        within: The bound in seconds, with the settings of the test, and some seconds for a busy machine.
        measured: Seconds that the last run took, the worst of its tests; None before it.
    """

    fault: str
    sees: str
    bound: str
    within: float
    measured: float | None = None

    @property
    def promise(self) -> str:
        """The row without its measurement."""
        return f"| {self.fault} | {self.sees} | {self.bound}; in the test {self.within:g} s |"

    def __str__(self) -> str:
        return f"{self.promise} {self.measured:.2f} s |"


# The fixture that times a fault, from where it strikes to its end.
Measure = Callable[[Row], AbstractContextManager[None]]

ROWS: list[Row] = []


def row(fault: str, *, sees: str, bound: str, within: float) -> Row:
    """Add a fault to the table."""
    assert fault not in (known.fault for known in ROWS), fault
    ROWS.append(Row(fault, sees, bound, within))
    return ROWS[-1]


def write_section(name: str, text: str) -> None:
    """Replace one generated section of the page."""
    page = PAGE.read_text("utf-8")
    begin, end = _marks(name)
    before, _, rest = page.partition(begin)
    _, found, after = rest.partition(end)
    assert found, f"{PAGE.name} has no section {name!r}"
    PAGE.write_text(f"{before}{begin}\n{text.strip()}\n{end}{after}", "utf-8")


def read_section(name: str) -> str:
    """A generated section of the page."""
    begin, end = map(re.escape, _marks(name))
    found = re.search(f"{begin}\n(.*?){end}", PAGE.read_text("utf-8"), re.DOTALL)
    assert found, f"{PAGE.name} has no section {name!r}"
    return found[1]


def write_faults() -> None:
    """Write the table of the faults that were measured in this run.

    Raises:
        AssertionError: Some were not: the run was not of all fault tests.
    """
    missing = [known.fault for known in ROWS if known.measured is None]
    assert not missing, f"not measured, so the page stays as it is: {missing}"
    write_section("faults", HEAD + "\n".join(map(str, ROWS)))


def _marks(name: str) -> tuple[str, str]:
    return f"<!-- {name}: written by a run, don't edit -->", f"<!-- end of {name} -->"
