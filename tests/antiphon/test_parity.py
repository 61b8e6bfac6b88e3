"""The page on parity names everything that the reference has, and nothing that we don't."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from antiphon.actors.events import EVENT_NAMES

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "parity.md"

# What is public in the reference: its page's signatures, methods, properties, and what it emits.
MODEL_ARGUMENTS = (
    "model voice modalities tool_choice base_url input_audio_transcription input_audio_noise_reduction "
    "turn_detection speed tracing truncation api_key http_session azure_deployment entra_token api_version "
    "max_session_duration conn_options temperature"
)
MODEL = "with_azure model provider label capabilities session update_options aclose"
SESSION = (
    "chat_ctx has_active_generation tools aclose push_audio commit_audio clear_audio push_video generate_reply "
    "generate_reply(instructions) generate_reply(tool_choice) generate_reply(tools) interrupt truncate "
    "truncate(message_id) truncate(modalities) truncate(audio_end_ms) truncate(audio_transcript) send_event "
    "update_chat_ctx update_instructions update_tools _convert_tools_to_oai update_options realtime_model on once off"
)
OPTIONS = (
    "voice turn_detection tool_choice input_audio_transcription input_audio_noise_reduction "
    "max_response_output_tokens speed tracing truncation temperature"
)
EVENTS = (
    "input_speech_started input_speech_stopped input_audio_transcription_completed generation_created "
    "remote_item_added metrics_collected session_reconnected error openai_server_event_received "
    "openai_client_event_queued"
)
REFERENCE = {
    "RealtimeModel",
    "RealtimeSession",
    *(f"RealtimeModel({name})" for name in MODEL_ARGUMENTS.split()),
    *(f"RealtimeModel.{name}" for name in MODEL.split()),
    *(f"RealtimeSession.{name}" for name in SESSION.split()),
    *(f"update_options({name})" for name in OPTIONS.split()),
    *(f'"{name}"' for name in EVENTS.split()),
    *(
        f"GenerationCreatedEvent.{n}"
        for n in ["message_stream", "function_stream", "user_initiated", "response_id"]
    ),
    *(f"MessageGeneration.{name}" for name in ["message_id", "text_stream", "audio_stream", "modalities"]),
}

NAME = re.compile(r"`(antiphon[\w.]*(?:\(\w+\))?)`")
TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")


class Row(NamedTuple):
    """A line of the page: what the reference has, what we have, what shows it."""

    section: str
    theirs: str
    ours: str
    shown: str


def rows() -> Iterator[Row]:
    section = ""
    for line in PAGE.read_text("utf-8").splitlines():
        if line.startswith("## "):
            section = line[3:]
        elif line.startswith("| ") and not line.startswith(("| ---", "| reference")):
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            assert len(cells) == 3, line
            yield Row(section, *cells)


ROWS = list(rows())


@functools.cache
def names_in(file: str) -> frozenset[str]:
    """The names of the tests that pytest collects from a file below `tests/`."""
    path = ROOT / "tests" / file
    if not path.is_file() or not path.name.startswith("test_"):
        return frozenset()
    body = ast.parse(path.read_text("utf-8")).body
    return frozenset(
        one.name for one in body if isinstance(one, ast.FunctionDef) and one.name.startswith("test_")
    )


def find(name: str) -> Any:
    """The object of a dotted name, such as `antiphon.A.b` or `antiphon.A.b(argument)`.

    Raises:
        LookupError: There is none.
    """
    path, _, argument = name.removesuffix(")").partition("(")
    parts = path.split(".")
    found: Any = importlib.import_module(parts[0])
    for index, part in enumerate(parts[1:], 2):
        if hasattr(found, part):
            found = getattr(found, part)
        elif inspect.isclass(found) and part in found.__init__.__code__.co_names:  # type: ignore[misc]
            found = None  # what the constructor sets
        else:
            try:
                found = importlib.import_module(".".join(parts[:index]))
            except ModuleNotFoundError:
                raise LookupError(f"{name}: there is no {part}") from None
    if argument and argument not in inspect.signature(found).parameters:
        raise LookupError(f"{path} takes no {argument}")
    return found


def test_every_public_member_of_the_reference_is_on_the_page_once() -> None:
    listed = [row.theirs.strip("`") for row in ROWS if row.section != "Behaviour"]
    assert len(set(listed)) == len(listed)
    assert set(listed) == REFERENCE


def test_every_object_of_ours_exists() -> None:
    names = {name for row in ROWS for name in NAME.findall(row.ours)}
    assert len(names) > 80
    for name in names:
        find(name)
    for gone in ("antiphon.RealtimeModel.nothing", "antiphon.nothing.at", "antiphon.RealtimeModel(nothing)"):
        with pytest.raises(LookupError):
            find(gone)


def test_every_row_names_what_is_ours() -> None:
    for row in ROWS:
        assert NAME.search(row.ours) or row.section == "Behaviour" or "dict" in row.ours, row.theirs


def test_every_event_can_be_subscribed_to() -> None:
    names = {row.theirs.strip('`"') for row in ROWS if row.theirs.startswith('`"')}
    assert names == set(EVENTS.split())
    assert names <= EVENT_NAMES


def test_every_row_is_shown_by_tests_that_exist() -> None:
    for row in ROWS:
        shown = TEST.findall(row.shown)
        assert shown, row.theirs
        for file, name in shown:
            assert name in names_in(file), f"{row.theirs}: there is no {file}::{name}"
    assert "test_nothing" not in names_in("antiphon/test_parity.py")
    assert names_in("antiphon/nothing.py") == frozenset()


@pytest.mark.full
@pytest.mark.timeout(180)
def test_pytest_collects_every_test_that_is_named() -> None:
    named = {f"tests/{file}::{name}" for row in ROWS for file, name in TEST.findall(row.shown)}
    command = [sys.executable, "-m", "pytest", "--collect-only", "-m", "full or not full", *sorted(named)]
    collected = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170, check=False)
    assert collected.returncode == 0, collected.stdout[-2000:] + collected.stderr[-2000:]
    found = {line.split("[")[0] for line in collected.stdout.splitlines() if line.startswith("tests/")}
    assert named <= found
