"""PortAudio, as far as it is needed: devices by name or index, and one stream that can be opened again."""

from __future__ import annotations

import atexit
import queue
import threading
import time
import weakref
from abc import ABC, abstractmethod
from typing import Any, Final, Literal

import msgspec

from antiphon.testing.extras import require

Kind = Literal["input", "output"]
Which = int | str | None

BLOCK_S: Final = 0.02
# What PortAudio is asked for. Less gives underruns when Python is busy elsewhere for a moment.
LATENCY_S: Final = 0.06
# PortAudio itself gives a device one or two seconds to start.
START_S: Final = 3.0
# A stream that has called for nothing for so long is dead, although it may not say so.
STALL_S: Final = 2.0
# Tried first: every system converts to it or has it, and it is twice the wire's.
USUAL_RATE: Final = 48_000
NAMES: Final = {"input": "microphone", "output": "loudspeaker"}

_streams: weakref.WeakSet[DeviceStream] = weakref.WeakSet()
# Guards PortAudio's list of devices: nothing may be opened while it is read anew.
_library = threading.RLock()
# Streams in whose start PortAudio hangs for ever. Their callbacks must live on, and PortAudio can't be ended any more.
_stuck: list[Any] = []


class DeviceError(RuntimeError):
    """A microphone or loudspeaker can't be had; the message says which, why, and what to do."""


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """A device that PortAudio found.

    Attributes:
        index: Its number, which changes when devices come and go.
        name: Its name.
        inputs: How many channels it can record.
        outputs: How many channels it can play.
        default_input: Whether it is the system's microphone.
        default_output: Whether it is the system's loudspeaker.
    """

    index: int
    name: str
    inputs: int
    outputs: int
    default_input: bool
    default_output: bool


def sounddevice() -> Any:
    """The package `sounddevice`.

    Raises:
        DeviceError: It, or the library that it needs, is not installed.
    """
    try:
        return require("sounddevice", "devices")
    except ImportError as error:
        raise DeviceError(str(error)) from None
    except OSError:
        raise DeviceError(
            "the PortAudio library is not installed: apt-get install libportaudio2, or brew install portaudio"
        ) from None


def list_devices() -> list[Device]:
    """The devices, as they were when PortAudio last looked for them.

    Raises:
        DeviceError: PortAudio isn't there.
    """
    sd = sounddevice()
    with _library:
        default_input, default_output = _defaults(sd)
        return [
            Device(
                index=found["index"],
                name=found["name"],
                inputs=found["max_input_channels"],
                outputs=found["max_output_channels"],
                default_input=found["index"] == default_input,
                default_output=found["index"] == default_output,
            )
            for found in sd.query_devices()
        ]


def look_again(mine: set[DeviceStream]) -> bool:
    """Have PortAudio find the devices that are there now; it only does so with all streams closed.

    Args:
        mine: Closed streams of the caller. If others of this process are open, or PortAudio hangs in one, nothing is
            done.

    Returns:
        Whether it was done.
    """
    sd = sounddevice()
    with _library:
        if _stuck or any(stream.opened for stream in _streams if stream not in mine):
            return False
        sd._terminate()
        sd._initialize()
        return True


class DeviceStream(ABC):
    """One direction of sound, int16. Open and close it on one thread; the callback is PortAudio's.

    Args:
        kind: "input" or "output".
        which: Index or (part of a) name; None for the system's own choice.

    Attributes:
        blocks: How often PortAudio has called.
        flagged: How often it said that samples had been lost before the call.
        slowest_s: The longest that a call of ours has taken.
        level: The peak of the last block, 0 to 1.
    """

    def __init__(self, kind: Kind, which: Which) -> None:
        self.kind: Kind = kind
        self.which = which
        self.name = ""
        self.rate = 0
        self.channels = 0
        self.latency_s = LATENCY_S
        # Written by the callback only.
        self.blocks = 0
        self.flagged = 0
        self.slowest_s = 0.0
        self.level = 0.0
        self._stream: Any = None
        self._seen = (0, 0.0)
        _streams.add(self)

    @property
    def opened(self) -> bool:
        """Whether it is open; its device may have gone all the same."""
        return self._stream is not None

    def open(self) -> None:
        """Find the device and start it.

        Raises:
            DeviceError: There is no such device, or it can't be opened.
        """
        sd = sounddevice()
        with _library:
            try:
                found = sd.query_devices(self.which, self.kind)
            except (ValueError, sd.PortAudioError) as error:
                raise DeviceError(self._missing(error)) from None
            failure: Exception | None = None
            # The rate that it had before first: the ledger counts in it.
            for rate in dict.fromkeys(
                (self.rate or USUAL_RATE, USUAL_RATE, int(found["default_samplerate"]))
            ):
                for channels in (1, 2):
                    try:
                        self._start(sd, rate, channels)
                    except sd.PortAudioError as error:
                        failure = failure or error
                        continue
                    self.name = found["name"]
                    return
        raise DeviceError(f"the {NAMES[self.kind]} {found['name']!r} can't be opened: {failure}")

    def close(self) -> None:
        """Stop it; harmless when it is closed, or its device gone."""
        with _library:
            stream, self._stream = self._stream, None
            if stream is not None:
                stream.close(ignore_errors=True)
        self.level = 0.0

    def alive(self) -> bool:
        """Whether the device still calls; ask at least every second."""
        if self._stream is None or not self._stream.active:
            return False
        now = time.monotonic()
        blocks, since = self._seen
        if self.blocks != blocks:
            self._seen = (self.blocks, now)
            return True
        return now - since < STALL_S

    @abstractmethod
    def _handle(self, data: Any) -> None:
        """Fill or take a block. On PortAudio's thread: no lock, no wait."""

    def _start(self, sd: Any, rate: int, channels: int) -> None:
        make = sd.RawInputStream if self.kind == "input" else sd.RawOutputStream
        stream = make(
            samplerate=rate,
            blocksize=int(rate * BLOCK_S),
            device=self.which,
            channels=channels,
            dtype="int16",
            latency=LATENCY_S,
            callback=self._called,
        )
        self.rate, self.channels, self.latency_s = rate, channels, float(stream.latency)
        self._seen = (self.blocks, time.monotonic())
        self._opening()
        _start_within(START_S, stream, sd)
        self._stream = stream

    @abstractmethod
    def _opening(self) -> None:
        """The format is known, and no block has come yet."""

    def _called(self, data: Any, frames: int, when: Any, status: Any) -> None:
        began = time.perf_counter()
        if status:
            self.flagged += 1
        self._handle(data)
        self.blocks += 1
        took = time.perf_counter() - began
        if took > self.slowest_s:
            self.slowest_s = took

    def _missing(self, error: Exception) -> str:
        name = NAMES[self.kind]
        usable = [d for d in list_devices() if (d.inputs if self.kind == "input" else d.outputs)]
        known = ", ".join(f"{device.index}: {device.name}" for device in usable) or "none"
        if self.which is None:
            return f"there is no {name} (devices: {known}): plug one in, or name one"
        return f"there is no {name} {self.which!r} ({error}); devices: {known}"


def _start_within(seconds: float, stream: Any, sd: Any) -> None:
    """Start a stream, and leave it behind if PortAudio doesn't come back.

    Where the device goes between opening and starting, PortAudio's thread ends with a lock that its start waits for
    (its issue 535). Nothing ends that wait, and to end PortAudio then aborts the process.

    Raises:
        PortAudioError: It can't be started.
    """
    outcome: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def start() -> None:
        try:
            stream.start()
        except sd.PortAudioError as error:
            outcome.put(error)
        else:
            outcome.put(None)
            with _library:
                if stream in _stuck:
                    # It was only slow, and another may play in its place by now.
                    _stuck.remove(stream)
                    stream.close(ignore_errors=True)

    threading.Thread(target=start, name="portaudio-start", daemon=True).start()
    try:
        failure = outcome.get(timeout=seconds)
    except queue.Empty:
        _stuck.append(stream)
        atexit.unregister(sd._exit_handler)
        raise sd.PortAudioError(f"PortAudio has not started it within {seconds:.0f} s") from None
    if failure is not None:
        stream.close(ignore_errors=True)
        raise failure


def _defaults(sd: Any) -> tuple[int, int]:
    """The indices of the system's microphone and loudspeaker, -1 where there is none."""
    apis = sd.query_hostapis()
    if not apis:
        return -1, -1
    api = apis[sd.default.hostapi] if sd.default.hostapi >= 0 else apis[0]
    return api["default_input_device"], api["default_output_device"]
