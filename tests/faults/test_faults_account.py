"""Nothing is lost or doubled without a report: the short form of `make account`."""

from __future__ import annotations

import account
import pytest


@pytest.mark.full
@pytest.mark.timeout(180)
def test_everything_is_delivered_once_or_reported() -> None:
    found = account.run(conversations=10, at_once=10, seconds=25.0, gap=(2.0, 6.0), seed=1000)
    assert found.wrong == []
    for needed in ("faults", "times reconnected", "utterances", "messages written", "tool calls run once"):
        assert found.counts[needed] >= 10, found.counts
