"""The diff, proved against a simulated server: applying its plan gives the conversation that was wanted."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.actors.audio import VideoFrame
from antiphon.actors.chat import (
    AgentConfigUpdate,
    AgentHandoff,
    AudioContent,
    ChatContext,
    ChatItem,
    ChatMessage,
    DiffPlan,
    FunctionCall,
    FunctionCallOutput,
    ImageContent,
    Mirror,
    diff,
    has_wire_form,
    image_url,
    to_item,
)
from antiphon.protocol import UnknownItem

Remote = list[ChatItem | str]


def server_with(remote: Sequence[ChatItem | str]) -> Mirror:
    server = Mirror()
    previous = None
    for entry in remote:
        wire = UnknownItem(type="novel", id=entry, raw=b"{}") if isinstance(entry, str) else to_item(entry)
        server.insert(previous, wire)
        previous = wire.id
    return server


def apply(plan: DiffPlan, server: Mirror) -> None:
    """What a server does: it refuses an unknown predecessor, a known id, an unknown deletion."""

    def delete(item_id: str) -> None:
        assert server.delete(item_id) is not None, f"{item_id} isn't there to be deleted"

    def create(previous: str | None, item: ChatItem) -> None:
        assert previous is None or previous in server, f"{previous} isn't there to be followed"
        assert item.id not in server, f"{item.id} is there already"
        server.insert(previous, to_item(item))

    for item_id in plan.removals:
        delete(item_id)
    for previous, item in plan.creations:
        create(previous, item)
    for previous, item in plan.replacements:
        delete(item.id)
        create(previous, item)


def message(item_id: str, text: str = "text") -> ChatMessage:
    return ChatMessage("user", text, id=item_id)


def conversation(ids: str) -> list[ChatItem]:
    return [message(item_id) for item_id in ids]


def ids_of(server: Mirror) -> str:
    return "".join(entry.id for entry in server)


def placed(placements: list[tuple[str | None, ChatItem]]) -> list[tuple[str | None, str]]:
    return [(previous, item.id) for previous, item in placements]


@dataclass
class Case:
    remote: Remote
    wanted: list[ChatItem]
    protected: set[str]


@st.composite
def items(draw: st.DrawFn, item_id: str) -> ChatItem:
    kind = draw(st.sampled_from(["user", "user", "assistant", "empty", "call", "output"]))
    text = draw(st.sampled_from(["a", "b"]))
    match kind:
        case "call":
            return FunctionCall("c", "f", text, id=item_id)
        case "output":
            return FunctionCallOutput("c", text, id=item_id)
        case "empty":
            return ChatMessage("user", [], id=item_id)
        case role:
            return ChatMessage(role, text, id=item_id)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    def fresh(item_id: str) -> ChatItem:
        return draw(items(item_id))

    remote: Remote = []
    for item_id in draw(st.lists(st.sampled_from("abcdefgh"), unique=True)):
        remote.append(fresh(item_id))
        if draw(st.integers(0, 4)) == 0:
            remote.append(f"opaque-{item_id}")
    known = {item.id: item for item in remote if not isinstance(item, str)}
    wanted: list[ChatItem] = []
    for item_id in draw(st.lists(st.sampled_from("abcdefghijkl"), max_size=12)):
        same = item_id in known and draw(st.booleans())
        wanted.append(known[item_id] if same else fresh(item_id))
    if draw(st.booleans()):  # near the server's order, as apps usually are
        wanted.sort(key=lambda item: list(known).index(item.id) if item.id in known else -1)
    return Case(remote, wanted, draw(st.sets(st.sampled_from("abcdefghij"), max_size=3)))


def content_of(item: ChatItem) -> object:
    match item:
        case ChatMessage():
            return item.text_content
        case FunctionCall():
            return item.name, item.arguments
        case FunctionCallOutput():
            return [item.output]


def goal_of(case: Case) -> list[ChatItem]:
    known = {item.id for item in case.remote if not isinstance(item, str)}
    goal = {item.id: item for item in reversed(case.wanted)}  # of an id that occurs twice, the first
    ids = dict.fromkeys(item.id for item in case.wanted)
    return [goal[item_id] for item_id in ids if item_id in known or has_wire_form(goal[item_id])]


def immovable(case: Case) -> set[str]:
    """Ids that must be left alone, by the letter of the contract."""
    remote = {item.id: item for item in case.remote if not isinstance(item, str)}
    hollow = {
        item.id
        for item in goal_of(case)
        if item.id in remote and not (has_wire_form(item) and has_wire_form(remote[item.id]))
    }
    return hollow | (case.protected & set(remote)) | {item for item in case.remote if isinstance(item, str)}


@given(cases())
def test_applying_the_plan_gives_the_wanted_conversation(case: Case) -> None:
    server = server_with(case.remote)
    plan = diff(case.remote, case.wanted, protected=case.protected)
    apply(plan, server)

    goal = goal_of(case)
    left_alone = immovable(case)
    assert {entry.id for entry in server} == {item.id for item in goal} | left_alone
    for item in goal:
        if item.id not in left_alone:
            assert content_of(server.get(item.id).chat) == content_of(item)
    order = [entry.id for entry in server]
    movable = [item.id for item in goal if item.id not in left_alone]
    assert [item_id for item_id in order if item_id in set(movable)] == movable

    places = {(item if isinstance(item, str) else item.id): index for index, item in enumerate(case.remote)}
    standing = [places[item.id] for item in goal if item.id in left_alone]
    if standing == sorted(standing):  # what can't move is in the right order already
        listed = {item.id for item in goal}
        assert [item_id for item_id in order if item_id in listed] == [item.id for item in goal]


@given(cases())
def test_what_may_not_be_touched_is_not(case: Case) -> None:
    plan = diff(case.remote, case.wanted, protected=case.protected)
    touched = {*plan.removals, *(item.id for _, item in plan.replacements)}
    assert not touched & immovable(case)
    assert all(has_wire_form(item) for _, item in plan.creations + plan.replacements)


@given(cases())
def test_a_second_diff_finds_nothing_to_do(case: Case) -> None:
    server = server_with(case.remote)
    apply(diff(case.remote, case.wanted, protected=case.protected), server)
    assert not diff(server.order(), case.wanted, protected=case.protected)


@given(cases())
def test_placements_are_in_context_order(case: Case) -> None:
    plan = diff(case.remote, case.wanted, protected=case.protected)
    rank = {item.id: index for index, item in enumerate(goal_of(case))}
    for part in (plan.creations, plan.replacements):
        assert [rank[item.id] for _, item in part] == sorted(rank[item.id] for _, item in part)


@given(st.permutations("abcdefgh"), st.permutations("efghijkl"))
def test_as_few_items_move_as_possible(remote: list[str], wanted: list[str]) -> None:
    table = [
        [0] * (len(wanted) + 1) for _ in range(len(remote) + 1)
    ]  # the textbook's longest common subsequence
    for i, ours in enumerate(remote):
        for j, theirs in enumerate(wanted):
            both = table[i][j] + 1 if ours == theirs else 0
            table[i + 1][j + 1] = max(both, table[i][j + 1], table[i + 1][j])
    plan = diff(conversation("".join(remote)), conversation("".join(wanted)))
    assert len(remote) - len(plan.removals) == table[-1][-1]
    assert len(wanted) - len(plan.creations) == table[-1][-1]


def test_equal_conversations_need_nothing() -> None:
    assert not diff(conversation("abc"), conversation("abc"))
    assert not diff([], [])


def test_removals_creations_and_replacements() -> None:
    plan = diff(
        conversation("abcd"), [message("x"), message("a"), message("c", "new"), message("y"), message("d")]
    )
    assert plan.removals == ["b"]
    assert placed(plan.creations) == [(None, "x"), ("c", "y")]
    assert placed(plan.replacements) == [("a", "c")]


def test_a_moved_item_is_deleted_and_created() -> None:
    plan = diff(conversation("abcd"), conversation("bcda"))
    assert plan.removals == ["a"]
    assert placed(plan.creations) == [("d", "a")]


def test_empty_messages_are_not_created_and_not_followed() -> None:
    wanted = [
        message("a"),
        ChatMessage("user", [], id="x"),
        ChatMessage("assistant", "", id="y"),
        message("z"),
    ]
    assert placed(diff(conversation("a"), wanted).creations) == [("a", "z")]
    assert placed(diff([], wanted[1:]).creations) == [(None, "z")]


def test_an_empty_server_item_stays_as_long_as_it_is_listed() -> None:
    remote: Remote = [message("a"), ChatMessage("user", [], id="e"), message("b")]
    assert not diff(remote, [message("a"), message("e", "what was heard"), message("b")])
    assert diff(remote, conversation("ab")).removals == ["e"]
    moved = diff(remote, conversation("eab"))
    assert "e" not in moved.removals


def test_a_copy_older_than_the_transcript_deletes_nothing() -> None:
    assert not diff([message("e", "the transcript")], [ChatMessage("user", [], id="e")])


def test_protected_items_stay_listed_or_not_changed_or_not() -> None:
    assert not diff(conversation("ab"), conversation("a"), protected={"b"})
    assert not diff(conversation("ab"), [message("a"), message("b", "new")], protected={"b"})
    plan = diff(conversation("ab"), conversation("bac"), protected={"b"})
    assert plan.removals == ["a"]
    assert placed(plan.creations) == [("b", "a"), ("a", "c")]


def test_items_without_a_chat_form_keep_their_place() -> None:
    server = server_with(remote := [message("a"), "O", message("b"), "P"])
    apply(diff(remote, conversation("ac")), server)
    assert ids_of(server) == "aOPc"


def test_a_context_item_cannot_replace_one_without_a_chat_form() -> None:
    assert not diff(["O"], conversation("O"))


def test_a_new_id_counts_once() -> None:
    plan = diff([], [message("a", "first"), message("b"), message("a", "second")])
    assert placed(plan.creations) == [(None, "a"), ("a", "b")]
    assert plan.creations[0][1] == message("a", "first")


def test_notes_and_instructions_are_left_out() -> None:
    wanted: list[ChatItem] = [
        message(ChatContext.INSTRUCTIONS_ID),
        AgentHandoff("x", id="h"),
        AgentConfigUpdate(id="u"),
        message("a"),
    ]
    assert placed(diff([], wanted).creations) == [(None, "a")]


URL = "data:image/png;base64,AAAA"
FRAME = VideoFrame(np.full((8, 8, 3), 77, np.uint8))


@pytest.mark.parametrize(
    ("remote", "wanted"),
    [
        (["a", "b"], ["a\nb"]),
        (["a"], ["a", ImageContent(URL)]),
        (["a", ImageContent(URL)], ["a"]),
        ([ImageContent(URL), "a"], ["a", ImageContent(URL, detail="low")]),
        ([ImageContent(image_url(ImageContent(FRAME)))], [ImageContent(FRAME)]),
        (["a"], ["a", AudioContent()]),
        (["a"], [AudioContent(transcript="a")]),
    ],
)
def test_messages_with_the_same_text_and_pictures_are_the_same(remote: list[str], wanted: list[str]) -> None:
    assert not diff([ChatMessage("user", remote, id="i")], [ChatMessage("user", wanted, id="i")])


@pytest.mark.parametrize(
    ("remote", "wanted"),
    [
        (message("i", "a"), message("i", "b")),
        (
            ChatMessage("user", ["a", ImageContent(URL)], id="i"),
            ChatMessage("user", ["a", ImageContent("x")], id="i"),
        ),
        (
            ChatMessage("user", [ImageContent(URL)], id="i"),
            ChatMessage("user", [ImageContent(URL)] * 2, id="i"),
        ),
        (FunctionCall("c", "f", "{}", id="i"), FunctionCall("c", "g", "{}", id="i")),
        (FunctionCall("c", "f", "{}", id="i"), FunctionCall("c", "f", '{"a":1}', id="i")),
        (FunctionCallOutput("c", "1", id="i"), FunctionCallOutput("c", "2", id="i")),
        (FunctionCallOutput("c", "1", id="i"), message("i", "1")),
    ],
)
def test_other_content_is_replaced(remote: ChatItem, wanted: ChatItem) -> None:
    plan = diff([remote], [wanted])
    assert (plan.removals, plan.creations, plan.replacements) == ([], [], [(None, wanted)])


def test_a_hashed_call_id_is_no_change() -> None:
    call = FunctionCall("x" * 40, "f", "{}", id="i")
    output = FunctionCallOutput("x" * 40, "1", is_error=True, id="o")
    assert not diff(server_with([call, output]).order(), [call, output])


@pytest.mark.parametrize("change", ["nothing", "everything", "reversed", "shuffled", "half of it"])
def test_ten_thousand_items_take_under_200_ms(change: str) -> None:
    chance = random.Random(change)
    remote = [message(f"item_{number}", f"text {number}") for number in range(10_000)]
    wanted: list[ChatItem] = {
        "nothing": lambda: [message(item.id, item.text_content) for item in remote],
        "everything": lambda: [message(item.id, "new") for item in remote],
        "reversed": lambda: remote[::-1],
        "shuffled": lambda: chance.sample(remote, len(remote)),
        "half of it": lambda: (
            chance.sample(remote, 5_000) + [message(f"new_{number}") for number in range(5_000)]
        ),
    }[change]()
    protected = {item.id for item in remote[::3]}
    times = []
    for _ in range(3):
        start = time.thread_time()
        diff(remote, wanted, protected=protected)
        times.append(time.thread_time() - start)
    assert min(times) < 0.2
