"""Each case's figures, made only when the work was done: else `WrongWork`. Standard library only at import."""

from __future__ import annotations

import base64
import math
import time
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks import wire
from benchmarks.measure import Server, Window, check, percentile, spread

TONE_HZ = 440.0


# -- audio ------------------------------------------------------------------------------------------------------


def check_density(
    server: Server, window: Window, sessions: int, seconds: int, latencies: list[list[float]]
) -> dict[str, float]:
    """The figures of `density`, unless audio is missing in either direction."""
    counts = {len(one) for one in latencies}
    check(counts == {seconds * 10}, f"sessions got {sorted(counts)} deltas in place of {seconds * 10}")
    audio = server.ask("audio")
    # less than one chunk of each may still be gathered
    pushed, got = sessions * seconds * wire.RATE, audio["samples"]
    check(0 <= pushed - got <= sessions * wire.RATE // 10, f"{got} of {pushed} samples arrived")
    into = [one for several in latencies for one in several]
    return {
        **window.per_second(sessions * seconds),
        **spread("", into),
        "max_ms": max(into),
        **spread("push_", audio["ages_ms"]),
    }


def turns(sessions: Sequence[Any], seconds: int) -> Iterator[tuple[Sequence[Any], Sequence[Any]]]:
    """Who begins to talk and who pushes 10 ms, tick by tick.

    Callers don't all begin within the same 10 ms: the sessions begin one after the other within a second, and each
    talks for so many seconds.
    """
    begins = [number * 100 // len(sessions) for number in range(len(sessions))]
    length = seconds * 100
    for tick in range(begins[-1] + length):
        first, after = bisect_left(begins, tick), bisect_right(begins, tick)
        yield sessions[first:after], sessions[bisect_right(begins, tick - length) : after]


def tone_frames(rate: int, channels: int) -> list[bytes]:
    """One second of a tone in frames of 10 ms, s16le, interleaved; of two channels the right one is silent."""
    import numpy as np

    wave = 16_000 * np.sin(2 * np.pi * TONE_HZ * np.arange(rate) / rate)
    sound = np.zeros((rate, channels), "<i2")
    sound[:, 0] = wave
    size = rate // 100 * channels * 2
    data = sound.tobytes()
    return [data[at : at + size] for at in range(0, len(data), size)]


def check_tone(server: Server, seconds: float, channels: int, wire_rate: int = 24_000) -> None:
    """Refuse unless all of the tone reached the server, at the right pitch and level.

    A client may hold back 100 ms at the end (its resampler's tail).
    """
    import numpy as np

    audio = server.ask("audio")
    heard_s = audio["samples"] / wire_rate
    check(abs(heard_s - seconds) <= 0.1, f"{heard_s:.2f} s of audio on the wire in place of {seconds:.0f} s")
    sound = np.frombuffer(base64.b64decode(audio["excerpt"]), "<i2").astype(float)
    pitch = float(np.argmax(np.abs(np.fft.rfft(sound)))) * wire_rate / len(sound)
    check(abs(pitch - TONE_HZ) <= 2, f"the tone is at {pitch:.0f} Hz in place of {TONE_HZ:.0f}")
    level, wanted = float(np.sqrt(np.mean(sound**2))), 16_000 / math.sqrt(2) / channels
    check(0.9 < level / wanted < 1.1, f"the tone's level is {level / wanted:.2f} of what it should be")


# -- turns ------------------------------------------------------------------------------------------------------


def _lags_ms(earlier_ns: Sequence[int], later_ns: Sequence[int]) -> list[float]:
    check(len(earlier_ns) == len(later_ns), f"{len(earlier_ns)} causes, {len(later_ns)} effects")
    lags = [(later - earlier) / 1e6 for earlier, later in zip(earlier_ns, later_ns, strict=True)]
    check(min(lags) > 0, "an effect came before its cause")
    return lags


def check_barge_in(server: Server, silent_ns: list[int], heard_ms: float) -> dict[str, float]:
    """From speech_started on the wire to silence, and to the truncate on the wire, which tells what was heard.

    Args:
        server: The load server.
        silent_ns: When playback fell silent, turn by turn.
        heard_ms: What was played of each turn; the ledger may round, or fade out what came before.
    """
    truncates = server.frames("conversation.item.truncate", len(silent_ns))
    items = [frame.event["item_id"] for frame in truncates]
    check(items == [f"item_{turn + 1:05}" for turn in range(len(items))], "another item was truncated")
    ends = [frame.event["audio_end_ms"] for frame in truncates]
    check(all(abs(end - heard_ms) <= 10 for end in ends), f"truncated at {min(ends)} to {max(ends)} ms")
    spoken_ns = server.ask("sent")
    silent = _lags_ms(spoken_ns, silent_ns)
    cut = _lags_ms(spoken_ns, [frame.at_ns for frame in truncates])
    return {**spread("silent_", silent), **spread("cut_", cut)}


def check_reply(server: Server, called_ns: list[int], resolved_ns: list[int]) -> dict[str, float]:
    """From the call to response.create on the wire, and from response.created on the wire to the caller."""
    asked = server.frames("response.create", len(called_ns))
    return {
        **spread("ask_", _lags_ms(called_ns, [frame.at_ns for frame in asked])),
        **spread("answer_", _lags_ms(server.ask("sent"), resolved_ns)),
    }


def check_reconnect(
    server: Server, dropped_ns: int, reconnected_ns: list[int], items: int
) -> dict[str, float]:
    """From the drop to session_reconnected; how the dials are spread over time.

    Refuses figures unless each session came back once and brought all its items.
    """
    sessions = len(reconnected_ns)
    replayed = server.frames("conversation.item.create", sessions * items, dropped_ns)
    each = Counter(frame.peer for frame in replayed)
    check(set(each.values()) <= {items}, f"replays of {min(each.values(), default=0)} items")
    dials = sorted(at for at in server.ask("connections") if at > dropped_ns)
    check(len(dials) == sessions, f"{len(dials)} dials for {sessions} sessions")
    back = _lags_ms([dropped_ns] * sessions, reconnected_ns)
    crowd = max(sum(first <= at < first + 10_000_000 for at in dials) for first in dials)
    return {
        "p50_ms": percentile(back, 0.5),
        "max_ms": max(back),
        "dialling_ms": (dials[-1] - dials[0]) / 1e6,
        "crowd": crowd,
    }


def check_context(server: Server, same_ms: float, changed_ms: float, changes: int) -> dict[str, float]:
    """The figures of `context`; so many items were put in and as many taken out."""
    server.frames("conversation.item.create", changes)
    server.frames("conversation.item.delete", changes)
    return {"same_ms": same_ms, "changed_ms": changed_ms, "frames": 2 * changes}


def check_fairness(
    quiet: list[list[float]], flooded: list[list[float]], flood_deltas: int, seconds: int
) -> dict[str, float]:
    """What a flooding session does to the others' latency; unless it was no flood."""
    for phase in (quiet, flooded):
        check({len(one) for one in phase} == {seconds * 10}, "deltas are missing")
    check(flood_deltas > 1000 * seconds, f"{flood_deltas} deltas in {seconds} s are no flood")
    without, with_flood = (
        percentile([one for several in phase for one in several], 0.99) for phase in (quiet, flooded)
    )
    return {
        "quiet_p99_ms": without,
        "flooded_p99_ms": with_flood,
        "added_ms": with_flood - without,
        "flood_per_s": flood_deltas / seconds,
    }


# -- actors -----------------------------------------------------------------------------------------------------


def check_mailboxes(
    messages: int,
    *,
    serve: Callable[[], object],
    tell: Callable[[], object],
    ask: Callable[[], int],
    ask_other: Callable[[], int],
) -> dict[str, float]:
    """Play a ball between two actors, then tell and ask one of them; each counts what it got.

    Args:
        messages: How often the ball is hit, told, and (a tenth of it) asked.
        serve: Sends the ball to the first; it is hit `messages` times, in turn.
        tell: Sends the first actor a message.
        ask: Asks the first for its count, the question included.
        ask_other: Asks the second.
    """
    before, other_before, asked = ask(), ask_other(), messages // 10
    began = time.perf_counter()
    serve()
    other_asked = 0
    while True:
        other_asked += 1
        if ask_other() - other_before - other_asked == messages // 2:
            break
        time.sleep(0.001)
    hop_s = time.perf_counter() - began
    began = time.perf_counter()
    for _ in range(messages):
        tell()
    ask()
    tell_s = time.perf_counter() - began
    began = time.perf_counter()
    for _ in range(asked):
        ask()
    ask_s = time.perf_counter() - began
    got, wanted = ask() - before, messages // 2 + messages + asked + 2
    check(got == wanted, f"{got} messages arrived in place of {wanted}")
    return {
        "hop_us": hop_s * 1e6 / messages,
        "tell_us": tell_s * 1e6 / messages,
        "ask_us": ask_s * 1e6 / asked,
    }


def check_restart(times: int, restarts: int, taken_ms: Sequence[float]) -> dict[str, float]:
    """From the message that an actor fails at to the answer of its successor."""
    check(restarts == len(taken_ms) == times, f"{restarts} restarts after {times} failures")
    return spread("", taken_ms)
