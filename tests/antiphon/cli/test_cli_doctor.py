"""`antiphon doctor`: each thing that can be wrong, made wrong."""

from __future__ import annotations

import http.server
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from cli_harness import KEY, notes, run
from typer.testing import CliRunner

from antiphon.cli.app import app
from antiphon.testing import LocalServer

HOUR = 3600.0


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """No keys and no proxies of the developer's."""
    for name in (
        "OPENAI_BASE_URL",
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "NO_PROXY",
        "no_proxy",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def examined(*words: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit code and the findings by check."""
    done = CliRunner().invoke(app, ["doctor", "--no-audio", "--json", *words])
    assert KEY not in done.output
    return done.exit_code, by_check(done.stdout)


def by_check(output: str) -> dict[str, dict[str, Any]]:
    """The findings in an output of --json."""
    return {finding["check"]: finding for finding in notes(output)}


def wrong(findings: dict[str, dict[str, Any]]) -> list[str]:
    """The checks that something is wrong with."""
    return [check for check, finding in findings.items() if finding["verdict"] == "wrong"]


class _Page(http.server.BaseHTTPRequestHandler):
    """Answers 404, by a clock of its own."""

    skew = 0.0

    def do_GET(self) -> None:
        self.send_error(404)

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string(time.time() - self.skew)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def page(skew: float = 0.0, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server that is no Realtime server; its address without the scheme."""
    handler = type("Page", (_Page,), {"skew": skew})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="page")
        thread.start()
        try:
            yield f"localhost:{server.server_address[1]}/v1"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def authority() -> trustme.CA:
    """Nobody trusts it."""
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    """A server's side of TLS, for localhost."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


def test_all_is_well() -> None:
    """Nothing is wrong with the local server, and it was really asked."""
    with LocalServer(api_key=KEY) as server:
        code, findings = examined("--base-url", server.url)
        assert len(server.log.received("session.update")) == 1
    assert (code, wrong(findings)) == (0, [])
    assert findings["session"]["verdict"] == "ok"
    assert findings["clock"]["detail"] == "within 60 s of the server's"


def test_for_people_it_is_a_list() -> None:
    """One line a finding, the mark first, and what to do below it."""
    done = CliRunner().invoke(app, ["doctor", "--no-audio", "--base-url", "http://127.0.0.1:1"])
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert any(line.startswith("ok     key          OPENAI_API_KEY is set") for line in lines)
    bad = next(number for number, line in enumerate(lines) if line.startswith("WRONG  connection"))
    assert "-> is a server listening there?" in lines[bad + 1]


@pytest.mark.parametrize("key", ["'sk-quoted'", "sk-with space", "sk-line\n", "sk-–dash"])
def test_a_key_that_is_none(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is found without the network, and isn't shown."""
    monkeypatch.setenv("OPENAI_API_KEY", key)
    done = CliRunner().invoke(app, ["doctor", "--no-audio", "--no-network"])
    assert done.exit_code == 1
    assert "WRONG  key" in done.stdout
    assert key.strip() not in done.stdout


def test_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the public address that is wrong; the message says both ways to give it."""
    monkeypatch.delenv("OPENAI_API_KEY")
    code, findings = examined()
    assert (code, wrong(findings)) == (1, ["settings"])
    assert "OPENAI_API_KEY" in findings["settings"]["detail"]
    assert findings["key"]["verdict"] == "warning"


def test_no_key_for_a_server_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """It needs none, so there is nothing to warn of; by whichever way its address is given."""
    monkeypatch.delenv("OPENAI_API_KEY")
    code, findings = examined("--no-network", "--base-url", "http://127.0.0.1:8765/v1")
    assert (code, findings["key"]["verdict"]) == (0, "ok")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:8765/v1")
    assert examined("--no-network")[1]["key"]["verdict"] == "ok"
    findings = examined("--no-network", "--base-url", "http://[::1")[1]
    assert findings["key"]["verdict"] == "warning"


def test_a_refused_key() -> None:
    """The server says so."""
    with LocalServer(api_key="sk-another") as server:
        code, findings = examined("--base-url", server.url)
    assert (code, wrong(findings)) == (1, ["session"])
    assert "the key was refused" in findings["session"]["detail"]


def test_no_such_name() -> None:
    """`.invalid` is resolved nowhere."""
    code, findings = examined("--base-url", "https://realtime.invalid/v1")
    assert (code, wrong(findings)) == (1, ["name"])


def test_nobody_listens() -> None:
    """The port was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    _, findings = examined("--base-url", f"http://127.0.0.1:{port}")
    assert wrong(findings) == ["connection"]


def test_a_certificate_by_a_stranger(tls: ssl.SSLContext) -> None:
    """What to do: name the authority."""
    with page(context=tls) as address:
        _, findings = examined("--base-url", f"https://{address}")
    assert wrong(findings) == ["TLS"]
    assert "SSL_CERT_FILE" in findings["TLS"]["fix"]


def test_another_server_behind_tls(tls: ssl.SSLContext, authority: trustme.CA, tmp_path: Path) -> None:
    """With the authority named TLS is well, and the handshake finds that no model is there."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with page(context=tls) as address:
        words = ("doctor", "--no-audio", "--json", "--base-url", f"https://{address}")
        # A process of its own: an engine loads the authorities once, and this one's may have done so.
        done = run(*words, folder=tmp_path, more={"SSL_CERT_FILE": str(tmp_path / "ca.pem")})
    findings = by_check(done.stdout)
    assert findings["TLS"]["verdict"] == "ok"
    assert findings["TLS"]["detail"].startswith("TLSv1.")
    assert wrong(findings) == ["session"]
    assert "HTTP 404" in findings["session"]["detail"]


@pytest.mark.parametrize(("skew", "way"), [(HOUR, "ahead of"), (-HOUR, "behind")])
def test_a_clock_that_is_wrong(skew: float, way: str) -> None:
    """Compared with the server's."""
    with page(skew) as address:
        _, findings = examined("--base-url", f"http://{address}")
    assert wrong(findings)[0] == "clock"
    assert way in findings["clock"]["detail"]


def test_a_proxy_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's proxy is what can't be reached; its password isn't shown."""
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret@127.0.0.1:1")
    _, findings = examined("--base-url", "https://realtime.invalid/v1")
    assert wrong(findings) == ["connection"]
    assert findings["proxy"]["detail"] == "127.0.0.1:1, from the environment"
    assert "secret" not in str(findings)


@pytest.mark.skipif(sys.platform != "linux", reason="only ALSA can be told that there are no devices")
def test_a_machine_without_devices(tmp_path: Path) -> None:
    """That is wrong, and the message says how to go without; then all is well."""
    # Without any definition of a default PortAudio aborts; this one's card isn't there.
    (tmp_path / "alsa.conf").write_text("pcm.!default { type hw card 97 }\n")
    environment = {"ALSA_CONFIG_PATH": str(tmp_path / "alsa.conf")}
    done = run("doctor", "--no-network", folder=tmp_path, more=environment)
    assert done.returncode == 1
    wrong_at = [at for at, line in enumerate(done.stdout.splitlines()) if line.startswith("WRONG")]
    assert wrong_at
    assert all("--no-audio" in done.stdout.splitlines()[at + 1] for at in wrong_at), done.stdout
    done = run("doctor", "--no-network", "--no-audio", folder=tmp_path, more=environment)
    assert (done.returncode, done.stderr) == (0, "")
