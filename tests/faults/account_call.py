"""One conversation of the account: an application that talks, writes and has tools run, while faults strike."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from faults_harness import DEADLINE, WIRE, Samples
from proxy import Cut, Fault, FaultProxy

from antiphon import (
    ConnectOptions,
    Engine,
    GenerationCreatedEvent,
    RealtimeError,
    RealtimeModel,
    RealtimeSession,
    ServerVad,
    Timeouts,
    function_tool,
)
from antiphon.actors.chat import new_item_id
from antiphon.protocol import ContentPart, ConversationItemCreate, FunctionCallOutputItem, Item, MessageItem
from antiphon.testing import LocalServer
from antiphon.testing.brains.base import Call, Output, Request, Say, Sound

TIMEOUTS: Final = Timeouts(first_retry=0.05, ping_interval=1.0, ping_timeout=3.0, uptime=0.5, reply_wait=60.0)
PATIENT: Final = ConnectOptions(max_retry=1000, retry_interval=0.2, timeout=2.0)
# Every 100 ms of an utterance are marked with these, its number, and the place.
MARK: Final = (7, -311, 307, -5)
FRAME: Final = WIRE // 50
PAUSE: Final[Samples] = np.zeros(WIRE, np.int16)
# Where a frame of the server may be cut in two.
FRAMES: Final = (
    b'"input_audio_buffer.committed"',
    b'"conversation.item.added"',
    b'"conversation.item.input_audio_transcription.completed"',
    b'"response.created"',
    b'"response.output_audio.delta"',
    b'"response.function_call_arguments.done"',
    b'"response.output_item.done"',
    b'"response.done"',
    b'"function_call_output"',
)
# Faults that last a while, and those that are over at once.
LASTING: Final[tuple[Fault, ...]] = ("black-hole", "stall", "mute", "drip")
FAULTS: Final = (*LASTING, "reset", "frame", "frame", "bytes", "away", "suspend", "kick", "restart")


def marked(speech: Samples, number: int) -> Samples:
    """An utterance that is like no other: its samples tell its number and their place in it."""
    utterance = speech.copy()
    for place, at in enumerate(range(0, len(utterance) - len(MARK) - 2, WIRE // 10)):
        utterance[at : at + len(MARK) + 2] = (*MARK, number, place)
    return utterance


def marks_in(samples: Samples) -> list[tuple[int, int]]:
    """The number and the place at each mark in these samples."""
    found = samples[:-5] == MARK[0]
    for index in (1, 2, 3):
        found &= samples[index : len(samples) - 5 + index] == MARK[index]
    return [(int(samples[at + 4]), int(samples[at + 5])) for at in np.flatnonzero(found)]


class Clerk:
    """Knows utterances by their numbers, calls the tool when it is told to, and else says what it heard."""

    def __init__(self, voice: Samples) -> None:
        self._voice = Sound(voice, WIRE)

    def warm(self) -> None:
        """Nothing to load."""

    def hear(self, sound: Sound) -> str:
        """What the utterances' marks say: which, from where to where."""
        places: dict[int, list[int]] = {}
        for number, place in marks_in(sound.samples):
            places.setdefault(number, []).append(place)
        return (
            "; ".join(f"utterance {n} from {min(of)} to {max(of)}" for n, of in places.items()) or "a noise"
        )

    def respond(self, request: Request) -> Iterator[Output]:
        """Answer the last thing that is not the model's own."""
        for turn in reversed(request.turns):
            if isinstance(turn.item, FunctionCallOutputItem):
                yield Say(f"That was {turn.item.output}.", self._voice)
                return
            if isinstance(turn.item, MessageItem) and turn.item.role == "user":
                if turn.text.startswith("call "):
                    yield Call("note", json.dumps({"number": int(turn.text.removeprefix("call "))}))
                else:
                    yield Say(f"I heard {turn.text}.", self._voice)
                return


@dataclass
class Told:
    """What one conversation's application did, and what it was told."""

    spoken: dict[int, Samples] = field(default_factory=dict)
    written: list[str] = field(default_factory=list)
    events: list[tuple[str, Any]] = field(default_factory=list)
    # Samples of each response that ended well; responses that failed, requests that failed.
    heard: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    hung: list[str] = field(default_factory=list)
    ran: Counter[int] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    mirror: list[str] = field(default_factory=list)

    def of(self, name: str) -> list[Any]:
        """The payloads of one event."""
        return [payload for other, payload in self.events if other == name]


class Conversation:
    """An application, its server, and the proxy between them.

    Args:
        seed: Decides what is said, and which faults strike when.
        speeches: What is said, mono at the wire's rate.
        seconds: How long it goes on.
        vad: Whether the server finds the turns.
        gap: Seconds between faults, from and to.
    """

    def __init__(
        self, seed: int, speeches: list[Samples], seconds: float, vad: bool, gap: tuple[float, float]
    ) -> None:
        self.seed = seed
        self.vad = vad
        self.told = Told()
        self._rng = random.Random(seed)
        self._speeches = speeches
        self._seconds = seconds
        self._gap = gap
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._readers: list[threading.Thread] = []
        # What the server's conversation holds at the end.
        self.served: list[Item] = []
        self.server = LocalServer(Clerk(speeches[0][: WIRE // 2]), pace=4.0)

    def run(self, engine: Engine) -> Told:
        """Talk until the time is over, then wait until everything has come to its end."""
        with self.server, FaultProxy(("127.0.0.1", self.server.port)) as proxy:
            model = RealtimeModel(
                api_key="k",
                base_url=proxy.url,
                engine=engine,
                timeouts=TIMEOUTS,
                conn_options=PATIENT,
                turn_detection=ServerVad(silence_duration_ms=400) if self.vad else None,
            )
            session = model.session(start=False)
            self._listen(session)
            session.start()
            session.wait_open(DEADLINE)
            faults = threading.Thread(target=self._strike, args=(proxy, session), name="account-faults")
            faults.start()
            try:
                self._converse(session)
            finally:
                self._over.set()
                faults.join()
            self._settle(session)
            self.told.mirror = [item.id for item in session.chat_ctx.items]
            self.served = self.server.conversation()
            session.close()
        return self.told

    # -- the application ------------------------------------------------------------------------------

    def _listen(self, session: RealtimeSession) -> None:
        for name in ("error", "session_reconnected", "audio_dropped", "tool_finished", "actor_restarted"):
            session.on(name, lambda payload, name=name: self.told.events.append((name, payload)))
        session.on("generation_created", self._take)
        told = self.told

        @function_tool
        def note(number: int) -> str:
            """Take a note.

            Args:
                number: What to note.
            """
            told.ran[number] += 1
            return f"note {number}"

        session.update_tools([note], auto_execute=True)

    def _take(self, generation: GenerationCreatedEvent) -> None:
        """Every response is read to its end, on a thread of its own."""
        reader = threading.Thread(target=self._read, args=(generation,), name="account-reader")
        with self._lock:
            self._readers.append(reader)
        reader.start()

    def _read(self, generation: GenerationCreatedEvent) -> None:
        samples = 0
        for message in generation.message_stream:
            for frame in message.audio_stream:
                samples += len(frame.data)
        try:
            generation.done.result(DEADLINE)
            self.told.heard[generation.response_id] = samples
        except TimeoutError:
            self.told.hung.append(generation.response_id)
        except RealtimeError as error:
            self.told.failed[generation.response_id] = str(error)

    def _converse(self, session: RealtimeSession) -> None:
        end = time.monotonic() + self._seconds
        number = 0
        while time.monotonic() < end:
            number += 1
            kind = self._rng.choice(("speak", "speak", "write", "call"))
            if kind == "speak":
                self._speak(session, number)
            else:
                self._write(session, f"call {number}" if kind == "call" else f"message {number}")
            if kind != "speak" or not self.vad:
                self._ask(session)
            self._wait_quiet(session)

    def _speak(self, session: RealtimeSession, number: int) -> None:
        utterance = marked(self._rng.choice(self._speeches), number)
        self.told.spoken[number] = utterance
        self._play(session, np.concatenate([utterance, PAUSE]) if self.vad else utterance)
        if not self.vad:
            session.commit_audio()

    def _play(self, session: RealtimeSession, samples: Samples) -> None:
        """Push audio as a microphone does."""
        due = time.monotonic()
        for start in range(0, len(samples), FRAME):
            session.push_audio(samples[start : start + FRAME], sample_rate=WIRE)
            due += FRAME / WIRE
            time.sleep(max(0.0, due - time.monotonic()))

    def _write(self, session: RealtimeSession, text: str) -> None:
        self.told.written.append(text)
        part = ContentPart(type="input_text", text=text)
        session.send_event(
            ConversationItemCreate(item=MessageItem(id=new_item_id(), role="user", content=[part]))
        )

    def _ask(self, session: RealtimeSession) -> None:
        """Ask for a response, and once more if the connection is lost under it."""
        for _ in range(3):
            try:
                self._await(session.generate_reply())
                return
            except RealtimeError as error:
                self.told.refused[str(error)] += 1

    def _await(self, future: Future[GenerationCreatedEvent]) -> None:
        try:
            future.result(60).done.result(60)
        except TimeoutError:
            self.told.hung.append("a reply")

    def _wait_quiet(self, session: RealtimeSession) -> None:
        """Wait until nothing is said or asked for, at most some seconds: the model may be going on after a tool."""
        end = time.monotonic() + 5.0
        while session.has_active_generation and time.monotonic() < end:
            self._over.wait(0.05)

    def _settle(self, session: RealtimeSession) -> None:
        """Wait until the server has what was sent, and everything that was begun has ended."""
        added = session.events("remote_item_added")
        self._write(session, "the end")
        end = time.monotonic() + DEADLINE
        while getattr(added.get(max(0.1, end - time.monotonic()))[1].item, "text_content", "") != "the end":
            pass
        self._wait_quiet(session)
        with self._lock:
            readers = list(self._readers)
        for reader in readers:
            reader.join(DEADLINE)
            if reader.is_alive():
                self.told.hung.append("a stream")

    # -- the faults ---------------------------------------------------------------------------------------

    def _strike(self, proxy: FaultProxy, session: RealtimeSession) -> None:
        rng = random.Random(self._rng.random())
        while not self._over.wait(rng.uniform(*self._gap)):
            fault = rng.choice(FAULTS)
            self.told.faults[fault] += 1
            self._make(fault, proxy, session, rng)
            proxy.cut(None)
            proxy.fault = "forward"

    def _make(self, fault: str, proxy: FaultProxy, session: RealtimeSession, rng: random.Random) -> None:
        if fault == "frame":
            proxy.cut(Cut(within=rng.choice(FRAMES), how=rng.choice(("reset", "fin"))))
            self._over.wait(4.0)
        elif fault == "bytes":
            proxy.cut(Cut(after=rng.randrange(1, 200_000), how=rng.choice(("reset", "fin"))))
            self._over.wait(4.0)
        elif fault == "suspend":
            proxy.suspend()
        elif fault == "kick":
            self.server.drop_all(rng.choice((1001, 1011, None)))
        elif fault == "restart":
            session.restart()
        elif fault == "away":
            proxy.fault = "refuse"
            self.server.drop_all()
            self._over.wait(rng.uniform(0.2, 2.0))
        elif fault == "reset":
            proxy.fault = "reset"
        for lasting in LASTING:
            if fault == lasting:
                proxy.fault = lasting
                self._over.wait(rng.uniform(0.5, 3.0))
