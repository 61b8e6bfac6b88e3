"""openai-python's asynchronous realtime client, used as its README does."""

from __future__ import annotations

import asyncio
from typing import Any

from benchmarks.contestants.openai_sync import Burst
from benchmarks.measure import Server, Window


def inbound(server: Server, deltas: int) -> dict[str, Any]:
    """A burst of audio, to int16 samples."""
    return asyncio.run(_inbound(server, deltas))


async def _inbound(server: Server, deltas: int) -> dict[str, Any]:
    from openai import AsyncOpenAI

    client = AsyncOpenAI(api_key="benchmark", base_url=server.http, websocket_base_url=server.ws)
    async with client.realtime.connect(model=f"inbound-{deltas}") as connection:
        burst = Burst()
        with Window(server) as window:
            await connection.input_audio_buffer.clear()
            async for event in connection:
                if burst.take(event):
                    break
    return burst.figures(window, deltas)
