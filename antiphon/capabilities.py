"""What a model's sessions can do."""

from __future__ import annotations

import msgspec


class RealtimeCapabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a session can do, as its model was configured.

    Attributes:
        message_truncation: A spoken message can be cut to what was heard.
        turn_detection: The server detects turns and answers them by itself.
        user_transcription: What the user says is transcribed.
        auto_tool_reply_generation: The server goes on by itself after a tool's output: it doesn't.
        audio_output: Responses are spoken.
        manual_function_calls: Function calls are handed out for the application to answer.
        per_response_tool_choice: A single response can have its own tool choice.
        mutable_chat_context: The conversation can be edited.
        mutable_instructions: The instructions can be changed.
        mutable_tools: The tools can be changed.
        can_disable_turn_detection: Turn detection can be switched off.
    """

    turn_detection: bool
    user_transcription: bool
    audio_output: bool
    message_truncation: bool = True
    auto_tool_reply_generation: bool = False
    manual_function_calls: bool = True
    per_response_tool_choice: bool = True
    mutable_chat_context: bool = True
    mutable_instructions: bool = True
    mutable_tools: bool = True
    can_disable_turn_detection: bool = True
