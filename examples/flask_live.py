"""A page that shows a call live, by server-sent events: who says what, the tools, the state, the levels.

    python examples/flask_live.py 5000        # then open http://127.0.0.1:5000 and press Call

The caller is a synthetic voice. With a real one, `show` and the page stay as they are.
"""

from __future__ import annotations

import tempfile
import threading
from itertools import count
from pathlib import Path

from board import Board
from caller import Caller, Sentence, write_questions
from command_line import port_argument
from demo import get_time, get_weather
from flask import Flask, Response, render_template

from antiphon import GenerationCreatedEvent, RealtimeModel, RealtimeSession, ServerVad
from antiphon.testing import LocalServer

SCRIPT = (
    Sentence("Hello, can you hear me?"),
    Sentence("What is the weather in San Francisco?"),
    Sentence("Tell me a long story.", cut_after_s=5.0),
    Sentence("What time is it?"),
)


def show(session: RealtimeSession, board: Board) -> None:
    """Have all that happens in a session shown; call it before the session starts."""
    put = board.publish

    def follow(generation: GenerationCreatedEvent) -> None:
        # On a thread of its own: a callback that waits holds up the session's other events.
        threading.Thread(target=read, args=(generation,), daemon=True).start()

    def read(generation: GenerationCreatedEvent) -> None:
        for message in generation.message_stream:
            text = ""
            for piece in message.text_stream:
                text += piece
                put("said", message.message_id, who="model", text=text)

    def heard(item_id: str, text: str = "") -> None:
        put("said", item_id, who="user", text=text)

    session.on("state_changed", lambda it: put("state", text=it.new))
    session.on("input_speech_started", lambda it: heard(it.item_id))
    session.on("input_audio_transcription_completed", lambda it: heard(it.item_id, it.transcript))
    session.on("generation_created", follow)
    session.on("playback_interrupted", lambda it: put("said", it.item_id, cut_ms=it.heard_ms))
    session.on("tool_started", lambda it: put("tool", it.call_id, name=it.name, arguments=it.arguments))
    session.on("tool_finished", lambda it: put("tool", it.call_id, output=it.output, failed=it.is_error))
    session.on("error", lambda it: put("error", text=str(it.error)))


def hold_call(model: RealtimeModel, board: Board, questions: Path, places: list[tuple[int, int]]) -> None:
    """A call from its beginning to its end."""
    with model.session(start=False) as session:
        show(session, board)
        caller, blocks = Caller(session, questions, places), count()

        def each_block() -> None:
            if next(blocks) % 5 == 0:
                board.publish("levels", both=caller.levels)

        session.start()
        session.update_tools([get_time, get_weather], auto_execute=True)
        for number, sentence in enumerate(SCRIPT):
            caller.ask(number, each_block, sentence.cut_after_s)


def create_app(model: RealtimeModel, questions: Path) -> Flask:
    """Make the application; the caller's voice is written into `questions`. All who watch see the same call."""
    app, board, line = Flask(__name__), Board(), threading.Lock()
    places = write_questions(questions, SCRIPT)

    def call_and_free_the_line() -> None:
        try:
            hold_call(model, board, questions, places)
        finally:
            line.release()

    @app.get("/")
    def page() -> str:
        return render_template("live.html")

    @app.get("/events")
    def events() -> Response:
        return Response(board.watch(), mimetype="text/event-stream", headers={"Cache-Control": "no-store"})

    @app.post("/call")
    def call() -> tuple[str, int]:
        if not line.acquire(blocking=False):
            return "There is a call already.", 409
        board.clear()
        threading.Thread(target=call_and_free_the_line, daemon=True).start()
        return "", 204

    return app


if __name__ == "__main__":
    port, vad = port_argument(__doc__, 5000), ServerVad(silence_duration_ms=400)
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalServer(brain="voice") as server,  # without it and `base_url`: OpenAI, with OPENAI_API_KEY
        RealtimeModel(base_url=server.url, api_key="local", turn_detection=vad) as calls,
    ):
        create_app(calls, Path(folder) / "questions.wav").run(port=port, threaded=True)
