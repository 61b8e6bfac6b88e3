"""A spoken conversation through antiphon with the bundled local server: what `make demo` runs.

A caller (a synthetic voice with room noise, 48 kHz stereo) asks questions in real time, hears the answers, has
two tools called, and talks over a long story. Both sides are recorded as they would have sounded, and a page shows
what happened.

    python examples/demo.py [--out demo-out]
"""

from __future__ import annotations

import argparse
import datetime
import statistics
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from caller import BLOCK, RATE, Caller, Sentence, write_questions, write_wav

from antiphon import (
    GenerationCreatedEvent,
    InputSpeechStoppedEvent,
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
# After so much silence the server takes the caller's speech to be over.
SILENCE_MS = 400
# Of 1.0 (-60 dBFS): below this nothing is heard. The voice begins with 200 ms of silence.
AUDIBLE = 0.001


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
    """One exchange, as it went.

    Attributes:
        sentence: What the caller says.
        heard: What the server heard.
        answer: What the model said.
        tools: Which tools ran.
        ended_at: When the caller's speech was over, as the server heard it.
        sounded_at: When the answer's first sound was heard.
        cut: What the model knows that it said, if the caller talked over it.
    """

    sentence: Sentence
    heard: str = ""
    answer: str = ""
    tools: list[str] = field(default_factory=list)
    ended_at: float | None = None
    sounded_at: float | None = None
    cut: str | None = None

    @property
    def waited_s(self) -> float | None:
        """Seconds from the end of the caller's speech to the first sound: what the report calls so, too."""
        if self.ended_at is None or self.sounded_at is None:
            return None
        return self.sounded_at - self.ended_at

    def failures(self) -> list[str]:
        """What went wrong, in words; empty when all is well."""
        wrong = [
            f"the server did not hear {word!r}" for word in self.sentence.heard if word not in self.heard
        ]
        answer = self.answer.lower()
        wrong += [f"the answer lacks {word!r}" for word in self.sentence.expect if word not in answer]
        if self.sentence.tool is not None and self.sentence.tool not in self.tools:
            wrong.append(f"{self.sentence.tool} was not called")
        if self.waited_s is None:
            wrong.append("no sound was heard")
        if self.sentence.cut_after_s is not None and self.cut is None:
            wrong.append("the answer was not cut")
        return wrong


class Conversation:
    """Follows one session: prints the running transcript."""

    def __init__(self, session: RealtimeSession, turn: Turn) -> None:
        self.session = session
        self.began = time.monotonic()
        self.turn = turn
        self._block_times: list[float] = []
        self._open = 0
        self._lock = threading.Lock()
        session.on("input_speech_stopped", self.user_stopped)
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

    def block_passed(self) -> float:
        """Note the time at which the caller's next 10 ms were said and heard, and return it."""
        self._block_times.append(time.monotonic())
        return self._block_times[-1]

    def user_stopped(self, event: InputSpeechStoppedEvent) -> None:
        """Find when that was: the server counts in milliseconds of the caller's audio."""
        blocks = event.audio_end_ms * RATE // 1000 // BLOCK
        if self.turn.sounded_at is None:
            # The server can be quicker than the thread that notes the block.
            self.turn.ended_at = self._block_times[min(blocks, len(self._block_times)) - 1]

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


def hold(conversation: Conversation, caller: Caller, turns: list[Turn]) -> None:
    """Have one turn after the other."""
    cut: Turn | None = None
    for number, turn in enumerate(turns):
        conversation.turn = turn
        caller.say(number)
        _speak_and_listen(conversation, caller, turn)
        if cut is not None:
            cut.cut = conversation.what_the_model_thinks_it_said()
        cut = turn if turn.sentence.cut_after_s is not None else None


def _speak_and_listen(conversation: Conversation, caller: Caller, turn: Turn) -> None:
    last_sound = time.monotonic()

    def each_block(sound: bool) -> bool:
        nonlocal last_sound
        now = conversation.block_passed()
        if sound or caller.speaking:
            last_sound = now
        if caller.speaking:
            return False
        if turn.sounded_at is None and caller.levels[1] > AUDIBLE:
            turn.sounded_at = now
            conversation.note("·", f"first sound {_ms(turn.waited_s)} after the caller's speech")
        if turn.sounded_at is None:
            return False
        if turn.sentence.cut_after_s is not None:
            return now - turn.sounded_at >= turn.sentence.cut_after_s
        return now - last_sound >= QUIET_S and not conversation.answering

    caller.listen(each_block, TURN_LIMIT_S)


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"


def report(turns: list[Turn]) -> int:
    """Print how it went; returns the number of turns that failed."""
    failed = 0
    print("\nturn  first sound  tools         what went wrong")
    for number, turn in enumerate(turns, start=1):
        failures = turn.failures()
        failed += bool(failures)
        tools = ", ".join(turn.tools) or "-"
        print(f"{number:>4}  {_ms(turn.waited_s):>11}  {tools:<12}  {'; '.join(failures) or '-'}")
    waits = [turn.waited_s for turn in turns if turn.waited_s is not None]
    if waits:
        print(
            f"First sound: {_ms(statistics.median(waits))} median, from the end of the caller's speech as the server "
            f"heard it,\nwhich is after {SILENCE_MS} ms of silence. The page says the same."
        )
    return failed


def new_recording(out: Path) -> Path:
    """Where to record the call: what an earlier run left there is removed, since a recording is never overwritten."""
    lines = out / "call.jsonl"
    for old in (lines, out / "call.in.wav", out / "call.out.wav"):
        old.unlink(missing_ok=True)
    return lines


def converse(out: Path, script: tuple[Sentence, ...] = SCRIPT) -> list[Turn]:
    """Hold a conversation and leave its recordings in a folder; returns how each turn went."""
    print("Preparing the caller's sentences and the server's ear and voice …", flush=True)
    questions = out / "questions.wav"
    places = write_questions(questions, script)
    turns = [Turn(sentence) for sentence in script]
    with (
        LocalServer(brain="voice", api_key="demo") as server,
        RealtimeModel(
            base_url=server.url, api_key="demo", turn_detection=ServerVad(silence_duration_ms=SILENCE_MS)
        ) as model,
    ):
        session = model.session(start=False)
        session.record(new_recording(out))
        conversation = Conversation(session, turns[0])
        caller = Caller(session, questions, places)
        session.start()
        session.wait_open()
        session.update_tools([get_time, get_weather], auto_execute=True)
        print(f"Talking to {server.url} in real time.\n")
        hold(conversation, caller, turns)
        for turn in turns:
            if turn.cut is not None:
                conversation.note("·", f"the story was cut; the model knows that it said: {turn.cut!r}")
    write_wav(out / "call.wav", caller.recording())
    return turns


def main() -> int:
    """Run the demo; the exit code is 0 when every turn went well."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("demo-out"), help="folder for the recordings")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    turns = converse(out)
    failed = report(turns)
    print(f"\nThe call is in {out / 'call.wav'} (caller left, model right).")
    write_report(out / "call.jsonl", out / "call.html")
    print(f"See it in a browser: {out / 'call.html'}")
    if failed:
        print(f"{failed} of {len(turns)} turns failed.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
