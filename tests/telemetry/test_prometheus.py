"""The Prometheus example, and that its dashboard asks for nothing that it doesn't have."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus import Metrics
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from telemetry_harness import PATIENCE, SECRET, Oracle, ask, drop, look_up, model_for

from antiphon import ActorRestarted, Engine

EXAMPLES = Path(__file__).parents[2] / "examples"
DASHBOARD = json.loads((EXAMPLES / "grafana-dashboard.json").read_text("utf-8"))
# Of the query language.
FUNCTIONS = {"sum", "max", "rate", "by", "histogram_quantile"}


def queries() -> Iterator[str]:
    """All that the dashboard asks for."""
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield target["expr"]


def asked_for(query: str) -> tuple[str, set[str]]:
    """The metric of a query, and the labels by which it groups."""
    (metric,) = re.findall(r"\bantiphon_\w+", query)
    grouped = re.search(r"by \(([\w, ]+)\)", query)
    return metric, set(grouped.group(1).split(", ")) if grouped else set()


def samples(text: str) -> dict[str, list[Any]]:
    """The samples of an exposition, by name."""
    found: dict[str, list[Any]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample)
    return found


def total(found: dict[str, list[Any]], name: str, **labels: str) -> float:
    """The sum of a metric's samples with these labels."""
    return sum(sample.value for sample in found[name] if labels.items() <= sample.labels.items())


@pytest.fixture
def scraped(serve) -> dict[str, list[Any]]:
    """What is exported after a conversation, while its session lives."""
    registry = CollectorRegistry()
    engine = Engine(preload=False)
    metrics = Metrics(engine, registry)
    server = serve(Oracle())
    with model_for(server, turn_detection=None, engine=engine) as model:
        session = model.session(start=False)
        metrics.watch(session)
        session.start()
        session.wait_open(PATIENCE)
        session.update_tools([look_up], auto_execute=True)
        ask(session, "look up tea")
        ask(session, "look up trouble")
        drop(session, server)
        # A counter with labels is there from its first count on.
        metrics._restarted(ActorRestarted(actor="chat_ctx", error=ValueError(), message_type="Truncate"))
        assert session._actors.emitter.flush(PATIENCE)
        found = samples(generate_latest(registry).decode())
    assert engine.close(PATIENCE)
    return found


def test_what_a_conversation_comes_to(scraped) -> None:
    assert total(scraped, "antiphon_sessions") == 1
    assert total(scraped, "antiphon_session_states", state="open") == 1
    assert total(scraped, "antiphon_threads", kind="worker") == 2
    assert total(scraped, "antiphon_responses_total", cancelled="false") == 4
    assert total(scraped, "antiphon_tools_total", tool="look_up", error="false") == 1
    assert total(scraped, "antiphon_tools_total", tool="look_up", error="true") == 1
    assert total(scraped, "antiphon_tokens_total", direction="input") > 0
    assert total(scraped, "antiphon_time_to_first_audio_seconds_count") == 2
    assert total(scraped, "antiphon_handshake_seconds_count") == 2
    assert total(scraped, "antiphon_reconnect_downtime_seconds_count") == 1
    assert total(scraped, "antiphon_errors_total", recoverable="true") == 1


def test_the_dashboard_asks_for_what_there_is(scraped) -> None:
    asked = [asked_for(query) for query in queries()]
    assert len(asked) > 20
    exposed = set(scraped)
    for metric, labels in asked:
        assert metric in exposed, metric
        assert labels <= set(scraped[metric][0].labels), metric
    shown = {re.sub(r"_(bucket|count|sum|total)$", "", metric) for metric, _ in asked}
    there = {re.sub(r"_(bucket|count|sum|total|created)$", "", metric) for metric in exposed}
    assert there <= shown, "something is exported that the dashboard does not show"


def test_the_dashboard_can_be_imported() -> None:
    assert DASHBOARD["title"]
    assert DASHBOARD["schemaVersion"] >= 36
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    (variable,) = DASHBOARD["templating"]["list"]
    assert (variable["name"], variable["type"]) == ("datasource", "datasource")
    for panel in DASHBOARD["panels"]:
        assert panel["datasource"]["uid"] == "${datasource}"
        area = panel["gridPos"]
        assert area["x"] + area["w"] <= 24
    for query in queries():
        words = set(re.findall(r"[a-z_]{2,}(?= *\()", query))
        assert words <= FUNCTIONS, query
        assert query.count("(") == query.count(")")


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.full
def test_the_program_serves_metrics_until_ctrl_c(serve) -> None:
    server, port = serve("parrot"), free_port()
    program = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "prometheus.py"), str(port)],
        env={**os.environ, "OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": SECRET},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        server.log.wait_received("session.update", PATIENCE)
        deadline = time.monotonic() + PATIENCE
        text = ""
        while "antiphon_handshake_seconds_count 1.0" not in text and time.monotonic() < deadline:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as answer:
                text = answer.read().decode()
        assert total(samples(text), "antiphon_sessions") == 1
        program.send_signal(signal.SIGINT)
        output, _ = program.communicate(timeout=PATIENCE)
    finally:
        program.kill()
    assert program.returncode == 0, output
    assert "/metrics" in output
