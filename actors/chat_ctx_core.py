"""The mirror of the server's conversation, and its return after a drop. Decisions only."""

from __future__ import annotations

from concurrent.futures import Future

from msgspec import UNSET, UnsetType

import antiphon.protocol as p
from antiphon.actors import messages as m
from antiphon.actors.chat import ChatContext, Entry, Inserted, copy_item
from antiphon.actors.chat_edits import ChatEdits
from antiphon.actors.config import SessionOptions, SessionSpec
from antiphon.actors.core import Arm, Disarm, Settle, TimerFired, handles
from antiphon.actors.errors import RealtimeError
from antiphon.actors.events import RemoteItemAddedEvent
from antiphon.actors.replay import plan_replay
from antiphon.actors.undo import UndoDict
from antiphon.actors.user_speech import UserSpeech

# An item whose transcript doesn't come is protected from edits no longer than this.
TRANSCRIPTION_SECONDS = 10.0

# Of so many deleted items it is remembered that they were; a response under way may still speak of them.
REMEMBERED_DELETIONS = 512


class ChatCtxCore(UserSpeech, ChatEdits):
    """State and decisions of the ChatCtxActor.

    Args:
        spec: What the session was made with.
        options: What the server is told.
        final: Settled with the conversation when the session ends.
    """

    def __init__(self, spec: SessionSpec, options: SessionOptions, final: Future[ChatContext]) -> None:
        super().__init__(spec, options)
        self._final = final
        # Truncations of items that are not mirrored yet: the milliseconds, and the words.
        self._heard: UndoDict[str, tuple[int, str | None]] = UndoDict()

    # -- the mirror -----------------------------------------------------------------------------------

    @handles(p.ConversationItemAdded, p.ConversationItemCreated)
    def item_added(self, event: p.ConversationItemAdded | p.ConversationItemCreated) -> None:
        """Mirror an item that the server has; it may be one of ours, acknowledged."""
        item = event.item
        item_id = str(getattr(item, "id", "") or "")
        if not item_id:
            self.warn("an item without an id can't be mirrored")
            return
        if self.replay is not None and self.replay.restored(item_id):
            self.settle_replay_if_complete()
            return
        self._mirror_added(event)
        # Last, because the next edit may begin here: it has to know of this one's item.
        self.acknowledge(p.ConversationItemCreate, item_id)

    def _mirror_added(self, event: p.ConversationItemAdded | p.ConversationItemCreated) -> None:
        entry = self._insert(event.previous_item_id, event.item, announced_as=type(event))
        if entry is None:
            return
        entry.in_progress = _is_in_progress(event.item)
        if self.awaits_transcript(entry):
            entry.transcribing_until = self.now + TRANSCRIPTION_SECONDS
        if entry.chat is not None:
            self.emit(
                "remote_item_added",
                RemoteItemAddedEvent(
                    previous_item_id=p.given(event.previous_item_id, None), item=copy_item(entry.chat)
                ),
            )

    def _insert(
        self, previous: str | UnsetType | None, item: p.Item, announced_as: type | None = None
    ) -> Entry | None:
        item_id = item.id
        outcome = self.mirror.insert(previous, item)
        if outcome is Inserted.DUPLICATE:
            # Servers that speak both dialects announce an item under both names.
            if announced_as is not p.ConversationItemCreated:
                self.warn("the server announced item %.80s twice", item_id)
            return None
        if outcome is Inserted.UNKNOWN_PREVIOUS:
            self.warn("item %.80s follows %.80s, which is not known; put at the end", item_id, previous)
        self.deleted.pop(item_id, None)
        entry = self.mirror.edit(item_id)
        if entry is not None and item_id in self.audio:
            entry.received_audio_ms = self.audio[item_id].ms
        if entry is not None and item_id in self._heard:
            self.mirror.truncate(item_id, *self._heard.pop(item_id))
        self.transcribe_early(item_id)
        return entry

    @handles(p.ConversationItemDone, p.ResponseOutputItemDone)
    def item_done(self, event: p.ConversationItemDone | p.ResponseOutputItemDone) -> None:
        """Take over an item's final form."""
        item_id = str(getattr(event.item, "id", "") or "")
        if self.replay is not None and self.replay.holds(item_id):
            # Our own words; the mirror stays as it was until the whole replay is settled.
            return
        self.mirror.update(event.item)
        entry = self.mirror.edit(item_id)
        if entry is not None:
            entry.in_progress = False

    @handles(p.ConversationItemDeleted)
    def item_deleted(self, event: p.ConversationItemDeleted) -> None:
        """The server no longer has the item."""
        deleted = self.mirror.delete(event.item_id)
        self.deleted[event.item_id] = None
        self.deleted.keep_newest(REMEMBERED_DELETIONS)
        self.audio.pop(event.item_id, None)
        self._heard.pop(event.item_id, None)
        self.forget_early(event.item_id)
        # Last, because the next edit may begin here: it must not reckon with this item any more.
        acknowledged = self.acknowledge(p.ConversationItemDelete, event.item_id)
        if deleted is None and not acknowledged:
            self.warn("the server deleted item %.80s, which is not known", event.item_id)

    @handles(p.ConversationItemTruncated)
    def item_truncated(self, event: p.ConversationItemTruncated) -> None:
        """The server cut the item; now the mirror holds what was heard."""
        transcript = self.cuts.pop((event.item_id, event.audio_end_ms), None)
        self.cut(event.item_id, event.audio_end_ms, transcript)

    def cut(self, item_id: str, end_ms: int, transcript: str | None) -> None:
        """An item ends where it was heard."""
        if not self.mirror.truncate(item_id, end_ms, transcript):
            # Servers that announce no items: it enters the mirror when its response is done.
            self._heard[item_id] = (end_ms, transcript)

    @handles(m.ItemGenerating)
    def item_generating(self, message: m.ItemGenerating) -> None:
        """While an item is being made, edits leave it alone."""
        if message.active:
            self.generating.add(message.item_id)
        else:
            self.generating.discard(message.item_id)
            entry = self.mirror.edit(message.item_id)
            if entry is not None:
                entry.in_progress = False

    @handles(m.ItemAudioReceived)
    def item_audio_received(self, message: m.ItemAudioReceived) -> None:
        """So much of it can have been heard."""
        if message.item_id in self.deleted:
            return
        self.audio[message.item_id] = message
        self.mirror.audio_received(message.item_id, message.ms)

    @handles(m.MessageFinished)
    def message_finished(self, message: m.MessageFinished) -> None:
        """The words of a message that was spoken or written."""
        entry = self.mirror.get(message.item_id)
        if entry is None:
            if message.item_id in self.deleted or (message.item is None and not message.text):
                return
            item = message.item or p.MessageItem(id=message.item_id, role="assistant", content=[])
            entry = self._insert(UNSET, item)
            if entry is None:
                return
        if message.text:
            self.mirror.replace_content(message.item_id, [message.text])

    # -- reading it ------------------------------------------------------------------------------------

    @handles(m.ReadChatCtx)
    def read_chat_ctx(self, message: m.ReadChatCtx) -> None:
        """A copy of the conversation."""
        self.do(Settle(message.future, self.mirror.chat_ctx()))

    # -- drops and the way back -----------------------------------------------------------------------

    @handles(m.ConnectionLost)
    def connection_lost(self, _: m.ConnectionLost) -> None:
        """Partial transcripts will not be finished; a replay under way has failed."""
        self.replay = None
        self.forget_speech()
        self.generating.clear()
        self.do(Disarm("replay"))
        self.connected = False
        for (item_id, end_ms), transcript in self.cuts.items():
            self.cut(item_id, end_ms, transcript)
        self.cuts.clear()
        for entry in self.mirror:
            if entry.in_progress or entry.transcribing_until is not None:
                edited = self.mirror.edit(entry.id)
                assert edited is not None
                edited.in_progress, edited.transcribing_until = False, None

    @handles(m.ReplayWanted)
    def replay_wanted(self, _: m.ReplayWanted) -> None:
        """Say everything again: the conversation, then the changes that were not acknowledged."""
        self.replay = plan_replay(self.mirror)
        # Here and not when the connection was lost, because responses that it ended have their say after that.
        self.deleted.clear()
        self.audio.clear()
        self._heard.clear()
        self.tell(m.CONNECTION, m.ReplayItems([*self.replay.events, *self.unacknowledged()]))
        self.do(Arm("replay", self.spec.timeouts.chat_ctx))

    def settle_replay_if_complete(self) -> None:
        """End the replay if all of it is restored or lost."""
        if self.replay is not None and self.replay.complete:
            self._settle_replay()

    def _settle_replay(self) -> None:
        """What the server doesn't have now, it won't have: the mirror says so too."""
        replay, self.replay = self.replay, None
        assert replay is not None
        self.do(Disarm("replay"))
        for item_id in replay.lost:
            self.mirror.delete(item_id)
        for item_id, item in replay.restored_items.items():
            entry = self.mirror.edit(item_id)
            if entry is not None:
                entry.now_text(item)
        settled = m.ReplaySettled(replay.restored_count, replay.degraded_count, len(replay.lost))
        self.tell(m.CONNECTION, settled)

    @handles(m.ConnectionOpened)
    def connection_opened(self, _: m.ConnectionOpened) -> None:
        """From now on the server can be told of truncations."""
        self.connected = True
        # Only here, so that the session is open when it says that it is whole again.
        self.settle_replay_if_complete()

    @handles(TimerFired)
    def timer_fired(self, message: TimerFired) -> None:
        """An update or a replay has taken too long."""
        if message.key == "replay":
            self._settle_replay()
        else:
            self.update_overdue()

    @handles(m.OptionsChanged)
    def options_changed(self, message: m.OptionsChanged) -> None:
        """Transcription may be on or off now."""
        self.options = message.options

    @handles(m.SessionClosing)
    def session_closing(self, message: m.SessionClosing) -> None:
        """Settle what waits, and leave the conversation as it was."""
        self.closed = message.reason
        self.do(Disarm("replay"))
        self.end_edits(RealtimeError(message.reason))
        self.do(Settle(self._final, self.mirror.chat_ctx()))


def _is_in_progress(item: p.Item) -> bool:
    """Whether the model is still at it; what users say or send is whole when it is announced."""
    return getattr(item, "role", "assistant") == "assistant" and getattr(item, "status", "") == "in_progress"
