"""Whole runs at the most talkative log level: no secret and no audio in the log, in a repr, traceback or error."""

from __future__ import annotations

import base64
import logging
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from hostile_server import PATIENCE, Peer, attacked

import antiphon
import antiphon.protocol as p
from antiphon import (
    AudioContent,
    AudioFrame,
    ChatContext,
    ConnectOptions,
    RealtimeModel,
    Timeouts,
    function_tool,
)
from antiphon.testing import LocalServer

KEY, WRONG_KEY, TOKEN = "sk-HUSHHUSH-key-0123", "sk-HUSHHUSH-wrong-0123", "eyJ.HUSHHUSH-token.0123"
USER, PASSWORD, HEADER = "caller", "HUSHHUSH:p@ssword/", "HUSHHUSH-tenant-0123"
BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
SECRETS = (KEY, WRONG_KEY, TOKEN, PASSWORD, quote(PASSWORD, safe=""), BASIC, HEADER, "HUSHHUSH")
# Speech that is easy to find again in any form: its samples are the letters of a word, over and over.
PCM = b"CONFIDENTIAL" * 2000
SAMPLES = np.frombuffer(PCM, np.int16)
# Wherever a piece of it begins, one of these is in it; and the first numbers of the array, as numpy prints them.
AUDIO = [base64.b64encode((b"CONFIDENTIAL" * 3)[shift : shift + 24]).decode()[:20] for shift in range(12)]
SHOWN_AUDIO = (
    "CONFIDENTIAL",
    repr(PCM[:12]),
    ", ".join(map(str, SAMPLES[:3])),
    " ".join(map(str, SAMPLES[:3])),
    *AUDIO,
)
QUICK = {
    "conn_options": ConnectOptions(max_retry=1, retry_interval=0.05),
    "timeouts": Timeouts(first_retry=0.01),
}


class Findings(logging.Handler):
    """Everything that was shown: formatted log records with their tracebacks, and what tests add."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.texts: list[str] = []
        self.loggers: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self.loggers.add(record.name)
        self.texts.append(self.format(record))

    def show(self, *things: object) -> None:
        """Show things in every way that there is."""
        for thing in things:
            self.texts += [str(thing), repr(thing), f"{thing}", f"{[thing]}"]
            if isinstance(thing, BaseException):
                self.texts += traceback.format_exception(thing)

    def check(self) -> None:
        """None of it is a secret, or audio."""
        for text in self.texts:
            for hidden in (*SECRETS, *SHOWN_AUDIO):
                assert hidden not in text, f"{hidden!r} is shown: {text[:500]}"


@pytest.fixture
def findings(capfd: pytest.CaptureFixture[str]) -> Iterator[Findings]:
    handler, root = Findings(), logging.getLogger()
    level = root.level
    # `antiphon.*` and websocket-client's own ("websocket") pass on to the root.
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    # The local server is the other side: it has to know the secrets.
    yield handler
    root.setLevel(level)
    root.removeHandler(handler)
    handler.texts += capfd.readouterr()
    assert handler.texts
    handler.check()


def secretive(base_url: str, **options: Any) -> RealtimeModel:
    """A model with a secret in everything that can hold one."""
    return RealtimeModel(
        **{"base_url": base_url, "api_key": KEY, "headers": {"X-Tenant": HEADER}, **QUICK, **options}
    )


def refused(findings: Findings, model: RealtimeModel) -> None:
    """Show everything about a session that can't connect."""
    session = model.session(start=False)
    events = session.events()
    session.start()
    with pytest.raises(antiphon.RealtimeError) as caught:
        session.wait_open(PATIENCE)
    findings.show(session, model, caught.value, *events)
    findings.show(model._endpoint, model._spec, *vars(session).values())
    model.close()


def test_a_whole_run_shows_nothing(findings: Findings) -> None:
    @function_tool
    def fail() -> str:
        """Fail."""
        raise LookupError("not found")

    def callback(payload: Any) -> None:
        findings.show(payload)
        raise RuntimeError("a bug")

    with LocalServer("parrot", api_key=KEY, pace=100) as server, secretive(server.url) as model:
        session = model.session(start=False, turn_detection_disabled=True)
        errors = session.events("error", "metrics_collected", "state_changed", "session_reconnected")
        reconnected = session.events("session_reconnected")
        session.on("generation_created", callback)
        session.update_tools([fail], auto_execute=True)
        session.start()
        session.wait_open(PATIENCE)
        for turn in range(2):
            session.push_audio(SAMPLES, 24_000, 1)
            session.commit_audio()
            generation = session.generate_reply().result(PATIENCE)
            message = generation.message_stream.get(PATIENCE)
            frames = list(message.audio_stream)
            back = b"".join(frame.data.tobytes() for frame in frames)
            assert back == PCM
            findings.show(session, model, generation, message, message.audio_stream, *frames)
            if turn == 0:
                session.send_event({"type": "no.such.event", "audio": base64.b64encode(PCM).decode()})
                session.push_audio(SAMPLES[:2400], 24_000, 1)
                server.drop_all(1011, "restarting")
                reconnected.get(PATIENCE)
                session.clear_audio()
        with pytest.raises(ValueError, match="sample_rate"):
            session.push_audio(SAMPLES, 1, 1)
        session.generate_reply(tool_choice="required").result(PATIENCE).done.result(PATIENCE)
        findings.show(session.playback, session.chat_ctx, session.tools, *session.chat_ctx.items)
        session.close()
        findings.show(*errors, *vars(session).values(), model._endpoint, model._spec)
    assert {"antiphon.connection", "antiphon.callbacks"} <= findings.loggers


@pytest.mark.parametrize("answer", [401, 404, 429, 503])
def test_refused_handshakes_show_nothing(findings: Findings, answer: int) -> None:
    # The worst of servers: it sends back in its answer whatever it was sent.
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for _ in range(2):
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    said = connection.recv(65536)
                    head = (
                        f"HTTP/1.1 {answer} {KEY}\r\nX-Echo: {HEADER}\r\nContent-Length: {len(said)}\r\n\r\n"
                    )
                    connection.sendall(head.encode() + said)

        thread = threading.Thread(target=serve)
        thread.start()
        refused(findings, secretive(f"http://127.0.0.1:{listener.getsockname()[1]}/v1"))
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(PATIENCE)


def test_keys_tokens_and_proxies_that_are_refused_show_nothing(findings: Findings) -> None:
    proxy = f"http://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1"
    with LocalServer("parrot", api_key=KEY) as server:
        refused(findings, secretive(server.url, api_key=WRONG_KEY))
        refused(findings, secretive(server.url, api_key=lambda: WRONG_KEY))
        refused(findings, secretive(server.url, api_key=lambda: f"{KEY}\r\nX-Evil: 1"))
        azure = {"azure_deployment": "d", "entra_token": TOKEN, "api_key": None}
        refused(findings, secretive(server.url, **azure))
        # The local server is no proxy; nor is anybody at port 9.
        refused(findings, secretive(server.url, proxy=f"{proxy}:{server.port}"))
        refused(findings, secretive("https://realtime.invalid/v1", proxy=f"{proxy}:9"))


BAD_ARGUMENTS: list[Callable[[], object]] = [
    lambda: secretive("http://127.0.0.1:1/v1", api_key=f"{KEY}\n"),
    lambda: secretive("http://127.0.0.1:1/v1", api_key=KEY.encode()),
    lambda: secretive("http://127.0.0.1:1/v1", headers={"X-Tenant": f"{HEADER}\n"}),
    lambda: secretive("http://127.0.0.1:1/v1", proxy=f"socks5://{USER}:{PASSWORD}@host:1080"),
    lambda: secretive(f"ftp://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1"),
    lambda: secretive("https://a/openai", azure_deployment="d", api_version="v", entra_token=f"{TOKEN} "),
]


@pytest.mark.parametrize("make", BAD_ARGUMENTS)
def test_arguments_that_are_refused_are_not_quoted(findings: Findings, make: Callable[[], object]) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        make()
    findings.show(caught.value)


def test_a_hostile_server_gets_no_audio_into_the_log(findings: Findings) -> None:
    encoded = base64.b64encode(PCM).decode()

    def attack(peer: Peer) -> None:
        part = {"response_id": "r", "item_id": "i", "output_index": 0, "content_index": 0}
        item = {
            "id": "i",
            "type": "message",
            "role": "user",
            "content": [{"type": "input_audio", "audio": encoded}],
        }
        peer.frame(f'{{"type":"response.output_audio.delta","delta":"{encoded}"'.encode())
        peer.event(type="response.output_audio.delta", delta=[encoded], **part)
        peer.event(type="response.created", response={"id": "r"})
        peer.event(type="response.output_audio.delta", delta=encoded + "!", **part)
        peer.event(type="conversation.item.added", item=item)
        peer.event(type="conversation.item.added", item=item | {"type": encoded})
        peer.event(type="response.done", response={"id": "r", "status": "completed"})

    with attacked(attack) as victim:
        victim.converse()
        findings.show(victim.session, *victim.close())


def test_no_repr_of_what_users_hold_shows_audio_or_a_secret(findings: Findings) -> None:
    encoded = base64.b64encode(PCM).decode()
    frame = AudioFrame(SAMPLES, 24_000, 1)
    context = ChatContext.empty()
    context.add_message(role="user", content=[AudioContent([frame], "Hello.")])
    part = p.ContentPart(type="input_audio", audio=encoded)
    unknown = {"type": "conversation.item.added", "item": {"type": "new", "id": "i", "audio": encoded}}
    findings.show(
        frame,
        context,
        *context.items,
        part,
        p.MessageItem(id="i", role="user", content=[part]),
        p.InputAudioBufferAppend(audio=encoded),
        p.ResponseOutputAudioDelta(item_id="i", delta=encoded),
        p.SessionOutputAudioDelta(delta=encoded),
        p.UnknownEvent(type="new", raw=encoded.encode()),
        p.decode_server_event(p.encode_client_event(unknown)),
        p.McpToolDef(server_label="l", authorization=TOKEN, headers={"X-Tenant": HEADER}),
        antiphon.ImageContent(f"data:image/png;base64,{encoded}"),
    )
