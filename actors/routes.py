"""Which actors hear of which server event. Every event of the API has a row: an empty one is a decision."""

from __future__ import annotations

import antiphon.protocol as p
from antiphon.actors.messages import AUDIO_IN, CHAT_CTX, CONNECTION, GENERATION

# Order matters where an event has several hearers: the mirror is up to date before the generation acts.
ROUTES: dict[type, tuple[str, ...]] = {
    # Errors pass from one to the next until somebody recognises the event id; see ConnectionCore.
    p.ErrorEvent: (CONNECTION,),
    p.SessionCreated: (),
    p.SessionUpdated: (),
    p.ConversationCreated: (),
    p.ConversationItemAdded: (CHAT_CTX, AUDIO_IN, GENERATION),
    p.ConversationItemCreated: (CHAT_CTX, AUDIO_IN, GENERATION),
    p.ConversationItemDone: (CHAT_CTX, GENERATION),
    p.ConversationItemRetrieved: (),
    p.ConversationItemDeleted: (CHAT_CTX,),
    p.ConversationItemTruncated: (CHAT_CTX,),
    p.ConversationItemInputAudioTranscriptionDelta: (CHAT_CTX,),
    p.ConversationItemInputAudioTranscriptionSegment: (),
    p.ConversationItemInputAudioTranscriptionCompleted: (CHAT_CTX,),
    p.ConversationItemInputAudioTranscriptionFailed: (CHAT_CTX,),
    p.InputAudioBufferCommitted: (AUDIO_IN, GENERATION),
    p.InputAudioBufferCleared: (),
    p.InputAudioBufferSpeechStarted: (AUDIO_IN, CHAT_CTX, GENERATION),
    p.InputAudioBufferSpeechStopped: (AUDIO_IN, CHAT_CTX),
    p.InputAudioBufferTimeoutTriggered: (CONNECTION,),
    p.InputAudioBufferDtmfEventReceived: (CONNECTION,),
    # WebRTC and SIP only: over a WebSocket the client plays the audio itself.
    p.OutputAudioBufferStarted: (),
    p.OutputAudioBufferStopped: (),
    p.OutputAudioBufferCleared: (),
    p.ResponseCreated: (AUDIO_IN, GENERATION),
    p.ResponseDone: (GENERATION,),
    p.ResponseOutputItemAdded: (GENERATION,),
    p.ResponseOutputItemDone: (CHAT_CTX, GENERATION),
    p.ResponseContentPartAdded: (GENERATION,),
    p.ResponseContentPartDone: (),
    p.ResponseOutputTextDelta: (GENERATION,),
    p.ResponseOutputTextDone: (),
    p.ResponseOutputAudioDelta: (GENERATION,),
    p.ResponseOutputAudioDone: (),
    p.ResponseOutputAudioTranscriptDelta: (GENERATION,),
    p.ResponseOutputAudioTranscriptDone: (),
    p.ResponseFunctionCallArgumentsDelta: (),
    p.ResponseFunctionCallArgumentsDone: (GENERATION,),
    p.RateLimitsUpdated: (CONNECTION,),
    p.McpListToolsInProgress: (GENERATION,),
    p.McpListToolsCompleted: (GENERATION,),
    p.McpListToolsFailed: (GENERATION,),
    p.ResponseMcpCallArgumentsDelta: (),
    p.ResponseMcpCallArgumentsDone: (GENERATION,),
    p.ResponseMcpCallInProgress: (GENERATION,),
    p.ResponseMcpCallCompleted: (GENERATION,),
    p.ResponseMcpCallFailed: (GENERATION,),
    # Translation sessions: not this engine's business.
    p.SessionClosed: (),
    p.SessionInputTranscriptDelta: (),
    p.SessionOutputTranscriptDelta: (),
    p.SessionOutputAudioDelta: (),
    p.UnknownEvent: (),
}
