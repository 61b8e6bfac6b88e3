"""What comes out: a table for people, JSON for the rest."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.cases import Case
from benchmarks.runner import ROOT, Result

RESULTS = Path(__file__).parent / "results" / "latest.json"
OURS = ("antiphon", "pykka", "websocket-client", "msgspec", "numpy", "scipy", "pybase64")
PEERS = (
    "openai",
    "websockets",
    "pydantic",
    "livekit",
    "livekit-agents",
    "livekit-plugins-openai",
    "aiohttp",
    "numpy",
)


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    if name == "server_share":
        return f"{value:.0%}"
    if name == "threads":
        return f"{value:.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def show(case: Case, results: list[Result]) -> None:
    """Print a case's table and how far its goals are met."""
    rows = [[case.name, *case.figures.values()]]
    for result in results:
        cells = [_cell(name, result.figures.get(name)) for name in case.figures]
        rows.append([result.contestant.title, *cells])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    print(f"\n{case.name}: {case.title}")
    for row in rows:
        first, *others = row
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        print("  " + "  ".join([first.ljust(widths[0]), *cells]))
    for result in results:
        if result.problem:
            print(f"  ! {result.contestant.title}: {result.problem}")
    for line in _goals(case, results):
        print(f"  {line}")
    sys.stdout.flush()


def _goals(case: Case, results: list[Result]) -> list[str]:
    by_contestant = {result.contestant: result.figures for result in results}
    ours, lines = results[0].figures, []
    for goal in case.goals:
        theirs = by_contestant.get(goal.against, {})
        if goal.figure in ours and theirs.get(goal.figure):
            ratio = ours[goal.figure] / theirs[goal.figure]
            verdict = "met" if ratio <= goal.ratio else "MISSED"
            heading = case.figures[goal.figure]
            lines.append(f"{verdict}: {heading} {ratio:.2f} × {goal.against.title}, goal {goal.ratio:g}")
    return lines


def save(outcome: list[tuple[Case, dict[str, Any], list[Result]]], python: str | None, rounds: int) -> None:
    """Write all figures, with what they were measured on."""
    cases = [
        {
            "case": case.name,
            "title": case.title,
            "parameters": parameters,
            "goals": _goals(case, results),
            "results": {
                one.contestant.title: {"figures": one.figures, "problem": one.problem, "rounds": one.rounds}
                for one in results
            },
        }
        for case, parameters, results in outcome
    ]
    RESULTS.parent.mkdir(exist_ok=True)
    content = {"machine": machine(), "versions": versions(python), "rounds": rounds, "cases": cases}
    RESULTS.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    print(f"\nwritten to {RESULTS.relative_to(ROOT)}")


def machine() -> dict[str, Any]:
    """What it ran on, and how busy that was otherwise."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": sys.version,
        "load_average": os.getloadavg(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def versions(python: str | None) -> dict[str, dict[str, str]]:
    """Of the packages that take part, ours and the peers'."""
    ours = {name: metadata.version(name) for name in OURS}
    if python is None:
        return {"ours": ours, "peers": {}}
    code = (
        "import json, sys; from importlib import metadata as m\n"
        "installed = {d.name.lower(): d.version for d in m.distributions()}\n"
        "print(json.dumps({n: installed[n] for n in sys.argv[1:] if n in installed}))"
    )
    told = subprocess.run([python, "-c", code, *PEERS], capture_output=True, text=True, check=True).stdout
    return {"ours": ours, "peers": json.loads(told)}
