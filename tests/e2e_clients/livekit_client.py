"""Drives livekit-plugins-openai's RealtimeModel; runs in a virtual environment of its own, without antiphon.

    python livekit_client.py URL KEY FOLDER

The folder has what is said, as 48 kHz mono s16le; what the model says is written there, and `report.json`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path
from typing import Any

from livekit import rtc
from livekit.agents import llm
from livekit.plugins.openai.realtime import RealtimeModel
from openai.types import realtime
from openai.types.realtime.realtime_audio_input_turn_detection import ServerVad

RATE = 48_000
FRAME = RATE // 50
PATIENCE = 60.0
# into the recording with which the user interrupts: in the middle of its sentence
INTERRUPTED_S = 1.6


class Complaints(logging.Handler):
    """Keeps what livekit warns of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line, with the exception that it is about."""
        line = f"{record.levelname} {record.getMessage()}"
        self.lines.append(f"{line}: {record.exc_info[1]!r}" if record.exc_info else line)


@llm.function_tool
async def get_weather(city: str) -> str:
    """Tell the weather in a city.

    Args:
        city: The city's name.
    """
    return f"In {city} it is sunny."


class Call:
    """One call: what is said, and what comes back."""

    def __init__(self, session: llm.RealtimeSession, folder: Path) -> None:
        self.session = session
        self.folder = folder
        self.generations: asyncio.Queue[llm.GenerationCreatedEvent] = asyncio.Queue()
        self.speech: asyncio.Queue[str] = asyncio.Queue()
        self.heard: asyncio.Queue[str] = asyncio.Queue()
        self.partial: list[str] = []
        self.errors: list[str] = []
        self.metrics: list[Any] = []
        session.on("generation_created", self.generations.put_nowait)
        session.on("input_speech_started", lambda _: self.speech.put_nowait("started"))
        session.on("input_speech_stopped", lambda _: self.speech.put_nowait("stopped"))
        session.on("input_audio_transcription_completed", self._transcribed)
        session.on("error", lambda event: self.errors.append(repr(event.error)))
        session.on("metrics_collected", self.metrics.append)

    def _transcribed(self, event: llm.InputTranscriptionCompleted) -> None:
        if event.is_final:
            self.heard.put_nowait(event.transcript)
        else:
            self.partial.append(event.transcript)

    def say(self, name: str, start_s: float = 0.0, end_s: float | None = None) -> None:
        """Push a recording, or a part of it."""
        data = (self.folder / f"{name}.pcm").read_bytes()
        data = data[int(start_s * 2 * RATE) : None if end_s is None else int(end_s * 2 * RATE)]
        for at in range(0, len(data) - 2 * FRAME + 1, 2 * FRAME):
            self.session.push_audio(rtc.AudioFrame(data[at : at + 2 * FRAME], RATE, 1, FRAME))

    async def listen(self, generation: llm.GenerationCreatedEvent, name: str) -> dict[str, Any]:
        """Take a response in to its end; its audio is written to a file."""
        said: dict[str, Any] = {"text": "", "ids": [], "modalities": [], "calls": []}
        audio = b""
        async for message in generation.message_stream:
            said["ids"].append(message.message_id)
            said["text"] += "".join([str(piece) async for piece in message.text_stream])
            audio += b"".join([bytes(frame.data) async for frame in message.audio_stream])
            said["modalities"].append(await message.modalities)
        async for call in generation.function_stream:
            said["calls"].append({"id": call.call_id, "name": call.name, "arguments": call.arguments})
        (self.folder / f"{name}.said").write_bytes(audio)
        return said


async def converse(call: Call) -> dict[str, Any]:
    """The conversation."""
    session = call.session
    report: dict[str, Any] = {}
    await session.update_instructions("Answer in one sentence.")
    await session.update_tools([get_weather])

    # a spoken question and a tool's round trip
    call.say("weather")
    asked = await call.listen(await call.generations.get(), "asked")
    report["asked"] = asked
    report["heard_weather"] = await call.heard.get()
    context = session.chat_ctx.copy()
    context.items.append(
        llm.FunctionCallOutput(
            call_id=asked["calls"][0]["id"],
            name="get_weather",
            output="It is sunny and warm.",
            is_error=False,
        )
    )
    await session.update_chat_ctx(context)
    reply = await session.generate_reply()
    assert await call.generations.get() is reply
    report["user_initiated"] = reply.user_initiated
    report["answered"] = await call.listen(reply, "answered")

    # the user talks over a long story
    call.say("story")
    story = await call.generations.get()
    message = await anext(aiter(story.message_stream))
    frames = aiter(message.audio_stream)
    heard_ms = 0.0
    for _ in range(5):
        heard_ms += (await anext(frames)).duration * 1000
    while not call.speech.empty():
        call.speech.get_nowait()
    # no more of it than was said when the server notices: the cancel must not meet the answer
    call.say("goodbye", 0.0, INTERRUPTED_S)
    assert await call.speech.get() == "started"
    session.interrupt()
    session.truncate(message_id=message.message_id, modalities=["audio", "text"], audio_end_ms=int(heard_ms))
    call.say("goodbye", INTERRUPTED_S)
    report["story_frames"] = 5 + len([frame async for frame in frames])
    report["story_id"] = message.message_id
    report["story_ms"] = int(heard_ms)
    report["parted"] = await call.listen(await call.generations.get(), "parted")
    report["heard_story"] = await call.heard.get()
    report["heard_goodbye"] = await call.heard.get()

    # a written question, in the middle of it a message that is there already, and one that goes
    context = session.chat_ctx.copy()
    report["before"] = [item.id for item in context.items]
    context.items = [item for item in context.items if item.id != message.message_id]
    context.add_message(role="user", content="What is two plus three?", id="item_question")
    await session.update_chat_ctx(context)
    report["after"] = [item.id for item in session.chat_ctx.items]
    reply = await session.generate_reply(instructions="Be brief.", tool_choice="none")
    await call.generations.get()
    report["sum"] = await call.listen(reply, "sum")

    # by hand: no turn detection, commit, clear
    session.update_options(turn_detection=None, speed=1.2)
    call.say("weather")
    session.clear_audio()
    call.say("hello")
    session.commit_audio()
    reply = await session.generate_reply()
    await call.generations.get()
    report["greeting"] = await call.listen(reply, "greeting")
    report["heard_hello"] = await call.heard.get()
    return report


async def main(url: str, key: str, folder: Path) -> None:
    """Hold the conversation and write the report."""
    complaints = Complaints()
    logging.getLogger("livekit").addHandler(complaints)
    model = RealtimeModel(
        base_url=url,
        api_key=key,
        input_audio_transcription=realtime.AudioTranscription(model="gpt-4o-mini-transcribe"),
        turn_detection=ServerVad(
            type="server_vad",
            threshold=0.5,
            prefix_padding_ms=300,
            silence_duration_ms=400,
            create_response=True,
            interrupt_response=True,
        ),
    )
    session = model.session()
    call = Call(session, folder)
    async with asyncio.timeout(PATIENCE):
        report = await converse(call)
        await session.aclose()
        await model.aclose()
    report["partial"] = call.partial
    report["errors"] = call.errors
    report["metrics"] = [type(one).__name__ for one in call.metrics]
    report["complaints"] = complaints.lines
    (folder / "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
