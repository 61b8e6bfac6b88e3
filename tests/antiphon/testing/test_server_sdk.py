"""The official SDK's sync client holds conversations with the local server; every frame is checked against the SDK."""

from __future__ import annotations

import base64
import json
import threading
import time
from typing import Any

import numpy as np
import openai
import pytest
from server_oracle import check_log, connected, message, of, until
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from antiphon.actors.audio import decode_alaw, encode_ulaw
from antiphon.protocol import FunctionCallItem, FunctionCallOutputItem, MessageItem
from antiphon.testing import LocalServer

SILENT: dict[str, Any] = {"input": {"turn_detection": None}}
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "name": "get_time",
        "description": "The current time.",
        "parameters": {"type": "object"},
    },
    {
        "type": "function",
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
]

# the SDK calls websockets in the way of older versions
pytestmark = pytest.mark.filterwarnings("ignore:connect.. must be used:DeprecationWarning")


def test_parrot_says_back_every_sample() -> None:
    audio = np.random.default_rng(0).integers(-32768, 32767, 24_123, dtype=np.int16).tobytes()
    with LocalServer("parrot", api_key="test-key", pace=50) as server, connected(server, audio=SILENT) as sdk:
        for start in range(0, len(audio), 5000):
            sdk.input_audio_buffer.append(audio=base64.b64encode(audio[start : start + 5000]).decode())
        sdk.input_audio_buffer.commit()
        sdk.response.create()
        events = until(sdk, "response.done")
        assert b"".join(base64.b64decode(e.delta) for e in of(events, "response.output_audio.delta")) == audio
        assert len(server.log.received("input_audio_buffer.append")) == 10
        check_log(server)


def test_g711_in_and_out() -> None:
    tone = (8000 * np.sin(np.arange(4000) / 7)).astype(np.int16)
    audio = {
        "input": {"turn_detection": None, "format": {"type": "audio/pcmu"}},
        "output": {"format": {"type": "audio/pcma"}},
    }
    with LocalServer("parrot", pace=50) as server, connected(server, audio=audio) as sdk:
        sdk.input_audio_buffer.append(audio=base64.b64encode(encode_ulaw(tone)).decode())
        sdk.input_audio_buffer.commit()
        sdk.response.create()
        events = until(sdk, "response.done")
        back = decode_alaw(
            b"".join(base64.b64decode(e.delta) for e in of(events, "response.output_audio.delta"))
        )
        assert len(back) == len(tone)
        error = back.astype(float) - tone
        assert 20 * np.log10(np.std(tone) / np.std(error)) > 30
        check_log(server)


def test_text_and_out_of_band() -> None:
    with LocalServer("voice") as server, connected(server, audio=SILENT, output_modalities=["text"]) as sdk:
        sdk.conversation.item.create(item=message("What is two plus three?"))
        until(sdk, "conversation.item.done")
        sdk.response.create()
        events = until(sdk, "response.done")
        text = "".join(e.delta for e in of(events, "response.output_text.delta"))
        assert text == of(events, "response.output_text.done")[0].text == "Two plus three is five."
        sdk.response.create(
            response={"conversation": "none", "input": [message("Hello.")], "metadata": {"topic": "aside"}}
        )
        done = until(sdk, "response.done")[-1].response
        assert (done.conversation_id, done.metadata) == (None, {"topic": "aside"})
        assert len(server.conversation()) == 2
        check_log(server)


def test_tool_round_trip() -> None:
    with LocalServer("voice", pace=50) as server, connected(server, audio=SILENT, tools=TOOLS) as sdk:
        sdk.conversation.item.create(item=message("What is the weather in San Francisco?"))
        sdk.response.create()
        events = until(sdk, "response.done")
        (call,) = of(events, "response.function_call_arguments.done")
        assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "San Francisco"})
        assert (
            "".join(e.delta for e in of(events, "response.function_call_arguments.delta")) == call.arguments
        )
        sdk.conversation.item.create(
            item={"type": "function_call_output", "call_id": call.call_id, "output": '{"weather": "foggy"}'}
        )
        sdk.response.create()
        events = until(sdk, "response.done")
        assert of(events, "response.output_audio_transcript.done")[0].transcript == "The weather is foggy."
        kinds = [type(item) for item in server.conversation()]
        assert kinds == [MessageItem, FunctionCallItem, FunctionCallOutputItem, MessageItem]
        check_log(server)


def test_cancel_stops_the_audio_at_once() -> None:
    with LocalServer("voice", pace=1) as server, connected(server, audio=SILENT) as sdk:
        sdk.conversation.item.create(item=message("Tell me a long story."))
        sdk.response.create()
        until(sdk, "response.output_audio.delta")
        asked = time.monotonic()
        sdk.response.cancel()
        done = until(sdk, "response.done")[-1]
        assert time.monotonic() - asked < 1.0
        assert done.response.status == "cancelled"
        assert done.response.status_details.reason == "client_cancelled"
        sdk.response.create()
        assert until(sdk, "response.created")
        check_log(server)


def test_key_path_origin_and_number_of_connections() -> None:
    with LocalServer("parrot", api_key="right", max_connections=1) as server:
        wrong = openai.OpenAI(api_key="wrong", base_url=server.url, max_retries=0)
        with wrong, pytest.raises(InvalidStatus) as refused, wrong.realtime.connect(model="m"):
            pass
        assert refused.value.response.status_code == 401
        assert json.loads(refused.value.response.body)["error"]["code"] == "invalid_api_key"
        key = {"api-key": "right"}
        for url, headers, status in [
            (server.ws_url, {}, 401),
            (server.ws_url.replace("/v1/realtime", "/v2"), key, 404),
            (server.ws_url, {**key, "Origin": "http://evil.example"}, 403),
        ]:
            with pytest.raises(InvalidStatus) as refused, connect(url, additional_headers=headers):
                pass
            assert refused.value.response.status_code == status
        with connect(server.ws_url.replace("/v1", "/openai"), additional_headers=key):
            with pytest.raises(InvalidStatus) as refused, connect(server.ws_url, additional_headers=key):
                pass
            assert refused.value.response.status_code == 429


def test_an_allowed_origin_and_the_beta_names() -> None:
    page = {"Origin": "http://page.example"}
    with (
        LocalServer("parrot", allow_origins=["http://page.example"]) as server,
        connect(f"{server.ws_url}?model=m&names=beta", additional_headers=page) as socket,
    ):
        assert json.loads(socket.recv())["session"]["input_audio_format"] == "pcm16"
        socket.send(
            '{"type":"conversation.item.create","item":{"type":"message","role":"user","content":[]}}'
        )
        assert json.loads(socket.recv())["type"] == "conversation.item.created"


def test_expiry_and_drops() -> None:
    with LocalServer("parrot", session_limit_s=0.2) as server, connected(server) as sdk:
        assert sdk.recv().error.code == "session_expired"
        with pytest.raises(ConnectionClosed):
            sdk.recv()
    with LocalServer("parrot") as server:
        with connected(server) as sdk:
            server.drop_all()
            with pytest.raises(ConnectionClosed) as cut:
                sdk.recv()
            assert cut.value.rcvd is None
        with connected(server) as sdk:
            server.drop_all(4000, "why not")
            with pytest.raises(ConnectionClosed) as closed:
                sdk.recv()
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4000, "why not")


def test_stopping_takes_less_than_a_second_whatever_clients_do() -> None:
    before = set(threading.enumerate())
    server = LocalServer("voice", pace=1)
    server.start()
    deaf = connect(server.ws_url, max_queue=1)  # never reads
    with deaf, connected(server, audio=SILENT) as sdk:
        sdk.conversation.item.create(item=message("Tell me a long story."))
        sdk.response.create()
        until(sdk, "response.output_audio.delta")
        ours = [thread for thread in threading.enumerate() if thread not in before]
        assert any(thread.name.startswith("antiphon-server-") for thread in ours)
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < 1.0
        server.stop()
    left = [t.name for t in threading.enumerate() if t not in before and t.name.startswith("antiphon-")]
    assert left == []
    assert server.connections == []
