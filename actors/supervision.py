"""How a session's supervisor behaves: a configuration that can stand in a file."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Restart = Literal["permanent", "transient", "temporary"]
Strategy = Literal["one_for_one", "rest_for_one", "one_for_all"]

Overflow = Literal["block", "drop_oldest", "fail"]

_Window = Annotated[float, Meta(gt=0, le=86_400)]
_Delay = Annotated[float, Meta(ge=0, le=3600)]
_Count = Annotated[int, Meta(ge=1)]


class Backoff(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Seconds before an actor is started again: `initial`, times `factor` at each failure, up to `max`.

    Attributes:
        initial: Seconds before the first restart, 0 to 3600.
        max: Seconds at most, 0 to 3600.
        factor: 1 or more.
        jitter: A random part of the delay, 0 to 1, added or taken away.
    """

    initial: _Delay = 0.05
    max: _Delay = 2.0
    factor: Annotated[float, Meta(ge=1)] = 2.0
    jitter: Annotated[float, Meta(ge=0, le=1)] = 0.0

    def delay(self, failures: int, random: float) -> float:
        """Seconds before a restart.

        Args:
            failures: How many there were in the window, this one included; from 1.
            random: Evenly from 0 to 1.
        """
        grown = min(self.max, self.initial * self.factor ** (failures - 1))
        return grown * (1 + self.jitter * (2 * random - 1))


class Mailbox(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much mail an actor may have waiting.

    Attributes:
        limit: Messages.
        overflow: "block": the connection stops reading its socket until half of it is done; "drop_oldest";
            "fail": the newest message is refused, its future fails.
    """

    limit: _Count = 10_000
    overflow: Overflow = "block"


class ActorPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happens when one actor fails.

    Attributes:
        restart: "permanent": it is started again; "transient": only after a failure, which is the same for
            actors that never end by themselves; "temporary": it stays away, and what is sent to it is refused.
        max_restarts: More than so many failures within `within` seconds, and the session closes.
        within: Seconds, above 0, at most 86,400.
        backoff: How long to wait before starting it again.
        mailbox: How much mail may wait.
    """

    restart: Restart = "permanent"
    max_restarts: Annotated[int, Meta(ge=0)] = 3
    within: _Window = 5.0
    backoff: Backoff = Backoff()
    mailbox: Mailbox = Mailbox()


class SupervisorConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How sessions are supervised. The defaults suit most programs.

    Attributes:
        strategy: What is started again with an actor that failed: itself, also those started after it, or all.
        chat_ctx: Policy of the ChatCtxActor.
        generation: Policy of the GenerationActor.
        audio_in: Policy of the AudioInActor.
        connection: Policy of the ConnectionActor.
    """

    strategy: Strategy = "one_for_one"
    chat_ctx: ActorPolicy = ActorPolicy()
    generation: ActorPolicy = ActorPolicy()
    audio_in: ActorPolicy = ActorPolicy()
    connection: ActorPolicy = ActorPolicy()

    def policy(self, actor: str) -> ActorPolicy:
        """The policy of the actor with this address."""
        policy: ActorPolicy = getattr(self, actor)
        return policy

    @classmethod
    def load(cls, path: str | Path) -> SupervisorConfig:
        """Read a TOML, JSON or YAML file.

        Raises:
            ValueError: The file can't be read as one; the message names file, key, and what is allowed.
            ImportError: YAML needs the extra `yaml`.
        """
        return ConfigFile.load(path).supervisor


class EngineConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many threads an engine has.

    Attributes:
        workers: Threads on which sessions run.
        io_threads: Threads that watch sockets.
        tool_workers: Tools that may run at once.
        dispatcher: "pool": sessions share the workers; "thread": each has one of its own, for debugging.
    """

    workers: _Count = 2
    io_threads: _Count = 1
    tool_workers: _Count = 32
    dispatcher: Literal["pool", "thread"] = "pool"


class ConfigFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may stand in a configuration file."""

    supervisor: SupervisorConfig = SupervisorConfig()
    engine: EngineConfig = EngineConfig()

    @classmethod
    def load(cls, path: str | Path) -> ConfigFile:
        """Read a TOML, JSON or YAML file.

        Raises:
            ValueError: The file can't be read as one; the message names file, key, and what is allowed.
            ImportError: YAML needs the extra `yaml`.
        """
        path = Path(path)
        try:
            data = _parse(path)
        except OSError as error:
            # Not there, a directory, not to be read by this user.
            raise ValueError(f"{path}: can't be read: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: {error}") from None
        try:
            return msgspec.convert(data, cls)
        except msgspec.ValidationError as error:
            raise ValueError(f"{path}: {_explain(str(error))}") from None


def _parse(path: Path) -> Any:
    kind = path.suffix.lower()
    if kind == ".toml":
        return tomllib.loads(path.read_text("utf-8"))
    if kind == ".json":
        return msgspec.json.decode(path.read_bytes())
    if kind in (".yaml", ".yml"):
        try:
            return msgspec.yaml.decode(path.read_bytes())
        except ImportError:
            raise ImportError("YAML files need PyYAML: pip install 'antiphon[yaml]'") from None
    raise ValueError(f"{path}: the name must end in .toml, .json, .yaml or .yml")


def _explain(message: str) -> str:
    """msgspec's complaint with the key in front, as it stands in the file, and with what is allowed there."""
    complaint, _, path = message.partition(" - at `$")
    keys = [key for key in path.rstrip("`").split(".") if key]
    where = ".".join(keys) or "the top level"
    allowed = _allowed(keys)
    return f"{where}: {complaint}" + (f"; allowed: {allowed}" if allowed else "")


def _allowed(keys: list[str]) -> str:
    """What may stand under these keys: a struct's fields, an enumeration's values, or a number's range."""
    kind: Any = ConfigFile
    for key in keys:
        field = next((f for f in msgspec.structs.fields(kind) if f.encode_name == key), None)
        if field is None:
            return ""
        kind = field.type
    described = msgspec.inspect.type_info(kind)
    if isinstance(described, msgspec.inspect.StructType):
        return ", ".join(field.encode_name for field in described.fields)
    if isinstance(described, msgspec.inspect.LiteralType):
        return ", ".join(str(value) for value in described.values)
    if isinstance(described, msgspec.inspect.FloatType | msgspec.inspect.IntType):
        limits = [
            f"{words} {limit:g}"
            for words, limit in (
                ("above", described.gt),
                ("at least", described.ge),
                ("at most", described.le),
            )
            if limit is not None
        ]
        number = "a whole number" if isinstance(described, msgspec.inspect.IntType) else "a number"
        return f"{number} {' and '.join(limits)}".strip()
    return ""
