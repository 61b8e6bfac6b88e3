"""What to delete and create so that the server's conversation becomes the one that an app wants."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from typing import TypeAlias

from antiphon.actors.chat.context import ChatContext
from antiphon.actors.chat.convert import has_wire_form, image_url
from antiphon.actors.chat.types import (
    AgentConfigUpdate,
    AgentHandoff,
    ChatItem,
    ChatMessage,
    FunctionCall,
    FunctionCallOutput,
)

__all__ = ["DiffPlan", "Placement", "diff"]

Placement: TypeAlias = tuple[str | None, ChatItem]
"""An item to create, behind the id of the item that it follows; None is the head of the conversation."""


@dataclass(frozen=True, slots=True)
class DiffPlan:
    """Changes to send, in this order.

    Attributes:
        removals: Ids to delete. An item that moves is here and among the creations.
        creations: Items to create, in context order.
        replacements: Items to delete and create again at once, each with other content than before.
    """

    removals: list[str]
    creations: list[Placement]
    replacements: list[Placement]

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.removals or self.creations or self.replacements)


def diff(
    remote: Sequence[ChatItem | str], wanted: Iterable[ChatItem], *, protected: Set[str] = frozenset()
) -> DiffPlan:
    """Compares the server's conversation with the wanted one, by id.

    As many items as possible stay where they are (the longest common subsequence). Some stay in any case:

    * `protected` items;
    * items that have no chat form, which `wanted` can't mention;
    * items that `wanted` lists while either side has no content for them (audio whose words aren't known).

    Where one of these stands at another place than `wanted` has it, the rest is arranged around it.

    Args:
        remote: The server's items in its order, ids unique; one without a chat form is given as its bare id.
        wanted: The conversation to get to. Instructions, handoffs and config updates in it are passed over,
            as are new messages without content and every occurrence of an id after the first.
        protected: Ids of items that may not be deleted or replaced now.

    Returns:
        The changes. Whatever a placement names as its predecessor exists at the time when its turn comes.
    """
    place = {_id(item): index for index, item in enumerate(remote)}
    goal = _goal(wanted, remote, place)
    # Most edits leave most of the conversation as it is: both ends are passed over in a twentieth of the time.
    head = _common(remote, goal)
    tail = _common(remote[head:][::-1], goal[head:][::-1])
    if head + tail == len(remote) == len(goal):
        return DiffPlan([], [], [])
    before = goal[head - 1].id if head else None
    return _diff(remote[head : len(remote) - tail], goal[head : len(goal) - tail], before, protected)


def _common(remote: Sequence[ChatItem | str], goal: Sequence[ChatItem]) -> int:
    """How many items at the beginning are the same and have the same content."""
    count = 0
    for ours, theirs in zip(remote, goal, strict=False):
        if isinstance(ours, str) or ours.id != theirs.id or not _same_content(ours, theirs):
            break
        count += 1
    return count


def _diff(
    remote: Sequence[ChatItem | str], goal: Sequence[ChatItem], previous: str | None, protected: Set[str]
) -> DiffPlan:
    """What `diff` says, of the part behind `previous`."""
    place = {_id(item): index for index, item in enumerate(remote)}
    listed = [item.id for item in goal if item.id in place]
    hollow = {_id(item) for item in (*remote, *goal) if _is_hollow(item)}
    fixed = hollow.intersection(listed) | protected
    chain = set(_in_place(listed, place, fixed))

    stays = [isinstance(item, str) or item.id in fixed or item.id in chain for item in remote]
    behind = _last_behind(remote, stays, chain, previous)
    plan = DiffPlan([_id(item) for item, kept in zip(remote, stays, strict=True) if not kept], [], [])
    previous = behind.get(previous)
    for item in goal:
        if item.id in chain:
            if item.id not in fixed and not _same_content(remote[place[item.id]], item):
                plan.replacements.append((previous, item))
            previous = behind[item.id]
        elif item.id not in fixed or item.id not in place:
            plan.creations.append((previous, item))
            previous = item.id
    return plan


def _id(item: ChatItem | str) -> str:
    return item if isinstance(item, str) else item.id


def _goal(
    wanted: Iterable[ChatItem], remote: Sequence[ChatItem | str], place: dict[str, int]
) -> list[ChatItem]:
    """The wanted items that are, or can be put, on the wire, each id once."""
    goal: dict[str, ChatItem] = {}
    for item in wanted:
        if not isinstance(item, AgentHandoff | AgentConfigUpdate) and item.id != ChatContext.INSTRUCTIONS_ID:
            goal.setdefault(item.id, item)

    def possible(item: ChatItem) -> bool:
        index = place.get(item.id)
        return has_wire_form(item) if index is None else not isinstance(remote[index], str)

    return [item for item in goal.values() if possible(item)]


def _is_hollow(item: ChatItem | str) -> bool:
    if not isinstance(item, ChatMessage):
        return False
    first = item.content[0] if item.content else ""
    return not (isinstance(first, str) and first) and not has_wire_form(item)


def _in_place(listed: Sequence[str], place: dict[str, int], fixed: Set[str]) -> list[str]:
    """The ids that need not move: as many as can be once the fixed ones, which can't, have been kept."""
    pillars = _increasing([item_id for item_id in listed if item_id in fixed], place)
    if not pillars:
        return _increasing(listed, place)
    # What stands between the same pillars on both sides can be kept together with all of them.
    gates = [place[item_id] for item_id in pillars]
    fits: list[str] = []
    gap = 0
    for item_id in listed:
        if gap < len(pillars) and item_id == pillars[gap]:
            gap += 1
            fits.append(item_id)
        elif item_id not in fixed and bisect_left(gates, place[item_id]) == gap:
            fits.append(item_id)
    return _increasing(fits, place)


def _increasing(ids: Sequence[str], place: dict[str, int]) -> list[str]:
    """A longest subsequence of `ids` that is in order of `place` (patience sorting)."""
    ends: list[int] = []  # ends[n]: the lowest place at which a run of n + 1 can end so far
    last: list[str] = []  # the id that stands there
    before: dict[str, str | None] = {}
    for item_id in ids:
        length = bisect_left(ends, place[item_id])
        before[item_id] = last[length - 1] if length else None
        ends[length : length + 1] = [place[item_id]]
        last[length : length + 1] = [item_id]
    run: list[str] = []
    step = last[-1] if last else None
    while step is not None:
        run.append(step)
        step = before[step]
    return run[::-1]


def _last_behind(
    remote: Sequence[ChatItem | str], stays: Sequence[bool], chain: Set[str], current: str | None
) -> dict[str | None, str]:
    """For each id in `chain`, and for `current`, which stands before all, the last of the items that stay
    without being in it and that follow it directly; for the conversation's head, of those without a chat form.

    What is created next goes behind those: they were there before it.
    """
    behind: dict[str | None, str] = {} if current is None else {current: current}
    for item, kept in zip(remote, stays, strict=True):
        if not kept:
            continue
        if _id(item) in chain:
            current = _id(item)
        if current is not None or isinstance(item, str):
            behind[current] = _id(item)
    return behind


def _same_content(remote: ChatItem | str, wanted: ChatItem) -> bool:
    """Compares what was said, shown, called or returned; not roles or call ids, which servers may rewrite."""
    if isinstance(remote, ChatMessage) and isinstance(wanted, ChatMessage):
        if remote.content == wanted.content:
            return True  # what is nearly always so, told at once
        return remote.text_content == wanted.text_content and _same_images(remote, wanted)
    match remote, wanted:
        case FunctionCall(), FunctionCall():
            return (remote.name, remote.arguments) == (wanted.name, wanted.arguments)
        case FunctionCallOutput(), FunctionCallOutput():
            return remote.output == wanted.output
        case _:
            return False


def _same_images(remote: ChatMessage, wanted: ChatMessage) -> bool:
    ours, theirs = wanted.images, remote.images
    if not ours or not theirs:
        return True  # servers needn't give pictures back
    return [image_url(image) for image in ours] == [image_url(image) for image in theirs]
