"""The page that shows a call live: what browsers are sent, and what a person sees in one."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import board
import pytest
from board import Board
from flask_live import create_app
from test_as_programs import free_port, wait_listening

from antiphon import RealtimeModel

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))
from browser import CHROMIUM, chromium

PROGRAM = Path(__file__).parents[2] / "examples" / "flask_live.py"
PATIENCE = 60.0


def facts(message: str) -> dict[str, Any]:
    """What a server-sent event says."""
    assert message.startswith("data: ")
    assert message.endswith("\n\n")
    said: dict[str, Any] = json.loads(message[6:])
    return said


def test_who_comes_late_gets_the_last_of_each_thing_in_order_and_then_what_comes() -> None:
    shown = Board()
    shown.publish("said", "one", who="user", text="")
    shown.publish("said", "two", who="model", text="Hel")
    shown.publish("said", "one", text="hi")
    shown.publish("said", "two", text="Hello.")
    viewer = shown.watch()
    assert [facts(next(viewer))["text"] for _ in range(2)] == ["hi", "Hello."]
    shown.publish("said", "two", cut_ms=300)
    assert facts(next(viewer)) == {
        "kind": "said",
        "key": "two",
        "who": "model",
        "text": "Hello.",
        "cut_ms": 300,
    }
    shown.clear()
    assert facts(next(viewer))["kind"] == "clear"
    assert [facts(next(shown.watch()))["kind"]] == ["clear"]
    viewer.close()


def test_a_viewer_who_does_not_read_is_let_go_and_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "WAITING", 3)
    shown = Board()
    shown.publish("levels", both=[0, 0])
    slow, quick = shown.watch(), shown.watch()
    next(slow), next(quick)
    for number in range(10):
        shown.publish("levels", both=[number, 0])
        assert facts(next(quick))["both"] == [number, 0]
    # It ends; the browser asks again, and gets what there is by then.
    assert list(slow) == []
    again = shown.watch()
    assert facts(next(again))["both"] == [9, 0]
    again.close()
    quick.close()


@pytest.fixture
def program() -> Iterator[str]:
    """The example, running: its address."""
    port = free_port(socket.SOCK_STREAM)
    with subprocess.Popen(
        [sys.executable, str(PROGRAM), str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            wait_listening(port, running)
            yield f"http://127.0.0.1:{port}/"
            running.send_signal(signal.SIGINT)
            _, complaints = running.communicate(timeout=PATIENCE)
            assert running.returncode == 0
            assert "Traceback" not in complaints, complaints
        finally:
            running.kill()


@pytest.mark.full
@pytest.mark.timeout(180)
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium")
def test_a_person_sees_a_call(program: str, tmp_path: Path) -> None:
    with chromium(tmp_path / "profile") as page:
        page.size(1100, 720)
        page.call("Page.navigate", url=program)
        page.wait("document.readyState === 'complete' && !!document.getElementById('call')")
        page.click_on("#call")
        page.wait("document.getElementById('state').textContent === 'open'")
        assert page.get("document.getElementById('call').disabled")
        assert page.get("fetch('/call', { method: 'POST' }).then((answer) => answer.status)") == 409
        for words in ("How can I help you?", "what is the weather in san francisco", "it is sunny", "heard"):
            page.wait(f"document.getElementById('said').innerText.includes({words!r})")
        assert page.get("heights.some(([caller, model]) => caller > 0.05 && model === 0)")
        assert page.get("heights.some(([caller, model]) => model > 0.05)")
        assert "get_weather" in page.get("document.getElementById('tools').innerText")
        # The transcript is in the order of the conversation.
        who = page.get("[...document.querySelectorAll('#said li')].map((line) => line.className)")
        assert who == ["user", "model", "user", "model", "user", "model", "user"][: len(who)]
        page.screenshot(tmp_path / "light.png")
        page.dark(True)
        page.size(400, 800, mobile=True)
        page.frame()
        assert page.get("document.documentElement.scrollWidth <= innerWidth")
        page.screenshot(tmp_path / "dark.png")
        page.wait("document.getElementById('state').textContent === 'ended'")
        assert not page.get("document.getElementById('call').disabled")
        # Who comes now sees it all.
        before = page.get("document.getElementById('said').innerText")
        page.call("Page.reload")
        page.wait(f"document.getElementById('said')?.innerText === {json.dumps(before)}")
        assert [line for line in page.complaints if "409" not in line] == []


@pytest.mark.full
def test_the_page_is_served(serve, tmp_path: Path) -> None:
    with RealtimeModel(base_url=serve("parrot").url, api_key="sk-test") as model:
        client = create_app(model, tmp_path / "questions.wav").test_client()
        assert "Live call" in client.get("/").text
        assert (tmp_path / "questions.wav").exists()
