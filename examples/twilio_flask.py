"""Twilio on the line: Media Streams in threaded Flask, mu-law all the way.

    python examples/twilio_flask.py 5000        # then point the number's webhook at https://YOUR-HOST/voice

For a public server: `gunicorn --threads 100 "twilio_flask:create_app()"`, and check Twilio's signature in `voice`.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from typing import Any
from xml.sax.saxutils import quoteattr

from command_line import port_argument
from flask import Flask, Response, request
from flask_sock import Sock
from phone import g711_model, greet, press
from simple_websocket import ConnectionClosed

from antiphon import RealtimeModel, RealtimeSession, decode_ulaw

BYTES_PER_MS = 8
MARK_BYTES = 100 * BYTES_PER_MS  # so often Twilio tells how far it has played


class Call:
    """A stream of Twilio's and a session. Twilio buffers what it is sent, and plays it in real time.

    Args:
        ws: The stream's socket.
        sid: The stream's id.
        session: Of G.711 in both directions, not started.
    """

    def __init__(self, ws: Any, sid: str, session: RealtimeSession) -> None:
        self._ws, self._sid, self._session = ws, sid, session
        self._sending = threading.Lock()  # two threads send: the session's callbacks, and the socket's reader
        self._sent: dict[str, int] = {}  # bytes by item
        self._silenced: set[str] = set()  # items whose sound isn't wanted, and whose marks mean nothing
        self._playback = session.playback
        self._playback.use_remote_player()
        session.on("openai_server_event_received", self.speak)
        session.on("input_speech_started", lambda event: self.clear())

    def speak(self, event: dict[str, Any]) -> None:
        """Pass the model's sound on, as it is, with marks in it."""
        if event["type"] != "response.output_audio.delta":
            return
        item, sound = event["item_id"], base64.b64decode(event["delta"])
        with self._sending:
            if item in self._silenced:
                return
            for start in range(0, len(sound), MARK_BYTES):
                piece = sound[start : start + MARK_BYTES]
                self._sent[item] = self._sent.get(item, 0) + len(piece)
                self._send("media", media={"payload": base64.b64encode(piece).decode()})
                self._send("mark", mark={"name": f"{item} {self._sent[item] // BYTES_PER_MS}"})

    def clear(self) -> None:
        """Fall silent: Twilio drops what it hasn't played, and returns the marks in it as if it had."""
        with self._sending:
            self._silenced |= self._sent.keys()
            self._send("clear")

    def take(self, message: dict[str, Any]) -> None:
        """Do what a message of Twilio's asks for."""
        match message["event"]:
            case "media":
                self._session.push_audio(decode_ulaw(base64.b64decode(message["media"]["payload"])), 8000)
            case "mark":
                item, ms = message["mark"]["name"].split()
                if item not in self._silenced:
                    self._playback.mark_played(item, int(ms))
            case "dtmf":
                self.clear()
                press(self._session, message["dtmf"]["digit"])

    def _send(self, event: str, **body: Any) -> None:
        try:
            self._ws.send(json.dumps({"event": event, "streamSid": self._sid, **body}))
        except (ConnectionClosed, OSError):
            pass  # the reader notices too, and ends the call


def create_app(
    model: RealtimeModel | None = None, answer: Callable[[RealtimeSession], None] = greet
) -> Flask:
    """Make the application. `answer` is called with each call's session; it must not block."""
    app = Flask(__name__)
    calls = model or g711_model()

    @app.post("/voice")
    def voice() -> Response:
        url = quoteattr(f"wss://{request.host}/media")
        return Response(f"<Response><Connect><Stream url={url}/></Connect></Response>", mimetype="text/xml")

    @Sock(app).route("/media")
    def media(ws: Any) -> None:
        with calls.session(start=False) as session:
            call = None
            while session.state != "closed" and (message := json.loads(ws.receive()))["event"] != "stop":
                if message["event"] == "start":
                    call = Call(ws, message["streamSid"], session)
                    session.start()
                    answer(session)
                elif call is not None:
                    call.take(message)

    return app


if __name__ == "__main__":
    port = port_argument(__doc__, 5000, calls_model=True)
    create_app().run(port=port, threaded=True)
