"""The robot: its loop alone owns the body, and the spoken orders reach it."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future
from pathlib import Path

import pytest
from corridor import CORRIDOR_M, MARGIN_M, SPEED, Robot
from robot import Order, as_tool

PROGRAM = Path(__file__).parents[2] / "examples" / "robot.py"


def test_it_stops_before_the_wall_and_says_so_once() -> None:
    robot = Robot()
    assert not robot.move(10.0)
    assert robot.at == 1.0
    assert robot.drive() == "I am on my way."
    stops = [robot.move(0.1) for _ in range(200)]
    assert stops.count(True) == 1
    assert CORRIDOR_M - MARGIN_M <= robot.at <= CORRIDOR_M - MARGIN_M + 0.1 * SPEED + 1e-9
    assert robot.drive() == "The wall ahead is 0.5 meters away."
    assert "3.5" in robot.turn()
    assert robot.drive() == "I am on my way."
    assert robot.move(100.0)
    assert robot.at == 0.0
    assert "◀" in str(robot)


def test_a_tool_only_orders_and_its_result_is_the_loops() -> None:
    orders: queue.Queue[Order] = queue.Queue()
    doers: list[threading.Thread] = []

    def jump() -> str:
        """Jump up."""
        doers.append(threading.current_thread())
        return "I have jumped."

    tool = as_tool(jump, orders)
    assert tool.definition.name == "jump"
    assert tool.definition.description == "Jump up."
    answer = tool.call({}, None)
    assert isinstance(answer, Future)
    assert not answer.done()
    assert not doers
    action, done = orders.get_nowait()
    done.set_result(action())
    assert answer.result(0) == "I have jumped."


@pytest.mark.full
@pytest.mark.timeout(180)
def test_it_does_what_it_is_told(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(PROGRAM)],
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=150,
    )
    assert done.returncode == 0, done.stdout
    assert "Traceback" not in done.stdout, done.stdout
    lines = [line.strip() for line in done.stdout.splitlines()]
    told = [line for line in lines if not line.startswith("robot")]
    assert told == [
        "user    please drive forward",
        "model   drive: I am on my way.",
        "sensor  a wall: the robot has stopped by itself",
        "model   look: The wall ahead is 0.5 meters away.",
        "user    turn around",
        "model   turn: I have turned. The wall ahead is 3.5 meters away.",
        "user    please drive forward",
        "model   drive: I am on my way.",
        "user    stop",
        "model   stop: I have stopped.",
    ], done.stdout
    # It went to the end of the corridor, turned, and stopped halfway.
    places = [line for line in lines if line.startswith("robot")]
    assert places[0] == "robot   |··▶······|"
    assert "robot   |·······▶·|" in places
    assert "◀" in places[-1]
    assert 1 < places[-1].index("◀") - places[-1].index("|") - 1 < 7


@pytest.mark.full
def test_it_ends_quietly_at_ctrl_c() -> None:
    with subprocess.Popen(
        [sys.executable, "-u", str(PROGRAM)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    ) as program:
        try:
            assert program.stdout is not None
            assert program.stdout.readline().startswith("robot")
            program.send_signal(signal.SIGINT)
            _, errors = program.communicate(timeout=50)
        finally:
            program.kill()
    assert (program.returncode, errors) == (0, "")
