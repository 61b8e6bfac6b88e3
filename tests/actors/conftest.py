"""A session on the deterministic driver: the test plays the server and turns the clock."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from antiphon import RealtimeModel, RealtimeSession
from antiphon.actors.config import Timeouts
from antiphon.actors.events import EVENT_NAMES
from antiphon.testing.driver import Driver, FakeWire

# What only says what came and went on the wire; tests look at the wire itself.
RAW = {"openai_server_event_received", "openai_client_event_queued"}


class Case:
    """A session, what it has emitted, and the server's end of its connection.

    Attributes:
        driver: Turns the clock.
        session: The session.
        wire: The server's end of the present connection.
        log: (name, payload) of every event but the raw ones, in order.
    """

    def __init__(self, driver: Driver, model: RealtimeModel) -> None:
        self.driver = driver
        self.model = model
        self.session: RealtimeSession = model.session(start=False)
        self.log: list[tuple[str, Any]] = []
        for name in EVENT_NAMES - RAW:
            self.session.on(name, lambda payload, name=name: self.log.append((name, payload)))

    def connect(self) -> FakeWire:
        """Open a connection; what it sends first is left out of `wire.sent`, and metrics out of `log`."""
        self.session.start()
        self.wire = self.driver.accept()
        self.wire.sent.clear()
        self.log.clear()
        return self.wire

    def reconnect(self) -> FakeWire:
        """Wait for the retry and let it succeed; `wire.sent` has everything."""
        self.driver.advance(0.1)
        self.wire = self.driver.accept()
        return self.wire

    def reply(self, *args: Any, **kwargs: Any) -> Any:
        """`generate_reply`, processed."""
        future = self.session.generate_reply(*args, **kwargs)
        self.driver.run()
        return future

    def creates(self) -> list[dict[str, Any]]:
        """The `response.create` frames on this connection."""
        return self.wire.of_type("response.create")

    def cancels(self) -> list[dict[str, Any]]:
        """The `response.cancel` frames on this connection."""
        return self.wire.of_type("response.cancel")

    def active(self) -> bool:
        """`has_active_generation`."""
        return self.driver.call(lambda: self.session.has_active_generation)

    def said(self) -> list[str]:
        """The texts of the messages in `chat_ctx`."""
        context = self.driver.call(lambda: self.session.chat_ctx)
        return [item.text_content for item in context.items if item.type == "message"]

    def emitted(self, name: str) -> list[Any]:
        """Payloads of the events of this name."""
        return [payload for other, payload in self.log if other == name]

    def names(self) -> list[str]:
        """Names of the events, in order."""
        return [name for name, _ in self.log]

    def end(self) -> None:
        """Close the session, with a server that never answers."""
        self.session._close_soon(1.0)
        self.driver.advance(10.0)


@pytest.fixture(scope="session", autouse=True)
def quick_collections() -> None:
    """Each test collects garbage; what pytest and the imports hold need not be gone through each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def make_case(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Case]]:
    """Makes cases; keywords are the model's."""
    for name in ("OPENAI_BASE_URL", "OPENAI_API_VERSION"):
        monkeypatch.delenv(name, raising=False)
    cases: list[Case] = []

    def make(connect: bool = True, timeouts: Timeouts | None = None, **options: Any) -> Case:
        driver = Driver()
        # Pings and recycling are other tests' business.
        options.setdefault("max_session_duration", None)
        model = RealtimeModel(
            api_key="test",
            base_url="http://test/v1",
            engine=driver,
            timeouts=timeouts or Timeouts(ping_interval=1e6),
            **options,
        )
        case = Case(driver, model)
        cases.append(case)
        if connect:
            case.connect()
        return case

    yield make
    for case in cases:
        case.end()
        assert case.session.state == "closed"


@pytest.fixture
def case(make_case: Callable[..., Case]) -> Case:
    """A connected audio session."""
    return make_case()


@pytest.fixture
def text_case(make_case: Callable[..., Case]) -> Case:
    """A connected text session."""
    return make_case(modalities=["text"])
