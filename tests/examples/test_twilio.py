"""Twilio calls, and the example answers."""

from __future__ import annotations

import base64
import contextlib
import itertools
from collections.abc import Iterator

import pytest
from phone import greet
from telephone import (
    PATIENCE,
    Recital,
    Sessions,
    hold_conversation,
    model_for,
    pressed_keys,
    running,
    tune,
    wait_closed,
)
from twilio_flask import BYTES_PER_MS, MARK_BYTES, create_app
from twilio_peer import Twilio
from werkzeug.serving import make_server

from antiphon import RealtimeSession
from antiphon.testing import LocalServer

G711 = {"input_audio_format": "g711_ulaw", "output_audio_format": "g711_ulaw"}


@contextlib.contextmanager
def switchboard(server: LocalServer) -> Iterator[tuple[int, Sessions]]:
    """The example, listening: its port, and the sessions of its calls."""
    sessions: Sessions = []

    def answer(session: RealtimeSession) -> None:
        sessions.append(session)
        greet(session)

    with model_for(server, **G711) as model:
        web = make_server("127.0.0.1", 0, create_app(model, answer), threaded=True)
        web.block_on_close = True
        with running(lambda: web.serve_forever(0.02), web.shutdown):
            yield web.server_port, sessions
        web.server_close()


def item_and_ms(mark: str) -> tuple[str, int]:
    """What the example's marks say."""
    item, ms = mark.split()
    return item, int(ms)


def said(server: LocalServer) -> bytes:
    """The mu-law that the model sent."""
    deltas = [record.event["delta"] for record in server.log.sent("response.output_audio.delta")]
    return b"".join(base64.b64decode(delta) for delta in deltas)


def heard(server: LocalServer) -> bytes:
    """The mu-law that the model got."""
    chunks = [record.event["audio"] for record in server.log.received("input_audio_buffer.append")]
    return b"".join(base64.b64decode(chunk) for chunk in chunks)


@pytest.mark.full
@pytest.mark.timeout(180)
def test_a_caller_talks_over_a_story(serve) -> None:
    server = serve("voice")
    with switchboard(server) as (port, sessions), Twilio(port) as twilio:
        print(hold_conversation(twilio.phone, server, sessions, slack_ms=300))
        assert twilio.sent("clear")
        twilio.stop()
        wait_closed(sessions[0])


def test_sound_passes_byte_for_byte_and_marks_tell_how_far_it_was_played(serve) -> None:
    server = serve(Recital(tune(0.75)))
    with switchboard(server) as (port, sessions), Twilio(port) as twilio:
        twilio.phone.wait(lambda: len(twilio.played) >= 6000, "all that is said")
        twilio.phone.wait_pieces(5)
        model = said(server)
        assert len(model) == 6000
        assert bytes(twilio.played) == model
        # A mark in every 100 ms at least, and they drive the ledger.
        marks = [item_and_ms(mark) for mark in twilio.marks]
        assert {item for item, _ in marks} == {marks[0][0]}
        steps = [after - before for (_, before), (_, after) in itertools.pairwise([("", 0), *marks])]
        assert all(0 < step <= MARK_BYTES / BYTES_PER_MS for step in steps)
        assert marks[-1][1] == 750
        playback = sessions[0].playback
        twilio.phone.wait(lambda: playback.played_ms(marks[-1][0]) == 750, "the last mark")
        assert playback.wait_drained(0)

        # In the other direction too, but for the second name of zero.
        caller = heard(server)
        assert len(caller) >= 4000
        assert caller == bytes(twilio.spoken).replace(b"\x7f", b"\xff")[: len(caller)]


def test_a_key_cuts_the_model_short(serve) -> None:
    """Twilio has seconds in its buffer: they are dropped, and their marks don't count as played."""
    server = serve(Recital(tune(5)), pace=10)
    with switchboard(server) as (port, _), Twilio(port) as twilio:
        twilio.phone.wait_sound(0.5, 0)
        twilio.press("5")
        cut = server.log.wait_received("conversation.item.truncate", PATIENCE).event
        twilio.phone.wait(lambda: twilio.cleared, "clear")
        played_ms = twilio.cleared[0] / BYTES_PER_MS
        assert played_ms - 1000 <= cut["audio_end_ms"] <= played_ms
        (clear,) = twilio.sent("clear")
        assert set(clear) == {"event", "streamSid"}
        after = twilio.received.index(clear)
        # The marks came back, but nothing more of that item.
        twilio.phone.wait_sound(0.3, twilio.phone.pieces())
        marks = [item_and_ms(message["mark"]["name"]) for message in twilio.sent("mark")]
        old = [ms for item, ms in marks if item == cut["item_id"]]
        assert max(old) > cut["audio_end_ms"]
        returned = [ms for item, ms in map(item_and_ms, twilio.marks) if item == cut["item_id"]]
        assert returned == old
        later = [m["mark"]["name"] for m in twilio.received[after:] if m["event"] == "mark"]
        assert not [mark for mark in later if mark.startswith(cut["item_id"])]
        assert pressed_keys(server) == ["The caller pressed the key 5."]


def test_however_a_call_ends_its_session_is_closed(serve) -> None:
    server = serve(Recital(tune(0.5)))
    with switchboard(server) as (port, sessions):
        for politely in (True, False):
            with Twilio(port) as twilio:
                twilio.phone.wait_sound(0.1, 0)
                if politely:
                    twilio.stop()
                    assert twilio.closed.wait(PATIENCE)
            wait_closed(sessions.pop())


def test_a_session_that_ends_hangs_up(serve) -> None:
    server = serve(Recital(tune(5)))
    with switchboard(server) as (port, sessions), Twilio(port) as twilio:
        twilio.phone.wait_sound(0.1, 0)
        sessions[0].close()
        assert twilio.closed.wait(PATIENCE)


def test_two_calls_at_once(serve) -> None:
    server = serve(Recital(tune(0.5)))
    with switchboard(server) as (port, sessions), Twilio(port) as one, Twilio(port) as other:
        for twilio in (one, other):
            twilio.phone.wait(lambda played=twilio.played: len(played) >= 4000, "all that is said")
        assert len(sessions) == 2
