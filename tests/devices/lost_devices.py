"""Devices that go away in the middle of a call, and the system's choice changing under it: see `test_devices_lost`."""

from __future__ import annotations

import pytest
from pulse_harness import PATIENCE, RATE, Pulse, Recorder, await_true, spoken, words

from antiphon import RealtimeSession
from antiphon.devices import DeviceCall, talk
from antiphon.testing import transcribe

pytestmark = pytest.mark.full

QUESTION = "What time is it?"


def answered(pulse: Pulse, session: RealtimeSession, sink: str = "speaker") -> bool:
    """Whether a question into the microphone is answered at a loudspeaker."""
    with Recorder(pulse, sink) as recorder:
        pulse.play(spoken(QUESTION))
        recorder.await_sound()
        recorder.await_quiet()
    return {"what", "time"} <= words(transcribe(recorder.samples, RATE))


def await_devices(call: DeviceCall) -> None:
    """Wait until both devices work."""
    before = [side.blocks for side in call.stats]
    await_true(
        lambda: all(side.blocks > then for side, then in zip(call.stats, before, strict=True)), "both work"
    )


def test_the_default_loudspeaker_changes(pulse: Pulse, session: RealtimeSession) -> None:
    """The user chooses another one in the system's settings: the call goes on there."""
    with talk(session):
        assert answered(pulse, session)
        pulse.control("set-default-sink", "headset")
        assert answered(pulse, session, "headset")


def test_the_loudspeaker_is_unplugged(pulse: Pulse, session: RealtimeSession) -> None:
    """The call goes on at the one that is left."""
    with talk(session) as call:
        await_devices(call)
        pulse.unplug("speaker")
        assert answered(pulse, session, pulse.control("get-default-sink").strip())


def test_all_devices_go_and_come_back(
    pulse: Pulse, session: RealtimeSession, caplog: pytest.LogCaptureFixture
) -> None:
    """The sound server dies: the session stays open without devices, and has them again when it is back."""
    with talk(session) as call:
        await_devices(call)
        pulse.stop()
        await_true(lambda: [side.name for side in call.stats] == ["", ""], "both are lost")
        assert session.state == "open"
        pulse.start()
        await_true(lambda: all(side.name for side in call.stats), "both are back")
        await_devices(call)
        assert answered(pulse, session)
    lines = [record.getMessage() for record in caplog.records if record.name == "antiphon.devices"]
    assert sorted(lines) == [
        "the loudspeaker 'default' has stopped; looking for it",
        "the loudspeaker is 'default' now",
        "the microphone 'default' has stopped; looking for it",
        "the microphone is 'default' now",
    ]


def test_a_named_loudspeaker_is_waited_for(pulse: Pulse, session: RealtimeSession) -> None:
    """Nobody wants to hear the call elsewhere: meanwhile the microphone goes on."""
    with talk(session, output="headset") as call:
        await_devices(call)
        pulse.stop()
        pulse.start("speaker", "voice")
        await_true(lambda: call.lost == ["loudspeaker"], "only the headset is missing")
        pulse.plug("headset")
        await_true(lambda: call.lost == [], "it is back")
        assert answered(pulse, session, "headset")


def test_the_call_can_be_closed_while_its_devices_are_gone(pulse: Pulse, session: RealtimeSession) -> None:
    """It doesn't wait for them."""
    call = talk(session)
    await_devices(call)
    pulse.stop()
    await_true(lambda: not any(side.name for side in call.stats), "both are lost")
    call.close()
    assert not call.running
    assert session.state == "open"
    session.close(PATIENCE)
