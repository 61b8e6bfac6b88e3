"""`antiphon talk`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from antiphon import FunctionTool, RawFunctionTool, RealtimeSession, defaults, function_tool
from antiphon.cli import connect
from antiphon.cli.endings import LOST, NO_DEVICE, end
from antiphon.cli.signals import stop_signal
from antiphon.cli.talk_files import FileCall
from antiphon.cli.talk_keys import Keys
from antiphon.cli.talk_log import CallLog, LogNotes
from antiphon.cli.talk_view import View, make_view
from antiphon.devices import DeviceCall, DeviceError
from antiphon.devices import talk as join_devices

_REFRESH_S: Final = 0.1

Call = DeviceCall | FileCall


def talk(
    base_url: connect.BaseUrl = None,
    model: connect.Model = defaults.MODEL,
    instructions: Annotated[str | None, typer.Option(help="What the model is told to be and do.")] = None,
    voice: Annotated[str, typer.Option(help="The model's voice.")] = defaults.VOICE,
    tool: Annotated[
        list[str] | None,
        typer.Option(metavar="MODULE:FUNCTION", help="A function that the model may call; may be repeated."),
    ] = None,
    in_: Annotated[
        Path | None, typer.Option("--in", help="Speak this 16-bit WAV file instead of the microphone.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="With --in: write what is heard to this WAV file.")] = None,
    microphone: Annotated[str | None, typer.Option(help="Name or number; see `antiphon doctor`.")] = None,
    speaker: Annotated[str | None, typer.Option(help="Name or number; see `antiphon doctor`.")] = None,
    half_duplex: Annotated[
        bool, typer.Option(help="Don't listen while the loudspeaker plays: for use without a headset.")
    ] = False,
    push_to_talk: Annotated[bool, typer.Option(help="Listen only from one space bar to the next.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
    azure_deployment: connect.AzureDeployment = None,
    azure_endpoint: connect.AzureEndpoint = None,
    api_version: connect.ApiVersion = None,
) -> None:
    """Talk with a model, until Ctrl-C or the end of the file.

    The key is read from OPENAI_API_KEY (Azure: AZURE_OPENAI_API_KEY); a server on this machine needs none.
    On a terminal the call is shown live; elsewhere each event is a line.

    Exit codes: 0 the call was closed, by Ctrl-C too; 1 a key, an address, a file or a tool is missing or wrong;
    2 wrong usage; 3 no connection, or it was lost; 4 no microphone or loudspeaker;
    130 Ctrl-C before the call began.
    """
    if out is not None and in_ is None:
        raise typer.BadParameter("--out needs --in")
    if push_to_talk and (in_ is not None or not Keys().available):
        raise typer.BadParameter("--push-to-talk needs a microphone and a terminal")
    try:
        tools = [load_tool(name) for name in tool or ()]
        given = connect.Options(base_url, model, azure_deployment, azure_endpoint, api_version)
        further = {"turn_detection": None} if push_to_talk else {}
        made = connect.make_model(given, voice=voice, **further)
        with made:
            session = made.session(start=False)
            view = make_view(f"{made.model} at {made.provider}", json=json)
            if in_ is not None:
                call: Call = FileCall(session, in_, out)
            else:
                call = join_devices(
                    session,
                    _which(microphone),
                    _which(speaker),
                    echo="half-duplex" if half_duplex else "headset",
                    push_to_talk=push_to_talk,
                )
            if instructions is not None:
                session.update_instructions(instructions)
            if tools:
                session.update_tools(tools, auto_execute=True)
            failure = _hold(session, call, view, push_to_talk)
    except DeviceError as error:
        end(error, NO_DEVICE)
    except (ValueError, OSError, ImportError) as error:
        end(error)
    if failure is not None:
        end(failure, LOST)


def load_tool(name: str) -> FunctionTool | RawFunctionTool:
    """Import a tool, or a function to make one of; modules of the working folder are found too.

    Raises:
        ValueError: There is none of this name, or it can't be a tool; the message says why.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise ValueError(f"--tool takes MODULE:FUNCTION, such as weather:get_weather, not {name!r}")
    sys.path.insert(0, "")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"--tool {name}: {error}") from None
    finally:
        sys.path.remove("")
    if isinstance(found, FunctionTool | RawFunctionTool):
        return found
    if not callable(found):
        raise ValueError(f"--tool {name}: it is no function")
    try:
        return function_tool(found)
    except TypeError as error:
        raise ValueError(f"--tool {name}: {error}") from None


def _hold(session: RealtimeSession, call: Call, view: View, push_to_talk: bool) -> str | None:
    """Talk until it is over; returns what ended the session, if it ended by itself."""
    stop = stop_signal()
    switches = Switches(call, push_to_talk)
    log = CallLog(session, view.tell)
    with view, LogNotes(log), Keys() as keys:
        try:
            session.start()
            while call.running and session.state != "closed" and not stop.wait(_REFRESH_S):
                switches.obey(keys.pressed())
                view.refresh(log, call.levels, switches.status(keys.available))
        finally:
            call.close()
            session.close()
            log.settle()
    return log.failure


class Switches:
    """What the keys do."""

    def __init__(self, call: Call, push_to_talk: bool) -> None:
        self._call = call
        self._push_to_talk = push_to_talk
        self._talking = False

    def obey(self, keys: str) -> None:
        """Do what these keys stand for."""
        for key in keys:
            if key == "m":
                self._call.muted = not self._call.muted
            elif key == " " and self._push_to_talk and isinstance(self._call, DeviceCall):
                self._talking = not self._talking
                (self._call.press if self._talking else self._call.release)()

    def status(self, keys: bool) -> str:
        """What is on, and which keys there are."""
        if isinstance(self._call, FileCall):
            return f"{self._call.position_s:.1f} of {self._call.duration_s:.1f} s spoken · Ctrl-C hangs up"
        parts = [f"no {name}, looking for one" for name in self._call.lost]
        if self._call.muted:
            parts.append("muted")
        if self._push_to_talk:
            parts.append("space: send" if self._talking else "space: talk")
        if keys:
            parts.append("m: unmute" if self._call.muted else "m: mute")
        return " · ".join([*parts, "Ctrl-C hangs up"])


def _which(device: str | None) -> int | str | None:
    return int(device) if device is not None and device.isdigit() else device
