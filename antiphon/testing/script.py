"""A server that plays a script: what to wait for, and what to do then. For tests of the unusual.

A script is TOML:

```toml
brain = "none"            # who answers besides: "none" (only the script), "parrot" or "voice"

[[turn]]
wait = "connect"          # at the start of the connection
do = [{ send = { type = "session.created", session = { type = "realtime" } } }]

[[turn]]
wait = "session.update"   # when the client sends this
where = { "session.type" = "realtime" }  # only if these fields have these values
do = [
    { delay = 0.2 },                                                    # wait, in seconds
    { send = { type = "session.updated", session = "$session" } },      # "$path": from the event that was awaited
    { raw = '{"type": "oops' },                                         # text, as it is
    { binary = "00ff" },                                                # a binary frame, in hex
    { error = { code = "rate_limit_exceeded", message = "Slow down." } },
]

[[turn]]
after = "response.output_audio.delta"  # when the server has sent this (with a brain that answers)
count = 3                              # the third time
do = [{ drop = true }]                 # cut the socket off; { close = 1011, reason = "why" } closes it properly
```

Turns happen in order: one that waits is not looked at before those above it have happened. `each = true` makes a turn
that stands beside the order and happens each time. `swallow = true` keeps the awaited event from the brain. An event
that is sent without an `event_id` is given one.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from antiphon.testing.apierror import ApiError
from antiphon.testing.ids import new_id
from antiphon.testing.log import frame_type

Json = dict[str, Any]
BrainName = Literal["none", "parrot", "voice"]


class Turn(msgspec.Struct, forbid_unknown_fields=True):
    """One turn of a script; the fields are explained above."""

    do: list[Json]
    wait: str = ""
    after: str = ""
    where: dict[str, Any] = {}
    count: int = 1
    each: bool = False
    swallow: bool = False


class Script(msgspec.Struct, forbid_unknown_fields=True):
    """A whole script."""

    turn: list[Turn] = []
    brain: BrainName = "none"

    @classmethod
    def parse(cls, text: str) -> Script:
        """Read a script from TOML.

        Raises:
            ValueError: It is no TOML, or no script; the message says where.
        """
        try:
            script = msgspec.convert(tomllib.loads(text), cls)
        except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
            raise ValueError(f"not a script: {error}") from None
        for number, turn in enumerate(script.turn, 1):
            if bool(turn.wait) == bool(turn.after):
                raise ValueError(f"not a script: turn {number} needs one of `wait` and `after`")
            for step in turn.do:
                _check(step, number)
        return script

    @classmethod
    def load(cls, path: str | Path) -> Script:
        """Read a script from a file.

        Raises:
            ValueError: As for `parse`; the message names the file.
            OSError: The file can't be read.
        """
        try:
            return cls.parse(Path(path).read_text("utf-8"))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None


_KINDS: Final = ("send", "error", "raw", "binary", "delay", "close", "drop")


def _check(step: Json, number: int) -> None:
    known = [kind for kind in _KINDS if kind in step]
    extra = [key for key in step if key not in (*known, "reason")]
    if len(known) != 1 or extra:
        raise ValueError(
            f"not a script: turn {number} has a step {step!r}; it needs one of {', '.join(_KINDS)}"
        )


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do: send a frame, wait, or end the connection (with a close code, or by cutting it off)."""

    frame: bytes | None = None
    binary: bool = False
    delay: float = 0.0
    close: int | None = None
    reason: str = ""


class ScriptPlayer:
    """Plays one script on one connection. It does no I/O; it is told what happens and says what to do."""

    def __init__(self, script: Script) -> None:
        self._ordered = [turn for turn in script.turn if not turn.each]
        self._each = [turn for turn in script.turn if turn.each]
        self._next = 0
        self._seen = 0

    def connected(self) -> list[Action]:
        """The connection is open."""
        return self._happened("wait", "connect", {})[0]

    def received(self, frame: bytes) -> tuple[list[Action], bool]:
        """The client sent a frame. Returns what to do, and whether the brain must not see it."""
        try:
            event = msgspec.json.decode(frame)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            event = {}
        return self._happened("wait", frame_type(frame), event if isinstance(event, dict) else {})

    def sent(self, kind: str) -> list[Action]:
        """The server sent an event of this type."""
        return self._happened("after", kind, {})[0]

    def _happened(self, key: str, kind: str, event: Json) -> tuple[list[Action], bool]:
        matched = [turn for turn in self._each if _matches(turn, key, kind, event)]
        if self._next < len(self._ordered) and _matches(self._ordered[self._next], key, kind, event):
            turn = self._ordered[self._next]
            self._seen += 1
            if self._seen >= turn.count:
                self._next += 1
                self._seen = 0
                matched.append(turn)
        actions = [action for turn in matched for step in turn.do for action in _actions(step, event)]
        return actions, any(turn.swallow for turn in matched)


def _matches(turn: Turn, key: str, kind: str, event: Json) -> bool:
    wanted = turn.wait if key == "wait" else turn.after
    return (
        wanted != ""
        and wanted == kind
        and all(_at(event, path) == value for path, value in turn.where.items())
    )


def _at(event: Json, path: str) -> Any:
    value: Any = event
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _filled(value: Any, event: Json) -> Any:
    """Replace each string "$path" by what the awaited event has there."""
    if isinstance(value, str) and value.startswith("$"):
        return _at(event, value[1:])
    if isinstance(value, dict):
        return {key: _filled(inner, event) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, event) for inner in value]
    return value


def _actions(step: Json, event: Json) -> Iterator[Action]:
    if "send" in step:
        yield Action(msgspec.json.encode({"event_id": new_id("event"), **_filled(step["send"], event)}))
    elif "error" in step:
        detail = _filled(step["error"], event)
        error = ApiError(
            detail.get("message", ""),
            detail.get("code", ""),
            detail.get("param"),
            detail.get("type", "invalid_request_error"),
        )
        yield Action(msgspec.json.encode(error.event(detail.get("event_id", event.get("event_id")))))
    elif "raw" in step:
        yield Action(step["raw"].encode())
    elif "binary" in step:
        yield Action(bytes.fromhex(step["binary"]), binary=True)
    elif "delay" in step:
        yield Action(delay=step["delay"])
    else:
        yield Action(close=step.get("close"), reason=step.get("reason", ""))
