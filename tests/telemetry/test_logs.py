"""Every record of a session's life names the session and its connection."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from telemetry_harness import PATIENCE, Oracle, ask, drop, model_for

import antiphon
from antiphon import SessionFields, function_tool
from antiphon.actors import messages as m
from antiphon.actors.logs import Origin, about, enter
from antiphon.testing import Script

ROOT = Path(antiphon.__file__).resolve().parent.parent
FORMAT = logging.Formatter("%(name)s %(session_id)s/%(connection_id)d %(message)s")


class Kept(logging.Handler):
    """Keeps records, and the lines that a formatter with our fields makes of them."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(FORMAT)
        self.records: list[logging.LogRecord] = []
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        self.lines.append(self.format(record))
        self.records.append(record)

    def ours(self) -> list[logging.LogRecord]:
        """Those of the engine: the local server belongs to no session."""
        return [one for one in self.records if not one.name.startswith("antiphon.server")]


@pytest.fixture
def kept() -> Iterator[Kept]:
    handler, logger = Kept(), logging.getLogger("antiphon")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.setLevel(level)
    logger.removeHandler(handler)


def fail_next(session: antiphon.RealtimeSession, actor: str, kind: type) -> None:
    """Have an actor fail at the next message of a kind."""
    core: Any = session._actors.strand.actor(actor).core  # type: ignore[attr-defined]
    handler, undo = core.table[kind]
    struck: list[Any] = []

    def failing(core: Any, message: Any) -> None:
        if not struck:
            struck.append(message)
            raise ValueError("on purpose")
        handler(core, message)

    core.table = {**core.table, kind: (failing, undo)}


ODD_FRAMES = """
brain = "parrot"
[[turn]]
after = "session.updated"
do = [
    { raw = "oops" },
    { binary = "00ff" },
    { send = { type = "input_audio_buffer.speech_started", item_id = "item_u", audio_start_ms = 0 } },
]
"""


def test_every_record_of_a_sessions_life_has_its_fields(serve, kept, tmp_path) -> None:
    server = serve(Script.parse(ODD_FRAMES))
    with model_for(server, turn_detection=None) as model:
        session = model.session(start=False)
        session.record(tmp_path / "call.jsonl")
        restarts = session.events("actor_restarted")
        speech = session.events("input_speech_started")
        called = threading.Event()

        @session.on("session_reconnected")
        def fail(_: Any) -> None:
            called.set()
            raise ValueError("a callback of the application's")

        session.start()
        speech.get(PATIENCE)  # the last of the script
        session.update_tools(["no tool"])  # type: ignore[list-item]
        drop(session, server)
        assert called.wait(PATIENCE)
        fail_next(session, m.CHAT_CTX, m.Truncate)
        session.truncate("item_nowhere", ["audio"], 100)
        restarts.get(PATIENCE)
        context = session.chat_ctx
        message = context.add_message(role="user", content="Written.")
        session.update_chat_ctx(context, PATIENCE)
        session.truncate(message.id, ["audio"], 100)
        session.close()
    records = kept.ours()
    # What was to be logged on the app's thread, on workers, and on a callback's.
    logged = {record.name for record in records}
    assert logged >= {
        f"antiphon.{name}" for name in ("session", "connection", "callbacks", "supervisor", "chat_ctx")
    }
    assert {record.session_id for record in records} == {session.id}
    # The first connection, and the second after the drop.
    assert {record.connection_id for record in records} == {1, 2}
    assert any(line.startswith(f"antiphon.connection {session.id}/1 skipped a frame") for line in kept.lines)
    assert any(line.startswith(f"antiphon.callbacks {session.id}/2 a callback raised") for line in kept.lines)


def test_sessions_at_the_same_time_are_not_mixed_up(serve, kept) -> None:
    server = serve("parrot")
    with model_for(server) as model:
        sessions = [model.session(start=False) for _ in range(8)]
        for session in sessions:
            session.on("state_changed", lambda change, name=session.id: {}[name])
            session.start()
        for session in sessions:
            session.wait_open(PATIENCE)
            session.close()
    raised = [record for record in kept.ours() if record.name == "antiphon.callbacks"]
    assert {record.session_id for record in raised} == {session.id for session in sessions}
    for record in raised:
        assert record.exc_info is not None
        assert record.exc_info[1].args == (record.session_id,)  # type: ignore[union-attr]


def test_what_tools_and_callbacks_log_themselves_can_have_the_fields(serve) -> None:
    handler, logger = Kept(), logging.getLogger("an.application")
    handler.addFilter(SessionFields())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)

    @function_tool(name="look_up")
    def look(what: str) -> str:
        """Look something up."""
        logger.info("tool")
        return what

    with model_for(serve(Oracle()), turn_detection=None) as model:
        session = model.session().wait_open(PATIENCE)
        session.on("tool_started", lambda _: logger.info("callback"))
        session.update_tools([look], auto_execute=True)
        ask(session, "look up tea")
        logger.info("application")
        session.close()
    logger.removeHandler(handler)
    assert sorted(handler.lines) == [
        "an.application -/0 application",
        f"an.application {session.id}/1 callback",
        f"an.application {session.id}/1 tool",
    ]


def test_an_origin_lasts_as_long_as_its_block_and_an_extra_wins() -> None:
    fields = SessionFields()

    def made(**extra: object) -> tuple[object, object]:
        record = logging.makeLogRecord({"msg": "x", **extra})
        assert fields.filter(record)
        return record.session_id, record.connection_id

    origin = Origin("sess_a")
    with about(origin):
        assert made() == ("sess_a", 0)
        origin.connection_id = 3
        before = enter(Origin("sess_b"))
        assert made() == ("sess_b", 0)
        assert enter(before).session_id == "sess_b"
        assert made() == ("sess_a", 3)
        assert made(session_id="other", connection_id=9) == ("other", 9)
    assert made() == ("-", 0)


def test_every_logger_of_ours_has_the_fields() -> None:
    loose = [
        str(path.relative_to(ROOT))
        for folder in ("actors", "antiphon")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"getLogger\((__name__|[\"']antiphon\.)", path.read_text("utf-8"))
    ]
    assert loose == []


def test_the_example_in_the_docs_works(capsys) -> None:
    from antiphon.actors import logs

    code = "\n".join(line[4:] for line in (logs.__doc__ or "").split("\n\n")[2].splitlines())
    handler: logging.Handler | None = None
    scope: dict[str, Any] = {"logging": logging}
    exec(code, scope)
    handler = scope["handler"]
    try:
        with about(Origin("sess_a")):
            logs.get_logger("antiphon.example").warning("here I am")
    finally:
        logging.getLogger("antiphon").removeHandler(handler)
    assert "WARNING antiphon.example sess_a/0 here I am" in capsys.readouterr().err
