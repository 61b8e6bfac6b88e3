"""The plots, from a run's JSON. Needs matplotlib, which is in the peers' interpreter.

python -m benchmarks.plots RESULTS.json FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = {
    "antiphon": "#0b6e4f",
    "livekit-plugins-openai": "#c8553d",
    "openai-python sync": "#7a869a",
    "openai-python async": "#a9b2c1",
    "bare loop": "#d9c27e",
}
STYLE = {
    "figure.facecolor": "white",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "font.size": 9,
    "savefig.dpi": 110,
}


def _figure(record: dict[str, Any], contestant: str, name: str) -> float | None:
    value: float | None = record["results"].get(contestant, {}).get("figures", {}).get(name)
    return value


def inbound(cases: list[dict[str, Any]]) -> Any:
    """CPU time per event, over ws:// and wss://."""
    found = {one["case"]: one for one in cases if "deltas" in one["parameters"]}
    figure, axes = plt.subplots(1, len(found), figsize=(7, 2.4), sharex=True, sharey=True, squeeze=False)
    for axis, (name, record) in zip(axes[0], found.items(), strict=True):
        titles = [title for title in reversed(record["results"]) if _figure(record, title, "cpu_us")]
        values = [_figure(record, title, "cpu_us") for title in titles]
        bars = axis.barh(titles, values, color=[COLOURS[title] for title in titles])
        axis.bar_label(bars, fmt="%.0f", padding=3)
        axis.margins(x=0.15)
        axis.set_title("ws://" if name == "inbound" else "wss://")
        axis.set_xlabel("CPU µs per event")
        axis.grid(axis="y", visible=False)
    return figure


def density(cases: list[dict[str, Any]]) -> Any:
    """CPU time and latency over the number of sessions; of one alone, most is the cost of waking up."""
    found = [one for one in cases if one["case"] == "density" and one["parameters"]["sessions"] > 1]
    figure, axes = plt.subplots(1, 2, figsize=(7, 2.8))
    wanted = (("cpu_ms", "CPU ms per session and second"), ("p99_ms", "server to consumer, p99 ms"))
    for axis, (name, label) in zip(axes, wanted, strict=True):
        for title in ("antiphon", "livekit-plugins-openai"):
            points = [(one["parameters"]["sessions"], _figure(one, title, name)) for one in found]
            known = [(sessions, value) for sessions, value in points if value is not None]
            axis.plot(*zip(*known, strict=True), "o-", ms=4, color=COLOURS[title], label=title)
        axis.set_xscale("log")
        axis.set_xticks([one["parameters"]["sessions"] for one in found])
        axis.xaxis.set_major_formatter("{x:.0f}")
        axis.minorticks_off()
        axis.set_xlabel("sessions in one process")
        axis.set_ylabel(label)
    axes[0].set_ylim(bottom=0)
    axes[1].set_yscale("log")
    axes[0].legend(frameon=False)
    return figure


def turns(cases: list[dict[str, Any]]) -> Any:
    """The 99th percentiles of barge-in and replies."""
    wanted = {
        "barge-in": {"silent_p99_ms": "barge-in:\nsilent", "cut_p99_ms": "barge-in:\ntruncate sent"},
        "reply": {"ask_p99_ms": "reply:\ncall to wire", "answer_p99_ms": "reply:\nwire to caller"},
    }
    labels: list[str] = []
    by_title: dict[str, list[float]] = {"antiphon": [], "livekit-plugins-openai": []}
    for record in cases:
        for name, label in wanted.get(record["case"], {}).items():
            labels.append(label)
            for title, values in by_title.items():
                values.append(_figure(record, title, name) or 0)
    figure, axis = plt.subplots(figsize=(7, 2.6))
    for number, (title, values) in enumerate(by_title.items()):
        places = [at + 0.36 * number - 0.18 for at in range(len(labels))]
        bars = axis.bar(places, values, 0.34, color=COLOURS[title], label=title)
        axis.bar_label(bars, fmt="%.1f", padding=2)
    axis.set_xticks(range(len(labels)), labels)
    axis.set_yscale("log")
    axis.margins(y=0.2)
    axis.set_ylabel("p99 ms")
    axis.grid(axis="x", visible=False)
    axis.legend(frameon=False)
    return figure


def main() -> None:
    """Draw all."""
    results, folder = map(Path, sys.argv[1:])
    cases = json.loads(results.read_text())["cases"]
    with plt.rc_context(STYLE):
        for draw in (inbound, density, turns):
            figure = draw(cases)
            figure.tight_layout()
            figure.savefig(folder / f"bench-{draw.__name__}.png")
            plt.close(figure)


if __name__ == "__main__":
    main()
