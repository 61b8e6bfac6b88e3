"""A headless Chromium, driven through its DevTools: what a person does with a page, and what the page does."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import websocket

PATIENCE = 20.0  # seconds; ends a test that would hang

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

_KEY_CODES = {"ArrowLeft": 37, "ArrowRight": 39, "Home": 36, "End": 35, "Escape": 27, "Enter": 13, "Tab": 9}


class Page:
    """A page in a window of its own. Not thread-safe.

    Attributes:
        requests: The addresses of everything that it asked for.
        complaints: What stands in its console, and what it raised.
    """

    def __init__(self, address: str) -> None:
        self._socket = websocket.create_connection(address, timeout=PATIENCE, suppress_origin=True)
        self._number = 0
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._loaded = False
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        """Let go of it."""
        self._socket.close()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Ask the browser for something, and return its answer."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == self._number:
                if "error" in message:
                    raise AssertionError(f"{method}: {message['error']}")
                answer: dict[str, Any] = message["result"]
                return answer
            self._note(message.get("method", ""), message.get("params", {}))

    def _note(self, event: str, said: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            self.requests.append(said["request"]["url"])
        elif event == "Runtime.exceptionThrown":
            self.complaints.append(str(said["exceptionDetails"]))
        elif event == "Log.entryAdded":
            self.complaints.append(said["entry"]["text"])
        elif event == "Runtime.consoleAPICalled":
            self.complaints.append(str([arg.get("value") for arg in said["args"]]))
        elif event == "Page.loadEventFired":
            self._loaded = True

    def size(self, width: int, height: int, mobile: bool = False, sharp: float = 1) -> None:
        """Give the window this size, and the screen this many device pixels to a CSS pixel."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=sharp,
            mobile=mobile,
        )

    def dark(self, dark: bool) -> None:
        """Prefer dark pages, or light ones."""
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def open(self, path: Path) -> None:
        """Open a file and wait until it has drawn itself."""
        self._loaded = False
        self.call("Page.navigate", url=path.as_uri())
        self.wait("performance.getEntriesByName('antiphon-ready').length > 0")

    def get(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until a JavaScript expression is true.

        It is asked again and again: a promise inside the page would be lost when another page is opened.
        """
        deadline = time.monotonic() + PATIENCE
        while not self.get(condition):
            assert time.monotonic() < deadline, f"never true: {condition}"
            time.sleep(0.02)

    def frame(self) -> None:
        """Wait until what was changed has been drawn."""
        self.get("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")

    def place(self, selector: str) -> tuple[float, float, float, float]:
        """Where an element is: x, y, width, height."""
        box = self.get(
            f"(() => {{ const b = document.querySelector({selector!r}).getBoundingClientRect();"
            " return [b.x, b.y, b.width, b.height]; })()"
        )
        x, y, width, height = box
        return x, y, width, height

    def click(self, x: float, y: float, count: int = 1) -> None:
        """Press and let go of the mouse."""
        self.mouse("mouseMoved", x, y)
        for clicks in range(1, count + 1):
            self.mouse("mousePressed", x, y, clicks)
            self.mouse("mouseReleased", x, y, clicks)
        self.frame()

    def click_on(self, selector: str) -> None:
        """Bring an element into sight, and click in its middle."""
        self.get(
            f"document.querySelector({selector!r}).scrollIntoView({{block: 'nearest', behavior: 'instant'}})"
        )
        x, y, width, height = self.place(selector)
        self.click(x + width / 2, y + height / 2)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press, move and let go of the mouse."""
        self.mouse("mouseMoved", *start)
        self.mouse("mousePressed", *start, 1)
        for part in (0.3, 0.6, 1.0):
            x = start[0] + part * (end[0] - start[0])
            y = start[1] + part * (end[1] - start[1])
            self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y, button="left", buttons=1)
        self.mouse("mouseReleased", *end, 1)
        self.frame()

    def mouse(self, kind: str, x: float, y: float, clicks: int = 0) -> None:
        """One event of the mouse."""
        button = "none" if kind == "mouseMoved" else "left"
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, clickCount=clicks)

    def wheel(self, x: float, y: float, delta: float, shift: bool = False) -> None:
        """Turn the wheel."""
        self.call(
            "Input.dispatchMouseEvent",
            type="mouseWheel",
            x=x,
            y=y,
            deltaX=0,
            deltaY=delta,
            modifiers=8 * shift,
        )
        self.frame()

    def key(self, name: str, shift: bool = False) -> None:
        """Press a key."""
        text = {"Enter": "\r"}.get(name, name if len(name) == 1 else "")
        key = {"key": name, "modifiers": 8 * shift, "windowsVirtualKeyCode": _KEY_CODES.get(name, 0)}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **key)
        self.call("Input.dispatchKeyEvent", type="keyUp", **key)
        self.frame()

    def type(self, text: str) -> None:
        """Write into what has the focus."""
        self.call("Input.insertText", text=text)
        self.frame()

    def screenshot(self, path: Path) -> None:
        """Write what is seen into a PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def chromium(profile: Path) -> Iterator[Page]:
    """Run Chromium without a window; it ends with the block.

    Args:
        profile: An empty folder for what it writes.
    """
    assert CHROMIUM is not None
    command = [
        *(CHROMIUM, "--headless=new", "--remote-debugging-port=0", f"--user-data-dir={profile}"),
        *("--no-first-run", "--disable-gpu", "--hide-scrollbars", "--disable-background-networking"),
        # Its sandbox doesn't work for root, nor its shared memory in small containers.
        *("--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])),
        "about:blank",
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            page = Page(_address(profile, process))
            try:
                yield page
            finally:
                page.close()
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()


def _address(profile: Path, process: subprocess.Popen[bytes]) -> str:
    """Where the DevTools of the first page listen.

    Chromium tells the port in a file, and the page comes some time after it: there is nothing to await but both.
    """
    deadline = time.monotonic() + PATIENCE
    port_file = profile / "DevToolsActivePort"
    while time.monotonic() < deadline:
        assert process.poll() is None, f"chromium ended with {process.returncode}"
        lines = port_file.read_text().splitlines() if port_file.exists() else []
        if len(lines) == 2:
            with urllib.request.urlopen(f"http://127.0.0.1:{lines[0]}/json/list", timeout=PATIENCE) as answer:
                pages = [target for target in json.load(answer) if target["type"] == "page"]
            if pages:
                address: str = pages[0]["webSocketDebuggerUrl"]
                return address
        time.sleep(0.05)
    raise AssertionError("chromium never opened its DevTools")
