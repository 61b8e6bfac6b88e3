"""A conversation as OpenTelemetry sees it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from telemetry_harness import (
    PATIENCE,
    SECRET,
    WIRE,
    Oracle,
    ask,
    drop,
    look_up,
    model_for,
    push,
    spoken,
)

import antiphon.protocol as p
from antiphon import ConnectOptions, RealtimeModel, RealtimeSession, ServerVad
from antiphon.telemetry import instrument
from antiphon.telemetry.turns import Turn
from antiphon.testing import Driver, LocalServer

PLAIN = {
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-realtime",
    "server.address": "127.0.0.1",
}


class Watched:
    """Providers that keep what they get, and ways to look at it."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])

    def watch(self, target: RealtimeModel | RealtimeSession, capture_content: bool = False) -> None:
        """Instrument with these."""
        instrument(target, self.tracers, self.meters, capture_content=capture_content)

    def spans(self, name: str | None = None) -> list[ReadableSpan]:
        """The spans that have ended, in the order of their beginnings."""
        spans = sorted(self.exporter.get_finished_spans(), key=lambda span: span.start_time or 0)
        return [span for span in spans if name in (None, span.name)]

    def points(self) -> dict[str, list[Any]]:
        """The data points of each metric."""
        data = self.reader.get_metrics_data()
        found: dict[str, list[Any]] = {}
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                assert scope.scope.name == "antiphon"
                found.update({metric.name: list(metric.data.data_points) for metric in scope.metrics})
        return found


@pytest.fixture
def watched() -> Iterator[Watched]:
    providers = Watched()
    yield providers
    providers.tracers.shutdown()
    providers.meters.shutdown()


def said(span: ReadableSpan, name: str) -> Any:
    """An attribute."""
    return (span.attributes or {})[name]


def children(spans: list[ReadableSpan], parent: ReadableSpan) -> list[str]:
    """The names of a span's children."""
    return [span.name for span in spans if span.parent and span.parent.span_id == parent.context.span_id]


def end(session: RealtimeSession) -> None:
    """Close a session and wait until its spans are made, which callbacks do."""
    session.close()
    assert session._actors.emitter.flush(PATIENCE)


def converse(server: LocalServer, model: RealtimeModel) -> RealtimeSession:
    """Speech, an answer that is talked over, a tool that works, one that fails, a drop."""
    story, thanks = spoken("Tell me a long story."), spoken("Thank you, goodbye.")
    session = model.session(start=False)
    generations = session.events("generation_created")
    transcripts = session.events("input_audio_transcription_completed")
    session.playback  # noqa: B018 - what the model says goes there
    session.update_tools([look_up], auto_execute=True)
    session.start()
    session.wait_open(PATIENCE)
    push(session, story)
    first = generations.get(PATIENCE)[1]
    # Also played, as soon as it is in the stream.
    first.message_stream.get(PATIENCE).audio_stream.get(PATIENCE)
    session.playback.read(WIRE // 20)
    push(session, thanks)
    server.log.wait_sent("conversation.item.truncated", PATIENCE)
    first.done.result(PATIENCE)
    generations.get(PATIENCE)[1].done.result(PATIENCE)
    while not transcripts.get(PATIENCE)[1].is_final:
        pass
    session.playback.read(10 * WIRE)
    ask(session, "look up tea")
    ask(session, "look up trouble")
    drop(session, server)
    end(session)
    return session


def check_durations(spans: list[ReadableSpan]) -> None:
    """No span ends before it begins, or lies outside the session."""
    (session,) = [span for span in spans if span.name == "antiphon.session"]
    for span in spans:
        assert session.start_time <= span.start_time + 10**9  # type: ignore[operator]
        assert span.start_time <= span.end_time <= session.end_time  # type: ignore[operator]


def test_a_conversation_is_one_trace(serve, watched) -> None:
    server = serve(Oracle(), pace=8)
    with model_for(server, turn_detection=ServerVad(silence_duration_ms=400)) as model:
        watched.watch(model)
        session = converse(server, model)
    spans = watched.spans()
    check_durations(spans)
    assert {span.context.trace_id for span in spans} == {spans[0].context.trace_id}
    for span in spans:
        assert said(span, "gen_ai.conversation.id") == session.id
        assert PLAIN.items() <= dict(span.attributes or {}).items()
        assert said(span, "server.port") == server.port
    (root,) = watched.spans("antiphon.session")
    assert root.parent is None
    of_session = children(spans, root)
    assert of_session.count("antiphon.connection") == 2
    assert of_session.count("antiphon.reconnect") == 1
    # Two that were spoken, two that were asked in text.
    assert of_session.count("antiphon.turn") == 4
    assert len(of_session) == 7

    first, second, tea, trouble = watched.spans("antiphon.turn")
    chat = "chat gpt-realtime"
    assert children(spans, first) == [chat]
    assert sorted(children(spans, second)) == ["antiphon.barge_in", chat]
    assert children(spans, tea) == [chat, "execute_tool look_up", chat]
    assert children(spans, trouble) == [chat, "execute_tool look_up", chat]
    check_responses(watched)
    check_tools(watched)
    check_interruption(watched, server)
    check_connections(watched)
    assert not [span.name for span in spans if any("message" in key for key in span.attributes or {})]
    assert SECRET not in "".join(span.to_json() for span in spans)


def check_responses(watched: Watched) -> None:
    """Ids, tokens, ends and times of the responses."""
    responses = watched.spans("chat gpt-realtime")
    assert len(responses) == 6
    assert [said(span, "antiphon.response.user_initiated") for span in responses] == [
        False,
        False,
        *[True] * 4,
    ]
    assert said(responses[0], "gen_ai.response.finish_reasons") == ("turn_detected",)
    for span in responses:
        assert span.kind is SpanKind.CLIENT
        assert said(span, "gen_ai.operation.name") == "chat"
        assert said(span, "gen_ai.output.type") == "speech"
        assert said(span, "gen_ai.response.id").startswith("resp_")
        assert said(span, "gen_ai.usage.input_tokens") > 0
        assert said(span, "gen_ai.usage.output_tokens") >= said(span, "gen_ai.usage.audio.output_tokens")
        assert span.status.status_code is StatusCode.UNSET
    for span in responses[1:]:
        assert said(span, "gen_ai.response.finish_reasons") == ("completed",)
    spoken_ones = [
        span for span in responses if "gen_ai.response.time_to_first_chunk" in (span.attributes or {})
    ]
    assert len(spoken_ones) == 4
    points = watched.points()
    (duration,) = points["gen_ai.client.operation.duration"]
    assert (duration.count, duration.attributes["gen_ai.operation.name"]) == (6, "chat")
    assert PLAIN.items() <= dict(duration.attributes).items()
    assert duration.sum == pytest.approx(
        sum((span.end_time or 0) - (span.start_time or 0) for span in responses) / 1e9
    )
    assert duration.explicit_bounds[0] == 0.01
    (first_chunk,) = points["gen_ai.client.operation.time_to_first_chunk"]
    assert first_chunk.count == 4
    tokens = {point.attributes["gen_ai.token.type"]: point for point in points["gen_ai.client.token.usage"]}
    for kind in ("input", "output"):
        assert tokens[kind].count == 6
        assert tokens[kind].sum == sum(said(span, f"gen_ai.usage.{kind}_tokens") for span in responses)


def check_tools(watched: Watched) -> None:
    """One tool that worked and one that failed."""
    good, bad = watched.spans("execute_tool look_up")
    for span in (good, bad):
        assert said(span, "gen_ai.operation.name") == "execute_tool"
        assert said(span, "gen_ai.tool.name") == "look_up"
        assert said(span, "gen_ai.tool.type") == "function"
        assert said(span, "gen_ai.tool.call.id").startswith("call_")
        assert "gen_ai.tool.call.arguments" not in (span.attributes or {})
    assert good.status.status_code is StatusCode.UNSET
    assert (bad.status.status_code, said(bad, "error.type")) == (StatusCode.ERROR, "tool_error")
    points = watched.points()["gen_ai.execute_tool.duration"]
    assert sorted((point.attributes.get("error.type", ""), point.count) for point in points) == [
        ("", 1),
        ("tool_error", 1),
    ]
    assert {point.attributes["gen_ai.tool.name"] for point in points} == {"look_up"}


def check_interruption(watched: Watched, server: LocalServer) -> None:
    """The cut, as far as the server was told."""
    (span,) = watched.spans("antiphon.barge_in")
    (cut,) = [record.event for record in server.log.received("conversation.item.truncate")]
    assert said(span, "antiphon.barge_in.trigger") == "speech"
    assert said(span, "antiphon.barge_in.heard_ms") == (cut["audio_end_ms"],)
    (point,) = watched.points()["antiphon.barge_in.duration"]
    assert point.count == 1


def check_connections(watched: Watched) -> None:
    """One that was lost, one that was closed, and what is between them."""
    lost, closed = watched.spans("antiphon.connection")
    assert [said(span, "antiphon.connection.id") for span in (lost, closed)] == [1, 2]
    assert (lost.status.status_code, said(lost, "error.type")) == (StatusCode.ERROR, "connection_lost")
    assert said(lost, "antiphon.connection.end_planned") is False
    assert closed.status.status_code is StatusCode.UNSET
    (reconnect,) = watched.spans("antiphon.reconnect")
    assert reconnect.start_time == lost.end_time
    assert reconnect.end_time > closed.start_time  # type: ignore[operator]
    assert said(reconnect, "antiphon.reconnect.items_restored") > 5
    points = watched.points()
    assert [point.count for point in points["antiphon.handshake.duration"]] == [2]
    assert [point.count for point in points["antiphon.reconnect.duration"]] == [1]
    (errors,) = points["antiphon.errors"]
    assert (errors.value, errors.attributes["error.type"]) == (1, "APIConnectionError")


def test_words_are_only_there_when_asked_for(serve, watched) -> None:
    server = serve(Oracle(), pace=8)
    with model_for(server, turn_detection=ServerVad(silence_duration_ms=400)) as model:
        watched.watch(model, capture_content=True)
        converse(server, model)
    heard = [json.loads(said(span, "gen_ai.input.messages")) for span in watched.spans("antiphon.turn")[:2]]
    assert heard == [[{"role": "user", "parts": [{"type": "text", "content": "Hello there."}]}]] * 2
    spoken_ones = [
        json.loads(said(span, "gen_ai.output.messages"))
        for span in watched.spans("chat gpt-realtime")
        if "gen_ai.output.messages" in (span.attributes or {})
    ]
    hum = [{"role": "assistant", "parts": [{"type": "text", "content": "Hum."}]}]
    # That which was cut off may have ended before it was.
    assert spoken_ones[-3:] == [hum] * 3
    good, bad = watched.spans("execute_tool look_up")
    assert json.loads(said(good, "gen_ai.tool.call.arguments")) == {"what": "tea"}
    assert said(good, "gen_ai.tool.call.result") == "tea is known"
    assert "it is not known" in said(bad, "gen_ai.tool.call.result")


def test_a_session_is_watched_once_and_under_the_present_span(serve, watched) -> None:
    with model_for(serve(Oracle()), turn_detection=None) as model:
        early = model.session().wait_open(PATIENCE)
        watched.watch(model)
        tracer = trace.get_tracer("an.application", tracer_provider=watched.tracers)
        with tracer.start_as_current_span("request") as request:
            session = model.session().wait_open(PATIENCE)
            watched.watch(session)
        ask(session, "hum")
        end(session)
        end(early)
    mine, other = watched.spans("antiphon.session")[::-1]
    assert mine.parent is not None
    assert mine.parent.span_id == request.get_span_context().span_id
    assert other.parent is None
    assert len(watched.spans("chat gpt-realtime")) == 1


def test_what_is_no_session_is_refused() -> None:
    with pytest.raises(TypeError, match="RealtimeModel or a RealtimeSession, not str"):
        instrument("model")  # type: ignore[arg-type]


# -- under the fake clock: ends of all kinds ------------------------------------------------------------------


@pytest.fixture
def alone(watched: Watched) -> Iterator[tuple[Driver, RealtimeSession, Any]]:
    """A session without threads, watched, and its wire."""
    driver = Driver()
    model = RealtimeModel(
        api_key="k",
        base_url="ws://127.0.0.1:9/v1",
        engine=driver,  # type: ignore[arg-type]
        conn_options=ConnectOptions(max_retry=1, retry_interval=0.1),
    )
    watched.watch(model)
    session = model.session()
    yield driver, session, driver.accept()
    session._close_soon(1.0)
    driver.advance(10.0)


def created(response_id: str) -> p.ResponseCreated:
    """A response begins."""
    return p.ResponseCreated(response=p.Response(id=response_id, status="in_progress"))


def done(response_id: str, status: str, **details: Any) -> p.ResponseDone:
    """A response ends."""
    said = p.ResponseStatusDetails(type=status, **details)
    return p.ResponseDone(response=p.Response(id=response_id, status=status, status_details=said))


def test_a_response_that_fails_says_why(alone, watched) -> None:
    driver, _, wire = alone
    error = p.ResponseError(type="server_error", code="overloaded", message="so busy with your secret")
    wire.reply(created("resp_1"), done("resp_1", "failed", error=error))
    driver.run()
    (span,) = watched.spans("chat gpt-realtime")
    assert (span.status.status_code, said(span, "error.type")) == (StatusCode.ERROR, "overloaded")
    (point,) = watched.points()["gen_ai.client.operation.duration"]
    assert point.attributes["error.type"] == "overloaded"
    assert "secret" not in span.to_json()


def test_a_response_ends_with_its_connection(alone, watched) -> None:
    driver, session, wire = alone
    wire.reply(created("resp_1"))
    wire.drop()
    driver.run()
    (span,) = watched.spans("chat gpt-realtime")
    assert (span.status.status_code, said(span, "error.type")) == (StatusCode.ERROR, "connection_lost")
    # And no server comes back.
    driver.advance(1.0)
    driver.refuse(503)
    driver.advance(1.0)
    assert session.state == "closed"
    (root,) = watched.spans("antiphon.session")
    assert (root.status.status_code, said(root, "error.type")) == (StatusCode.ERROR, "503")
    assert len(watched.spans("antiphon.reconnect")) == 1
    assert "antiphon.reconnect.duration" not in watched.points()


def test_a_response_that_another_one_supersedes_ends(alone, watched) -> None:
    driver, _, wire = alone
    wire.reply(created("resp_1"), created("resp_2"), done("resp_2", "completed"))
    driver.run()
    first, second = watched.spans("chat gpt-realtime")
    assert said(first, "gen_ai.response.finish_reasons") == ("superseded",)
    assert said(second, "gen_ai.response.finish_reasons") == ("completed",)


def test_what_is_open_at_the_end_of_the_session_ends_with_it(alone, watched) -> None:
    driver, session, wire = alone
    wire.reply(created("resp_1"))
    session._close_soon(1.0)
    driver.advance(10.0)
    names = {span.name for span in watched.spans()}
    assert names == {"antiphon.session", "antiphon.connection", "antiphon.turn", "chat gpt-realtime"}


class Ends:
    """Takes the place of a turn's span."""

    def __init__(self) -> None:
        self.at: list[int] = []

    def end(self, at: int) -> None:
        """Remember when."""
        self.at.append(at)


def test_a_turn_lasts_as_long_as_what_is_in_it() -> None:
    span = Ends()
    turn = Turn(span, 10)  # type: ignore[arg-type]
    turn.response_began()
    turn.tool_began()
    turn.response_ended(20)
    assert not turn.answered, "there is a call in it"
    turn.tool_ended(30)
    assert not turn.answered
    turn.response_began()
    turn.response_ended(40)
    assert turn.answered
    turn.response_began()
    turn.over()
    assert span.at == [], "a response is still under way"
    turn.response_ended(50)
    assert span.at == [50]
