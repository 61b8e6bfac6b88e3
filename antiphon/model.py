"""`RealtimeModel`: how to reach a speech-to-speech model, and how its sessions behave."""

from __future__ import annotations

import os
import ssl
import weakref
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import msgspec

from antiphon import defaults, settings
from antiphon.actors.config import ConnectOptions, SessionOptions, SessionSpec, Timeouts, TurnDetection
from antiphon.actors.errors import RealtimeError
from antiphon.actors.logs import get_logger
from antiphon.actors.runtime import Runtime
from antiphon.actors.supervision import SupervisorConfig
from antiphon.capabilities import RealtimeCapabilities
from antiphon.endpoint import (
    Endpoint,
    Secret,
    azure_base_url,
    check_headers,
    check_proxy,
    find_endpoint,
    is_azure_ga,
)
from antiphon.protocol import (
    NOT_GIVEN,
    AudioTranscription,
    NoiseReduction,
    Prompt,
    Reasoning,
    RetentionRatioTruncation,
    Tracing,
)
from antiphon.version import VERSION

if TYPE_CHECKING:
    from antiphon.session import RealtimeSession

logger = get_logger("antiphon.model")

# Models and hosts that were warned about: once in a process.
_warned_of: set[str] = set()


class RealtimeModel:
    """A model behind the OpenAI Realtime API, Azure's, or any server that speaks it.

    All arguments are keyword-only. A shorthand (dict or string) is accepted wherever a struct is. Thread-safe.

    Args:
        model: Name of the model.
        voice: Voice of spoken responses.
        modalities: "text" and/or "audio"; with "audio", responses are spoken and come with a transcript.
        tool_choice: "auto", "none", "required" or one function.
        base_url: Address of the API; else OPENAI_BASE_URL, else the public one.
        input_audio_transcription: How to transcribe the user; None: not.
        input_audio_noise_reduction: "near_field", "far_field" or None.
        turn_detection: How the server finds out that the user has finished; None: the application commits.
        speed: 0.25 to 1.5.
        tracing: "auto", a `Tracing` or None.
        truncation: "auto", "disabled", a `RetentionRatioTruncation` or None.
        reasoning: For reasoning models.
        max_response_output_tokens: 1 to 4096, or "inf".
        api_key: The key, or a callable that returns one and is called on every connect; else OPENAI_API_KEY
            (on Azure: AZURE_OPENAI_API_KEY).
        azure_deployment: Azure's name for the model; this, `entra_token` or `api_version` switches Azure on.
        entra_token: Azure bearer token, or a callable as above.
        api_version: Azure's dated API, whose older dialect is then spoken.
        max_session_duration: Seconds after which a connection is replaced; None: never.
        conn_options: How hard to try to connect.
        temperature: Ignored; the API no longer has it.
        input_audio_format: "pcm16" (24 kHz), "g711_ulaw" or "g711_alaw" (8 kHz) on the wire.
        output_audio_format: The same for the other direction.
        input_chunk_ms: Milliseconds of input audio in one frame, 10 to 500.
        prompt: A prompt stored with the provider.
        parallel_tool_calls: Whether one response may call several tools.
        include: Further things that the server is to send.
        proxy: http://user:password@host:port; None: what the environment says.
        ssl_context: TLS settings; None: the system's authorities, verified.
        headers: Further headers of the handshake.
        max_message_size: Bytes; larger messages are skipped.
        engine: The threads to run on; None: `Engine.default()`, shared by all models.
        supervision: What happens when an actor of a session fails.
        timeouts: All time limits.

    Raises:
        ValueError: A key or an address is missing, or an option is not understood; the message names it.
    """

    def __init__(
        self,
        *,
        model: str = defaults.MODEL,
        voice: str = defaults.VOICE,
        modalities: Iterable[str] = defaults.MODALITIES,
        tool_choice: Any = None,
        base_url: str | None = None,
        input_audio_transcription: AudioTranscription | Mapping[str, Any] | None = defaults.TRANSCRIPTION,
        input_audio_noise_reduction: NoiseReduction | Mapping[str, Any] | str | None = None,
        turn_detection: TurnDetection | Mapping[str, Any] | None = defaults.TURN_DETECTION,
        speed: float = defaults.SPEED,
        tracing: Tracing | Mapping[str, Any] | Literal["auto"] | None = None,
        truncation: RetentionRatioTruncation | Mapping[str, Any] | str | None = None,
        reasoning: Reasoning | Mapping[str, Any] | None = None,
        max_response_output_tokens: int | Literal["inf"] | None = "inf",
        api_key: Secret | None = None,
        azure_deployment: str | None = None,
        entra_token: Secret | None = None,
        api_version: str | None = None,
        max_session_duration: float | None = defaults.MAX_SESSION_DURATION,
        conn_options: ConnectOptions = ConnectOptions(),  # noqa: B008 - frozen
        temperature: Any = NOT_GIVEN,
        input_audio_format: str = "pcm16",
        output_audio_format: str = "pcm16",
        input_chunk_ms: int = defaults.INPUT_CHUNK_MS,
        prompt: Prompt | Mapping[str, Any] | None = None,
        parallel_tool_calls: bool | None = None,
        include: Iterable[str] | None = None,
        proxy: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        headers: Mapping[str, str] | None = None,
        max_message_size: int = defaults.MAX_MESSAGE_SIZE,
        engine: Runtime | None = None,
        supervision: SupervisorConfig = SupervisorConfig(),  # noqa: B008 - frozen
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
    ) -> None:
        settings.warn_about_temperature(temperature)
        settings.in_range("input_chunk_ms", input_chunk_ms, 10, 500)
        if max_session_duration is not None:
            settings.in_range("max_session_duration", max_session_duration, 0.001, 1e9)
        settings.in_range("max_message_size", max_message_size, 1024, 2**40)
        settings.instance("conn_options", conn_options, ConnectOptions)
        settings.instance("timeouts", timeouts, Timeouts)
        settings.instance("supervision", supervision, SupervisorConfig)
        if engine is not None:
            settings.instance("engine", engine, Runtime, "pass an Engine, or None for the shared one")
        if ssl_context is not None:
            hint = "make one with ssl.create_default_context(), or pass None"
            settings.instance("ssl_context", ssl_context, ssl.SSLContext, hint)
        settings.text("model", model)
        self._endpoint = find_endpoint(
            model=model,
            base_url=base_url,
            api_key=api_key,
            azure_deployment=azure_deployment,
            entra_token=entra_token,
            api_version=api_version,
        )
        self._options = SessionOptions(
            model=model,
            voice=settings.voice(voice),
            modalities=settings.modalities(modalities),
            tool_choice=settings.tool_choice(tool_choice),
            input_audio_transcription=settings.transcription(input_audio_transcription),
            input_audio_noise_reduction=settings.noise_reduction(input_audio_noise_reduction),
            turn_detection=settings.turn_detection(turn_detection),
            speed=settings.speed(speed),
            tracing=settings.tracing(tracing),
            truncation=settings.truncation(truncation),
            reasoning=settings.reasoning(reasoning),
            max_response_output_tokens=settings.max_output_tokens(max_response_output_tokens),
            input_audio_format=settings.audio_format("input_audio_format", input_audio_format),
            output_audio_format=settings.audio_format("output_audio_format", output_audio_format),
            prompt=settings.prompt(prompt),
            parallel_tool_calls=settings.parallel_tool_calls(parallel_tool_calls),
            include=settings.include(include),
        )
        self._engine = engine
        self._headers = dict(headers or {})
        check_headers(self._headers)
        check_proxy(proxy)
        self._sessions: weakref.WeakSet[RealtimeSession] = weakref.WeakSet()
        # Told of each session before it starts.
        self._closed = False
        self._watchers: list[Callable[[RealtimeSession], None]] = []
        self._closed = False
        endpoint, own_headers = self._endpoint, self._headers
        self._spec = SessionSpec(
            label=self.label,
            model_name=model,
            provider=endpoint.provider,
            url=endpoint.url,
            headers=lambda: endpoint.headers(f"antiphon/{VERSION}", own_headers),
            refetches_key=endpoint.refetches_key,
            dialect="azure-legacy" if endpoint.legacy else "ga",
            conn_options=conn_options,
            timeouts=timeouts,
            max_session_duration=max_session_duration,
            max_message_size=max_message_size,
            input_chunk_ms=input_chunk_ms,
            proxy=proxy,
            ssl_context=ssl_context,
            supervision=supervision,
        )
        _warn_about_shutdowns(endpoint, self._options)
        _warn_about_clear_text(endpoint)

    @classmethod
    def with_azure(
        cls,
        *,
        azure_deployment: str,
        azure_endpoint: str | None = None,
        api_version: str | None = None,
        api_key: Secret | None = None,
        entra_token: Secret | None = None,
        base_url: str | None = None,
        **options: Any,
    ) -> Self:
        """A model on Azure, with Azure's defaults: server VAD and whisper-1.

        Args:
            azure_deployment: Azure's name for the model.
            azure_endpoint: https://RESOURCE.openai.azure.com; else AZURE_OPENAI_ENDPOINT.
            api_version: Else OPENAI_API_VERSION; without either the GA API is spoken.
            api_key: Else AZURE_OPENAI_API_KEY.
            entra_token: Instead of a key.
            base_url: Instead of an endpoint; taken as it is.
            **options: Further arguments of `RealtimeModel`.

        Raises:
            ValueError: No credentials, no address, or both kinds of address.
        """
        if not api_key and entra_token is None and not os.environ.get("AZURE_OPENAI_API_KEY"):
            raise ValueError(
                "no credentials for Azure: pass api_key=… or entra_token=…, or set AZURE_OPENAI_API_KEY"
            )
        if base_url is not None and azure_endpoint is not None:
            raise ValueError("pass base_url=… or azure_endpoint=…, not both")
        if base_url is None:
            azure_endpoint = azure_endpoint or os.environ.get("AZURE_OPENAI_ENDPOINT")
            if not azure_endpoint:
                raise ValueError("no Azure address: pass azure_endpoint=… or set AZURE_OPENAI_ENDPOINT")
            base_url = azure_base_url(azure_endpoint)
        if api_version is None and not is_azure_ga(base_url):
            api_version = os.environ.get("OPENAI_API_VERSION")
        options.setdefault("turn_detection", defaults.AZURE_TURN_DETECTION)
        options.setdefault("input_audio_transcription", defaults.AZURE_TRANSCRIPTION)
        return cls(
            azure_deployment=azure_deployment,
            api_version=api_version,
            api_key=api_key,
            entra_token=entra_token,
            base_url=base_url,
            **options,
        )

    @property
    def model(self) -> str:
        """The model's name."""
        return self._options.model

    @property
    def provider(self) -> str:
        """host[:port] of the server."""
        return self._endpoint.provider

    @property
    def label(self) -> str:
        """Names the model in errors, metrics and logs."""
        return "Azure OpenAI Realtime API" if self._endpoint.azure else "OpenAI Realtime API"

    @property
    def capabilities(self) -> RealtimeCapabilities:
        """What sessions can do as the model is configured now."""
        return capabilities_of(self._options)

    def session(self, *, turn_detection_disabled: bool = False, start: bool = True) -> RealtimeSession:
        """Begin a session: it connects in the background; this returns at once.

        Args:
            turn_detection_disabled: The application commits by itself in this session, whatever the model says.
            start: False lets the application subscribe to events first and call `session.start()` then.

        Raises:
            RealtimeError: The model, or its engine, is closed.
        """
        if self._closed:
            raise RealtimeError("this model is closed; make a new one")
        options = self._options
        if turn_detection_disabled:
            options = msgspec.structs.replace(options, turn_detection=None)
        # Here, not at the top: numpy, pykka and the rest of the engine are only needed from the first session on,
        # and take three times as long to import as all that a model needs.
        from antiphon.actors.engine import Engine
        from antiphon.session import RealtimeSession

        session = RealtimeSession(
            self,
            self._engine or Engine.default(),
            self._spec,
            options,
            fixed=frozenset({"turn_detection"}) if turn_detection_disabled else frozenset(),
        )
        self._sessions.add(session)
        for watch in self._watchers:
            watch(session)
        if start:
            session.start()
        return session

    def _watch_sessions(self, watch: Callable[[RealtimeSession], None]) -> None:
        """Call `watch` with every session that lives, and with each that begins, before it starts."""
        self._watchers.append(watch)
        for session in list(self._sessions):
            watch(session)

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
        """Change options for sessions to come and for every live one. None switches a thing off.

        Raises:
            ValueError: An option is not understood; nothing has changed then.
        """
        settings.warn_about_temperature(temperature)
        changes = settings.changes(
            {
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
        )
        self._options = settings.apply(self._options, changes)
        for session in list(self._sessions):
            session._apply_changes(changes, from_model=True)

    @property
    def _known_secrets(self) -> list[str]:
        """What must not appear in a recording."""
        return [*self._endpoint.known_secrets, *self._headers.values()]

    def close(self, timeout: float | None = None) -> None:
        """Close all sessions, for good; closing twice is harmless.

        Args:
            timeout: Seconds in all; None for the model's `Timeouts.close`.
        """
        self._closed = True
        limit = self._spec.timeouts.close if timeout is None else timeout
        sessions = list(self._sessions)
        for session in sessions:
            session._close_soon(limit)
        for session in sessions:
            session.close(limit)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<RealtimeModel {self.model!r} at {self.provider}>"


def capabilities_of(options: SessionOptions) -> RealtimeCapabilities:
    """What a session with these options can do."""
    detection = options.turn_detection
    return RealtimeCapabilities(
        turn_detection=detection is not None and detection.create_response is not False,
        user_transcription=options.input_audio_transcription is not None,
        audio_output=options.audio_output,
    )


def _warn_about_shutdowns(endpoint: Endpoint, options: SessionOptions) -> None:
    if endpoint.provider != defaults.PROVIDER_HOST:
        return
    names = [options.model]
    if options.input_audio_transcription is not None and options.input_audio_transcription.model:
        names.append(options.input_audio_transcription.model)
    for name in names:
        if name in defaults.SHUTDOWNS and name not in _warned_of:
            _warned_of.add(name)
            date, successor = defaults.SHUTDOWNS[name]
            logger.warning("model %s will be shut down on %s; its successor is %s", name, date, successor)


def _warn_about_clear_text(endpoint: Endpoint) -> None:
    if endpoint.sends_key_in_clear and endpoint.provider not in _warned_of:
        _warned_of.add(endpoint.provider)
        logger.warning(
            "the key goes to %s unencrypted, where others on the way can read it; use https:// or wss://",
            endpoint.provider,
        )
