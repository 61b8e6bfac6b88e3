"""The benchmarks' command line.

    python -m benchmarks [NAME …] [--quick] [--rounds N]
    python -m benchmarks --write

Peers run with the interpreter BENCH_PYTHON, else `.venv-bench/bin/python` (requirements.txt); without one they are
left out. Each figure is the smallest of all rounds. A run of everything is kept, and `--write` makes docs/benchmarks.md
and its plots of the last such run.
"""

from __future__ import annotations

import argparse
import os

from benchmarks import document, report
from benchmarks.cases import CASES
from benchmarks.runner import missing, peers_python, run_case

ROUNDS = 3
# A load that makes the figures doubtful, in processes that want a core.
BUSY = 0.5


def main() -> None:
    """Run what was asked for."""
    names = list(dict.fromkeys(case.name for case in CASES))
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="antiphon side by side with peers"
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}; none means all")
    parser.add_argument(
        "--quick", action="store_true", help="one round of a part of the cases: under a minute"
    )
    parser.add_argument("--rounds", type=int, help=f"how often; {ROUNDS} unless told, 1 with --quick")
    parser.add_argument(
        "--write", action="store_true", help="measure nothing: write docs/benchmarks.md of the last full run"
    )
    chosen = parser.parse_args()
    if chosen.write:
        document.write(peers_python())
        return
    if unknown := set(chosen.names) - set(names):
        parser.error(f"there is no case {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    rounds = chosen.rounds or (1 if chosen.quick else ROUNDS)
    python = peers_python()
    load = os.getloadavg()[0]
    if load > BUSY:
        print(f"! load average {load:.1f}: the machine does other things, so the figures are only indicative")

    cases = [case for case in CASES if not chosen.names or case.name in chosen.names]
    taking_part = dict.fromkeys(one for case in cases for one in case.contestants)
    absent = {one: why for one in taking_part if (why := missing(one, python)) is not None}
    for one, why in absent.items():
        print(f"! {one.title} is missing: {why}")
    outcome = []
    for case in cases:
        parameters = case.quick if chosen.quick else case.parameters
        if parameters is not None:
            results = run_case(case, parameters, min(rounds, case.rounds), absent)
            outcome.append(report.record_of(case, parameters, results))
            report.show(outcome[-1])
    report.save(outcome, python, rounds, full=not chosen.names and not chosen.quick)


if __name__ == "__main__":
    main()
