"""Twilio's side of Media Streams: asks for TwiML, connects to the stream in it, plays what it is sent in real time."""

from __future__ import annotations

import base64
import json
import threading
import time
import urllib.request
from collections import deque
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self
from xml.etree import ElementTree

import numpy as np
from telephone import FRAME_S, PATIENCE, Telephone
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from antiphon.actors.audio import decode_ulaw, encode_ulaw

ACCOUNT, CALL, STREAM = "AC" + "1" * 32, "CA" + "2" * 32, "MZ" + "3" * 32
FRAME = 160
SILENCE = b"\xff" * FRAME


class Twilio:
    """A call with a bidirectional stream; a context manager that hangs up.

    Media and marks wait in one buffer. A mark comes back when what was before it has been played; `clear` empties the
    buffer, and the marks in it come back at once.

    Args:
        port: Where the Flask application listens.
    """

    def __init__(self, port: int) -> None:
        self.phone = Telephone()
        self.received: list[dict[str, Any]] = []
        self.played = bytearray()  # mu-law, without the silence of an empty buffer
        self.spoken = bytearray()
        self.marks: list[str] = []
        self.cleared: list[int] = []  # how much had been played at each `clear`
        self.closed = threading.Event()
        self._buffer: deque[bytes | str] = deque()
        self._lock = (
            threading.Lock()
        )  # of the buffer, and of the order in which messages are numbered and sent
        self._number = 0
        self._stopping = threading.Event()
        asked = urllib.request.urlopen(
            f"http://127.0.0.1:{port}/voice", b"CallSid=" + CALL.encode(), PATIENCE
        )
        with asked:
            twiml = ElementTree.fromstring(asked.read())
        assert asked.headers.get_content_type() == "text/xml"
        (stream,) = twiml.findall("./Connect/Stream")
        # There is no TLS on the loopback.
        url = stream.attrib["url"].replace("wss:", "ws:")
        self._open = ExitStack()
        self._ws = self._open.enter_context(connect(url, compression=None, close_timeout=0.5))
        self._threads = [
            threading.Thread(target=self._read, name="antiphon-test-twilio-read"),
            threading.Thread(target=self._play, name="antiphon-test-twilio-play"),
        ]
        with self._lock:
            self._ws.send(json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"}))
            format_ = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
            start = {
                "accountSid": ACCOUNT,
                "streamSid": STREAM,
                "callSid": CALL,
                "tracks": ["inbound"],
                "mediaFormat": format_,
                "customParameters": {},
            }
            self._send("start", start=start)
        for thread in self._threads:
            thread.start()

    def press(self, digit: str) -> None:
        """The caller presses a key."""
        with self._lock:
            self._send("dtmf", dtmf={"track": "inbound_track", "digit": digit})

    def stop(self) -> None:
        """The caller has hung up."""
        self._stopping.set()
        with self._lock:
            self._send("stop", stop={"accountSid": ACCOUNT, "callSid": CALL})

    def sent(self, event: str) -> list[dict[str, Any]]:
        """The messages of one kind that came from the application."""
        return [message for message in list(self.received) if message["event"] == event]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._open.close()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _send(self, event: str, **body: Any) -> None:
        self._number += 1
        message = {"event": event, "sequenceNumber": str(self._number), **body, "streamSid": STREAM}
        self._ws.send(json.dumps(message))

    def _return(self, mark: str) -> None:
        self.marks.append(mark)
        self._send("mark", mark={"name": mark})

    def _read(self) -> None:
        try:
            for frame in self._ws:
                message = json.loads(frame)
                assert message["streamSid"] == STREAM
                with self._lock:
                    self.received.append(message)
                    self._take(message)
        except ConnectionClosed:
            pass
        finally:
            self.closed.set()

    def _take(self, message: dict[str, Any]) -> None:
        match message["event"]:
            case "media":
                self._buffer.append(base64.b64decode(message["media"]["payload"], validate=True))
            case "mark":
                self._buffer.append(message["mark"]["name"])
            case "clear":
                self.cleared.append(len(self.played))
                waiting, self._buffer = self._buffer, deque()
                for mark in waiting:
                    if isinstance(mark, str):
                        self._return(mark)
            case other:
                raise AssertionError(f"Twilio knows no {other}")

    def _play(self) -> None:
        began, frames = time.monotonic(), 0
        try:
            while not self._stopping.wait(max(0.0, began + frames * FRAME_S - time.monotonic())):
                frames += 1
                sound = encode_ulaw(self.phone.speak())
                with self._lock:
                    self.spoken += sound
                    media = {
                        "track": "inbound",
                        "chunk": str(frames),
                        "timestamp": str(frames * 20),
                        "payload": base64.b64encode(sound).decode(),
                    }
                    self._send("media", media=media)
                    frame = self._next_frame()
                self.phone.hear(np.array(decode_ulaw(frame)))
        except ConnectionClosed:
            pass

    def _next_frame(self) -> bytes:
        frame = b""
        while self._buffer and (len(frame) < FRAME or isinstance(self._buffer[0], str)):
            head = self._buffer.popleft()
            if isinstance(head, str):
                self._return(head)
                continue
            room = FRAME - len(frame)
            frame += head[:room]
            if head[room:]:
                self._buffer.appendleft(head[room:])
        self.played += frame
        return frame + SILENCE[len(frame) :]
