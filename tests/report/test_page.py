"""The page as a file: whole, small, and closed to the outside; and the command that makes it."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from scenes import Scene, write_call

from antiphon.report import write_report
from antiphon.report.picture import Picture

MEGABYTE = 1_000_000


class Reader(HTMLParser):
    """What a browser takes from a page: addresses, the contents of scripts, its policy."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.scripts: dict[str, str] = {}
        self.policy = ""
        self._script: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag asks for."""
        given = {name: value or "" for name, value in attrs}
        self.addresses += [given[name] for name in ("src", "href") if name in given]
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"]
        if tag == "script":
            self._script = given.get("id", "")
            self.scripts[self._script] = ""

    def handle_endtag(self, tag: str) -> None:
        """A script ends."""
        if tag == "script":
            self._script = None

    def handle_data(self, data: str) -> None:
        """A script goes on."""
        if self._script is not None:
            self.scripts[self._script] += data


def page_of(recording: Path, **options: bool) -> Reader:
    """A recording's page."""
    page = recording.with_suffix(".html")
    write_report(recording, page, **options)
    return Reader(page.read_text("utf-8"))


def test_the_page_names_no_other_place(minute: Path) -> None:
    page = page_of(minute)
    assert page.addresses == ["data:,"]
    assert "default-src 'none'" in page.policy
    assert "unsafe" not in page.policy
    script = page.scripts[""]
    assert not re.search(r"https?://|\bfetch\(|XMLHttpRequest|import\(|\beval\(", script)


@pytest.mark.full
def test_half_an_hour_without_audio_takes_less_than_two_megabytes(tmp_path: Path) -> None:
    page = tmp_path / "call.html"
    write_report(write_call(tmp_path / "call.jsonl", 30), page, audio=False)
    assert page.stat().st_size < 2 * MEGABYTE
    assert Reader(page.read_text("utf-8")).scripts["sound-data"] == ""


def test_what_is_said_can_not_leave_its_place_in_the_page(file: Path) -> None:
    scene = Scene(file)
    scene.connect(0)
    evil = "</script><script src=//evil.example></script><!-- \u2028 $script ${title} &lt;"
    scene.model_says("a", 1, 1.0, evil)
    page = page_of(scene.write(3))
    assert page.addresses == ["data:,"]
    assert set(page.scripts) == {"call-data", "sound-data", ""}
    picture = msgspec.json.decode(page.scripts["call-data"])
    assert picture["words"][0]["text"] == evil


def test_a_call_in_which_nothing_happened_has_a_page(file: Path) -> None:
    picture = write_report(Scene(file).write(0.5), file.with_suffix(".html"))
    assert isinstance(picture, Picture)
    assert Reader(file.with_suffix(".html").read_text("utf-8")).scripts["sound-data"] == ""


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run `antiphon report`."""
    command = [sys.executable, "-m", "antiphon.cli", "report", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)


def test_the_command_writes_the_page_and_says_where(file: Path) -> None:
    scene = Scene(file)
    scene.connect(0)
    scene.model_says("a", 1, 1.0, "hello")
    recording, page = scene.write(3), file.with_name("page.html")
    done = run(recording, "-o", page, "--no-audio", "--price", "input=4,output=16")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"antiphon: {page} shows 3.0 s, responses: 1\n"
    shown = msgspec.json.decode(Reader(page.read_text("utf-8")).scripts["call-data"])
    assert shown["tokens"]["cost"] == pytest.approx((1000 * 4 + 200 * 16) / 1_000_000)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "No such file"),
        (("--price", "input=4"), "lacks output"),
    ],
)
def test_the_command_says_what_is_wrong(file: Path, options: tuple[str, ...], message: str) -> None:
    done = run(file, *options)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
