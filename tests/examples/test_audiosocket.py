"""Asterisk calls, and the example answers."""

from __future__ import annotations

import contextlib
import struct
import threading
from collections.abc import Iterator

import pytest
from asterisk_peer import CALL_ID, RATES, SLIN, Asterisk, message
from audiosocket import AudioSocketServer
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

from antiphon import RealtimeSession
from antiphon.testing import LocalServer


@contextlib.contextmanager
def switchboard(server: LocalServer, speaks_first: bool = True) -> Iterator[tuple[int, Sessions]]:
    """The example, listening: its port, and the sessions of its calls."""
    sessions: Sessions = []

    def answer(session: RealtimeSession) -> None:
        sessions.append(session)
        if speaks_first:
            greet(session)

    with model_for(server) as model:
        audio_socket = AudioSocketServer(("127.0.0.1", 0), model, answer)

        def stop() -> None:
            audio_socket.shutdown()
            audio_socket.server_close()

        with running(lambda: audio_socket.serve_forever(0.02), stop):
            yield audio_socket.server_address[1], sessions


@pytest.mark.full
@pytest.mark.timeout(180)
@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_a_caller_talks_over_a_story(serve, rate) -> None:
    server = serve("voice")
    with switchboard(server) as (port, sessions), Asterisk(port, SLIN + RATES.index(rate)) as asterisk:
        figures = hold_conversation(asterisk.phone, server, sessions, slack_ms=150)
        print(rate, figures)
        asterisk.hang_up()
        wait_closed(sessions[0])


def test_every_rate_is_answered_in_kind_frame_by_frame(serve) -> None:
    server = serve(Recital(tune(0.2)))
    with switchboard(server) as (port, _), contextlib.ExitStack() as calls:
        callers = [calls.enter_context(Asterisk(port, SLIN + number)) for number in range(len(RATES))]
        for number, asterisk in enumerate(callers):
            asterisk.phone.wait_sound(0.19, 0)
            asterisk.phone.wait_pieces(5)
            assert set(asterisk.kinds) == {SLIN + number}
            assert asterisk.sizes == {RATES[number] // 50 * 2}
            # 200 ms of sound make 10 frames, at the edges of which a filter may spread it over another.
            assert 10 <= len(asterisk.phone.loud(0)) <= 12
        # Whatever the caller's rate, the model gets its own, at the pace of the call.
        for number in range(len(RATES)):
            chunk = server.log.wait_received("input_audio_buffer.append", PATIENCE, connection=number)
            assert len(chunk.event["audio"]) > 24_000 * 2 * 0.09


def test_frames_leave_at_the_pace_of_a_telephone(serve) -> None:
    server = serve(Recital(tune(0.5)))
    with switchboard(server) as (port, _), Asterisk(port) as asterisk:
        asterisk.phone.wait_pieces(75)
    # Never ahead of the clock by more than the frame that was late at the start; behind by what the machine is.
    for number, at in enumerate(asterisk.times):
        assert at - asterisk.times[0] >= (number - 1) * 0.02 - 0.25


def test_it_goes_on_speaking_when_the_caller_is_silenced(serve) -> None:
    """A channel with silence suppression sends nothing while nobody speaks."""
    server = serve(Recital(tune(0.4)))
    with switchboard(server) as (port, _), Asterisk(port, talking=False) as asterisk:
        asterisk.send(message(0x01, CALL_ID.bytes) + message(SLIN, bytes(320)))
        asterisk.phone.wait_sound(0.38, 0)


def test_messages_come_in_any_pieces_and_of_unknown_types(serve) -> None:
    server = serve(Recital(tune(0.1)))
    stream = (
        message(0x01, CALL_ID.bytes)
        + message(0x02, b"later")
        + message(SLIN, b"")
        + message(SLIN, bytes(320))
    )
    with switchboard(server) as (port, sessions), Asterisk(port, talking=False) as asterisk:
        for byte in stream:
            asterisk.send(bytes([byte]))
        asterisk.phone.wait_sound(0.08, 0)
        assert f"call-{CALL_ID}" in {thread.name for thread in threading.enumerate()}
        # Several in one piece, the last of them unfinished.
        asterisk.send(message(SLIN, bytes(320)) + message(0x03, b"7") + struct.pack("!BH", SLIN, 320))
        server.log.wait_received("conversation.item.create", PATIENCE)
        assert len(sessions) == 1


def test_a_key_cuts_the_model_short(serve) -> None:
    server = serve(Recital(tune(5)), pace=10)
    with switchboard(server) as (port, _), Asterisk(port) as asterisk:
        asterisk.phone.wait_sound(0.3, 0)
        asterisk.send(message(0x03, b"5"))
        cut = server.log.wait_received("conversation.item.truncate", PATIENCE).event["audio_end_ms"]
        server.log.wait_received("conversation.item.create", PATIENCE)
        assert 300 <= cut < 4000
        after = asterisk.phone.pieces()
        asterisk.phone.wait_sound(0.3, after)
        assert pressed_keys(server) == ["The caller pressed the key 5."]


def test_however_a_call_ends_its_session_is_closed(serve) -> None:
    server = serve(Recital(tune(0.5)))
    hang_up, odd, bad_uuid = message(0x00, b""), message(SLIN, b"odd"), message(0x01, b"short")
    with switchboard(server) as (port, sessions):
        for ending in (hang_up, odd, bad_uuid, None):
            with Asterisk(port) as asterisk:
                asterisk.phone.wait_sound(0.1, 0)
                if ending is not None:
                    asterisk.send(ending)
                    assert asterisk.closed.wait(PATIENCE)
            wait_closed(sessions.pop())


def test_an_error_of_asterisk_s_ends_nothing(serve, caplog) -> None:
    server = serve(Recital(tune(0.5)))
    with switchboard(server) as (port, _), Asterisk(port) as asterisk:
        asterisk.send(message(0xFF, b"\x02") + message(0xFF, b""))
        asterisk.phone.wait_sound(0.45, 0)
        assert "reports the error 02" in caplog.text
        assert "without a code" in caplog.text


def test_hanging_up_on_everybody(serve) -> None:
    server = serve(Recital(tune(5)))
    with switchboard(server) as (port, sessions):
        callers = [Asterisk(port) for _ in range(3)]
        for caller in callers:
            caller.phone.wait_sound(0.1, 0)
    for caller in callers:
        with caller:
            assert caller.hung_up.wait(PATIENCE)
    assert [session.state for session in sessions] == ["closed"] * 3


def test_a_session_that_ends_hangs_up(serve) -> None:
    server = serve(Recital(tune(5)))
    with switchboard(server) as (port, sessions), Asterisk(port) as asterisk:
        asterisk.phone.wait_sound(0.1, 0)
        sessions[0].close()
        assert asterisk.hung_up.wait(PATIENCE)
