"""From a recording to what its page shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from antiphon.recording import (
    Connected,
    Cut,
    Disconnected,
    Event,
    Frame,
    Heard,
    Line,
    Lost,
    Received,
    Recording,
    Sent,
    Timeline,
)
from antiphon.report.drafts import LinkDraft, ResponseDraft, SpeechDraft, SpokenDraft, ToolDraft, WordsDraft
from antiphon.report.picture import Kind, Mark, Restored

# What servers of both dialects call the same.
_AUDIO = ("response.output_audio.delta", "response.audio.delta")
_TRANSCRIPTS = ("response.output_audio_transcript", "response.audio_transcript")
_TEXTS = ("response.output_text", "response.text")


class Digest:
    """Goes through a recording's lines once, and keeps what happened.

    Args:
        recording: The call.
        timeline: When its audio sounded.
    """

    def __init__(self, recording: Recording, timeline: Timeline) -> None:
        self._timeline = timeline
        self._out_rate = recording.rate("out")
        self.speech: dict[str, SpeechDraft] = {}
        self.responses: dict[str, ResponseDraft] = {}
        self.spoken: dict[str, SpokenDraft] = {}
        self.words: dict[str, WordsDraft] = {}
        self.tools: dict[str, ToolDraft] = {}
        self.links: list[LinkDraft] = []
        self.marks: list[Mark] = []
        self.transcription_tokens = 0
        self._events = self._event_readers()
        self._frames = self._frame_readers()
        for line in recording.lines:
            self._take(line)

    def _event_readers(self) -> dict[str, Callable[[Event], None]]:
        return {
            "session_reconnected": self._reconnected,
            "error": self._error,
            "actor_restarted": self._restarted,
            "audio_dropped": self._dropped,
            "tool_started": self._tool_started,
            "tool_finished": self._tool_finished,
            "mcp_call": self._mcp_call,
            "metrics_collected": self._metrics,
        }

    def _frame_readers(self) -> dict[str, Callable[[Frame], None]]:
        return {
            "input_audio_buffer.speech_started": self._speech_started,
            "input_audio_buffer.speech_stopped": self._speech_stopped,
            "input_audio_buffer.timeout_triggered": self._idle,
            "input_audio_buffer.dtmf_event_received": self._key,
            "conversation.item.added": self._item,
            "conversation.item.created": self._item,
            "conversation.item.input_audio_transcription.delta": self._heard_words,
            "conversation.item.input_audio_transcription.completed": self._heard_words,
            "response.created": self._response_created,
            "response.done": self._response_done,
            "response.output_item.done": self._tool_called,
            **dict.fromkeys(_AUDIO, self._audio),
            **{f"{name}.{part}": self._said for name in _TRANSCRIPTS for part in ("delta", "done")},
            **{f"{name}.{part}": self._wrote for name in _TEXTS for part in ("delta", "done")},
        }

    def _take(self, line: Line) -> None:
        match line:
            case Sent() if line.type == "conversation.item.create":
                self._tool_answered(line)
            case Received():
                reader = self._frames.get(line.type)
                if reader is not None:
                    reader(line)
            case Event():
                event_reader = self._events.get(line.name)
                if event_reader is not None:
                    event_reader(line)
            case Connected():
                self.links.append(LinkDraft(line.connection, line.t, line.seconds))
            case Disconnected():
                self._disconnected(line)
            case Heard():
                draft = self._spoken_item(line.item_id)
                draft.told_s = max(draft.told_s, line.end_ms / 1000)
            case Cut():
                draft = self._spoken_item(line.item_id)
                draft.cut_at, draft.told_s = line.t, line.heard_ms / 1000
            case Lost():
                self._mark(
                    "lost",
                    line,
                    "recording incomplete",
                    f"the disk was too slow: {line.lines} lines are missing",
                )

    def _mark(self, kind: Kind, line: Line, title: str, text: str = "", bad: bool = False) -> None:
        self.marks.append(Mark(kind=kind, t=line.t, title=title, text=text, bad=bad))

    # -- connections ------------------------------------------------------------------------------------------

    def _link(self, connection: int) -> LinkDraft:
        for link in self.links:
            if link.number == connection:
                return link
        # The recording began in the middle of this connection.
        link = LinkDraft(connection, 0.0, None)
        self.links.insert(0, link)
        return link

    def _disconnected(self, line: Disconnected) -> None:
        link = self._link(line.connection)
        link.end, link.ended, link.code, link.planned = (
            line.t,
            line.reason or "closed",
            line.code,
            line.planned,
        )
        for response in self.responses.values():
            if response.done is None and response.connection == line.connection:
                response.done, response.status = line.t, "lost"

    def _reconnected(self, line: Event) -> None:
        said = line.payload
        if self.links:
            self.links[-1].restored = Restored(
                reason=str(said.get("reason", "")),
                downtime=_number(said, "downtime"),
                items=int(_number(said, "items_restored")),
                degraded=int(_number(said, "items_degraded")),
                lost=int(_number(said, "items_lost")),
                audio_dropped_ms=_number(said, "audio_dropped_ms"),
            )

    # -- the user ---------------------------------------------------------------------------------------------

    def _input_time(self, frame: Frame, key: str) -> float:
        """A moment of the server's input clock; when it was told, if the audio isn't in the recording."""
        told = self._timeline.input_time(frame.connection, _number(frame.event, key))
        return frame.t if told is None else min(told, frame.t)

    def _speech_started(self, frame: Frame) -> None:
        item = _text(frame.event, "item_id")
        self._link(frame.connection)
        self.speech[item] = SpeechDraft(item, self._input_time(frame, "audio_start_ms"))

    def _speech_stopped(self, frame: Frame) -> None:
        draft = self.speech.get(_text(frame.event, "item_id"))
        if draft is not None:
            draft.end = max(draft.start, self._input_time(frame, "audio_end_ms"))

    def _item(self, frame: Frame) -> None:
        item = frame.event.get("item")
        if not isinstance(item, dict) or item.get("type") != "message" or item.get("role") == "assistant":
            return
        item_id, parts = _text(item, "id"), item.get("content")
        if item_id in self.words or not isinstance(parts, list):
            return
        draft = self.words[item_id] = WordsDraft(
            item_id, "system" if item.get("role") in ("system", "developer") else "user", frame.t
        )
        draft.whole = " ".join(_text(part, "text") for part in parts if isinstance(part, dict)).strip()
        draft.typed = all(isinstance(part, dict) and part.get("type") != "input_audio" for part in parts)
        if any(isinstance(part, dict) and part.get("type") == "input_image" for part in parts):
            draft.whole = f"{draft.whole} [picture]".strip()

    def _heard_words(self, frame: Frame) -> None:
        item_id = _text(frame.event, "item_id")
        draft = self.words.setdefault(item_id, WordsDraft(item_id, "user", frame.t))
        draft.add(frame.event, "transcript")

    def _idle(self, frame: Frame) -> None:
        self._mark("idle", frame, "nobody spoke", "the server committed silence and answers it")

    def _key(self, frame: Frame) -> None:
        self._mark("key", frame, f"key {_text(frame.event, 'event')}", "pressed on the caller's phone")

    # -- the model --------------------------------------------------------------------------------------------

    def _response_created(self, frame: Frame) -> None:
        response = _mapping(frame.event, "response")
        self._link(frame.connection)
        response_id = _text(response, "id")
        self.responses[response_id] = ResponseDraft(response_id, frame.t, frame.connection)

    def _response_done(self, frame: Frame) -> None:
        response = _mapping(frame.event, "response")
        draft = self.responses.get(_text(response, "id"))
        if draft is None:
            return
        draft.done, draft.status = frame.t, _text(response, "status")
        draft.reason = _reason(response.get("status_details"))
        usage = response.get("usage")
        draft.usage = usage if isinstance(usage, dict) else None

    def _spoken_item(self, item_id: str) -> SpokenDraft:
        return self.spoken.setdefault(item_id, SpokenDraft(item_id))

    def _audio(self, frame: Frame) -> None:
        if frame.audio is None:
            return
        draft = self._spoken_item(_text(frame.event, "item_id"))
        draft.response = _text(frame.event, "response_id")
        draft.arrived_s += frame.audio.samples / self._out_rate
        response = self.responses.get(draft.response)
        if response is not None and response.first_audio is None:
            response.first_audio = frame.t

    def _said(self, frame: Frame) -> None:
        item_id = _text(frame.event, "item_id")
        self.words.setdefault(item_id, WordsDraft(item_id, "model", frame.t)).add(frame.event, "transcript")

    def _wrote(self, frame: Frame) -> None:
        item_id = _text(frame.event, "item_id")
        draft = self.words.setdefault(item_id, WordsDraft(item_id, "model", frame.t, typed=True))
        draft.add(frame.event, "text")

    # -- tools ------------------------------------------------------------------------------------------------

    def _tool_called(self, frame: Frame) -> None:
        item = _mapping(frame.event, "item")
        if item.get("type") == "function_call":
            call = _text(item, "call_id")
            self.tools.setdefault(
                call, ToolDraft(call, _text(item, "name"), frame.t, _text(item, "arguments"))
            )

    def _tool_answered(self, frame: Frame) -> None:
        """An output was sent: the only sign of a tool that the application runs itself."""
        item = _mapping(frame.event, "item")
        draft = self.tools.get(_text(item, "call_id"))
        if item.get("type") == "function_call_output" and draft is not None and draft.end is None:
            draft.end, draft.output = frame.t, _text(item, "output")

    def _tool_started(self, line: Event) -> None:
        said = line.payload
        call = _text(said, "call_id")
        self.tools[call] = ToolDraft(call, _text(said, "name"), line.t, _text(said, "arguments"))

    def _tool_finished(self, line: Event) -> None:
        said = line.payload
        call = _text(said, "call_id")
        draft = self.tools.setdefault(call, ToolDraft(call, _text(said, "name"), line.t, ""))
        draft.end, draft.output, draft.failed = line.t, _text(said, "output"), bool(said.get("is_error"))

    def _mcp_call(self, line: Event) -> None:
        said = line.payload
        call = _text(said, "item_id")
        draft = self.tools.setdefault(call, ToolDraft(call, "", line.t, ""))
        draft.name, draft.server = _text(said, "name"), _text(said, "server_label")
        draft.arguments = _text(said, "arguments")
        if said.get("status") != "in_progress":
            draft.end, draft.failed = line.t, said.get("status") == "failed"
            error = said.get("error")
            draft.output = _text(error, "message") if isinstance(error, dict) else _text(said, "output")

    # -- what went wrong ----------------------------------------------------------------------------------------

    def _error(self, line: Event) -> None:
        error = _mapping(line.payload, "error")
        fatal = line.payload.get("recoverable") is False
        title = "error, the session is over" if fatal else "error"
        self._mark("error", line, title, f"{_text(error, 'type')}: {_text(error, 'message')}", bad=True)

    def _restarted(self, line: Event) -> None:
        said, error = line.payload, _mapping(line.payload, "error")
        actor, again = _text(said, "actor"), said.get("restarted") is not False
        title = f"{actor} restarted" if again else f"{actor} failed and stays down"
        lost = f"lost one {_text(said, 'message_type')}; {_text(error, 'type')}: {_text(error, 'message')}"
        self._mark("restart", line, title, lost, bad=True)

    def _dropped(self, line: Event) -> None:
        lost = _number(line.payload, "duration_ms")
        self._mark("dropped", line, "input audio dropped", f"{lost:.0f} ms of the user's voice", bad=True)

    def _metrics(self, line: Event) -> None:
        if line.type == "TranscriptionMetrics":
            self.transcription_tokens += int(_number(line.payload, "total_tokens"))


def _text(of: dict[str, Any], key: str) -> str:
    value = of.get(key)
    return value if isinstance(value, str) else ""


def _number(of: dict[str, Any], key: str) -> float:
    value = of.get(key)
    return value if isinstance(value, int | float) else 0.0


def _mapping(of: dict[str, Any], key: str) -> dict[str, Any]:
    value = of.get(key)
    return value if isinstance(value, dict) else {}


def _reason(details: object) -> str:
    """A response's status_details in words: {"type", "reason", "error": {"code", "message"}}, or a bare string."""
    if not isinstance(details, dict):
        return details if isinstance(details, str) else ""
    error = _mapping(details, "error")
    parts = (_text(details, "reason"), _text(error, "code"), _text(error, "message"))
    return ": ".join(part for part in parts if part)
