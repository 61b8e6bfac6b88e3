"""The account of lost and doubled things: conversations under faults, server's log against application.

`make account` runs it in full and puts the result into docs/reliability.md.
"""

from __future__ import annotations

import argparse
import logging
import threading
import time
from collections.abc import Callable

import reliability
from account_audit import Account, audit
from account_call import Conversation

from antiphon import Engine
from antiphon.testing import synthesize

SENTENCES = (
    "I would like to change my flight.",
    "What is the weather like in San Francisco?",
    "Please note that I am allergic to nuts.",
    "No, the other one.",
    "Could you repeat that more slowly, please?",
)


def run(
    conversations: int,
    at_once: int,
    seconds: float,
    gap: tuple[float, float],
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> Account:
    """Have conversations under faults, and account for them.

    Args:
        conversations: How many in all; the server finds the turns in every second one.
        at_once: How many at a time.
        seconds: How long each goes on.
        gap: Seconds from one fault to the next, from and to.
        seed: Of the first conversation; each has its own.
        progress: Told of each round.
    """
    speeches = [synthesize(sentence)[0] for sentence in SENTENCES]
    account = Account()
    engine = Engine()
    try:
        for first in range(0, conversations, at_once):
            talks = [
                Conversation(seed + n, speeches, seconds, vad=(seed + n) % 2 == 1, gap=gap)
                for n in range(first, min(first + at_once, conversations))
            ]
            threads = [
                threading.Thread(target=_talk, args=(talk, engine, account), name="account-talk")
                for talk in talks
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            progress(f"{first + len(talks)} of {conversations}; wrong so far: {len(account.wrong)}")
    finally:
        engine.close(10.0)
    return account


_adding = threading.Lock()


def _talk(talk: Conversation, engine: Engine, account: Account) -> None:
    try:
        talk.run(engine)
        found = audit(talk)
    except Exception as error:
        found = Account(wrong=[f"the conversation broke off: {error!r}"])
    kind = "server VAD" if talk.vad else "turn detection off"
    found.wrong = [f"seed {talk.seed} ({kind}): {what}" for what in found.wrong]
    with _adding:
        account.add(found)


def render(account: Account, how: str) -> str:
    """The account as Markdown."""
    faults = ", ".join(f"{name} {count}" for name, count in sorted(account.faults.items()))
    lines = [how, "", "| what | count |", "| --- | --- |"]
    lines += [f"| {what} | {count:,} |" for what, count in account.counts.items()]
    lines += [f"| neither delivered once nor reported | {len(account.wrong):,} |", "", f"Faults: {faults}."]
    return "\n".join(lines)


def main() -> None:
    """Run it as the arguments say, print the account, and write it if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--conversations", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=45.0)
    parser.add_argument("--gap", type=float, nargs=2, default=(6.0, 20.0), metavar=("FROM", "TO"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="put the account into docs/reliability.md")
    given = parser.parse_args()
    # Each drop is logged, as it should be; here they are meant.
    logging.getLogger("antiphon").setLevel(logging.ERROR)
    began = time.monotonic()
    account = run(
        given.conversations,
        given.at_once,
        given.seconds,
        (given.gap[0], given.gap[1]),
        given.seed,
        lambda line: print(line, flush=True),
    )
    how = (
        f"{given.conversations} conversations of {given.seconds:g} s, {given.at_once} at once, a fault every "
        f"{given.gap[0]:g} to {given.gap[1]:g} s; {time.monotonic() - began:.0f} s in all."
    )
    text = render(account, how)
    print(text)
    for line in account.wrong:
        print("wrong:", line)
    if given.write:
        reliability.write_section("account", text)


if __name__ == "__main__":
    main()
