"""PulseAudio for the tests of devices."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from pulse_harness import PATIENCE, Pulse

from antiphon import RealtimeModel, RealtimeSession, ServerVad
from antiphon.testing import LocalServer

_ALSA_PLUGIN = "libasound_module_pcm_pulse.so"


@pytest.fixture(autouse=True)
def _short_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test waits until the threads of its pools have ended: let those give up waiting for work sooner."""
    monkeypatch.setattr("antiphon.actors.pool.IDLE_SECONDS", 0.05)


@pytest.fixture
def pulse(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pulse]:
    """A running PulseAudio, and PortAudio knowing of it."""
    for program in ("pulseaudio", "pactl", "pacat", "parec"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: apt-get install pulseaudio pulseaudio-utils")
    if not any(Path("/usr/lib").rglob(_ALSA_PLUGIN)):
        pytest.skip("ALSA can't reach PulseAudio: apt-get install libasound2-plugins")
    from antiphon.devices import portaudio

    try:
        portaudio.sounddevice()
    except portaudio.DeviceError as error:
        pytest.skip(str(error))
    daemon = Pulse(tmp_path_factory.mktemp("pulse"))
    for name, value in daemon.environment.items():
        monkeypatch.setenv(name, value)
    daemon.start()
    try:
        assert portaudio.look_again(set())
        yield daemon
    finally:
        daemon.stop()


@pytest.fixture
def server() -> Iterator[LocalServer]:
    """A server that says back what it hears."""
    with LocalServer("parrot", log_limit=1000) as running:
        yield running


@pytest.fixture
def session(server: LocalServer) -> Iterator[RealtimeSession]:
    """An open session with it."""
    vad = ServerVad(silence_duration_ms=400)
    with RealtimeModel(base_url=server.url, api_key="k", turn_detection=vad) as model:
        yield model.session().wait_open(PATIENCE)
