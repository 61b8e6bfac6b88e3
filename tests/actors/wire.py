"""Server events in one line each, made from the protocol's own structs."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

import antiphon.protocol as p
from antiphon.actors.streams import Stream, StreamEnded


def _maybe(value: Any) -> Any:
    return p.NOT_GIVEN if value is None else value


def created(
    response_id: str,
    request: dict[str, Any] | str | None = None,
    *,
    conversation_id: Any = p.NOT_GIVEN,
) -> p.ResponseCreated:
    """`response.created`, with the metadata of the `response.create` (or its event id) that it answers."""
    event_id = request["event_id"] if isinstance(request, dict) else request
    metadata = p.NOT_GIVEN if event_id is None else {"client_event_id": event_id}
    response = p.Response(
        id=response_id, status="in_progress", metadata=metadata, conversation_id=conversation_id
    )
    return p.ResponseCreated(response=response)


def done(
    response_id: str,
    status: str = "completed",
    *,
    details: Any = p.NOT_GIVEN,
    output: list[p.Item] | None = None,
    usage: p.Usage | None = None,
) -> p.ResponseDone:
    """`response.done`."""
    response = p.Response(
        id=response_id, status=status, status_details=details, output=output or [], usage=_maybe(usage)
    )
    return p.ResponseDone(response=response)


def message(item_id: str, text: str = "", *, kind: str = "output_text", role: str = "assistant") -> p.Item:
    """A message item; `kind` "output_audio" puts the text into the transcript."""
    if not text:
        return p.MessageItem(id=item_id, role=role, content=[])
    part = (
        p.ContentPart(type=kind, transcript=text) if "audio" in kind else p.ContentPart(type=kind, text=text)
    )
    return p.MessageItem(id=item_id, role=role, content=[part])


def call(
    item_id: str, call_id: str, name: str = "look", arguments: str = "{}", status: str = "completed"
) -> p.Item:
    """A function call item."""
    return p.FunctionCallItem(id=item_id, call_id=call_id, name=name, arguments=arguments, status=status)


def output_added(response_id: str, item: p.Item) -> p.ResponseOutputItemAdded:
    """`response.output_item.added`."""
    return p.ResponseOutputItemAdded(response_id=response_id, item=item)


def output_done(response_id: str, item: p.Item) -> p.ResponseOutputItemDone:
    """`response.output_item.done`."""
    return p.ResponseOutputItemDone(response_id=response_id, item=item)


def item_added(item: p.Item, previous: Any = p.NOT_GIVEN) -> p.ConversationItemAdded:
    """`conversation.item.added`."""
    return p.ConversationItemAdded(item=item, previous_item_id=previous)


def part_added(response_id: str, item_id: str, kind: str, index: int = 0) -> p.ResponseContentPartAdded:
    """`response.content_part.added`."""
    return p.ResponseContentPartAdded(
        response_id=response_id, item_id=item_id, content_index=index, part=p.ContentPart(type=kind)
    )


def audio(response_id: str, item_id: str, samples: Any = (1, 2, 3), index: int = 0) -> p.ServerEventBase:
    """`response.output_audio.delta` of pcm16 samples."""
    data = base64.b64encode(np.asarray(samples, dtype="<i2").tobytes()).decode()
    return p.ResponseOutputAudioDelta(
        response_id=response_id, item_id=item_id, content_index=index, delta=data
    )


def transcript(
    response_id: str, item_id: str, delta: str, start_time: float | None = None
) -> p.ServerEventBase:
    """`response.output_audio_transcript.delta`."""
    return p.ResponseOutputAudioTranscriptDelta(
        response_id=response_id, item_id=item_id, delta=delta, start_time=_maybe(start_time)
    )


def text(response_id: str, item_id: str, delta: str, start_time: float | None = None) -> p.ServerEventBase:
    """`response.output_text.delta`."""
    return p.ResponseOutputTextDelta(
        response_id=response_id, item_id=item_id, delta=delta, start_time=_maybe(start_time)
    )


def arguments_done(
    response_id: str, item_id: str, call_id: str, name: str = "look", arguments: str = "{}"
) -> p.ServerEventBase:
    """`response.function_call_arguments.done`."""
    return p.ResponseFunctionCallArgumentsDone(
        response_id=response_id, item_id=item_id, call_id=call_id, name=name, arguments=arguments
    )


def committed(item_id: str = "user_1") -> p.InputAudioBufferCommitted:
    """`input_audio_buffer.committed`."""
    return p.InputAudioBufferCommitted(item_id=item_id)


def error(
    code: str | None = None,
    message: str = "no",
    *,
    event_id: str | None = None,
    kind: str = "invalid_request_error",
) -> p.ErrorEvent:
    """`error`; without a code, as from servers that put it into `type`."""
    return p.ErrorEvent(error=p.ErrorDetail(type=kind, code=code, message=message, event_id=_maybe(event_id)))


def drain(stream: Stream[Any]) -> list[Any]:
    """What has arrived in a stream.

    Raises:
        TimeoutError: It has not ended.
    """
    items = []
    while True:
        try:
            items.append(stream.get(0))
        except StreamEnded:
            return items
