"""The mirror of the server's conversation, edits to it, and its return after a drop. Decisions only."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any

from msgspec import UNSET, UnsetType

import antiphon.protocol as p
from antiphon.actors import ids
from antiphon.actors import messages as m
from antiphon.actors.chat import (
    ChatContext,
    ChatItem,
    ChatMessage,
    Entry,
    Inserted,
    Mirror,
    copy_item,
    diff,
    to_item,
)
from antiphon.actors.config import SessionOptions, SessionSpec
from antiphon.actors.core import Arm, Core, Disarm, Settle, TimerFired, handles
from antiphon.actors.errors import RealtimeError
from antiphon.actors.events import (
    InputSpeechStartedEvent,
    InputSpeechStoppedEvent,
    InputTranscriptionCompleted,
    MetricsMetadata,
    RealtimeModelError,
    RemoteItemAddedEvent,
)
from antiphon.actors.failures import model_error, server_error
from antiphon.actors.item_ops import Op, PendingOps, Waiter, foresee
from antiphon.actors.replay import Replay, plan_replay, repeated
from antiphon.actors.transcripts import Transcripts, confidence, transcription_metrics

logger = logging.getLogger("antiphon.chat_ctx")

# An item whose transcript doesn't come is protected from edits no longer than this.
TRANSCRIPTION_SECONDS = 10.0

# How servers say that an item is there already; for us that is as good as created.
DUPLICATE_WORDS = ("already exists", "already has an item", "duplicate")


class ChatCtxCore(Core):
    """State and decisions of the ChatCtxActor.

    Args:
        spec: What the session was made with.
        options: What the server is told.
        final: Settled with the conversation when the session ends.
    """

    def __init__(self, spec: SessionSpec, options: SessionOptions, final: Future[ChatContext]) -> None:
        super().__init__()
        self.spec = spec
        self.options = options
        self.mirror = Mirror()
        self._final = final
        self._ops = PendingOps()
        self._updates: deque[m.UpdateChatCtx] = deque()
        self._updating: Waiter | None = None
        self._replay: Replay | None = None
        self._transcripts = Transcripts()
        self._turn_started: dict[str, float] = {}
        # Items of responses, announced here before the server adds them to the conversation.
        self._generating: set[str] = set()
        # Deleted on this connection: what a response says at its end doesn't bring them back.
        self._deleted: set[str] = set()
        # How much audio of an item has come in, whether or not the server has announced the item.
        self._audio: dict[str, m.ItemAudioReceived] = {}
        # Truncations on their way, by item and milliseconds: the words that were heard if the app knows.
        self._cuts: dict[tuple[str, int], str | None] = {}
        # Truncations of items that are not mirrored yet: the milliseconds, and the words.
        self._heard: dict[str, tuple[int, str | None]] = {}
        self._connected = False
        self._closed: str | None = None

    # -- the mirror -----------------------------------------------------------------------------------

    @handles(p.ConversationItemAdded, p.ConversationItemCreated)
    def item_added(self, event: p.ConversationItemAdded | p.ConversationItemCreated) -> None:
        """Mirror an item that the server has; it may be one of ours, acknowledged."""
        item = event.item
        item_id = str(getattr(item, "id", "") or "")
        if not item_id:
            logger.warning("an item without an id can't be mirrored")
            return
        if self._replay is not None and self._replay.restored(item_id):
            self._settle_replay_if_complete()
            return
        self._mirror_added(event)
        # Last, because the next edit may begin here: it has to know of this one's item.
        self._acknowledge(p.ConversationItemCreate, item_id)

    def _mirror_added(self, event: p.ConversationItemAdded | p.ConversationItemCreated) -> None:
        entry = self._insert(event.previous_item_id, event.item, announced_as=type(event))
        if entry is None:
            return
        entry.in_progress = _is_in_progress(event.item)
        if self._awaits_transcript(entry):
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
                logger.warning("the server announced item %s twice", item_id)
            return None
        if outcome is Inserted.UNKNOWN_PREVIOUS:
            logger.warning("item %s follows %s, which is not known; put at the end", item_id, previous)
        self._deleted.discard(item_id)
        entry = self.mirror.edit(item_id)
        if entry is not None and item_id in self._audio:
            entry.received_audio_ms = self._audio[item_id].ms
        if entry is not None and item_id in self._heard:
            self.mirror.truncate(item_id, *self._heard.pop(item_id))
        return entry

    @handles(p.ConversationItemDone, p.ResponseOutputItemDone)
    def item_done(self, event: p.ConversationItemDone | p.ResponseOutputItemDone) -> None:
        """Take over an item's final form."""
        item_id = str(getattr(event.item, "id", "") or "")
        if self._replay is not None and self._replay.holds(item_id):
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
        self._deleted.add(event.item_id)
        self._audio.pop(event.item_id, None)
        self._heard.pop(event.item_id, None)
        # Last, because the next edit may begin here: it must not reckon with this item any more.
        acknowledged = self._acknowledge(p.ConversationItemDelete, event.item_id)
        if deleted is None and not acknowledged:
            logger.warning("the server deleted item %s, which is not known", event.item_id)

    @handles(p.ConversationItemTruncated)
    def item_truncated(self, event: p.ConversationItemTruncated) -> None:
        """The server cut the item; now the mirror holds what was heard."""
        transcript = self._cuts.pop((event.item_id, event.audio_end_ms), None)
        self._cut(event.item_id, event.audio_end_ms, transcript)

    def _cut(self, item_id: str, end_ms: int, transcript: str | None) -> None:
        if not self.mirror.truncate(item_id, end_ms, transcript):
            # Servers that announce no items: it enters the mirror when its response is done.
            self._heard[item_id] = (end_ms, transcript)

    @handles(m.ItemGenerating)
    def item_generating(self, message: m.ItemGenerating) -> None:
        """While an item is being made, edits leave it alone."""
        if message.active:
            self._generating.add(message.item_id)
        else:
            self._generating.discard(message.item_id)
            entry = self.mirror.edit(message.item_id)
            if entry is not None:
                entry.in_progress = False

    @handles(m.ItemAudioReceived)
    def item_audio_received(self, message: m.ItemAudioReceived) -> None:
        """So much of it can have been heard."""
        self._audio[message.item_id] = message
        entry = self.mirror.edit(message.item_id)
        if entry is not None:
            entry.received_audio_ms = message.ms

    @handles(m.MessageFinished)
    def message_finished(self, message: m.MessageFinished) -> None:
        """The words of a message that was spoken or written."""
        entry = self.mirror.get(message.item_id)
        if entry is None:
            if message.item_id in self._deleted or (message.item is None and not message.text):
                return
            item = message.item or p.MessageItem(id=message.item_id, role="assistant", content=[])
            entry = self._insert(UNSET, item)
            if entry is None:
                return
        if message.text:
            self.mirror.replace_content(message.item_id, [message.text])

    # -- what the user says ---------------------------------------------------------------------------

    @handles(p.InputAudioBufferSpeechStarted)
    def speech_started(self, event: p.InputAudioBufferSpeechStarted) -> None:
        """The user begins to speak."""
        self._turn_started[event.item_id] = self.now
        self.emit(
            "input_speech_started",
            InputSpeechStartedEvent(item_id=event.item_id, audio_start_ms=event.audio_start_ms),
        )

    @handles(p.InputAudioBufferSpeechStopped)
    def speech_stopped(self, event: p.InputAudioBufferSpeechStopped) -> None:
        """The user stops speaking."""
        self.emit(
            "input_speech_stopped",
            InputSpeechStoppedEvent(
                item_id=event.item_id,
                audio_end_ms=event.audio_end_ms,
                user_transcription_enabled=self.options.input_audio_transcription is not None,
            ),
        )

    @handles(p.ConversationItemInputAudioTranscriptionDelta)
    def transcription_delta(self, event: p.ConversationItemInputAudioTranscriptionDelta) -> None:
        """A piece of a transcript."""
        delta = p.given(event.delta, "")
        if delta:
            text = self._transcripts.add(event.item_id, p.given(event.content_index, 0), delta)
            self._emit_transcript(event.item_id, text, is_final=False)

    @handles(p.ConversationItemInputAudioTranscriptionCompleted)
    def transcription_completed(self, event: p.ConversationItemInputAudioTranscriptionCompleted) -> None:
        """A whole transcript."""
        self._transcripts.finish(event.item_id, event.content_index)
        certainty = confidence(event.logprobs)
        self.mirror.append_text(event.item_id, event.transcript, certainty)
        self._end_transcription(event.item_id)
        metadata = MetricsMetadata(model_name=self.spec.model_name, model_provider=self.spec.provider)
        metrics = transcription_metrics(event, self.spec.label, metadata)
        if metrics is not None:
            self.emit("metrics_collected", metrics)
        self._emit_transcript(event.item_id, event.transcript, is_final=True, certainty=certainty)
        self._turn_started.pop(event.item_id, None)

    @handles(p.ConversationItemInputAudioTranscriptionFailed)
    def transcription_failed(self, event: p.ConversationItemInputAudioTranscriptionFailed) -> None:
        """No more of this transcript will come: what there is has to do."""
        logger.warning("the server could not transcribe item %s: %s", event.item_id, event.error.message)
        partial = self._transcripts.finish(event.item_id, event.content_index)
        self._end_transcription(event.item_id)
        if partial:
            self.mirror.append_text(event.item_id, partial)
            self._emit_transcript(event.item_id, partial, is_final=True)
        self._turn_started.pop(event.item_id, None)

    def _emit_transcript(
        self, item_id: str, text: str, *, is_final: bool, certainty: float | None = None
    ) -> None:
        self.emit(
            "input_audio_transcription_completed",
            InputTranscriptionCompleted(
                item_id=item_id,
                transcript=text,
                is_final=is_final,
                confidence=certainty,
                turn_started_at=self._turn_started.get(item_id),
            ),
        )

    def _end_transcription(self, item_id: str) -> None:
        entry = self.mirror.edit(item_id)
        if entry is not None:
            entry.transcribing_until = None

    # -- reading and editing --------------------------------------------------------------------------

    @handles(m.ReadChatCtx)
    def read_chat_ctx(self, message: m.ReadChatCtx) -> None:
        """A copy of the conversation."""
        self.do(Settle(message.future, self.mirror.chat_ctx()))

    @handles(m.UpdateChatCtx)
    def update_chat_ctx(self, message: m.UpdateChatCtx) -> None:
        """Make the server's conversation equal to this one, one update after the other."""
        if self._closed is not None:
            self.do(Settle(message.future, RealtimeError(self._closed)))
            return
        self._updates.append(message)
        self._next_update()

    def _next_update(self) -> None:
        while self._updating is None and self._updates:
            update = self._updates.popleft()
            waiter = Waiter(update.future, update.timeout)
            # Earlier edits that nobody waits for any more are part of what this one comes to.
            earlier = self._ops.foreseen()
            try:
                self._send_changes(update.context.items, waiter)
            except (TypeError, ValueError, ImportError) as error:
                # Something in it can't be put on the wire, such as audio at an impossible rate.
                self.do(Settle(update.future, error))
                continue
            for op in earlier:
                op.waiter = waiter
                waiter.outstanding += 1
            if not waiter.outstanding:
                self.do(Settle(waiter.future, waiter.report()))
                continue
            self._updating = waiter
            self.do(Arm("update", update.timeout))

    @handles(m.CreateItem)
    def create_item(self, message: m.CreateItem) -> None:
        """Add an item to the end, for another actor."""
        event_id = ids.new_id(ids.CHAT_CTX_CREATE)
        self._send(Op(p.ConversationItemCreate(event_id=event_id, item=message.item)))

    def _order(self) -> list[ChatItem | str]:
        """The conversation that the next change meets: the mirror's, after what is on its way."""
        order = self.mirror.order()
        if self._replay is not None or not self._connected:
            # What the next connection won't be told of can't be a predecessor, nor be deleted.
            replay = self._replay or plan_replay(self.mirror)
            lost = set(replay.lost)
            order = [item for item in order if (item if isinstance(item, str) else item.id) not in lost]
        changes = [op.event for op in self._ops.foreseen()]
        return foresee(order, changes) if changes else order

    def _send_changes(self, wanted: Iterable[ChatItem], waiter: Waiter | None) -> None:
        protected = self.mirror.protected(self.now) | self._generating
        plan = diff(self._order(), wanted, protected=protected)
        # Converted first: where that fails, nothing has been sent.
        creations = [(previous, to_item(item)) for previous, item in plan.creations]
        replacements = [(previous, to_item(item)) for previous, item in plan.replacements]
        for item_id in plan.removals:
            self._send_delete(item_id, waiter)
        for previous, wire_item in creations:
            self._send_create(previous, wire_item, waiter)
        for previous, wire_item in replacements:
            self._send_delete(wire_item.id, waiter)
            self._send_create(previous, wire_item, waiter)

    def _send_delete(self, item_id: str, waiter: Waiter | None) -> None:
        event_id = ids.new_id(ids.CHAT_CTX_DELETE)
        event = p.ConversationItemDelete(event_id=event_id, item_id=item_id)
        self._send(Op(event, waiter, foreseen=True))

    def _send_create(self, previous: str | None, item: p.Item, waiter: Waiter | None) -> None:
        event = p.ConversationItemCreate(
            event_id=ids.new_id(ids.CHAT_CTX_CREATE),
            previous_item_id="root" if previous is None else previous,
            item=item,
        )
        self._send(Op(event, waiter, foreseen=True))

    def _send(self, op: Op) -> None:
        self._ops.add(op)
        self.tell(m.CONNECTION, m.Transmit(op.event))

    @handles(m.Truncate)
    def truncate(self, message: m.Truncate) -> None:
        """Cut a message to what was heard (audio) or shown (text)."""
        if self._closed is not None:
            return
        if message.audio:
            self._truncate_audio(message)
        elif message.transcript is not None:
            self._rewrite_text(message.message_id, message.transcript)

    def _truncate_audio(self, message: m.Truncate) -> None:
        entry = self.mirror.get(message.message_id)
        audio = self._audio.get(message.message_id)
        end_ms = message.audio_end_ms
        restored = self._replay is not None and self._replay.holds(message.message_id)
        if entry is not None and ((not entry.has_audio and audio is None) or restored):
            logger.warning("item %s has no audio to truncate", entry.id)
            return
        if audio is not None:
            content_index = audio.content_index
            end_ms = min(end_ms, int(audio.ms))
        else:
            content_index = 0 if entry is None else _audio_index(entry)
        if end_ms <= 0:
            self._send_delete(message.message_id, None)
            return
        if not self._connected:
            # The next connection gets the item as text: cutting that is all there is to do.
            self._cut(message.message_id, end_ms, message.transcript)
            return
        self._cuts[message.message_id, end_ms] = message.transcript
        event = p.ConversationItemTruncate(
            item_id=message.message_id, content_index=content_index, audio_end_ms=end_ms
        )
        self.tell(m.CONNECTION, m.Transmit(event))

    def _rewrite_text(self, message_id: str, transcript: str) -> None:
        wanted = [copy_item(item) for item in self._order() if not isinstance(item, str)]
        for item in wanted:
            if item.id == message_id and isinstance(item, ChatMessage):
                item.content = [transcript]
                self._send_changes(wanted, None)

    # -- acknowledgements -------------------------------------------------------------------------------

    @handles(m.ItemEventWritten)
    def item_event_written(self, message: m.ItemEventWritten) -> None:
        """The socket has taken an item event: ours, or one that the user sent directly."""
        event = message.event
        op = self._ops.by_event_id(event.event_id)
        if op is None and isinstance(event.event_id, str) and not self._is_replayed(event.event_id):
            op = Op(event)
            if op.item_id:  # an item that the server names can't be recognised
                self._ops.add(op)
        if op is not None:
            op.written = True

    def _is_replayed(self, event_id: str) -> bool:
        return self._replay is not None and self._replay.is_part(event_id)

    def _acknowledge(self, kind: Any, item_id: str) -> bool:
        op = self._ops.acknowledged(kind, item_id)
        if op is None:
            return False
        if op.waiter is not None:
            if kind is p.ConversationItemCreate:
                op.waiter.created.append(item_id)
            elif kind is p.ConversationItemDelete:
                op.waiter.deleted.append(item_id)
            self._count_down(op.waiter)
        return True

    def _count_down(self, waiter: Waiter) -> None:
        waiter.outstanding -= 1
        if waiter is self._updating and not waiter.outstanding:
            self.do(Disarm("update"))
            self._end_update(waiter.report())

    def _end_update(self, outcome: Any) -> None:
        assert self._updating is not None
        self.do(Settle(self._updating.future, outcome))
        self._updating = None
        self._next_update()

    @handles(p.ErrorEvent)
    def error_event(self, event: p.ErrorEvent) -> None:
        """A refused change ends only its own wait; other errors are passed on."""
        is_duplicate = any(words in event.error.message.lower() for words in DUPLICATE_WORDS)
        if self._replay is not None and self._replay.refused(event.error.event_id, is_duplicate):
            self._settle_replay_if_complete()
            return
        op = self._ops.by_event_id(event.error.event_id)
        if op is None:
            self.tell(m.GENERATION, event)
            return
        self._ops.discard(op)
        if op.waiter is None:
            self.emit("error", self._as_error(event))
            return
        if isinstance(op.event, p.ConversationItemCreate) and is_duplicate:
            op.waiter.created.append(op.item_id)
        elif isinstance(op.event, p.ConversationItemDelete) and op.item_id not in self.mirror:
            # It got lost with a connection: that is what was wanted.
            op.waiter.deleted.append(op.item_id)
        else:
            op.waiter.rejected[op.item_id] = event.error.message
        self._count_down(op.waiter)

    def _as_error(self, event: p.ErrorEvent) -> RealtimeModelError:
        return model_error(self.spec.label, server_error(self.spec.label, event.error), True)

    # -- drops and the way back -----------------------------------------------------------------------

    @handles(m.ConnectionLost)
    def connection_lost(self, _: m.ConnectionLost) -> None:
        """Partial transcripts will not be finished; a replay under way has failed."""
        self._replay = None
        self._transcripts.clear()
        self._generating.clear()
        self._turn_started.clear()
        self.do(Disarm("replay"))
        self._connected = False
        for (item_id, end_ms), transcript in self._cuts.items():
            self._cut(item_id, end_ms, transcript)
        self._cuts.clear()
        for entry in self.mirror:
            if entry.in_progress or entry.transcribing_until is not None:
                edited = self.mirror.edit(entry.id)
                assert edited is not None
                edited.in_progress, edited.transcribing_until = False, None

    @handles(m.ReplayWanted)
    def replay_wanted(self, _: m.ReplayWanted) -> None:
        """Say everything again: the conversation, then the changes that were not acknowledged."""
        self._replay = plan_replay(self.mirror)
        # Here and not when the connection was lost, because responses that it ended have their say after that.
        self._deleted.clear()
        self._audio.clear()
        self._heard.clear()
        written = [op.event for op in self._ops if op.written]
        unacknowledged = repeated(written, self.mirror, self._replay)
        self.tell(m.CONNECTION, m.ReplayItems([*self._replay.events, *unacknowledged]))
        self.do(Arm("replay", self.spec.timeouts.chat_ctx))

    def _settle_replay_if_complete(self) -> None:
        if self._replay is not None and self._replay.complete:
            self._settle_replay()

    def _settle_replay(self) -> None:
        """What the server doesn't have now, it won't have: the mirror says so too."""
        replay, self._replay = self._replay, None
        assert replay is not None
        self.do(Disarm("replay"))
        for item_id in replay.lost:
            self.mirror.delete(item_id)
        for item_id, item in replay.restored_items.items():
            self._now_text(item_id, item)
        self.tell(m.CONNECTION, m.ReplaySettled(replay.restored_count, replay.degraded_count))

    def _now_text(self, item_id: str, item: p.Item) -> None:
        """An item is what the replay made of it: words, already cut to what was heard, and no audio."""
        entry = self.mirror.edit(item_id)
        if entry is None:
            return
        entry.item, entry.received_audio_ms, entry.heard = item, 0.0, None
        if isinstance(entry.chat, ChatMessage):
            self.mirror.replace_content(item_id, entry.chat.content)

    @handles(m.ConnectionOpened)
    def connection_opened(self, _: m.ConnectionOpened) -> None:
        """From now on the server can be told of truncations."""
        self._connected = True
        # Only here, so that the session is open when it says that it is whole again.
        self._settle_replay_if_complete()

    @handles(TimerFired)
    def timer_fired(self, message: TimerFired) -> None:
        """An update or a replay has taken too long."""
        if message.key == "replay":
            self._settle_replay()
        elif self._updating is not None:
            for op in self._ops:
                if op.waiter is self._updating:
                    op.waiter = None
                    # A server that had its time and said nothing: the mirror is all there is to go by. What
                    # still has to go out, because there is no connection, will be done.
                    op.foreseen = not (op.written and self._connected)
            seconds = self._updating.timeout
            self._end_update(
                RealtimeError(f"update_chat_ctx timed out: no acknowledgement within {seconds:g} s")
            )

    @handles(m.OptionsChanged)
    def options_changed(self, message: m.OptionsChanged) -> None:
        """Transcription may be on or off now."""
        self.options = message.options

    @handles(m.SessionClosing)
    def session_closing(self, message: m.SessionClosing) -> None:
        """Settle what waits, and leave the conversation as it was."""
        self._closed = message.reason
        for timer in ("update", "replay"):
            self.do(Disarm(timer))
        error = RealtimeError(message.reason)
        if self._updating is not None:
            self.do(Settle(self._updating.future, error))
            self._updating = None
        while self._updates:
            self.do(Settle(self._updates.popleft().future, error))
        self.do(Settle(self._final, self.mirror.chat_ctx()))

    def _awaits_transcript(self, entry: Entry) -> bool:
        chat = entry.chat
        unheard = isinstance(chat, ChatMessage) and chat.role == "user" and chat.is_empty
        return unheard and entry.has_audio and self.options.input_audio_transcription is not None


def _is_in_progress(item: p.Item) -> bool:
    """Whether the model is still at it; what users say or send is whole when it is announced."""
    return getattr(item, "role", "assistant") == "assistant" and getattr(item, "status", "") == "in_progress"


def _audio_index(entry: Entry) -> int:
    """The place of a message's audio part; 0 while it is not known."""
    parts = entry.item.content if isinstance(entry.item, p.MessageItem) else []
    return next((index for index, part in enumerate(parts) if "audio" in part.type), 0)
