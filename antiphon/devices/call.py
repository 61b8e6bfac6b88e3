"""A session, a microphone and a loudspeaker, joined for as long as the call lasts."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, Self

import msgspec
import numpy as np

from antiphon.actors.audio import Int16Array
from antiphon.actors.logs import enter, get_logger
from antiphon.devices.portaudio import NAMES, DeviceError, DeviceStream, Which, look_again
from antiphon.devices.streams import Microphone, Speaker

if TYPE_CHECKING:
    from antiphon.session import RealtimeSession

logger = get_logger("antiphon.devices")

Echo = Literal["headset", "half-duplex"]

_LOOK_EVERY_S: Final = 0.1
_FIRST_RETRY_S: Final = 0.5
_LAST_RETRY_S: Final = 2.0
# Looking for devices anew stops one that still works for a moment: with one, it is tried ever more rarely.
_LAST_RETRY_BESIDE_S: Final = 30.0
_CLOSE_S: Final = 5.0


class Levels(msgspec.Struct, frozen=True):
    """Peaks of the last 20 ms, 0 to 1, before muting."""

    microphone: float
    speaker: float


class DeviceStats(msgspec.Struct, frozen=True, kw_only=True):
    """How a device has done so far.

    Attributes:
        name: The device, "" while there is none.
        sample_rate: Hz.
        blocks: How many blocks of 20 ms it has asked for or brought.
        xruns: How often PortAudio said that samples had been lost, whoever was to blame.
        slowest_ms: The longest that antiphon kept PortAudio's callback.
        dropped: Blocks of the microphone that were lost because the process stood still.
    """

    name: str
    sample_rate: int
    blocks: int
    xruns: int
    slowest_ms: float
    dropped: int = 0


def talk(
    session: RealtimeSession,
    input: Which = None,
    output: Which = None,
    *,
    echo: Echo = "headset",
    muted: bool = False,
    push_to_talk: bool = False,
) -> DeviceCall:
    """Join microphone and loudspeaker to a session; call it before the first response.

    It goes on until `close`, the end of the `with` block, or the end of the session. A device that goes away is
    replaced as soon as it, or for None the system's next choice, is there; the log says so.

    Args:
        session: The conversation; its playback ledger is configured for the loudspeaker.
        input: The microphone: an index, a name or a part of one, or None for the system's choice.
        output: The loudspeaker, likewise.
        echo: "headset" sends all that the microphone hears; "half-duplex" sends silence while the loudspeaker
            plays. See `antiphon.devices`.
        muted: Begin muted.
        push_to_talk: The microphone is heard only between `press` and `release`.

    Returns:
        The running call.

    Raises:
        DeviceError: A device can't be opened, or PortAudio isn't installed.
        ValueError: `echo` is neither of the two.
    """
    if echo not in ("headset", "half-duplex"):
        raise ValueError(f"echo must be 'headset' or 'half-duplex', not {echo!r}")
    return DeviceCall(session, input, output, echo=echo, muted=muted, push_to_talk=push_to_talk)


class DeviceCall:
    """What `talk` returns. Thread-safe, and a context manager.

    One thread of it carries the microphone's blocks to the session and looks after the devices; PortAudio's own
    threads run the callbacks, which take no lock and never wait.
    """

    def __init__(
        self,
        session: RealtimeSession,
        input: Which,
        output: Which,
        *,
        echo: Echo,
        muted: bool,
        push_to_talk: bool,
    ) -> None:
        self.muted = muted
        self._session = session
        self._echo = echo
        self._push_to_talk = push_to_talk
        self._pressed = False
        self._released_at: float | None = None
        self._stopped = threading.Event()
        self._microphone = Microphone(input)
        self._speaker = Speaker(output, session.playback)
        self._sides: tuple[DeviceStream, ...] = (self._microphone, self._speaker)
        self._missed: set[DeviceStream] = set()
        self._retry_s = _FIRST_RETRY_S
        self._look_at = self._retry_at = 0.0
        try:
            self._open_first()
        except BaseException:
            self._close_sides()
            raise
        self._thread = threading.Thread(target=self._run, name="antiphon-devices", daemon=True)
        self._thread.start()

    # -- the user's side -------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether the call goes on, be it without a device for the moment."""
        return self._thread.is_alive()

    @property
    def lost(self) -> list[str]:
        """Which of "microphone" and "loudspeaker" there is none of for the moment."""
        return [NAMES[side.kind] for side in self._sides if not side.opened]

    @property
    def levels(self) -> Levels:
        """How loud it is."""
        return Levels(self._microphone.level, self._speaker.level)

    @property
    def stats(self) -> tuple[DeviceStats, DeviceStats]:
        """The microphone's and the loudspeaker's figures."""
        return _stats(self._microphone, self._microphone.dropped), _stats(self._speaker)

    def press(self) -> None:
        """Push to talk: what the model says is cut, and the microphone is heard from now on."""
        self._session.interrupt()
        if not self._session.capabilities.turn_detection:
            self._session.clear_audio()
        self._released_at = None
        self._pressed = True

    def release(self) -> None:
        """Push to talk: the microphone is heard no more, and without turn detection the model is asked to answer."""
        if self._pressed:
            # The last word is still on its way through the device.
            self._released_at = time.monotonic() + self._microphone.latency_s

    def close(self) -> None:
        """Stop and let go of the devices; the session goes on. Closing again is harmless."""
        self._stopped.set()
        self._microphone.wake()
        if threading.current_thread() is not self._thread:
            self._thread.join(_CLOSE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- the thread's side -------------------------------------------------------------------------------

    def _run(self) -> None:
        enter(self._session._actors.strand.origin)
        try:
            while not self._stopped.is_set():
                block = self._microphone.take(_LOOK_EVERY_S)
                if block is not None:
                    self._hear(block)
                now = time.monotonic()
                if self._released_at is not None and now >= self._released_at:
                    self._end_turn()
                if now >= self._look_at:
                    self._look_at = now + _LOOK_EVERY_S
                    self._look_after(now)
        except Exception:
            logger.exception("the call's devices are closed, because their thread failed")
        finally:
            self._close_sides()

    def _hear(self, block: Int16Array) -> None:
        closed = self._push_to_talk and not self._pressed
        if closed and not self._session.capabilities.turn_detection:
            return
        if closed or self.muted or (self._echo == "half-duplex" and self._speaker.sounding):
            # Not nothing: time has to go on for the server, or it never finds the end of a sentence.
            block = np.zeros_like(block)
        self._session.push_audio(block, self._microphone.rate, block.shape[1])

    def _end_turn(self) -> None:
        self._released_at = None
        self._pressed = False
        if not self._session.capabilities.turn_detection:
            self._session.commit_audio()
            self._session.generate_reply()

    def _look_after(self, now: float) -> None:
        if self._session.state == "closed":
            self._stopped.set()
            return
        lost = [side for side in self._sides if not side.alive()]
        if not lost:
            self._retry_s = _FIRST_RETRY_S
            return
        for side in lost:
            if side.opened:
                logger.warning("the %s %r has stopped; looking for it", NAMES[side.kind], side.name)
                side.close()
                self._missed.add(side)
                self._retry_at = now
        if now >= self._retry_at and not self._reopen(lost):
            self._retry_at = time.monotonic() + self._retry_s
            last = _LAST_RETRY_S if len(lost) == len(self._sides) else _LAST_RETRY_BESIDE_S
            self._retry_s = min(2 * self._retry_s, last)

    def _reopen(self, lost: list[DeviceStream]) -> bool:
        """Open what is lost, if need be after having PortAudio look for devices; True when all is well."""
        if self._open(lost):
            return True
        self._close_sides()
        look_again(set(self._sides))
        return self._open([side for side in self._sides if not side.opened])

    def _open_first(self) -> None:
        try:
            for side in self._sides:
                side.open()
        except DeviceError:
            # PortAudio may have looked before the device was there.
            self._close_sides()
            if not look_again(set(self._sides)):
                raise
            for side in self._sides:
                side.open()

    def _open(self, sides: list[DeviceStream]) -> bool:
        failed = False
        for side in sides:
            try:
                rate = side.rate
                side.open()
            except DeviceError as error:
                logger.debug("%s", error)
                failed = True
                continue
            if side in self._missed:
                self._missed.discard(side)
                logger.warning("the %s is %r now", NAMES[side.kind], side.name)
            if side is self._speaker and side.rate != rate:
                # What waits is at the old device's rate.
                self._session.interrupt()
        return not failed

    def _close_sides(self) -> None:
        for side in self._sides:
            side.close()


def _stats(side: DeviceStream, dropped: int = 0) -> DeviceStats:
    return DeviceStats(
        name=side.name if side.opened else "",
        sample_rate=side.rate,
        blocks=side.blocks,
        xruns=side.flagged,
        slowest_ms=side.slowest_s * 1000,
        dropped=dropped,
    )
