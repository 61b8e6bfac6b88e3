"""The official SDK as oracle: its models say what a frame may look like, its client talks to the server."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import openai
from openai.resources.realtime.realtime import RealtimeConnection
from openai.types.realtime import RealtimeServerEvent, RealtimeSessionCreateResponse
from pydantic import BaseModel, TypeAdapter

from antiphon.testing import LocalServer
from antiphon.testing.log import Record

_EVENTS: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
# The session models of the SDK know these only for what a client sends, not for what the server answers.
_SESSION_EXTRA = {"parallel_tool_calls", "reasoning"}


def check_frame(record: Record) -> None:
    """Assert that a frame is what the SDK expects, strictly, and holds no key that the SDK doesn't know."""
    event = record.event
    if event["type"] in ("session.created", "session.updated"):
        session = event["session"]
        parsed: BaseModel = TypeAdapter(RealtimeSessionCreateResponse).validate_json(
            msgspec.json.encode(session)
        )
        assert_known(parsed, {k: v for k, v in session.items() if k not in _SESSION_EXTRA}, "session")
    parsed = _EVENTS.validate_json(record.frame)
    assert parsed.type == event["type"]
    assert_known(parsed, event, event["type"])


def assert_known(parsed: Any, raw: Any, path: str) -> None:
    """Assert that a model took up every key of the JSON that it was made from."""
    if isinstance(parsed, BaseModel) and isinstance(raw, dict):
        if path.endswith(".session"):
            return  # checked against the model of the server's sessions
        for key, value in raw.items():
            assert key in type(parsed).model_fields, f"{path}.{key} is unknown to {type(parsed).__name__}"
            assert_known(getattr(parsed, key), value, f"{path}.{key}")
    elif isinstance(parsed, list):
        for index, (one, other) in enumerate(zip(parsed, raw, strict=True)):
            assert_known(one, other, f"{path}[{index}]")


def check_log(server: LocalServer) -> None:
    """Check every frame that a server sent."""
    sent = server.log.sent()
    assert sent
    for record in sent:
        check_frame(record)


@contextmanager
def connected(server: LocalServer, **session: Any) -> Iterator[RealtimeConnection]:
    """The SDK's client, connected; the session updated if anything is given."""
    client = openai.OpenAI(api_key="test-key", base_url=server.url, max_retries=0)
    with client, client.realtime.connect(model="gpt-realtime") as connection:
        assert connection.recv().type == "session.created"
        if session:
            connection.session.update(session=typing.cast(Any, {"type": "realtime", **session}))
            updated = connection.recv()
            assert updated.type == "session.updated", updated
        yield connection


def until(connection: RealtimeConnection, *kinds: str) -> list[Any]:
    """Receive up to the first event of one of these types; errors end it too."""
    events: list[Any] = []
    while not events or events[-1].type not in (*kinds, "error"):
        events.append(connection.recv())
    assert events[-1].type in kinds, events[-1]
    return events


def of(events: list[Any], kind: str) -> list[Any]:
    """Those of one type."""
    return [event for event in events if event.type == kind]


def message(text: str, item_id: str | None = None) -> Any:
    """A user's message of text."""
    item: dict[str, Any] = {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": text}],
    }
    return {**item, "id": item_id} if item_id else item
