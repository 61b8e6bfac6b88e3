"""TLS, proxies, headers and keys, over a real TLS server and a real CONNECT proxy; and that no secret gets out."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import logging
import ssl
import threading
import traceback
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Self
from urllib.parse import quote

import numpy as np
import pytest
import trustme

from antiphon import APIConnectionError, ConnectOptions, RealtimeError, RealtimeModel, RealtimeModelError
from antiphon.testing import LocalServer

PATIENCE = 20.0
KEY = "sk-secret-of-these-tests"
USER, PASSWORD = "caller", "p@ss:word/secret"
BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
EXTRA = "an-extra-secret"
SECRETS = (KEY, PASSWORD, quote(PASSWORD, safe=""), BASIC, EXTRA)
# Resolved nowhere: only a proxy can know it.
HIDDEN = "realtime.invalid"
ONCE = ConnectOptions(max_retry=0, timeout=5.0)

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


# -- a TLS server and a proxy --------------------------------------------------------------------------------


class Relay:
    """Serves connections on a thread of its own while the `with` block lasts."""

    def __init__(
        self, handler: Handler, host: str = "127.0.0.1", context: ssl.SSLContext | None = None
    ) -> None:
        self.host = host
        self.port = 0
        self._handler = handler
        self._context = context
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name="relay")

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        tasks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._handler(reader, writer)
            await _close(writer)

        def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks[asyncio.create_task(handle(reader, writer))] = writer

        server = await asyncio.start_server(serve, self.host, 0, ssl=self._context)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for writer in tasks.values():
            writer.transport.abort()
        await asyncio.gather(*tasks, return_exceptions=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


async def _join(one: Streams, other: Streams) -> None:
    """Pass bytes both ways until either side ends."""
    copies = {asyncio.create_task(_copy(one[0], other[1])), asyncio.create_task(_copy(other[0], one[1]))}
    try:
        await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for copy in copies:
            copy.cancel()
        await asyncio.gather(*copies, return_exceptions=True)
        await _close(other[1])


def tls_server(server: LocalServer, authority: trustme.CA, *names: str, host: str = "127.0.0.1") -> Relay:
    """A server behind TLS, with a certificate for these names."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names).configure_cert(context)

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _join((reader, writer), await asyncio.open_connection("127.0.0.1", server.port))

    return Relay(forward, host, context)


class Proxy(Relay):
    """An HTTP proxy that knows CONNECT and a password; it alone knows where `HIDDEN` is."""

    def __init__(self, known: dict[str, int]) -> None:
        super().__init__(self._connect)
        self.known = known
        self.asked: list[str] = []
        self.refused = 0

    @property
    def address(self) -> str:
        """What to configure."""
        return f"http://{USER}:{quote(PASSWORD, safe='')}@{self.host}:{self.port}"

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, target, _ = head[0].split(" ")
        assert method == "CONNECT"
        if f"Proxy-Authorization: Basic {BASIC}" not in head:
            self.refused += 1
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return
        self.asked.append(target)
        host, _, port = target.rpartition(":")
        other = await asyncio.open_connection(
            "127.0.0.1" if host in self.known else host, self.known.get(host, port)
        )
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await _join((reader, writer), other)


# -- what the tests share ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Whom nobody trusts but those who are told to."""
    return trustme.CA()


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """A context that trusts the authority."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy is set but by the tests; and idle threads, for whose end every test waits, give up sooner."""
    monkeypatch.setattr("antiphon.actors.pool.IDLE_SECONDS", 0.05)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(autouse=True)
def no_secret_is_logged() -> Iterator[None]:
    """Everything is logged, in setting up and tearing down too, and none of it is a secret."""
    log = io.StringIO()
    handler, root = logging.StreamHandler(log), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    logging.getLogger("antiphon.test").debug("the log is being kept")
    yield
    root.removeHandler(handler)
    root.setLevel(level)
    assert "the log is being kept" in log.getvalue()
    for secret in SECRETS:
        assert secret not in log.getvalue()


@pytest.fixture
def server(no_secret_is_logged: None) -> Iterator[LocalServer]:
    with LocalServer("parrot", api_key=KEY, pace=100) as server:
        yield server


def model_at(host: str, port: int, **options: Any) -> RealtimeModel:
    return RealtimeModel(**{"base_url": f"https://{host}:{port}/v1", "api_key": KEY, **options})


def assert_no_secret(*things: object) -> None:
    """None of these shows a secret, as text or as a traceback."""
    for thing in things:
        texts = [str(thing), repr(thing)]
        if isinstance(thing, BaseException):
            texts += traceback.format_exception(thing)
        for secret in SECRETS:
            assert not any(secret in text for text in texts)


def talk(model: RealtimeModel) -> None:
    """Have the parrot say back some seconds, every sample."""
    sent = np.random.default_rng(5).integers(-32768, 32767, 72_123, dtype=np.int16)
    with model.session(turn_detection_disabled=True) as session:
        session.wait_open(PATIENCE)
        session.push_audio(sent, 24_000, 1)
        session.commit_audio()
        generation = session.generate_reply().result(PATIENCE)
        message = generation.message_stream.get(PATIENCE)
        assert generation.done.result(PATIENCE).status == "completed"
        back = np.concatenate([frame.data for frame in message.audio_stream])
        assert np.array_equal(back, sent)
        assert_no_secret(session, model, generation)


def refusal(model: RealtimeModel) -> APIConnectionError:
    """Why the model can't connect, as the session tells in every way it has."""
    session = model.session(start=False)
    errors = session.events("error")
    session.start()
    with pytest.raises(RealtimeError) as refused:
        session.wait_open(PATIENCE)
    payload = errors.get(PATIENCE)[1]
    assert isinstance(payload, RealtimeModelError)
    assert not payload.recoverable
    error = payload.error
    assert isinstance(error, APIConnectionError)
    assert str(error) in str(refused.value)
    assert_no_secret(session, model, payload, error, refused.value)
    session.close()
    return error


# -- TLS -----------------------------------------------------------------------------------------------------


def test_a_certificate_of_an_unknown_authority_is_refused(server: LocalServer, authority: trustme.CA) -> None:
    with (
        tls_server(server, authority, "localhost", "127.0.0.1") as tls,
        model_at("127.0.0.1", tls.port, conn_options=ONCE) as model,
    ):
        error = refusal(model)
    assert f"the TLS certificate of 127.0.0.1:{tls.port} was not accepted" in str(error)
    assert "unable to get local issuer certificate" in str(error)
    assert server.log.all() == []


def test_a_context_that_trusts_the_authority_is_used(
    server: LocalServer, authority: trustme.CA, trusting: ssl.SSLContext
) -> None:
    before = (trusting.verify_mode, trusting.check_hostname)
    with (
        tls_server(server, authority, "127.0.0.1") as tls,
        model_at("127.0.0.1", tls.port, ssl_context=trusting) as model,
    ):
        talk(model)
        # one context serves many sessions, and stays as it was
        talk(model)
    assert (trusting.verify_mode, trusting.check_hostname) == before == (ssl.CERT_REQUIRED, True)


def test_a_certificate_for_another_host_is_refused(
    server: LocalServer, authority: trustme.CA, trusting: ssl.SSLContext
) -> None:
    with (
        tls_server(server, authority, "other.example") as tls,
        model_at("127.0.0.1", tls.port, ssl_context=trusting, conn_options=ONCE) as model,
    ):
        error = refusal(model)
    assert f"the TLS certificate of 127.0.0.1:{tls.port} was not accepted" in str(error)
    assert "not valid for '127.0.0.1'" in str(error)
    assert server.log.all() == []


def test_a_context_that_checks_nothing_is_respected(server: LocalServer, authority: trustme.CA) -> None:
    careless = ssl.create_default_context()
    careless.check_hostname = False
    careless.verify_mode = ssl.CERT_NONE
    with (
        tls_server(server, authority, "other.example") as tls,
        model_at("127.0.0.1", tls.port, ssl_context=careless) as model,
    ):
        talk(model)
    assert (careless.verify_mode, careless.check_hostname) == (ssl.CERT_NONE, False)


def test_a_server_without_tls_is_named(server: LocalServer) -> None:
    with model_at("127.0.0.1", server.port, conn_options=ONCE) as model:
        error = refusal(model)
    assert f"TLS with 127.0.0.1:{server.port} failed" in str(error) or "ended" in str(error)


# -- proxies -------------------------------------------------------------------------------------------------


def test_a_proxy_by_argument(server: LocalServer, authority: trustme.CA, trusting: ssl.SSLContext) -> None:
    with (
        tls_server(server, authority, HIDDEN) as tls,
        Proxy({HIDDEN: tls.port}) as proxy,
        model_at(HIDDEN, 443, ssl_context=trusting, proxy=proxy.address) as model,
    ):
        talk(model)
    # the name went to the proxy as it is, and TLS went through it
    assert proxy.asked == [f"{HIDDEN}:443"]


def test_a_proxy_for_a_server_without_tls(server: LocalServer) -> None:
    with (
        Proxy({HIDDEN: server.port}) as proxy,
        RealtimeModel(base_url=f"http://{HIDDEN}/v1", api_key=KEY, proxy=proxy.address) as model,
    ):
        talk(model)
    assert proxy.asked == [f"{HIDDEN}:80"]


def test_a_proxy_of_the_environment(
    server: LocalServer, authority: trustme.CA, trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        tls_server(server, authority, HIDDEN) as tls,
        Proxy({HIDDEN: tls.port}) as proxy,
        model_at(HIDDEN, 8443, ssl_context=trusting) as model,
    ):
        for name in ("HTTPS_PROXY", "https_proxy"):
            with monkeypatch.context() as environment:
                environment.setenv(name, proxy.address)
                talk(model)
    assert proxy.asked == [f"{HIDDEN}:8443"] * 2


def test_what_no_proxy_names_is_reached_directly(
    server: LocalServer, authority: trustme.CA, trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        tls_server(server, authority, "127.0.0.1") as tls,
        Proxy({}) as proxy,
        model_at("127.0.0.1", tls.port, ssl_context=trusting) as model,
    ):
        monkeypatch.setenv("HTTPS_PROXY", proxy.address)
        for exempt in ("localhost,127.0.0.1", f"127.0.0.1:{tls.port}", "*"):
            monkeypatch.setenv("NO_PROXY", exempt)
            talk(model)
            assert proxy.asked == []
        monkeypatch.setenv("NO_PROXY", "example.com")
        talk(model)
        assert proxy.asked == [f"127.0.0.1:{tls.port}"]


def test_no_proxy_may_name_a_network(
    server: LocalServer, authority: trustme.CA, trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        tls_server(server, authority, "127.0.0.1") as tls,
        Proxy({}) as proxy,
        model_at("127.0.0.1", tls.port, ssl_context=trusting) as model,
    ):
        monkeypatch.setenv("HTTPS_PROXY", proxy.address)
        monkeypatch.setenv("NO_PROXY", "10.0.0.0/8,127.0.0.0/8")
        talk(model)
    assert proxy.asked == []


def test_a_proxy_without_a_scheme(
    server: LocalServer, authority: trustme.CA, trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        tls_server(server, authority, HIDDEN) as tls,
        Proxy({HIDDEN: tls.port}) as proxy,
        model_at(HIDDEN, 443, ssl_context=trusting) as model,
    ):
        monkeypatch.setenv("HTTPS_PROXY", proxy.address.removeprefix("http://"))
        talk(model)
    assert proxy.asked == [f"{HIDDEN}:443"]


def test_an_argument_wins_over_the_environment(
    server: LocalServer, authority: trustme.CA, trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        tls_server(server, authority, "127.0.0.1") as tls,
        Proxy({}) as proxy,
        model_at("127.0.0.1", tls.port, ssl_context=trusting, proxy=proxy.address) as model,
    ):
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("NO_PROXY", "*")
        talk(model)
    assert proxy.asked == [f"127.0.0.1:{tls.port}"]


def test_a_proxy_that_refuses_the_password(server: LocalServer, authority: trustme.CA) -> None:
    with Proxy({}) as proxy:
        address = f"http://{USER}:wrong-{quote(PASSWORD, safe='')}@127.0.0.1:{proxy.port}"
        with model_at(HIDDEN, 443, proxy=address, conn_options=ONCE) as model:
            error = refusal(model)
    assert "proxy" in str(error)
    assert "407" in str(error)
    assert (proxy.asked, proxy.refused) == ([], 1)


def test_a_proxy_that_is_not_there(server: LocalServer) -> None:
    with Proxy({}) as proxy:
        address = proxy.address
    with model_at(HIDDEN, 443, proxy=address, conn_options=ONCE) as model:
        error = refusal(model)
    assert "proxy" in str(error)
    assert f"127.0.0.1:{proxy.port}" in str(error)


# -- headers and keys ----------------------------------------------------------------------------------------


class Handshakes(Relay):
    """Passes connections on, and keeps the heads of their handshakes."""

    def __init__(self, server: LocalServer) -> None:
        super().__init__(self._forward)
        self._server = server
        self.heads: list[dict[str, str]] = []

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode().split("\r\n")[1:-2]
        self.heads.append(
            {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        )
        other = await asyncio.open_connection("127.0.0.1", self._server.port)
        other[1].write(head)
        await _join((reader, writer), other)

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.port}/v1"


def test_extra_headers_and_the_key_arrive(server: LocalServer) -> None:
    headers = {"X-Tenant": EXTRA, "User-Agent": "my-robot/2"}
    with (
        Handshakes(server) as relay,
        RealtimeModel(base_url=relay.url, api_key=KEY, headers=headers) as model,
    ):
        headers["X-Tenant"] = "changed later"
        talk(model)
    (head,) = relay.heads
    assert head["x-tenant"] == EXTRA
    assert head["user-agent"] == "my-robot/2"
    assert head["authorization"] == f"Bearer {KEY}"
    assert "origin" not in head
    assert "openai-beta" not in head


def test_our_name_is_told_when_no_other_is() -> None:
    with (
        LocalServer("parrot", pace=100) as server,
        Handshakes(server) as relay,
        RealtimeModel(base_url=relay.url, api_key=KEY) as model,
    ):
        talk(model)
    assert relay.heads[0]["user-agent"].startswith("antiphon/")


def test_a_callable_key_is_called_for_every_connection(server: LocalServer) -> None:
    keys = iter([KEY, KEY])
    threads: list[str] = []

    def fetch() -> str:
        threads.append(threading.current_thread().name)
        return next(keys)

    with Handshakes(server) as relay, RealtimeModel(base_url=relay.url, api_key=fetch) as model:
        assert threads == []
        talk(model)
        talk(model)
    assert [head["authorization"] for head in relay.heads] == [f"Bearer {KEY}"] * 2
    assert len(threads) == 2
    assert threading.current_thread().name not in threads


def test_a_refused_callable_key_is_fetched_once_more(server: LocalServer) -> None:
    keys = iter(["sk-outdated", KEY])
    with RealtimeModel(base_url=server.url, api_key=lambda: next(keys)) as model:
        talk(model)
    assert list(keys) == []


def failing(server: LocalServer, kind: type[Exception]) -> None:
    """A callable raises this, with the secret in its message."""

    def fetch() -> str:
        raise kind(f"the vault with {KEY} is closed")

    with RealtimeModel(base_url=server.url, api_key=fetch, conn_options=ONCE) as model:
        refusal(model)
    assert server.log.all() == []


def test_a_callable_that_fails_is_a_failed_handshake(server: LocalServer) -> None:
    failing(server, OSError)
    failing(server, RuntimeError)


def test_a_callable_that_raises_a_value_error_is_not_quoted(server: LocalServer) -> None:
    failing(server, ValueError)


def test_a_callable_that_returns_no_key_is_a_failed_handshake(server: LocalServer) -> None:
    with RealtimeModel(
        base_url=server.url, api_key=lambda: f"{KEY}\r\nX-Evil: 1", conn_options=ONCE
    ) as model:
        refusal(model)
    assert server.log.all() == []


@pytest.mark.parametrize("token", [False, True])
def test_azures_headers(token: bool) -> None:
    secret: dict[str, Any] = {"entra_token": lambda: KEY} if token else {"api_key": KEY}
    with (
        LocalServer("parrot", api_key=KEY, pace=100) as server,
        Handshakes(server) as relay,
        RealtimeModel.with_azure(
            azure_deployment="d",
            azure_endpoint=relay.url.removesuffix("/v1"),
            headers={"X-Tenant": EXTRA},
            **secret,
        ) as model,
    ):
        talk(model)
    (head,) = relay.heads
    assert (head.get("authorization"), head.get("api-key")) == (
        (f"Bearer {KEY}", None) if token else (None, KEY)
    )
    assert head["x-tenant"] == EXTRA


def test_a_refused_key_is_named_and_not_shown() -> None:
    with (
        LocalServer("parrot", api_key="another") as server,
        RealtimeModel(base_url=server.url, api_key=KEY, headers={"X-Tenant": EXTRA}) as model,
    ):
        error = refusal(model)
    assert "HTTP 401: the key was refused" in str(error)
    assert not error.retryable


def secretive(context: ssl.SSLContext) -> RealtimeModel:
    """A model with a secret in everything that can hold one."""
    return RealtimeModel(
        base_url=f"https://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:9/v1",
        api_key=KEY,
        proxy=f"http://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:9",
        headers={"X-Tenant": EXTRA},
        ssl_context=context,
        conn_options=ONCE,
    )


def test_nothing_that_is_made_of_secrets_shows_them(trusting: ssl.SSLContext) -> None:
    with secretive(trusting) as model:
        assert_no_secret(model, model.provider, model.label, model._endpoint)
        refusal(model)
    with pytest.raises(ValueError, match="base_url") as refused:
        RealtimeModel(base_url=f"ftp://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1", api_key=KEY)
    assert_no_secret(str(refused.value))
