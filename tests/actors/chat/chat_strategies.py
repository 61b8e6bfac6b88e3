"""Hypothesis strategies for chat items of every kind."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from antiphon.actors.audio import AudioFrame, VideoFrame
from antiphon.actors.chat import (
    AgentConfigUpdate,
    AgentHandoff,
    AudioContent,
    ChatMessage,
    FunctionCall,
    FunctionCallOutput,
    ImageContent,
)

texts = st.text(max_size=8)
ids = st.text("abcdef", min_size=1, max_size=3)
roles = st.sampled_from(["user", "assistant", "system", "developer"])


@st.composite
def audio_frames(draw: st.DrawFn) -> AudioFrame:
    channels = draw(st.integers(1, 2))
    samples = draw(st.lists(st.integers(-32768, 32767), max_size=6)) * channels
    return AudioFrame(
        np.array(samples, np.int16), draw(st.sampled_from([8000, 24000, 48000])), num_channels=channels
    )


@st.composite
def rgb_frames(draw: st.DrawFn) -> VideoFrame:
    height, width = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    pixels = draw(st.binary(min_size=height * width * 3, max_size=height * width * 3))
    return VideoFrame(np.frombuffer(pixels, np.uint8).reshape(height, width, 3))


encoded_frames = st.one_of(
    st.binary(max_size=6).map(lambda data: VideoFrame(b"\xff\xd8\xff" + data, encoding="jpeg")),
    st.binary(max_size=6).map(lambda data: VideoFrame(b"\x89PNG\r\n\x1a\n" + data, encoding="png")),
)
data_urls = st.just("data:image/png;base64,AAAA")
images = st.builds(
    ImageContent, st.one_of(data_urls, encoded_frames, rgb_frames()), st.sampled_from([None, "low", "high"])
)
audio = st.builds(AudioContent, st.lists(audio_frames(), max_size=2), st.none() | texts)
contents = st.lists(texts | images | audio, max_size=3)
messages = st.builds(
    ChatMessage,
    roles,
    contents,
    id=ids,
    interrupted=st.booleans(),
    transcript_confidence=st.none() | st.floats(0, 1),
)
calls = st.builds(FunctionCall, texts, texts, texts, id=ids)
outputs = st.builds(FunctionCallOutput, texts, texts, st.booleans(), id=ids)
handoffs = st.builds(AgentHandoff, texts, st.none() | texts, id=ids)
config_updates = st.builds(
    AgentConfigUpdate, st.none() | texts, st.lists(texts, max_size=2), st.lists(texts, max_size=2), id=ids
)
chat_items = st.one_of(messages, calls, outputs, handoffs, config_updates)
