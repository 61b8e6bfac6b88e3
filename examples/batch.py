"""Answers a folder of recorded questions, several at a time, with a progress bar.

    python examples/batch.py QUESTIONS --out ANSWERS     # without QUESTIONS it makes a few and answers those

For each QUESTIONS/NAME.wav it writes ANSWERS/NAME.wav and, last, ANSWERS/NAME.txt: what was asked and answered.
What has its .txt is not asked again, so after Ctrl-C the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
import wave
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from rich.progress import Progress

from antiphon import RealtimeError, RealtimeModel, RealtimeSession, StreamEnded
from antiphon.testing import LocalServer, synthesize

TRANSCRIPT_S = 10.0  # it may come after the answer, or never
WAITING_MS = 10_000  # so much audio may wait to be sent; a session drops what is over its limit
QUESTIONS = ("What time is it?", "What is the weather in Paris?", "What is seven times eight?")


def ask(session: RealtimeSession, question: Path) -> tuple[str, bytes]:
    """Ask a recorded question; returns what was answered, and that as s16le at 24 kHz."""
    session.wait_open()
    with open_wav(question) as file:
        if file.getsampwidth() != 2:
            raise ValueError(f"has {8 * file.getsampwidth()}-bit samples; give 16-bit WAV files")
        rate, channels = file.getframerate(), file.getnchannels()
        while second := file.readframes(rate):
            session.push_audio(second, rate, channels)
            while session.state != "closed" and session.stats().audio_waiting_ms > WAITING_MS:
                time.sleep(0.05)
    session.commit_audio()
    generation = session.generate_reply().result()
    text, sound = "", b""
    for message in generation.message_stream:
        sound += b"".join(frame.data.tobytes() for frame in message.audio_stream)
        text += "".join(message.text_stream)
    if (status := generation.done.result().status) != "completed":
        raise RealtimeError(f"the answer is {status}")
    return text.strip(), sound


def answer(model: RealtimeModel, question: Path, out: Path) -> None:
    """Ask one question in a session of its own. A file is written as a whole or not at all."""
    with model.session() as session:
        transcripts = session.events("input_audio_transcription_completed")
        text, sound = ask(session, question)
        heard = "?"
        with contextlib.suppress(TimeoutError, StreamEnded):
            while not (said := transcripts.get(TRANSCRIPT_S)[1]).is_final:
                pass
            heard = said.transcript.strip()
    part = out / f"{question.stem}.part"
    write_wav(part, sound)
    part.replace(out / f"{question.stem}.wav")
    part.write_text(f"user: {heard}\nmodel: {text}\n", encoding="utf-8")
    part.replace(out / f"{question.stem}.txt")


def open_wav(path: Path) -> wave.Wave_read:
    """Open a WAV file for reading."""
    try:
        return wave.open(str(path), "rb")
    except (wave.Error, EOFError) as error:
        raise ValueError(f"is no WAV file: {str(error) or 'it is empty or cut short'}") from None


def write_wav(path: Path, sound: bytes) -> None:
    """Write s16le at 24 kHz, mono."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 24_000, 0, "NONE", ""))
        file.writeframes(sound)


def run(model: RealtimeModel, questions: list[Path], out: Path, at_once: int) -> int:
    """Answer them all; returns the exit code."""
    with Progress() as progress, ThreadPoolExecutor(at_once) as pool:
        jobs = {pool.submit(answer, model, path, out): path for path in questions}
        try:
            for job in progress.track(as_completed(jobs), len(jobs), description="answering"):
                if (error := job.exception()) is not None:
                    progress.console.print(f"{jobs[job].name}: {error}", markup=False)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            while not all(job.done() for job in jobs):
                model.close()  # whoever waits for an answer is told that the session is closed
                time.sleep(0.05)
            progress.console.print("Stopped. The same command goes on from here.")
            return 130
    return int(any(job.exception() for job in jobs))


def main() -> int:
    """Run the batch; the exit code is 0 when every question has its answer, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("questions", type=Path, nargs="?", help="folder of 16-bit WAV files")
    parser.add_argument("--out", type=Path, default=Path("batch-out"), help="another folder, for the answers")
    parser.add_argument("--at-once", type=int, default=4, help="how many to ask at the same time")
    args = parser.parse_args()
    if args.at_once < 1:
        parser.error("--at-once must be 1 or more")
    out, folder = args.out, args.questions or args.out / "questions"
    if args.questions is None:
        folder.mkdir(parents=True, exist_ok=True)
        for number, text in enumerate(QUESTIONS, start=1):
            write_wav(folder / f"{number}.wav", synthesize(text)[0].tobytes())
    if not folder.is_dir() or folder.resolve() == out.resolve():
        parser.error(f"{folder} must be a folder, and not the one for the answers")
    found = sorted(folder.glob("*.wav"))
    if not found:
        sys.exit(f"There are no WAV files (*.wav) in {folder}.")
    out.mkdir(parents=True, exist_ok=True)
    todo = [path for path in found if not (out / f"{path.stem}.txt").exists()]
    print(f"{len(found)} questions in {folder}, {len(found) - len(todo)} answered before.", flush=True)
    with (
        LocalServer(brain="voice") as server,  # without it and `base_url`: OpenAI, with OPENAI_API_KEY
        RealtimeModel(base_url=server.url, api_key="local", turn_detection=None) as model,
    ):
        return run(model, todo, out, args.at_once)


if __name__ == "__main__":
    sys.exit(main())
