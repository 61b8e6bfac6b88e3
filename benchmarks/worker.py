"""Runs one case for one contestant, in this process, and prints the figures as one line of JSON.

python -m benchmarks.worker MODULE[,MODULE…] FUNCTION '{"port": …, "control": …, "tls": …}' '{"parameter": …}'

The function is that of the first module that has it.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
from typing import Any

from benchmarks.measure import Server, WrongWork


def main() -> None:
    """Run it."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    modules, name, address, parameters = sys.argv[1:]
    for module in modules.split(","):
        function = getattr(importlib.import_module(f"benchmarks.contestants.{module}"), name, None)
        if function is not None:
            break
    result: dict[str, Any]
    try:
        result = {"figures": function(Server(**json.loads(address)), **json.loads(parameters))}
    except WrongWork as error:
        result = {"wrong": str(error)}
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
