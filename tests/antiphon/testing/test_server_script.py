"""Scripts, the log, and the command line."""

from __future__ import annotations

import json
import logging
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

import antiphon.testing
from antiphon.testing import LocalServer, Script

SCRIPT = """
[[turn]]
wait = "connect"
do = [{ send = { type = "session.created", session = { type = "realtime", model = "m" } } }]

[[turn]]
wait = "session.update"
where = { "session.type" = "realtime" }
do = [
    { delay = 0.05 },
    { send = { type = "session.updated", session = "$session" } },
    { raw = '{"type": "oops' },
    { binary = "00ff" },
    { error = { code = "slow_down", message = "Slow down." } },
]

[[turn]]
wait = "input_audio_buffer.clear"
each = true
do = [{ raw = "again" }]

[[turn]]
wait = "response.create"
count = 2
do = [{ close = 1011, reason = "enough" }]
"""


def test_a_script_plays_turn_by_turn() -> None:
    with LocalServer(Script.parse(SCRIPT)) as server, connect(server.ws_url) as socket:
        assert json.loads(socket.recv())["session"]["model"] == "m"
        socket.send('{"type":"response.create"}')  # not its turn yet
        socket.send('{"type":"session.update","session":{"type":"transcription"}}')  # not the one
        session = {"type": "realtime", "instructions": "x"}
        socket.send(json.dumps({"type": "session.update", "event_id": "mine", "session": session}))
        assert json.loads(socket.recv())["session"] == session
        assert socket.recv() == '{"type": "oops'
        assert socket.recv() == b"\x00\xff"
        error = json.loads(socket.recv())["error"]
        assert (error["code"], error["event_id"]) == ("slow_down", "mine")
        for _ in range(2):
            socket.send('{"type":"input_audio_buffer.clear"}')
            assert socket.recv() == "again"
        for _ in range(2):
            socket.send('{"type":"response.create"}')
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1011


def drain(socket: ClientConnection) -> None:
    while True:
        socket.recv()


def test_the_example_script_makes_trouble_for_the_parrot() -> None:
    example = Path(antiphon.testing.__file__).parent / "brains" / "example.toml"
    with LocalServer(example, pace=100) as server, connect(server.ws_url) as socket:
        assert json.loads(socket.recv())["type"] == "session.created"
        socket.send('{"type":"response.create"}')
        assert json.loads(socket.recv())["error"]["code"] == "server_error"
        audio = "AAAA" * 8000
        item = {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": audio}]}
        socket.send(json.dumps({"type": "conversation.item.create", "item": item}))
        socket.send('{"type":"response.create"}')
        with pytest.raises(ConnectionClosed):
            drain(socket)
        assert len(server.log.sent("response.output_audio.delta")) == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("turn = 3", "turn"),
        ("[[turn]]\ndo = []", "turn 1 needs one of"),
        ('[[turn]]\nwait = "x"\ndo = [{ shout = 1 }]', "needs one of send"),
        ('brain = "big"', "brain"),
        ("[[", "not a script"),
    ],
)
def test_a_bad_script_is_refused_with_the_place(text: str, words: str) -> None:
    with pytest.raises(ValueError, match="not a script") as refused:
        Script.parse(text)
    assert words in str(refused.value)


def test_a_server_can_be_made_to_speak_otherwise() -> None:
    def rewrite(event: dict[str, Any]) -> list[dict[str, Any]]:
        if event["type"] == "session.created":
            return []
        return [{"type": "x.before"}, {**event, "x": 1}]

    with LocalServer("parrot", rewrite=rewrite) as server, connect(server.ws_url) as socket:
        socket.send('{"type":"input_audio_buffer.clear"}')
        assert json.loads(socket.recv()) == {"type": "x.before"}
        cleared = json.loads(socket.recv())
        assert (cleared["type"], cleared["x"]) == ("input_audio_buffer.cleared", 1)
        # the log has what was really sent
        assert [record.type for record in server.log.sent()] == ["x.before", "input_audio_buffer.cleared"]


def test_the_clients_keys_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    headers = {"Authorization": "Bearer sk-of-the-client"}
    with (
        LocalServer("parrot", api_key="sk-of-the-client") as server,
        connect(server.ws_url, additional_headers=headers, logger=logging.getLogger("none")) as socket,
    ):
        assert socket.recv()
    assert "connection open" in caplog.text
    assert "sk-of-the-client" not in "".join(
        record.getMessage() for record in caplog.records if record.name != "none"
    )


def test_the_log_waits_and_says_what_came_instead() -> None:
    with LocalServer("parrot") as server, connect(server.ws_url) as socket:
        socket.send('{"type":"input_audio_buffer.clear"}')
        assert server.log.wait_received("input_audio_buffer.clear").event == {
            "type": "input_audio_buffer.clear"
        }
        assert server.log.wait_sent("input_audio_buffer.cleared", connection=0).connection == 0
        with pytest.raises(TimeoutError, match=r"sent input_audio_buffer\.cleared"):
            server.log.wait_for(lambda record: record.type == "never", timeout=0.05)


def test_public_names_are_all_there() -> None:
    for name in antiphon.testing.__all__:
        assert getattr(antiphon.testing, name)
    with pytest.raises(AttributeError):
        antiphon.testing.nothing  # noqa: B018
    with pytest.raises(ValueError, match="unknown brain"):
        LocalServer("nobody")


def test_serve_until_interrupted() -> None:
    command = [sys.executable, "-m", "antiphon.cli", "serve", "--port", "0", "--brain", "parrot"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        url = line.split("listens at ")[1].split()[0].replace("http", "ws")
        with connect(f"{url}/realtime") as socket:
            assert json.loads(socket.recv())["type"] == "session.created"
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 0
        assert "stopped" in process.stdout.read()
    refused = subprocess.run(
        [*command[:-1], "nobody"], capture_output=True, text=True, timeout=20, check=False
    )
    assert refused.returncode == 1
    assert "use 'voice', 'parrot'" in refused.stderr


def test_a_missing_extra_is_named() -> None:
    code = "import sys; sys.modules['typer'] = None; from antiphon.cli import main; main()"
    refused = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False
    )
    assert "pip install 'antiphon[cli]'" in refused.stderr
    code = (
        "import sys; sys.modules['websockets.sync.server'] = None\nfrom antiphon.testing import LocalServer\n"
    )
    code += "LocalServer().start()"
    refused = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False
    )
    assert "pip install 'antiphon[local]'" in refused.stderr


def test_a_server_that_is_stopped_at_once_ends_in_peace() -> None:
    # Its thread may not have begun to listen yet; an exception in it would fail this test.
    for _ in range(50):
        with LocalServer(brain="parrot"):
            pass


def test_a_probe_of_the_port_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with LocalServer(brain="parrot") as server:
        with socket.create_connection(("127.0.0.1", server.port)):
            pass
        deadline = time.monotonic() + 10
        while "left before the handshake" not in caplog.text and time.monotonic() < deadline:
            threading.Event().wait(0.01)
    assert "left before the handshake" in caplog.text
    assert all(record.levelno < logging.WARNING for record in caplog.records)
