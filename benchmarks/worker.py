"""Runs one case for one contestant, in this process, and prints the figures as one line of JSON.

python -m benchmarks.worker CONTESTANT CASE PORT '{"parameter": …}'
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

from benchmarks.measure import Server, WrongWork


def main() -> None:
    """Run it."""
    contestant, case, port, parameters = sys.argv[1:]
    module = importlib.import_module(f"benchmarks.contestants.{contestant}")
    result: dict[str, Any]
    try:
        result = {"figures": getattr(module, case)(Server(int(port)), **json.loads(parameters))}
    except WrongWork as error:
        result = {"wrong": str(error)}
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
