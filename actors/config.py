"""A session's settings, and the session.update frames that they make. Pure functions of immutable data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec
from msgspec import UnsetType

from antiphon.actors.supervision import SupervisorConfig
from antiphon.protocol import (
    NOT_GIVEN,
    AudioConfig,
    AudioFormat,
    AudioInputConfig,
    AudioOutputConfig,
    AudioTranscription,
    FunctionToolDef,
    McpToolDef,
    NoiseReduction,
    Prompt,
    RealtimeSessionConfig,
    Reasoning,
    RetentionRatioTruncation,
    SemanticVad,
    ServerVad,
    ToolChoiceFunction,
    ToolChoiceMcp,
    Tracing,
)

TurnDetection = ServerVad | SemanticVad
ToolChoice = str | ToolChoiceFunction | ToolChoiceMcp
ToolDef = FunctionToolDef | McpToolDef
Dialect = Literal["ga", "azure-legacy"]

# Used where the turn detection in force names no padding of its own.
DEFAULT_PREFIX_PADDING_MS = 300

# Options that the legacy Azure dialect has no field for.
NOT_IN_LEGACY = frozenset({"truncation", "reasoning"})

_WIRE_FORMATS = {
    "pcm16": AudioFormat(type="audio/pcm", rate=24_000),
    "g711_ulaw": AudioFormat(type="audio/pcmu"),
    "g711_alaw": AudioFormat(type="audio/pcma"),
}


class ConnectOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How hard to try to connect.

    Attributes:
        max_retry: Attempts after a failed one before the session gives up.
        retry_interval: Seconds between attempts (the first retry comes after `Timeouts.first_retry`).
        timeout: Seconds for one handshake.
    """

    max_retry: int = 3
    retry_interval: float = 2.0
    timeout: float = 10.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.max_retry < 0:
            raise ValueError(f"max_retry must be 0 or more, not {self.max_retry}")
        if self.retry_interval < 0:
            raise ValueError(f"retry_interval must be 0 s or more, not {self.retry_interval}")
        if self.timeout <= 0:
            raise ValueError(f"timeout must be above 0 s, not {self.timeout}")


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Every time limit of a session, in seconds.

    Attributes:
        reply: From response.create on the wire to response.created.
        reply_wait: How long a reply may wait for its turn.
        chat_ctx: For the acknowledgement of a chat context's changes.
        close: For a polite close.
        first_retry: Before the first attempt to reconnect.
        ping_interval: Between pings.
        ping_timeout: For any frame in answer to a ping.
        uptime: How long a connection must hold before failures are counted afresh.
        audio_ring: How much input audio is kept while it can't be sent.
    """

    reply: float = 10.0
    reply_wait: float = 30.0
    chat_ctx: float = 5.0
    close: float = 5.0
    first_retry: float = 0.1
    ping_interval: float = 20.0
    ping_timeout: float = 10.0
    uptime: float = 5.0
    audio_ring: float = 30.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in self.__struct_fields__:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0 s, not {getattr(self, name)}")


class SessionOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the server is told about a session.

    `None` means switched off; `truncation` and `reasoning` are sent only when set.
    """

    model: str
    voice: str
    modalities: tuple[str, ...]
    input_audio_transcription: AudioTranscription | None
    input_audio_noise_reduction: NoiseReduction | None
    turn_detection: TurnDetection | None
    speed: float
    max_response_output_tokens: int | Literal["inf"] | None
    tool_choice: ToolChoice | None = None
    tracing: Tracing | Literal["auto"] | None = None
    truncation: RetentionRatioTruncation | str | None = None
    reasoning: Reasoning | None = None
    input_audio_format: str = "pcm16"
    output_audio_format: str = "pcm16"
    prompt: Prompt | None = None
    parallel_tool_calls: bool | None = None
    include: tuple[str, ...] | None = None

    @property
    def audio_output(self) -> bool:
        """Whether responses are spoken."""
        return "audio" in self.modalities

    @property
    def interrupts(self) -> bool:
        """Whether the user's speech cuts a response off; an unset `interrupt_response` means yes."""
        return self.turn_detection is not None and self.turn_detection.interrupt_response is not False

    @property
    def prefix_padding_ms(self) -> int:
        """Milliseconds before the detected speech that count as part of it."""
        padding = getattr(self.turn_detection, "prefix_padding_ms", None)
        return padding if isinstance(padding, int) else DEFAULT_PREFIX_PADDING_MS


class SessionSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a session is made with and keeps to its end.

    Attributes:
        label: Names the model in errors and metrics.
        model_name: For metrics.
        provider: host[:port], for metrics.
        url: ws:// or wss:// address.
        headers: Makes the handshake's headers; called on a thread that may block.
        refetches_key: Whether `headers` can come up with another key after a 401.
        dialect: The wire's spelling.
        conn_options: How hard to try.
        timeouts: Time limits.
        max_session_duration: Seconds until a connection is recycled; None never.
        max_message_size: Bytes; larger messages are skipped.
        input_chunk_ms: Milliseconds of audio in one frame.
        proxy: Proxy address; None for what the environment says.
        ssl_context: TLS settings, None for the defaults.
        supervision: What happens when an actor fails.
    """

    label: str
    model_name: str
    provider: str
    url: str
    headers: Callable[[], list[str]]
    refetches_key: bool = False
    dialect: Dialect = "ga"
    conn_options: ConnectOptions = ConnectOptions()
    timeouts: Timeouts = Timeouts()
    max_session_duration: float | None = 1200.0
    max_message_size: int = 16 * 1024 * 1024
    input_chunk_ms: int = 100
    proxy: str | None = None
    ssl_context: Any = None
    supervision: SupervisorConfig = SupervisorConfig()

    def __repr__(self) -> str:
        # The address and the proxy may hold secrets.
        return f"<SessionSpec {self.label} at {self.provider}>"


def wire_format(name: str) -> AudioFormat:
    """The wire's description of "pcm16", "g711_ulaw" or "g711_alaw"."""
    return _WIRE_FORMATS[name]


def first_update(
    options: SessionOptions, instructions: str | None, dialect: Dialect = "ga"
) -> RealtimeSessionConfig:
    """The whole configuration, as the first frame of a connection carries it.

    The legacy dialect has no null for what was never switched on: there it is left out.
    """
    off: Any = NOT_GIVEN if dialect == "azure-legacy" else None
    return RealtimeSessionConfig(
        model=options.model,
        output_modalities=["audio"] if options.audio_output else ["text"],
        audio=AudioConfig(
            input=AudioInputConfig(
                format=wire_format(options.input_audio_format),
                noise_reduction=options.input_audio_noise_reduction or off,
                transcription=options.input_audio_transcription,
                turn_detection=options.turn_detection,
            ),
            output=AudioOutputConfig(
                format=wire_format(options.output_audio_format),
                speed=options.speed,
                voice=options.voice,
            ),
        ),
        max_output_tokens=options.max_response_output_tokens,
        tool_choice="auto" if options.tool_choice is None else options.tool_choice,
        tracing=options.tracing or off,
        instructions=NOT_GIVEN if instructions is None else instructions,
        truncation=_unless_none(options.truncation),
        reasoning=_unless_none(options.reasoning),
        prompt=_unless_none(options.prompt),
        parallel_tool_calls=_unless_none(options.parallel_tool_calls),
        include=_unless_none(list(options.include) if options.include is not None else None),
    )


def changed_update(
    old: SessionOptions, new: SessionOptions, dialect: Dialect = "ga"
) -> RealtimeSessionConfig | None:
    """Only what differs between two sets of options, and has a field in the dialect; None when nothing does."""

    def changed(name: str) -> Any:
        value = getattr(new, name)
        if dialect == "azure-legacy" and name in NOT_IN_LEGACY:
            return NOT_GIVEN
        return value if getattr(old, name) != value else NOT_GIVEN

    audio_input = AudioInputConfig(
        noise_reduction=changed("input_audio_noise_reduction"),
        transcription=changed("input_audio_transcription"),
        turn_detection=changed("turn_detection"),
    )
    audio_output = AudioOutputConfig(speed=changed("speed"), voice=changed("voice"))
    audio = AudioConfig(
        input=_unless_empty(audio_input, AudioInputConfig()),
        output=_unless_empty(audio_output, AudioOutputConfig()),
    )
    # None means "as the API does by default", which is "auto"; the API has no null here.
    before, tool_choice = old.tool_choice or "auto", new.tool_choice or "auto"
    max_tokens = changed("max_response_output_tokens")
    update = RealtimeSessionConfig(
        audio=_unless_empty(audio, AudioConfig()),
        tool_choice=NOT_GIVEN if tool_choice == before else tool_choice,
        max_output_tokens=max_tokens,
        tracing=changed("tracing"),
        truncation=changed("truncation"),
        reasoning=changed("reasoning"),
    )
    return None if update == RealtimeSessionConfig() else update


def tools_update(model: str, tools: list[ToolDef]) -> RealtimeSessionConfig:
    """The session's tools."""
    return RealtimeSessionConfig(model=model, tools=list(tools))


def instructions_update(instructions: str) -> RealtimeSessionConfig:
    """The session's instructions."""
    return RealtimeSessionConfig(instructions=instructions)


def _unless_none(value: Any) -> Any:
    return NOT_GIVEN if value is None else value


def _unless_empty(value: Any, empty: Any) -> Any | UnsetType:
    return NOT_GIVEN if value == empty else value
