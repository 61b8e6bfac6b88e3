"""The page about faults says what the tests show."""

from __future__ import annotations

import importlib
from pathlib import Path

from reliability import HEAD, ROWS, read_section


def test_the_page_has_an_account() -> None:
    assert "| neither delivered once nor reported |" in read_section("account"), "run `make account`"


def test_the_page_has_every_fault_as_the_tests_know_it_with_a_measurement() -> None:
    for path in sorted(Path(__file__).parent.glob("test_faults*.py")):
        # Its rows are made when it is imported.
        importlib.import_module(path.stem)
    table = read_section("faults")
    assert table.startswith(HEAD)
    lines = table.removeprefix(HEAD).splitlines()
    promises = [line.rsplit("|", 2)[0].rstrip() + " |" for line in lines]
    assert sorted(promises) == sorted(known.promise for known in ROWS), "it is stale: run `make reliability`"
    for line in lines:
        assert float(line.rsplit("|", 2)[1].strip().removesuffix(" s")) >= 0.0, line
