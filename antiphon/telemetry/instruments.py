"""The metrics of sessions."""

from __future__ import annotations

from typing import Any

from opentelemetry.metrics import Counter, Histogram, Meter

from antiphon.telemetry import names

# The bounds that the conventions recommend.
_SECONDS = [0.01 * 2**power for power in range(14)]
_FIRST_SECONDS = [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0]
_TOKENS = [float(4**power) for power in range(14)]

Attributes = dict[str, Any]


class Instruments:
    """What is recorded; one set for all sessions that are instrumented together.

    Args:
        meter: Makes them.
    """

    def __init__(self, meter: Meter) -> None:
        def seconds(name: str, what: str, bounds: list[float] = _SECONDS) -> Histogram:
            return meter.create_histogram(name, "s", what, explicit_bucket_boundaries_advisory=bounds)

        def count(name: str, unit: str, what: str) -> Counter:
            return meter.create_counter(name, unit, what)

        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )
        self.operation = seconds("gen_ai.client.operation.duration", "GenAI operation duration.")
        self.first_chunk = seconds(
            "gen_ai.client.operation.time_to_first_chunk",
            "From a response's beginning to its first sound or text.",
            _FIRST_SECONDS,
        )
        self.tool = seconds("gen_ai.execute_tool.duration", "The duration of a single tool execution.")
        self.handshake = seconds("antiphon.handshake.duration", "From dialling to the connection.")
        self.reconnect = seconds(
            "antiphon.reconnect.duration", "From the loss of a connection to the restored conversation."
        )
        self.barge_in = seconds(
            "antiphon.barge_in.duration",
            "From the cut of playback to the truncation's having been written.",
            _FIRST_SECONDS,
        )
        self.audio_dropped = count("antiphon.audio.dropped", "ms", "Input audio that was lost.")
        self.restarts = count("antiphon.actor.restarts", "{restart}", "Actors that failed.")
        self.errors = count("antiphon.errors", "{error}", "Error events of sessions.")

    def tokens(self, input_tokens: int, output_tokens: int, attributes: Attributes) -> None:
        """Record a response's tokens."""
        self._tokens.record(input_tokens, {**attributes, names.TOKEN_TYPE: "input"})
        self._tokens.record(output_tokens, {**attributes, names.TOKEN_TYPE: "output"})
