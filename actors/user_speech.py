"""What the user says: when it begins and ends, and the words of it."""

from __future__ import annotations

import antiphon.protocol as p
from antiphon.actors.chat import ChatMessage, Entry
from antiphon.actors.config import SessionOptions, SessionSpec
from antiphon.actors.conversation import Conversation
from antiphon.actors.core import handles
from antiphon.actors.events import (
    InputSpeechStartedEvent,
    InputSpeechStoppedEvent,
    InputTranscriptionCompleted,
    MetricsMetadata,
)
from antiphon.actors.transcripts import Transcript, Transcripts, confidence, transcription_metrics
from antiphon.actors.undo import UndoDict


class UserSpeech(Conversation):
    """The part of the ChatCtxActor that follows the user's turns and their transcripts."""

    def __init__(self, spec: SessionSpec, options: SessionOptions) -> None:
        super().__init__(spec, options)
        self._transcripts = Transcripts()
        self._turn_started: UndoDict[str, float] = UndoDict()

    def forget_speech(self) -> None:
        """The connection is gone: partial transcripts will not be finished."""
        self._transcripts.clear()
        self._turn_started.clear()

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
        if self.options.input_audio_transcription is None:
            self._turn_started.pop(event.item_id, None)

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
        if self._is_transcribed(event.item_id, event.content_index):
            self.warn("the server transcribed item %.80s twice", event.item_id)
            return
        certainty = confidence(event.logprobs)
        self._transcribe(event.item_id, event.content_index, Transcript(event.transcript, certainty))
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
        self.warn("the server could not transcribe item %.80s: %.200s", event.item_id, event.error.message)
        partial = self._transcripts.finish(event.item_id, event.content_index)
        self._end_transcription(event.item_id)
        if partial:
            self._transcribe(event.item_id, event.content_index, Transcript(partial, is_final=False))
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

    def _is_transcribed(self, item_id: str, content_index: int) -> bool:
        entry = self.mirror.get(item_id)
        if entry is not None:
            return content_index in entry.transcribed
        early = self._transcripts.early(item_id).get(content_index)
        return early is not None and early.is_final

    def _transcribe(self, item_id: str, content_index: int, transcript: Transcript) -> None:
        """Put a transcript into its item, or hold it until that comes."""
        said, is_final = transcript.text, transcript.is_final
        if self.mirror.transcribe(item_id, content_index, said, transcript.confidence, is_final=is_final):
            return
        if item_id not in self.mirror and item_id not in self.deleted:
            self._transcripts.hold(item_id, content_index, transcript)

    def transcribe_early(self, item_id: str) -> None:
        """An item has come: what was heard of it before goes into it."""
        for content_index, transcript in self._transcripts.take_early(item_id).items():
            self._transcribe(item_id, content_index, transcript)

    def forget_early(self, item_id: str) -> None:
        """An item is gone, and nobody wants what was said in it."""
        self._transcripts.take_early(item_id)

    def _end_transcription(self, item_id: str) -> None:
        entry = self.mirror.edit(item_id)
        if entry is not None:
            entry.transcribing_until = None

    def awaits_transcript(self, entry: Entry) -> bool:
        """Whether the words of an item that was just added will follow."""
        chat = entry.chat
        unheard = isinstance(chat, ChatMessage) and chat.role == "user" and chat.is_empty
        return (
            unheard
            and not entry.transcribed
            and entry.has_audio
            and self.options.input_audio_transcription is not None
        )
