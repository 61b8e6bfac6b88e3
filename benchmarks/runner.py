"""Runs cases: each contestant in a fresh process against a fresh load server, interleaved, round after round."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.cases import Case, Contestant

ROOT = Path(__file__).parents[1]
# The worst of the server's share shows that it was no bottleneck; of a flood and of a spread, more is better.
LARGEST = {"server_share", "flood_per_s", "dialling_ms"}


def peers_python() -> str | None:
    """The interpreter that has the peers: BENCH_PYTHON, else that of `.venv-bench`, else none."""
    given = os.environ.get("BENCH_PYTHON")
    if given:
        return given
    made = ROOT / ".venv-bench" / "bin" / "python"
    return str(made) if made.exists() else None


def missing(contestant: Contestant, python: str | None) -> str | None:
    """Why a contestant can't take part; None if it can."""
    if contestant.peer is None:
        return None
    if python is None:
        return "no interpreter for the peers: set BENCH_PYTHON or make .venv-bench (`make bench` does)"
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({contestant.peer!r}) is None)"
    if subprocess.run([python, "-c", code], capture_output=True, cwd=ROOT).returncode:
        return f"{contestant.peer} is not installed in {python}"
    return None


@dataclass
class Result:
    """What one contestant did in one case.

    Attributes:
        contestant: Who.
        figures: The smallest of all rounds, each by itself; the largest of what is better when large, and of the
            server's CPU share.
        problem: Why there are no figures.
        rounds: All figures, round after round.
    """

    contestant: Contestant
    figures: dict[str, float] = field(default_factory=dict)
    problem: str | None = None
    rounds: list[dict[str, float]] = field(default_factory=list)

    def add(self, figures: dict[str, float]) -> None:
        """Take in a round."""
        self.rounds.append(figures)
        for name, value in figures.items():
            best = max if name in LARGEST else min
            self.figures[name] = best(value, self.figures.get(name, value))


def run_case(
    case: Case, parameters: dict[str, Any], rounds: int, absent: dict[Contestant, str]
) -> list[Result]:
    """Run a case; a contestant that fails is out after its first failure, of a crash after its second.

    Args:
        case: Which.
        parameters: Instead of the case's own.
        rounds: How many.
        absent: Who can't take part, and why.
    """
    results = [Result(one, problem=absent.get(one)) for one in case.contestants]
    for _ in range(rounds):
        for result in results:
            if result.problem is None:
                answer = _run_once(case, result.contestant, parameters)
                if answer.get("crashed"):
                    # openai-python's sync client loses its request once in some 300 connections over TLS: it waits
                    # for the answer while there is nothing for the server to read.
                    answer = _run_once(case, result.contestant, parameters)
                result.problem = answer.get("wrong")
                if result.problem is None:
                    result.add(answer["figures"])
                else:
                    result.figures = {}
    return results


def _run_once(case: Case, contestant: Contestant, parameters: dict[str, Any]) -> dict[str, Any]:
    python = sys.executable if contestant.peer is None else peers_python()
    assert python is not None
    with _load_server(case.tls) as (address, environment):
        command = [
            python,
            "-m",
            "benchmarks.worker",
            ",".join(contestant.modules),
            case.function or case.name.replace("-", "_"),
            json.dumps(address),
            json.dumps(parameters),
        ]
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=case.limit_s
            )
        except subprocess.TimeoutExpired:
            return {"wrong": f"not done within {case.limit_s:.0f} s"}
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        return {"wrong": last, "crashed": True}
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@contextmanager
def _load_server(tls: bool) -> Iterator[tuple[dict[str, Any], dict[str, str]]]:
    """A load server; its address, and the environment in which its certificate is trusted."""
    command, environment = [sys.executable, "-m", "benchmarks.load_server"], dict(os.environ)
    with ExitStack() as stack:
        if tls:
            folder = Path(stack.enter_context(TemporaryDirectory()))
            authority, chain = _certificates(folder)
            environment["SSL_CERT_FILE"] = str(authority)
            command.append(str(chain))
        server = stack.enter_context(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True))
        stack.callback(server.kill)
        assert server.stdout is not None
        port, control = map(int, server.stdout.readline().split())
        yield {"port": port, "control": control, "tls": tls}, environment


def _certificates(folder: Path) -> tuple[Path, Path]:
    """An authority, and the server's key and certificate in one file."""
    import trustme

    authority, chain = folder / "authority.pem", folder / "server.pem"
    made = trustme.CA()
    made.cert_pem.write_to_path(authority)
    made.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(chain)
    return authority, chain
