"""One response while it is made: its messages, its calls, its figures."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import antiphon.protocol as p
from antiphon.actors.audio import AudioFrame
from antiphon.actors.chat import FunctionCall
from antiphon.actors.events import (
    CachedTokenDetails,
    GenerationCreatedEvent,
    GenerationResult,
    InputTokenDetails,
    MetricsMetadata,
    OutputTokenDetails,
    RealtimeModelMetrics,
)
from antiphon.actors.streams import MessageGeneration, Stream
from antiphon.actors.undo import Undoable

MakeFuture = Callable[[], Future[Any]]


class Message(Undoable):
    """One message of a response."""

    # Words only come in at the end of a handler, and copying them would cost more with every word.
    not_saved = frozenset({"words", "text", "audio", "modalities", "handout", "id", "configured"})

    __slots__ = (
        "audio",
        "audio_samples",
        "configured",
        "content_index",
        "done",
        "handout",
        "id",
        "modalities",
        "text",
        "unheard",
        "words",
    )

    def __init__(self, item_id: str, configured: Sequence[str], make_future: MakeFuture) -> None:
        self.id = item_id
        # What was asked for, as modalities; what comes may be something else.
        self.configured = configured
        self.text: Stream[str] = Stream()
        self.audio: Stream[AudioFrame] = Stream()
        self.modalities: Future[list[str]] = make_future()
        self.handout = MessageGeneration(item_id, self.text, self.audio, self.modalities)
        self.words: list[str] = []
        self.audio_samples = 0
        self.content_index = 0
        self.done = False
        # Its audio began only after playback had been cut.
        self.unheard = False


class Generation(Undoable):
    """One response.

    Args:
        response_id: The server's id.
        out_of_band: Whether it runs beside the conversation.
        user_initiated: Whether `generate_reply` asked for it.
        modalities: What it was to be, "audio" and "text" or only that.
        now: Monotonic seconds at which it was created.
        make_future: Makes the futures that the application gets.
    """

    def __init__(
        self,
        response_id: str,
        out_of_band: bool,
        user_initiated: bool,
        modalities: Sequence[str],
        now: float,
        make_future: MakeFuture,
    ) -> None:
        self.id = response_id
        self.out_of_band = out_of_band
        self.user_initiated = user_initiated
        self.modalities = modalities
        self.messages: dict[str, Message] = {}
        self.message_stream: Stream[MessageGeneration] = Stream()
        self.function_stream: Stream[FunctionCall] = Stream()
        self.done: Future[GenerationResult] = make_future()
        # Playback was cut in the middle of it: what still comes of its audio is not to be heard.
        self.silenced = False
        self.first_audio_at: float | None = None
        self.first_text_at: float | None = None
        self._created_at = now
        self._created_time = time.time()
        # By item id and by call id: calls that were announced come when their item is done.
        self.announced_calls: dict[str, p.FunctionCallItem] = {}
        # Complete ones among them, in case that never happens, and those without a name.
        self.held_calls: list[p.ResponseFunctionCallArgumentsDone] = []
        # Calls that were delivered, as items; a server that announces nothing leaves the mirror without them.
        self.delivered_items: list[p.FunctionCallItem] = []
        self._delivered_calls: set[str] = set()
        self._handed_out: set[str] = set()

    def handout(self, cancel: Callable[[], None]) -> GenerationCreatedEvent:
        """What the application gets."""
        return GenerationCreatedEvent(
            message_stream=self.message_stream,
            function_stream=self.function_stream,
            user_initiated=self.user_initiated,
            response_id=self.id,
            done=self.done,
            _cancel=cancel,
        )

    def take_call(self, item_id: str, call_id: str, name: str, arguments: str) -> FunctionCall | None:
        """A complete call, or None if it was taken before."""
        keys = {call_id, item_id} - {""}
        if keys & self._delivered_calls:
            return None
        self._delivered_calls |= keys
        if item_id:
            self.delivered_items.append(
                p.FunctionCallItem(id=item_id, call_id=call_id, name=name, arguments=arguments)
            )
        return make_call(item_id, call_id, name, arguments)

    def begin_handing_out(self, call: FunctionCall) -> bool:
        """Whether the application has not had this call, as it will have now."""
        keys = {call.call_id, call.id} - {""}
        known = bool(keys & self._handed_out)
        self._handed_out |= keys
        return not known

    def metrics(
        self, response: p.Response, now: float, label: str, metadata: MetricsMetadata
    ) -> RealtimeModelMetrics:
        """The response's figures, when it is done.

        Args:
            response: As response.done carries it.
            now: Monotonic seconds.
            label: The model's label.
            metadata: Whose figures these are.
        """
        first = self.first_audio_at if "audio" in self.modalities else self.first_text_at
        duration = now - self._created_at
        usage = p.given(response.usage, p.Usage())
        sent, received = usage.input_token_details, usage.output_token_details
        cached = sent.cached_tokens_details
        return RealtimeModelMetrics(
            timestamp=self._created_time,
            request_id=response.id,
            ttft=-1.0 if first is None else first - self._created_at,
            duration=duration,
            cancelled=response.status == "cancelled",
            label=label,
            metadata=metadata,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            total_tokens=usage.total_tokens,
            tokens_per_second=usage.output_tokens / duration if duration > 0 else 0.0,
            input_token_details=InputTokenDetails(
                text_tokens=sent.text_tokens,
                audio_tokens=sent.audio_tokens,
                image_tokens=sent.image_tokens,
                cached_tokens=sent.cached_tokens,
                cached_tokens_details=CachedTokenDetails(
                    text_tokens=cached.text_tokens,
                    audio_tokens=cached.audio_tokens,
                    image_tokens=cached.image_tokens,
                ),
            ),
            output_token_details=OutputTokenDetails(
                text_tokens=received.text_tokens, audio_tokens=received.audio_tokens
            ),
        )


def make_call(item_id: str, call_id: str, name: str, arguments: str) -> FunctionCall:
    """A call as the application gets it."""
    call = FunctionCall(call_id, name, arguments)
    call.id = item_id or call.id
    return call


def text_of(item: p.Item) -> str:
    """The words of a message item, written or spoken."""
    if not isinstance(item, p.MessageItem):
        return ""
    return "".join(p.given(part.text, "") or p.given(part.transcript, "") for part in item.content)
