"""What comes out of a run: a table for people, JSON for `document` and for the rest."""

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

RESULTS = Path(__file__).parent / "results"
FULL = RESULTS / "full.json"
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
# Counts, and what is as good as one.
WHOLE = {"threads", "turns", "crowd", "frames", "flood_per_s"}


def cell(name: str, value: float | None) -> str:
    """A figure as people read it."""
    if value is None:
        return "–"
    if name == "server_share":
        return f"{value:.0%}"
    if name in WHOLE or value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def rows(record: dict[str, Any]) -> list[list[str]]:
    """A case's table: a row of headings, then one for each contestant."""
    figures = record["figures"]
    table = [[record["case"], *figures.values()]]
    for title, result in record["results"].items():
        table.append([title, *(cell(name, result["figures"].get(name)) for name in figures)])
    return table


def record_of(case: Case, parameters: dict[str, Any], results: list[Result]) -> dict[str, Any]:
    """A case's outcome as JSON."""
    return {
        "case": case.name,
        "title": case.title,
        "parameters": parameters,
        "figures": case.figures,
        "goals": _goals(case, results),
        "results": {
            one.contestant.title: {"figures": one.figures, "problem": one.problem, "rounds": one.rounds}
            for one in results
        },
    }


def show(record: dict[str, Any]) -> None:
    """Print a case's table and how far its goals are met."""
    table = rows(record)
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    print(f"\n{record['case']}: {record['title']}")
    for first, *others in table:
        cells = [text.rjust(width) for text, width in zip(others, widths[1:], strict=True)]
        print("  " + "  ".join([first.ljust(widths[0]), *cells]))
    for title, result in record["results"].items():
        if result["problem"]:
            print(f"  ! {title}: {result['problem']}")
    for line in record["goals"]:
        print(f"  {line}")
    sys.stdout.flush()


def _goals(case: Case, results: list[Result]) -> list[str]:
    """Each goal whose figures exist, with the verdict first."""
    by_contestant = {result.contestant: result.figures for result in results}
    ours, lines = results[0].figures, []
    for goal in case.goals:
        if goal.figure not in ours:
            continue
        heading, value = case.figures[goal.figure], ours[goal.figure]
        if goal.against is None:
            told = f"{heading} {cell(goal.figure, value)}, goal {goal.limit:g}"
        elif theirs := by_contestant.get(goal.against, {}).get(goal.figure):
            value /= theirs
            told = f"{heading} {value:.2f} × {goal.against.title}, goal {goal.limit:g}"
        else:
            continue
        lines.append(f"{'met' if value <= goal.limit else 'MISSED'}: {told}")
    return lines


def save(cases: list[dict[str, Any]], python: str | None, rounds: int, full: bool) -> None:
    """Write all figures, with what they were measured on."""
    path = FULL if full else RESULTS / "latest.json"
    path.parent.mkdir(exist_ok=True)
    content = {"machine": machine(), "versions": versions(python), "rounds": rounds, "cases": cases}
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    print(f"\nwritten to {path.relative_to(ROOT)}")


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
