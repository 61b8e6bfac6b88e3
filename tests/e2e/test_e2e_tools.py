"""Tools: called by the application, and run by the engine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from e2e_harness import PATIENCE, Line, drain, fence, kinds, model_for, push, read, spoken, words, write

from antiphon import (
    FunctionCallOutput,
    RawFunctionTool,
    RealtimeSession,
    ServerVad,
    current_call,
    function_tool,
)
from antiphon.protocol import MessageItem
from antiphon.testing import LocalServer, transcribe
from antiphon.testing.brains.base import Call, Output, Request, Say, Sound

VAD = ServerVad(silence_duration_ms=400)
WEATHER = "What is the weather in San Francisco?"


class Caller:
    """A brain that calls what the user's text lists, as [[name, arguments], …], and then says thanks."""

    def warm(self) -> None:
        """Nothing to load."""

    def hear(self, sound: Sound) -> str:
        """Not asked for."""
        return ""

    def respond(self, request: Request) -> Iterator[Output]:
        """Call, or say thanks."""
        last = request.turns[-1]
        if isinstance(last.item, MessageItem) and last.text.startswith("["):
            for name, arguments in json.loads(last.text):
                yield Call(name, arguments if isinstance(arguments, str) else json.dumps(arguments))
        else:
            yield Say("Thanks.")


def ask_for(line: Line, *calls: tuple[str, Any]) -> list[str]:
    """Have the model call these; returns the call ids, once the response with the calls is done."""
    write(line.session, json.dumps(calls))
    generation = line.session.generate_reply().result(PATIENCE)
    made = drain(generation.function_stream)
    assert [call.name for call in made] == [name for name, _ in calls]
    assert generation.done.result(PATIENCE).status == "completed"
    assert line.generation() is generation
    return [call.call_id for call in made]


def outputs(server: LocalServer) -> dict[str, str]:
    """What the server was told, by call id; each once."""
    items = [event["item"] for event in kinds(server, "conversation.item.create")]
    told = [(item["call_id"], item["output"]) for item in items if item["type"] == "function_call_output"]
    assert len(dict(told)) == len(told), "a call was answered twice"
    return dict(told)


def requests_after_the_last_output(server: LocalServer) -> int:
    """How many response.create came after the last output; asserts that none came between the outputs."""
    order = []
    for record in server.log.received():
        if record.type == "response.create":
            order.append("request")
        elif record.type == "conversation.item.create" and "output" in record.event["item"]:
            order.append("output")
    first = order.index("output")
    last = len(order) - 1 - order[::-1].index("output")
    assert "request" not in order[first:last]
    return order[last:].count("request")


def test_the_application_answers_a_spoken_call(serve) -> None:
    @function_tool
    def get_weather(city: str) -> str:
        """Tell the weather in a city."""
        raise AssertionError("the engine was not asked to run it")

    server = serve("voice", pace=20)
    with model_for(server, turn_detection=VAD) as model:
        line = Line(model)
        line.session.update_tools([get_weather])
        push(line.session, spoken(WEATHER), 48_000)
        (call,) = drain(line.generation().function_stream)
        assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "San Francisco"})
        context = line.session.chat_ctx
        context.insert(FunctionCallOutput(call.call_id, "It is snowing in San Francisco."))
        report = line.session.update_chat_ctx(context)
        assert len(report.created) == 1
        assert not report.rejected
        answer = read(line.session.generate_reply().result(PATIENCE))
        assert "francisco" in words(transcribe(answer.samples, 24_000))
        assert answer.text == "It is snowing in San Francisco."
        assert outputs(server) == {call.call_id: "It is snowing in San Francisco."}
        assert [item.type for item in line.session.chat_ctx.items] == [
            "message",
            "function_call",
            "function_call_output",
            "message",
        ]
        assert line.close() == []


def test_the_engine_answers_a_spoken_call(serve) -> None:
    asked = []

    @function_tool
    def get_weather(city: str) -> str:
        """Tell the weather in a city."""
        asked.append((city, threading.current_thread().name))
        return f"The weather in {city} is windy."

    server = serve("voice", pace=20)
    with model_for(server, turn_detection=VAD) as model:
        line = Line(model)
        line.session.update_tools([get_weather], auto_execute=True)
        push(line.session, spoken(WEATHER), 48_000)
        (call,) = drain(line.generation().function_stream)
        second = line.generation()
        answer = read(second)
        assert answer.text == "The weather in San Francisco is windy."
        assert {"weather", "san", "francisco"} <= words(transcribe(answer.samples, 24_000))
        ((city, thread),) = asked
        assert city == "San Francisco"
        assert thread.startswith("antiphon-tool")
        assert outputs(server) == {call.call_id: "The weather in San Francisco is windy."}
        assert requests_after_the_last_output(server) == 1
        assert line.close() == []


def test_every_kind_of_outcome_is_told_once_and_the_reply_is_asked_for_once(serve, caplog) -> None:
    later: Future[dict[str, int]] = Future()
    sessions = []

    @function_tool
    def plain(number: int) -> int:
        return number + 1

    @function_tool
    def slow() -> Future[dict[str, int]]:
        return later

    @function_tool
    def wrong() -> str:
        raise LookupError("no such flight")

    @function_tool
    def rude() -> str:
        raise SystemExit(3)

    @function_tool(timeout=0.2)
    def endless() -> str:
        running = current_call()
        assert not running.cancelled
        assert answered.wait(PATIENCE)
        assert running.cancelled
        returned.set()
        return "too late"

    @function_tool(reply=False)
    def silent(session: RealtimeSession) -> None:
        sessions.append(session)

    raw = RawFunctionTool({"name": "raw", "parameters": {"type": "object"}}, lambda given: sorted(given))
    answered, returned = threading.Event(), threading.Event()

    server = serve(Caller())
    with model_for(server, modalities=["text"], turn_detection=None) as model:
        line = Line(model)
        line.session.update_tools([plain, slow, wrong, rude, endless, silent, raw], auto_execute=True)
        ids = ask_for(
            line,
            ("plain", {"number": 41}),
            ("slow", {}),
            ("wrong", {}),
            ("rude", {}),
            ("endless", {}),
            ("silent", {}),
            ("raw", {"b": 1, "a": 2}),
            ("plain", {"number": "many"}),
            ("plain", "{not json"),
            ("unheard_of", {}),
        )
        finished = [line.tools.get(PATIENCE)[1] for _ in range(9)]
        assert not kinds(server, "response.create")[1:], "asked for before the last output"
        later.set_result({"seats": 3})
        finished.append(line.tools.get(PATIENCE)[1])
        assert read(line.generation()).text == "Thanks."
        answered.set()
        assert returned.wait(PATIENCE)
        fence(line.session)

        told = outputs(server)
        assert set(told) == set(ids)
        plain_, slow_, wrong_, rude_, endless_, silent_, raw_, misfit_, broken_, unknown_ = (
            told[i] for i in ids
        )
        assert plain_ == "42"
        assert json.loads(slow_) == {"seats": 3}
        assert wrong_ == "Error: LookupError: no such flight"
        assert rude_.startswith("Error: SystemExit")
        logged = [record for record in caplog.records if record.name == "antiphon.tools"]
        assert sorted(record.getMessage() for record in logged) == [
            "the tool 'rude' failed, and the model is told so",
            "the tool 'wrong' failed, and the model is told so",
        ]
        assert all(record.exc_info for record in logged)
        assert "did not finish within 0.2 s" in endless_
        assert silent_ == "null"
        assert json.loads(raw_) == ["a", "b"]
        assert "number" in misfit_
        assert "plain" in broken_
        assert "unheard_of" in unknown_
        assert not any("Traceback" in text for text in told.values())
        errors = {event.call_id for event in finished if event.is_error}
        assert errors == {ids[2], ids[3], ids[4], ids[7], ids[8], ids[9]}
        assert requests_after_the_last_output(server) == 1
        assert sessions == [line.session]
        sessions.clear()
        assert line.close() == []


def test_a_tool_that_wants_no_reply_gets_none(serve) -> None:
    @function_tool(reply=False)
    def note(text: str) -> str:
        """Write something down."""
        return f"noted: {text}"

    server = serve(Caller())
    with model_for(server, modalities=["text"], turn_detection=None) as model:
        line = Line(model)
        line.session.update_tools([note], auto_execute=True)
        ids = ask_for(line, ("note", {"text": "one"}), ("note", {"text": "two"}))
        for _ in ids:
            line.tools.get(PATIENCE)
        assert not line.session.has_active_generation
        fence(line.session)
        assert outputs(server) == dict(zip(ids, ["noted: one", "noted: two"], strict=True))
        assert requests_after_the_last_output(server) == 0
        assert line.close() == []


def test_rounds_of_calls_do_not_mix(serve) -> None:
    @function_tool
    def double(number: int) -> int:
        return 2 * number

    server = serve(Caller())
    with model_for(server, modalities=["text"], turn_detection=None) as model:
        line = Line(model)
        line.session.update_tools([double], auto_execute=True)
        expected = {}
        for number in range(10):
            for place, call_id in enumerate(
                ask_for(line, *[("double", {"number": number + k}) for k in range(3)])
            ):
                expected[call_id] = str(2 * (number + place))
            assert read(line.generation()).text == "Thanks."
        assert outputs(server) == expected
        assert len(kinds(server, "response.create")) == 20
        assert line.close() == []


@pytest.mark.parametrize("outcome", ["returns", "raises"])
def test_a_tool_that_outlives_its_session_harms_nobody(serve, outcome) -> None:
    entered, release = threading.Event(), threading.Event()

    @function_tool
    def stubborn() -> str:
        entered.set()
        release.wait(PATIENCE)
        if outcome == "raises":
            raise RuntimeError("late")
        return "late"

    server = serve(Caller())
    with model_for(server, modalities=["text"], turn_detection=None) as model:
        line = Line(model)
        line.session.update_tools([stubborn], auto_execute=True)
        ask_for(line, ("stubborn", {}))
        assert entered.wait(PATIENCE)
        assert line.close() == []
        release.set()
        other = Line(model)
        write(other.session, "Hello.")
        assert read(other.session.generate_reply().result(PATIENCE)).text == "Thanks."
        assert other.close() == []
    assert outputs(server) == {}
