"""The tests of `lost_devices`, each in a process of its own.

Where a device goes while PortAudio starts it, PortAudio hangs there for good and can't look for devices any more.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).with_name("lost_devices.py")
PATIENCE = 120.0


@pytest.mark.full
@pytest.mark.parametrize("name", re.findall(r"^def (test_\w+)", TESTS.read_text(), re.MULTILINE))
def test_a_device_goes(name: str) -> None:
    """The call goes on, and the process ends as it should."""
    command = [sys.executable, "-m", "pytest", "-m", "full", "-p", "no:cacheprovider", f"{TESTS}::{name}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, cwd=TESTS.parents[2])
    assert done.returncode == 0, done.stdout + done.stderr
    if "1 skipped" in done.stdout:
        pytest.skip("it needs what this machine doesn't have")
    assert "1 passed" in done.stdout
