"""The audio path: what comes back from a server that says back what it heard is what went in."""

from __future__ import annotations

import numpy as np
import pytest
from e2e_harness import PATIENCE, WIRE, Line, Samples, model_for, noise, push, read, spoken

from antiphon import AudioFrame, RealtimeSession
from antiphon.actors.audio import decode_alaw, decode_ulaw, encode_alaw, encode_ulaw

PASSBAND = 0.42  # of the lower rate; from the contract
LAWS = {"g711_ulaw": (encode_ulaw, decode_ulaw), "g711_alaw": (encode_alaw, decode_alaw)}


def say_back(session: RealtimeSession) -> Samples:
    """Commit what was pushed, and hear it again."""
    session.commit_audio()
    return read(session.generate_reply().result(PATIENCE)).samples


def music(seconds: float, rate: int, channels: int) -> Samples:
    """Speech under loud noise up to half the rate, so that every frequency of the filter is tried."""
    count = round(seconds * rate)
    voice = spoken("Far out on the water, a fishing boat heard the song.", rate, channels, quiet_s=0)[:count]
    made = noise(count, channels, seed=rate).astype(np.float64) * 50
    made[: len(voice)] += voice
    return made.clip(-32768, 32767).astype(np.int16)


def band_limited(samples: np.ndarray, rate: int, to_rate: int, edge: float) -> np.ndarray:
    """What an ideal filter passes up to `edge` Hz, at another rate. Whole seconds only."""
    seconds = len(samples) // rate
    assert seconds * rate == len(samples)
    spectrum = np.fft.rfft(samples)[: int(edge * seconds)]
    return np.fft.irfft(spectrum, seconds * to_rate) * (to_rate / rate)


def snr(reference: np.ndarray, other: np.ndarray) -> float:
    error = other - reference
    return float(10 * np.log10(np.sum(reference**2) / np.sum(error**2)))


def compare(sent: Samples, rate: int, back: Samples, back_rate: int = WIRE) -> float:
    """SNR in the passband, of what came back against the mean of the channels that were sent."""
    edge = PASSBAND * min(rate, back_rate)
    mono = sent.astype(np.float64).reshape(len(sent), -1).mean(axis=1)
    seconds = 1 + len(mono) // rate
    mono = np.pad(mono, (0, seconds * rate - len(mono)))
    heard = np.pad(back.astype(np.float64), (0, seconds * back_rate - len(back)))
    reference = band_limited(mono, rate, back_rate, edge)
    return snr(reference, band_limited(heard, back_rate, back_rate, edge))


@pytest.mark.parametrize("form", ["frames", "arrays", "bytes"])
def test_24_khz_mono_comes_back_bit_for_bit(serve, form) -> None:
    server = serve("parrot", pace=50)
    sent = np.random.default_rng(1).integers(-32768, 32768, 50_021).astype(np.int16)
    with model_for(server) as model:
        line = Line(model, turn_detection_disabled=True)
        if form == "frames":
            push(line.session, sent, WIRE)
        elif form == "arrays":
            for at in range(0, len(sent), 777):
                line.session.push_audio(sent[at : at + 777], sample_rate=WIRE, num_channels=1)
        else:
            for at in range(0, len(sent), 313):
                piece = sent[at : at + 313].tobytes()
                line.session.push_audio(piece, sample_rate=WIRE, num_channels=1)
        assert say_back(line.session).tobytes() == sent.tobytes()
        assert line.close() == []


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_the_passband_comes_back_at_other_rates(serve, rate, channels) -> None:
    server = serve("parrot", pace=50)
    sent = music(3.777, rate, channels)
    with model_for(server) as model:
        line = Line(model, turn_detection_disabled=True)
        push(line.session, sent, rate)
        back = say_back(line.session)
        assert abs(len(back) - len(sent) * WIRE / rate) <= 1
        assert compare(sent, rate, back) > 40
        assert line.close() == []


def test_float_stereo_and_eight_channels(serve) -> None:
    server = serve("parrot", pace=50)
    with model_for(server) as model:
        line = Line(model, turn_detection_disabled=True)
        for channels in (2, 8):
            sent = music(2.5, 48_000, channels)
            for at in range(0, len(sent), 960):
                piece = (sent[at : at + 960] / 32768).astype(np.float32)
                line.session.push_audio(piece, sample_rate=48_000, num_channels=channels)
            assert compare(sent, 48_000, say_back(line.session)) > 40
        assert line.close() == []


def test_channels_are_averaged_not_strung_together(serve) -> None:
    server = serve("parrot", pace=50)
    left = (8000 * np.sin(np.arange(24_000) / 9)).astype(np.int16)
    with model_for(server) as model:
        line = Line(model, turn_detection_disabled=True)
        for frame in [np.stack([left, left], axis=1), np.stack([left, -left], axis=1)]:
            line.session.push_audio(AudioFrame(frame, WIRE, 2))
        back = say_back(line.session)
        assert len(back) == 48_000
        assert np.array_equal(back[:24_000], left)
        assert not back[24_000:].any()
        assert line.close() == []


def test_several_turns_keep_their_places(serve) -> None:
    """Each commit ends the filter's stream: nothing of one turn leaks into the next."""
    server = serve("parrot", pace=50)
    with model_for(server) as model:
        line = Line(model, turn_detection_disabled=True)
        for rate in (44_100, 48_000, 16_000):
            sent = music(1.3, rate, 2)
            push(line.session, sent, rate)
            back = say_back(line.session)
            assert abs(len(back) - len(sent) * WIRE / rate) <= 1
            assert compare(sent, rate, back) > 40
        assert line.close() == []


@pytest.mark.parametrize("input_format", LAWS)
@pytest.mark.parametrize("output_format", LAWS)
def test_g711_at_8_khz_is_what_the_laws_make_of_it(serve, input_format, output_format) -> None:
    server = serve("parrot", pace=50)
    sent = music(2.0, 8_000, 1)[:, 0]
    encode, decode = LAWS[input_format]
    once = decode(encode(sent))
    encode, decode = LAWS[output_format]
    with model_for(server, input_audio_format=input_format, output_audio_format=output_format) as model:
        line = Line(model, turn_detection_disabled=True)
        push(line.session, sent, 8_000)
        assert np.array_equal(say_back(line.session), decode(encode(once)))
        assert line.close() == []


@pytest.mark.parametrize("law", LAWS)
def test_48_khz_stereo_over_the_telephone(serve, law) -> None:
    """The laws themselves leave some 37 dB."""
    server = serve("parrot", pace=50)
    sent = music(3.0, 48_000, 2)
    with model_for(server, input_audio_format=law, output_audio_format=law) as model:
        line = Line(model, turn_detection_disabled=True)
        push(line.session, sent, 48_000)
        back = say_back(line.session)
        assert abs(len(back) - len(sent) / 6) <= 1
        assert compare(sent, 48_000, back, 8_000) > 30
        assert line.close() == []


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_playback_at_the_devices_rate(serve, rate) -> None:
    server = serve("parrot", pace=50)
    sent = music(2.0, WIRE, 1)[:, 0]
    with model_for(server) as model:
        line = Line(model, turn_detection_disabled=True)
        playback = line.session.playback
        playback.configure(rate, 2)
        push(line.session, sent, WIRE)
        line.session.commit_audio()
        generation = line.session.generate_reply().result(PATIENCE)
        generation.done.result(PATIENCE)
        heard = playback.read(2 * rate + 10)
        assert not heard[2 * rate + 1 :].any()
        assert np.array_equal(heard[:, 0], heard[:, 1])
        assert compare(sent, WIRE, heard[: 2 * rate, 0], rate) > 40
        assert line.close() == []
