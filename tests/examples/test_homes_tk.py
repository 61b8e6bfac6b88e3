"""The Tk window on a screen that is only in memory: pressed as a person presses it, and looked at."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from antiphon.devices import Levels

window = pytest.importorskip("window", reason="Tk is not installed: apt-get install python3-tk")
ImageGrab = pytest.importorskip("PIL.ImageGrab", reason="Pillow is not installed: the extra `video`")
NAMES: dict[str, str] = window.NAMES
MISSING = [program for program in ("Xvfb", "xdotool") if shutil.which(program) is None]
pytestmark = [
    pytest.mark.full,
    pytest.mark.timeout(180),
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: apt-get install xvfb xdotool ({MISSING})"),
]

PROGRAM = Path(__file__).parents[2] / "examples" / "tk_window.py"
PATIENCE = 60.0
BUTTON = (230, 519)  # in a window of 460 by 620
TRANSCRIPT = (30, 60, 430, 420)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A screen of its own: its name, which is in the environment too."""
    reading, writing = os.pipe()
    with subprocess.Popen(
        ["Xvfb", "-displayfd", str(writing), "-screen", "0", "460x620x24", "-nolisten", "tcp"],
        pass_fds=[writing],
        stderr=subprocess.DEVNULL,
    ) as server:
        os.close(writing)
        try:
            with os.fdopen(reading) as number:
                name = f":{number.readline().strip()}"
            monkeypatch.setenv("DISPLAY", name)
            yield name
        finally:
            server.terminate()


def count(screen: str, colour: str, box: tuple[int, int, int, int]) -> int:
    """How many points have a colour."""
    wanted = tuple(bytes.fromhex(colour[1:]))
    picture = ImageGrab.grab(xdisplay=screen).convert("RGB").crop(box)
    return sum(amount for amount, found in picture.getcolors(1 << 20) if found == wanted)


def wait(condition: Callable[[], bool], what: str) -> None:
    """Wait until something is so."""
    # Looked at again and again, as a person would: a picture tells nobody that it has changed.
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.05)


def xdotool(*arguments: object) -> str:
    """Do something with the mouse or the keys."""
    done = subprocess.run(["xdotool", *map(str, arguments)], capture_output=True, text=True, timeout=PATIENCE)
    return done.stdout


def test_a_person_talks_with_the_window(screen: str, tmp_path: Path) -> None:
    disc = (BUTTON[0] - 45, BUTTON[1] - 45, BUTTON[0] + 45, BUTTON[1] + 45)
    with subprocess.Popen([sys.executable, str(PROGRAM)], stderr=subprocess.PIPE, text=True) as program:
        try:
            wait(lambda: count(screen, NAMES["Model"], (0, 0, 120, 45)) > 20, "the state is open")
            for turn in range(2):
                users, models = (count(screen, NAMES[name], TRANSCRIPT) for name in ("You", "Model"))
                assert bool(users) == bool(models) == bool(turn)
                xdotool("mousemove", *BUTTON, "mousedown", 1)
                wait(lambda: count(screen, NAMES["You"], disc) > 3000, "the button is pressed")
                xdotool("mouseup", 1)
                wait(lambda: count(screen, NAMES["You"], disc) == 0, "the button is let go")
                wait(lambda was=users: count(screen, NAMES["You"], TRANSCRIPT) > was, "the user's line")
                wait(lambda was=models: count(screen, NAMES["Model"], TRANSCRIPT) > was, "the model's line")
            ImageGrab.grab(xdisplay=screen).save(tmp_path / "window.png")
            it = xdotool("search", "--name", "^antiphon$").split()[-1]
            xdotool("windowfocus", it, "key", "Escape")
            _, complaints = program.communicate(timeout=PATIENCE)
        finally:
            program.kill()
    assert program.returncode == 0
    assert complaints == ""


class Pressed:
    """Stands for devices: notes what is done with them."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.levels = Levels(0.0, 0.25)

    def press(self) -> None:
        self.done.append("press")

    def release(self) -> None:
        self.done.append("release")


@pytest.fixture
def _freed_here() -> Iterator[None]:
    """Tcl aborts the process when the collector frees its interpreter on another thread."""
    yield
    gc.collect()


@pytest.mark.usefixtures("_freed_here")
def test_what_threads_tell_is_shown_in_place(screen: str) -> None:
    call = Pressed()
    talker = window.Window(call)
    try:

        def tell() -> None:
            talker.tell(talker.show_state, "open")
            talker.tell(talker.say, "item_1", "You", "")
            talker.tell(talker.say, "item_2", "Model", "Hel")
            talker.tell(talker.say, "item_1", "You", "hi")
            talker.tell(talker.say, "item_2", "Model", "Hello.")

        teller = threading.Thread(target=tell)
        teller.start()
        teller.join()

        def shown() -> str:
            talker.update()
            return str(talker._text.get("1.0", "end"))

        wait(lambda: shown().strip() == "You\nhi\nModel\nHello.", "the transcript")
        talker._pad.event_generate("<ButtonPress-1>", x=100, y=85)
        talker._pad.event_generate("<ButtonRelease-1>", x=100, y=85)
        talker.update()
        assert call.done == ["press", "release"]
        for number in range(60):
            talker.say(f"item_{number}", "Model", "A line that is long enough to be broken into two. " * 2)
        talker.update()
        assert talker._text.yview()[1] == 1.0
    finally:
        talker.destroy()
