"""Tools that run themselves: every call gets one output, and the model is asked to go on after the last."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import msgspec

from antiphon.actors import messages as m
from antiphon.actors.chat import FunctionCall, FunctionCallOutput, to_item
from antiphon.actors.core import Arm, Core, Disarm, handles
from antiphon.actors.events import ToolFinishedEvent, ToolStartedEvent
from antiphon.actors.generation import Generation
from antiphon.actors.logs import get_logger
from antiphon.actors.undo import Undoable, UndoDict

logger = get_logger("antiphon.tools")

NOT_RUN = "Error: the call was not run, because the response was interrupted."
# Of so many calls it is known that they were begun, so that one that comes twice doesn't run twice.
REMEMBERED_CALLS = 512
RESULT_LOST = "Error: the call was run, but its result was lost."


class ToolResult(msgspec.Struct, frozen=True):
    """What came of a call.

    Attributes:
        output: Text for the model.
        is_error: Whether the tool failed.
    """

    output: str
    is_error: bool = False


class RunningCall:
    """One call on its way through the tool pool; shared by the engine and the tool's thread.

    Attributes:
        call: What the model asked for.
        timeout: Seconds that it may run.
        reply: Whether the model is to go on when it is done.
    """

    def __init__(self, call: FunctionCall, timeout: float, reply: bool) -> None:
        self.call = call
        self.timeout = timeout
        self.reply = reply
        self._lock = threading.Lock()
        self._started = False
        self._cancelled = False

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for the output any more: a long-running tool may stop."""
        return self._cancelled

    def begin(self) -> bool:
        """Claim the call for running; False when it was cancelled before."""
        with self._lock:
            if self._cancelled:
                return False
            self._started = True
            return True

    def cancel(self) -> bool:
        """Cancel the call; True when it had not started, and now never will."""
        with self._lock:
            self._cancelled = True
            return not self._started


class ToolExecutor(msgspec.Struct, frozen=True):
    """How the application's tools are found and run; the engine knows nothing of their kind.

    Attributes:
        settings: Returns a tool's timeout in seconds and whether the model is to go on after it, by name.
        run: Runs a call on the calling thread; returns its result, or a future of it.
        limit: How many of the session's calls may be under way at once.
    """

    settings: Callable[[str], tuple[float, bool]]
    run: Callable[[RunningCall], ToolResult | Future[ToolResult]]
    limit: int


class RunTool(msgspec.Struct, frozen=True):
    """Have a call run on the tool pool."""

    running: RunningCall
    executor: ToolExecutor


class _Batch(Undoable):
    """The calls of one response."""

    def __init__(self) -> None:
        self.open: dict[str, RunningCall] = {}
        self.complete = False
        self.interrupted = False
        self.wants_reply = False


class ToolCalls(Core):
    """The part of the GenerationActor that runs tools. Off until the application hands over an executor."""

    def __init__(self) -> None:
        super().__init__()
        self.executor: ToolExecutor | None = None
        self._batches: dict[str, _Batch] = {}
        # Every call id that was begun: a call seen twice must not run twice.
        self._begun: UndoDict[str, None] = UndoDict()
        # Calls that the pool has, by id, and those that wait until there are fewer.
        self._in_pool: set[str] = set()
        self._waiting: deque[RunTool] = deque()

    @property
    def calls_waiting(self) -> int:
        """How many calls wait until fewer are under way."""
        return len(self._waiting)

    def request_reply(self) -> None:
        """Ask the model to go on; the arbiter finds the moment."""
        raise NotImplementedError

    @handles(m.SetToolExecutor)
    def set_executor(self, message: m.SetToolExecutor) -> None:
        """Run tools from now on, or leave calls to the application."""
        self.executor = message.executor

    def run_call(self, generation: Generation, call: FunctionCall) -> None:
        """A call is complete: run it, if tools are to be run."""
        if self.executor is None or call.call_id in self._begun:
            return
        self._begun[call.call_id] = None
        self._begun.keep_newest(REMEMBERED_CALLS)
        timeout, reply = self.executor.settings(call.name)
        running = RunningCall(call, timeout, reply)
        batch = self._batches.setdefault(generation.id, _Batch())
        batch.open[call.call_id] = running
        if batch.interrupted:
            running.cancel()
            self._finish(call.call_id, ToolResult(NOT_RUN, True))
        else:
            self._waiting.append(RunTool(running, self.executor))
            self._start_waiting()

    @handles(m.ToolStarted)
    def tool_started(self, message: m.ToolStarted) -> None:
        """A tool's thread has begun: its time runs."""
        running = self._running(message.call_id)
        if running is None:
            return
        self.do(Arm(("tool", message.call_id), running.timeout))
        call = running.call
        self.emit(
            "tool_started",
            ToolStartedEvent(call_id=call.call_id, name=call.name, arguments=call.arguments),
        )

    @handles(m.ToolFinished)
    def tool_finished(self, message: m.ToolFinished) -> None:
        """A tool is done; one that was given up before has had its output."""
        self._finish(message.call_id, message.result)

    def tool_timed_out(self, call_id: str) -> None:
        """A tool takes too long: the model is told, and the tool that it need not go on."""
        running = self._running(call_id)
        if running is not None:
            running.cancel()
            seconds = f"{running.timeout:g} s"
            self._finish(call_id, ToolResult(f"Error: the tool did not finish within {seconds}.", True))

    def interrupt_calls(self, generation: Generation) -> None:
        """A response was cut off: what has not started doesn't start, what runs may stop."""
        # There may be none yet: calls that are on their way don't start either.
        batch = self._batches.setdefault(generation.id, _Batch())
        batch.interrupted = True
        for call_id, running in list(batch.open.items()):
            if running.cancel():
                self._finish(call_id, ToolResult(NOT_RUN, True))

    def calls_complete(self, generation: Generation, interrupted: bool) -> None:
        """The response is done: no more calls of it will come."""
        batch = self._batches.get(generation.id)
        if batch is None:
            return
        if interrupted:
            self.interrupt_calls(generation)
        batch.complete = True
        self._reply_after_the_last(generation.id)

    def drop_calls(self) -> None:
        """The session ends: nothing that still runs is waited for."""
        for batch in self._batches.values():
            for running in batch.open.values():
                running.cancel()
                self.do(Disarm(("tool", running.call.call_id)))
        self._batches.clear()
        self._waiting.clear()

    def _start_waiting(self) -> None:
        while self._waiting and len(self._in_pool) < self._waiting[0].executor.limit:
            effect = self._waiting.popleft()
            if not effect.running.cancelled:
                self._in_pool.add(effect.running.call.call_id)
                self.do(effect)

    def _running(self, call_id: str) -> RunningCall | None:
        return next((b.open[call_id] for b in self._batches.values() if call_id in b.open), None)

    def _finish(self, call_id: str, result: ToolResult) -> None:
        generation_id = next((key for key, batch in self._batches.items() if call_id in batch.open), None)
        if generation_id is None:
            return
        batch = self._batches[generation_id]
        running = batch.open.pop(call_id)
        self._in_pool.discard(call_id)
        self.do(Disarm(("tool", call_id)))
        batch.wants_reply = batch.wants_reply or running.reply
        output = FunctionCallOutput(call_id, result.output, is_error=result.is_error)
        self.tell(m.CHAT_CTX, m.CreateItem(to_item(output)))
        self.emit(
            "tool_finished",
            ToolFinishedEvent(
                call_id=call_id,
                name=running.call.name,
                output=result.output,
                is_error=result.is_error,
            ),
        )
        self._start_waiting()
        self._reply_after_the_last(generation_id)

    def _reply_after_the_last(self, generation_id: str) -> None:
        batch = self._batches[generation_id]
        if batch.open or not batch.complete:
            return
        del self._batches[generation_id]
        if batch.wants_reply and not batch.interrupted:
            self.request_reply()


def run_on_pool(running: RunningCall, executor: ToolExecutor, tell: Callable[[m.Message], None]) -> None:
    """Run a call on a tool thread and report.

    Args:
        running: The call.
        executor: Runs it.
        tell: Sends a message to the GenerationActor.
    """
    call_id = running.call.call_id
    if not running.begin():
        # Whoever cancelled it has seen to its output, unless that was lost with an actor that failed.
        tell(m.ToolFinished(call_id, ToolResult(NOT_RUN, is_error=True)))
        return
    tell(m.ToolStarted(call_id))
    try:
        result = executor.run(running)
    except BaseException as error:
        # SystemExit too: whatever a tool does, the model gets an answer.
        result = failure(running.call.name, error)
    if isinstance(result, Future):
        result.add_done_callback(
            lambda done: tell(m.ToolFinished(call_id, _outcome(running.call.name, done)))
        )
    else:
        tell(m.ToolFinished(call_id, result))


def failure(name: str, error: BaseException) -> ToolResult:
    """What the model is told of a tool's exception: its kind and message, no traceback; that is for the log."""
    logger.warning("the tool %r failed, and the model is told so", name, exc_info=error)
    words = str(error)
    return ToolResult(f"Error: {type(error).__name__}" + (f": {words}" if words else ""), is_error=True)


def _outcome(name: str, done: Future[Any]) -> ToolResult:
    try:
        result: ToolResult = done.result()
    except BaseException as error:
        return failure(name, error)
    return result
