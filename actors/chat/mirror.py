"""The mirror: what the server's conversation looks like, as far as its events have told."""

from __future__ import annotations

import copy
import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from msgspec import UNSET, UnsetType

from antiphon.actors.chat.context import ChatContext
from antiphon.actors.chat.convert import from_item
from antiphon.actors.chat.types import ChatContent, ChatItem, ChatMessage, copy_item
from antiphon.actors.undo import Restore, Undoable
from antiphon.protocol import Item, MessageItem, given

__all__ = ["Entry", "Inserted", "Mirror"]


class Inserted(enum.Enum):
    """What became of an item that was to be inserted."""

    DONE = "done"
    UNKNOWN_PREVIOUS = "unknown previous item, appended at the tail"
    DUPLICATE = "id already there, ignored"
    NO_ID = "no id, ignored"


@dataclass(slots=True, eq=False)
class Entry:
    """One item of the server's conversation.

    Attributes:
        id: The item's id.
        item: The item as the server last sent it.
        chat: The item as the app sees it; None if it has no such form.
        in_progress: Whether the server is still generating it.
        transcribing_until: When to stop waiting for its transcript (a time of the caller's clock); None if
            none is awaited.
        received_audio_ms: How much of its audio has come in.
        heard: What a truncation left of it, or None if it is whole.
        uncut: The message's words before it was cut; None if it wasn't.
        transcribed: Indexes of the content parts whose transcript has come.
    """

    id: str
    item: Item
    chat: ChatItem | None = None
    in_progress: bool = False
    transcribing_until: float | None = None
    received_audio_ms: float = 0.0
    heard: Heard | None = None
    uncut: str | None = None
    transcribed: frozenset[int] = frozenset()
    _content: list[ChatContent] = field(default_factory=list, repr=False)  # of a message, before any cut
    _previous: str | None = field(default=None, repr=False)  # ids, so that no cycle keeps entries alive
    _next: str | None = field(default=None, repr=False)

    @property
    def has_audio(self) -> bool:
        """Whether the server's item has an audio part."""
        return isinstance(self.item, MessageItem) and any("audio" in part.type for part in self.item.content)

    def clone(self) -> Entry:
        """Returns a copy that later changes to this entry leave alone."""
        chat = copy.copy(self.chat)
        return replace(self, chat=chat, _content=list(self._content))

    def _set_chat(self, chat: ChatItem | None) -> None:
        self.chat = chat
        if isinstance(chat, ChatMessage):
            self._content = chat.content
            self._show()

    def _show(self) -> None:
        """Gives the message its content, or what was heard of it."""
        assert isinstance(self.chat, ChatMessage)
        self.chat.content = list(self._content)
        if self.heard is None:
            return
        self.chat.interrupted = True
        text, others = self.chat.text_content, self.chat.images
        self.uncut = text
        if self.heard.transcript is not None:
            text = self.heard.transcript
        elif self.received_audio_ms > self.heard.audio_ms:
            text = text[: round(len(text) * self.heard.audio_ms / self.received_audio_ms)]
        self.chat.content = [text, *others] if text else [*others]


@dataclass(frozen=True, slots=True)
class Heard:
    """How far a truncated message was heard, and in words, where those are known."""

    audio_ms: float
    transcript: str | None


class Mirror(Undoable):
    """Items in server order. Looking up, inserting and deleting take the same time however many there are.

    It has no clock and no lock; iterating gives the entries in order. Methods that name an id that isn't
    there do nothing and return None or False.
    """

    __slots__ = ("_before", "_entries", "_head", "_tail")

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._head: str | None = None
        self._tail: str | None = None
        # Entries as they were when `save` was called, as far as they were touched since; None: it was not there.
        self._before: dict[str, Entry | None] | None = None

    def save(self) -> Restore:
        """Remember how the mirror is; the cost is that of what changes, however many items there are."""
        before = self._before = {}
        head, tail = self._head, self._tail

        def restore() -> None:
            for item_id, entry in before.items():
                if entry is None:
                    self._entries.pop(item_id, None)
                else:
                    self._entries[item_id] = entry
            self._head, self._tail = head, tail

        return restore

    def edit(self, item_id: str) -> Entry | None:
        """Returns the entry with this id, for a caller that is going to change it."""
        self._touch(item_id)
        return self._entries.get(item_id)

    def _touch(self, item_id: str) -> None:
        if self._before is not None and item_id not in self._before:
            entry = self._entries.get(item_id)
            self._before[item_id] = None if entry is None else entry.clone()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, item_id: object) -> bool:
        return item_id in self._entries

    def __iter__(self) -> Iterator[Entry]:
        item_id = self._head
        while item_id is not None:
            entry = self._entries[item_id]
            item_id = entry._next  # taken first, so that the caller may delete the entry
            yield entry

    def get(self, item_id: str) -> Entry | None:
        """Returns the entry with this id, to look at."""
        return self._entries.get(item_id)

    def previous_of(self, item_id: str) -> str | None:
        """Returns the id of the item before this one; None for the first."""
        entry = self._entries.get(item_id)
        return None if entry is None else entry._previous

    def insert(self, previous_item_id: str | UnsetType | None, item: Item) -> Inserted:
        """Adds an item that the server announced.

        Args:
            previous_item_id: The id of the item that it follows; None puts it at the head, UNSET at the tail.
            item: The item.
        """
        if not item.id:
            return Inserted.NO_ID
        if item.id in self._entries:
            return Inserted.DUPLICATE
        known = not isinstance(previous_item_id, str) or previous_item_id in self._entries
        entry = Entry(item.id, item)
        entry._set_chat(from_item(item))
        self._link(previous_item_id if known and previous_item_id is not UNSET else self._tail, entry)
        return Inserted.DONE if known else Inserted.UNKNOWN_PREVIOUS

    def delete(self, item_id: str) -> Entry | None:
        """Removes an item and returns its entry."""
        self._touch(item_id)
        entry = self._entries.pop(item_id, None)
        if entry is None:
            return None
        self._join(entry._previous, entry._next)
        return entry

    def update(self, item: Item) -> bool:
        """Takes over the final form of an item; content that came otherwise stays where the form has none."""
        entry = self.edit(item.id)
        if entry is None:
            return False
        entry.item = item
        final = from_item(item)
        if not isinstance(final, ChatMessage) or not isinstance(entry.chat, ChatMessage):
            entry._set_chat(final)
        elif not final.is_empty:
            self.replace_content(entry.id, final.content)
        return True

    def replace_content(self, item_id: str, content: Iterable[ChatContent]) -> bool:
        """Gives a message other content; a truncated one shows only what was heard of it."""
        entry = self._message(item_id)
        if entry is None:
            return False
        entry._content = list(content)
        entry._show()
        return True

    def append_text(
        self, item_id: str, text: str, confidence: float | None = None, content_index: int | None = None
    ) -> bool:
        """Adds what was said to a message, with the transcriber's confidence; empty text adds no part.

        With the index of the part in which it was said, it takes the place of the words that the part came with.
        """
        entry = self._message(item_id)
        if entry is None:
            return False
        assert isinstance(entry.chat, ChatMessage)
        if text:
            carried = None if content_index is None else _words_of_part(entry.item, content_index)
            if carried is not None and carried in entry._content:
                entry._content[entry._content.index(carried)] = text
            else:
                entry._content.append(text)
            entry._show()
        if content_index is not None:
            entry.transcribed |= {content_index}
        if confidence is not None:
            entry.chat.transcript_confidence = confidence
        return True

    def truncate(self, item_id: str, audio_end_ms: float, transcript: str | None = None) -> bool:
        """Cuts a message to what was heard; text that comes in later doesn't bring the rest back.

        Args:
            item_id: The message.
            audio_end_ms: Where the listener stopped hearing.
            transcript: What was heard. Without it, the text is cut in proportion to `received_audio_ms`, or
                stays where no audio is known of.
        """
        entry = self._message(item_id)
        if entry is None:
            return False
        entry.heard = Heard(audio_end_ms, transcript)
        entry._show()
        return True

    def as_cut(self, item: ChatItem) -> ChatItem:
        """Returns the item, or, if it is a copy from before a message was cut, the message as it is now."""
        entry = self._entries.get(item.id)
        if entry is None or entry.uncut is None or not isinstance(item, ChatMessage):
            return item
        is_older = not item.interrupted and item.text_content == entry.uncut
        return entry.chat if is_older and entry.chat is not None else item

    def protected(self, now: float) -> set[str]:
        """Returns the ids of the items that are being generated, or transcribed at the time `now`."""
        return {
            entry.id
            for entry in self
            if entry.in_progress or (entry.transcribing_until is not None and now < entry.transcribing_until)
        }

    def order(self) -> list[ChatItem | str]:
        """Returns what `diff` compares: the chat items, and the ids of those without a chat form."""
        return [entry.id if entry.chat is None else entry.chat for entry in self]

    def chat_ctx(self) -> ChatContext:
        """Returns the conversation as a copy that the caller may keep and change."""
        return ChatContext(copy_item(entry.chat) for entry in self if entry.chat is not None)

    def _message(self, item_id: str) -> Entry | None:
        """The entry of a message, to be changed."""
        entry = self.edit(item_id)
        return entry if entry is not None and isinstance(entry.chat, ChatMessage) else None

    def _link(self, previous: str | None, entry: Entry) -> None:
        following = self._head if previous is None else self._entries[previous]._next
        self._touch(entry.id)
        self._entries[entry.id] = entry
        self._join(previous, entry.id)
        self._join(entry.id, following)

    def _join(self, first: str | None, second: str | None) -> None:
        """Makes neighbours of two items; None stands for an end of the list."""
        if first is None:
            self._head = second
        else:
            self._touch(first)
            self._entries[first]._next = second
        if second is None:
            self._tail = first
        else:
            self._touch(second)
            self._entries[second]._previous = first


def _words_of_part(item: Item, content_index: int) -> str | None:
    """The transcript that a content part came with."""
    if not isinstance(item, MessageItem) or not 0 <= content_index < len(item.content):
        return None
    return given(item.content[content_index].transcript, "") or None
