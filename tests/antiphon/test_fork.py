"""A process that forks: the child has none of the parent's calls, and the parent's calls don't notice."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from test_tls_proxy import tls_server

from antiphon.testing import LocalServer

PROGRAM = Path(__file__).with_name("forking_program.py")


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with LocalServer("parrot", pace=1.0) as made:
        yield made


@pytest.mark.parametrize(
    "program",
    [
        "old_session",
        "new_session",
        "pending",
        pytest.param("multiprocess", marks=pytest.mark.full),
        pytest.param("loading", marks=pytest.mark.full),
    ],
)
def test_a_fork_in_mid_call(server: LocalServer, program: str) -> None:
    run(program, server.url)


@pytest.mark.full
def test_forks_while_other_threads_hold_locks(server: LocalServer) -> None:
    run("busy", server.url)


@pytest.mark.full
def test_a_fork_in_mid_call_over_tls(server: LocalServer, tmp_path: Path) -> None:
    authority = trustme.CA()
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    with tls_server(server, authority, "localhost") as relay:
        run("old_session", f"https://localhost:{relay.port}/v1", str(file))


def run(program: str, *words: str) -> None:
    """Run one of the programs."""
    # From CPython 3.12 on, os.fork warns of what these tests are about.
    command = [sys.executable, "-W", "ignore:This process:DeprecationWarning", PROGRAM, program, *words]
    done = subprocess.run(command, timeout=50, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
