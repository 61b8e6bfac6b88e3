"""What can be wrong on this machine, and between it and a model: one function for each part."""

from __future__ import annotations

import http.client
import importlib.util
import os
import socket
import ssl
import time
from email.utils import parsedate_to_datetime
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec

from antiphon import RealtimeError, RealtimeModel, StreamEnded
from antiphon.actors.dialling import proxy_from_environment
from antiphon.devices import DeviceError, list_devices
from antiphon.devices.streams import Microphone

Verdict = Literal["ok", "warning", "wrong"]

TIMEOUT_S: Final = 10.0
# Certificates and tokens tolerate a few minutes; more is a clock that is wrong.
_SKEW_S: Final = 60.0
_EXPIRES_DAYS: Final = 14
_DAY_S: Final = 86_400
_LISTEN_S: Final = 1.0
_SKIP_AUDIO: Final = "--no-audio leaves this check out"
_EXTRAS: Final = {"local": "websockets", "devices": "sounddevice", "video": "PIL"}


class Finding(msgspec.Struct, frozen=True):
    """What a check found.

    Attributes:
        check: What was looked at.
        verdict: How it is.
        detail: What was found.
        fix: What to do about it, "" where there is nothing to do.
    """

    check: str
    verdict: Verdict
    detail: str
    fix: str = ""


def examine_install() -> list[Finding]:
    """Which extras are there."""
    missing = [extra for extra, module in _EXTRAS.items() if importlib.util.find_spec(module) is None]
    if not missing:
        return [Finding("install", "ok", "all extras are there")]
    detail = f"extras not installed: {', '.join(missing)}"
    return [
        Finding("install", "warning", detail, f"pip install 'antiphon[{','.join(missing)}]' if you want them")
    ]


def examine_key(variable: str, *, needed: bool) -> list[Finding]:
    """Whether the key in an environment variable looks like one. It is never shown.

    Args:
        variable: The variable's name.
        needed: Whether the server may ask for a key.
    """
    key = os.environ.get(variable)
    if not key and not needed:
        return [Finding("key", "ok", f"{variable} is not set; a server on this machine needs none")]
    if not key:
        return [Finding("key", "warning", f"{variable} is not set", f"export {variable}=…")]
    if key[0] in "\"'" or any(not 33 <= ord(char) <= 126 for char in key):
        detail = f"{variable} has spaces, quotes or other characters that no key has"
        return [Finding("key", "wrong", detail, "set it again, without them")]
    return [Finding("key", "ok", f"{variable} is set ({len(key)} characters)")]


def examine_network(url: str) -> list[Finding]:
    """Proxy, name, connection, TLS and clock, up to the first that fails.

    Args:
        url: The address of the model's WebSocket.
    """
    parts = urlsplit(url)
    secure = parts.scheme == "wss"
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    proxy = proxy_from_environment(host, port, secure)
    if proxy is None:
        findings = [Finding("proxy", "ok", "none for this address")]
    else:
        through = urlsplit(proxy)
        findings = [Finding("proxy", "ok", f"{through.hostname}:{through.port or 80}, from the environment")]
        host, port = through.hostname or "", through.port or 80
    try:
        addresses = {str(found[4][0]) for found in socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)}
    except OSError as error:
        fix = "check the address, the network and the name servers"
        return [*findings, Finding("name", "wrong", f"{host} can't be resolved: {error.strerror}", fix)]
    findings.append(Finding("name", "ok", f"{host} is {', '.join(sorted(addresses))}"))
    began = time.monotonic()
    try:
        sock = socket.create_connection((host, port), TIMEOUT_S)
    except OSError as error:
        fix = "is a server listening there? does a firewall block it, or is a proxy needed (HTTPS_PROXY)?"
        detail = f"{host}:{port} can't be reached: {error.strerror or error}"
        return [*findings, Finding("connection", "wrong", detail, fix)]
    took = (time.monotonic() - began) * 1000
    findings.append(Finding("connection", "ok", f"{host}:{port} after {took:.0f} ms"))
    with sock:
        # Behind a proxy the rest is up to the handshake.
        return findings if proxy is not None else findings + _converse(sock, host, port, secure)


def examine_handshake(model: RealtimeModel) -> list[Finding]:
    """Whether the server lets the key in and takes the configuration, by a session that is closed again."""
    session = model.session(start=False)
    errors = session.events("error")
    answers = session.events("openai_server_event_received")
    kinds: set[str] = set()
    began = time.monotonic()
    try:
        session.start()
        session.wait_open(TIMEOUT_S)
        # An unknown model is refused only now.
        while not (kinds & {"session.updated", "error"}):
            kinds.add(answers.get(TIMEOUT_S)[1]["type"])
        failure = ""
    except (RealtimeError, TimeoutError, StreamEnded) as error:
        failure = str(error) or "the server ended the session"
    finally:
        session.close()
    took = (time.monotonic() - began) * 1000
    reasons = [str(payload.error) for _, payload in errors] or [failure]
    if reasons[-1]:
        return [Finding("session", "wrong", reasons[-1], _handshake_fix(reasons[-1]))]
    return [Finding("session", "ok", f"{model.model} at {model.provider} answered after {took:.0f} ms")]


def examine_audio() -> list[Finding]:
    """Which devices there are, and whether the microphone hears anything."""
    try:
        devices = list_devices()
    except DeviceError as error:
        fix = f"or use --in and --out, which need no devices; {_SKIP_AUDIO}"
        return [Finding("audio", "wrong", str(error), fix)]
    findings = []
    for name, wanted in (
        ("microphone", next((device for device in devices if device.default_input), None)),
        ("loudspeaker", next((device for device in devices if device.default_output), None)),
    ):
        others = [
            f"{d.index}: {d.name}" for d in devices if (d.inputs if name == "microphone" else d.outputs)
        ]
        if wanted is None:
            fix = f"plug one in, or name one of these: {', '.join(others)}" if others else "plug one in"
            detail = "the system has no default one"
            findings.append(Finding(name, "wrong", detail, f"{fix}; {_SKIP_AUDIO}"))
        else:
            detail = f"{wanted.name} (of {', '.join(others)})"
            findings.append(Finding(name, "ok", detail))
    if findings[0].verdict == "ok":
        findings.append(_listen())
    return findings


def _converse(sock: socket.socket, host: str, port: int, secure: bool) -> list[Finding]:
    findings: list[Finding] = []
    if secure:
        try:
            sock = ssl.create_default_context().wrap_socket(sock, server_hostname=host)
        except ssl.SSLCertVerificationError as error:
            return [
                Finding(
                    "TLS",
                    "wrong",
                    f"the certificate was not accepted: {error.verify_message}",
                    _tls_fix(error),
                )
            ]
        except OSError as error:
            fix = "is it an https address? does something on the way break TLS open?"
            return [Finding("TLS", "wrong", f"no TLS with {host}: {error}", fix)]
        findings.append(_certificate(sock))
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    connection.sock = sock
    try:
        connection.request("GET", "/")
        date = connection.getresponse().getheader("Date")
    except (OSError, http.client.HTTPException) as error:
        return [
            *findings,
            Finding("clock", "warning", f"could not be compared: {error or type(error).__name__}"),
        ]
    finally:
        connection.close()
    return [*findings, _clock(date)]


def _certificate(sock: ssl.SSLSocket) -> Finding:
    expires = str((sock.getpeercert() or {}).get("notAfter", ""))
    days = (ssl.cert_time_to_seconds(expires) - time.time()) / _DAY_S
    detail = f"{sock.version()}, certificate valid for {days:.0f} more days"
    if days < _EXPIRES_DAYS:
        return Finding("TLS", "warning", detail, "have the certificate renewed")
    return Finding("TLS", "ok", detail)


def _clock(date: str | None) -> Finding:
    try:
        skew = time.time() - parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return Finding("clock", "ok", "the server doesn't tell the time")
    if abs(skew) <= _SKEW_S:
        return Finding("clock", "ok", f"within {_SKEW_S:.0f} s of the server's")
    way = "ahead of" if skew > 0 else "behind"
    detail = f"{abs(skew):.0f} s {way} the server's"
    return Finding("clock", "wrong", detail, "set the clock, or switch network time on")


def _tls_fix(error: ssl.SSLCertVerificationError) -> str:
    reason = error.verify_message
    if "expired" in reason or "not yet valid" in reason:
        return "check this machine's clock; else the server's certificate has to be renewed"
    if "self-signed" in reason or "unable to get local issuer" in reason:
        return "if a company's proxy or a server of your own made it: set SSL_CERT_FILE to its authority"
    return "check the address: the certificate is for another name"


def _handshake_fix(reason: str) -> str:
    # Refusals by HTTP say themselves what to check.
    return "" if "check" in reason else "check the key's rights and the model's name"


def _listen() -> Finding:
    microphone = Microphone(None)
    try:
        microphone.open()
    except DeviceError as error:
        return Finding(
            "recording", "wrong", str(error), "is another program using it, or is permission missing?"
        )
    try:
        # A device that slept takes a while.
        if microphone.take(TIMEOUT_S) is None:
            return Finding("recording", "wrong", "the microphone brings nothing", "plug it in again")
        loudest = microphone.level
        end = time.monotonic() + _LISTEN_S
        while (left := end - time.monotonic()) > 0:
            if microphone.take(left) is not None:
                loudest = max(loudest, microphone.level)
    finally:
        microphone.close()
    if loudest == 0.0:
        fix = "is it muted, or may the terminal not use it (privacy settings)?"
        return Finding("recording", "warning", "the microphone brings nothing but zeros", fix)
    return Finding("recording", "ok", f"peak {loudest:.0%} in {_LISTEN_S:.0f} s")
