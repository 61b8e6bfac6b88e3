"""A robot that is talked to: one loop owns its body, and all that it is told comes through one queue.

    python examples/robot.py

Tools run on threads of the engine, and only put orders into the queue; nothing but the loop moves the motors. So
there is no lock, and a slow model can't delay the brakes. The user is a synthetic voice, and the robot simulated.
"""

from __future__ import annotations

import argparse
import contextlib
import queue
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from caller import Caller, Sentence, write_questions
from corridor import Robot

from antiphon import FunctionTool, InputTranscriptionCompleted, RealtimeModel, RealtimeSession, ServerVad
from antiphon.testing import LocalServer

TICK_S = 0.02
SCRIPT = (
    Sentence("Please drive forward.", cut_after_s=8.0),  # long enough to come to the wall, and say so
    Sentence("Turn around."),
    Sentence("Please drive forward.", cut_after_s=0.5),
    Sentence("Stop."),
)
Order = tuple[Callable[[], str], Future[str]]


def as_tool(action: Callable[[], str], orders: queue.Queue[Order]) -> FunctionTool:
    """A tool that orders something; its result is there when the loop has done it."""

    def order() -> Future[str]:
        done: Future[str] = Future()
        orders.put((action, done))
        return done

    return FunctionTool(order, name=action.__name__, description=action.__doc__)


def live(robot: Robot, session: RealtimeSession, orders: queue.Queue[Order], over: threading.Event) -> None:
    """The loop: do what is ordered, sense, act, and say what the user should know."""
    last, shown = time.monotonic(), ""
    while not over.is_set():
        try:
            action, done = orders.get(timeout=TICK_S)
            done.set_result(action())
        except queue.Empty:
            pass
        now = time.monotonic()
        if robot.move(now - last):
            print("sensor  a wall: the robot has stopped by itself")
            session.generate_reply("Warn the user.", tool_choice={"type": "function", "name": "look"})
        last = now
        if str(robot) != shown:
            print(f"robot   {(shown := str(robot))}")


def heard(event: InputTranscriptionCompleted) -> None:
    """Print what the user said."""
    if event.is_final:
        print(f"user    {event.transcript}")


def main() -> None:
    """Talk to the robot."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    robot, over = Robot(), threading.Event()
    orders: queue.Queue[Order] = queue.Queue()
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalServer(brain="voice") as server,  # without it and `base_url`: OpenAI, with OPENAI_API_KEY
        RealtimeModel(base_url=server.url, api_key="local", turn_detection=ServerVad()) as model,
    ):
        questions = Path(folder) / "questions.wav"
        places = write_questions(questions, SCRIPT)
        session = model.session(start=False)
        session.on("input_audio_transcription_completed", heard)
        session.on("tool_finished", lambda event: print(f"model   {event.name}: {event.output}"))
        caller = Caller(session, questions, places)
        session.start()
        actions = (robot.drive, robot.turn, robot.stop, robot.look)
        session.update_tools([as_tool(action, orders) for action in actions], auto_execute=True)

        def talk() -> None:
            for number, sentence in enumerate(SCRIPT):
                caller.ask(number, lambda: None, sentence.cut_after_s)
            over.set()

        threading.Thread(target=talk, name="user", daemon=True).start()
        live(robot, session, orders, over)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
