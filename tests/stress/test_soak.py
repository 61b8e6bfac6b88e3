"""The short form of `make soak`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.full
@pytest.mark.timeout(300)
def test_nothing_is_left_of_calls_that_were_dropped_and_recycled() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.soak", "--short"],
        cwd=ROOT,
        timeout=280,
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
