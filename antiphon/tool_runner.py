"""Runs a session's tools for the engine: decodes the arguments, calls the function, words the outcome."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import msgspec

from antiphon.actors.tool_calls import RunningCall, ToolExecutor, ToolResult, failure
from antiphon.tools import FunctionTool, RawFunctionTool, ToolArgumentError, ToolContext

_current = threading.local()


def current_call() -> RunningCall:
    """The call that the calling thread's tool was run for; `cancelled` tells whether it may stop.

    Raises:
        LookupError: Called outside a tool that the engine runs.
    """
    running: RunningCall | None = getattr(_current, "running", None)
    if running is None:
        raise LookupError("current_call() is only there inside a tool that the engine runs")
    return running


def make_executor(tools: ToolContext, session: object, default_timeout: float, limit: int) -> ToolExecutor:
    """An executor for these tools.

    Args:
        tools: The tools.
        session: Handed to tools that take it; not kept alive.
        default_timeout: Seconds for tools that name no timeout of their own.
        limit: How many calls may be under way at once.
    """
    find_session = weakref.ref(session)

    def settings(name: str) -> tuple[float, bool]:
        tool = tools.get(name)
        if not isinstance(tool, FunctionTool | RawFunctionTool):
            return default_timeout, True
        return tool.timeout or default_timeout, tool.reply

    def run(running: RunningCall) -> ToolResult | Future[ToolResult]:
        call = running.call
        tool = tools.get(call.name)
        if not isinstance(tool, FunctionTool | RawFunctionTool):
            known = ", ".join(tool.name for tool in tools) or "none"
            return ToolResult(f"Error: there is no tool {call.name!r}; the tools are: {known}", True)
        try:
            arguments = tool.decode(call.arguments)
        except ToolArgumentError as error:
            return ToolResult(f"Error: {error}", True)
        _current.running = running
        try:
            value = tool.call(arguments, find_session())
        finally:
            _current.running = None
        return _later(call.name, value) if isinstance(value, Future) else _result(value)

    return ToolExecutor(settings, run, limit)


def _later(name: str, value: Future[Any]) -> Future[ToolResult]:
    """A future of the result, for a tool that returned a future."""
    result: Future[ToolResult] = Future()

    def finish(done: Future[Any]) -> None:
        result.set_result(_attempt(name, lambda: _result(done.result())))

    value.add_done_callback(finish)
    return result


def _attempt(name: str, make: Callable[[], ToolResult]) -> ToolResult:
    try:
        return make()
    except BaseException as error:
        return failure(name, error)


def _result(value: Any) -> ToolResult:
    """Text goes to the model as it is, anything else as JSON."""
    if isinstance(value, str):
        return ToolResult(value)
    return ToolResult(msgspec.json.encode(value).decode())
