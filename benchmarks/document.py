"""docs/benchmarks.md and its plots, of the last full run."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from benchmarks.report import FULL, rows
from benchmarks.runner import ROOT

PAGE = ROOT / "docs" / "benchmarks.md"
IMAGES = ROOT / "docs" / "images"
PLOTS = {
    "inbound": "CPU time per event of a burst, by contestant",
    "density": "CPU time and latency over the number of sessions",
    "turns": "99th percentiles of barge-in and replies",
}

ABOUT = """\
# Benchmarks

antiphon side by side with what a user would pick instead. This page is written by `python -m benchmarks --write`
from the last run of `make bench`; nothing in it is edited by hand.

Each contestant runs in a process of its own, against a load server in a process of its own, over loopback. The
contestants take turns, round after round, and the smallest figure of all rounds is shown; of the load server's share
of a core ("server CPU") the largest, which shows that it was no bottleneck. A case counts bytes, samples and events
before it reports: where work is missing, there are no figures but the reason.

The latencies of `density` are from the server's write of a delta to the consumer's hands ("in"), and from the push of
10 ms of audio to the server's read of the chunk that it ends ("out"). "late" is how far the pushing thread or task has
fallen behind real time at the end. The sessions begin one after the other within a second, as callers do: where all
begin at the same instant, what they wait for is each other.
"""


def write(python: str | None) -> None:
    """Write the page and its plots.

    Args:
        python: An interpreter that has matplotlib; None for this one.
    """
    if not FULL.exists():
        sys.exit(f"there is no {FULL.relative_to(ROOT)}: run `make bench` first")
    content = json.loads(FULL.read_text())
    IMAGES.mkdir(parents=True, exist_ok=True)
    command = [python or sys.executable, "-m", "benchmarks.plots", str(FULL), str(IMAGES)]
    subprocess.run(command, cwd=ROOT, check=True)
    PAGE.write_text(_page(content))
    print(f"written to {PAGE.relative_to(ROOT)} and {IMAGES.relative_to(ROOT)}/bench-*.png")


def _page(content: dict[str, Any]) -> str:
    parts = [ABOUT, _machine(content), _verdicts(content["cases"])]
    parts += [f"![{what}](images/bench-{name}.png)\n" for name, what in PLOTS.items()]
    before = ""
    for record in content["cases"]:
        if record["case"] != before:
            parts.append(f"## {record['case']}\n")
        before = record["case"]
        parts.append(_case(record))
    return "\n".join(parts)


def _machine(content: dict[str, Any]) -> str:
    machine, versions = content["machine"], content["versions"]
    load = ", ".join(f"{one:.2f}" for one in machine["load_average"])
    lines = [
        f"- {machine['cores']} cores of {machine['cpu']}, {machine['system']}",
        f"- Python {machine['python']}",
        f"- {machine['date']}, {content['rounds']} rounds at most, load average after it {load}",
        *(
            f"- {who}: " + ", ".join(f"{name} {v}" for name, v in found.items())
            for who, found in versions.items()
        ),
    ]
    return "## Machine and versions\n\n" + "\n".join(lines) + "\n"


def _verdicts(cases: list[dict[str, Any]]) -> str:
    """How many goals are met, and those that are not."""
    goals = [(record, line) for record in cases for line in record["goals"]]
    missed = [(record, line) for record, line in goals if not line.startswith("met")]
    lines = [f"{len(goals) - len(missed)} of {len(goals)} goals are met."]
    if missed:
        lines += ["", "| case | missed |", "| --- | --- |"]
        lines += [
            f"| {record['case']}: {record['title']} | {line.partition(': ')[2]} |" for record, line in missed
        ]
    return "## Goals\n\n" + "\n".join(lines) + "\n"


def _case(record: dict[str, Any]) -> str:
    table = rows(record)
    lines = [record["title"][0].upper() + record["title"][1:] + ".", ""]
    lines += ["| " + " | ".join(table[0]) + " |", "| --- |" + " ---: |" * (len(table[0]) - 1)]
    lines += ["| " + " | ".join(row) + " |" for row in table[1:]]
    notes = [f"{title}: {one['problem']}" for title, one in record["results"].items() if one["problem"]]
    notes += record["goals"]
    if notes:
        lines += ["", *(f"- {note}" for note in notes)]
    return "\n".join(lines) + "\n"
