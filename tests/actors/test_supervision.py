"""The supervisor's configuration: read from a file, or refused with file, key and what is allowed (contract §11)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from antiphon.actors.supervision import ConfigFile, SupervisorConfig
from antiphon.cli.app import app

DOCUMENTED = Path(__file__).parents[2] / "docs" / "supervision.toml"

CHANGED_AS = {
    "toml": """
        engine.workers = 4
        [supervisor]
        strategy = "one_for_all"
        generation = { restart = "temporary", max_restarts = 0, mailbox = { overflow = "drop_oldest" } }
        connection.backoff = { initial = 1, jitter = 0.5 }
    """,
    "yaml": """
supervisor:
  strategy: one_for_all
  generation: {restart: temporary, max_restarts: 0, mailbox: {overflow: drop_oldest}}
  connection:
    backoff: {initial: 1, jitter: 0.5}
engine:
  workers: 4
""",
}
CHANGED = {
    "supervisor": {
        "strategy": "one_for_all",
        "generation": {"restart": "temporary", "max_restarts": 0, "mailbox": {"overflow": "drop_oldest"}},
        "connection": {"backoff": {"initial": 1, "jitter": 0.5}},
    },
    "engine": {"workers": 4},
}


def fields(kind: Any, value: Any, at: str = "") -> Iterator[tuple[str, bool]]:
    """The keys of a struct and of those inside it, and whether each stands in `value`."""
    for field in msgspec.structs.fields(kind):
        name = f"{at}.{field.encode_name}".lstrip(".")
        there = isinstance(value, dict) and field.encode_name in value
        yield name, there
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from fields(field.type, value[field.encode_name] if there else None, name)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: ") as caught:
        ConfigFile.load(path)
    return str(caught.value).removeprefix(f"{path}: ")


def test_the_documented_file_has_every_key_with_its_default() -> None:
    assert ConfigFile.load(DOCUMENTED) == ConfigFile()
    data = msgspec.toml.decode(DOCUMENTED.read_text())
    assert [name for name, there in fields(ConfigFile, data) if not there] == []


def test_every_key_of_the_documented_file_is_explained() -> None:
    # Those of the other actors are the same as of the first.
    text = DOCUMENTED.read_text()
    explained = text[: text.index("[supervisor.generation]")] + text[text.index("[engine]") :]
    lines = explained.splitlines()
    for number, line in enumerate(lines):
        if " = " in line and not line.startswith("#"):
            assert lines[number - 1].startswith("#"), line


@pytest.mark.parametrize("kind", ["toml", "json", "yaml", "yml"])
def test_the_three_languages_say_the_same(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"config.{kind}"
    path.write_text(json.dumps(CHANGED) if kind in ("json", "yml") else CHANGED_AS[kind])
    config = ConfigFile.load(path)
    assert config == msgspec.convert(CHANGED, ConfigFile)
    assert SupervisorConfig.load(str(path)) == config.supervisor
    assert (config.supervisor.strategy, config.supervisor.generation.max_restarts) == ("one_for_all", 0)
    assert config.supervisor.chat_ctx == SupervisorConfig().chat_ctx


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    assert ConfigFile.load(write(tmp_path / "empty.toml", "")) == ConfigFile()


@pytest.mark.parametrize(
    ("text", "key", "said", "allowed"),
    [
        ("[supervisr]", "the top level", "`supervisr`", "supervisor, engine"),
        ('[supervisor]\nstrategie = "x"', "supervisor", "`strategie`", "strategy, chat_ctx"),
        (
            "[supervisor.audio_in.mailbox]\nsize = 3",
            "supervisor.audio_in.mailbox",
            "`size`",
            "limit, overflow",
        ),
        (
            '[supervisor]\nstrategy = "all"',
            "supervisor.strategy",
            "'all'",
            "one_for_all, one_for_one, rest_for_one",
        ),
        (
            '[supervisor.connection]\nrestart = "never"',
            "supervisor.connection.restart",
            "'never'",
            "permanent, temporary, transient",
        ),
        ("[supervisor.chat_ctx]\nwithin = 0", "supervisor.chat_ctx.within", "> 0", "above 0"),
        ("[supervisor.chat_ctx]\nwithin = nan", "supervisor.chat_ctx.within", "", "above 0"),
        (
            "[supervisor.chat_ctx]\nmax_restarts = -1",
            "supervisor.chat_ctx.max_restarts",
            ">= 0",
            "at least 0",
        ),
        (
            "[supervisor.chat_ctx]\nmax_restarts = 1.5",
            "supervisor.chat_ctx.max_restarts",
            "float",
            "whole number",
        ),
        (
            "[supervisor.chat_ctx.backoff]\ninitial = inf",
            "supervisor.chat_ctx.backoff.initial",
            "<= 3600",
            "at least 0 and at most 3600",
        ),
        (
            "[supervisor.chat_ctx.backoff]\njitter = 1.1",
            "supervisor.chat_ctx.backoff.jitter",
            "<= 1",
            "at least 0 and at most 1",
        ),
        ("[engine]\nworkers = 0", "engine.workers", ">= 1", "a whole number at least 1"),
        ('[engine]\nworkers = "2"', "engine.workers", "`str`", "a whole number at least 1"),
        ("[engine]\nworkers = true", "engine.workers", "`bool`", "a whole number at least 1"),
        ("engine = 3", "engine", "`int`", "workers, io_threads, tool_workers, dispatcher"),
        ('[engine]\ndispatcher = "process"', "engine.dispatcher", "'process'", "pool, thread"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_what_is_allowed(
    tmp_path: Path, text: str, key: str, said: str, allowed: str
) -> None:
    message = refusal(write(tmp_path / "wrong.toml", text))
    assert message.startswith(f"{key}: ")
    assert said in message
    assert allowed in message.partition("allowed: ")[2]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.toml", "[supervisor\n"),
        ("a.json", '{"supervisor": '),
        ("a.yaml", "supervisor: [1,\n"),
        ("a.json", ""),
    ],
)
def test_what_is_not_the_language_is_refused(tmp_path: Path, name: str, text: str) -> None:
    assert refusal(write(tmp_path / name, text))


@pytest.mark.parametrize(("name", "text"), [("a.json", "[]"), ("a.yaml", "- 1\n"), ("a.json", "null")])
def test_a_file_that_holds_something_else_is_refused(tmp_path: Path, name: str, text: str) -> None:
    assert "allowed: supervisor, engine" in refusal(write(tmp_path / name, text))


@pytest.mark.parametrize("kind", ["toml", "json", "yaml"])
def test_bytes_that_are_no_text_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_bytes(b"\xff\xfe\x00a = 1")
    assert refusal(path)


def test_a_file_that_is_not_there_a_directory_and_another_kind_of_file(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "none.toml")
    (tmp_path / "folder.toml").mkdir()
    assert "directory" in refusal(tmp_path / "folder.toml")
    assert ".toml, .json, .yaml or .yml" in refusal(write(tmp_path / "a.ini", ""))


def test_a_file_that_this_user_may_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "secret.toml", "")

    # Tests may run as root, who may read everything.
    def refuse(*_: Any, **__: Any) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    assert "Permission denied" in refusal(path)


def test_the_command_shows_what_a_good_file_comes_to() -> None:
    done = CliRunner().invoke(app, ["check-config", str(DOCUMENTED)])
    assert done.exit_code == 0, done.stderr
    assert msgspec.json.decode(done.stdout, type=ConfigFile) == ConfigFile()


def test_the_command_names_file_key_and_allowed_values(tmp_path: Path) -> None:
    path = write(tmp_path / "wrong.toml", '[supervisor]\nstrategy = "all"')
    done = CliRunner().invoke(app, ["check-config", str(path)])
    assert (done.exit_code, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"antiphon: {path}: supervisor.strategy: ")
    assert "one_for_one" in line
