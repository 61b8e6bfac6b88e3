"""A conversation over microphone and loudspeaker, as a user has it: PortAudio on PulseAudio's null sinks."""

from __future__ import annotations

from typing import Any

import pytest
from pulse_harness import PATIENCE, RATE, Pulse, Recorder, await_true, spoken, words

from antiphon import RealtimeModel, RealtimeSession
from antiphon.devices import DeviceError, list_devices, talk
from antiphon.testing import LocalServer, transcribe

QUESTION = "What time is it?"


@pytest.mark.full
def test_what_is_said_is_heard_and_the_answer_is_played(pulse: Pulse, session: RealtimeSession) -> None:
    """The parrot's answer, recorded at the loudspeaker, is what was said into the microphone."""
    with talk(session) as call, Recorder(pulse) as recorder:
        pulse.play(spoken(QUESTION))
        recorder.await_sound()
        recorder.await_quiet()
        microphone, speaker = call.stats
        assert call.levels.speaker == 0.0
    assert {"what", "time"} <= words(transcribe(recorder.samples, RATE))
    assert microphone.blocks > 50
    assert speaker.blocks > 50
    assert microphone.dropped == 0
    assert not call.running


@pytest.mark.full
def test_a_muted_microphone_is_silence(pulse: Pulse, session: RealtimeSession, server: LocalServer) -> None:
    """Time goes on for the server, but it hears nothing, until the user unmutes."""
    speech = session.events("input_speech_started")
    with talk(session, muted=True) as call:
        pulse.play(spoken(QUESTION))
        assert server.log.received("input_audio_buffer.append")
        with pytest.raises(TimeoutError):
            speech.get(0.01)
        call.muted = False
        pulse.play(spoken(QUESTION))
        speech.get(PATIENCE)


@pytest.mark.full
def test_half_duplex_does_not_hear_the_loudspeaker(pulse: Pulse, session: RealtimeSession) -> None:
    """The loudspeaker's sound goes into the microphone, as in a room; only half-duplex isn't fooled by it."""
    pulse.control("load-module", "module-loopback", "source=speaker.monitor", "sink=voice", "latency_msec=30")
    speech, generations = session.events("input_speech_started"), session.events("generation_created")
    with talk(session, echo="half-duplex"), Recorder(pulse) as recorder:
        pulse.play(spoken(QUESTION))
        speech.get(PATIENCE)
        generations.get(PATIENCE)
        recorder.await_sound()
        recorder.await_quiet()
        with pytest.raises(TimeoutError):
            speech.get(0.3)


@pytest.mark.full
def test_without_half_duplex_an_echo_is_taken_for_the_user(pulse: Pulse, session: RealtimeSession) -> None:
    """So the test above can fail."""
    pulse.control("load-module", "module-loopback", "source=speaker.monitor", "sink=voice", "latency_msec=30")
    speech = session.events("input_speech_started")
    with talk(session):
        pulse.play(spoken(QUESTION))
        speech.get(PATIENCE)
        speech.get(PATIENCE)


@pytest.mark.full
def test_push_to_talk(pulse: Pulse, server: LocalServer) -> None:
    """Only what is said between press and release is sent; the release asks for the answer."""
    with RealtimeModel(base_url=server.url, api_key="k", turn_detection=None) as model:
        session = model.session().wait_open(PATIENCE)
        with talk(session, push_to_talk=True) as call, Recorder(pulse) as recorder:
            pulse.play(spoken("Thank you, goodbye."))
            assert not server.log.received("input_audio_buffer.append")
            call.press()
            pulse.play(spoken(QUESTION))
            call.release()
            recorder.await_sound()
            recorder.await_quiet()
            sent = [record.type for record in server.log.received()]
    heard = words(transcribe(recorder.samples, RATE))
    assert {"what", "time"} <= heard
    assert "goodbye" not in heard
    assert sent.count("input_audio_buffer.commit") == sent.count("response.create") == 1


@pytest.mark.full
def test_devices_are_found_by_name_and_by_index(pulse: Pulse, session: RealtimeSession) -> None:
    """The list's names and numbers are what `talk` takes."""
    devices = {device.name: device for device in list_devices()}
    assert devices["default"].default_output
    for which in ("headset", devices["headset"].index):
        with talk(session, output=which) as call, Recorder(pulse, "headset"):
            assert call.stats[1].name == "headset"
            inputs = pulse.control("list", "short", "sink-inputs").split("\t")
            sinks = pulse.control("list", "short", "sinks").splitlines()
            assert inputs[1] == next(line.split("\t")[0] for line in sinks if "\theadset\t" in line)


@pytest.mark.full
def test_the_call_ends_with_its_session(pulse: Pulse, session: RealtimeSession) -> None:
    """Nobody has to close it then."""
    call = talk(session)
    session.close()
    await_true(lambda: not call.running, "the call has ended")
    assert not pulse.control("list", "short", "sink-inputs")


@pytest.mark.full
def test_a_device_that_is_not_there_is_named(pulse: Pulse, session: RealtimeSession) -> None:
    """The message has the devices to choose from, and nothing stays open."""
    with pytest.raises(DeviceError, match=r"no loudspeaker 'gramophone'.*headset"):
        talk(session, output="gramophone")
    assert not pulse.control("list", "short", "source-outputs")


def test_a_wrong_echo_is_refused() -> None:
    """The message says what there is."""
    no_session: Any = None
    echo: Any = "aec"
    with pytest.raises(ValueError, match="'headset' or 'half-duplex', not 'aec'"):
        talk(no_session, echo=echo)
