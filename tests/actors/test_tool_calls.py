"""Tools that the engine runs, whatever becomes of the response, the connection and the actor meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

import antiphon.protocol as p
from antiphon import FunctionTool, RealtimeSession, current_call, function_tool
from antiphon.actors import messages as m
from antiphon.actors.generation_core import GenerationCore

PATIENCE = 10.0


class Model:
    """The server's side: a response that calls `tool`, and what the session says to it."""

    def __init__(self, case: Any, *tools: FunctionTool, **options: Any) -> None:
        self.case = case
        self.ran: list[str] = []
        self.held: list[Callable[[], None]] = []
        # The pool's threads, each as soon as the test says so.
        case.driver.run_tool = self.held.append

        @function_tool
        def note(text: str) -> str:
            self.ran.append(text)
            return f"noted {text}"

        self.session: RealtimeSession = case.session
        self.session.update_tools([note, *tools], auto_execute=True, **options)
        self.case.driver.run()

    def begins(self, response_id: str = "r") -> None:
        self.case.wire.reply(p.ResponseCreated(response=p.Response(id=response_id, status="in_progress")))

    def calls(self, call_id: str, name: str = "note", arguments: str = "", response_id: str = "r") -> None:
        arguments = arguments or f'{{"text": "{call_id}"}}'
        item = p.FunctionCallItem(
            id=f"item_{call_id}", call_id=call_id, name=name, arguments=arguments, status="completed"
        )
        self.case.wire.reply(
            p.ResponseOutputItemAdded(response_id=response_id, output_index=0, item=item),
            p.ConversationItemAdded(previous_item_id=None, item=item),
            p.ResponseOutputItemDone(response_id=response_id, output_index=0, item=item),
        )

    def ends(self, status: str = "completed", response_id: str = "r") -> None:
        self.case.wire.reply(p.ResponseDone(response=p.Response(id=response_id, status=status)))

    def work(self, count: int = 1_000) -> None:
        """Let so many of the pool's threads work."""
        while self.held and count:
            self.held.pop(0)()
            count -= 1
            self.case.driver.run()

    def outputs(self) -> dict[str, str]:
        """What the server was told on this connection, each call once."""
        items = [frame["item"] for frame in self.case.wire.of_type("conversation.item.create")]
        told = [(item["call_id"], item["output"]) for item in items if item["type"] == "function_call_output"]
        assert len(dict(told)) == len(told), "a call was answered twice"
        return dict(told)


def is_refused(output: str) -> bool:
    return "not run" in output and "interrupted" in output


@pytest.mark.parametrize("how", ["interrupt", "cancelled"])
def test_a_call_that_waits_does_not_start_after_an_interruption(case: Any, how: str) -> None:
    model = Model(case)
    model.begins()
    model.calls("early")
    if how == "interrupt":
        model.session.interrupt()
        case.driver.run()
        # It was on its way when the user interrupted.
        model.calls("late")
    model.ends("cancelled")
    model.work()
    assert model.ran == []
    assert set(model.outputs()) == ({"early", "late"} if how == "interrupt" else {"early"})
    assert all(map(is_refused, model.outputs().values()))
    assert case.creates() == []
    assert case.emitted("tool_started") == []
    assert {event.call_id for event in case.emitted("tool_finished")} == set(model.outputs())


def test_the_first_call_of_an_interrupted_response_does_not_start(case: Any) -> None:
    model = Model(case)
    model.begins()
    model.session.interrupt()
    case.driver.run()
    model.calls("late")
    model.ends("cancelled")
    model.work()
    assert model.ran == []
    assert is_refused(model.outputs()["late"])
    assert case.creates() == []


def test_an_interrupted_request_calls_nothing(case: Any) -> None:
    model = Model(case)
    case.reply()
    (request,) = case.creates()
    model.session.interrupt()
    case.driver.run()
    metadata = request["response"]["metadata"]
    case.wire.reply(p.ResponseCreated(response=p.Response(id="r", status="in_progress", metadata=metadata)))
    model.calls("late")
    model.ends("cancelled")
    model.work()
    assert model.ran == []
    assert is_refused(model.outputs()["late"])
    assert len(case.creates()) == 1


def test_a_discarded_response_calls_nothing(case: Any) -> None:
    model = Model(case)
    future = case.reply()
    (request,) = case.creates()
    future.cancel()
    case.driver.run()
    metadata = request["response"]["metadata"]
    case.wire.reply(p.ResponseCreated(response=p.Response(id="r", status="in_progress", metadata=metadata)))
    model.calls("unwanted")
    model.ends("cancelled")
    model.work()
    assert model.ran == []
    assert model.outputs() == {}


def test_a_running_tool_sees_that_it_was_interrupted(case: Any) -> None:
    entered, release = threading.Event(), threading.Event()
    saw: list[bool] = []

    @function_tool
    def slow() -> str:
        running = current_call()
        saw.append(running.cancelled)
        entered.set()
        assert release.wait(PATIENCE)
        saw.append(running.cancelled)
        return "stopped early"

    model = Model(case, slow)
    model.begins()
    model.calls("c", "slow", "{}")
    thread = threading.Thread(target=model.held.pop(), name="antiphon-test-tool")
    thread.start()
    assert entered.wait(PATIENCE)
    case.driver.run()
    model.session.interrupt()
    model.ends("cancelled")
    release.set()
    thread.join(PATIENCE)
    case.driver.run()
    assert saw == [False, True]
    assert model.outputs() == {"c": "stopped early"}
    assert case.creates() == []


def test_current_call_is_only_there_inside_a_tool() -> None:
    with pytest.raises(LookupError, match="inside a tool"):
        current_call()


def test_no_more_calls_are_under_way_than_the_session_may_have(case: Any) -> None:
    model = Model(case, max_parallel=2)
    model.begins()
    for number in range(5):
        model.calls(str(number))
    model.ends()
    assert len(model.held) == 2
    model.work(1)
    assert len(model.held) == 2
    # What waits is not lost when the application takes over from here.
    model.session.update_tools([], auto_execute=False)
    case.driver.run()
    model.work()
    assert model.ran == [str(number) for number in range(5)]
    assert len(model.outputs()) == 5
    assert len(case.creates()) == 1
    with pytest.raises(ValueError, match="max_parallel"):
        model.session.update_tools([], max_parallel=0)


def test_a_tool_that_times_out_makes_room_for_the_next(case: Any) -> None:
    later: Future[str] = Future()

    @function_tool(timeout=3.0)
    def never() -> Future[str]:
        return later

    model = Model(case, never, max_parallel=1)
    model.begins()
    model.calls("never", "never", "{}")
    model.calls("next")
    model.ends()
    model.work()
    assert model.ran == []
    case.driver.advance(3.1)
    model.work()
    assert model.ran == ["next"]
    later.set_result("too late")
    case.driver.run()
    assert model.outputs() == {"never": "Error: the tool did not finish within 3 s.", "next": "noted next"}
    assert len(case.creates()) == 1
    assert [event.name for event in case.emitted("tool_started")] == ["never", "note"]
    assert [event.is_error for event in case.emitted("tool_finished")] == [True, False]


def test_a_call_is_answered_once_through_a_drop(case: Any) -> None:
    model = Model(case)
    model.begins()
    model.calls("c")
    model.ends()
    case.wire.drop()
    model.work()
    case.reconnect()
    items = [frame["item"] for frame in case.wire.of_type("conversation.item.create")]
    assert [item["type"] for item in items] == ["function_call", "function_call_output"]
    assert model.outputs() == {"c": "noted c"}
    for item in items:
        decoded = p.decode_client_event(
            p.encode_client_event({"type": "conversation.item.create", "item": item})
        )
        assert isinstance(decoded, p.ConversationItemCreate)
        case.wire.reply(p.ConversationItemAdded(item=decoded.item))
    case.driver.advance(10.0)
    assert model.outputs() == {"c": "noted c"}
    assert len(case.creates()) == 1


def test_the_call_that_a_drop_cut_off_is_not_begun_twice(case: Any) -> None:
    model = Model(case)
    model.begins()
    model.calls("c")
    model.work()
    case.wire.drop()
    case.reconnect()
    model.begins("again")
    model.calls("c", response_id="again")
    model.ends(response_id="again")
    model.work()
    assert model.ran == ["c"]


@pytest.mark.parametrize("lost", [m.ToolStarted, m.ToolFinished])
def test_a_call_is_answered_once_though_the_actor_fails(
    case: Any, lost: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler, undo = GenerationCore.table[lost]
    failures = [RuntimeError("bug")]

    def failing(self: GenerationCore, message: Any) -> None:
        handler(self, message)
        if failures:
            raise failures.pop()

    monkeypatch.setitem(GenerationCore.table, lost, (failing, undo))
    model = Model(case, timeout=5.0)
    model.begins()
    model.calls("c")
    model.ends()
    model.work()
    case.driver.advance(6.0)
    assert len(case.emitted("actor_restarted")) == 1
    (output,) = model.outputs().values()
    # The unit of loss is one message.
    assert output == "noted c" if lost is m.ToolStarted else "result was lost" in output
    assert len(case.creates()) == 1


def test_a_superseded_response_has_its_calls_answered(case: Any) -> None:
    model = Model(case)
    model.begins("first")
    model.calls("c", response_id="first")
    model.begins("second")
    model.ends(response_id="second")
    model.work()
    assert model.outputs() == {"c": "noted c"}
    assert len(case.creates()) == 1


def test_words_that_the_model_can_act_on(case: Any) -> None:
    model = Model(case)
    model.begins()
    model.calls("kind", arguments='{"text": 7}')
    model.calls("missing", arguments="{}")
    model.calls("unknown", arguments='{"words": "x"}')
    model.calls("broken", arguments='{"text": "x')
    model.calls("nobody", name="nope", arguments="{}")
    model.ends()
    model.work()
    told = model.outputs()
    assert told["kind"].startswith("Error: Invalid arguments for note: Expected `str`, got `int`")
    assert "$.text" in told["kind"]
    assert "missing required field `text`" in told["missing"]
    assert "unknown field `words`" in told["unknown"]
    assert told["broken"].startswith("Error: Invalid arguments for note: ")
    assert told["nobody"] == "Error: there is no tool 'nope'; the tools are: note"
    assert all(event.is_error for event in case.emitted("tool_finished"))
    assert model.ran == []
