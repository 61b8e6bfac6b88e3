"""The comparison: what one conversation's server logged against what its application did and was told."""

from __future__ import annotations

import base64
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from account_call import PAUSE, Conversation, Told, marks_in
from faults_harness import WIRE, Samples

from antiphon.protocol import FunctionCallItem, FunctionCallOutputItem, MessageItem
from antiphon.testing.vad import SpeechDetector


@dataclass
class Account:
    """Counts, and every discrepancy in words."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def add(self, other: Account) -> None:
        """Take over another one."""
        self.counts.update(other.counts)
        self.faults.update(other.faults)
        self.wrong += other.wrong


class Heard:
    """The input audio of one connection, as its server's log has it."""

    def __init__(self) -> None:
        self.stream = b""
        self.segments: list[bytes] = []
        self._start = 0

    def take(self, kind: str, event: dict[str, Any]) -> None:
        """Follow a frame from the client."""
        if kind == "input_audio_buffer.append":
            self.stream += base64.b64decode(event["audio"])
        elif kind == "input_audio_buffer.commit":
            self.segments.append(self.stream[self._start :])
            self._start = len(self.stream)


def audit(conversation: Conversation) -> Account:
    """Compare one conversation that has ended."""
    told = conversation.told
    account = Account(faults=Counter(told.faults))
    account.counts["conversations"] = 1
    account.counts["faults"] = sum(told.faults.values())
    account.counts["times reconnected"] = len(told.of("session_reconnected"))
    account.counts["items reported as lost"] = sum(e.items_lost for e in told.of("session_reconnected"))
    account.counts["ms of audio reported as dropped"] = round(
        sum(event.duration_ms for event in told.of("audio_dropped"))
    )
    for auditor in (_utterances, _messages, _calls, _responses, _ends):
        auditor(conversation, told, account)
    return account


def spoken_part(samples: Samples) -> Samples:
    """An utterance from where the server's detector finds speech to where it finds the last of it.

    The quiet before and after is none of the server's turns, or may end up in another one.
    """
    silence_ms = 400
    detector = SpeechDetector(WIRE, 0.5, silence_ms, origin_ms=-1000.0)
    edges = detector.feed(np.concatenate([PAUSE, samples, PAUSE]))
    first, last = edges[0].at_ms, edges[-1].at_ms - silence_ms
    return samples[max(0, first * WIRE // 1000) : last * WIRE // 1000]


def _final_texts(conversation: Conversation) -> Counter[str]:
    """The users' texts and transcripts in the server's last conversation."""
    texts: Counter[str] = Counter()
    for item in conversation.served:
        if isinstance(item, MessageItem) and item.role == "user":
            texts.update(str(part.text or part.transcript) for part in item.content)
    return texts


def _utterances(conversation: Conversation, told: Told, account: Account) -> None:
    heard: dict[int, Heard] = {}
    for record in conversation.server.log.received():
        heard.setdefault(record.connection, Heard()).take(
            record.type, record.event if record.type.endswith(("append", "commit")) else {}
        )
    kept: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for text in _final_texts(conversation).elements():
        for number, start, end in re.findall(r"utterance (\d+) from (\d+) to (\d+)", text):
            kept[int(number)].append((int(start), int(end)))
    lost = 0
    for number, samples in told.spoken.items():
        account.counts["utterances"] += 1
        if conversation.vad:
            wanted = spoken_part(samples).tobytes()
            where = [one.stream.count(wanted) for one in heard.values()]
        else:
            wanted = samples.tobytes()
            where = [one.segments.count(wanted) for one in heard.values()]
        if max(where, default=0) == 0:
            account.counts["utterances not heard whole"] += 1
            if not told.of("audio_dropped"):
                account.wrong.append(f"utterance {number} was not heard whole and nothing was reported")
        elif max(where) > 1:
            account.wrong.append(f"utterance {number} was committed {max(where)} times on one connection")
        else:
            account.counts["utterances heard whole, to the sample"] += 1
        parts = sorted(kept[number])
        lost += not parts
        account.counts["utterances in the last conversation"] += bool(parts)
        # Turn detection may well make two turns of one utterance, but not twice of the same part.
        if any(start <= end for (_, end), (start, _) in pairwise(parts)):
            account.wrong.append(f"utterance {number} is in the conversation more than once: {parts}")
    if lost:
        account.counts["utterances not in the last conversation"] += lost
        reported = sum(event.items_lost for event in told.of("session_reconnected"))
        if lost > reported:
            account.wrong.append(f"{lost} utterances are gone, {reported} were reported as lost")
    if not conversation.vad:
        known = {samples.tobytes() for samples in told.spoken.values()}
        torn = [segment for one in heard.values() for segment in one.segments if segment not in known]
        for segment in torn:
            places = marks_in(np.frombuffer(segment, "<i2"))
            account.wrong.append(f"a commit of {len(segment) // 2} samples is no utterance: {places}")


def _messages(conversation: Conversation, told: Told, account: Account) -> None:
    final = _final_texts(conversation)
    for text in told.written:
        account.counts["messages written"] += 1
        account.counts["messages in the last conversation"] += final[text] == 1
        if final[text] != 1:
            account.wrong.append(f"{text!r} is in the conversation {final[text]} times")


def _calls(conversation: Conversation, told: Told, account: Account) -> None:
    """Every call that a server made is run once, or its response failed; every output is there once."""
    log = conversation.server.log
    made = {
        record.event["call_id"]: record.event["response_id"]
        for record in log.sent("response.function_call_arguments.done")
    }
    finished = Counter(event.call_id for event in told.of("tool_finished"))
    outputs = Counter(
        item.call_id for item in conversation.served if isinstance(item, FunctionCallOutputItem)
    )
    calls = Counter(item.call_id for item in conversation.served if isinstance(item, FunctionCallItem))
    account.counts["tool calls made by the server"] += len(made)
    # Of responses that failed before they could be handed out, only the request's failure is known.
    unseen = sum(told.refused.values())
    for call_id, response_id in made.items():
        if finished[call_id] == 1:
            account.counts["tool calls run once"] += 1
            if (calls[call_id], outputs[call_id]) != (1, 1):
                account.wrong.append(
                    f"{call_id}: {calls[call_id]} calls, {outputs[call_id]} outputs in the conversation"
                )
        elif finished[call_id] > 1:
            account.wrong.append(f"{call_id} was run {finished[call_id]} times")
        elif response_id in told.failed:
            account.counts["tool calls lost, their response reported as failed"] += 1
        elif unseen:
            unseen -= 1
            account.counts["tool calls lost, their request reported as failed"] += 1
        else:
            account.wrong.append(f"{call_id} was not run and nothing was reported")
    if sum(told.ran.values()) != sum(finished.values()):
        account.wrong.append(f"{sum(told.ran.values())} runs of the tool, {sum(finished.values())} reported")


def _responses(conversation: Conversation, told: Told, account: Account) -> None:
    """A response that is said to be complete is complete, to the sample, and once in the conversation."""
    sent: Counter[str] = Counter()
    for record in conversation.server.log.sent("response.output_audio.delta"):
        sent[record.event["response_id"]] += len(base64.b64decode(record.event["delta"])) // 2
    for response_id, samples in told.heard.items():
        account.counts["responses complete, to the sample"] += samples == sent[response_id]
        if samples != sent[response_id]:
            account.wrong.append(f"{response_id}: {samples} samples heard, {sent[response_id]} sent")
    account.counts["responses reported as failed"] += len(told.failed)
    account.counts["requests reported as failed"] += sum(told.refused.values())


def _ends(conversation: Conversation, told: Told, account: Account) -> None:
    account.wrong += [f"{what} never ended" for what in told.hung]
    account.wrong += [f"an actor failed: {event.error!r}" for event in told.of("actor_restarted")]
    account.wrong += [f"fatal: {event.error}" for event in told.of("error") if not event.recoverable]
    served = [item.id for item in conversation.served]
    if told.mirror != served:
        missing = [item for item in conversation.served if item.id not in told.mirror]
        extra = [item_id for item_id in told.mirror if item_id not in served]
        account.wrong.append(f"the mirror lacks {missing} and has {extra} besides, of {len(served)} items")
    account.counts["mirrors equal to the server's conversation"] += told.mirror == served
