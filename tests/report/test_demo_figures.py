"""`make demo` prints how long the caller waited, and its page shows it: both say the same of the same call."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import pytest
from scenes import picture_of

from antiphon import recording
from antiphon.recording import Sent

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

from caller import Sentence
from demo import converse, report

# A tool's turn has two responses, of which one is heard.
SCRIPT = (
    Sentence("What time is it?", heard=("time",), tool="get_time"),
    Sentence("Tell me a long story.", heard=("story",), cut_after_s=1.5),
    Sentence("Thank you, goodbye.", heard=("goodbye",), expect=("goodbye",)),
)


def longest_stall(file: Path) -> float:
    """Seconds for which the caller's thread was held up: its chunks of 100 ms were sent so much too late.

    Then it says and hears what it missed at once, and what was heard when is no longer certain.
    """
    sent = [
        line.t for line in recording.read(file).lines if isinstance(line, Sent) and line.audio is not None
    ]
    return max(0.0, *(after - before - 0.1 for before, after in pairwise(sent)))


@pytest.mark.full
def test_the_console_and_the_page_agree_on_the_first_sound(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    turns = converse(tmp_path, SCRIPT)
    assert report(turns) == 0, capsys.readouterr().out
    printed = capsys.readouterr().out
    file = tmp_path / "call.jsonl"
    picture = picture_of(file)
    shown = [response.waited for response in picture.responses if response.waited is not None]
    assert len(picture.responses) == len(turns) + 1
    assert len(picture.speech) == len(shown) == len(turns)
    for turn, waited in zip(turns, shown, strict=True):
        assert turn.waited_s is not None
        assert f"{turn.waited_s * 1000:.0f} ms" in printed
        assert waited == pytest.approx(turn.waited_s, abs=0.03 + longest_stall(file))
