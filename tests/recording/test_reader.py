"""Reading recordings that are whole, torn, newer, damaged, or none."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from antiphon import recording
from antiphon.recording import AudioRef, Cut, End, Event, Header, Line, Sent, Track
from antiphon.recording.wav import WavWriter, read_wav

HEADER = Header(
    t=0.0,
    wall=1.0,
    session="sess_x",
    label="label",
    model="model",
    provider="host",
    state="connecting",
    antiphon="0",
    tracks={
        "in": Track(file="call.in.wav", encoding="pcm16", rate=24_000),
        "out": Track(file="call.out.wav", encoding="pcm16", rate=24_000),
    },
)
LINES = [
    Sent(
        t=0.1,
        wall=1.1,
        connection=1,
        event={"type": "input_audio_buffer.append"},
        audio=AudioRef(track="in", start=0, samples=2),
    ),
    Event(t=0.2, wall=1.2, name="state_changed", type="StateChanged", payload={"old": "a", "new": "b"}),
    Cut(t=0.3, wall=1.3, item_id="item_é", heard_ms=7),
    End(t=0.4, wall=1.4, reason="session closed"),
]


def write(file: Path, *lines: Line | bytes) -> bytes:
    """Write a recording's lines."""
    content = b"".join(
        (line if isinstance(line, bytes) else msgspec.json.encode(line)) + b"\n" for line in lines
    )
    file.write_bytes(content)
    return content


def test_lines_come_back_as_they_were(file: Path) -> None:
    write(file, HEADER, *LINES)
    call = recording.read(file)
    assert call.header == HEADER
    assert call.lines == LINES
    assert call.complete


def test_wherever_it_was_broken_off_the_lines_before_are_there(file: Path) -> None:
    content = write(file, HEADER, *LINES)
    first = content.index(b"\n") + 1
    for size in range(first, len(content)):
        file.write_bytes(content[:size])
        call = recording.read(file)
        whole = content[first:size].count(b"\n")
        assert call.lines == LINES[:whole]
        assert call.torn == (not content[:size].endswith(b"\n"))
        assert not call.complete


def test_kinds_and_keys_of_later_versions_are_skipped(file: Path) -> None:
    write(
        file,
        HEADER,
        b'{"kind":"weather","t":0.1,"wall":1,"sunny":true}',
        b'{"kind":"end","t":0.4,"wall":1.4,"reason":"session closed","mood":"fine"}',
    )
    assert recording.read(file).lines == [LINES[-1]]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "no recording"),
        ([LINES[0]], "no recording"),
        ([b'{"type": "session.update"}'], "line 1 is no line of a recording"),
        ([HEADER, b'{"kind":"cut","t":0.1,"wall":1,"item_id":"x"}'], "line 2 .*heard_ms"),
        ([HEADER, b"\xff", LINES[0]], "line 2"),
        ([msgspec.structs.replace(HEADER, version=2)], "version 2"),
    ],
)
def test_what_is_no_recording_is_refused_by_name(file: Path, lines: list[Line | bytes], message: str) -> None:
    write(file, *lines)
    with pytest.raises(ValueError, match=message) as caught:
        recording.read(file)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(("encoding", "width"), [("pcm16", 2), ("g711_ulaw", 1), ("g711_alaw", 1)])
def test_a_wav_is_read_to_the_last_whole_sample(tmp_path: Path, encoding: str, width: int) -> None:
    path = tmp_path / "x.wav"
    wav = WavWriter(path, encoding)
    wav.write(b"\x01\x02\x03\x04" * width)
    # The header isn't updated, and the last sample is broken.
    with path.open("ab") as file:
        file.write(b"\x09" * (width - 1))
    data, samples = read_wav(path, encoding)
    assert data == b"\x01\x02\x03\x04" * width
    assert (samples.dtype, samples.shape) == ("int16", (4,))
    wav.close()


def test_what_is_no_wav_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(b"ID3" * 100)
    with pytest.raises(ValueError, match=r"x\.wav is no WAV"):
        read_wav(path, "pcm16")
