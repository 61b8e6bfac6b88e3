"""What a response is made of: messages, deltas and calls, handed out as they come. Decisions only."""

from __future__ import annotations

import msgspec
import pybase64

import antiphon.protocol as p
from antiphon.actors import messages as m
from antiphon.actors.audio import AudioFrame, Int16Array, codec_for
from antiphon.actors.chat import FunctionCall
from antiphon.actors.config import SessionOptions, SessionSpec
from antiphon.actors.core import End, Put, Settle, handles
from antiphon.actors.generation import Generation, MakeFuture, Message, make_call
from antiphon.actors.logs import get_logger
from antiphon.actors.mcp_calls import McpCalls
from antiphon.actors.playback import Playback
from antiphon.actors.streams import TimedString

logger = get_logger("antiphon.generation")


# -- effects that only this actor's shell performs --------------------------------------------------------


class Play(msgspec.Struct, frozen=True):
    """Queue audio of an item for the player; `beside`: of one that is in no conversation."""

    item_id: str
    samples: Int16Array
    beside: bool


class FinishPlaying(msgspec.Struct, frozen=True):
    """No more audio of an item will come."""

    item_id: str


# A delta that opens its message, or is the first of its kind in it, changes more than is added to it.


def _begins_sound(core: ResponseContent, event: p.ResponseOutputAudioDelta) -> bool:
    message = core.message_of(event.response_id, event.item_id)
    return message is None or not message.audio_samples


def _begins_words(
    core: ResponseContent, event: p.ResponseOutputAudioTranscriptDelta | p.ResponseOutputTextDelta
) -> bool:
    message = core.message_of(event.response_id, event.item_id)
    return message is None or not message.words


class ResponseContent(McpCalls):
    """The part of the GenerationActor that takes in what the model says and calls.

    Args:
        spec: What the session was made with.
        options: What the server is told.
        playback: The ledger that the application's player reads.
        make_future: Makes the futures that the application gets.
    """

    def __init__(
        self, spec: SessionSpec, options: SessionOptions, playback: Playback, make_future: MakeFuture
    ) -> None:
        super().__init__(spec, options, make_future)
        self._playback = playback
        # Events of responses that are not known, and audio that could not be read.
        self.ignored = 0
        self._discarded: set[str] = set()
        self._codec = codec_for(options.output_audio_format)
        self._warned: set[str] = set()

    @handles(p.ResponseOutputItemAdded)
    def output_item_added(self, event: p.ResponseOutputItemAdded) -> None:
        """An item begins."""
        generation = self._find(event.response_id)
        if generation is None:
            return
        item = event.item
        if isinstance(item, p.MessageItem):
            self._message(generation, item.id)
        elif isinstance(item, p.FunctionCallItem):
            generation.announced_calls.update({item.id: item, item.call_id: item})
            generation.announced_calls.pop("", None)
            self.tell(m.CHAT_CTX, m.ItemGenerating(item.id, True))
        elif isinstance(item, p.McpCallItem):
            self.mcp_call_in_response(item, generation.id)

    @handles(p.ResponseContentPartAdded)
    def content_part_added(self, event: p.ResponseContentPartAdded) -> None:
        """A part begins: now it is known whether the message is spoken or written."""
        generation = self._find(event.response_id)
        if generation is None:
            return
        message = self._message(generation, event.item_id)
        if "text" in event.part.type:
            self._written_message(message)
        else:
            message.content_index = event.content_index
            self._resolve_modalities(message, ["audio", "text"])

    @handles(p.ResponseOutputAudioDelta, undo=_begins_sound)
    def audio_delta(self, event: p.ResponseOutputAudioDelta) -> None:
        """Sound: the hot path of a session."""
        generation = self._generations.get(event.response_id) or self._find(event.response_id)
        if generation is None:
            return
        message = generation.messages.get(event.item_id) or self._message(generation, event.item_id)
        codec = self._codec
        try:
            samples = codec.decode(pybase64.b64decode(event.delta, validate=True))
        except ValueError as error:
            self._ignore(f"an audio delta is not base64 of whole samples ({type(error).__name__})")
            return
        if not message.audio_samples:
            message.content_index = event.content_index
            self._resolve_modalities(message, ["audio", "text"])
            if generation.first_audio_at is None:
                generation.first_audio_at = self.now
        playback = self._playback
        if not generation.silenced:
            if playback.attached:
                self.do(Play(message.id, samples, generation.out_of_band))
        elif not message.audio_samples and not generation.out_of_band:
            # It was on its way when playback was cut: nobody hears any of it.
            message.unheard = True
        # Once the application plays through the ledger, nothing is held twice unless it asks for it.
        if (
            not generation.silenced
            if playback.remote
            else not playback.attached or message.handout.audio_taken
        ):
            self.do(Put(message.audio, AudioFrame._wrap(samples, codec.rate, 1)))
        message.audio_samples += samples.size

    @handles(p.ResponseOutputAudioTranscriptDelta, undo=_begins_words)
    def transcript_delta(self, event: p.ResponseOutputAudioTranscriptDelta) -> None:
        """Words of what is spoken."""
        generation = self._find(event.response_id)
        if generation is not None:
            self._add_words(generation, event)

    @handles(p.ResponseOutputTextDelta, undo=_begins_words)
    def text_delta(self, event: p.ResponseOutputTextDelta) -> None:
        """Words of what is written."""
        generation = self._find(event.response_id)
        if generation is None:
            return
        self._written_message(self._message(generation, event.item_id))
        self._add_words(generation, event)

    def _add_words(
        self, generation: Generation, event: p.ResponseOutputAudioTranscriptDelta | p.ResponseOutputTextDelta
    ) -> None:
        message = self._message(generation, event.item_id)
        if generation.first_text_at is None:
            generation.first_text_at = self.now
        start_time = p.given(event.start_time, None)
        text = event.delta if start_time is None else TimedString(event.delta, start_time)
        self.do(Put(message.text, text))
        message.words.append(event.delta)

    @handles(p.ResponseFunctionCallArgumentsDone)
    def arguments_done(self, event: p.ResponseFunctionCallArgumentsDone) -> None:
        """A call's arguments are complete; if its item was announced, it comes with output_item.done."""
        generation = self._find(event.response_id)
        if generation is None:
            return
        announced = {event.item_id, event.call_id} & generation.announced_calls.keys()
        if announced:
            generation.held_calls.append(event)
        elif not event.name:
            # The application has it at once all the same; a tool can only be run when something has named it.
            self._hand_out(generation, make_call(event.item_id, event.call_id, "", event.arguments))
            generation.held_calls.append(event)
        else:
            self._deliver_call(generation, event.item_id, event.call_id, event.name, event.arguments)

    @handles(p.ResponseOutputItemDone)
    def output_item_done(self, event: p.ResponseOutputItemDone) -> None:
        """An item is complete."""
        generation = self._find(event.response_id)
        if generation is None:
            return
        item = event.item
        if isinstance(item, p.FunctionCallItem):
            self._deliver_item(generation, item)
            self.tell(m.CHAT_CTX, m.ItemGenerating(item.id, False))
        elif isinstance(item, p.MessageItem) and item.id in generation.messages:
            self._end_message(generation.messages[item.id])
        elif isinstance(item, p.McpCallItem):
            self.mcp_call_in_response(item, generation.id)
        elif isinstance(item, p.McpApprovalRequestItem):
            self.mcp_approval_requested(item)

    def _deliver_item(self, generation: Generation, item: p.FunctionCallItem) -> None:
        # One that was cut off is done too, but no call: its arguments end somewhere.
        if item.status != "incomplete":
            self._deliver_call(generation, item.id, item.call_id, item.name, item.arguments)

    def _deliver_held(self, generation: Generation) -> None:
        """Deliver the calls whose items were announced and never said to be done, and those that were never named."""
        for event in generation.held_calls:
            announced = generation.announced_calls
            item = announced.get(event.item_id) or announced.get(event.call_id)
            name, call_id = event.name, event.call_id
            if item is not None:
                name, call_id = name or item.name, call_id or item.call_id
            self._deliver_call(generation, event.item_id, call_id, name, event.arguments)

    def _deliver_call(
        self, generation: Generation, item_id: str, call_id: str, name: str, arguments: str
    ) -> None:
        call = generation.take_call(item_id, call_id, name, arguments)
        if call is not None:
            self._hand_out(generation, call)
            self.run_call(generation, call)

    def _hand_out(self, generation: Generation, call: FunctionCall) -> None:
        if generation.begin_handing_out(call):
            self.do(Put(generation.function_stream, call))

    def message_of(self, response_id: str, item_id: str) -> Message | None:
        """The message with this id, if it has been opened in this response."""
        generation = self._generations.get(response_id)
        return None if generation is None else generation.messages.get(item_id)

    def _message(self, generation: Generation, item_id: str) -> Message:
        """The message with this id; it is opened if this is the first that is heard of it."""
        message = generation.messages.get(item_id)
        if message is not None:
            return message
        message = generation.messages[item_id] = Message(item_id, generation.modalities, self._make_future)
        if "audio" not in message.configured:
            message.audio.end()
            self._resolve_modalities(message, ["text"])
        self.do(Put(generation.message_stream, message.handout))
        self.tell(m.CHAT_CTX, m.ItemGenerating(item_id, True))
        return message

    def _written_message(self, message: Message) -> None:
        if "audio" in message.configured and not message.modalities.done():
            self._warn_once(f"{self.spec.label}: text came in an audio session")
        self._resolve_modalities(message, ["text"])

    def _resolve_modalities(self, message: Message, modalities: list[str]) -> None:
        if not message.modalities.done():
            self.do(Settle(message.modalities, modalities))

    def _find(self, response_id: str) -> Generation | None:
        """The generation with this id; the active one for servers that leave the id out."""
        generation = self._generations.get(response_id)
        if generation is None and not response_id:
            generation = self._active
        if generation is None and response_id not in self._discarded:
            self.ignored += 1
        return generation

    def _ignore(self, what: str) -> None:
        self.ignored += 1
        self._warn_once(f"ignored: {what}; more of this kind are counted, not logged")

    def _warn_once(self, what: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            logger.warning("%s", what)

    def _end_message(self, message: Message) -> None:
        if message.done:
            return
        message.done = True
        if message.audio_samples:
            ms = self._codec.samples_to_ms(message.audio_samples)
            self.tell(m.CHAT_CTX, m.ItemAudioReceived(message.id, message.content_index, ms))
        self.tell(m.CHAT_CTX, m.ItemGenerating(message.id, False))
        if message.unheard:
            self._tell_heard(message.id, 0)
        self.do(End(message.text))
        self.do(End(message.audio))
        self.do(FinishPlaying(message.id))
        self._resolve_modalities(message, list(message.configured))

    def _tell_heard(self, item_id: str, heard_ms: int) -> None:
        self.tell(m.CHAT_CTX, m.Truncate(item_id, True, heard_ms, None, only_known=True))
