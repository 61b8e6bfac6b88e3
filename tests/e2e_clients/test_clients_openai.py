"""The official SDK, sync and async, holds the same conversation: speech in and out, a tool, a barge-in."""

from __future__ import annotations

import asyncio
import base64
import inspect
import json
import typing
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import openai
import pytest
from clients_speech import chunks, spoken
from openai.resources.realtime.realtime import AsyncRealtimeConnection, RealtimeConnection
from openai.types.realtime import RealtimeServerEvent
from server_oracle import assert_known, check_log

from antiphon.protocol import FunctionCallItem, FunctionCallOutputItem, MessageItem
from antiphon.testing import LocalServer, transcribe

KEY = "sk-for-these-tests-only"
PATIENCE = 30.0  # seconds for the whole conversation

WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
SESSION: dict[str, Any] = {
    "type": "realtime",
    "instructions": "Answer in one sentence.",
    "tools": [WEATHER],
    "audio": {
        "input": {
            "transcription": {"model": "gpt-4o-mini-transcribe"},
            "turn_detection": {"type": "server_vad", "silence_duration_ms": 400},
        }
    },
}

# the SDK calls websockets in the way of older versions
pytestmark = pytest.mark.filterwarnings("ignore:connect.. must be used:DeprecationWarning")

_SERVER_EVENTS = set(typing.get_args(typing.get_args(RealtimeServerEvent)[0]))

Sdk = RealtimeConnection | AsyncRealtimeConnection


async def done(result: Any) -> Any:
    """What a call returned, of either client."""
    return await result if inspect.isawaitable(result) else result


@asynccontextmanager
async def connected(server: LocalServer, kind: str) -> AsyncIterator[Sdk]:
    """The SDK's client of that kind, connected."""
    options: dict[str, Any] = {"api_key": KEY, "base_url": server.url, "max_retries": 0}
    if kind == "async":
        async with (
            openai.AsyncOpenAI(**options) as client,
            client.realtime.connect(model="gpt-realtime") as sdk,
        ):
            yield sdk
    else:
        with openai.OpenAI(**options) as client, client.realtime.connect(model="gpt-realtime") as sdk:
            yield sdk


class Talk:
    """One conversation, event by event."""

    def __init__(self, sdk: Sdk) -> None:
        self.sdk: Any = sdk

    async def until(self, *kinds: str) -> list[Any]:
        """Receive up to the first event of one of these types; each is one that the SDK knows."""
        events: list[Any] = []
        while not events or events[-1].type not in kinds:
            event = await done(self.sdk.recv())
            assert event.type != "error", event
            # what the SDK can't place it gives back as whatever comes first, with keys it doesn't know
            assert_known(event, json.loads(event.to_json()), event.type)
            assert type(event) in _SERVER_EVENTS
            events.append(event)
        return events

    async def say(self, text: str) -> None:
        """Say it, as fast as the wire takes it."""
        for chunk in chunks(spoken(text)):
            await done(self.sdk.input_audio_buffer.append(audio=chunk))


def of(events: list[Any], kind: str) -> list[Any]:
    """Those of one type."""
    return [event for event in events if event.type == kind]


def heard(events: list[Any]) -> str:
    """What the response sounds like."""
    audio = b"".join(base64.b64decode(event.delta) for event in of(events, "response.output_audio.delta"))
    return transcribe(np.frombuffer(audio, np.int16), 24_000)


async def converse(sdk: Sdk, server: LocalServer) -> None:
    """The conversation."""
    talk = Talk(sdk)
    calls: Any = sdk
    (created,) = await talk.until("session.created")
    assert created.session.model == "gpt-realtime"
    await done(calls.session.update(session=SESSION, event_id="mine"))
    (updated,) = await talk.until("session.updated")
    assert updated.session.audio.input.turn_detection.silence_duration_ms == 400
    assert [tool.name for tool in updated.session.tools] == ["get_weather"]

    # a spoken question, a call, a spoken answer
    await talk.say("What is the weather in San Francisco?")
    events = await talk.until("response.done")
    (started,) = of(events, "input_audio_buffer.speech_started")
    (committed,) = of(events, "input_audio_buffer.committed")
    assert committed.item_id == started.item_id
    (said,) = of(events, "conversation.item.input_audio_transcription.completed")
    assert said.transcript == "what is the weather in san francisco"
    (call,) = events[-1].response.output
    assert (call.type, call.name, json.loads(call.arguments)) == (
        "function_call",
        "get_weather",
        {"city": "San Francisco"},
    )
    await done(
        calls.conversation.item.create(
            item={
                "type": "function_call_output",
                "call_id": call.call_id,
                "output": '{"weather": "sunny and warm"}',
            },
            previous_item_id=call.id,
        )
    )
    await done(calls.response.create())
    events = await talk.until("response.done")
    assert events[-1].response.status == "completed"
    assert events[-1].response.usage.output_token_details.audio_tokens > 0
    assert "sunny and warm" in heard(events)

    # a long answer, talked over
    await talk.say("Tell me a long story.")
    events = await talk.until("response.output_audio.delta")
    story = events[-1].item_id
    await talk.say("Stop.")
    events += await talk.until("response.done")
    (cut,) = of(events, "response.done")
    assert (cut.response.status, cut.response.status_details.reason) == ("cancelled", "turn_detected")
    assert cut.response.output[0].status == "incomplete"
    sent_ms = sum(len(base64.b64decode(e.delta)) for e in of(events, "response.output_audio.delta")) // 48
    assert sent_ms < 20_000
    heard_ms = min(300, sent_ms)
    await done(calls.conversation.item.truncate(item_id=story, content_index=0, audio_end_ms=heard_ms))
    events = await talk.until("conversation.item.truncated", "response.done")
    events += await talk.until("conversation.item.truncated", "response.done")
    (cut,) = of(events, "conversation.item.truncated")
    assert (cut.item_id, cut.audio_end_ms) == (story, heard_ms)
    assert "right" in heard(events)

    # a look at what is there, and a piece of it gone
    await done(calls.conversation.item.retrieve(item_id=story))
    shown = (await talk.until("conversation.item.retrieved"))[-1]
    assert len(base64.b64decode(shown.item.content[0].audio)) == heard_ms * 48
    await done(calls.conversation.item.delete(item_id=story))
    await talk.until("conversation.item.deleted")
    kinds = [type(item) for item in server.conversation()]
    assert kinds == [MessageItem, FunctionCallItem, FunctionCallOutputItem, *[MessageItem] * 4]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_conversation_with_a_tool_and_a_barge_in(kind: str) -> None:
    async def run(server: LocalServer) -> None:
        async with asyncio.timeout(PATIENCE), connected(server, kind) as sdk:
            await converse(sdk, server)

    with LocalServer("voice", api_key=KEY, pace=4) as server:
        asyncio.run(run(server))
        check_log(server)
        assert server.log.sent("error") == []
