"""A Realtime session as the server sees it: events in, events out. No I/O, no threads, no clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import msgspec

from antiphon import protocol as p
from antiphon.testing import betasession
from antiphon.testing.apierror import ApiError, invalid_value
from antiphon.testing.brains.base import Request, Sound
from antiphon.testing.effects import Close, Effects
from antiphon.testing.generation import Generation
from antiphon.testing.ids import new_id
from antiphon.testing.itemhandlers import ItemHandlers, decode_audio
from antiphon.testing.itemstore import ItemStore
from antiphon.testing.listener import IdleTimeout, Listener, TurnEnded, TurnStarted
from antiphon.testing.mcp import McpServer
from antiphon.testing.mcphost import HostedCall, McpHost
from antiphon.testing.responder import Responder
from antiphon.testing.sessionconfig import Json, check_response, check_session, default_session, merged
from antiphon.testing.steps import Step
from antiphon.testing.usage import transcription_usage

Names = Literal["ga", "beta"]


class Conversation:
    """The state of one session, and the rules by which it changes.

    Every method returns what is to be done, in order. The caller makes sure that one call runs at a time.

    Args:
        model: The name that the client asked for.
        expires_at: When the session ends, Unix time in seconds.
        names: "ga", or "beta" for a client that speaks the older dialect.
        mcp: The MCP servers that it can reach, by address, or connector or tunnel id.
    """

    def __init__(
        self, model: str, expires_at: int, names: Names = "ga", mcp: Mapping[str, McpServer] | None = None
    ) -> None:
        self.session: Json = default_session(new_id("sess"), model, expires_at)
        self.items = ItemStore()
        self._names = names
        self._handlers = ItemHandlers(self.items)
        self._mcp = McpHost(mcp or {}, self.items)
        self._responder = Responder(self.items, self._handlers, self._mcp, new_id("conv"))
        self._listener = Listener(self.session["audio"]["input"])

    def open(self) -> Effects:
        """What a new connection is told."""
        return [self._session_event("session.created")]

    def receive(self, frame: str | bytes) -> Effects:
        """Carry out one frame of the client."""
        cause: str | None = None
        try:
            head = _head(frame)
            cause = head.event_id if isinstance(head.event_id, str) else None
            if not isinstance(head.type, str):
                raise ApiError("Missing required parameter: 'type'.", "missing_required_parameter", "type")
            if head.type not in _HANDLERS:
                raise invalid_value(head.type, tuple(_HANDLERS), "type")
            handler, raw = _HANDLERS[head.type]
            return handler(self, msgspec.json.decode(frame) if raw else _struct(frame, head.type))
        except ApiError as error:
            return [error.event(cause)]

    def heard(self, item_id: str, sound: Sound, transcript: str) -> Effects:
        """What was said in an item's audio is known now."""
        stored = self.items.get(item_id)
        if stored is None:
            return []
        stored.heard = transcript
        if self.session["audio"]["input"]["transcription"] is None:
            return []
        if isinstance(stored.item, p.MessageItem):
            content = [
                msgspec.structs.replace(part, transcript=transcript) if part.type == "input_audio" else part
                for part in stored.item.content
            ]
            stored.item = msgspec.structs.replace(stored.item, content=content)
            stored.heard = None
        words = transcript.split(" ") if transcript else []
        probable = [p.LogProb(token=word, logprob=-0.1, bytes=list(word.encode())) for word in words]
        logprobs = probable if self.session["include"] else None
        effects: Effects = [
            p.ConversationItemInputAudioTranscriptionDelta(
                item_id=item_id,
                content_index=0,
                delta=word if index == 0 else f" {word}",
                event_id=new_id("event"),
                logprobs=logprobs and [logprobs[index]],
            )
            for index, word in enumerate(words)
        ]
        effects.append(
            p.ConversationItemInputAudioTranscriptionCompleted(
                item_id=item_id,
                content_index=0,
                transcript=transcript,
                usage=transcription_usage(sound.ms, transcript),
                event_id=new_id("event"),
                logprobs=logprobs,
            )
        )
        return effects

    def request(self, generation: Generation) -> Request:
        """What the brain is asked for this response."""
        return self._responder.request(generation)

    def advance(self, generation: Generation, step: Step) -> Effects:
        """Send a response's next step; nothing, if it is over."""
        return self._responder.advance(generation, step)

    def finish(self, generation: Generation) -> Effects:
        """End a response as completed, unless it is over."""
        return self._ended(generation, self._responder.finish(generation))

    def mcp_done(self, call: HostedCall, result: str | p.McpError) -> Effects:
        """An MCP call has ended: with its output, or with what went wrong."""
        was_active = call.generation.active
        effects = self._responder.mcp_done(call, result)
        return self._ended(call.generation, effects) if was_active else effects

    def _ended(self, generation: Generation, effects: Effects) -> Effects:
        if effects and generation.in_conversation and not generation.active:
            self._listener.agent_speaks_until(generation.audio_ms)
        return effects

    def expire(self, minutes: float) -> Effects:
        """The session has lasted as long as it may."""
        message = f"Your session hit the maximum duration of {minutes:g} minutes."
        error = ApiError(message, "session_expired")
        return [error.event(), Close(1001, "session expired")]

    # --- the client's events

    def _session_update(self, tree: Json) -> Effects:
        update = tree.get("session")
        if isinstance(update, dict) and (self._names == "beta" or betasession.is_flat(update)):
            self._names = "beta"
            update = betasession.to_ga(update, session=True)
        check_session(update)
        assert update is not None
        fresh = merged(self.session, update)
        if (
            self._responder.spoke
            and fresh["audio"]["output"]["voice"] != self.session["audio"]["output"]["voice"]
        ):
            message = "Cannot update a conversation's voice if assistant audio is present."
            raise ApiError(message, "cannot_update_voice", "session.audio.output.voice")
        self.session = fresh
        self._listener.configure(fresh["audio"]["input"])
        return [self._session_event("session.updated"), *self._mcp.configure(fresh["tools"])]

    def _session_event(self, kind: str) -> p.ServerEvent | dict[str, object]:
        if self._names == "beta":
            return {"type": kind, "event_id": new_id("event"), "session": betasession.to_flat(self.session)}
        session = msgspec.convert(self.session, p.RealtimeSessionConfig)
        if kind == "session.created":
            return p.SessionCreated(session=session, event_id=new_id("event"))
        return p.SessionUpdated(session=session, event_id=new_id("event"))

    def _append(self, event: p.InputAudioBufferAppend) -> Effects:
        effects: Effects = []
        for heard in self._listener.append(decode_audio(event.audio, "audio")):
            effects += self._turn(heard)
        return effects

    def _commit(self, event: p.InputAudioBufferCommit) -> Effects:
        return self._handlers.add_heard(new_id("item"), self._listener.commit())

    def _clear(self, event: p.InputAudioBufferClear) -> Effects:
        self._listener.clear()
        return [p.InputAudioBufferCleared(event_id=new_id("event"))]

    def _create_item(self, event: p.ConversationItemCreate) -> Effects:
        answer = event.item
        if not isinstance(answer, p.McpApprovalResponseItem):
            return self._handlers.create(event, self.session)
        self._mcp.check(answer)
        return [*self._handlers.create(event, self.session), *self._mcp.answer(answer)]

    def _retrieve_item(self, event: p.ConversationItemRetrieve) -> Effects:
        return self._handlers.retrieve(event, self.session)

    def _delete_item(self, event: p.ConversationItemDelete) -> Effects:
        return self._handlers.delete(event)

    def _truncate_item(self, event: p.ConversationItemTruncate) -> Effects:
        return self._handlers.truncate(event)

    def _create_response(self, tree: Json) -> Effects:
        params = tree.get("response") or {}
        if isinstance(params, dict) and betasession.is_flat(params):
            params = betasession.to_ga(params, session=False)
        check_response(params)
        return self._respond(params)

    def _cancel_response(self, event: p.ResponseCancel) -> Effects:
        return self._responder.cancel(p.given(event.response_id, "") or None)

    def _clear_output(self, event: p.OutputAudioBufferClear) -> Effects:
        message = "output_audio_buffer.clear is only for WebRTC and SIP sessions."
        raise ApiError(message, "invalid_value", "type")

    # --- turns

    def _turn(self, heard: TurnStarted | TurnEnded | IdleTimeout) -> Effects:
        detection = self.session["audio"]["input"]["turn_detection"]
        if isinstance(heard, TurnStarted):
            effects: Effects = [
                p.InputAudioBufferSpeechStarted(
                    audio_start_ms=heard.at_ms, item_id=heard.item_id, event_id=new_id("event")
                )
            ]
            if detection["interrupt_response"] and self._responder.active is not None:
                effects += self._responder.cancel(None, "turn_detected")
            return effects
        if isinstance(heard, TurnEnded):
            edge: p.ServerEvent = p.InputAudioBufferSpeechStopped(
                audio_end_ms=heard.at_ms, item_id=heard.item_id, event_id=new_id("event")
            )
        else:
            edge = p.InputAudioBufferTimeoutTriggered(
                audio_start_ms=heard.start_ms,
                audio_end_ms=heard.end_ms,
                item_id=heard.item_id,
                event_id=new_id("event"),
            )
        effects = [edge, *self._handlers.add_heard(heard.item_id, heard.sound)]
        if detection["create_response"]:
            try:
                effects += self._respond({})
            except ApiError as error:
                effects.append(error.event())
        return effects

    def _respond(self, params: Json) -> Effects:
        self._listener.agent_speaks_until(None)
        listed = self._mcp.configure(params.get("tools", []))
        return [*listed, *self._responder.create(params, self.session)]


class _Head(msgspec.Struct):
    """What every event has."""

    type: Any = None
    event_id: Any = None


_HEAD: Final = msgspec.json.Decoder(_Head)


def _head(frame: str | bytes) -> _Head:
    try:
        return _HEAD.decode(frame)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        message = "Could not parse your JSON. The event must be a JSON object."
        raise ApiError(message, "invalid_json") from None


def _struct(frame: str | bytes, kind: str) -> p.ClientEvent:
    try:
        return p.decode_client_event(frame)
    except p.ProtocolError as error:
        raise ApiError(f"Invalid '{kind}' event: {error}.", "invalid_value") from None


_HANDLERS: Final[dict[str, tuple[Callable[[Conversation, Any], Effects], bool]]] = {
    "session.update": (Conversation._session_update, True),
    "input_audio_buffer.append": (Conversation._append, False),
    "input_audio_buffer.commit": (Conversation._commit, False),
    "input_audio_buffer.clear": (Conversation._clear, False),
    "output_audio_buffer.clear": (Conversation._clear_output, False),
    "conversation.item.create": (Conversation._create_item, False),
    "conversation.item.retrieve": (Conversation._retrieve_item, False),
    "conversation.item.delete": (Conversation._delete_item, False),
    "conversation.item.truncate": (Conversation._truncate_item, False),
    "response.create": (Conversation._create_response, True),
    "response.cancel": (Conversation._cancel_response, False),
}
"""The handler of each client event, and whether it takes the JSON as it came instead of a struct."""
