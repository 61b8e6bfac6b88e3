"""`antiphon talk` with files: what it prints, what it writes, and how it ends."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cli_harness import (
    COMMAND,
    KEY,
    PATIENCE,
    WEATHER_MODULE,
    environment,
    heard_in,
    notes,
    read_wav,
    run,
    write_question,
)
from typer.testing import CliRunner

from antiphon.cli.app import app
from antiphon.cli.talk_view import meter
from antiphon.testing import LocalServer


@pytest.fixture
def server() -> Iterator[LocalServer]:
    """A server that listens and speaks."""
    with LocalServer("voice", api_key=KEY) as running:
        yield running


@pytest.mark.full
def test_a_question_from_a_file_is_answered_into_a_file(server: LocalServer, tmp_path: Path) -> None:
    """Plain lines, as standard output is no terminal; the tool ran; the answer can be heard in the file."""
    write_question(tmp_path / "q.wav", "What is the weather in San Francisco?")
    (tmp_path / "weather.py").write_text(WEATHER_MODULE)
    files = ("--in", "q.wav", "--out", "a.wav")
    tool = ("--tool", "weather:get_weather", "--instructions", "Be brief.")
    done = run("talk", "--base-url", server.url, *files, *tool, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split("s  ", 1)[1].split(None, 1) for line in done.stdout.splitlines()]
    kinds = [kind for kind, _ in lines]
    assert sorted(kinds) == ["done", "latency", "model", "state", "state", "tool", "you"]
    assert kinds.index("you") < kinds.index("tool") < kinds.index("model")
    said = dict(lines)
    assert "weather in san francisco" in said["you"]
    assert said["tool"].startswith('get_weather({"city":"San Francisco"}) -> In San Francisco')
    assert said["latency"].split()[0].isdigit()
    assert {"sunny", "warm"} <= set(heard_in(tmp_path / "a.wav").split())
    sent = server.log.received("session.update")
    assert any(record.event["session"].get("instructions") == "Be brief." for record in sent)


def test_ctrl_c_hangs_up(server: LocalServer, tmp_path: Path) -> None:
    """With --json; the connection is closed politely, the last line is written, and the exit code is 0."""
    write_question(tmp_path / "q.wav", "Tell me a long story. " * 3)
    command = [*COMMAND, "talk", "--base-url", server.url, "--in", "q.wav", "--out", "a.wav", "--json"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (0, "")
    told = notes(first + rest)
    assert [(note["kind"], note["text"]) for note in told] == [
        ("state", "open"),
        ("state", "closed"),
        ("done", "answers: 0"),
    ]
    assert server.wait_disconnected()


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        (["--in", "none.wav"], 1, "none.wav"),
        (["--in", "noise.wav"], 1, "noise.wav is no WAV file"),
        (["--in", "empty.wav"], 1, "empty.wav is no WAV file (it is empty or cut short)"),
        (["--in", "q.wav", "--out", "./q.wav"], 1, "--out q.wav would overwrite the file of --in, q.wav"),
        (["--in", "q.wav", "--out", "link.wav"], 1, "--out link.wav would overwrite the file of --in, q.wav"),
        (
            ["--in", "q.wav", "--out", "no/a.wav"],
            1,
            "antiphon: no/a.wav: there is no folder no; make it first",
        ),
        (["--in", "q.wav", "--tool", "weather:get_wether"], 1, "no attribute 'get_wether'"),
        (["--in", "q.wav", "--tool", "weather"], 1, "MODULE:FUNCTION"),
        (["--in", "q.wav", "--azure-deployment", "d"], 1, "AZURE_OPENAI_API_KEY"),
        (["--in", "q.wav", "--base-url", "ftp://x"], 1, "base_url must be an address"),
        (["--in", "q.wav", "--api-version", "2025-01-01"], 1, "need --azure-deployment"),
        (["--out", "a.wav"], 2, "--out needs --in"),
        (["--in", "q.wav", "--push-to-talk"], 2, "needs a microphone"),
        (["--microphone", "gramophone", "--base-url", "http://127.0.0.1:9"], 4, ""),
    ],
)
def test_what_is_missing_or_wrong_is_named(
    words: list[str], code: int, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each kind of mistake has its exit code and says what is wrong."""
    write_question(tmp_path / "q.wav", "Hello.")
    (tmp_path / "noise.wav").write_bytes(bytes(range(256)))
    (tmp_path / "empty.wav").touch()
    (tmp_path / "link.wav").symlink_to("q.wav")
    question = (tmp_path / "q.wav").read_bytes()
    (tmp_path / "weather.py").write_text(WEATHER_MODULE)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(
        app, ["talk", *words], env={"OPENAI_API_KEY": KEY, "TERM": "dumb", "COLUMNS": "200"}
    )
    assert done.exit_code == code, done.output
    assert reason in done.stderr
    assert done.stdout == ""
    assert (tmp_path / "q.wav").read_bytes() == question


@pytest.mark.parametrize(
    ("words", "reasons"),
    [
        (["--base-url", "ftp://x"], ["base_url must be an address", "ftp://x"]),
        (["--base-url", "localhost:8765/v1"], ["base_url must be an address", "localhost:8765/v1"]),
        (["--base-url", "http://[::1"], ["base_url must be an address", "http://[::1"]),
        (["--base-url", "http://localhost:99999/v1"], ["base_url must be an address", "localhost:99999"]),
        (
            ["--base-url", "https://me:secret@localhst/v1"],
            ["no API key for localhst:", "OPENAI_API_KEY", "--base-url"],
        ),
        ([], ["no API key for api.openai.com:", "OPENAI_API_KEY", "--base-url"]),
        (
            ["--azure-deployment", "d", "--azure-endpoint", "mine.openai.azure.com"],
            ["base_url must be an address", "mine.openai.azure.com"],
        ),
    ],
)
def test_a_missing_key_hides_no_wrong_address(
    words: list[str], reasons: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong with the address comes first; where nothing can be seen to be, it is named."""
    write_question(tmp_path / "q.wav", "Hello.")
    monkeypatch.chdir(tmp_path)
    nothing = dict.fromkeys(
        ("OPENAI_API_KEY", "OPENAI_BASE_URL", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT")
    )
    done = CliRunner().invoke(app, ["talk", "--in", "q.wav", *words], env=nothing)
    assert done.exit_code == 1, done.output
    assert all(reason in done.stderr for reason in reasons), done.stderr
    assert "secret" not in done.output
    assert done.stdout == ""


@pytest.mark.full
def test_an_address_without_a_model_is_named_with_its_path(tmp_path: Path) -> None:
    """A 404 may be a server that starts, so it is tried again; in the end the message says where it asked."""
    write_question(tmp_path / "q.wav", "Hello.")
    with LocalServer() as server:
        address = f"{server.url}/of/another?token=hush"
        done = run("talk", "--base-url", address, "--in", "q.wav", folder=tmp_path)
    assert done.returncode == 3
    place = server.url.removeprefix("http://")
    assert f"{place}/of/another answered the handshake with HTTP 404: no such address" in done.stderr
    assert "check base_url and the model" in done.stderr
    assert "hush" not in done.stdout + done.stderr


def test_a_refused_key_ends_with_3(server: LocalServer, tmp_path: Path) -> None:
    """The message says what to check."""
    write_question(tmp_path / "q.wav", "Hello.")
    address = ("--base-url", server.url, "--in", "q.wav")
    done = run("talk", *address, folder=tmp_path, more={"OPENAI_API_KEY": "sk-another"})
    assert done.returncode == 3
    assert "the key was refused; check api_key" in done.stderr


@pytest.mark.full
def test_a_server_on_this_machine_needs_no_key(tmp_path: Path) -> None:
    """And what is said to the parrot there comes back."""
    write_question(tmp_path / "q.wav", "Hello.")
    with LocalServer("parrot") as server:
        words = ("talk", "--base-url", server.url, "--in", "q.wav", "--out", "a.wav", "--json")
        done = run(*words, folder=tmp_path, more={"OPENAI_API_KEY": ""})
    assert (done.returncode, done.stderr) == (0, "")
    kinds = [note["kind"] for note in notes(done.stdout)]
    assert (kinds[0], *kinds[-2:]) == ("state", "state", "done")
    assert sorted(kinds[1:-2]) == ["latency", "model", "user"]
    # The parrot says it back.
    asked, heard = (np.abs(read_wav(tmp_path / name)[0].astype(int)) for name in ("q.wav", "a.wav"))
    assert 0.8 < heard.sum() / asked.sum() < 1.2


def test_a_meter_is_linear_in_decibels() -> None:
    """Full at full scale, half at −25 dB, empty from −50 dB down."""
    assert meter(1.0) == 1.0
    assert abs(meter(10 ** (-25 / 20)) - 0.5) < 1e-9
    assert meter(10 ** (-51 / 20)) == meter(0.0) == 0.0
