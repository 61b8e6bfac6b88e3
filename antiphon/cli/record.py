"""`antiphon record`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from antiphon import RealtimeSession, defaults
from antiphon.cli import connect
from antiphon.cli.endings import LOST, NO_DEVICE, end
from antiphon.cli.signals import stop_signal
from antiphon.cli.talk_files import FileCall, refuse_same_file
from antiphon.devices import DeviceCall, DeviceError
from antiphon.devices import talk as join_devices
from antiphon.recording import Recording, read, save_mix

_LOOK_S: Final = 0.1


def record(
    file: Annotated[Path, typer.Argument(help="Where to write the lines, such as call.jsonl.")],
    in_: Annotated[
        Path | None, typer.Option("--in", help="Speak this 16-bit WAV file instead of the microphone.")
    ] = None,
    mix: Annotated[
        Path | None, typer.Option(help="Write both voices into this file, too, such as call.flac.")
    ] = None,
    base_url: connect.BaseUrl = None,
    model: connect.Model = defaults.MODEL,
    instructions: Annotated[str | None, typer.Option(help="What the model is told to be and do.")] = None,
    azure_deployment: connect.AzureDeployment = None,
    azure_endpoint: connect.AzureEndpoint = None,
    api_version: connect.ApiVersion = None,
) -> None:
    """Make a call, until Ctrl-C or the end of the file, and record it.

    `antiphon replay FILE` serves it again. The key is read from OPENAI_API_KEY (Azure: AZURE_OPENAI_API_KEY); it is not
    recorded, but what is said is.

    Exit codes: 0 the call was closed, by Ctrl-C too; 1 a key, an address or a file is missing or wrong; 2 wrong
    usage; 3 no connection, or it was lost; 4 no microphone or loudspeaker; 130 Ctrl-C before the call began.
    """
    given = connect.Options(base_url, model, azure_deployment, azure_endpoint, api_version)
    try:
        if mix is not None and in_ is not None:
            refuse_same_file(in_, "--mix", mix)
        with connect.make_model(given) as made:
            session = made.session(start=False)
            errors = session.events("error")
            if instructions is not None:
                session.update_instructions(instructions)
            call = FileCall(session, in_, None) if in_ is not None else join_devices(session)
            _hold(session, call, file)
        recording = read(file)
        if mix is not None:
            save_mix(recording, mix)
    except DeviceError as error:
        end(error, NO_DEVICE)
    except (ValueError, OSError, ImportError) as error:
        end(error)
    typer.echo(_summary(recording))
    fatal = [payload.error for _, payload in errors if not payload.recoverable]
    if fatal:
        end(fatal[0], LOST)


def _hold(session: RealtimeSession, call: FileCall | DeviceCall, file: Path) -> None:
    stopped = stop_signal()
    try:
        # Not before the call is there: without one no files are left that would be in the next attempt's way.
        session.record(file)
        session.start()
        typer.echo("antiphon: recording (Ctrl-C stops it)")
        while call.running and session.state != "closed" and not stopped.wait(_LOOK_S):
            pass
    finally:
        call.close()
        session.close()


def _summary(recording: Recording) -> str:
    seconds = recording.lines[-1].t
    answers = sum(line.type == "response.done" for line in recording.frames)
    return f"antiphon: {recording.path} holds {seconds:.1f} s, answers: {answers}"
