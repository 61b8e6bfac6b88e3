"""A drop and the way back: what a new connection is told, and what is left of the conversation then."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

import antiphon.protocol as p
from antiphon import ChatContext, ChatMessage, ConnectOptions, RealtimeError, RealtimeModel, Timeouts
from antiphon.actors import messages as m
from antiphon.actors.chat import Mirror
from antiphon.actors.replay import plan_replay, repeated
from antiphon.testing import Driver, FakeWire

QUIET = Timeouts(ping_interval=1e9)


def message(item_id: str, text: str = "", role: str = "user") -> p.MessageItem:
    kind = "output_text" if role == "assistant" else "input_text"
    parts = [p.ContentPart(type=kind, text=text)] if text else []
    return p.MessageItem(id=item_id, role=role, content=parts, status="completed")


def spoken(item_id: str, transcript: str | None = None, role: str = "user") -> p.MessageItem:
    kind = "output_audio" if role == "assistant" else "input_audio"
    part = p.ContentPart(type=kind, transcript=transcript)
    return p.MessageItem(id=item_id, role=role, content=[part], status="completed")


class Talk:
    """An open session under the driver, and all that it tells its user."""

    def __init__(self, **settings: Any) -> None:
        self.driver = Driver()
        model = RealtimeModel(
            api_key="test",
            base_url="http://test/v1",
            engine=self.driver,
            max_session_duration=None,
            conn_options=ConnectOptions(max_retry=1000, retry_interval=0.1),
            **{"timeouts": QUIET, **settings},
        )
        self.session = model.session()
        self.events: list[tuple[str, Any]] = []
        for name in (
            "remote_item_added",
            "session_reconnected",
            "error",
            "state_changed",
            "metrics_collected",
        ):
            self.session.on(name, lambda payload, name=name: self.events.append((name, payload)))  # type: ignore[misc]
        self.wire = self.driver.accept()

    def emitted(self, name: str) -> list[Any]:
        return [payload for kind, payload in self.events if kind == name]

    def mirror(self, *items: p.Item) -> None:
        """Have the server announce items, one after the other."""
        self.wire.reply(*(p.ConversationItemAdded(item=item) for item in items))

    def read(self) -> ChatContext:
        return self.driver.call(lambda: self.session.chat_ctx)

    def contents(self) -> list[tuple[str, str]]:
        return [(item.id, getattr(item, "text_content", "")) for item in self.read().items]

    def update(self, context: ChatContext) -> Future[Any]:
        """Begin an edit without waiting for it."""
        future: Future[Any] = Future()
        self.session._actors.tell(m.CHAT_CTX, m.UpdateChatCtx(context, 5.0, future))
        self.driver.run()
        return future

    def drop(self) -> None:
        self.wire.drop()

    def reconnect(self) -> FakeWire:
        while not self.driver.dialling:
            self.driver.advance(0.05)
        self.wire = self.driver.accept()
        return self.wire

    def item_events(self) -> list[dict[str, Any]]:
        return [event for event in self.wire.sent if event["type"].startswith("conversation.item.")]

    def acknowledge(self, *frames: dict[str, Any], done: bool = True) -> None:
        """Answer item events as a server does: added and done for each creation, deleted for each deletion."""
        last = None
        for frame in frames:
            if frame["type"] == "conversation.item.delete":
                self.wire.reply(p.ConversationItemDeleted(item_id=frame["item_id"]))
                continue
            event = p.decode_client_event(p.encode_client_event(frame))
            assert isinstance(event, p.ConversationItemCreate)
            self.wire.reply(p.ConversationItemAdded(previous_item_id=last, item=event.item))
            if done:
                self.wire.reply(p.ConversationItemDone(previous_item_id=last, item=event.item))
            last = frame["item"]["id"]

    def refuse(self, frame: dict[str, Any], words: str) -> None:
        detail = p.ErrorDetail(message=words, event_id=frame["event_id"])
        self.wire.reply(p.ErrorEvent(error=detail))

    def close(self) -> None:
        self.session._close_soon(1.0)
        self.driver.run()
        self.wire.drop()
        assert self.session.state == "closed"


@pytest.fixture
def talk() -> Iterator[Talk]:
    made = Talk()
    yield made
    made.close()


# -- the plan -----------------------------------------------------------------------------------------------


def test_the_plan_is_the_conversation_in_order_and_in_words() -> None:
    mirror = Mirror()
    for item in (
        message("s", "Be kind.", "system"),
        spoken("u", "Hello?"),
        spoken("x"),
        p.FunctionCallItem(id="f", call_id="c", name="look", arguments="{}"),
        p.FunctionCallOutputItem(id="o", call_id="c", output="a tree"),
        p.McpListToolsItem(id="mcp", server_label="x", tools=[]),
        spoken("a", "A tree.", "assistant"),
    ):
        mirror.insert(p.NOT_GIVEN, item)
    replay = plan_replay(mirror)
    items = [event.item for event in replay.events]  # type: ignore[union-attr]
    assert [item.id for item in items] == ["s", "u", "f", "o", "a"]
    assert items[1].content == [p.ContentPart(type="input_text", text="Hello?")]  # type: ignore[union-attr]
    assert items[4].content == [p.ContentPart(type="output_text", text="A tree.")]  # type: ignore[union-attr]
    assert replay.lost == ["x", "mcp"]
    for item_id in ("s", "u", "f", "o"):
        assert replay.restored(item_id)
        assert not replay.complete
    assert not replay.restored("s"), "once"
    assert not replay.restored("stranger")
    assert replay.restored("a")
    assert replay.complete
    assert (replay.restored_count, replay.degraded_count) == (5, 2)


def test_a_call_that_was_cut_off_before_its_arguments_is_not_replayed() -> None:
    mirror = Mirror()
    for call_id, arguments in (("whole", "{}"), ("cut", "")):
        item = p.FunctionCallItem(id=f"item_{call_id}", call_id=call_id, name="look", arguments=arguments)
        mirror.insert(p.NOT_GIVEN, item)
    replay = plan_replay(mirror)
    assert replay.lost == ["item_cut"]
    (event,) = replay.events
    assert isinstance(event, p.ConversationItemCreate)
    assert event.item.id == "item_whole"


def test_an_empty_conversation_is_complete_at_once() -> None:
    assert plan_replay(Mirror()).complete


def test_refused_items_are_lost_and_duplicates_are_not() -> None:
    mirror = Mirror()
    for item_id in ("a", "b"):
        mirror.insert(p.NOT_GIVEN, message(item_id, "x"))
    replay = plan_replay(mirror)
    first, second = [event.event_id for event in replay.events]
    assert not replay.refused("somebody else's")
    assert not replay.refused(None)
    assert replay.refused(first)
    assert replay.refused(second, is_duplicate=True)
    assert replay.complete
    assert (replay.lost, replay.restored_count) == (["a"], 1)
    assert replay.refused(second), "a late word about it is still ours"
    assert replay.restored_count == 1


def test_an_event_that_follows_a_lost_item_follows_the_nearest_that_is_there() -> None:
    mirror = Mirror()
    for item in (spoken("lost first"), message("a", "x"), spoken("lost")):
        mirror.insert(p.NOT_GIVEN, item)
    events: list[Any] = [
        p.ConversationItemCreate(event_id="1", previous_item_id="a", item=message("b", "y")),
        p.ConversationItemCreate(event_id="2", previous_item_id="lost", item=message("c", "z")),
        p.ConversationItemCreate(event_id="3", previous_item_id="lost first", item=message("d", "z")),
        p.ConversationItemDelete(event_id="4", item_id="a"),
    ]
    again = repeated(events, mirror, plan_replay(mirror))
    assert [getattr(event, "previous_item_id", None) for event in again] == ["a", "b", "root", None]
    assert [event.event_id for event in again] == ["1", "2", "3", "4"]


# -- a session ----------------------------------------------------------------------------------------------


def test_the_configuration_and_tools_come_first_then_the_conversation_in_order(talk: Talk) -> None:
    talk.session.update_instructions("Be kind.")
    talk.session.update_tools([])
    talk.mirror(message("a", "one"), message("b", "two", "assistant"), message("c", "three", "system"))
    talk.drop()
    wire = talk.reconnect()
    assert wire.types == ["session.update", *["conversation.item.create"] * 3]
    assert wire.sent[0]["session"]["instructions"] == "Be kind."
    assert [event["item"]["id"] for event in talk.item_events()] == ["a", "b", "c"]
    assert [event["item"]["role"] for event in talk.item_events()] == ["user", "assistant", "system"]
    for event in talk.item_events():
        # At the tail of an empty conversation; a predecessor that is refused would take all others along.
        assert "previous_item_id" not in event
        assert event["event_id"].startswith("chat_ctx_create_")


def test_session_reconnected_says_what_is_there_again(talk: Talk) -> None:
    talk.mirror(message("a", "one"), spoken("u", "two"), spoken("v"), spoken("w", "four", "assistant"))
    talk.drop()
    talk.driver.advance(0.25)
    talk.reconnect()
    frames = talk.item_events()
    talk.acknowledge(*frames[:2])
    assert talk.emitted("session_reconnected") == [], "the replay is not acknowledged yet"
    talk.acknowledge(*frames[2:])
    (event,) = talk.emitted("session_reconnected")
    assert (event.items_restored, event.items_degraded) == (3, 2)
    assert event.reason == "connection reset"
    assert event.downtime == pytest.approx(0.25)
    assert event.audio_dropped_ms == 0
    assert talk.contents() == [("a", "one"), ("u", "two"), ("w", "four")], "what can't be restored is gone"


def test_session_reconnected_comes_last_even_when_there_is_nothing_to_restore(talk: Talk) -> None:
    states: list[str] = []
    talk.session.on("session_reconnected", lambda _: states.append(talk.session.state))
    talk.drop()
    talk.events.clear()
    talk.reconnect()
    assert [name for name, _ in talk.events] == ["metrics_collected", "state_changed", "session_reconnected"]
    assert states == ["open"]
    assert talk.emitted("session_reconnected")[0].items_restored == 0


def test_after_five_seconds_the_session_says_what_is_there_by_then(talk: Talk) -> None:
    talk.mirror(message("a", "one"), message("b", "two"), spoken("u"))
    talk.drop()
    talk.reconnect()
    talk.acknowledge(talk.item_events()[0])
    talk.driver.advance(4.9)
    assert talk.emitted("session_reconnected") == []
    talk.driver.advance(0.2)
    assert talk.emitted("session_reconnected")[0].items_restored == 1
    assert talk.contents() == [("a", "one"), ("b", "two")]
    talk.acknowledge(talk.item_events()[1])
    assert talk.contents() == [("a", "one"), ("b", "two")]
    assert len(talk.emitted("session_reconnected")) == 1


def test_the_old_mirror_is_shown_until_the_replay_is_acknowledged(talk: Talk) -> None:
    talk.mirror(message("a", "one"), spoken("u"), message("b", "two"))
    old = talk.contents()
    talk.drop()
    assert talk.contents() == old
    talk.reconnect()
    assert talk.contents() == old
    first, second = talk.item_events()
    talk.acknowledge(first)
    assert talk.contents() == old
    talk.acknowledge(second)
    assert talk.contents() == [("a", "one"), ("b", "two")]


def test_remote_item_added_is_not_repeated(talk: Talk) -> None:
    talk.mirror(message("a", "one"), message("b", "two"))
    talk.drop()
    talk.reconnect()
    talk.acknowledge(*talk.item_events())
    assert [event.item.id for event in talk.emitted("remote_item_added")] == ["a", "b"]
    talk.mirror(message("c", "three"))
    assert [event.item.id for event in talk.emitted("remote_item_added")] == ["a", "b", "c"]


def test_a_refused_item_is_lost_quietly_and_the_others_stay(talk: Talk) -> None:
    output = p.FunctionCallOutputItem(id="o", call_id="gone", output="x")
    talk.mirror(message("a", "one"), output, message("b", "two"))
    talk.drop()
    talk.events.clear()
    talk.reconnect()
    first, second, third = talk.item_events()
    talk.acknowledge(first)
    talk.refuse(second, "Tool call ID 'gone' not found in conversation.")
    talk.acknowledge(third)
    assert talk.contents() == [("a", "one"), ("b", "two")]
    assert talk.emitted("error") == []
    assert talk.emitted("session_reconnected")[0].items_restored == 2


def test_an_item_that_the_server_has_kept_is_restored(talk: Talk) -> None:
    talk.mirror(message("a", "one"))
    talk.drop()
    talk.reconnect()
    talk.refuse(talk.item_events()[0], "the item with id 'a' already exists")
    assert talk.contents() == [("a", "one")]
    assert talk.emitted("session_reconnected")[0].items_restored == 1


def test_a_drop_during_the_replay_leaves_the_mirror_as_before(talk: Talk) -> None:
    talk.mirror(message("a", "one"), spoken("u", "two"), spoken("v"), message("b", "three"))
    old = talk.contents()
    talk.drop()
    talk.reconnect()
    talk.acknowledge(talk.item_events()[0])
    talk.refuse(talk.item_events()[1], "not now")
    talk.drop()
    assert talk.contents() == old
    assert talk.emitted("session_reconnected") == []
    talk.reconnect()
    assert [event["item"]["id"] for event in talk.item_events()] == ["a", "u", "b"]
    talk.acknowledge(*talk.item_events())
    (event,) = talk.emitted("session_reconnected")
    assert (event.items_restored, event.items_degraded) == (3, 1), "still text where it was audio"


def test_what_is_lost_in_a_replay_that_settled_is_not_replayed_again(talk: Talk) -> None:
    talk.mirror(message("a", "one"), spoken("u"))
    for _ in range(2):
        talk.drop()
        talk.reconnect()
        assert [event["item"]["id"] for event in talk.item_events()] == ["a"]
        talk.acknowledge(*talk.item_events())
    assert [event.items_degraded for event in talk.emitted("session_reconnected")] == [0, 0]


# -- what was heard -----------------------------------------------------------------------------------------


def cut_in_half(talk: Talk) -> None:
    """A spoken message of ten letters and one second, of which half was heard."""
    talk.wire.reply(
        p.ResponseCreated(response=p.Response(id="r", status="in_progress")),
        p.ResponseOutputItemAdded(response_id="r", item=spoken("w", role="assistant")),
        p.ConversationItemAdded(item=message("w", role="assistant")),
        p.ResponseOutputAudioDelta(response_id="r", item_id="w", delta="A" * 64_000),
        p.ResponseOutputAudioTranscriptDelta(response_id="r", item_id="w", delta="0123456789"),
        p.ResponseOutputItemDone(response_id="r", item=spoken("w", "0123456789", "assistant")),
        p.ResponseDone(response=p.Response(id="r", status="completed")),
    )
    talk.session.truncate("w", ["audio", "text"], 500)
    talk.driver.run()
    (truncate,) = talk.wire.of_type("conversation.item.truncate")
    assert truncate["audio_end_ms"] == 500


@pytest.mark.parametrize("confirmed", [True, False])
def test_a_message_that_was_cut_is_restored_cut_and_not_cut_again(talk: Talk, confirmed: bool) -> None:
    cut_in_half(talk)
    if confirmed:
        talk.wire.reply(p.ConversationItemTruncated(item_id="w", audio_end_ms=500))
    for _ in range(2):
        talk.drop()
        talk.reconnect()
        (create,) = talk.item_events()
        assert create["item"]["content"] == [{"type": "output_text", "text": "01234"}]
        talk.acknowledge(create)
        assert talk.contents() == [("w", "01234")]


@pytest.mark.parametrize(
    "words",
    [
        "Only model output audio messages can be truncated",
        "Audio content of 300ms is already shorter than 500ms",
        "Error truncating item: the item with item_id 'w' does not exist.",
    ],
)
def test_a_truncation_that_was_refused_is_not_made_good_for_at_the_next_drop(talk: Talk, words: str) -> None:
    cut_in_half(talk)
    talk.wire.reply({"type": "error", "error": {"type": "invalid_request_error", "message": words}})
    assert len(talk.emitted("error")) == 1
    talk.drop()
    talk.reconnect()
    (create,) = talk.item_events()
    assert create["item"]["content"] == [{"type": "output_text", "text": "0123456789"}]


def test_a_message_is_cut_while_there_is_no_connection(talk: Talk) -> None:
    cut_in_half(talk)
    talk.drop()
    talk.session.truncate("w", ["audio"], 200)
    talk.driver.run()
    assert talk.contents() == [("w", "01")]
    talk.reconnect()
    (create,) = talk.item_events()
    assert create["item"]["content"] == [{"type": "output_text", "text": "01"}]
    assert talk.wire.of_type("conversation.item.truncate") == []


@pytest.mark.parametrize("settled", [True, False])
def test_what_came_back_as_text_has_no_audio_to_cut(
    talk: Talk, settled: bool, caplog: pytest.LogCaptureFixture
) -> None:
    cut_in_half(talk)
    talk.drop()
    talk.reconnect()
    if settled:
        talk.acknowledge(*talk.item_events())
    talk.session.truncate("w", ["audio"], 100)
    talk.driver.run()
    assert talk.wire.of_type("conversation.item.truncate") == []
    assert "no audio" in caplog.text


def test_words_of_a_response_that_the_drop_ended_are_kept(talk: Talk) -> None:
    talk.wire.reply(
        p.ResponseCreated(response=p.Response(id="r", status="in_progress")),
        p.ResponseOutputItemAdded(response_id="r", item=message("w", role="assistant")),
        p.ConversationItemAdded(item=message("w", role="assistant")),
        p.ResponseOutputTextDelta(response_id="r", item_id="w", delta="half a"),
    )
    talk.drop()
    talk.reconnect()
    assert [event["item"]["content"][0]["text"] for event in talk.item_events()] == ["half a"]


def test_a_deleted_message_stays_deleted_when_the_drop_ends_its_response(talk: Talk) -> None:
    talk.wire.reply(
        p.ResponseCreated(response=p.Response(id="r", status="in_progress")),
        p.ResponseOutputItemAdded(response_id="r", item=message("w", role="assistant")),
        p.ConversationItemAdded(item=message("w", role="assistant")),
        p.ResponseOutputTextDelta(response_id="r", item_id="w", delta="half a"),
        p.ConversationItemDeleted(item_id="w"),
    )
    talk.drop()
    assert talk.contents() == []


# -- changes that were under way ----------------------------------------------------------------------------


def test_unacknowledged_changes_follow_the_conversation_under_their_own_ids(talk: Talk) -> None:
    talk.mirror(message("a", "one"), message("b", "two"))
    context = ChatContext([talk.read().items[1], ChatMessage("user", "three", id="c")])
    future = talk.update(context)
    delete, create = talk.item_events()
    talk.session.push_video(b"\x89PNG\r\n\x1a\n", encoding="png")
    talk.driver.run()
    video = talk.item_events()[-1]
    assert video["event_id"].startswith("video_")
    talk.drop()
    talk.reconnect()
    frames = talk.item_events()
    assert [frame["item"]["id"] for frame in frames[:2]] == ["a", "b"]
    assert frames[2:] == [delete, create, video]
    assert not future.done()
    talk.acknowledge(*frames)
    assert (future.result(0).created, future.result(0).deleted) == (["c"], ["a"])
    assert [item_id for item_id, _ in talk.contents()] == ["b", "c", video["item"]["id"]]


def test_acknowledged_changes_are_not_said_again(talk: Talk) -> None:
    future = talk.update(ChatContext([ChatMessage("user", "one", id="a")]))
    talk.acknowledge(*talk.item_events())
    assert future.result(0).created == ["a"]
    talk.drop()
    talk.reconnect()
    assert [event["item"]["id"] for event in talk.item_events()] == ["a"]


def test_a_restored_item_does_not_acknowledge_its_own_replacement(talk: Talk) -> None:
    talk.mirror(message("a", "one"))
    future = talk.update(ChatContext([ChatMessage("user", "ONE", id="a")]))
    talk.drop()
    talk.reconnect()
    restore, delete, create = talk.item_events()
    talk.acknowledge(restore, delete)
    assert not future.done()
    talk.acknowledge(create)
    assert (future.result(0).created, future.result(0).deleted) == (["a"], ["a"])
    assert talk.contents() == [("a", "ONE")]


def test_changes_survive_a_drop_during_the_replay(talk: Talk) -> None:
    talk.mirror(message("a", "one"))
    context = talk.read()
    context.add_message(role="user", content="two", id="b")
    future = talk.update(context)
    create = talk.item_events()[-1]
    for _ in range(3):
        talk.drop()
        talk.reconnect()
        assert talk.item_events()[1:] == [create]
        talk.acknowledge(talk.item_events()[0])
    talk.acknowledge(create)
    assert future.result(0).created == ["b"]


def test_changes_made_without_a_connection_follow_the_replay(talk: Talk) -> None:
    talk.mirror(message("a", "one"), spoken("u"), message("b", "two"))
    talk.drop()
    context = talk.read()
    context.insert(ChatMessage("user", "new", id="c"), 2)
    future = talk.update(context)
    talk.session.update_instructions("Be brief.")
    talk.reconnect()
    frames = talk.wire.sent
    assert [frame["type"] for frame in frames] == [
        "session.update",
        *["conversation.item.create"] * 3,
        "session.update",
    ]
    last = frames[3]
    # Not behind the spoken item, which can't be restored.
    assert (last["item"]["id"], last["previous_item_id"]) == ("c", "a")
    talk.acknowledge(*talk.item_events()[:2])
    talk.wire.reply(p.ConversationItemAdded(previous_item_id="a", item=message("c", "new")))
    assert future.result(0).created == ["c"]
    assert talk.contents() == [("a", "one"), ("c", "new"), ("b", "two")]


def test_a_change_whose_frame_was_taken_in_part_goes_out_once(talk: Talk) -> None:
    talk.mirror(message("a", "one"))
    talk.wire.full = True
    context = talk.read()
    context.add_message(role="user", content="two", id="b")
    future = talk.update(context)
    assert talk.item_events() == []
    talk.drop()
    talk.reconnect()
    assert [event["item"]["id"] for event in talk.item_events()] == ["a", "b"]
    talk.acknowledge(*talk.item_events())
    assert future.result(0).created == ["b"]


def test_an_edit_that_no_connection_comes_back_for_times_out(talk: Talk) -> None:
    talk.drop()
    future = talk.update(ChatContext([ChatMessage("user", "one", id="a")]))
    talk.driver.advance(4.9)
    assert not future.done()
    talk.driver.advance(0.2)
    assert isinstance(future.exception(0), RealtimeError)
    # It goes out all the same: events in the queue are not taken back.
    talk.reconnect()
    talk.acknowledge(*talk.item_events())
    assert talk.contents() == [("a", "one")]


def test_a_deletion_of_what_the_drop_took_is_done(talk: Talk) -> None:
    talk.mirror(message("a", "one"), spoken("u"))
    talk.driver.advance(10.0)
    future = talk.update(ChatContext(talk.read().items[:1]))
    (delete,) = talk.item_events()
    talk.drop()
    talk.reconnect()
    restore, again = talk.item_events()
    assert again == delete
    talk.acknowledge(restore)
    talk.refuse(delete, "the item with id 'u' does not exist")
    assert (future.result(0).deleted, future.result(0).rejected) == (["u"], {})
    assert talk.emitted("session_reconnected")[0].items_restored == 1


@pytest.mark.parametrize("back_first", [False, True])
def test_an_edit_undoes_an_overdue_one_that_followed_an_item_that_the_drop_took(
    talk: Talk, back_first: bool
) -> None:
    talk.mirror(message("a", "one"), spoken("u"))
    talk.driver.advance(10.0)
    before, context = talk.read(), talk.read()
    context.add_message(role="user", content="two", id="b")
    overdue = talk.update(context)
    talk.drop()
    if back_first:
        talk.reconnect()
        talk.acknowledge(talk.item_events()[0])
        talk.drop()
    talk.driver.advance(5.1)
    assert isinstance(overdue.exception(0), RealtimeError)
    update = talk.update(before)
    talk.reconnect()
    assert [frame.get("previous_item_id") for frame in talk.item_events()] == [None, "a", None]
    talk.acknowledge(*talk.item_events())
    assert (update.result(0).created, update.result(0).deleted) == (["b"], ["b"])
    assert talk.contents() == [("a", "one")]


@pytest.mark.parametrize("event_id", [{}, {"event_id": "mine"}])
def test_an_applications_own_dict_is_sent_again_as_it_was(talk: Talk, event_id: dict[str, str]) -> None:
    talk.mirror(message("a", "one"), spoken("u"))
    content = [{"type": "input_text", "text": "two"}]
    own = {
        "type": "conversation.item.create",
        **event_id,
        "previous_item_id": "u",
        "item": {"id": "b", "type": "message", "role": "user", "content": content, "x_unknown": 1},
    }
    talk.session.send_event(own)
    talk.driver.run()
    assert talk.item_events() == [own]
    for _ in range(2):
        talk.drop()
        talk.reconnect()
        restored, again = talk.item_events()
        # Only the predecessor makes way, which could not be restored.
        assert (restored["item"]["id"], again) == ("a", {**own, "previous_item_id": "a"})
    talk.acknowledge(restored, again)
    assert talk.contents() == [("a", "one"), ("b", "two")]
    talk.drop()
    talk.reconnect()
    assert [(frame["item"]["id"], "x_unknown" in frame["item"]) for frame in talk.item_events()] == [
        ("a", False),
        ("b", False),
    ]


def test_an_applications_own_event_that_can_not_be_read_is_not_tracked(talk: Talk) -> None:
    talk.session.send_event({"type": "conversation.item.create", "item": 5})
    talk.session.send_event({"type": "conversation.item.delete"})
    talk.driver.run()
    talk.drop()
    talk.reconnect()
    assert talk.item_events() == []
