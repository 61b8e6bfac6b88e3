"""The conversation as an application has it: reading, editing, truncating, and how waits end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import antiphon.protocol as p
from antiphon import (
    ChatContext,
    ChatMessage,
    ConnectOptions,
    ImageContent,
    RealtimeError,
    RealtimeModel,
    Timeouts,
    VideoFrame,
)
from antiphon.actors.runtime import mark_engine_thread
from antiphon.testing import Driver, FakeWire


def message(item_id: str, text: str = "", role: str = "user") -> p.MessageItem:
    kind = "output_text" if role == "assistant" else "input_text"
    parts = [p.ContentPart(type=kind, text=text)] if text else []
    return p.MessageItem(id=item_id, role=role, content=parts, status="completed")


class Talk:
    """An open session under the driver."""

    def __init__(self, **settings: Any) -> None:
        self.driver = Driver()
        model = RealtimeModel(
            api_key="test",
            base_url="http://test/v1",
            engine=self.driver,
            max_session_duration=None,
            conn_options=ConnectOptions(max_retry=1000, retry_interval=0.1),
            **{"timeouts": Timeouts(ping_interval=1e9), **settings},
        )
        self.session = model.session()
        self.errors: list[Any] = []
        self.session.on("error", self.errors.append)
        self.wire = self.driver.accept()
        self._threads: list[threading.Thread] = []

    def mirror(self, *items: p.Item) -> None:
        self.wire.reply(*(p.ConversationItemAdded(item=item) for item in items))

    def read(self) -> ChatContext:
        return self.driver.call(lambda: self.session.chat_ctx)

    def contents(self) -> list[tuple[str, str]]:
        return [(item.id, getattr(item, "text_content", "")) for item in self.read().items]

    def begin(self, call: Callable[[], Any], until: Callable[[], Any]) -> Callable[[], Any]:
        """Make a blocking call on a thread and run the session until it has got so far; returns a join."""
        outcome: list[Any] = []

        def target() -> None:
            try:
                outcome.append(call())
            except RealtimeError as error:
                outcome.append(error)

        thread = threading.Thread(target=target, daemon=True)
        thread.start()
        self._threads.append(thread)
        self.run_until(until)

        def join() -> Any:
            self.driver.run()
            thread.join(5)
            return outcome[0]

        return join

    def run_until(self, until: Callable[[], Any]) -> None:
        """Run the session, waiting for other threads' calls to reach it."""
        with self.driver._changed:
            assert self.driver._changed.wait_for(lambda: (self.driver.run(), until())[1], 5)

    def edit(self, context: ChatContext, **more: Any) -> Callable[[], Any]:
        seen = len(self.wire.sent)
        return self.begin(
            lambda: self.session.update_chat_ctx(context, **more), lambda: len(self.wire.sent) > seen
        )

    def item_events(self, wire: FakeWire | None = None) -> list[dict[str, Any]]:
        return [event for event in (wire or self.wire).sent if event["type"].startswith("conversation.item.")]

    def close(self) -> None:
        self.session._close_soon(1.0)
        self.driver.run()
        if not self.wire.aborted:
            self.wire.drop()
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive()
        assert self.session.state == "closed"


@pytest.fixture
def talk() -> Iterator[Talk]:
    made = Talk()
    yield made
    made.close()


# -- reading and editing -------------------------------------------------------------------------------------


def test_chat_ctx_is_a_copy_that_changes_nothing(talk: Talk) -> None:
    talk.mirror(message("a", "one"))
    context = talk.read()
    context.items.clear()
    talk.driver.run()
    assert talk.contents() == [("a", "one")]
    assert talk.item_events() == []


def test_an_edit_returns_its_report_when_all_is_acknowledged(talk: Talk) -> None:
    talk.mirror(message("a", "one"))
    join = talk.edit(ChatContext([ChatMessage("user", "two", id="b")]))
    delete, create = talk.item_events()
    assert (delete["type"], delete["item_id"]) == ("conversation.item.delete", "a")
    assert create["previous_item_id"] == "root"
    talk.wire.reply(
        p.ConversationItemDeleted(item_id="a"),
        p.ConversationItemAdded(previous_item_id=None, item=message("b", "two")),
    )
    report = join()
    assert (report.created, report.deleted, report.rejected) == (["b"], ["a"], {})
    assert talk.contents() == [("b", "two")]


def test_editing_the_context_later_does_not_change_the_edit(talk: Talk) -> None:
    context = ChatContext([ChatMessage("user", "two", id="b")])
    join = talk.edit(context)
    context.items[0].content[0] = "other"  # type: ignore[union-attr]
    (create,) = talk.item_events()
    assert create["item"]["content"][0]["text"] == "two"
    talk.wire.reply(p.ConversationItemAdded(item=message("b", "two")))
    join()


def test_raw_pictures_are_encoded_and_pictures_passed_through(talk: Talk) -> None:
    raw = VideoFrame(np.zeros((2, 2, 3), np.uint8))
    png = VideoFrame(b"\x89PNG\r\n\x1a\n", "png")
    context = ChatContext([ChatMessage("user", [ImageContent(raw), ImageContent(png, "low")], id="b")])
    join = talk.edit(context)
    first, second = talk.item_events()[0]["item"]["content"]
    assert first["image_url"].startswith("data:image/jpeg;base64,")
    assert second == {
        "type": "input_image",
        "image_url": "data:image/png;base64,iVBORw0KGgo=",
        "detail": "low",
    }
    talk.wire.reply(p.ConversationItemAdded(item=message("b")))
    assert join().created == ["b"]


def test_a_refused_edit_is_reported_and_emits_no_error(talk: Talk) -> None:
    join = talk.edit(ChatContext([ChatMessage("user", "two", id="b")]))
    (create,) = talk.item_events()
    detail = p.ErrorDetail(code="invalid_value", message="too rude", event_id=create["event_id"])
    talk.wire.reply(p.ErrorEvent(error=detail))
    assert join().rejected == {"b": "too rude"}
    assert talk.errors == []


def test_silence_raises_after_the_timeout_that_was_given(talk: Talk) -> None:
    join = talk.edit(ChatContext([ChatMessage("user", "two", id="b")]), timeout=2.0)
    talk.driver.advance(1.9)
    assert talk.session.state == "open"
    talk.driver.advance(0.2)
    assert "timed out" in str(join())


def test_silence_raises_after_the_models_timeout(talk: Talk) -> None:
    join = talk.edit(ChatContext([ChatMessage("user", "two", id="b")]))
    talk.driver.advance(5.1)
    assert "within 5 s" in str(join())


def test_calls_from_two_threads_run_one_after_the_other(talk: Talk) -> None:
    first = talk.edit(ChatContext([ChatMessage("user", "one", id="a")]))
    core: Any = talk.session._actors.strand.actor("chat_ctx").core  # type: ignore[attr-defined]
    second = talk.begin(
        lambda: talk.session.update_chat_ctx(ChatContext([ChatMessage("user", "two", id="b")])),
        lambda: core._updates,
    )
    assert [event["item"]["id"] for event in talk.item_events()] == ["a"]
    talk.wire.reply(p.ConversationItemAdded(item=message("a", "one")))
    assert first().created == ["a"]
    talk.run_until(lambda: len(talk.item_events()) == 3)
    assert [event["type"][18:] for event in talk.item_events()] == ["create", "delete", "create"]
    talk.wire.reply(p.ConversationItemDeleted(item_id="a"), p.ConversationItemAdded(item=message("b", "two")))
    assert second().created == ["b"]
    assert talk.contents() == [("b", "two")]


# -- how waits end --------------------------------------------------------------------------------------------


def test_closing_ends_the_wait(talk: Talk) -> None:
    join = talk.edit(ChatContext([ChatMessage("user", "two", id="b")]))
    talk.session._close_soon(1.0)
    assert str(join()) == "session closed"


def test_a_fatal_error_ends_the_wait_and_the_session_even_under_the_edits_event_id(talk: Talk) -> None:
    join = talk.edit(ChatContext([ChatMessage("user", "two", id="b")]))
    (create,) = talk.item_events()
    detail = p.ErrorDetail(code="insufficient_quota", message="no money", event_id=create["event_id"])
    talk.wire.reply(p.ErrorEvent(error=detail))
    assert "no money" in str(join())
    assert talk.session.state == "closed"
    assert [error.recoverable for error in talk.errors] == [False]


def test_a_wait_outlives_a_drop(talk: Talk) -> None:
    join = talk.edit(ChatContext([ChatMessage("user", "two", id="b")]))
    before = talk.item_events()
    talk.wire.drop()
    talk.driver.advance(0.1)
    talk.wire = talk.driver.accept()
    assert talk.item_events() == before
    talk.wire.reply(p.ConversationItemAdded(item=message("b", "two")))
    assert join().created == ["b"]


def test_after_the_end_the_conversation_can_be_read_and_not_changed(talk: Talk) -> None:
    talk.mirror(message("a", "one"))
    talk.close()
    assert [item.id for item in talk.session.chat_ctx.items] == ["a"]
    with pytest.raises(RealtimeError, match="session closed"):
        talk.session.update_chat_ctx(ChatContext.empty())
    talk.session.truncate("a", ["text"], 0, "o")
    talk.session.update_instructions("x")
    talk.session.update_tools([])
    talk.session.push_video(b"\x89PNG\r\n\x1a\n", encoding="png")
    talk.driver.run()


def test_an_engine_thread_is_told_instead_of_being_blocked(talk: Talk) -> None:
    failures: list[RealtimeError] = []

    def work() -> None:
        mark_engine_thread()
        for call in (lambda: talk.session.chat_ctx, lambda: talk.session.update_chat_ctx(ChatContext())):
            try:
                call()
            except RealtimeError as error:
                failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(5)
    assert len(failures) == 2
    assert all("engine thread" in str(failure) for failure in failures)
    talk.driver.run()


# -- truncating -------------------------------------------------------------------------------------------------


def speak(talk: Talk, *, announced: bool = True, index: int = 0, done: bool = True) -> None:
    """One response: one second of audio, ten letters."""
    events: list[p.ServerEvent] = [p.ResponseCreated(response=p.Response(id="r", status="in_progress"))]
    if announced:
        events += [
            p.ResponseOutputItemAdded(response_id="r", item=message("w", role="assistant")),
            p.ConversationItemAdded(item=message("w", role="assistant")),
        ]
    events += [
        p.ResponseOutputAudioDelta(response_id="r", item_id="w", delta="A" * 64_000, content_index=index),
        p.ResponseOutputAudioTranscriptDelta(
            response_id="r", item_id="w", delta="0123456789", content_index=index
        ),
    ]
    talk.wire.reply(*events)
    if done:
        finish(talk)


def finish(talk: Talk) -> None:
    talk.wire.reply(p.ResponseDone(response=p.Response(id="r", status="completed")))


def cut(talk: Talk, ms: int, *words: str, modalities: tuple[str, ...] = ("audio", "text")) -> None:
    talk.session.truncate("w", modalities, ms, *words)
    talk.driver.run()


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("words", [(), ("0123456",)])
def test_what_was_heard_is_left_whenever_it_is_cut(
    talk: Talk, done: bool, announced: bool, words: tuple[str, ...]
) -> None:
    speak(talk, announced=announced, done=done)
    cut(talk, 500, *words)
    (truncate,) = talk.item_events()
    assert truncate == {
        "type": "conversation.item.truncate",
        "item_id": "w",
        "content_index": 0,
        "audio_end_ms": 500,
    }
    if done:
        assert talk.contents() == [("w", "0123456789")], "the mirror changes when the server confirms"
    talk.wire.reply(p.ConversationItemTruncated(item_id="w", audio_end_ms=500))
    if not done:
        finish(talk)
    assert talk.contents() == [("w", words[0] if words else "01234")]


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("announced", [True, False])
def test_never_beyond_the_audio_that_came(talk: Talk, done: bool, announced: bool) -> None:
    speak(talk, announced=announced, done=done)
    cut(talk, 30_000)
    assert [event["audio_end_ms"] for event in talk.item_events()] == [1000]


@pytest.mark.parametrize("done", [True, False])
def test_the_content_index_is_that_of_the_audio(talk: Talk, done: bool) -> None:
    speak(talk, index=1, done=done)
    cut(talk, 300)
    assert [event["content_index"] for event in talk.item_events()] == [1]


@pytest.mark.parametrize("announced", [True, False])
def test_a_message_of_which_nothing_was_heard_is_deleted_for_good(talk: Talk, announced: bool) -> None:
    speak(talk, announced=announced, done=False)
    cut(talk, 0)
    (delete,) = talk.item_events()
    assert (delete["type"], delete["item_id"]) == ("conversation.item.delete", "w")
    talk.wire.reply(p.ConversationItemDeleted(item_id="w"))
    finish(talk)
    assert talk.contents() == []


def test_a_written_message_is_rewritten(talk: Talk) -> None:
    talk.mirror(message("u", "hi"), message("w", "one two three", "assistant"))
    cut(talk, 0, modalities=("text",))
    assert talk.item_events() == []
    cut(talk, 0, "one two", modalities=("text",))
    delete, create = talk.item_events()
    assert (delete["item_id"], create["item"]["id"], create["previous_item_id"]) == ("w", "w", "u")
    assert create["item"]["content"] == [{"type": "output_text", "text": "one two"}]
    talk.wire.reply(
        p.ConversationItemDeleted(item_id="w"),
        p.ConversationItemAdded(previous_item_id="u", item=message("w", "one two", "assistant")),
    )
    assert talk.contents() == [("u", "hi"), ("w", "one two")]
    assert talk.errors == []


def test_a_message_without_audio_is_not_cut(talk: Talk, caplog: pytest.LogCaptureFixture) -> None:
    talk.mirror(message("w", "written", "assistant"))
    cut(talk, 500)
    assert talk.item_events() == []
    assert "no audio" in caplog.text


# -- what responses leave behind ------------------------------------------------------------------------------------


def test_the_transcript_of_a_response_is_mirrored(talk: Talk) -> None:
    speak(talk, done=False)
    assert talk.contents() == [("w", "")]
    finish(talk)
    assert talk.contents() == [("w", "0123456789")]


def test_a_message_that_was_never_announced_is_mirrored_when_its_response_is_done(talk: Talk) -> None:
    speak(talk, announced=False)
    assert talk.contents() == [("w", "0123456789")]


def test_the_items_of_a_discarded_response_are_mirrored_and_left_alone_while_they_are_made(
    talk: Talk,
) -> None:
    reply = talk.session.generate_reply()
    talk.driver.run()
    (request,) = talk.wire.of_type("response.create")
    reply.cancel()
    talk.driver.run()
    making = p.MessageItem(id="w", role="assistant", content=[], status="in_progress")
    talk.wire.reply(
        p.ResponseCreated(
            response=p.Response(
                id="r", metadata={"client_event_id": request["event_id"]}, status="in_progress"
            )
        ),
        p.ResponseOutputItemAdded(response_id="r", item=making),
        p.ConversationItemAdded(item=making),
    )
    assert talk.contents() == [("w", "")]
    report = talk.driver.call(lambda: talk.session.update_chat_ctx(ChatContext.empty()))
    assert (report.deleted, talk.item_events()) == ([], [])
    made = p.MessageItem(
        id="w",
        role="assistant",
        content=[p.ContentPart(type="output_text", text="Hel")],
        status="incomplete",
    )
    talk.wire.reply(p.ResponseOutputItemDone(response_id="r", item=made))
    assert talk.contents() == [("w", "Hel")]


def test_an_out_of_band_response_leaves_the_conversation_as_it_is(talk: Talk) -> None:
    reply = talk.session.generate_reply(conversation="none")
    talk.driver.run()
    (request,) = talk.wire.of_type("response.create")
    written = message("w", "aside", "assistant")
    talk.wire.reply(
        p.ResponseCreated(
            response=p.Response(
                id="r", metadata={"client_event_id": request["event_id"]}, status="in_progress"
            )
        ),
        p.ResponseOutputItemAdded(response_id="r", item=message("w", role="assistant")),
        p.ResponseOutputTextDelta(response_id="r", item_id="w", delta="aside"),
        p.ResponseDone(response=p.Response(id="r", status="completed", output=[written])),
    )
    assert reply.result(0).done.result(0).status == "completed"
    assert talk.contents() == []
