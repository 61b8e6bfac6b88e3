"""`antiphon talk` with servers that speak the older names, or less than the API."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from cli_harness import KEY, WEATHER_MODULE, heard_in, notes, run, write_question

from antiphon.testing import LocalServer

pytestmark = pytest.mark.full

Json = dict[str, Any]
Rewrite = Callable[[Json], list[Json]]

# All that a conversation needs, in either dialect: a third of what the API sends.
NEEDED = {
    "error",
    "session.created",
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "conversation.item.input_audio_transcription.completed",
    "response.created",
    "response.audio.delta",
    "response.audio_transcript.delta",
    "response.output_audio.delta",
    "response.output_audio_transcript.delta",
    "response.function_call_arguments.done",
    "response.done",
}


def as_it_is(event: Json) -> list[Json]:
    """Nothing is changed."""
    return [event]


def no_metadata(event: Json) -> list[Json]:
    """Responses don't say which request they answer."""
    if "response" in event:
        return [{**event, "response": {k: v for k, v in event["response"].items() if k != "metadata"}}]
    return [event]


def only_what_is_needed(event: Json) -> list[Json]:
    """No items, no parts, no acknowledgements, no metadata."""
    return no_metadata(event) if event["type"] in NEEDED else []


@pytest.mark.parametrize("rewrite", [as_it_is, no_metadata, only_what_is_needed])
@pytest.mark.parametrize("names", ["ga", "beta"])
def test_a_conversation_with_a_tool(names: Literal["ga", "beta"], rewrite: Rewrite, tmp_path: Path) -> None:
    """The user is understood, the tool is called, and its result is told, whatever the server leaves out."""
    write_question(tmp_path / "q.wav", "What is the weather in San Francisco?")
    (tmp_path / "weather.py").write_text(WEATHER_MODULE)
    files = ("--in", "q.wav", "--out", "a.wav", "--tool", "weather:get_weather")
    kept: set[str] = set()
    dropped: set[str] = set()

    def noting(event: Json) -> list[Json]:
        events = rewrite(event)
        (kept if events else dropped).add(event["type"])
        return events

    with LocalServer("voice", api_key=KEY, names=names, rewrite=noting) as server:
        done = run("talk", "--base-url", server.url, *files, "--json", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    told = {note["kind"]: note for note in notes(done.stdout)}
    assert "weather in san francisco" in told["user"]["text"]
    assert told["tool"]["name"] == "get_weather"
    assert "sunny and warm" in told["model"]["text"]
    assert told["latency"]["ms"] >= 0
    assert not {"error", "warning"} & told.keys()
    assert {"sunny", "warm"} <= set(heard_in(tmp_path / "a.wav").split())
    assert any(
        ("response.audio.delta" if names == "beta" else "response.output_audio.delta") == kind
        for kind in kept
    )
    if rewrite is only_what_is_needed:
        assert len(dropped) >= len(kept)
