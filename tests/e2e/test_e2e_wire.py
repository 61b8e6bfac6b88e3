"""Text-only sessions, and everything else that the engine can say; the SDK and the server must take all of it."""

from __future__ import annotations

import io

import pytest
from e2e_harness import PATIENCE, Line, drain, fence, kinds, model_for, read, write
from PIL import Image

from antiphon import (
    AudioTranscription,
    ChatMessage,
    FunctionCall,
    FunctionCallOutput,
    NoiseReduction,
    Prompt,
    ProviderTool,
    RawFunctionTool,
    Reasoning,
    RetentionRatioTruncation,
    SemanticVad,
    ServerVad,
    Tracing,
    function_tool,
)
from antiphon.protocol import ConversationItemRetrieve


@function_tool
def get_weather(city: str) -> str:
    """Tell the weather in a city."""
    return city


def test_a_text_only_session(serve) -> None:
    server = serve("voice")
    with model_for(server, modalities=["text"], turn_detection=None) as model:
        assert not model.capabilities.audio_output
        line = Line(model)
        write(line.session, "What is two plus three?")
        generation = line.session.generate_reply().result(PATIENCE)
        (message,) = drain(generation.message_stream)
        assert message.modalities.result(PATIENCE) == ["text"]
        assert message.audio_stream.closed
        assert drain(message.audio_stream) == []
        pieces = drain(message.text_stream)
        assert len(pieces) > 1
        assert "".join(pieces) == "Two plus three is five."
        assert generation.done.result(PATIENCE).status == "completed"
        assert kinds(server, "session.update")[0]["session"]["output_modalities"] == ["text"]
        assert not server.log.sent("response.output_audio.delta")
        assert [item.text_content for item in line.session.chat_ctx.items] == [
            "What is two plus three?",
            "Two plus three is five.",
        ]
        assert line.close() == []


def test_every_option_at_the_start(serve) -> None:
    server = serve("parrot")
    options = {
        "voice": "cedar",
        "modalities": ["audio"],
        "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
        "input_audio_transcription": AudioTranscription(model="whisper-1", language="en", prompt="names"),
        "input_audio_noise_reduction": "far_field",
        "turn_detection": ServerVad(threshold=0.6, prefix_padding_ms=200, idle_timeout_ms=6000),
        "speed": 1.25,
        "tracing": Tracing(workflow_name="w", group_id="g", metadata={"k": "v"}),
        "truncation": RetentionRatioTruncation(retention_ratio=0.8),
        "max_response_output_tokens": 500,
        "prompt": Prompt(id="pmpt_1"),
        "parallel_tool_calls": True,
        "include": ["item.input_audio_transcription.logprobs"],
    }
    with model_for(server, **options) as model:
        line = Line(model)
        line.session.update_instructions("Be short.")
        line.session.update_tools([get_weather])
        fence(line.session)
        first = kinds(server, "session.update")[0]["session"]
        assert first["type"] == "realtime"
        assert first["tool_choice"] == {"type": "function", "name": "get_weather"}
        assert not server.log.sent("error")
        assert line.close() == []


def test_every_change_of_options(serve) -> None:
    server = serve("parrot")
    vad, semantic = {"type": "server_vad", "silence_duration_ms": 300}, SemanticVad(eagerness="high")
    changes = [
        {"turn_detection": vad},
        {"turn_detection": semantic},
        {"turn_detection": None},
        {"voice": "cedar", "speed": 0.9},
        {"tool_choice": "required"},
        {"tool_choice": {"type": "function", "name": "get_weather"}},
        {"tool_choice": None},
        {"input_audio_transcription": {"model": "gpt-4o-transcribe"}},
        {"input_audio_transcription": None},
        {"input_audio_noise_reduction": NoiseReduction(type="near_field")},
        {"input_audio_noise_reduction": None},
        {"max_response_output_tokens": 77},
        {"max_response_output_tokens": "inf"},
        {"tracing": "auto"},
        {"tracing": None},
        {"truncation": "disabled"},
        {"truncation": {"type": "retention_ratio", "retention_ratio": 0.5}},
        {"truncation": "auto"},
    ]
    with model_for(server) as model:
        line = Line(model)
        line.session.update_tools([get_weather])
        for number, change in enumerate(changes):
            (model if number % 2 else line.session).update_options(**change)
        before = len(kinds(server, "session.update"))
        line.session.update_options()
        line.session.update_options(speed=0.9, turn_detection=None)
        fence(line.session)
        updates = kinds(server, "session.update")
        assert len(updates) == 2 + len(changes), "what does not differ is not sent"
        assert before <= len(updates)
        for change, update in zip(changes[:4], updates[2:], strict=False):
            assert len(update["session"]) == 2, f"{change}: {update}"
        assert not server.log.sent("error")
        assert line.close() == []


def test_nulls_and_reasoning_fit_too(serve) -> None:
    """None switches a thing off; what the bundled server thinks of it is its own affair."""
    server = serve("parrot")
    with model_for(server) as model:
        line = Line(model)
        line.session.update_options(reasoning=Reasoning(effort="low"))
        fence(line.session)
        assert line.close() == []


def test_everything_else_that_can_be_said(serve) -> None:
    server = serve("parrot", pace=50)
    file = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(file, "JPEG")
    schema = {
        "name": "raw",
        "description": "d",
        "parameters": {"type": "object"},
        "meta": {"x": 1},
        "strict": True,
    }
    with model_for(server, turn_detection=None) as model:
        line = Line(model)
        session = line.session
        session.update_tools([get_weather, RawFunctionTool(schema, str), ProviderTool("web_search")])
        session.update_instructions("Be kind.")
        session.push_video(file.getvalue(), "jpeg")
        session.push_audio(bytes(9_600), sample_rate=24_000, num_channels=1)
        session.clear_audio()
        session.push_audio(bytes(9_600), sample_rate=24_000, num_channels=1)
        session.commit_audio()
        answer = read(session.generate_reply("Briefly.").result(PATIENCE))
        (spoken_id,) = answer.message_ids
        session.truncate(spoken_id, ["audio"], 50)
        session.send_event(ConversationItemRetrieve(item_id=spoken_id))
        session.send_event({"type": "conversation.item.retrieve", "item_id": spoken_id})
        server.log.wait_sent("conversation.item.truncated")
        fence(session)

        context = session.chat_ctx
        context.add_message(role="system", content="A system message.")
        context.add_message(role="developer", content="A developer's.")
        context.add_message(role="assistant", content="An assistant's.")
        context.insert(FunctionCall("call_" + "x" * 60, "get_weather", '{"city": "Rome"}'))
        context.insert(FunctionCallOutput("call_" + "x" * 60, "mild"))
        first = next(item for item in context.items if item.type == "message" and item.images)
        context.items.remove(first)
        report = session.update_chat_ctx(context)
        assert report.deleted == [first.id]
        assert len(report.created) == 5
        assert not report.rejected

        pending = session.generate_reply()
        pending.cancel()
        fence(session)
        aside = session.generate_reply(
            "Aside.",
            "none",
            [get_weather],
            conversation="none",
            input=[ChatMessage("user", ["Hello."])],
            metadata={"topic": "aside"},
            modalities=["text"],
            max_output_tokens=99,
        )
        assert read(aside.result(PATIENCE)).text == "Hello."
        assert not [
            r.event
            for r in server.log.sent("error")
            if r.event["error"]["code"] != "response_cancel_not_active"
        ]
        assert {record.type for record in server.log.received()} >= {
            "session.update",
            "input_audio_buffer.append",
            "input_audio_buffer.commit",
            "input_audio_buffer.clear",
            "conversation.item.create",
            "conversation.item.delete",
            "conversation.item.retrieve",
            "conversation.item.truncate",
            "response.create",
            "response.cancel",
        }
        assert line.close() == []


def test_what_is_said_beside_the_conversation_stays_out_of_the_mirror(serve) -> None:
    """The server has no such item: what is put behind it would be refused."""
    server = serve("parrot")
    with model_for(server, modalities=["text"]) as model:
        line = Line(model)
        write(line.session, "One.")
        aside = line.session.generate_reply(conversation="none", input=[ChatMessage("user", ["Hello."])])
        generation = aside.result(PATIENCE)
        assert read(generation).text == "Hello."
        generation.done.result(PATIENCE)
        write(line.session, "Two.")
        assert [item.id for item in line.session.chat_ctx.items] == [
            item.id for item in server.conversation()
        ]
        assert line.close() == []


@pytest.mark.parametrize("name", ["openai_client_event_queued", "openai_server_event_received"])
def test_the_raw_events_are_those_of_the_wire(serve, name) -> None:
    server = serve("parrot")
    with model_for(server, modalities=["text"]) as model:
        session = model.session(start=False)
        stream = session.events(name)
        session.start()
        write(session, "Hello.")
        read(session.generate_reply().result(PATIENCE))
        session.close()
        seen = [payload for _, payload in stream]
    records = server.log.received() if name == "openai_client_event_queued" else server.log.sent()
    wire = [record.event for record in records]
    assert seen == wire[: len(seen)]
    assert len(seen) >= len(wire) - 1
