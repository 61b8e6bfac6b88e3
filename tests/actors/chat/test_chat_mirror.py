"""The mirror, driven by random events beside a plain list that says what it should hold."""

from __future__ import annotations

import hypothesis.stateful as sm
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from antiphon.actors.chat import ChatMessage, FunctionCall, ImageContent, Inserted, Mirror
from antiphon.protocol import ContentPart, FunctionCallItem, Item, MessageItem, UnknownItem

item_ids = st.sampled_from("abcdefgh")


def wire(item_id: str, *texts: str, role: str = "user") -> MessageItem:
    parts = [ContentPart(type="input_text", text=text) for text in texts]
    return MessageItem(id=item_id, role=role, content=parts)


def spoken(item_id: str) -> MessageItem:
    return MessageItem(id=item_id, role="assistant", content=[ContentPart(type="output_audio")])


def text_of(mirror: Mirror, item_id: str) -> str:
    chat = mirror.get(item_id).chat
    assert isinstance(chat, ChatMessage)
    return chat.text_content


class MirrorBesideAList(sm.RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.mirror = Mirror()
        self.model: list[str] = []

    @sm.rule(item_id=item_ids, previous=st.one_of(item_ids, st.none(), st.just(UNSET)), opaque=st.booleans())
    def insert(self, item_id: str, previous: str | None, opaque: bool) -> None:
        item: Item = UnknownItem(type="novel", id=item_id, raw=b"{}") if opaque else wire(item_id, "hi")
        outcome = self.mirror.insert(previous, item)
        if item_id in self.model:
            assert outcome is Inserted.DUPLICATE
            return
        if previous is None:
            self.model.insert(0, item_id)
        elif previous in self.model:
            self.model.insert(self.model.index(previous) + 1, item_id)
        else:
            self.model.append(item_id)
        known = previous is None or previous is UNSET or previous in self.model[:-1]
        assert outcome is (Inserted.DONE if known else Inserted.UNKNOWN_PREVIOUS)

    @sm.rule(item_id=item_ids)
    def delete(self, item_id: str) -> None:
        entry = self.mirror.delete(item_id)
        assert (entry is not None) == (item_id in self.model)
        if entry is not None:
            assert entry.id == item_id
            self.model.remove(item_id)

    @sm.invariant()
    def same_order(self) -> None:
        assert [entry.id for entry in self.mirror] == self.model
        assert len(self.mirror) == len(self.model)
        assert [self.mirror.previous_of(item_id) for item_id in self.model] == [None, *self.model][
            : len(self.model)
        ]
        assert [item if isinstance(item, str) else item.id for item in self.mirror.order()] == self.model
        assert all(item_id in self.mirror for item_id in self.model)


TestMirrorBesideAList = MirrorBesideAList.TestCase
TestMirrorBesideAList.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_an_item_without_an_id_is_ignored() -> None:
    mirror = Mirror()
    assert mirror.insert(UNSET, wire("", "hi")) is Inserted.NO_ID
    assert len(mirror) == 0


def test_what_is_not_there_is_neither_changed_nor_found() -> None:
    mirror = Mirror()
    mirror.insert(None, FunctionCallItem(id="call", name="f", arguments="{}"))
    for item_id in ("nothing", "call"):
        assert not mirror.transcribe(item_id, 0, "a")
        assert not mirror.replace_content(item_id, ["a"])
        assert not mirror.truncate(item_id, 10)
    assert not mirror.update(wire("nothing", "a"))
    assert mirror.previous_of("nothing") is None
    assert mirror.delete("nothing") is None
    assert mirror.get("nothing") is None


def test_deleting_while_going_through() -> None:
    mirror = Mirror()
    for item_id in "abc":
        mirror.insert(UNSET, wire(item_id, "hi"))
    for entry in mirror:
        mirror.delete(entry.id)
    assert len(mirror) == 0
    assert list(mirror) == []


def test_chat_ctx_is_independent_and_has_only_what_has_a_chat_form() -> None:
    mirror = Mirror()
    mirror.insert(None, wire("a", "hi"))
    mirror.insert("a", UnknownItem(type="novel", id="o", raw=b"{}"))
    mirror.insert("o", FunctionCallItem(id="b", name="f", arguments="{}", call_id="c"))
    ctx = mirror.chat_ctx()
    assert ctx.items == [ChatMessage("user", "hi", id="a"), FunctionCall("c", "f", "{}", id="b")]
    ctx.items[0].content.append("more")
    assert text_of(mirror, "a") == "hi"


def test_transcripts_are_appended_with_their_confidence() -> None:
    mirror = Mirror()
    mirror.insert(None, wire("a"))
    assert mirror.transcribe("a", 0, "hello", confidence=0.5)
    assert mirror.transcribe("a", 0, "")
    assert mirror.get("a").chat == ChatMessage("user", ["hello"], id="a", transcript_confidence=0.5)


def test_update_takes_the_final_form_over() -> None:
    mirror = Mirror()
    mirror.insert(None, FunctionCallItem(id="call", name="f", arguments=""))
    mirror.insert("call", spoken("a"))
    mirror.transcribe("a", 0, "heard so far")
    assert mirror.update(final := FunctionCallItem(id="call", name="f", arguments="{}", call_id="c"))
    assert mirror.get("call").item is final
    assert mirror.get("call").chat == FunctionCall("c", "f", "{}", id="call")
    assert mirror.update(spoken("a"))
    assert text_of(mirror, "a") == "heard so far"
    assert mirror.update(wire("a", "all of it"))
    assert text_of(mirror, "a") == "all of it"


def test_has_audio() -> None:
    mirror = Mirror()
    mirror.insert(None, wire("text", "hi"))
    mirror.insert(None, spoken("audio"))
    mirror.insert(None, FunctionCallItem(id="call", name="f", arguments=""))
    assert {entry.id for entry in mirror if entry.has_audio} == {"audio"}


def test_protected_items() -> None:
    mirror = Mirror()
    for item_id in "abc":
        mirror.insert(UNSET, wire(item_id, "hi"))
    mirror.get("a").in_progress = True
    mirror.get("b").transcribing_until = 10.0
    assert mirror.protected(9.9) == {"a", "b"}
    assert mirror.protected(10.0) == {"a"}


def truncated(received_ms: float, end_ms: float, transcript: str | None = None) -> Mirror:
    mirror = Mirror()
    mirror.insert(None, spoken("a"))
    mirror.replace_content("a", ["0123456789"])
    mirror.get("a").received_audio_ms = received_ms
    assert mirror.truncate("a", end_ms, transcript)
    return mirror


@pytest.mark.parametrize(
    ("received_ms", "end_ms", "left"),
    [
        (1000, 500, "01234"),
        (1000, 0, ""),
        (1000, 1000, "0123456789"),
        (1000, 2000, "0123456789"),
        (0, 500, "0123456789"),
    ],
)
def test_truncate_cuts_the_text_in_proportion(received_ms: float, end_ms: float, left: str) -> None:
    mirror = truncated(received_ms, end_ms)
    assert text_of(mirror, "a") == left
    assert mirror.get("a").chat.interrupted


def test_truncate_takes_the_transcript_that_is_given() -> None:
    assert text_of(truncated(1000, 500, "what was heard"), "a") == "what was heard"
    assert mirror_content(truncated(1000, 500, "")) == []


def mirror_content(mirror: Mirror) -> list[object]:
    return mirror.get("a").chat.content


def test_a_cut_is_not_undone_by_what_comes_later() -> None:
    mirror = truncated(1000, 500)
    mirror.update(wire("a", "0123456789"))
    assert text_of(mirror, "a") == "01234"
    mirror.replace_content("a", ["0123456789", ImageContent("data:,")])
    assert mirror_content(mirror) == ["01234", ImageContent("data:,")]
    known = truncated(1000, 500, "012")
    known.update(wire("a", "0123456789"))
    assert text_of(known, "a") == "012"


def test_a_transcript_that_comes_after_the_cut_is_cut() -> None:
    mirror = Mirror()
    mirror.insert(None, spoken("a"))
    mirror.get("a").received_audio_ms = 1000
    mirror.truncate("a", 300)
    mirror.replace_content("a", ["0123456789"])
    assert text_of(mirror, "a") == "012"


@given(st.integers(1, 1000), st.integers(0, 1000), st.integers(0, 1000))
def test_a_second_cut_is_measured_from_the_whole(received: int, first: int, second: int) -> None:
    mirror = truncated(received, first)
    mirror.truncate("a", second)
    assert text_of(mirror, "a") == text_of(truncated(received, second), "a")
