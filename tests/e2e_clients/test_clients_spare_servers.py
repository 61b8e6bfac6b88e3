"""Our engine with servers that speak less than the API, or otherwise: a whole conversation with each of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from clients_speech import RATE, Samples, spoken

from antiphon import (
    ChatMessage,
    FunctionCall,
    FunctionCallOutput,
    GenerationCreatedEvent,
    RealtimeError,
    RealtimeModel,
    RealtimeSession,
    ServerVad,
    Stream,
    StreamEnded,
    function_tool,
)
from antiphon.testing import LocalServer, transcribe

KEY = "sk-for-these-tests-only"
PATIENCE = 20.0  # seconds; ends a test that would hang
VAD = ServerVad(silence_duration_ms=400)

Json = dict[str, Any]
Rewrite = Callable[[Json], list[Json]]


# -- how servers differ: each makes of an event what such a server sends instead ---------------------------


def only_created(event: Json) -> list[Json]:
    """Items are announced by the older name alone, and never done."""
    if event["type"] == "conversation.item.added":
        return [{**event, "type": "conversation.item.created"}]
    return [] if event["type"] == "conversation.item.done" else [event]


def both_names(event: Json) -> list[Json]:
    """Items are announced twice, by either name."""
    if event["type"] == "conversation.item.added":
        return [event, {**event, "type": "conversation.item.created"}]
    return [event]


def no_metadata(event: Json) -> list[Json]:
    """Responses don't say which request they answer."""
    if "response" in event:
        return [{**event, "response": {k: v for k, v in event["response"].items() if k != "metadata"}}]
    return [event]


def string_details(event: Json) -> list[Json]:
    """`status_details` is a bare string."""
    if "response" in event:
        details = event["response"].get("status_details") or {}
        text = details.get("reason") or details.get("type") or event["response"]["status"]
        return [{**event, "response": {**event["response"], "status_details": text}}]
    return [event]


def unknown_fields(event: Json) -> list[Json]:
    """Every object has something more."""

    def more(value: Any) -> Any:
        if isinstance(value, dict):
            extra = {"x_vendor": {"deep": [1, None, "two"]}, "x_count": 7}
            return {**{key: more(inner) for key, inner in value.items()}, **extra}
        return [more(inner) for inner in value] if isinstance(value, list) else value

    # free keys are the user's own
    metadata = event.get("response", {}).get("metadata")
    changed: Json = more(event)
    if metadata is not None:
        changed["response"]["metadata"] = metadata
    return [changed]


def new_events(event: Json) -> list[Json]:
    """Events that nobody has heard of come in between."""
    before = {"type": "response.mood.delta", "response_id": "resp_x", "delta": {"mood": 0.5}}
    return [before, event, {"type": "x-vendor.heartbeat"}]


def unannounced(event: Json) -> list[Json]:
    """Output comes without items and parts being opened."""
    opening = ("response.output_item.added", "response.content_part.added", "response.content_part.done")
    return [] if event["type"] in opening else [event]


def no_items(event: Json) -> list[Json]:
    """Nothing is said of items at all while a response is under way, only of what is in them."""
    kind = event["type"]
    if kind.startswith(("response.output_item.", "response.content_part.")):
        return []
    item = event.get("item", {})
    return [] if item.get("role") == "assistant" or item.get("type") == "function_call" else [event]


def code_in_type(event: Json) -> list[Json]:
    """An error's code is in `type`, and `code` is null."""
    if event["type"] == "error":
        return [{**event, "error": {**event["error"], "type": event["error"]["code"], "code": None}}]
    return [event]


def nulls(event: Json) -> list[Json]:
    """What there is nothing to say of is null, and events have no ids."""
    changed = {**event, "event_id": None}
    if "response" in event:
        blank = dict.fromkeys(("usage", "conversation_id", "output_modalities", "audio", "max_output_tokens"))
        changed["response"] = {**event["response"], **blank}
    return [changed]


def together(*rewrites: Rewrite) -> Rewrite:
    """All of them, one after the other."""

    def rewrite(event: Json) -> list[Json]:
        events = [event]
        for one in rewrites:
            events = [changed for each in events for changed in one(each)]
        return events

    return rewrite


PARTS: dict[str, Rewrite] = {
    "only conversation.item.created": only_created,
    "no metadata": no_metadata,
    "string status_details": string_details,
    "nothing opened": unannounced,
    "codes in type": code_in_type,
    "nulls": nulls,
    "unknown fields": unknown_fields,
    "new event types": new_events,
}
SPARE = together(*PARTS.values())
SERVERS: dict[str, Rewrite] = {
    **PARTS,
    "both names": both_names,
    "no items": no_items,
    "all at once": SPARE,
}


# -- the conversation --------------------------------------------------------------------------------------


@function_tool
def get_weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"In {city} it is sunny and warm."


def words(text: str) -> set[str]:
    """The words of a text, in lower case."""
    return set(re.findall(r"[a-z']+", text.lower()))


def drain(stream: Stream[Any]) -> Iterator[Any]:
    """What a stream brings, to its end."""
    while True:
        try:
            yield stream.get(PATIENCE)
        except StreamEnded:
            return


class Line:
    """A session and what it tells."""

    def __init__(self, model: RealtimeModel) -> None:
        self.session: RealtimeSession = model.session(start=False)
        self.generations = self.session.events("generation_created")
        self.transcripts = self.session.events("input_audio_transcription_completed")
        self.speech = self.session.events("input_speech_started")
        self.errors = self.session.events("error", "actor_restarted", "audio_dropped")
        self.session.start()
        self.session.wait_open(PATIENCE)

    def push(self, samples: Samples) -> None:
        """Say something."""
        self.session.push_audio(samples, RATE, 1)

    def generation(self) -> GenerationCreatedEvent:
        """The next response."""
        generation: GenerationCreatedEvent = self.generations.get(PATIENCE)[1]
        return generation

    def transcript(self) -> str:
        """The next final transcript."""
        while not (event := self.transcripts.get(PATIENCE)[1]).is_final:
            pass
        return str(event.transcript)

    def close(self) -> list[Any]:
        """Close; returns what went wrong."""
        self.session.close()
        return [payload for _, payload in self.errors]


def read(generation: GenerationCreatedEvent) -> tuple[str, Samples, list[FunctionCall]]:
    """A response to its end: its words, its sound, its calls."""
    text, sound = "", [np.zeros(0, np.int16)]
    for message in drain(generation.message_stream):
        sound += [frame.data for frame in drain(message.audio_stream)]
        text += "".join(drain(message.text_stream))
        assert message.modalities.result(PATIENCE) == ["audio", "text"]
    return text, np.concatenate(sound), list(drain(generation.function_stream))


def converse(model: RealtimeModel, server: LocalServer) -> None:
    """A spoken question with a tool, a written one, a barge-in; then the mirror is what the server has."""
    line = Line(model)
    session = line.session
    session.update_instructions("Answer in one sentence.")
    session.update_tools([get_weather], auto_execute=True)

    line.push(spoken("What is the weather in San Francisco?"))
    asked = line.generation()
    assert not asked.user_initiated
    _, _, (call,) = read(asked)
    assert (call.name, words(call.arguments)) == ("get_weather", {"city", "san", "francisco"})
    assert line.transcript() == "what is the weather in san francisco"
    text, sound, calls = read(line.generation())
    assert (text, calls) == ("In San Francisco it is sunny and warm.", [])
    assert words("sunny and warm") <= words(transcribe(sound, RATE))

    context = session.chat_ctx
    question = context.add_message(role="user", content="What is two plus three?")
    assert session.update_chat_ctx(context, timeout=PATIENCE).created == [question.id]
    reply = session.generate_reply(instructions="Be brief.").result(PATIENCE)
    assert line.generation() is reply
    assert reply.user_initiated
    text, sound, _ = read(reply)
    assert text == "Two plus three is five."
    assert len(sound) > RATE
    assert reply.done.result(PATIENCE).status == "completed"

    playback = session.playback
    line.push(spoken("Tell me a long story."))
    story = line.generation()
    message = story.message_stream.get(PATIENCE)
    for _ in range(5):
        message.audio_stream.get(PATIENCE)
    assert playback.read(RATE * 2 // 5).any()
    line.push(spoken("Thank you, goodbye."))
    parting = line.generation()
    result = story.done.result(PATIENCE)
    assert result.status == "cancelled"
    text, _, _ = read(parting)
    assert text == "You are welcome. Goodbye!"
    assert line.transcript() == "tell me a long story"
    assert line.transcript() == "thank you goodbye"
    assert parting.done.result(PATIENCE).status == "completed"
    cut = server.log.wait_received("conversation.item.truncate").event
    assert (cut["item_id"], cut["content_index"]) == (message.message_id, 0)
    assert 390 <= cut["audio_end_ms"] <= 410

    # the conversation is the same on either side
    items = session.chat_ctx.items
    assert [item.id for item in items] == [item.id for item in server.conversation()]
    assert [type(item) for item in items[:3]] == [ChatMessage, FunctionCall, FunctionCallOutput]
    said = [(item.role, item.text_content or "") for item in items if isinstance(item, ChatMessage)]
    assert [role for role, _ in said] == ["user", "assistant"] * 4
    assert said[0][1] == "what is the weather in san francisco"
    assert said[3][1] == "Two plus three is five."
    assert said[4][1] == "tell me a long story"
    assert len(said[5][1]) < 60
    assert said[7][1] == "You are welcome. Goodbye!"
    assert line.close() == []


def model_at(base_url: str, **options: Any) -> RealtimeModel:
    """A model at this address."""
    return RealtimeModel(**{"base_url": base_url, "api_key": KEY, "turn_detection": VAD, **options})


# What `make test` takes time for; most others are parts of "all at once".
QUICK = ("all at once",)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.full) for name in SERVERS]
)
def test_a_conversation_with_a_server_that_speaks_otherwise(name: str) -> None:
    with (
        LocalServer("voice", api_key=KEY, pace=20, rewrite=SERVERS[name]) as server,
        model_at(server.url) as model,
    ):
        converse(model, server)


@pytest.mark.full
def test_a_conversation_in_the_beta_names() -> None:
    with LocalServer("voice", api_key=KEY, pace=20) as server, model_at(f"{server.url}?names=beta") as model:
        converse(model, server)
        assert server.log.sent("response.audio.delta")
        assert not server.log.sent("response.output_audio.delta")


@pytest.mark.parametrize(
    "rewrite", [pytest.param(None, id="whole", marks=pytest.mark.full), pytest.param(SPARE, id="spare")]
)
def test_a_conversation_in_azures_dated_dialect(rewrite: Rewrite | None) -> None:
    with (
        LocalServer("voice", api_key=KEY, pace=20, rewrite=rewrite) as server,
        RealtimeModel.with_azure(
            azure_endpoint=server.url.removesuffix("/v1"),
            azure_deployment="voice",
            api_version="2024-10-01-preview",
            api_key=KEY,
            turn_detection=VAD,
        ) as model,
    ):
        converse(model, server)
        first = server.log.received("session.update")[0].event["session"]
        assert first["modalities"] == ["audio", "text"]
        assert "audio" not in first
        assert server.log.sent("conversation.item.created")


@pytest.mark.full
def test_a_conversation_in_azures_ga_dialect() -> None:
    with (
        LocalServer("voice", api_key=KEY, pace=20) as server,
        RealtimeModel.with_azure(
            azure_endpoint=f"{server.url.removesuffix('/v1')}/openai/v1",
            azure_deployment="voice",
            api_key=KEY,
            turn_detection=VAD,
        ) as model,
    ):
        converse(model, server)
        assert "audio" in server.log.received("session.update")[0].event["session"]


# -- errors whose code is in `type` --------------------------------------------------------------------------


def test_a_duplicate_id_counts_as_done() -> None:
    def forgetful(event: Json) -> list[Json]:
        hidden = event["type"].startswith("conversation.item.") and event["item"]["id"] == "item_there"
        return [] if hidden else code_in_type(event)

    with LocalServer(api_key=KEY, rewrite=forgetful) as server, model_at(server.url) as model:
        line = Line(model)
        item = {"id": "item_there", "type": "message", "role": "user", "content": []}
        line.session.send_event({"type": "conversation.item.create", "item": item})
        context = line.session.chat_ctx
        context.add_message(role="user", content="Hello.", id="item_there")
        report = line.session.update_chat_ctx(context, timeout=PATIENCE)
        assert (report.created, report.rejected) == (["item_there"], {})
        (error,) = server.log.sent("error")
        assert error.event["error"]["type"] == "item_create_duplicate_item_id"
        assert line.close() == []


def test_a_request_that_collides_is_made_again() -> None:
    with LocalServer("voice", api_key=KEY, pace=50, rewrite=code_in_type) as server:
        with model_at(server.url) as model:
            line = Line(model)
            # from this one on it is known that the server tells which request it answers
            first = line.session.generate_reply().result(PATIENCE)
            assert line.generation() is first
            first.done.result(PATIENCE)
            # the engine doesn't know yet that this one runs
            line.session.send_event({"type": "response.create"})
            asked = line.session.generate_reply()
            assert not line.generation().user_initiated
            generation = asked.result(PATIENCE)
            assert generation.user_initiated
            assert generation.done.result(PATIENCE).status == "completed"
            assert line.close() == []
        (error,) = server.log.sent("error")
        assert error.event["error"]["type"] == "conversation_already_has_active_response"
        assert error.event["error"]["code"] is None


@pytest.mark.parametrize("where", ["code", "type", "both"])
def test_a_fatal_error_ends_the_session(where: str) -> None:
    def broke(event: Json) -> list[Json]:
        if event["type"] != "response.created":
            return [event]
        error = {
            "code": {"message": "No money.", "code": "insufficient_quota", "type": "x_vendor"},
            "type": {"message": "No money.", "code": None, "type": "insufficient_quota"},
            # as the API did when it changed the code and kept the type
            "both": {"message": "No money.", "code": "x_vendor_code", "type": "insufficient_quota"},
        }[where]
        return [{"type": "error", "event_id": "event_1", "error": error}]

    with LocalServer(api_key=KEY, rewrite=broke) as server, model_at(server.url) as model:
        line = Line(model)
        asked = line.session.generate_reply()
        with pytest.raises(RealtimeError):
            asked.result(PATIENCE)
        name, error = line.errors.get(PATIENCE)
        assert (name, error.recoverable) == ("error", False)
        assert "No money." in str(error.error)
        with pytest.raises(StreamEnded):
            line.errors.get(PATIENCE)
        assert line.session.state == "closed"
        assert len(server.log.received("session.update")) == 1
