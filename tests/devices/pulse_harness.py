"""A PulseAudio of the tests' own: null sinks, what is played into them, and what their monitors record."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from antiphon.actors.audio import Resampler
from antiphon.testing import synthesize

RATE = 48_000
PATIENCE = 40.0  # seconds; ends a test that would hang
LOUD = 1000  # of 32767; more than the noise that tests make

Samples = NDArray[np.int16]

# ALSA's default goes to PulseAudio's, as on a desktop; `headset` is a device that a user would name.
_ALSA = """</usr/share/alsa/alsa.conf>
pcm.!default { type pulse hint { show on description "default" } }
ctl.!default { type pulse }
pcm.headset { type pulse device headset hint { show on description "headset" } }
"""
_SINKS = ("speaker", "voice", "headset")


class Pulse:
    """A daemon with the sinks `speaker` (where the default goes), `voice` (whose monitor is the default microphone)
    and `headset`.

    Args:
        folder: For its socket and configuration.
    """

    def __init__(self, folder: Path) -> None:
        self._socket = folder / "pulse.sock"
        self._config = folder / "default.pa"
        alsa = folder / "alsa.conf"
        alsa.write_text(_ALSA)
        folder.chmod(0o700)
        self.environment: Mapping[str, str] = {
            "XDG_RUNTIME_DIR": str(folder),
            "PULSE_SERVER": f"unix:{self._socket}",
            "PULSE_COOKIE": str(folder / "cookie"),
            "ALSA_CONFIG_PATH": str(alsa),
        }
        self._daemon: subprocess.Popen[bytes] | None = None

    def start(self, *sinks: str) -> None:
        """Start the daemon with these sinks, or all three; returns when it answers."""
        lines = [
            f"load-module module-native-protocol-unix socket={self._socket} auth-anonymous=1",
            *(f"load-module module-null-sink sink_name={sink} rate={RATE}" for sink in sinks or _SINKS),
            "set-default-sink speaker",
            "set-default-source voice.monitor",
        ]
        self._config.write_text("\n".join(lines) + "\n")
        command = ["pulseaudio", "-n", "-F", str(self._config), "--daemonize=no", "--exit-idle-time=-1"]
        command += ["--use-pid-file=no", "--high-priority=no", "--realtime=no", "--log-target=stderr"]
        self._daemon = subprocess.Popen(
            command,
            env={**os.environ, **self.environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        await_true(lambda: self._asked("info").returncode == 0, "PulseAudio answers", every=0.05)

    def stop(self) -> None:
        """Kill the daemon, as when it crashes."""
        if self._daemon is not None:
            self._daemon.kill()
            self._daemon.wait()
            self._daemon = None

    def control(self, *words: str) -> str:
        """Run pactl."""
        done = self._asked(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def unplug(self, sink: str) -> None:
        """Take a sink away."""
        modules = self.control("list", "short", "modules").splitlines()
        self.control("unload-module", next(m.split()[0] for m in modules if f"sink_name={sink} " in m))

    def plug(self, sink: str) -> None:
        """Give a sink back."""
        self.control("load-module", "module-null-sink", f"sink_name={sink}", f"rate={RATE}")

    def play(self, samples: Samples, sink: str = "voice", rate: int = RATE) -> None:
        """Play mono samples into a sink, to the end of them."""
        command = ["pacat", "--playback", f"--device={sink}", f"--rate={rate}", "--channels=1"]
        subprocess.run(
            [*command, "--format=s16le", "--latency-msec=50"],
            input=samples.tobytes(),
            env={**os.environ, **self.environment},
            timeout=PATIENCE + len(samples) / rate,
            check=True,
        )

    def _asked(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["pactl", *words],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )


class Recorder:
    """Records a sink's monitor, mono, while the `with` block lasts."""

    def __init__(self, pulse: Pulse, sink: str = "speaker") -> None:
        command = ["parec", f"--device={sink}.monitor", f"--rate={RATE}", "--channels=1"]
        self._process = subprocess.Popen(
            [*command, "--format=s16le", "--latency-msec=20"],
            env={**os.environ, **pulse.environment},
            stdout=subprocess.PIPE,
        )
        self._data = bytearray()
        self._thread = threading.Thread(target=self._read, name="recorder", daemon=True)

    @property
    def samples(self) -> Samples:
        """What was recorded so far."""
        whole = bytes(self._data)
        return np.frombuffer(whole[: len(whole) // 2 * 2], np.int16)

    def await_sound(self, after: int = 0) -> None:
        """Wait until something is heard behind so many samples."""
        await_true(lambda: bool((abs(self.samples[after:].astype(int)) > LOUD).any()), "sound is recorded")

    def await_quiet(self, seconds: float = 0.7) -> None:
        """Wait until nothing has been heard for so long."""
        size = int(seconds * RATE)

        def quiet() -> bool:
            tail = self.samples[-size:]
            return len(tail) == size and int(abs(tail.astype(int)).max()) < LOUD

        await_true(quiet, "it is quiet")

    def __enter__(self) -> Recorder:
        self._thread.start()
        await_true(lambda: len(self._data) > 0, "the monitor runs")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        self._thread.join(PATIENCE)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        while chunk := self._process.stdout.read1(4096):
            self._data += chunk


def spoken(text: str) -> Samples:
    """A sentence at the devices' rate, and a second of quiet."""
    mono, rate = synthesize(text)
    resampler = Resampler(rate, RATE)
    return np.concatenate([resampler.push(mono), resampler.flush(), np.zeros(RATE, np.int16)])


def words(text: str) -> set[str]:
    """The words of a text, in lower case."""
    return set(re.findall(r"[a-z']+", text.lower()))


def await_true(holds: Callable[[], bool], what: str, every: float = 0.02) -> None:
    """Ask until it holds: devices and other processes tell nobody when something happens in them."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, f"in vain waited until {what}"
        time.sleep(every)
