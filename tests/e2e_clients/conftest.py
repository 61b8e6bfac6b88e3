"""The SDK oracle of the server's own tests judges these conversations too."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "antiphon" / "testing"))
