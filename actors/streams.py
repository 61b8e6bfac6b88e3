"""What a generation hands out: iterators that one thread fills and others drain."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Generic, TypeVar

from antiphon.actors.audio import AudioFrame
from antiphon.actors.errors import RealtimeError
from antiphon.actors.forking import LEFT_BEHIND, abandon_in_child
from antiphon.actors.runtime import forbid_blocking

T = TypeVar("T")


class _End:
    pass


_END = _End()


class StreamEnded(Exception):
    """`Stream.get` was called at the end of the stream."""


class Stream(Generic[T]):
    """A stream of items that ends.

    Iterate over it, or call `get`. Each item goes to one reader; iteration always ends normally, after what
    had arrived. Thread-safe, and never in the way of the engine: items wait here until they are taken.
    """

    __slots__ = ("__weakref__", "_ended", "_items")

    def __init__(self) -> None:
        self._items: queue.SimpleQueue[T | _End] = queue.SimpleQueue()
        self._ended = False
        abandon_in_child(self)

    @property
    def closed(self) -> bool:
        """Whether no more items will come; some may still wait to be taken."""
        return self._ended

    def get(self, timeout: float | None = None) -> T:
        """Take the next item.

        Args:
            timeout: Seconds to wait; None waits until the stream ends.

        Raises:
            StreamEnded: There are no more items.
            TimeoutError: None came in time.
            RealtimeError: Called on an engine thread.
        """
        try:
            item = self._items.get_nowait()
        except queue.Empty:
            forbid_blocking("Stream.get")
            try:
                item = self._items.get(timeout=timeout)
            except queue.Empty:
                raise TimeoutError(f"no item came within {timeout:g} s") from None
        if isinstance(item, _End):
            # The next reader has to find the end too.
            self._items.put(item)
            raise StreamEnded
        return item

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        try:
            return self.get()
        except StreamEnded:
            raise StopIteration from None

    def put(self, item: T) -> None:
        """Append an item; ignored after the end. For the engine."""
        if not self._ended:
            self._items.put(item)

    def end(self) -> None:
        """End the stream. For the engine."""
        if not self._ended:
            self._ended = True
            self._items.put(_END)

    def abandon(self) -> None:
        """End the stream in a child that was forked."""
        self.end()

    def __repr__(self) -> str:
        return f"<Stream {'closed' if self._ended else 'open'}, {self._items.qsize()} waiting>"


class SessionFuture(Future[T]):
    """A future whose done-callbacks run where a session's callbacks run, and that reports a cancel.

    Args:
        run_callbacks: Where the engine has the done-callbacks run.
        on_cancel: Called, once, when the owner cancels.
    """

    def __init__(
        self,
        run_callbacks: Callable[[Callable[[], object]], None],
        on_cancel: Callable[[], None] | None = None,
    ) -> None:
        super().__init__()
        self._run_callbacks = run_callbacks
        self._on_cancel = on_cancel
        abandon_in_child(self)

    def cancel(self) -> bool:
        """Cancel the request; True unless it is settled already."""
        was_cancelled = self.cancelled()
        done = super().cancel()
        if done and not was_cancelled and self._on_cancel is not None:
            self._on_cancel()
        return done

    def result(self, timeout: float | None = None) -> T:
        """Wait for the result.

        Raises:
            RealtimeError: The request failed, or this is an engine thread.
            TimeoutError: It took longer than `timeout` seconds.
        """
        if not self.done():
            forbid_blocking("Future.result")
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the error, None when there is a result.

        Raises:
            RealtimeError: This is an engine thread.
            TimeoutError: It took longer than `timeout` seconds.
        """
        if not self.done():
            forbid_blocking("Future.exception")
        return super().exception(timeout)

    def abandon(self) -> None:
        """Fail in a child that was forked, where nobody else would settle it."""
        self._condition = threading.Condition()
        self._waiters.clear()
        self._run_callbacks = lambda call: None
        if not self.done():
            self.set_exception(RealtimeError(LEFT_BEHIND))

    def add_done_callback(self, fn: Callable[[Future[T]], object]) -> None:
        """Call `fn(future)` when the future is settled, in order with the session's events.

        It runs where the session's callbacks run, never on the thread that settles the future.
        """
        super().add_done_callback(lambda future: self._run_callbacks(lambda: fn(future)))


class TimedString(str):
    """Text with the time at which it is spoken.

    Attributes:
        start_time: Seconds from the start of the message's audio, None when unknown.
    """

    start_time: float | None

    def __new__(cls, text: str, start_time: float | None = None) -> TimedString:
        """Make a string that carries a time."""
        made = super().__new__(cls, text)
        made.start_time = start_time
        return made


class MessageGeneration:
    """One message of a response, while it is made.

    Attributes:
        message_id: The item's id.
        text_stream: Pieces of the text or of the audio's transcript.
        modalities: Future of ["audio", "text"] or ["text"].
    """

    __slots__ = ("_audio_stream", "_audio_taken", "message_id", "modalities", "text_stream")

    def __init__(
        self,
        message_id: str,
        text_stream: Stream[str],
        audio_stream: Stream[AudioFrame],
        modalities: Future[list[str]],
    ) -> None:
        self.message_id = message_id
        self.text_stream = text_stream
        self.modalities = modalities
        self._audio_stream = audio_stream
        self._audio_taken = False

    @property
    def audio_stream(self) -> Stream[AudioFrame]:
        """The audio, as frames at the output format's rate.

        When the application plays through `session.playback`, only what arrives after this was first read.
        """
        self._audio_taken = True
        return self._audio_stream

    @property
    def audio_taken(self) -> bool:
        """Whether the application has asked for the audio. For the engine."""
        return self._audio_taken

    def __repr__(self) -> str:
        return f"<MessageGeneration {self.message_id}>"
