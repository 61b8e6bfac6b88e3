"""The mirror's core: what server events make of it, what users say, and which items edits leave alone."""

from __future__ import annotations

import itertools
import logging
import math
from concurrent.futures import Future
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import antiphon.protocol as p
from antiphon.actors import messages as m
from antiphon.actors.chat import ChatContext, ChatMessage, FunctionCall
from antiphon.actors.chat_ctx_core import TRANSCRIPTION_SECONDS, ChatCtxCore
from antiphon.actors.config import SessionOptions, SessionSpec
from antiphon.actors.core import Emit, Settle, Tell, settle

SPEC = SessionSpec(label="label", model_name="gpt-realtime", provider="test", url="ws://test", headers=list)
OPTIONS = SessionOptions(
    model="gpt-realtime",
    voice="marin",
    modalities=("text", "audio"),
    input_audio_transcription=p.AudioTranscription(model="gpt-4o-mini-transcribe"),
    input_audio_noise_reduction=None,
    turn_detection=None,
    speed=1.0,
    max_response_output_tokens="inf",
)


class Bench:
    """A core that is connected, and a record of what it decides."""

    def __init__(self, options: SessionOptions = OPTIONS) -> None:
        self.final: Future[ChatContext] = Future()
        self.core = ChatCtxCore(SPEC, options, self.final)
        self.now = 1000.0
        self.effects: list[Any] = []
        self.give(m.ConnectionOpened(True))

    def give(self, *messages: Any) -> list[Any]:
        """Have messages handled; returns and keeps their effects, and settles what they settle."""
        new = [effect for message in messages for effect in self.core.handle(message, self.now)]
        for effect in new:
            if isinstance(effect, Settle):
                settle(effect.future, effect.result)
        self.effects += new
        return new

    def emitted(self, name: str) -> list[Any]:
        return [effect.payload for effect in self.effects if isinstance(effect, Emit) and effect.name == name]

    def sent(self) -> list[Any]:
        return [
            effect.message.event
            for effect in self.effects
            if isinstance(effect, Tell) and isinstance(effect.message, m.Transmit)
        ]

    def read(self) -> ChatContext:
        future: Future[ChatContext] = Future()
        self.give(m.ReadChatCtx(future))
        return future.result(0)

    def ids(self) -> list[str]:
        return [item.id for item in self.read().items]

    def texts(self) -> list[str]:
        return [getattr(item, "text_content", "") for item in self.read().items]

    def update(self, context: ChatContext, timeout: float = 5.0) -> Future[Any]:
        future: Future[Any] = Future()
        self.give(m.UpdateChatCtx(context, timeout, future))
        return future


@pytest.fixture
def bench() -> Bench:
    return Bench()


def message(item_id: str, text: str = "", role: str = "user", status: str = "completed") -> p.MessageItem:
    kind = "output_text" if role == "assistant" else "input_text"
    parts = [p.ContentPart(type=kind, text=text)] if text else []
    return p.MessageItem(id=item_id, role=role, content=parts, status=status)


def spoken(item_id: str) -> p.MessageItem:
    part = p.ContentPart(type="input_audio", transcript=None)
    return p.MessageItem(id=item_id, role="user", content=[part], status="completed")


def added(item: p.Item, previous: Any = p.NOT_GIVEN) -> p.ConversationItemAdded:
    return p.ConversationItemAdded(previous_item_id=previous, item=item)


def transcript(item_id: str, text: str, **more: Any) -> p.ServerEvent:
    return p.ConversationItemInputAudioTranscriptionCompleted(item_id=item_id, transcript=text, **more)


def delta(item_id: str, text: str, index: int = 0) -> p.ServerEvent:
    return p.ConversationItemInputAudioTranscriptionDelta(item_id=item_id, content_index=index, delta=text)


def failed(item_id: str, index: int = 0) -> p.ServerEvent:
    return p.ConversationItemInputAudioTranscriptionFailed(
        item_id=item_id, content_index=index, error=p.ErrorDetail(message="too quiet")
    )


# -- the mirror ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [p.ConversationItemAdded, p.ConversationItemCreated])
def test_items_are_mirrored_under_both_event_names(bench: Bench, kind: Any) -> None:
    bench.give(
        kind(previous_item_id=None, item=message("a", "one")),
        kind(previous_item_id="a", item=message("c", "three")),
        kind(previous_item_id="a", item=message("b", "two", "assistant")),
    )
    assert bench.texts() == ["one", "two", "three"]
    assert [(event.previous_item_id, event.item.id) for event in bench.emitted("remote_item_added")] == [
        (None, "a"),
        ("a", "c"),
        ("a", "b"),
    ]


def test_both_names_for_one_item_count_once_and_quietly(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    item = message("a", "one")
    bench.give(added(item), p.ConversationItemCreated(previous_item_id=None, item=item))
    assert bench.ids() == ["a"]
    assert len(bench.emitted("remote_item_added")) == 1
    assert not caplog.records


def test_a_null_predecessor_is_the_head(bench: Bench) -> None:
    bench.give(added(message("b", "two")), added(message("a", "one"), None))
    assert bench.ids() == ["a", "b"]


def test_an_unknown_predecessor_means_the_tail_and_a_warning(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.give(added(message("a", "one")), added(message("b", "two"), "never heard of"))
    assert bench.ids() == ["a", "b"]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "never heard of" in caplog.text


def test_a_duplicate_is_ignored_with_a_warning(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.give(added(message("a", "one")), added(message("b", "two")), added(message("a", "other"), "b"))
    assert bench.texts() == ["one", "two"]
    assert len(bench.emitted("remote_item_added")) == 2
    assert "a twice" in caplog.text


def test_an_item_without_an_id_is_left_out(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.give(added(message("", "one")))
    assert bench.ids() == []
    assert "without an id" in caplog.text


def test_deleted_items_go_and_unknown_ones_are_warned_about(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.give(added(message("a", "one")), added(message("b", "two"), "a"))
    bench.give(p.ConversationItemDeleted(item_id="a"))
    assert bench.ids() == ["b"]
    assert not caplog.records
    bench.give(p.ConversationItemDeleted(item_id="a"))
    assert "deleted item a" in caplog.text


def test_types_without_a_chat_form_keep_their_place_but_are_not_seen(bench: Bench) -> None:
    bench.give(
        added(message("a", "one"), None),
        added(p.McpListToolsItem(id="mcp", server_label="x", tools=[]), "a"),
        added(message("b", "two"), "mcp"),
    )
    assert bench.ids() == ["a", "b"]
    assert [entry.id for entry in bench.core.mirror] == ["a", "mcp", "b"]
    assert [event.item.id for event in bench.emitted("remote_item_added")] == ["a", "b"]
    # Nor does an edit touch it: what follows it is created behind it.
    context = bench.read()
    context.insert(ChatMessage("user", "between", id="new"), 1)
    bench.update(context)
    (create,) = bench.sent()
    assert create.previous_item_id == "mcp"


@pytest.mark.parametrize("name", ["conversation.item.done", "response.output_item.done"])
def test_the_final_arguments_of_a_call_are_taken_over(bench: Bench, name: str) -> None:
    call = p.FunctionCallItem(id="f", call_id="c", name="look", arguments="", status="in_progress")
    bench.give(added(call))
    done = p.FunctionCallItem(id="f", call_id="c", name="look", arguments='{"x":1}', status="completed")
    kind = {"conversation.item.done": p.ConversationItemDone}.get(name, p.ResponseOutputItemDone)
    bench.give(kind(item=done))
    assert bench.read().items == [FunctionCall("c", "look", '{"x":1}', id="f")]


def test_a_finished_message_without_words_keeps_those_that_came_otherwise(bench: Bench) -> None:
    bench.give(added(spoken("u")), transcript("u", "hello"), p.ConversationItemDone(item=spoken("u")))
    assert bench.texts() == ["hello"]


def test_the_final_text_of_a_response_replaces_what_was_announced(bench: Bench) -> None:
    bench.give(added(message("a", "Hel", "assistant")), m.MessageFinished("a", "Hello."))
    assert bench.texts() == ["Hello."]
    bench.give(m.MessageFinished("a", ""))
    assert bench.texts() == ["Hello."]


def test_a_message_that_was_never_announced_enters_at_the_tail_when_its_response_is_done(
    bench: Bench,
) -> None:
    bench.give(added(message("u", "hi")))
    bench.give(m.MessageFinished("a", "Hello.", message("a", "Hello.", "assistant")))
    bench.give(m.MessageFinished("b", "Bye."))
    assert [(item.id, item.role) for item in bench.read().items] == [  # type: ignore[union-attr]
        ("u", "user"),
        ("a", "assistant"),
        ("b", "assistant"),
    ]
    assert bench.texts() == ["hi", "Hello.", "Bye."]


def test_a_response_that_is_done_does_not_bring_a_deleted_message_back(bench: Bench) -> None:
    bench.give(added(message("a", "", "assistant")), p.ConversationItemDeleted(item_id="a"))
    bench.give(m.MessageFinished("a", "Hello.", message("a", "Hello.", "assistant")))
    assert bench.ids() == []


def test_reading_gives_a_copy(bench: Bench) -> None:
    bench.give(added(message("a", "one")))
    context = bench.read()
    context.items[0].content.append("more")  # type: ignore[union-attr]
    context.add_message(role="user", content="two")
    assert bench.texts() == ["one"]


# -- truncated ------------------------------------------------------------------------------------------------


def heard(bench: Bench, audio_ms: float, cut_ms: int, words: str | None = None, index: int = 0) -> None:
    bench.give(m.ItemAudioReceived("a", index, audio_ms), m.Truncate("a", True, cut_ms, words))


def confirm(bench: Bench) -> None:
    event = bench.sent()[-1]
    bench.give(
        p.ConversationItemTruncated(
            item_id=event.item_id, content_index=event.content_index, audio_end_ms=event.audio_end_ms
        )
    )


@given(st.integers(1, 40), st.integers(1, 5000), st.integers(1, 6000))
def test_a_truncated_message_holds_the_part_in_proportion_to_the_time(
    length: int, audio_ms: int, cut_ms: int
) -> None:
    bench = Bench()
    text = "".join(itertools.islice(itertools.cycle("abcdefghij"), length))
    bench.give(added(message("a", "", "assistant")), m.MessageFinished("a", text))
    heard(bench, audio_ms, cut_ms)
    assert bench.texts() == [text], "the mirror changes when the server confirms"
    confirm(bench)
    share = min(cut_ms, audio_ms) / audio_ms
    assert text.startswith(bench.texts()[0])
    assert abs(len(bench.texts()[0]) - length * share) <= 0.5
    assert bench.read().items[0].interrupted  # type: ignore[union-attr]


def test_a_truncated_message_holds_the_words_that_were_heard(bench: Bench) -> None:
    bench.give(added(message("a", "", "assistant")), m.MessageFinished("a", "one two three"))
    heard(bench, 1000, 100, "one two")
    confirm(bench)
    assert bench.texts() == ["one two"]


def test_a_second_truncation_waits_for_its_own_confirmation(bench: Bench) -> None:
    bench.give(added(message("a", "", "assistant")), m.MessageFinished("a", "one two three"))
    heard(bench, 1000, 600, "one two")
    heard(bench, 1000, 300, "one")
    first, second = bench.sent()
    bench.give(p.ConversationItemTruncated(item_id="a", audio_end_ms=first.audio_end_ms))
    assert bench.texts() == ["one two"]
    bench.give(p.ConversationItemTruncated(item_id="a", audio_end_ms=second.audio_end_ms))
    assert bench.texts() == ["one"]


@pytest.mark.parametrize("words", [None, "one two"])
def test_neither_done_nor_the_end_of_the_response_brings_the_cut_text_back(
    bench: Bench, words: str | None
) -> None:
    bench.give(added(message("a", "", "assistant", "in_progress")))
    heard(bench, 1000, 500, words)
    confirm(bench)
    whole = "one two three four"
    bench.give(
        p.ConversationItemDone(item=message("a", whole, "assistant")),
        p.ResponseOutputItemDone(item=message("a", whole, "assistant")),
        m.MessageFinished("a", whole, message("a", whole, "assistant")),
    )
    assert bench.texts() == [words or whole[: len(whole) // 2]]


def test_a_message_that_is_cut_before_it_is_mirrored_enters_cut(bench: Bench) -> None:
    heard(bench, 1000, 500)
    confirm(bench)
    bench.give(m.MessageFinished("a", "0123456789", message("a", "0123456789", "assistant")))
    assert bench.texts() == ["01234"]


def test_a_truncation_by_the_server_alone_is_mirrored_too(bench: Bench) -> None:
    bench.give(added(message("a", "0123456789", "assistant")), m.ItemAudioReceived("a", 0, 1000.0))
    bench.give(p.ConversationItemTruncated(item_id="a", audio_end_ms=300))
    assert bench.texts() == ["012"]


def test_never_beyond_the_audio_that_came_announced_or_not(bench: Bench) -> None:
    heard(bench, 200.9, 5000)
    assert bench.sent() == [p.ConversationItemTruncate(item_id="a", content_index=0, audio_end_ms=200)]
    bench.give(added(message("a", "", "assistant")))
    heard(bench, 300.0, 5000)
    assert bench.sent()[-1].audio_end_ms == 300


def test_the_content_index_is_that_of_the_audio(bench: Bench) -> None:
    bench.give(added(message("a", "", "assistant", "in_progress")))
    heard(bench, 1000, 500, index=1)
    assert bench.sent()[-1].content_index == 1
    parts = [p.ContentPart(type="output_text", text="x"), p.ContentPart(type="output_audio")]
    bench.give(added(p.MessageItem(id="b", role="assistant", content=parts)))
    bench.give(m.Truncate("b", True, 500, None))
    assert bench.sent()[-1].content_index == 1


def test_an_item_unknown_here_is_cut_as_it_is_said(bench: Bench) -> None:
    bench.give(m.Truncate("x", True, 700, None))
    assert bench.sent() == [p.ConversationItemTruncate(item_id="x", content_index=0, audio_end_ms=700)]


def test_an_item_without_audio_is_not_cut_but_warned_about(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.give(added(message("a", "words", "assistant")), m.Truncate("a", True, 700, None))
    assert bench.sent() == []
    assert "no audio" in caplog.text


@pytest.mark.parametrize("milliseconds", [0, -5])
def test_what_was_not_heard_at_all_is_deleted(bench: Bench, milliseconds: int) -> None:
    bench.give(added(message("a", "", "assistant")))
    heard(bench, 1000, milliseconds)
    (delete,) = bench.sent()
    assert isinstance(delete, p.ConversationItemDelete)
    assert delete.item_id == "a"
    assert str(delete.event_id).startswith("chat_ctx_delete_")


def test_text_is_rewritten_in_the_conversation(bench: Bench) -> None:
    bench.give(added(message("u", "hi"), None), added(message("a", "one two", "assistant"), "u"))
    bench.give(m.Truncate("a", False, 0, None))
    assert bench.sent() == [], "without a transcript there is nothing to write"
    bench.give(m.Truncate("a", False, 0, "one"))
    delete, create = bench.sent()
    assert (delete.item_id, create.previous_item_id) == ("a", "u")
    assert create.item.content == [p.ContentPart(type="output_text", text="one")]


# -- what users say ---------------------------------------------------------------------------------------------


def heard_so_far(bench: Bench) -> list[tuple[str, str, bool]]:
    return [
        (event.item_id, event.transcript, event.is_final)
        for event in bench.emitted("input_audio_transcription_completed")
    ]


def test_deltas_accumulate_and_completed_ends_them(bench: Bench) -> None:
    bench.give(added(spoken("u")), delta("u", "to"), delta("u", " be"), transcript("u", "To be."))
    assert heard_so_far(bench) == [("u", "to", False), ("u", "to be", False), ("u", "To be.", True)]
    assert bench.texts() == ["To be."]


def test_parts_of_one_item_accumulate_apart(bench: Bench) -> None:
    bench.give(delta("u", "a", 0), delta("u", "b", 1), delta("u", "c", 0), delta("v", "d", 0))
    assert [text for _, text, _ in heard_so_far(bench)] == ["a", "b", "ac", "d"]


def test_an_empty_delta_says_nothing(bench: Bench) -> None:
    bench.give(p.ConversationItemInputAudioTranscriptionDelta(item_id="u", delta=None), delta("u", ""))
    assert heard_so_far(bench) == []


def test_a_failed_transcription_ends_with_what_there_is(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.give(added(spoken("u")), delta("u", "to b"), failed("u"))
    assert heard_so_far(bench)[-1] == ("u", "to b", True)
    assert bench.texts() == ["to b"]
    assert "too quiet" in caplog.text


def test_a_failed_transcription_with_nothing_says_nothing(bench: Bench) -> None:
    bench.give(added(spoken("u")), failed("u"))
    assert heard_so_far(bench) == []
    assert bench.texts() == [""]


def test_confidence_reaches_the_event_and_the_item(bench: Bench) -> None:
    sure = [p.LogProb(token="hi", logprob=-0.1), p.LogProb(token="!", logprob=-0.3)]
    bench.give(added(spoken("u")), transcript("u", "hi!", logprobs=sure))
    (event,) = bench.emitted("input_audio_transcription_completed")
    assert event.confidence == pytest.approx(math.exp(-0.2))
    assert bench.read().items[0].transcript_confidence == pytest.approx(math.exp(-0.2))  # type: ignore[union-attr]


def test_without_log_probabilities_there_is_no_confidence(bench: Bench) -> None:
    bench.give(added(spoken("u")), transcript("u", "hi!"))
    assert bench.emitted("input_audio_transcription_completed")[0].confidence is None
    assert bench.read().items[0].transcript_confidence is None  # type: ignore[union-attr]


def test_an_empty_transcript_adds_no_part(bench: Bench) -> None:
    bench.give(added(spoken("u")), transcript("u", ""))
    assert bench.read().items[0].content == []  # type: ignore[union-attr]
    assert heard_so_far(bench) == [("u", "", True)]


def test_the_turn_began_when_speech_was_reported(bench: Bench) -> None:
    bench.now = 1234.5
    bench.give(p.InputAudioBufferSpeechStarted(audio_start_ms=300, item_id="u"))
    bench.now = 1240.0
    bench.give(p.InputAudioBufferSpeechStopped(audio_end_ms=5000, item_id="u"), added(spoken("u")))
    bench.give(delta("u", "t"), transcript("u", "to be"), transcript("v", "pushed to talk"))
    events = bench.emitted("input_audio_transcription_completed")
    assert [event.turn_started_at for event in events] == [1234.5, 1234.5, None]
    assert [(e.item_id, e.audio_start_ms) for e in bench.emitted("input_speech_started")] == [("u", 300)]
    (stopped,) = bench.emitted("input_speech_stopped")
    assert (stopped.item_id, stopped.audio_end_ms, stopped.user_transcription_enabled) == ("u", 5000, True)


def test_speech_is_reported_as_not_transcribed_when_it_will_not_be(bench: Bench) -> None:
    silent = Bench(p_replace(OPTIONS, input_audio_transcription=None))
    silent.give(p.InputAudioBufferSpeechStopped(item_id="u"))
    assert not silent.emitted("input_speech_stopped")[0].user_transcription_enabled
    bench.give(m.OptionsChanged(p_replace(OPTIONS, input_audio_transcription=None)))
    bench.give(p.InputAudioBufferSpeechStopped(item_id="u"))
    assert not bench.emitted("input_speech_stopped")[0].user_transcription_enabled


def p_replace(options: SessionOptions, **changes: Any) -> SessionOptions:
    return SessionOptions(
        **{name: changes.get(name, getattr(options, name)) for name in options.__struct_fields__}
    )


def test_what_a_transcription_cost_is_a_metric(bench: Bench) -> None:
    usage = p.TranscriptionDurationUsage(seconds=2.0)
    bench.give(transcript("u", "hi", usage=usage, event_id="event_1"), transcript("v", "ho"))
    (metrics,) = bench.emitted("metrics_collected")
    assert (metrics.audio_duration, metrics.request_id, metrics.label) == (2.0, "event_1", "label")


# -- items that edits leave alone ---------------------------------------------------------------------------------


def test_an_item_of_a_response_is_left_alone_until_it_is_done(bench: Bench) -> None:
    bench.give(added(message("a", "par", "assistant")), m.ItemGenerating("a", True))
    assert bench.update(ChatContext.empty()).result(0).deleted == []
    bench.give(m.ItemGenerating("a", False))
    bench.update(ChatContext.empty())
    assert [event.item_id for event in bench.sent()] == ["a"]


@pytest.mark.parametrize("kind", [p.ConversationItemDone, p.ResponseOutputItemDone])
def test_an_item_of_a_response_that_nobody_follows_is_left_alone_too(bench: Bench, kind: Any) -> None:
    bench.give(added(message("a", "par", "assistant", "in_progress")))
    assert bench.update(ChatContext.empty()).result(0).deleted == []
    bench.give(kind(item=message("a", "partial", "assistant")))
    bench.update(ChatContext.empty())
    assert [event.item_id for event in bench.sent()] == ["a"]


@pytest.mark.parametrize("end", ["transcript", "failure", "time"])
def test_an_item_being_transcribed_is_left_alone_for_ten_seconds(bench: Bench, end: str) -> None:
    assert TRANSCRIPTION_SECONDS == 10
    bench.give(added(spoken("u")))
    bench.now += 9.99
    assert bench.update(ChatContext.empty()).result(0).deleted == []
    if end == "time":
        bench.now += 0.01
    else:
        bench.give(transcript("u", "hi") if end == "transcript" else failed("u"))
    bench.update(ChatContext.empty())
    assert [event.item_id for event in bench.sent()] == ["u"]


def test_without_transcription_spoken_items_are_not_waited_for() -> None:
    bench = Bench(p_replace(OPTIONS, input_audio_transcription=None))
    bench.give(added(spoken("u")))
    bench.update(ChatContext.empty())
    assert [event.item_id for event in bench.sent()] == ["u"]


def test_spoken_items_that_are_still_listed_are_neither_deleted_nor_recreated(bench: Bench) -> None:
    bench.give(added(spoken("u"), None), added(message("a", "yes", "assistant"), "u"), failed("u"))
    context = bench.read()
    context.add_message(role="user", content="and?", id="new")
    bench.update(context)
    (create,) = bench.sent()
    assert (create.item.id, create.previous_item_id) == ("new", "a")


# -- the end -----------------------------------------------------------------------------------------------------


def test_the_conversation_is_left_as_it_was(bench: Bench) -> None:
    bench.give(added(message("a", "one")))
    bench.give(m.SessionClosing("session closed"))
    assert [item.id for item in bench.final.result(0).items] == ["a"]
    bench.give(m.Truncate("a", True, 0, None), m.Truncate("a", False, 0, "o"))
    assert bench.sent() == []
