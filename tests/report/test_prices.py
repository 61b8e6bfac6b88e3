"""Prices, and what tokens cost at them."""

from __future__ import annotations

import pytest

from antiphon.report.picture import Tokens
from antiphon.report.prices import Prices, tokens_of, total

USAGE = {
    "input_tokens": 1000,
    "output_tokens": 200,
    "input_token_details": {
        "audio_tokens": 600,
        "cached_tokens": 500,
        "cached_tokens_details": {"audio_tokens": 300},
    },
    "output_token_details": {"audio_tokens": 150},
}


def test_each_kind_of_token_has_its_price() -> None:
    prices = Prices.parse("input=4, cached=0.4, output=16, audio_input=32, audio_cached=0.5, audio_output=64")
    tokens = tokens_of(USAGE, prices)
    assert (tokens.input, tokens.output, tokens.cached) == (1000, 200, 500)
    assert (tokens.audio_input, tokens.audio_output) == (600, 150)
    # 200 of the 400 other input tokens are cached, and 300 of the 600 audio ones.
    text = 200 * 4 + 200 * 0.4 + 50 * 16
    audio = 300 * 32 + 300 * 0.5 + 150 * 64
    assert tokens.cost == pytest.approx((text + audio) / 1_000_000)


@pytest.mark.parametrize(
    ("prices", "millionths"),
    [
        ("input=4,output=16", 1000 * 4 + 200 * 16),
        ("input=4,output=16,cached=1", 500 * 4 + 500 * 1 + 200 * 16),
        ("input=4,output=16,audio_input=10", 400 * 4 + 600 * 10 + 200 * 16),
    ],
)
def test_what_is_not_given_costs_the_same_as_what_it_is_a_part_of(prices: str, millionths: float) -> None:
    assert tokens_of(USAGE, Prices.parse(prices)).cost == pytest.approx(millionths / 1_000_000)


def test_without_prices_nothing_has_a_cost() -> None:
    assert tokens_of(USAGE, None).cost is None
    assert total([tokens_of(USAGE, None)]).cost is None


def test_usage_that_servers_leave_out_counts_nothing() -> None:
    assert tokens_of({"input_tokens": 5, "input_token_details": None}, None) == Tokens(input=5)


def test_a_sum_is_one() -> None:
    one = tokens_of(USAGE, Prices.parse("input=1,output=1"))
    both = total([one, one])
    assert (both.input, both.audio_output, both.cost) == (2000, 300, pytest.approx(2 * 1200 / 1_000_000))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("input=4", "lacks output"),
        ("", "name=number"),
        ("input=4,output=16,outputs=3", "'outputs=3'.*audio_cached"),
        ("input=4,output=16,input=3", "once"),
        ("input=cheap,output=16", "'input=cheap' is no number"),
        ("input=4,output", "'output' is no number"),
        ("input=-4,output=16", "no number from 0 up"),
        ("input=nan,output=16", "no number from 0 up"),
        ("input=inf,output=16", "no number from 0 up"),
    ],
)
def test_prices_that_are_none_are_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Prices.parse(text)
