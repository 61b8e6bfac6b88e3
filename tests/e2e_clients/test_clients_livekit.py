"""livekit-plugins-openai, the asyncio plugin that most people use, holds a conversation with the local server."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clients_speech import spoken
from server_oracle import check_log

from antiphon.actors.audio import Resampler
from antiphon.testing import LocalServer, transcribe

REQUIREMENTS = ("livekit-agents~=1.8", "livekit-plugins-openai~=1.8")
FOLDER = Path(__file__).parents[2] / ".venv-livekit"
CLIENT = Path(__file__).with_name("livekit_client.py")
KEY = "sk-for-these-tests-only"
SAID = {
    "weather": "What is the weather in San Francisco?",
    "story": "Tell me a long story.",
    "goodbye": "Thank you, goodbye.",
    "hello": "Hello, can you hear me?",
}


@pytest.fixture(scope="module")
def livekit() -> Path:
    """The interpreter of a virtual environment that has the plugin; made once, for later runs too."""
    ready = FOLDER / ".ready"
    python = FOLDER / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    wanted = "\n".join((sys.version, *REQUIREMENTS))
    if ready.is_file() and ready.read_text() == wanted:
        return python
    venv.create(FOLDER, clear=True, with_pip=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *REQUIREMENTS]
    installed = subprocess.run(pip, capture_output=True, text=True, check=False)
    if installed.returncode != 0:
        problem = installed.stderr.strip().splitlines() or ["no reason given"]
        pytest.skip(f"pip cannot install {' and '.join(REQUIREMENTS)}: {problem[-1]}")
    ready.write_text(wanted)
    return python


def record(folder: Path) -> None:
    """Write down what is to be said, as 48 kHz."""
    for name, text in SAID.items():
        resampler = Resampler(24_000, 48_000)
        samples = np.concatenate([resampler.push(spoken(text)), resampler.flush()])
        (folder / f"{name}.pcm").write_bytes(samples.tobytes())


@pytest.mark.full
@pytest.mark.timeout(900)
def test_livekit_holds_a_conversation_with_a_tool_and_a_barge_in(livekit: Path, tmp_path: Path) -> None:
    record(tmp_path)
    with LocalServer("voice", api_key=KEY, pace=4) as server:
        command = [str(livekit), str(CLIENT), server.url, KEY, str(tmp_path)]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert ran.returncode == 0, ran.stderr
        report: dict[str, Any] = json.loads((tmp_path / "report.json").read_text())
        check_log(server)

        def sounds(name: str) -> str:
            return transcribe(np.frombuffer((tmp_path / f"{name}.said").read_bytes(), np.int16), 24_000)

        # a spoken question and a tool's round trip
        assert report["heard_weather"] == "what is the weather in san francisco"
        (call,) = report["asked"]["calls"]
        assert (call["name"], json.loads(call["arguments"])) == ("get_weather", {"city": "San Francisco"})
        assert report["user_initiated"] is True
        assert report["answered"]["text"] == "It is sunny and warm."
        assert report["answered"]["modalities"] == [["audio", "text"]]
        assert "sunny and warm" in sounds("answered")

        # the barge-in
        assert report["heard_story"] == "tell me a long story"
        assert report["heard_goodbye"] == "thank you goodbye"
        assert report["parted"]["text"] == "You are welcome. Goodbye!"
        (truncated,) = server.log.sent("conversation.item.truncated")
        assert truncated.event["item_id"] == report["story_id"]
        assert truncated.event["audio_end_ms"] == report["story_ms"] == 500
        assert report["story_frames"] < 200

        # the conversation edited, and turns by hand
        kept = [item_id for item_id in report["before"] if item_id != report["story_id"]]
        assert report["after"] == [*kept, "item_question"]
        assert report["sum"]["text"] == "Two plus three is five."
        assert report["sum"]["calls"] == []
        assert report["heard_hello"] == "hello can you hear me"
        assert "help" in sounds("greeting")
        assert report["partial"]
        assert {"RealtimeModelMetrics", "STTMetrics"} <= set(report["metrics"])

        # nobody had anything to complain of
        assert report["errors"] == []
        assert report["complaints"] == []
        assert [one.event["error"]["code"] for one in server.log.sent("error")] in (
            [],
            ["response_cancel_not_active"],  # turn detection was faster than the plugin's cancel
        )
