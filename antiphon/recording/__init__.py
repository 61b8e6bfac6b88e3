"""Recordings of calls: JSON Lines and a WAV for each voice. `RealtimeSession.record` makes them, `read` reads them."""

from antiphon.recording.format import (
    AnyLine,
    AudioRef,
    Connected,
    Cut,
    Disconnected,
    End,
    Event,
    Frame,
    Header,
    Heard,
    Line,
    Lost,
    Received,
    Sent,
    Track,
    TrackName,
)
from antiphon.recording.reader import Recording, read
from antiphon.recording.recorder import Recorder
from antiphon.recording.timeline import Stretch, Timeline, lay_out, save_mix

__all__ = [
    "read",
    "Recording",
    "Recorder",
    "lay_out",
    "save_mix",
    "Timeline",
    "Stretch",
    "AnyLine",
    "Line",
    "Header",
    "Track",
    "TrackName",
    "AudioRef",
    "Frame",
    "Sent",
    "Received",
    "Connected",
    "Disconnected",
    "Event",
    "Heard",
    "Cut",
    "Lost",
    "End",
]
