"""A program that ends with a live session ends at once, and says nothing about it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from antiphon.testing import LocalServer

PROGRAM = Path(__file__).with_name("exit_program.py")
# One is promised; the rest is for a busy machine.
SECONDS = 1.0 + 2.0
# For the test, not for the program.
DEADLINE = 40.0
# What the programs themselves do and say.
STATUS = {"with_sys_exit": 3, "unhandled": 1}
SAYS = {"unhandled": "RuntimeError: the program's own, while open\n", "in_a_look_up": "unencrypted"}


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with LocalServer("parrot", pace=1.0) as made:
        yield made


@pytest.mark.parametrize(
    "program",
    [
        "end_of_main",
        "with_sys_exit",
        "unhandled",
        "in_a_callback",
        "in_a_tool",
        "in_a_handshake",
        "in_a_look_up",
        pytest.param("without_reference", marks=pytest.mark.full),
        pytest.param("with_many_sessions", marks=pytest.mark.full),
        pytest.param("with_a_thread_per_session", marks=pytest.mark.full),
        pytest.param("while_threads_talk", marks=pytest.mark.full),
    ],
)
def test_the_end_of_a_program(server: LocalServer, program: str) -> None:
    with subprocess.Popen(
        [sys.executable, PROGRAM, program, server.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ending\n"
            began = time.monotonic()
            said, complained = process.communicate(timeout=DEADLINE)
        finally:
            process.kill()
    seconds = time.monotonic() - began
    assert (process.returncode, said) == (STATUS.get(program, 0), ""), complained
    if program in SAYS:
        assert SAYS[program] in complained
        # One traceback at most: its own.
        assert complained.count("Traceback") == (program == "unhandled"), complained
    else:
        assert complained == ""
    assert seconds < SECONDS
