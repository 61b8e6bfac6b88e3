"""Session configuration: what `session.update` sends, and what the server reports back."""

from typing import Any, TypeAlias

from msgspec import UNSET

from antiphon.protocol.base import Maybe, UnknownObject, Wire
from antiphon.protocol.tools import ToolChoice, ToolDef


class AudioFormat(Wire, gc=False):
    """A wire audio format.

    Attributes:
        type: "audio/pcm" (s16le, mono), "audio/pcmu" or "audio/pcma" (G.711, 8 kHz).
        rate: Samples per second; 24000 for "audio/pcm", absent for the others.
    """

    type: str = ""
    rate: Maybe[int] = UNSET


class NoiseReduction(Wire, gc=False):
    """Noise reduction on the input.

    Attributes:
        type: "near_field" (headset) or "far_field" (laptop, room).
        strength: How much to suppress; absent keeps the server's present value.
    """

    type: str = ""
    strength: Maybe[float] = UNSET


class AudioTranscription(Wire):
    """Transcription of what the user says.

    Attributes:
        model: Such as "gpt-4o-mini-transcribe" or "whisper-1".
        language: ISO-639-1 code of the spoken language.
        languages: Several possible languages, for models that take a list.
        prompt: A hint on style or words.
        keywords: Words to expect, for models that take a list.
        delay: "minimal", "low", "medium", "high" or "xhigh": accuracy against latency.
    """

    model: Maybe[str] = UNSET
    language: Maybe[str] = UNSET
    languages: Maybe[list[str]] = UNSET
    prompt: Maybe[str] = UNSET
    keywords: Maybe[list[str]] = UNSET
    delay: Maybe[str] = UNSET


class ServerVad(Wire, tag_field="type", tag="server_vad", gc=False):
    """Turn detection by loudness.

    Attributes:
        threshold: Activation, 0.0 to 1.0; the server's default is 0.5.
        prefix_padding_ms: Audio kept from before the speech, ms; the server's default is 300.
        silence_duration_ms: Silence that ends a turn, ms; the server's default is 500.
        idle_timeout_ms: Silence after a response that triggers a new one, ms; null means never.
        create_response: Whether the end of a turn starts a response.
        interrupt_response: Whether the start of a turn cancels the running response.
    """

    threshold: Maybe[float] = UNSET
    prefix_padding_ms: Maybe[int] = UNSET
    silence_duration_ms: Maybe[int] = UNSET
    idle_timeout_ms: Maybe[int] = UNSET
    create_response: Maybe[bool] = UNSET
    interrupt_response: Maybe[bool] = UNSET


class SemanticVad(Wire, tag_field="type", tag="semantic_vad", gc=False):
    """Turn detection by a model that judges whether the user has finished.

    Attributes:
        eagerness: "low", "medium", "high" or "auto" (= medium); they wait at most 8, 4 and 2 s.
        create_response: Whether the end of a turn starts a response.
        interrupt_response: Whether the start of a turn cancels the running response.
    """

    eagerness: Maybe[str] = UNSET
    create_response: Maybe[bool] = UNSET
    interrupt_response: Maybe[bool] = UNSET


TurnDetection: TypeAlias = ServerVad | SemanticVad | UnknownObject


class AudioInputConfig(Wire):
    """The input side. Null switches noise reduction, transcription or turn detection off."""

    format: Maybe[AudioFormat] = UNSET
    noise_reduction: Maybe[NoiseReduction] = UNSET
    transcription: Maybe[AudioTranscription] = UNSET
    turn_detection: Maybe[TurnDetection] = UNSET


class VoiceId(Wire, gc=False):
    """A custom voice, by its id."""

    id: str


class AudioOutputConfig(Wire):
    """The output side.

    Attributes:
        format: The wire format.
        speed: 0.25 to 1.5, 1.0 is normal.
        voice: A built-in voice's name or a custom voice.
    """

    format: Maybe[AudioFormat] = UNSET
    speed: Maybe[float] = UNSET
    voice: Maybe[str | VoiceId] = UNSET


class AudioConfig(Wire):
    """Both sides of the audio."""

    input: Maybe[AudioInputConfig] = UNSET
    output: Maybe[AudioOutputConfig] = UNSET


class Tracing(Wire):
    """Tracing with given names, where "auto" would take the defaults."""

    workflow_name: Maybe[str] = UNSET
    group_id: Maybe[str] = UNSET
    metadata: Any = UNSET


class TokenLimits(Wire, gc=False):
    """Token limits of a truncation. `post_instructions`: tokens kept besides instructions and tools."""

    post_instructions: Maybe[int] = UNSET


class RetentionRatioTruncation(Wire, tag_field="type", tag="retention_ratio", gc=False):
    """When the context is full, keep this part of it (0.0 to 1.0) and drop the oldest."""

    retention_ratio: float
    token_limits: Maybe[TokenLimits] = UNSET


class Reasoning(Wire, gc=False):
    """Reasoning models only. `effort`: "minimal", "low", "medium", "high" or "xhigh"."""

    effort: Maybe[str] = UNSET


class Prompt(Wire):
    """A stored prompt template: its id, version, and the values for its variables."""

    id: str
    version: Maybe[str] = UNSET
    variables: Maybe[dict[str, Any]] = UNSET


class RealtimeSessionConfig(Wire, tag_field="type", tag="realtime"):
    """A speech-to-speech session.

    Attributes:
        model: The model's name.
        output_modalities: ["audio"] or ["text"].
        instructions: The system prompt.
        audio: Formats, turn detection, transcription, voice.
        max_output_tokens: 1 to 4096, or "inf"; null goes back to the server's default.
        tools: The tools; an empty list takes them all away.
        tool_choice: "auto", "none", "required", or one tool.
        parallel_tool_calls: Whether several calls may be made at once.
        tracing: "auto", a `Tracing`, or null for none.
        truncation: "auto", "disabled" or a `RetentionRatioTruncation`.
        reasoning: For reasoning models.
        prompt: A stored template.
        include: May hold "item.input_audio_transcription.logprobs".
        id: The session's id; servers only, never sent by `encode_client_event`.
        object: "realtime.session"; servers only, never sent.
        expires_at: Unix time in seconds; servers only, never sent.
    """

    id: str = ""
    object: str = ""
    model: Maybe[str] = UNSET
    output_modalities: Maybe[list[str]] = UNSET
    instructions: Maybe[str] = UNSET
    audio: Maybe[AudioConfig] = UNSET
    max_output_tokens: Maybe[int | str] = UNSET
    tools: Maybe[list[ToolDef]] = UNSET
    tool_choice: Maybe[ToolChoice] = UNSET
    parallel_tool_calls: Maybe[bool] = UNSET
    tracing: Maybe[Tracing | str] = UNSET
    truncation: Maybe[RetentionRatioTruncation | UnknownObject | str] = UNSET
    reasoning: Maybe[Reasoning] = UNSET
    prompt: Maybe[Prompt] = UNSET
    include: Maybe[list[str]] = UNSET
    expires_at: Maybe[int] = UNSET


class TranscriptionAudioConfig(Wire):
    """The audio of a transcription session, which has no output."""

    input: Maybe[AudioInputConfig] = UNSET


class TranscriptionSessionConfig(Wire, tag_field="type", tag="transcription"):
    """A session that only transcribes. `id`, `object` and `expires_at` come from servers only, never sent."""

    id: str = ""
    object: str = ""
    audio: Maybe[TranscriptionAudioConfig] = UNSET
    include: Maybe[list[str]] = UNSET
    expires_at: Maybe[int] = UNSET


class TranslationTranscription(Wire, gc=False):
    """Transcription of the source language. `model`: such as "gpt-realtime-whisper"."""

    model: str


class TranslationAudioInputConfig(Wire):
    """The input of a translation session. Null switches the thing off."""

    noise_reduction: Maybe[NoiseReduction] = UNSET
    transcription: Maybe[TranslationTranscription] = UNSET


class TranslationAudioOutputConfig(Wire, gc=False):
    """The output of a translation session. `language`: the target language's code."""

    language: Maybe[str] = UNSET


class TranslationAudioConfig(Wire):
    """The audio of a translation session."""

    input: Maybe[TranslationAudioInputConfig] = UNSET
    output: Maybe[TranslationAudioOutputConfig] = UNSET


class TranslationSessionConfig(Wire, tag_field="type", tag="translation"):
    """A session that translates speech.

    In `session.update` only `audio` may change: `encode_client_event` sends nothing else, not even the type.
    """

    id: str = ""
    model: Maybe[str] = UNSET
    audio: Maybe[TranslationAudioConfig] = UNSET
    expires_at: Maybe[int] = UNSET


SessionConfig: TypeAlias = RealtimeSessionConfig | TranscriptionSessionConfig | TranslationSessionConfig
"""Any session."""
