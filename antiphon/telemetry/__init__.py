"""OpenTelemetry for sessions: spans and metrics, named by its conventions for generative AI. Extra `otel`.

    from antiphon.telemetry import instrument

    model = RealtimeModel()
    instrument(model)                 # every session from now on, to the global providers
    session = model.session()

A session is one trace:

| span | lasts | parent |
| --- | --- | --- |
| `antiphon.session` | from `instrument` to the session's end | what is current at `instrument` or `session()` |
| `antiphon.connection` | from dialling to the connection's end | session |
| `antiphon.reconnect` | from the loss of a connection until the conversation is restored | session |
| `antiphon.turn` | from the user's first sound, or a response without one, to the last response | session |
| `chat MODEL` | a response | turn |
| `execute_tool NAME` | a tool that the engine, or (for MCP) the provider, runs | turn |
| `antiphon.barge_in` | from the cut of playback to the truncation's having been written | turn |

| metric | of |
| --- | --- |
| `gen_ai.client.token.usage` | a response's tokens, by `gen_ai.token.type` |
| `gen_ai.client.operation.duration` | a response |
| `gen_ai.client.operation.time_to_first_chunk` | a response's first sound, or first text in a text session |
| `gen_ai.execute_tool.duration` | a tool |
| `antiphon.handshake.duration`, `antiphon.reconnect.duration`, `antiphon.barge_in.duration` | as the spans |
| `antiphon.audio.dropped`, `antiphon.actor.restarts`, `antiphon.errors` | counts |

No audio is ever in them, and no words unless `capture_content=True`. The engine's threads only take the time of an
event; spans are made, and so processors and exporters called, where the session's callbacks run.
"""

from antiphon.telemetry.instrumenting import instrument

__all__ = ["instrument"]
