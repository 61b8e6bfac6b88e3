"""`RealtimeSession`: one conversation with a model."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

import msgspec

from antiphon import settings
from antiphon.actors import ids
from antiphon.actors import messages as m
from antiphon.actors.audio import AudioFrame, VideoFrame, is_on_another_scale, to_frame
from antiphon.actors.chat import ChatContext, ChatItem, ChatMessage, ImageContent, image_url, to_item
from antiphon.actors.config import SessionOptions, SessionSpec, ToolDef
from antiphon.actors.emitter import EventStream
from antiphon.actors.errors import RealtimeError
from antiphon.actors.events import GenerationCreatedEvent
from antiphon.actors.item_ops import ChatCtxReport
from antiphon.actors.logs import about, get_logger
from antiphon.actors.playback import Playback
from antiphon.actors.runtime import Runtime, forbid_blocking
from antiphon.actors.session import ActorSession
from antiphon.actors.stats import SessionStats
from antiphon.actors.streams import SessionFuture
from antiphon.capabilities import RealtimeCapabilities
from antiphon.protocol import (
    NOT_GIVEN,
    ClientEvent,
    ConversationItemCreate,
    McpToolDef,
    ResponseCreateParams,
)
from antiphon.tool_runner import make_executor
from antiphon.tools import FunctionTool, HostedMcpTool, ProviderTool, RawFunctionTool, Tool, ToolContext

if TYPE_CHECKING:
    from antiphon.model import RealtimeModel
    from antiphon.recording.recorder import Recorder

logger = get_logger("antiphon.session")

# The mirror answers in microseconds; this only bounds the wait for an engine that is stopped or starved.
READ_TIMEOUT = 5.0
# For tools that name no timeout of their own; a caller on the line waits no longer than this.
TOOL_TIMEOUT = 60.0
# Of one session, so that its slow tools leave the engine's pool to the others.
TOOLS_AT_ONCE = 8

Callback = TypeVar("Callback", bound=Callable[..., Any])


class RealtimeSession:
    """One conversation with a model, over a connection that is kept up and restored.

    Made by `RealtimeModel.session()`. All methods are synchronous and thread-safe; what goes out leaves in
    the order in which the calls were made. A session that nobody refers to any more closes itself.
    """

    def __init__(
        self,
        model: RealtimeModel,
        runtime: Runtime,
        spec: SessionSpec,
        options: SessionOptions,
        fixed: frozenset[str],
    ) -> None:
        self._model = model
        self._options = options
        self._fixed = fixed
        self._timeouts = spec.timeouts
        self._tools = ToolContext.empty()
        self._recorder: Recorder | None = None
        self._warned_of_scale = False
        self._actors = ActorSession(runtime, spec, options)
        self._finalizer = weakref.finalize(self, self._actors.close_soon, spec.timeouts.close)
        self._finalizer.atexit = False

    # -- life ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to connect; only needed after `session(start=False)`."""
        self._actors.start()

    def wait_open(self, timeout: float = 10.0) -> Self:
        """Wait until the session is connected and its configuration is written.

        Args:
            timeout: Seconds.

        Returns:
            The session.

        Raises:
            TimeoutError: It isn't open yet.
            RealtimeError: It has ended, for the reason given, or this is an engine thread.
        """
        self._actors.wait_open(timeout)
        return self

    def close(self, timeout: float | None = None) -> None:
        """End the session: what is queued is sent, then the connection is closed politely.

        Streams, futures and waits settle with "session closed". Always returns in time; closing again is
        harmless.

        Args:
            timeout: Seconds; None for the model's `Timeouts.close`.

        Raises:
            RealtimeError: Called on an engine thread.
        """
        self._finalizer.detach()
        self._actors.close(self._timeouts.close if timeout is None else timeout)
        if self._recorder is not None:
            self._recorder.join(self._timeouts.close)

    def restart(self) -> None:
        """Get a new connection, as soon as no response is under way; the conversation goes on."""
        self._actors.tell(m.CONNECTION, m.Restart("restart requested"))

    @property
    def id(self) -> str:
        """Names the session in logs; made here, not by the server."""
        return self._actors.id

    @property
    def state(self) -> str:
        """One of "connecting", "open", "reconnecting" or "closed"."""
        return self._actors.state

    def stats(self) -> SessionStats:
        """Counts, what waits where, and how long things take. Cheap; works at any time, also after the end."""
        return self._actors.stats()

    @property
    def model(self) -> RealtimeModel:
        """The model that made the session."""
        return self._model

    @property
    def capabilities(self) -> RealtimeCapabilities:
        """What the session can do with its present options."""
        from antiphon.model import capabilities_of

        return capabilities_of(self._options)

    # -- events --------------------------------------------------------------------------------------

    @overload
    def on(self, name: str, callback: Callback) -> Callback: ...
    @overload
    def on(self, name: str) -> Callable[[Callback], Callback]: ...
    def on(self, name: str, callback: Callback | None = None) -> Any:
        """Call `callback(payload)` at every event of this name; without a callback, a decorator.

        Callbacks run in order, one at a time, on a thread that may block.

        Raises:
            ValueError: There is no such event; the message lists them.
        """
        if callback is None:
            return lambda function: self._actors.emitter.on(name, function)
        return self._actors.emitter.on(name, callback)

    @overload
    def once(self, name: str, callback: Callback) -> Callback: ...
    @overload
    def once(self, name: str) -> Callable[[Callback], Callback]: ...
    def once(self, name: str, callback: Callback | None = None) -> Any:
        """Like `on`, for the next event only."""
        if callback is None:
            return lambda function: self._actors.emitter.on(name, function, once=True)
        return self._actors.emitter.on(name, callback, once=True)

    def off(self, name: str, callback: Callable[..., Any]) -> None:
        """Stop calling `callback`; nothing if it wasn't subscribed."""
        self._actors.emitter.off(name, callback)

    def events(self, *names: str, maxsize: int = 1000) -> EventStream:
        """A blocking iterator over (name, payload), of these events or of all; ends with the session.

        Args:
            *names: Events; none means all.
            maxsize: How many may wait before the oldest is dropped; 0 for no limit.
        """
        return self._actors.emitter.stream(names, maxsize)

    # -- audio and video in ------------------------------------------------------------------------------

    def push_audio(
        self, frame: AudioFrame | Any, sample_rate: int | None = None, num_channels: int | None = None
    ) -> None:
        """Send audio of the user. Never blocks; what can't be sent waits, up to `Timeouts.audio_ring`.

        Args:
            frame: An `AudioFrame`; or int16 or float32 (−1…1) samples as an array of shape (samples,) or
                (samples, channels); or s16le bytes, channels interleaved. Floats beyond ±1 are clipped, those far
                beyond with a warning, once in a session.
            sample_rate: 8,000 to 192,000 Hz; with an array or bytes only.
            num_channels: 1 to 8; averaged to mono.

        Raises:
            ValueError: The audio is not as described; nothing is sent.
        """
        gate = self._actors.audio
        if not (isinstance(frame, bytes) and gate.push_bytes(frame, sample_rate, num_channels)):
            gate.push(to_frame(frame, sample_rate, num_channels), begins_run=isinstance(frame, bytes))
            if not self._warned_of_scale and is_on_another_scale(frame):
                self._warned_of_scale = True
                with about(self._actors.strand.origin):
                    logger.warning(
                        "pushed audio was clipped: floats span -1 to 1; divide by 32768, or push int16"
                    )

    def commit_audio(self) -> None:
        """Make a user message of what was pushed; nothing if that is not more than 100 ms."""
        self._actors.audio.tell_after(m.CommitAudio())

    def clear_audio(self) -> None:
        """Throw away what was pushed and not committed."""
        self._actors.audio.drop_and_tell(m.ClearAudio())

    def push_video(self, frame: VideoFrame | Any, encoding: str = "rgb") -> None:
        """Add a picture to the conversation, as a user message.

        Args:
            frame: A `VideoFrame`; or a uint8 array (height, width, 3); or JPEG or PNG bytes.
            encoding: "rgb", "jpeg" or "png", unless `frame` is a `VideoFrame`.

        Raises:
            ValueError: The picture is not as described.
            ImportError: A raw picture needs the extra `video`.
        """
        if not isinstance(frame, VideoFrame):
            frame = VideoFrame(frame, encoding)  # type: ignore[arg-type]
        message = ChatMessage("user", [ImageContent(image_url(ImageContent(frame)))])
        self.send_event(ConversationItemCreate(event_id=ids.new_id(ids.VIDEO), item=to_item(message)))

    # -- responses ----------------------------------------------------------------------------------------

    def generate_reply(
        self,
        instructions: str | Any = NOT_GIVEN,
        tool_choice: Any = NOT_GIVEN,
        tools: Iterable[Tool] | Any = NOT_GIVEN,
        *,
        conversation: str | Any = NOT_GIVEN,
        input: Iterable[ChatItem] | Any = NOT_GIVEN,
        metadata: Mapping[str, str] | Any = NOT_GIVEN,
        modalities: Iterable[str] | Any = NOT_GIVEN,
        max_output_tokens: Any = NOT_GIVEN,
    ) -> Future[GenerationCreatedEvent]:
        """Ask for a response.

        It waits for its turn if one is under way. Cancelling the future cancels the request.

        Args:
            instructions: For this response; the session's come before them.
            tool_choice: As for the model.
            tools: Instead of the session's.
            conversation: "none" for an out-of-band response, which leaves the conversation as it is.
            input: Items to use instead of the conversation.
            metadata: Up to 16 pairs; the response carries them.
            modalities: Instead of the session's.
            max_output_tokens: 1 to 4096, or "inf".

        Returns:
            A future of the response's streams. It fails with `RealtimeError` when the server refuses, doesn't
            answer within `Timeouts.reply` seconds, when the connection is lost, or the session closes.

        Raises:
            ValueError: An argument is not understood; nothing is sent.
        """
        if not isinstance(instructions, str) and instructions is not NOT_GIVEN and instructions is not None:
            raise ValueError(f"instructions must be text, not {instructions!r}")
        params = ResponseCreateParams(
            instructions=instructions or NOT_GIVEN,
            tool_choice=_unless(tool_choice, settings.tool_choice),
            tools=_unless(tools, lambda given: self._convert_tools(_tool_list(given))),
            conversation=conversation,
            input=_unless(input, lambda items: [to_item(item) for item in items]),
            metadata=_unless(metadata, dict),
            output_modalities=_unless(modalities, _output_modalities),
            max_output_tokens=_unless(max_output_tokens, settings.max_output_tokens),
        )
        actors = self._actors

        def cancelled() -> None:
            actors.tell(m.GENERATION, m.ReplyCancelled(future))

        future: SessionFuture[GenerationCreatedEvent] = SessionFuture(actors.emitter.run, cancelled)
        actors.tell(m.GENERATION, m.GenerateReply(params, future))
        return future

    @property
    def has_active_generation(self) -> bool:
        """Whether a response is asked for or under way."""
        return self._actors.has_active_generation(READ_TIMEOUT)

    def interrupt(self) -> None:
        """Cancel the response that is under way, and cut what plays to what was heard."""
        self._actors.tell(m.GENERATION, m.Interrupt())

    def truncate(
        self,
        message_id: str,
        modalities: Iterable[str],
        audio_end_ms: int,
        audio_transcript: str | Any = NOT_GIVEN,
    ) -> None:
        """Cut a message of the model to what was heard or shown of it.

        Args:
            message_id: The message.
            modalities: With "audio", its audio is cut; else its text is rewritten.
            audio_end_ms: Milliseconds that were heard; 0 deletes the message.
            audio_transcript: The words that were heard or shown.
        """
        transcript = audio_transcript if isinstance(audio_transcript, str) else None
        self._actors.tell(
            m.GENERATION, m.Truncate(message_id, "audio" in modalities, int(audio_end_ms), transcript)
        )

    def approve(self, request_id: str, approve: bool, *, reason: str | None = None) -> None:
        """Answer the provider's request to call a tool of an MCP server (event `mcp_approval_requested`).

        An answer that the server refuses, because it knows no such request or has had its answer, is an `error`
        event.

        Args:
            request_id: The event's.
            approve: Whether the tool may be called. It is then called without further ado.
            reason: For the model, if it may not.

        Raises:
            ValueError: An argument is not as described; nothing is sent.
        """
        if not isinstance(request_id, str) or not request_id:
            raise ValueError(
                f"request_id must be that of an mcp_approval_requested event, not {request_id!r}"
            )
        if not isinstance(approve, bool):
            raise ValueError(f"approve must be True or False, not {approve!r}")
        if reason is not None and not isinstance(reason, str):
            raise ValueError(f"reason must be text, not {reason!r}")
        self._actors.tell(m.GENERATION, m.ApproveMcp(request_id, approve, reason))

    @property
    def playback(self) -> Playback:
        """The ledger that a player reads; from the first access on, what the model says goes there.

        Access it before the first response. When the user talks over the model (with `interrupt_response`),
        and at `interrupt()`, it falls silent and the server is told how much was heard.
        """
        self._actors.playback.attach()
        return self._actors.playback

    # -- recording ------------------------------------------------------------------------------------------

    def record(self, path: str | os.PathLike[str]) -> Recorder:
        """Write down all that happens from now on, both directions and both voices, until the session's end.

        To have it from the first frame on, record before `start` (`model.session(start=False)`). What is written
        survives the process; credentials are left out; what was said is not. `antiphon.recording.read` reads it.

        Args:
            path: Of the lines, such as "call.jsonl"; the voices go beside it, into "call.in.wav" and "call.out.wav".

        Returns:
            The recorder; `stop` ends it before the session does, and so does leaving a `with` block.

        Raises:
            FileExistsError: One of the files exists: a recording is never overwritten.
            OSError: They can't be made.
            RealtimeError: The session is being recorded already, is over, or this is an engine thread.
        """
        from antiphon.recording.recorder import record

        forbid_blocking("record")
        if self._recorder is not None and self._recorder.recording:
            raise RealtimeError(
                f"the session is being recorded already, to {self._recorder.path}; stop that first"
            )
        self._recorder = record(Path(path), self._actors, self._options, self._model._known_secrets)
        return self._recorder

    # -- the conversation -----------------------------------------------------------------------------------

    @property
    def chat_ctx(self) -> ChatContext:
        """A copy of the conversation as the server has it.

        Raises:
            RealtimeError: Read on an engine thread.
        """
        return self._actors.chat_ctx(READ_TIMEOUT)

    def update_chat_ctx(self, chat_ctx: ChatContext, timeout: float | None = None) -> ChatCtxReport:
        """Make the server's conversation equal to this one, and wait until it says that it is.

        Args:
            chat_ctx: What the conversation should be.
            timeout: Seconds; None for the model's `Timeouts.chat_ctx`.

        Returns:
            What was created, deleted and refused.

        Raises:
            RealtimeError: No acknowledgement in time, the session is closed, or this is an engine thread.
        """
        forbid_blocking("update_chat_ctx")
        if not isinstance(chat_ctx, ChatContext):
            raise ValueError(f"chat_ctx must be a ChatContext, not {chat_ctx!r}")
        limit = self._timeouts.chat_ctx if timeout is None else timeout
        wanted = _with_encoded_pictures(chat_ctx)
        future: Future[ChatCtxReport] = Future()
        self._actors.tell(m.CHAT_CTX, m.UpdateChatCtx(wanted, limit, future))
        return future.result()

    def update_instructions(self, instructions: str) -> None:
        """Change what the model is told to be and do.

        Raises:
            ValueError: It is no text.
        """
        if not isinstance(instructions, str):
            raise ValueError(f"instructions must be text, not {instructions!r}")
        self._actors.tell(m.CONNECTION, m.UpdateInstructions(instructions))

    @property
    def tools(self) -> ToolContext:
        """A copy of the tools in force."""
        return self._tools.copy()

    def update_tools(
        self,
        tools: Iterable[Tool],
        *,
        auto_execute: bool = False,
        timeout: float = TOOL_TIMEOUT,
        max_parallel: int = TOOLS_AT_ONCE,
    ) -> None:
        """Change the tools that the model may call.

        What the API can't express is logged and left out; `tools` is what was kept.

        Args:
            tools: Typed functions, raw schemas, hosted MCP tools, provider's tools.
            auto_execute: The engine runs the tools itself, on threads of their own, sends each call's output
                once, and asks the model to go on after the last call of a response. Otherwise calls are
                only handed out, and the application answers them.
            timeout: Seconds for tools that name no timeout of their own.
            max_parallel: How many calls of this session may be under way at once; the others wait their turn,
                and so do those that find all of the engine's `tool_workers` busy.

        Raises:
            ValueError: `tools` is no list, `max_parallel` is below 1, or two tools have the same name.
        """
        if max_parallel < 1:
            raise ValueError(f"max_parallel must be at least 1, not {max_parallel}")
        given = _tool_list(tools)
        definitions = self._convert_tools(given)
        names = {
            definition.server_label if isinstance(definition, McpToolDef) else definition.name
            for definition in definitions
        }
        kept = [
            tool for tool in given if isinstance(tool, ProviderTool) or getattr(tool, "name", None) in names
        ]
        self._tools = ToolContext(kept)
        silent = [tool.name for tool in kept if isinstance(tool, HostedMcpTool) and not tool.reply]
        self._actors.tell(m.GENERATION, m.SilenceMcp(frozenset(silent)))
        executor = make_executor(self._tools, self, timeout, max_parallel) if auto_execute else None
        self._actors.tell(m.GENERATION, m.SetToolExecutor(executor))
        self._actors.tell(m.CONNECTION, m.UpdateTools(definitions))

    def _convert_tools(self, tools: Iterable[Any]) -> list[ToolDef]:
        """Tools as the API is told of them. Override to send others."""
        definitions: list[ToolDef] = []
        for tool in tools:
            if isinstance(tool, ProviderTool):
                continue
            if not isinstance(tool, FunctionTool | RawFunctionTool | HostedMcpTool):
                with about(self._actors.strand.origin):
                    logger.error("%r is no tool; use @function_tool or RawFunctionTool", tool)
                continue
            try:
                definition = tool.definition
                # Here, because on the wire it would take the whole session.update along.
                msgspec.json.encode(definition)
                definitions.append(definition)
            except (TypeError, ValueError) as error:
                with about(self._actors.strand.origin):
                    logger.error("tool %s is left out: %s", tool.name, error)
        return definitions

    # -- options and the wire -----------------------------------------------------------------------------

    def update_options(
        self,
        *,
        voice: Any = NOT_GIVEN,
        turn_detection: Any = NOT_GIVEN,
        tool_choice: Any = NOT_GIVEN,
        input_audio_transcription: Any = NOT_GIVEN,
        input_audio_noise_reduction: Any = NOT_GIVEN,
        max_response_output_tokens: Any = NOT_GIVEN,
        speed: Any = NOT_GIVEN,
        tracing: Any = NOT_GIVEN,
        truncation: Any = NOT_GIVEN,
        reasoning: Any = NOT_GIVEN,
        temperature: Any = NOT_GIVEN,
    ) -> None:
        """Change options of this session; only what differs is sent. None switches a thing off.

        `temperature` is accepted, warned about, and never sent: the API no longer has it.

        Raises:
            ValueError: An option is not understood; nothing has changed then.
        """
        settings.warn_about_temperature(temperature)
        given = {
            "voice": voice,
            "turn_detection": turn_detection,
            "tool_choice": tool_choice,
            "input_audio_transcription": input_audio_transcription,
            "input_audio_noise_reduction": input_audio_noise_reduction,
            "max_response_output_tokens": max_response_output_tokens,
            "speed": speed,
            "tracing": tracing,
            "truncation": truncation,
            "reasoning": reasoning,
        }
        self._apply_changes(settings.changes(given), from_model=False)

    def _apply_changes(self, changes: Mapping[str, Any], *, from_model: bool) -> None:
        if from_model:
            changes = {name: value for name, value in changes.items() if name not in self._fixed}
        if changes:
            self._options = settings.apply(self._options, changes)
            self._actors.tell(m.CONNECTION, m.UpdateOptions(dict(changes)))

    def send_event(self, event: ClientEvent | Mapping[str, Any]) -> None:
        """Send an event as it is, in its turn; nothing after the end of the session.

        A conversation.item.create or .delete that the server has not confirmed when the connection drops is
        sent again on the next one, unless the item has no id to recognise it by.

        Args:
            event: A struct of `antiphon.protocol`, or a dict in the wire's GA spelling.

        Raises:
            TypeError: It is neither, or a dict without a `type`.
        """
        if isinstance(event, Mapping):
            if not isinstance(event.get("type"), str):
                raise TypeError("an event needs a type, such as {'type': 'response.cancel'}")
        elif not isinstance(event, msgspec.Struct):
            raise TypeError(
                f"an event must be a struct of antiphon.protocol or a dict, not {type(event).__name__}"
            )
        self._actors.tell(m.CONNECTION, m.SendEvent(dict(event) if isinstance(event, Mapping) else event))

    def _close_soon(self, timeout: float) -> None:
        self._actors.close_soon(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<RealtimeSession {self.id} {self.state}>"


def _unless(value: Any, convert: Callable[[Any], Any]) -> Any:
    return NOT_GIVEN if value is NOT_GIVEN else convert(value)


def _tool_list(tools: Any) -> list[Any]:
    if not isinstance(tools, Iterable) or isinstance(tools, str):
        raise ValueError(f"tools must be a list of tools, not {tools!r}; [] is none")
    return list(tools)


def _output_modalities(value: Iterable[str]) -> list[str]:
    return ["audio"] if "audio" in settings.modalities(value) else ["text"]


def _with_encoded_pictures(context: ChatContext) -> ChatContext:
    """A copy in which raw pictures are encoded: here, because that may take long on an engine thread."""
    copy = context.copy(exclude_handoff=True, exclude_config_update=True)
    for item in copy.items:
        if isinstance(item, ChatMessage):
            item.content = [
                _encoded(part) if isinstance(part, ImageContent) else part for part in item.content
            ]
    return copy


def _encoded(part: ImageContent) -> ImageContent:
    return part if isinstance(part.image, str) else ImageContent(image_url(part), part.detail)
