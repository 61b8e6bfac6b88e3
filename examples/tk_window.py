"""A window that talks: hold the button, speak, let go, and hear the answer. Escape closes it.

    python examples/tk_window.py              # no microphone: each press speaks the next of a few sentences
    python examples/tk_window.py --devices    # microphone and loudspeaker; needs the extra `devices`

Tk belongs to one thread. What the engine tells on threads of its own goes into a queue, which `after` looks into:
`Window.tell` and `Window._look`.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
from pathlib import Path

from pretend import PretendedCall
from window import Window

from antiphon import (
    GenerationCreatedEvent,
    InputTranscriptionCompleted,
    RealtimeModel,
    RealtimeSession,
    RemoteItemAddedEvent,
)
from antiphon.devices import talk
from antiphon.testing import LocalServer


def show(session: RealtimeSession, window: Window) -> None:
    """Have the window show a session that has not started."""

    def added(event: RemoteItemAddedEvent) -> None:
        # The user's place in the transcript; the words come later.
        if event.item.type == "message" and event.item.role == "user":
            window.tell(window.say, event.item.id, "You", "")

    def heard(event: InputTranscriptionCompleted) -> None:
        window.tell(window.say, event.item_id, "You", event.transcript)

    def follow(generation: GenerationCreatedEvent) -> None:
        # On a thread of its own: a callback that waits holds up the session's other events.
        threading.Thread(target=read, args=(generation,), daemon=True).start()

    def read(generation: GenerationCreatedEvent) -> None:
        for message in generation.message_stream:
            said = ""
            for piece in message.text_stream:
                said += piece
                window.tell(window.say, message.message_id, "Model", said)

    session.on("state_changed", lambda it: window.tell(window.show_state, it.new))
    session.on("remote_item_added", added)
    session.on("input_audio_transcription_completed", heard)
    session.on("generation_created", follow)
    session.on("error", lambda it: window.tell(window.say, "error", "Error", str(it.error)))


def main() -> None:
    """Talk until the window is closed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", action="store_true", help="use the microphone and the loudspeaker")
    real = parser.parse_args().devices
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalServer(brain="voice") as server,  # without it and `base_url`: OpenAI, with OPENAI_API_KEY
        RealtimeModel(base_url=server.url, api_key="local", turn_detection=None) as model,
    ):
        session = model.session(start=False)
        call = talk(session, push_to_talk=True) if real else PretendedCall(session, Path(folder))
        window = Window(call)
        show(session, window)
        session.start()
        window.mainloop()


if __name__ == "__main__":
    main()
