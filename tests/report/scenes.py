"""Writes recordings of calls that never were, as the recorder would have: every kind of thing that a page shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from antiphon import recording
from antiphon.recording import (
    AudioRef,
    Connected,
    Cut,
    Disconnected,
    End,
    Event,
    Header,
    Heard,
    Line,
    Received,
    Sent,
    Track,
    TrackName,
)
from antiphon.recording.wav import WavWriter
from antiphon.report.drawing import draw
from antiphon.report.picture import Picture
from antiphon.report.prices import Prices

RATE = 24_000
CHUNK = RATE // 10
WALL = 1_750_000_000.0
TURN = 12.0  # seconds


class Scene:
    """A recording that is being made up. Its chunks of audio last 100 ms.

    Args:
        file: Of the lines.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._lines: list[Line] = []
        self._connection = 0
        self._wavs: dict[TrackName, WavWriter] = {
            name: WavWriter(file.with_suffix(f".{name}.wav"), "pcm16") for name in ("in", "out")
        }
        self._sent_ms = 0
        noise = np.random.default_rng(7).normal(0, 1, 20 * CHUNK)
        self._noise = (noise * np.abs(np.sin(np.arange(20 * CHUNK) * (np.pi * 4 / RATE)))).astype(np.float32)

    def write(self, ended: float | None) -> Path:
        """Write it; without an end it is one that was broken off."""
        header = Header(
            t=0.0,
            wall=WALL,
            session="sess_scene",
            label="label",
            model="gpt-realtime",
            provider="api.example.com",
            state="connecting",
            antiphon="0",
            tracks={
                name: Track(file=self.file.with_suffix(f".{name}.wav").name, encoding="pcm16", rate=RATE)
                for name in self._wavs
            },
        )
        lines = sorted(self._lines, key=lambda line: line.t)
        if ended is not None:
            lines.append(End(t=ended, wall=WALL + ended, reason="session closed"))
        self.file.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in (header, *lines)))
        for wav in self._wavs.values():
            wav.close()
        return self.file

    # -- lines ------------------------------------------------------------------------------------------------

    def received(self, t: float, kind: str, audio: AudioRef | None = None, **event: Any) -> None:
        """A frame of the server's."""
        frame = {"type": kind, **event}
        self._lines.append(
            Received(t=t, wall=WALL + t, connection=self._connection, event=frame, audio=audio)
        )

    def sent(self, t: float, kind: str, audio: AudioRef | None = None, **event: Any) -> None:
        """A frame of the client's."""
        frame = {"type": kind, **event}
        self._lines.append(Sent(t=t, wall=WALL + t, connection=self._connection, event=frame, audio=audio))

    def event(self, t: float, name: str, kind: str = "", /, **payload: Any) -> None:
        """Something that the session told its user."""
        self._lines.append(Event(t=t, wall=WALL + t, name=name, type=kind, payload=payload))

    def connect(self, t: float) -> None:
        """A connection begins."""
        self._connection += 1
        self._sent_ms = 0
        self._lines.append(Connected(t=t, wall=WALL + t, connection=self._connection, seconds=0.12))

    def drop(self, t: float, back_at: float) -> None:
        """The connection is lost, and there is another one."""
        line = Disconnected(
            t=t, wall=WALL + t, connection=self._connection, reason="the server closed", code=1012
        )
        self._lines.append(line)
        self.connect(back_at)
        self.event(
            back_at + 0.05,
            "session_reconnected",
            reason="the server closed",
            downtime=back_at - t,
            items_restored=9,
            items_degraded=4,
            items_lost=1,
            audio_dropped_ms=250.0,
        )

    # -- what is said -----------------------------------------------------------------------------------------

    def user_sends(self, start: float, end: float, speech: tuple[float, float] | None) -> None:
        """The user's audio from start to end: quiet, but for the speech."""
        for number in range(round((end - start) * 10)):
            t = start + number / 10
            loud = speech is not None and speech[0] <= t < speech[1]
            self.sent(t + 0.1, "input_audio_buffer.append", self._audio("in", number, 6000 if loud else 40))
            self._sent_ms += 100

    def user_says(self, item: str, start: float, end: float, text: str, began: float) -> None:
        """What the server made of the user's speech, whose input began then on this connection."""
        self.received(
            start + 0.4,
            "input_audio_buffer.speech_started",
            item_id=item,
            audio_start_ms=round((start - began) * 1000),
        )
        self.received(
            end + 0.4,
            "input_audio_buffer.speech_stopped",
            item_id=item,
            audio_end_ms=round((end - began) * 1000),
        )
        kind = "conversation.item.input_audio_transcription.completed"
        self.received(end + 0.7, kind, item_id=item, transcript=text)

    def model_says(
        self,
        name: str,
        created: float,
        seconds: float,
        text: str,
        heard: float | None = None,
        silence: float = 0.0,
    ) -> None:
        """A response whose audio arrives at four times its pace; `heard`: it is cut after so many seconds.

        It begins with `silence` seconds in which nothing can be heard.
        """
        item, first = f"item_{name}", created + 0.4
        self.received(created, "response.created", response={"id": f"resp_{name}"})
        for number in range(round(seconds * 10)):
            audio = self._audio("out", number, 8 if number < round(silence * 10) else 5000)
            kind = {"item_id": item, "response_id": f"resp_{name}"}
            self.received(first + number / 40, "response.output_audio.delta", audio, **kind)
        played = seconds if heard is None else heard
        for second in np.arange(0.0, played, 1.0):
            t = first + 0.1 + float(second)
            end_ms = 1000 * min(float(second) + 1, played)
            line = Heard(t=t, wall=WALL + t, item_id=item, start_ms=1000 * float(second), end_ms=end_ms)
            self._lines.append(line)
        done = first + seconds / 4 + 0.1
        if heard is not None:
            done = max(done, first + 0.1 + heard)
            at = first + 0.1 + heard
            self._lines.append(Cut(t=at, wall=WALL + at, item_id=item, heard_ms=round(heard * 1000)))
        self.received(done, "response.output_audio_transcript.done", item_id=item, transcript=text)
        self.received(
            done + 0.01,
            "response.done",
            response={
                "id": f"resp_{name}",
                "status": "completed" if heard is None else "cancelled",
                "status_details": None if heard is None else {"type": "cancelled", "reason": "turn_detected"},
                "usage": {
                    "input_tokens": 1000,
                    "output_tokens": 200,
                    "input_token_details": {
                        "audio_tokens": 600,
                        "cached_tokens": 500,
                        "cached_tokens_details": {"audio_tokens": 300},
                    },
                    "output_token_details": {"audio_tokens": 150},
                },
            },
        )

    def tool(self, t: float, name: str, failed: bool = False) -> None:
        """A tool runs for 0.8 s."""
        call = f"call_{t}"
        self.event(t, "tool_started", call_id=call, name=name, arguments='{"city": "Ulm"}')
        output = "no such city" if failed else "<b>sunny</b> & warm"
        self.event(t + 0.8, "tool_finished", call_id=call, name=name, output=output, is_error=failed)

    def _audio(self, track: TrackName, number: int, level: float) -> AudioRef:
        wav = self._wavs[track]
        start, first = wav.samples, number % 20 * CHUNK
        samples: NDArray[np.int16] = (self._noise[first : first + CHUNK] * level).astype(np.int16)
        wav.write(samples.tobytes())
        return AudioRef(track=track, start=start, samples=CHUNK)


def write_call(file: Path, minutes: float, ended: bool = True) -> Path:
    """A call in turns of 12 s, in which every kind of thing happens now and then.

    In the first minute: a tool in turn 1, a cut in turn 2 (all counted from 0), a lost connection before turn 3, an
    actor's restart in turn 3, a tool's failure in turn 4.
    """
    scene = Scene(file)
    scene.connect(0.0)
    began = 0.0
    turns = round(minutes * 60 / TURN)
    for turn in range(turns):
        start = turn * TURN
        if turn % 25 == 3:
            scene.drop(start - 0.6, start)
            began = start
        speech = (start + 1.0, start + 3.5)
        scene.user_sends(start, start + TURN - 0.6 * ((turn + 1) % 25 == 3), speech)
        scene.user_says(f"item_user{turn}", *speech, f"This is question number {turn}.", began)
        cut = 3.0 if turn % 5 == 2 else None
        scene.model_says(
            f"{turn}", start + 4.0, 6.0, f"And this is the answer to question {turn}, in a few words.", cut
        )
        if turn % 5 == 1:
            scene.tool(start + 4.1, "get_weather")
        if turn % 25 == 3:
            scene.event(
                start + 5,
                "actor_restarted",
                actor="GenerationActor",
                error={"type": "KeyError", "message": "x"},
                message_type="Delta",
                restarted=True,
            )
        if turn % 25 == 4:
            scene.tool(start + 4.1, "get_stock", failed=True)
            scene.event(
                start + 6, "error", error={"type": "APIError", "message": "rate limit"}, recoverable=True
            )
            scene.event(start + 8, "audio_dropped", duration_ms=120.0)
    return scene.write(turns * TURN if ended else None)


def picture_of(file: Path, prices: Prices | None = None) -> Picture:
    """What a recording's page would show."""
    call = recording.read(file)
    timeline = recording.lay_out(call)
    return draw(call, timeline, timeline.mix(), prices)
