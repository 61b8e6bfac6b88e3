"""For tests and for work without a network: a local Realtime server, speech, and the fake clock of the engine.

Names are loaded when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from antiphon.testing.driver import Driver as Driver
    from antiphon.testing.driver import FakeWire as FakeWire
    from antiphon.testing.localserver import LocalServer as LocalServer
    from antiphon.testing.log import EventLog as EventLog
    from antiphon.testing.log import Record as Record
    from antiphon.testing.mcp import McpFailure as McpFailure
    from antiphon.testing.mcp import McpServer as McpServer
    from antiphon.testing.replayserver import ReplayServer as ReplayServer
    from antiphon.testing.replayserver import replay as replay
    from antiphon.testing.script import Script as Script
    from antiphon.testing.speech import synthesize as synthesize
    from antiphon.testing.speech import transcribe as transcribe

_MODULES = {
    "Driver": "driver",
    "FakeWire": "driver",
    "LocalServer": "localserver",
    "EventLog": "log",
    "McpFailure": "mcp",
    "McpServer": "mcp",
    "Record": "log",
    "ReplayServer": "replayserver",
    "Script": "script",
    "replay": "replayserver",
    "synthesize": "speech",
    "transcribe": "speech",
}

__all__ = [
    "Driver",
    "EventLog",
    "FakeWire",
    "LocalServer",
    "McpFailure",
    "McpServer",
    "Record",
    "ReplayServer",
    "Script",
    "replay",
    "synthesize",
    "transcribe",
]


def __getattr__(name: str) -> Any:
    try:
        module = _MODULES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
