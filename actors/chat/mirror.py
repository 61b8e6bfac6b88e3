"""The mirror: what the server's conversation looks like, as far as its events have told."""

from __future__ import annotations

import copy
import enum
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import msgspec
from msgspec import UNSET, UnsetType

from antiphon.actors.chat.context import ChatContext
from antiphon.actors.chat.convert import from_item
from antiphon.actors.chat.types import ChatContent, ChatItem, ChatMessage, copy_item
from antiphon.actors.undo import Restore, Undoable
from antiphon.protocol import Item, MessageItem, given

__all__ = ["Entry", "Inserted", "Mirror"]

# So many former states of a message that was cut are known for what they are.
REMEMBERED_STATES = 8


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
        outdated: Of a message that was cut, how it was before: whether it was interrupted, and its words.
        transcripts: What was said in the content parts of a user's message, by index, as far as it is known.
        transcribed: Indexes of the content parts whose transcript is final.
    """

    id: str
    item: Item
    chat: ChatItem | None = None
    in_progress: bool = False
    transcribing_until: float | None = None
    received_audio_ms: float = 0.0
    heard: Heard | None = None
    outdated: tuple[tuple[bool, str], ...] = ()
    transcripts: Mapping[int, str] = field(default_factory=dict)
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

    def now_text(self, item: Item) -> None:
        """The server has this in its place: words, already cut to what was heard, and no audio."""
        self.item, self.received_audio_ms, self.heard, self.transcripts = item, 0.0, None, {}
        if isinstance(self.chat, ChatMessage):
            self._content = list(self.chat.content)

    def _set_chat(self, chat: ChatItem | None) -> None:
        self.chat = chat
        if isinstance(chat, ChatMessage):
            self._content = chat.content
            self._show()

    def _show(self) -> None:
        """Gives the message its content, or what was heard of it."""
        assert isinstance(self.chat, ChatMessage)
        if self.heard is None:
            self.chat.content = list(self._content)
            return
        before = (self.chat.interrupted, self.chat.text_content)
        self.chat.content = list(self._content)
        self.chat.interrupted = True
        text, others = self.chat.text_content, self.chat.images
        latest = {before: None, (False, text): None}
        earlier = [state for state in self.outdated if state not in latest]
        self.outdated = (*earlier, *latest)[-REMEMBERED_STATES:]
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
        entry = Entry(item.id, item, transcripts=_transcripts(item))
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
            entry.transcripts = {**entry.transcripts, **_transcripts(item)}
            self.replace_content(entry.id, _content(item, entry.transcripts))
        return True

    def replace_content(self, item_id: str, content: Iterable[ChatContent]) -> bool:
        """Gives a message other content; a truncated one shows only what was heard of it."""
        entry = self._message(item_id)
        if entry is None:
            return False
        entry._content = list(content)
        entry._show()
        return True

    def transcribe(
        self,
        item_id: str,
        content_index: int,
        text: str,
        confidence: float | None = None,
        *,
        is_final: bool = True,
    ) -> bool:
        """Gives a part of a message the words that were said in it; an empty transcript takes none away.

        Args:
            item_id: The message.
            content_index: The part.
            text: The words; they take the place of those that the part came with.
            confidence: The transcriber's, 0 to 1.
            is_final: Whether no better transcript can follow.
        """
        entry = self._message(item_id)
        if entry is None:
            return False
        assert isinstance(entry.chat, ChatMessage)
        if text:
            entry.transcripts = {**entry.transcripts, content_index: text}
            entry._content = _content(entry.item, entry.transcripts)
            entry._show()
        if is_final:
            entry.transcribed |= {content_index}
        if confidence is not None:
            entry.chat.transcript_confidence = confidence
        return True

    def audio_received(self, item_id: str, ms: float) -> None:
        """So much audio of a message has come in; one that was cut before is cut in proportion to it now."""
        entry = self.edit(item_id)
        if entry is None:
            return
        entry.received_audio_ms = ms
        if entry.heard is not None:
            entry._show()

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
        # Asked of every item at every edit: to compare the words of those that were never cut would double its cost.
        if entry is None or not entry.outdated:
            return item
        if not isinstance(entry.chat, ChatMessage) or not isinstance(item, ChatMessage):
            return item
        state, present = ((chat.interrupted, chat.text_content) for chat in (item, entry.chat))
        return entry.chat if state != present and state in entry.outdated else item

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


def _transcripts(item: Item) -> dict[int, str]:
    """The words that the parts of a user's message come with, by index."""
    if not isinstance(item, MessageItem) or item.role != "user":
        return {}
    return {index: words for index, part in enumerate(item.content) if (words := given(part.transcript, ""))}


def _content(item: Item, transcripts: Mapping[int, str]) -> list[ChatContent]:
    """A message's content, with what else is known to have been said in its parts."""
    assert isinstance(item, MessageItem)
    parts = [
        msgspec.structs.replace(part, transcript=transcripts.get(index, part.transcript))
        for index, part in enumerate(item.content)
    ]
    message = from_item(msgspec.structs.replace(item, content=parts))
    assert isinstance(message, ChatMessage)
    unlisted = [words for index, words in sorted(transcripts.items()) if index >= len(parts)]
    return [*message.content, *unlisted]
