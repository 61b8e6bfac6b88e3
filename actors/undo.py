"""State that can go back: what lets an actor that failed at a message go on as if it had never come.

Before a handler runs, its core's state is saved; if the handler raises, it is restored. Objects keep their
identity, and so do their containers, because others may refer to them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, TypeVar

Restore = Callable[[], None]

K = TypeVar("K")
V = TypeVar("V")


class Undoable:
    """Base of the objects that make up a core's state.

    `save` copies the attributes and, one level deep, dicts, lists, sets and deques; what is Undoable itself is
    saved in turn. A class with many entries does better with a `save` of its own that notes only what changes.
    """

    __slots__ = ()

    # Attributes that are no state: services, and what is shared with other threads.
    not_saved: ClassVar[frozenset[str]] = frozenset()

    def save(self) -> Restore:
        """Remember how this object is; the result puts it back."""
        names = [name for name in _attributes(self) if name not in self.not_saved]
        values = [(name, getattr(self, name)) for name in names]
        inner = [restore for _, value in values for restore in _save_inside(value)]

        def restore() -> None:
            for name, value in values:
                setattr(self, name, value)
            for restore_inner in inner:
                restore_inner()

        return restore


class UndoDict(dict[K, V], Undoable):
    """A dict that notes what changes instead of being copied: for those that grow with the conversation.

    Only the methods below are to be used for changing it. After a restore, a key that had been taken out stands
    at the end.
    """

    __slots__ = ("_before",)

    def __init__(self) -> None:
        super().__init__()
        self._before: dict[K, V | _Absent] | None = None

    def save(self) -> Restore:
        """Remember how it is; the cost is that of what changes."""
        before = self._before = {}

        def restore() -> None:
            for key, value in before.items():
                if isinstance(value, _Absent):
                    super(UndoDict, self).pop(key, None)
                else:
                    super(UndoDict, self).__setitem__(key, value)

        return restore

    def __setitem__(self, key: K, value: V) -> None:
        self._note(key)
        super().__setitem__(key, value)

    def pop(self, key: K, *default: Any) -> Any:
        """Take a key out."""
        self._note(key)
        return super().pop(key, *default)

    def keep_newest(self, count: int) -> None:
        """Take out the oldest keys beyond so many."""
        while len(self) > count:
            self.pop(next(iter(self)))

    def clear(self) -> None:
        """Take all keys out."""
        for key in self:
            self._note(key)
        super().clear()

    def _note(self, key: K) -> None:
        if self._before is not None and key not in self._before:
            self._before[key] = self.get(key, _ABSENT)


class _Absent:
    """Marks a key that was not there."""


_ABSENT = _Absent()


def _attributes(item: object) -> Iterable[str]:
    own: dict[str, Any] | None = getattr(item, "__dict__", None)
    if own is not None:
        return own
    return [name for name in getattr(type(item), "__slots__", ()) if hasattr(item, name)]


def _save_inside(value: Any) -> list[Restore]:
    """How to put back what is in an attribute's value, where it can change."""
    if isinstance(value, Undoable):
        return [value.save()]
    kind = type(value)
    if kind is dict:
        return [_restore_dict(value, dict(value)), *_save_items(value.values())]
    if kind is list:
        return [_restore_list(value, list(value)), *_save_items(value)]
    if kind is set:
        return [_restore_set(value, set(value))]
    if kind is deque:
        return [_restore_deque(value, list(value)), *_save_items(value)]
    return []


def _save_items(items: Iterable[Any]) -> list[Restore]:
    return [item.save() for item in items if isinstance(item, Undoable)]


def _restore_dict(value: dict[Any, Any], copy: dict[Any, Any]) -> Restore:
    def restore() -> None:
        value.clear()
        value.update(copy)

    return restore


def _restore_list(value: list[Any], copy: list[Any]) -> Restore:
    def restore() -> None:
        value[:] = copy

    return restore


def _restore_set(value: set[Any], copy: set[Any]) -> Restore:
    def restore() -> None:
        value.clear()
        value.update(copy)

    return restore


def _restore_deque(value: deque[Any], copy: list[Any]) -> Restore:
    def restore() -> None:
        value.clear()
        value.extend(copy)

    return restore
