"""Names, dates and defaults that change with the provider's offer: one small table."""

from __future__ import annotations

from antiphon.protocol import AudioTranscription, SemanticVad, ServerVad

MODEL = "gpt-realtime"
VOICE = "marin"
MODALITIES = ("text", "audio")
SPEED = 1.0
MAX_OUTPUT_TOKENS = "inf"
MAX_SESSION_DURATION = 1200.0
INPUT_CHUNK_MS = 100
MAX_MESSAGE_SIZE = 16 * 1024 * 1024
TRANSCRIPTION = AudioTranscription(model="gpt-4o-mini-transcribe")
TURN_DETECTION = SemanticVad(create_response=True, eagerness="medium", interrupt_response=True)

AZURE_TRANSCRIPTION = AudioTranscription(model="whisper-1")
AZURE_TURN_DETECTION = ServerVad(
    threshold=0.5, prefix_padding_ms=300, silence_duration_ms=200, create_response=True
)

OPENAI_BASE_URL = "https://api.openai.com/v1"
# The host whose announcements the table below is about.
PROVIDER_HOST = "api.openai.com"

# Name → (announced shutdown, successor). The official SDK's docstrings give the names and dates; it names no
# successors, so these are the current names of the same kind in its lists.
_REALTIME = ("2027-01-20", "gpt-realtime-2.1")
_MINI = ("2027-01-20", "gpt-realtime-2.1-mini")
_TRANSCRIBE = ("2027-02-26", "gpt-transcribe")
SHUTDOWNS: dict[str, tuple[str, str]] = {
    "gpt-realtime": _REALTIME,
    "gpt-realtime-2025-08-28": _REALTIME,
    "gpt-realtime-mini": _MINI,
    "gpt-realtime-mini-2025-12-15": _MINI,
    "whisper-1": _TRANSCRIBE,
    "gpt-4o-transcribe": _TRANSCRIBE,
    "gpt-4o-transcribe-diarize": _TRANSCRIBE,
    "gpt-4o-mini-transcribe": _TRANSCRIBE,
    "gpt-4o-mini-transcribe-2025-12-15": _TRANSCRIBE,
}
