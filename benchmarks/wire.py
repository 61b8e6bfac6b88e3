"""What the load server says, made beforehand as bytes for the socket. Standard library only."""

from __future__ import annotations

import base64
import json
import struct
import time
from typing import Any

RATE = 24_000
DELTA_MS = 100
DELTA_SAMPLES = RATE * DELTA_MS // 1000
# Of a response: one piece of the transcript after so many audio deltas.
TRANSCRIPT_EVERY = 4
# 10 ms, as the clients push it
PUSH_BYTES = 2 * RATE // 100
# The first three samples of stamped audio are the time of sending: 48 bits of monotonic microseconds, 8 characters of
# base64.
STAMP_BYTES = 6

_RESPONSE, _ITEM = "resp_bench", "item_bench"
_WHERE = {"response_id": _RESPONSE, "item_id": _ITEM, "output_index": 0, "content_index": 0}
_NOISE = bytes((n * n * 31 + n >> 3) & 255 for n in range(2 * DELTA_SAMPLES))


def text_frame(payload: bytes) -> bytes:
    """An unmasked text frame."""
    size = len(payload)
    if size < 126:
        return struct.pack("!BB", 0x81, size) + payload
    if size < 1 << 16:
        return struct.pack("!BBH", 0x81, 126, size) + payload
    return struct.pack("!BBQ", 0x81, 127, size) + payload


def event(kind: str, **fields: Any) -> bytes:
    """A server event as a frame."""
    return text_frame(json.dumps({"type": kind, "event_id": "event_bench", **fields}).encode())


def audio_delta(pcm: bytes) -> bytes:
    """A delta of audio as a frame."""
    return event("response.output_audio.delta", **_WHERE, delta=base64.b64encode(pcm).decode())


def numbered_delta(number: int) -> bytes:
    """100 ms of noise whose first sample is a number, so that a consumer can tell that none is missing."""
    return audio_delta(struct.pack("<h", number) + _NOISE[2:])


class StampedDelta:
    """A delta whose first samples are written at the moment of sending."""

    def __init__(self) -> None:
        self._frame = bytearray(audio_delta(_NOISE))
        self._at = self._frame.index(base64.b64encode(_NOISE)[:64])

    def stamp(self, now_ns: int) -> bytes:
        """The frame with this time in it."""
        stamp = (now_ns // 1000).to_bytes(STAMP_BYTES, "little")
        self._frame[self._at : self._at + 8] = base64.b64encode(stamp)
        return bytes(self._frame)


def stamped_push() -> bytes:
    """10 ms of audio with the time in it."""
    stamp = (time.monotonic_ns() // 1000).to_bytes(STAMP_BYTES, "little")
    return stamp + bytes(PUSH_BYTES - STAMP_BYTES)


def age_ms(pcm: bytes, now_ns: int) -> float:
    """How long before `now_ns` the stamp was written."""
    return now_ns / 1e6 - int.from_bytes(pcm[:STAMP_BYTES], "little") / 1000


def transcript_delta() -> bytes:
    """A piece of the transcript."""
    return event("response.output_audio_transcript.delta", **_WHERE, delta=" word")


def renamed(frames: bytes, turn: int) -> bytes:
    """The same frames about another response and item, those of this turn: `item_00012` in place of `item_bench`."""
    return frames.replace(b"_bench", b"_%05d" % turn)


def _response(status: str, output: list[Any]) -> dict[str, Any]:
    return {"id": _RESPONSE, "object": "realtime.response", "status": status, "output": output}


def _item(status: str) -> dict[str, Any]:
    return {
        "id": _ITEM,
        "object": "realtime.item",
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [],
    }


def created(metadata: dict[str, str] | None = None) -> bytes:
    """The first event of a response."""
    return event("response.created", response=_response("in_progress", []) | {"metadata": metadata})


def done(status: str) -> bytes:
    """The last event of a response without output."""
    return event("response.done", response=_response(status, []))


def beginning() -> bytes:
    """All that comes before the first delta of a response."""
    return (
        created()
        + event(
            "response.output_item.added", response_id=_RESPONSE, output_index=0, item=_item("in_progress")
        )
        + event("conversation.item.added", previous_item_id=None, item=_item("in_progress"))
        + event("response.content_part.added", **_WHERE, part={"type": "audio", "transcript": ""})
    )


def ending() -> bytes:
    """All that comes after the last one."""
    return (
        event("response.output_audio.done", **_WHERE)
        + event("response.output_item.done", response_id=_RESPONSE, output_index=0, item=_item("completed"))
        + event("conversation.item.done", previous_item_id=None, item=_item("completed"))
        + event("response.done", response=_response("completed", [_item("completed")]))
    )


def burst(deltas: int) -> bytes:
    """A whole response, the transcript between the deltas."""
    parts = [beginning()]
    for number in range(deltas):
        parts.append(numbered_delta(number))
        if number % TRANSCRIPT_EVERY == 0:
            parts.append(transcript_delta())
    return b"".join([*parts, ending()])


def transcripts(deltas: int) -> int:
    """How many pieces of transcript a burst has."""
    return (deltas + TRANSCRIPT_EVERY - 1) // TRANSCRIPT_EVERY


def cut() -> bytes:
    """What answers a truncate: it is confirmed, and the response is over."""
    return event("conversation.item.truncated", item_id=_ITEM, content_index=0, audio_end_ms=0) + done(
        "cancelled"
    )


def user_item(number: int) -> dict[str, Any]:
    """A message of the user."""
    text = f"This is what I said in turn {number}, and it is about as long as people's turns are."
    content = [{"type": "input_text", "text": text}]
    return {
        "id": f"item_{number}",
        "type": "message",
        "role": "user",
        "status": "completed",
        "content": content,
    }


def item_added(item: dict[str, Any], previous: str | None) -> bytes:
    """The server's word that an item is in the conversation."""
    return event("conversation.item.added", previous_item_id=previous, item=item)


def conversation(items: int) -> bytes:
    """So many items, announced in order."""
    names: list[str | None] = [None, *(f"item_{number}" for number in range(items))]
    return b"".join(item_added(user_item(number), names[number]) for number in range(items))


SESSION_CREATED = event("session.created", session={"id": "sess_bench", "type": "realtime", "model": "bench"})
SPEECH_STARTED = event("input_audio_buffer.speech_started", item_id="item_user", audio_start_ms=0)
