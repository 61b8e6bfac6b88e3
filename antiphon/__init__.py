"""antiphon: real-time voice for Python programs that use threads.

    from antiphon import RealtimeModel

    with RealtimeModel(base_url="http://127.0.0.1:8765/v1", api_key="local") as model:
        session = model.session()
        reply = session.generate_reply(instructions="Say hello.").result()
        for message in reply.message_stream:
            print("".join(message.text_stream))

Names are imported when they are first used: `import antiphon` costs a few milliseconds.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from antiphon.version import VERSION

if TYPE_CHECKING:
    from antiphon.actors.audio import (
        AudioFrame,
        VideoFrame,
        decode_alaw,
        decode_ulaw,
        encode_alaw,
        encode_ulaw,
    )
    from antiphon.actors.chat import (
        AgentConfigUpdate,
        AgentHandoff,
        AudioContent,
        ChatContext,
        ChatMessage,
        FunctionCall,
        FunctionCallOutput,
        ImageContent,
    )
    from antiphon.actors.config import ConnectOptions, Timeouts, TurnDetection
    from antiphon.actors.engine import Engine
    from antiphon.actors.errors import APIConnectionError, APIError, RealtimeError
    from antiphon.actors.events import (
        ActorRestarted,
        AudioDropped,
        DtmfReceived,
        GenerationCreatedEvent,
        GenerationResult,
        InputIdleTimeout,
        InputSpeechStartedEvent,
        InputSpeechStoppedEvent,
        InputTranscriptionCompleted,
        McpApprovalRequestedEvent,
        McpCallEvent,
        McpListToolsEvent,
        PlaybackInterruptedEvent,
        RateLimitsUpdated,
        RealtimeModelError,
        RealtimeModelMetrics,
        RealtimeSessionReconnectedEvent,
        RemoteItemAddedEvent,
        StateChanged,
        ToolFinishedEvent,
        ToolStartedEvent,
        TranscriptionMetrics,
    )
    from antiphon.actors.item_ops import ChatCtxReport
    from antiphon.actors.logs import SessionFields
    from antiphon.actors.playback import Playback
    from antiphon.actors.stats import EngineStats, Percentiles, SessionStats
    from antiphon.actors.streams import MessageGeneration, Stream, StreamEnded, TimedString
    from antiphon.actors.supervision import SupervisorConfig
    from antiphon.capabilities import RealtimeCapabilities
    from antiphon.mcp_tool import HostedMcpTool
    from antiphon.model import RealtimeModel
    from antiphon.protocol import (
        NOT_GIVEN,
        AudioTranscription,
        McpApprovalFilter,
        McpToolFilter,
        NoiseReduction,
        Prompt,
        Reasoning,
        RetentionRatioTruncation,
        SemanticVad,
        ServerVad,
        Tracing,
    )
    from antiphon.session import RealtimeSession
    from antiphon.tool_runner import current_call
    from antiphon.tools import FunctionTool, ProviderTool, RawFunctionTool, ToolContext, function_tool

__version__ = VERSION

# Where each public name lives.
_HOMES = {
    "antiphon.model": ("RealtimeModel",),
    "antiphon.session": ("RealtimeSession",),
    "antiphon.capabilities": ("RealtimeCapabilities",),
    "antiphon.tool_runner": ("current_call",),
    "antiphon.mcp_tool": ("HostedMcpTool",),
    "antiphon.tools": ("FunctionTool", "ProviderTool", "RawFunctionTool", "ToolContext", "function_tool"),
    "antiphon.actors.engine": ("Engine",),
    "antiphon.actors.errors": ("APIConnectionError", "APIError", "RealtimeError"),
    "antiphon.actors.audio": (
        "AudioFrame",
        "VideoFrame",
        "decode_alaw",
        "decode_ulaw",
        "encode_alaw",
        "encode_ulaw",
    ),
    "antiphon.actors.config": ("ConnectOptions", "Timeouts", "TurnDetection"),
    "antiphon.actors.chat": (
        "AgentConfigUpdate",
        "AgentHandoff",
        "AudioContent",
        "ChatContext",
        "ChatMessage",
        "FunctionCall",
        "FunctionCallOutput",
        "ImageContent",
    ),
    "antiphon.actors.events": (
        "ActorRestarted",
        "AudioDropped",
        "DtmfReceived",
        "GenerationCreatedEvent",
        "GenerationResult",
        "InputIdleTimeout",
        "InputSpeechStartedEvent",
        "InputSpeechStoppedEvent",
        "InputTranscriptionCompleted",
        "McpApprovalRequestedEvent",
        "McpCallEvent",
        "McpListToolsEvent",
        "PlaybackInterruptedEvent",
        "RateLimitsUpdated",
        "RealtimeModelError",
        "RealtimeModelMetrics",
        "RealtimeSessionReconnectedEvent",
        "RemoteItemAddedEvent",
        "StateChanged",
        "ToolFinishedEvent",
        "ToolStartedEvent",
        "TranscriptionMetrics",
    ),
    "antiphon.actors.item_ops": ("ChatCtxReport",),
    "antiphon.actors.supervision": ("SupervisorConfig",),
    "antiphon.actors.logs": ("SessionFields",),
    "antiphon.actors.playback": ("Playback",),
    "antiphon.actors.stats": ("EngineStats", "Percentiles", "SessionStats"),
    "antiphon.actors.streams": ("MessageGeneration", "Stream", "StreamEnded", "TimedString"),
    "antiphon.protocol": (
        "NOT_GIVEN",
        "AudioTranscription",
        "McpApprovalFilter",
        "McpToolFilter",
        "NoiseReduction",
        "Prompt",
        "Reasoning",
        "RetentionRatioTruncation",
        "SemanticVad",
        "ServerVad",
        "Tracing",
    ),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "__version__",
    "APIConnectionError",
    "APIError",
    "ActorRestarted",
    "AgentConfigUpdate",
    "AgentHandoff",
    "AudioContent",
    "AudioDropped",
    "AudioFrame",
    "AudioTranscription",
    "ChatContext",
    "ChatCtxReport",
    "ChatMessage",
    "ConnectOptions",
    "DtmfReceived",
    "Engine",
    "EngineStats",
    "FunctionCall",
    "FunctionCallOutput",
    "FunctionTool",
    "GenerationCreatedEvent",
    "GenerationResult",
    "HostedMcpTool",
    "ImageContent",
    "InputIdleTimeout",
    "InputSpeechStartedEvent",
    "InputSpeechStoppedEvent",
    "InputTranscriptionCompleted",
    "McpApprovalFilter",
    "McpApprovalRequestedEvent",
    "McpCallEvent",
    "McpListToolsEvent",
    "McpToolFilter",
    "MessageGeneration",
    "NOT_GIVEN",
    "NoiseReduction",
    "Percentiles",
    "Playback",
    "PlaybackInterruptedEvent",
    "Prompt",
    "ProviderTool",
    "RateLimitsUpdated",
    "RawFunctionTool",
    "RealtimeCapabilities",
    "RealtimeError",
    "RealtimeModel",
    "RealtimeModelError",
    "RealtimeModelMetrics",
    "RealtimeSession",
    "RealtimeSessionReconnectedEvent",
    "Reasoning",
    "RemoteItemAddedEvent",
    "RetentionRatioTruncation",
    "SemanticVad",
    "ServerVad",
    "SessionFields",
    "SessionStats",
    "StateChanged",
    "Stream",
    "StreamEnded",
    "SupervisorConfig",
    "TimedString",
    "Timeouts",
    "ToolContext",
    "ToolFinishedEvent",
    "ToolStartedEvent",
    "Tracing",
    "TranscriptionMetrics",
    "TurnDetection",
    "VideoFrame",
    "current_call",
    "decode_alaw",
    "decode_ulaw",
    "encode_alaw",
    "encode_ulaw",
    "function_tool",
]


def __getattr__(name: str) -> Any:
    try:
        home = _HOME[name]
    except KeyError:
        raise AttributeError(f"module 'antiphon' has no attribute {name!r}") from None
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
