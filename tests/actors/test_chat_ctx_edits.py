"""Edits of the conversation: what goes out in which order, who waits for it, and what comes of it."""

from __future__ import annotations

import time
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest
from test_chat_ctx_core import Bench, added, message, spoken

import antiphon.protocol as p
from antiphon.actors import messages as m
from antiphon.actors.audio import AudioFrame
from antiphon.actors.chat import (
    AgentConfigUpdate,
    AgentHandoff,
    AudioContent,
    ChatContext,
    ChatMessage,
    FunctionCall,
    FunctionCallOutput,
)
from antiphon.actors.core import Arm, Disarm, Emit, Settle, Tell, TimerFired
from antiphon.actors.errors import RealtimeError
from antiphon.actors.item_ops import foresee


@pytest.fixture
def bench() -> Bench:
    """A core that mirrors three messages, a to c."""
    made = Bench()
    made.give(
        added(message("a", "one"), None),
        added(message("b", "two", "assistant"), "a"),
        added(message("c", "three"), "b"),
    )
    made.effects.clear()
    return made


def line(event: Any) -> tuple[str, ...]:
    """An item event in short."""
    if isinstance(event, p.ConversationItemDelete):
        return ("delete", event.item_id)
    return ("create", event.item.id, event.previous_item_id)


def lines(bench: Bench) -> list[tuple[str, ...]]:
    return [line(event) for event in bench.sent()]


def created(bench: Bench, item_id: str) -> Any:
    return next(e for e in bench.sent() if isinstance(e, p.ConversationItemCreate) and e.item.id == item_id)


def acknowledge(bench: Bench, *events: Any) -> None:
    """Answer item events as a server does."""
    for event in events:
        if isinstance(event, p.ConversationItemDelete):
            bench.give(p.ConversationItemDeleted(item_id=event.item_id))
        else:
            previous = None if event.previous_item_id == "root" else event.previous_item_id
            bench.give(added(event.item, previous))


def written(event: Any) -> m.ItemEventWritten:
    return m.ItemEventWritten(event, event)


def refuse(bench: Bench, event: Any, words: str = "I'd rather not", code: str = "invalid_value") -> list[Any]:
    detail = p.ErrorDetail(type="invalid_request_error", code=code, message=words, event_id=event.event_id)
    return bench.give(p.ErrorEvent(error=detail))


# -- what goes out ----------------------------------------------------------------------------------------------


def test_removals_then_creations_then_pairs(bench: Bench) -> None:
    context = ChatContext(
        [
            ChatMessage("user", "first", id="x"),
            ChatMessage("assistant", "TWO", id="b"),
            ChatMessage("user", "second", id="y"),
            ChatMessage("user", "THREE", id="c"),
            ChatMessage("user", "third", id="z"),
        ]
    )
    bench.update(context)
    assert lines(bench) == [
        ("delete", "a"),
        ("create", "x", "root"),
        ("create", "y", "b"),
        ("create", "z", "c"),
        ("delete", "b"),
        ("create", "b", "x"),
        ("delete", "c"),
        ("create", "c", "y"),
    ]
    for event in bench.sent():
        kind = "create" if isinstance(event, p.ConversationItemCreate) else "delete"
        assert str(event.event_id).startswith(f"chat_ctx_{kind}_")
    assert len({event.event_id for event in bench.sent()}) == 8


def test_equal_conversations_send_nothing_and_are_done_at_once(bench: Bench) -> None:
    report = bench.update(bench.read()).result(0)
    assert (report.created, report.deleted, report.rejected) == ([], [], {})
    assert bench.sent() == []


def test_what_has_no_place_on_the_wire_stays_here(bench: Bench) -> None:
    context = bench.read()
    context.items[1:1] = [
        ChatMessage("system", "Be kind.", id=ChatContext.INSTRUCTIONS_ID),
        AgentHandoff("other"),
        AgentConfigUpdate("new"),
        ChatMessage("user", [], id="empty"),
        ChatMessage("user", "real", id="x"),
    ]
    bench.update(context)
    assert lines(bench) == [("create", "x", "a")]


def test_items_are_converted(bench: Bench) -> None:
    long_id = "call_" + "x" * 40
    context = ChatContext(
        [
            ChatMessage("developer", "Be brief.", id="d"),
            FunctionCall(long_id, "look", "{}", id="f"),
            FunctionCallOutput(long_id, "a tree", id="o"),
            *bench.read().items,
        ]
    )
    bench.update(context)
    system, call, output = [event.item for event in bench.sent()]
    assert (system.role, system.content[0].text) == ("system", "Be brief.")
    assert (call.name, call.arguments) == ("look", "{}")
    assert call.call_id == output.call_id
    assert len(call.call_id) == 32


def test_what_cannot_be_converted_fails_that_edit_alone_and_sends_nothing(bench: Bench) -> None:
    odd = AudioFrame(np.zeros(8, np.int16), 8001, 1)
    context = ChatContext([ChatMessage("user", "x"), ChatMessage("user", [AudioContent([odd])])])
    assert isinstance(bench.update(context).exception(0), ValueError)
    assert bench.sent() == []
    bench.update(ChatContext(bench.read().items[1:]))
    assert lines(bench) == [("delete", "a")]


# -- who waits ----------------------------------------------------------------------------------------------------


def test_the_report_comes_with_the_last_acknowledgement(bench: Bench) -> None:
    context = bench.read()
    del context.items[0]
    context.add_message(role="user", content="four", id="d")
    future = bench.update(context)
    events = bench.sent()
    for event in events:
        assert not future.done()
        acknowledge(bench, event)
    report = future.result(0)
    assert (report.created, report.deleted, report.rejected) == (["d"], ["a"], {})
    assert bench.ids() == ["b", "c", "d"]
    assert any(isinstance(effect, Disarm) and effect.key == "update" for effect in bench.effects)


@pytest.mark.parametrize("kind", [p.ConversationItemAdded, p.ConversationItemCreated])
def test_both_event_names_acknowledge(bench: Bench, kind: Any) -> None:
    context = bench.read()
    context.add_message(role="user", content="four", id="d")
    future = bench.update(context)
    bench.give(kind(previous_item_id="c", item=created(bench, "d").item))
    assert future.result(0).created == ["d"]


def test_a_replacement_waits_for_both_halves(bench: Bench) -> None:
    context = bench.read()
    context.items[1].content = ["TWO"]  # type: ignore[union-attr]
    future = bench.update(context)
    delete, create = bench.sent()
    acknowledge(bench, delete)
    assert not future.done()
    acknowledge(bench, create)
    assert (future.result(0).created, future.result(0).deleted) == (["b"], ["b"])
    assert bench.texts() == ["one", "TWO", "three"]


def test_a_refusal_ends_only_its_own_wait_and_is_no_error(bench: Bench) -> None:
    context = bench.read()
    context.add_message(role="user", content="four", id="d")
    context.add_message(role="user", content="five", id="e")
    future = bench.update(context)
    first, second = bench.sent()
    effects = refuse(bench, first, "too rude")
    assert not any(isinstance(effect, Emit) for effect in effects)
    assert not any(isinstance(effect, Tell) for effect in effects), "nobody else hears of it"
    assert not future.done()
    bench.give(added(second.item, "c"))
    assert (future.result(0).created, future.result(0).rejected) == (["e"], {"d": "too rude"})
    assert bench.ids() == ["a", "b", "c", "e"]


def test_a_refusal_of_the_last_change_ends_the_wait_at_once(bench: Bench) -> None:
    context = ChatContext(bench.read().items[1:])
    future = bench.update(context)
    refuse(bench, bench.sent()[0], "it stays")
    assert future.result(0).rejected == {"a": "it stays"}
    assert bench.ids() == ["a", "b", "c"]


def test_other_errors_are_passed_on(bench: Bench) -> None:
    future = bench.update(ChatContext(bench.read().items[1:]))
    error = p.ErrorEvent(error=p.ErrorDetail(message="x", event_id="response_create_1"))
    assert bench.give(error) == [Tell(m.GENERATION, error)]
    anonymous = p.ErrorEvent(error=p.ErrorDetail(message="x"))
    assert bench.give(anonymous) == [Tell(m.GENERATION, anonymous)]
    assert not future.done()


def test_a_duplicate_counts_as_created(bench: Bench) -> None:
    context = bench.read()
    context.add_message(role="user", content="four", id="d")
    future = bench.update(context)
    words = "Error adding item: the item with id 'd' already exists."
    refuse(bench, bench.sent()[0], words, "item_create_invalid_item_id")
    assert (future.result(0).created, future.result(0).rejected) == (["d"], {})


def test_silence_ends_in_an_error(bench: Bench) -> None:
    future = bench.update(ChatContext.empty(), timeout=2.5)
    assert Arm("update", 2.5) in bench.effects
    bench.give(TimerFired("update"))
    error = future.exception(0)
    assert isinstance(error, RealtimeError)
    assert "timed out" in str(error)
    assert "2.5 s" in str(error)


def test_after_silence_what_the_mirror_shows_is_asked_for_again(bench: Bench) -> None:
    bench.update(ChatContext.empty())
    for event in bench.sent():
        bench.give(written(event))
    bench.give(TimerFired("update"))
    bench.effects.clear()
    again = bench.update(ChatContext.empty())
    assert lines(bench) == [("delete", "a"), ("delete", "b"), ("delete", "c")]
    acknowledge(bench, *bench.sent())
    assert not again.done(), "each acknowledgement is the earlier request's first"
    for event in bench.sent():
        refuse(bench, event, f"the item with id '{event.item_id}' does not exist")
    assert (again.result(0).deleted, again.result(0).rejected) == (["a", "b", "c"], {})


def test_a_late_acknowledgement_still_reaches_the_mirror(bench: Bench) -> None:
    bench.update(ChatContext.empty())
    events = bench.sent()
    bench.give(TimerFired("update"))
    acknowledge(bench, *events)
    assert bench.ids() == []


# -- one after the other --------------------------------------------------------------------------------------------


def test_concurrent_edits_run_one_after_the_other(bench: Bench) -> None:
    first, second = bench.read(), bench.read()
    first.add_message(role="user", content="first", id="x")
    second.add_message(role="user", content="second", id="y")
    one, two = bench.update(first), bench.update(second)
    assert lines(bench) == [("create", "x", "c")]
    acknowledge(bench, *bench.sent())
    assert one.result(0).created == ["x"]
    # The second knows what the first one did: it doesn't want x.
    assert lines(bench)[1:] == [("delete", "x"), ("create", "y", "c")]
    acknowledge(bench, *bench.sent()[1:])
    assert (two.result(0).created, two.result(0).deleted) == (["y"], ["x"])
    assert bench.ids() == ["a", "b", "c", "y"]


def test_the_next_edit_does_not_delete_again_what_the_last_one_deleted(bench: Bench) -> None:
    context = ChatContext(bench.read().items[1:])
    one, two = bench.update(context), bench.update(context)
    acknowledge(bench, *bench.sent())
    assert one.result(0).deleted == ["a"]
    assert two.result(0).deleted == []
    assert lines(bench) == [("delete", "a")]


def test_a_refused_or_overdue_edit_lets_the_next_one_begin(bench: Bench) -> None:
    futures = [bench.update(ChatContext(bench.read().items[n:])) for n in (1, 2, 3)]
    refuse(bench, bench.sent()[0])
    assert futures[0].result(0).rejected
    assert not futures[1].done()
    bench.give(TimerFired("update"))
    assert futures[1].exception(0) is not None
    assert not futures[2].done()
    assert lines(bench)[-3:] == [("delete", "a"), ("delete", "b"), ("delete", "c")]


def test_the_end_of_the_session_ends_all_waits(bench: Bench) -> None:
    futures = [bench.update(ChatContext.empty()), bench.update(ChatContext.empty())]
    bench.give(m.SessionClosing("session closed"))
    late = bench.update(ChatContext.empty())
    for future in [*futures, late]:
        assert isinstance(future.exception(0), RealtimeError)
        assert str(future.exception(0)) == "session closed"


# -- events of the application's own -----------------------------------------------------------------------------------


def own(item_id: str = "x", event_id: Any = "mine") -> p.ConversationItemCreate:
    return p.ConversationItemCreate(event_id=event_id, item=message(item_id, "own"))


def test_a_refused_event_of_the_applications_own_is_an_error(bench: Bench) -> None:
    bench.give(written(own()))
    effects = refuse(bench, own(), "no thanks")
    (error,) = [effect.payload for effect in effects if isinstance(effect, Emit)]
    assert "no thanks" in str(error.error)
    assert error.recoverable


def replayed(bench: Bench) -> list[Any]:
    """What the next connection is told."""
    bench.give(m.ConnectionLost("cut"))
    effects = bench.give(m.ReplayWanted())
    (items,) = [e.message for e in effects if isinstance(e, Tell) and isinstance(e.message, m.ReplayItems)]
    return items.events


def test_events_of_the_applications_own_are_tracked_until_acknowledged(bench: Bench) -> None:
    bench.give(written(own()))
    delete = p.ConversationItemDelete(event_id="mine too", item_id="a")
    bench.give(written(delete))
    assert replayed(bench)[3:] == [own(), delete]
    bench.give(added(own().item), p.ConversationItemDeleted(item_id="a"))
    assert [event.event_id for event in replayed(bench) if event.event_id in ("mine", "mine too")] == []


def test_an_item_that_the_server_names_is_not_said_twice(bench: Bench) -> None:
    bench.give(written(own("")), added(message("named by the server", "own")))
    assert [event.item.content[0].text for event in replayed(bench)].count("own") == 1


def test_an_edit_leaves_alone_what_the_application_sent_meanwhile(bench: Bench) -> None:
    context = bench.read()
    bench.give(written(own()))
    assert bench.update(context).result(0).deleted == []


# -- foreseen -------------------------------------------------------------------------------------------------------


def test_foreseen_is_what_a_server_would_do() -> None:
    order = [ChatMessage("user", "a", id="a"), "mcp", ChatMessage("user", "b", id="b")]
    events = [
        p.ConversationItemCreate(previous_item_id="root", item=message("h", "head")),
        p.ConversationItemCreate(previous_item_id="mcp", item=message("m", "middle")),
        p.ConversationItemCreate(item=message("t", "tail")),
        p.ConversationItemDelete(item_id="a"),
        p.ConversationItemDelete(item_id="nothing"),
        p.ConversationItemCreate(previous_item_id="a", item=message("refused", "its predecessor is gone")),
        p.ConversationItemCreate(previous_item_id="root", item=message("b", "a duplicate")),
        p.ConversationItemDelete(item_id="t"),
        p.ConversationItemCreate(item=message("t", "again")),
    ]
    foreseen = foresee(order, events)  # type: ignore[arg-type]
    assert [item if isinstance(item, str) else item.id for item in foreseen] == ["h", "mcp", "m", "b", "t"]
    assert [getattr(item, "text_content", "") for item in foreseen] == ["head", "", "middle", "b", "again"]
    assert foresee([], []) == []


def test_an_edit_reckons_with_a_deletion_that_is_on_its_way(bench: Bench) -> None:
    bench.give(m.ItemAudioReceived("b", 0, 1000.0), m.Truncate("b", True, 0, None))
    future = bench.update(ChatContext([item for item in bench.read().items if item.id != "b"]))
    assert lines(bench) == [("delete", "b")], "once is enough"
    assert not future.done()
    acknowledge(bench, *bench.sent())
    assert future.result(0).deleted == ["b"]


# -- without a connection ----------------------------------------------------------------------------------------------


def test_edits_without_a_connection_build_on_each_other(bench: Bench) -> None:
    bench.give(m.ConnectionLost("cut"))
    context = bench.read()
    context.add_message(role="user", content="four", id="d")
    first = bench.update(context)
    bench.give(TimerFired("update"))
    assert isinstance(first.exception(0), RealtimeError)
    second = bench.update(bench.read())
    # The first one's creation will go out all the same, so it has to be undone.
    assert lines(bench) == [("create", "d", "c"), ("delete", "d")]
    for event in bench.sent():
        bench.give(written(event))
    assert not second.done()
    acknowledge(bench, *bench.sent())
    assert (second.result(0).created, second.result(0).deleted) == (["d"], ["d"])


def test_what_will_be_lost_is_no_predecessor_and_not_deleted(bench: Bench) -> None:
    bench.give(added(spoken("u"), "a"), m.ConnectionLost("cut"))
    context = ChatContext(bench.read().items[:1])
    context.add_message(role="user", content="new", id="d")
    bench.update(context)
    assert lines(bench) == [("delete", "b"), ("delete", "c"), ("create", "d", "a")]


# -- size -----------------------------------------------------------------------------------------------------------


def test_ten_thousand_items_are_compared_in_no_time(record_property: Any) -> None:
    bench = Bench()
    for n in range(10_000):
        bench.core.mirror.insert(p.NOT_GIVEN, message(f"i{n}", f"text {n}"))
    context = bench.read()
    context.items.reverse()
    context.items[1:1] = [ChatMessage("user", "new", id="new")]
    future: Future[Any] = Future()
    began = time.thread_time()
    effects = bench.core.handle(m.UpdateChatCtx(context, 5.0, future), bench.now)
    seconds = time.thread_time() - began
    record_property("seconds", seconds)
    assert seconds < 2.0
    # One item can stay when an order is reversed.
    assert sum(isinstance(effect, Tell) for effect in effects) == 9_999 * 2 + 1
    assert not any(isinstance(effect, Settle) for effect in effects)
