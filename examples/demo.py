"""A spoken conversation through antiphon with the bundled local server: what `make demo` runs.

A caller (a synthetic voice with room noise, 48 kHz stereo) asks questions in real time, hears the answers, has
two tools called, and talks over a long story. Both sides are recorded as they would have sounded, and a page shows
what happened.

    python examples/demo.py [--out demo-out]
"""

from __future__ import annotations

import argparse
import datetime
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from caller import RATE, Caller, Sentence, write_questions, write_wav

from antiphon import (
    GenerationCreatedEvent,
    InputTranscriptionCompleted,
    MessageGeneration,
    RealtimeModel,
    RealtimeSession,
    ServerVad,
    ToolFinishedEvent,
    function_tool,
)
from antiphon.report import write_report
from antiphon.testing import LocalServer

TURN_LIMIT_S = 25.0
# After so much quiet the caller takes an answer to be over.
QUIET_S = 0.6


@function_tool
def get_time() -> str:
    """Tell the time of day."""
    return datetime.datetime.now().strftime("%H:%M")


@function_tool
def get_weather(city: str) -> str:
    """Tell the weather in a city.

    Args:
        city: The city's name.
    """
    return f"In {city} it is sunny, with eighteen degrees."


SCRIPT = (
    Sentence("Hello, can you hear me?", expect=("help",)),
    Sentence("What time is it?", heard=("time",), tool="get_time"),
    Sentence(
        "What is the weather in San Francisco?",
        heard=("weather", "san francisco"),
        expect=("sunny",),
        tool="get_weather",
    ),
    Sentence("Tell me a long story.", heard=("story",), expect=("once upon a time",), cut_after_s=4.0),
    Sentence("Thank you, goodbye.", heard=("goodbye",), expect=("goodbye",)),
)


@dataclass
class Turn:
    """One exchange, as it went."""

    sentence: Sentence
    heard: str = ""
    answer: str = ""
    tools: list[str] = field(default_factory=list)
    ended_at: float = 0.0
    first_audio_s: float | None = None
    cut: str | None = None

    def failures(self) -> list[str]:
        """What went wrong, in words; empty when all is well."""
        wrong = [
            f"the server did not hear {word!r}" for word in self.sentence.heard if word not in self.heard
        ]
        answer = self.answer.lower()
        wrong += [f"the answer lacks {word!r}" for word in self.sentence.expect if word not in answer]
        if self.sentence.tool is not None and self.sentence.tool not in self.tools:
            wrong.append(f"{self.sentence.tool} was not called")
        if self.first_audio_s is None:
            wrong.append("no sound was heard")
        if self.sentence.cut_after_s is not None and self.cut is None:
            wrong.append("the answer was not cut")
        return wrong


class Conversation:
    """Follows one session: prints the running transcript."""

    def __init__(self, session: RealtimeSession) -> None:
        self.session = session
        self.began = time.monotonic()
        self.turn = Turn(SCRIPT[0])
        self._open = 0
        self._lock = threading.Lock()
        session.on("input_audio_transcription_completed", self.user_said)
        session.on("generation_created", self.follow)
        session.on("tool_finished", self.tool_finished)
        session.on("error", lambda event: self.note("!", str(event.error)))
        session.on("session_reconnected", lambda event: self.note("~", f"reconnected ({event.reason})"))

    def note(self, who: str, text: str) -> None:
        """Print a line with the time of the call."""
        print(f"{time.monotonic() - self.began:6.2f} s  {who:<7} {text}", flush=True)

    @property
    def answering(self) -> bool:
        """Whether a response is asked for or under way."""
        return self._open > 0 or self.session.has_active_generation

    def user_said(self, event: InputTranscriptionCompleted) -> None:
        """Print what the server heard."""
        if event.is_final:
            self.turn.heard += event.transcript.lower()
            self.note("caller", event.transcript)

    def tool_finished(self, event: ToolFinishedEvent) -> None:
        """Print what a tool, which the engine ran, told the model."""
        self.turn.tools.append(event.name)
        self.note("tool", f"{event.name} -> {event.output}")

    def follow(self, generation: GenerationCreatedEvent) -> None:
        """Read a response on a thread of its own, so that other events are not held up."""
        self._count(+1)
        name = f"demo-{generation.response_id}"
        threading.Thread(target=self._follow, args=(generation, self.turn), name=name, daemon=True).start()

    def _follow(self, generation: GenerationCreatedEvent, turn: Turn) -> None:
        try:
            for message in generation.message_stream:
                self._read(message, turn)
        finally:
            self._count(-1)

    def _read(self, message: MessageGeneration, turn: Turn) -> None:
        text = "".join(message.text_stream)
        turn.answer += text
        self.note("model", text)

    def _count(self, change: int) -> None:
        with self._lock:
            self._open += change

    def what_the_model_thinks_it_said(self) -> str | None:
        """The last message that was cut, as the server's conversation has it now."""
        for item in reversed(self.session.chat_ctx.items):
            if item.type == "message" and item.role == "assistant" and item.interrupted:
                return item.text_content
        return None


def hold(conversation: Conversation, caller: Caller) -> list[Turn]:
    """Go through the script; returns how each turn went."""
    turns = []
    for number, sentence in enumerate(SCRIPT):
        turn = conversation.turn = Turn(sentence)
        turns.append(turn)
        caller.say(number)
        _speak_and_listen(conversation, caller, turn)
    return turns


def _speak_and_listen(conversation: Conversation, caller: Caller, turn: Turn) -> None:
    answer_began: float | None = None
    last_sound = time.monotonic()

    def each_block(sound: bool) -> bool:
        nonlocal answer_began, last_sound
        now = time.monotonic()
        if caller.speaking:
            turn.ended_at = last_sound = now
            return False
        if sound:
            last_sound = now
        if sound and answer_began is None:
            answer_began = now
            turn.first_audio_s = now - turn.ended_at
            conversation.note("·", f"first sound {turn.first_audio_s * 1000:.0f} ms after the caller's last")
        if turn.sentence.cut_after_s is not None:
            return answer_began is not None and now - answer_began >= turn.sentence.cut_after_s
        quiet = now - last_sound >= QUIET_S
        return answer_began is not None and quiet and not conversation.answering

    caller.listen(each_block, TURN_LIMIT_S)


def report(turns: list[Turn]) -> int:
    """Print how it went; returns the number of turns that failed."""
    failed = 0
    print("\nturn  first sound  tools         what went wrong")
    for number, turn in enumerate(turns, start=1):
        failures = turn.failures()
        failed += bool(failures)
        sound = "-" if turn.first_audio_s is None else f"{turn.first_audio_s * 1000:.0f} ms"
        print(f"{number:>4}  {sound:>11}  {', '.join(turn.tools) or '-':<12}  {'; '.join(failures) or '-'}")
    return failed


def new_recording(out: Path) -> Path:
    """Where to record the call: what an earlier run left there is removed, since a recording is never overwritten."""
    lines = out / "call.jsonl"
    for old in (lines, out / "call.in.wav", out / "call.out.wav"):
        old.unlink(missing_ok=True)
    return lines


def main() -> int:
    """Run the demo; the exit code is 0 when every turn went well."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("demo-out"), help="folder for the recordings")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    print("Preparing the caller's sentences and the server's ear and voice …", flush=True)
    questions = out / "questions.wav"
    places = write_questions(questions, SCRIPT)
    with (
        LocalServer(brain="voice", api_key="demo") as server,
        RealtimeModel(
            base_url=server.url, api_key="demo", turn_detection=ServerVad(silence_duration_ms=400)
        ) as model,
    ):
        session = model.session(start=False)
        session.record(new_recording(out))
        conversation = Conversation(session)
        caller = Caller(session, questions, places)
        session.start()
        session.wait_open()
        session.update_tools([get_time, get_weather], auto_execute=True)
        print(f"Talking to {server.url} in real time.\n")
        turns = hold(conversation, caller)
        turns[-2].cut = conversation.what_the_model_thinks_it_said()
        conversation.note("·", f"the story was cut; the model knows that it said: {turns[-2].cut!r}")
    call = out / "call.wav"
    recording = caller.recording()
    write_wav(call, recording)
    failed = report(turns)
    print(f"\nThe call is in {call} ({len(recording) / RATE:.0f} s; caller left, model right).")
    write_report(out / "call.jsonl", out / "call.html")
    print(f"See it in a browser: {out / 'call.html'}")
    if failed:
        print(f"{failed} of {len(turns)} turns failed.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
