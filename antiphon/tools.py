"""Tools: functions that the model may call.

`@function_tool` makes one from a function with type hints; the arguments that the model sends are checked
against them. `RawFunctionTool` takes a schema as it is. Nothing here runs a tool by itself: the session does,
and also the app can, with `decode` and `call`.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, overload

import msgspec

from antiphon.mcp_tool import HostedMcpTool
from antiphon.protocol import FunctionToolDef
from antiphon.tool_schema import read_docstring, read_signature

__all__ = [
    "FunctionTool",
    "HostedMcpTool",
    "ProviderTool",
    "RawFunctionTool",
    "Tool",
    "ToolArgumentError",
    "ToolContext",
    "function_tool",
]

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class ToolArgumentError(ValueError):
    """The arguments don't fit the tool; the message tells the model what to put right."""


class FunctionTool:
    """A function with the schema that its signature implies. It can still be called like the function.

    Args:
        fn: A plain function. Parameters annotated with `RealtimeSession`, or named `session` or `context`
            without an annotation, are filled by the engine; all others are the model's to fill.
        name: The name that the model uses; the function's own unless given.
        description: What the model is told; the docstring up to its first section unless given. The
            docstring's `Args` describe the parameters.
        timeout: Seconds after which the engine stops waiting for it; None for the session's default.
        reply: Whether the model is asked to go on once this tool is done.

    Raises:
        TypeError: The signature can't be filled from JSON; the message says which parameter, and why.
        ValueError: The API doesn't take the name, or the timeout isn't positive.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        timeout: float | None = None,
        reply: bool = True,
    ) -> None:
        about, arguments = read_docstring(fn)
        self.fn = fn
        self.name = _checked_name(getattr(fn, "__name__", "") if name is None else name)
        signature = read_signature(fn, self.name, arguments)
        self.description = about if description is None else description
        self.timeout = _checked_timeout(timeout)
        self.reply = reply
        self.parameters: dict[str, Any] = signature.parameters
        self._arguments = signature.arguments
        self._injected = signature.injected

    @property
    def definition(self) -> FunctionToolDef:
        """The tool as the API is told of it."""
        return _definition(self.name, self.description, self.parameters)

    def decode(self, arguments: str) -> dict[str, Any]:
        """Returns keyword arguments for `call` from the JSON that the model wrote; blank counts as none.

        Raises:
            ToolArgumentError: It isn't JSON, or doesn't fit the signature.
        """
        try:
            struct = self._arguments.decode(arguments if arguments.strip() else "{}")
        except (ValueError, RecursionError) as error:
            raise _argument_error(self.name, error) from error
        given = {name: getattr(struct, name) for name in struct.__struct_fields__}
        return {name: value for name, value in given.items() if value is not msgspec.UNSET}

    def call(self, kwargs: Mapping[str, Any], session: object = None) -> Any:
        """Runs the function, on this thread, with what `decode` returned."""
        return self.fn(**kwargs, **dict.fromkeys(self._injected, session))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.fn(*args, **kwargs)

    def __repr__(self) -> str:
        return f"FunctionTool({self.name})"


class RawFunctionTool:
    """A tool whose schema is written by hand.

    Args:
        schema: The whole function schema: `name`, `description`, `parameters`. Other keys (`meta`, `type`,
            `strict`) don't go out.
        fn: Called with one dict, the model's arguments; they are not checked against the schema.
        timeout: Seconds after which the engine stops waiting for it; None for the session's default.
        reply: Whether the model is asked to go on once this tool is done.

    Raises:
        ValueError: The schema has no name, or the timeout isn't positive.
    """

    def __init__(
        self,
        schema: Mapping[str, Any],
        fn: Callable[[dict[str, Any]], Any],
        *,
        timeout: float | None = None,
        reply: bool = True,
    ) -> None:
        name = schema.get("name")
        if not isinstance(name, str) or not name:
            raise ValueError("a raw tool's schema needs the function's name under 'name'")
        self.schema: dict[str, Any] = copy.deepcopy(dict(schema))
        self.fn = fn
        self.name = name
        self.timeout = _checked_timeout(timeout)
        self.reply = reply

    @property
    def definition(self) -> FunctionToolDef:
        """The tool as the API is told of it.

        Raises:
            ValueError: The API can't express it.
        """
        parameters = self.schema.get("parameters", {"type": "object", "properties": {}})
        description = self.schema.get("description", "")
        if not isinstance(parameters, dict) or parameters.get("type") != "object":
            raise ValueError(f"tool {self.name!r}: 'parameters' must be a schema of type 'object'")
        if not isinstance(description, str):
            raise ValueError(f"tool {self.name!r}: 'description' must be a string")
        return _definition(_checked_name(self.name), description, parameters)

    def decode(self, arguments: str) -> dict[str, Any]:
        """Returns the arguments object that the model wrote; blank counts as an empty one.

        Raises:
            ToolArgumentError: It isn't a JSON object.
        """
        try:
            return msgspec.json.decode(arguments if arguments.strip() else "{}", type=dict[str, Any])
        except (ValueError, RecursionError) as error:
            raise _argument_error(self.name, error) from error

    def call(self, kwargs: Mapping[str, Any], session: object = None) -> Any:
        """Runs the function, on this thread, with what `decode` returned; `session` is not passed on."""
        return self.fn(dict(kwargs))

    def __repr__(self) -> str:
        return f"RawFunctionTool({self.name})"


@dataclass(frozen=True, slots=True)
class ProviderTool:
    """A tool that the provider runs on its side. A session keeps it among its tools but doesn't send it."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


Tool: TypeAlias = FunctionTool | RawFunctionTool | HostedMcpTool | ProviderTool


class ToolContext:
    """A set of tools, in order, found by name.

    Args:
        tools: The tools.

    Raises:
        ValueError: Two have the same name.
    """

    def __init__(self, tools: Iterable[Tool] = ()) -> None:
        self._tools: dict[str, Tool] = {}
        for tool in tools:
            if self._tools.setdefault(tool.name, tool) is not tool:
                raise ValueError(f"two tools are named {tool.name!r}")

    @classmethod
    def empty(cls) -> ToolContext:
        """Returns a context without tools."""
        return cls()

    def copy(self) -> ToolContext:
        """Returns a context with the same tools."""
        return ToolContext(self._tools.values())

    def flatten(self) -> list[Tool]:
        """Returns the tools as a list."""
        return list(self._tools.values())

    def get(self, name: str) -> Tool | None:
        """Returns the tool with this name, or None."""
        return self._tools.get(name)

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools.values())

    def __len__(self) -> int:
        return len(self._tools)

    def __contains__(self, name: object) -> bool:
        return name in self._tools

    def __eq__(self, other: object) -> bool:
        return self.flatten() == other.flatten() if isinstance(other, ToolContext) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"ToolContext({self.flatten()!r})"


@overload
def function_tool(fn: Callable[..., Any], /) -> FunctionTool: ...


@overload
def function_tool(
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | None = None,
    reply: bool = True,
) -> Callable[[Callable[..., Any]], FunctionTool]: ...


def function_tool(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | None = None,
    reply: bool = True,
) -> FunctionTool | Callable[[Callable[..., Any]], FunctionTool]:
    """Makes a tool of a function: `@function_tool`, or `@function_tool(timeout=5)`; see `FunctionTool`.

    Example:
        ```python
        @function_tool
        def weather(city: str, unit: Literal["C", "F"] = "C") -> str:
            \"\"\"Tells the weather.

            Args:
                city: Where.
            \"\"\"
            return f"Sunny in {city}, 20 °{unit}"
        ```
    """

    def decorate(function: Callable[..., Any]) -> FunctionTool:
        return FunctionTool(function, name=name, description=description, timeout=timeout, reply=reply)

    return decorate if fn is None else decorate(fn)


def _definition(name: str, description: str, parameters: dict[str, Any]) -> FunctionToolDef:
    return FunctionToolDef(
        name=name, description=description or msgspec.UNSET, parameters=copy.deepcopy(parameters)
    )


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"a tool needs a name of 1 to 64 letters, digits, '_' or '-', not {name!r}")
    return name


def _checked_timeout(timeout: float | None) -> float | None:
    if timeout is not None and not timeout > 0:
        raise ValueError(f"a tool's timeout must be positive, got {timeout!r}")
    return timeout


def _argument_error(name: str, error: Exception) -> ToolArgumentError:
    reason = "the JSON is nested too deeply" if isinstance(error, RecursionError) else error
    return ToolArgumentError(f"Invalid arguments for {name}: {reason}")
