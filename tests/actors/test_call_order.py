"""Whatever is called, in whatever order, between whatever events: the wire has it in the order of the calls."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import antiphon.protocol as p
from antiphon import RealtimeModel
from antiphon.testing import Driver, FakeWire

ROUNDS = 10_000
# Rounds that share a session, so that ten thousand take seconds.
ROUNDS_A_SESSION = 250

CHUNK = np.arange(2_400, dtype=np.int16)


class Talker:
    """Calls a session at random and notes what each call has to put on the wire."""

    def __init__(self, session: Any, driver: Driver, rng: random.Random) -> None:
        self.session = session
        self.driver = driver
        self.rng = rng
        self.expected: list[str] = []
        self.number = 0
        self.pushed = 0
        self.replies = 0

    def marker(self) -> None:
        self.number += 1
        self.session.send_event({"type": f"mark.{self.number}"})
        self.expected.append(f"mark.{self.number}")

    def instruct(self) -> None:
        self.number += 1
        self.session.update_instructions(str(self.number))
        self.expected.append(f"instructions {self.number}")

    def choose(self) -> None:
        self.number += 1
        self.session.update_options(speed=0.25 + self.number % 1000 / 1000)
        self.expected.append(f"speed {0.25 + self.number % 1000 / 1000}")

    def speak(self) -> None:
        self.session.push_audio(CHUNK, sample_rate=24_000)
        self.pushed += 1
        self.expected.append("input_audio_buffer.append")

    def commit(self) -> None:
        self.session.commit_audio()
        if self.pushed > 1:
            self.pushed = 0
            self.expected.append("input_audio_buffer.commit")

    def clear(self) -> None:
        self.session.clear_audio()
        self.pushed = 0
        self.expected.append("input_audio_buffer.clear")

    def delete_unheard(self) -> None:
        self.number += 1
        self.session.truncate(f"item_{self.number}", ["audio"], 0)
        self.expected.append(f"delete item_{self.number}")

    def cut(self) -> None:
        self.number += 1
        self.session.truncate(f"item_{self.number}", ["audio"], 100)
        self.expected.append(f"truncate item_{self.number}")

    def ask_beside(self) -> None:
        self.replies += 1
        self.session.generate_reply(conversation="none", metadata={"n": str(self.replies)})
        self.expected.append(f"reply {self.replies}")

    def calls(self) -> list[Callable[[], None]]:
        return [
            self.marker,
            self.instruct,
            self.choose,
            self.speak,
            self.commit,
            self.clear,
            self.delete_unheard,
            self.cut,
            self.ask_beside,
        ]


def describe(event: dict[str, Any]) -> str:
    """A frame in the words of `Talker.expected`."""
    match event["type"]:
        case "session.update":
            session = event["session"]
            if "instructions" in session:
                return f"instructions {session['instructions']}"
            return f"speed {session['audio']['output']['speed']}"
        case "conversation.item.delete":
            return f"delete {event['item_id']}"
        case "conversation.item.truncate":
            return f"truncate {event['item_id']}"
        case "response.create":
            return f"reply {event['response']['metadata']['n']}"
        case kind:
            return str(kind)


def server_events(rng: random.Random) -> list[Any]:
    """Something that a server might say meanwhile."""
    number = rng.randrange(1_000_000)
    return rng.choice(
        [
            [p.InputAudioBufferSpeechStarted(item_id=f"s{number}", audio_start_ms=0)],
            [p.RateLimitsUpdated(rate_limits=[])],
            [
                p.ConversationItemAdded(
                    item=p.MessageItem(
                        id=f"u{number}", role="user", content=[p.ContentPart(type="input_text")]
                    )
                )
            ],
            [b'{"type":"something.new"}', b"not json"],
            [
                p.ResponseCreated(response=p.Response(id=f"r{number}")),
                p.ResponseDone(response=p.Response(id=f"r{number}")),
            ],
        ]
    )


SEEDS = [
    pytest.param(seed, marks=[] if seed < 3 else pytest.mark.full)
    for seed in range(ROUNDS // ROUNDS_A_SESSION)
]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_wire_is_in_call_order(seed: int) -> None:
    rng = random.Random(seed)
    driver = Driver()
    model = RealtimeModel(
        api_key="k", base_url="http://test/v1", engine=driver, turn_detection=None, max_session_duration=None
    )
    session = model.session()
    wire = driver.accept()
    talker = Talker(session, driver, rng)
    for _ in range(ROUNDS_A_SESSION):
        interleave(talker, wire, rng)
        driver.run()
        assert [describe(event) for event in wire.sent[1:]] == talker.expected
        del wire.sent[1:]
        talker.expected.clear()
    session._close_soon(1.0)
    driver.run()
    wire.close_by_server()
    assert session.state == "closed"


def interleave(talker: Talker, wire: FakeWire, rng: random.Random) -> None:
    """Two to eight calls, with the engine a few steps behind and the server talking in between."""
    for _ in range(rng.randint(2, 8)):
        rng.choice(talker.calls())()
        if rng.random() < 0.3:
            talker.driver.step(rng.randint(1, 3))
        if rng.random() < 0.2:
            wire._listener.texts([frame(event) for event in server_events(rng)])


def frame(event: Any) -> bytes:
    """An event as the socket would bring it."""
    return event if isinstance(event, bytes) else p.encode_server_event(event)
