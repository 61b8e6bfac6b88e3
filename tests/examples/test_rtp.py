"""SIP phones call, and the example answers."""

from __future__ import annotations

import base64
import contextlib
import threading
from collections.abc import Iterator

import pytest
from phone import greet
from rtp import RtpBridge
from rtp_peer import COMFORT_NOISE, PCMA, PCMU, SipPhone, packet
from telephone import (
    PATIENCE,
    Recital,
    Sessions,
    hold_conversation,
    model_for,
    running,
    tune,
    wait_closed,
)

from antiphon import RealtimeSession
from antiphon.testing import LocalServer, Record

G711 = {"input_audio_format": "g711_ulaw", "output_audio_format": "g711_ulaw"}


@contextlib.contextmanager
def switchboard(server: LocalServer) -> Iterator[tuple[RtpBridge, Sessions]]:
    """The example, listening, and the sessions of its calls."""
    sessions: Sessions = []

    def answer(session: RealtimeSession) -> None:
        sessions.append(session)
        greet(session)

    with model_for(server, **G711) as model:
        bridge = RtpBridge(("127.0.0.1", 0), model, answer)
        with running(bridge.serve, bridge.stopping.set):
            yield bridge, sessions


@pytest.mark.full
@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "network",
    [
        {"kind": PCMU, "loss": 0.02, "jitter_s": 0.05},
        {"kind": PCMA, "suppress": True},
    ],
    ids=["loss-and-jitter", "silence-suppressed"],
)
def test_a_caller_talks_over_a_story(serve, network) -> None:
    server = serve("voice")
    with switchboard(server) as (bridge, sessions), SipPhone(bridge.port, **network) as sip:
        print(hold_conversation(sip.phone, server, sessions, slack_ms=150))
        bridge.hang_up(sip.address)
        wait_closed(sessions[0])


def check_stream(sip: SipPhone, kind: int) -> None:
    """One stream, each packet 20 ms after the one before, by its own clock."""
    first = sip.packets[0]
    for number, came in enumerate(sip.packets):
        assert (came.kind, came.marker, came.ssrc, len(came.payload)) == (kind, False, first.ssrc, 160)
        assert came.sequence == (first.sequence + number) % 2**16
        assert came.timestamp == (first.timestamp + 160 * number) % 2**32


def test_packets_come_at_an_even_pace_and_are_numbered(serve) -> None:
    server = serve(Recital(tune(0.2)))
    with switchboard(server) as (bridge, _), SipPhone(bridge.port, PCMA) as sip:
        sip.phone.wait_pieces(100)
    check_stream(sip, PCMA)
    # Against the clock, not against each other: no packet is early, and lateness doesn't add up.
    late = [came.at - sip.packets[0].at - number * 0.02 for number, came in enumerate(sip.packets)]
    assert min(late) > -0.25
    assert min(late[-25:]) < 0.05


def test_two_calls_on_one_thread(serve) -> None:
    server = serve(Recital(tune(0.3)))
    with switchboard(server) as (bridge, sessions):
        before = {thread.name for thread in threading.enumerate()}
        with SipPhone(bridge.port, PCMU) as one, SipPhone(bridge.port, PCMA) as other:
            for sip, kind in ((one, PCMU), (other, PCMA)):
                sip.phone.wait_sound(0.28, 0)
                check_stream(sip, kind)
            assert one.packets[0].ssrc != other.packets[0].ssrc
            assert len(sessions) == 2
            ours = {thread.name for thread in threading.enumerate()} - before
            assert not {name for name in ours if "rtp" in name}


def test_what_is_no_sound_begins_no_call(serve) -> None:
    server = serve(Recital(tune(0.1)))
    junk = [b"", b"\x80", bytes(12), packet(COMFORT_NOISE, 1, 0, 1, b"\x10"), packet(200, 1, 0, 1, bytes(8))]
    with switchboard(server) as (bridge, sessions), SipPhone(bridge.port, talking=False) as sip:
        for data in junk:
            sip.send(data)
        sip.send(packet(PCMU, 1, 0, 1, bytes(160)))
        sip.phone.wait_sound(0.08, 0)
        assert len(sessions) == 1
        for data in junk:
            sip.send(data)
        sip.phone.wait_pieces(5)


def test_headers_of_every_shape_lead_to_the_sound(serve) -> None:
    """Sources, an extension, padding; then another sender's stream from the same address."""
    server = serve(Recital(tune(0.1)))
    sound = [bytes([0x10 + number]) * 160 for number in range(6)]
    extension = b"\xbe\xde\x00\x01" + bytes(4)
    with switchboard(server) as (bridge, sessions), SipPhone(bridge.port, talking=False) as sip:
        sip.send(packet(PCMU, 1, 0, 1, sound[0]))
        sip.send(packet(PCMU | 0x80, 2, 160, 1, sound[1], first=0x82, more=bytes(8)))
        sip.send(packet(PCMU, 3, 320, 1, sound[2], first=0x90, more=extension))
        sip.send(packet(PCMU, 4, 480, 1, sound[3] + b"\0\0\0\4", first=0xA0))
        sip.send(packet(PCMU, 5, 640, 1, sound[4] + b"\0\2", first=0xB1, more=bytes(4) + extension))
        wait_heard(server, b"".join(sound[:5]))
        sip.send(packet(PCMU, 900, 77, 2, sound[5]))
        wait_heard(server, sound[5])
        assert len(sessions) == 1


def test_what_the_phone_says_arrives_byte_for_byte(serve) -> None:
    """With the packets out of order, and twice."""
    server = serve(Recital(tune(0.1)))
    sound = [bytes([0x20 + number]) * 160 for number in range(12)]
    order = [0, 2, 1, 1, 3, 6, 4, 5, 5, 8, 7, 9, 11, 10]
    with switchboard(server) as (bridge, _), SipPhone(bridge.port, talking=False) as sip:
        for number in order:
            sip.send(packet(PCMU, 65530 + number, 2**32 - 700 + 160 * number, 9, sound[number]))
        wait_heard(server, b"".join(sound))


def wait_heard(server: LocalServer, sound: bytes) -> None:
    """Wait until the model has had this mu-law, in one piece."""
    had = bytearray()

    def contains(record: Record) -> bool:
        if record.type == "input_audio_buffer.append" and record.direction == "received":
            had.extend(base64.b64decode(record.event["audio"]))
        return sound in had

    server.log.wait_for(contains, PATIENCE)


def test_hang_up_closes_the_session(serve) -> None:
    server = serve(Recital(tune(5)))
    with switchboard(server) as (bridge, sessions), SipPhone(bridge.port, talking=False) as sip:
        sip.send(packet(PCMU, 1, 0, 1, bytes(160)))
        sip.phone.wait_sound(0.1, 0)
        bridge.hang_up(sip.address)
        wait_closed(sessions[0])
        assert sip.address not in bridge.calls
