"""The examples as their readers run them: programs that take a call and end at Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from asterisk_peer import Asterisk
from rtp_peer import SipPhone
from telephone import PATIENCE, Recital, Telephone, tune
from twilio_peer import Twilio

EXAMPLES = Path(__file__).parents[2] / "examples"
CARRIERS = {"audiosocket.py": Asterisk, "twilio_flask.py": Twilio, "rtp.py": SipPhone}


def free_port(kind: socket.SocketKind) -> int:
    """A port that nobody has."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_listening(port: int, program: subprocess.Popen[str]) -> None:
    """Wait until a program takes connections."""
    # Looked for again and again: the programs don't say when they listen.
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and program.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), PATIENCE).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the program does not listen")


@pytest.mark.full
@pytest.mark.parametrize("name", CARRIERS)
def test_a_program_takes_a_call_and_ends_at_ctrl_c(serve, name) -> None:
    server = serve(Recital(tune(0.5)))
    udp = name == "rtp.py"
    port = free_port(socket.SOCK_DGRAM if udp else socket.SOCK_STREAM)
    program = subprocess.Popen(
        [sys.executable, str(EXAMPLES / name), str(port)],
        env={**os.environ, "OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": "sk-test"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        if not udp:
            wait_listening(port, program)
        # What a SIP phone sends to a closed port is lost, and it goes on sending.
        with CARRIERS[name](port) as carrier:
            phone: Telephone = carrier.phone
            phone.wait_sound(0.45, 0)
        program.send_signal(signal.SIGINT)
        output, _ = program.communicate(timeout=PATIENCE)
    finally:
        program.kill()
        program.wait()
    assert "Traceback" not in output
    assert str(port) in output
    assert program.returncode in (0, -signal.SIGINT), output
