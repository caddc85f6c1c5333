"""What a text may say: every sentence here is refused or stands by one thing in it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics_assets.narratives.checking import MOST_CHARACTERS, clean, problem_of
from analytics_assets.narratives.facts import Facts, facts_of

UNITS = {
    "total_sales": "money",
    "orders": "count",
    "sessions": "count",
    "ad_spend": "money",
    "net_sales": "money",
    "roas": "ratio",
}
CHANNELS = frozenset(("woocommerce", "google_analytics"))


def facts(**changed: Any) -> Facts:
    """Sales of a shop, 1,234.56 EUR for 3,210, and orders beside them, from 10 to 18 o'clock in Berlin."""
    data: dict[str, Any] = {
        "kind": "drop", "channel": "woocommerce", "metric": "total_sales", "direction": "down", "actual": 1234.56, "expected": 3210.0,
        "at_stake": 1975.44, "currency": "EUR", "baseline_days": 21,
        "series": [{"channel": "woocommerce", "metric": "orders", "actual": 31.0, "expected": 80.0}],
    }  # fmt: skip
    start = datetime(2026, 3, 3, 9, tzinfo=UTC)
    row = {
        "insight_type": "anomaly", "severity": "high", "time_zone": "Europe/Berlin", "is_over": True, "data_points": data | changed,
        "period_start": start, "period_end": start + timedelta(hours=8), "recommendations": ["Ask the payment provider for failed payments."],
    }  # fmt: skip
    return facts_of(row, UNITS, CHANNELS)


STANDS = """
Total sales of WooCommerce came to 1,235 EUR, where 3,210 EUR were usual.
Sales fell by 62 %: 31 orders where 80 were to be expected.
Sales fell 61.5 percent from Tuesday 3 March 2026, 10:00, until 18:00.
Between 10am and 6 p.m. on March 3rd revenue was €1,234.56.
Sales were -62 % for 8 hours, beside the 21 days before; 1,975 EUR are at stake.
Orders came to 31. Ask the payment provider for failed payments, and see what happened on 2026-03-03.
About 1.2k EUR of sales came in; 3.2 thousand EUR were usual.
For eight hours sales came to 1,230 EUR, no more than that. Follow up with the payment provider.
Orders fell (31 for 80).
"""
REFUSED = """
amount: Sales came to 1,334 EUR.
amount: Sales came to 1,235 USD.
amount: Sales came to $1,235.
amount: 31 EUR of orders came in.
amount: Sales came to 1.3k EUR.
amount: Sales came to 1,200 EUR.
figure: Orders came to 32.
figure: Orders came to 31 of 81.
figure: Orders came to 62.
figure: Orders came to 1,235.
unfinished: Sales fell by 62 %, to 31 orders where
figure: Sales came to 1.234,56.
figure: Sales fell 3x, to 31 orders.
figure: Sales fell 62 percentage points, to 31 orders.
figure: In 2026 31 orders came in.
percentage: Sales fell by 65 %.
percentage: Sales fell by 31 %.
percentage: Sales were +62 % in sum.
percentage: Orders fell by 1,235 %.
duration: Sales fell by 62 % within 9 hours.
duration: Sales fell by 62 % within 31 days.
duration: Sales fell by 62 % in 2 weeks.
date: Sales fell by 62 % on 4 March.
date: Sales fell by 62 % on March 3, 2025.
date: Sales fell by 62 % on 2026-03-30.
date: Sales fell by 62 % on Wednesday.
date: Sales fell by 62 % in Apr, sadly.
date: Sales fell by 62 % yesterday.
date: Sales fell by 62 % since last week.
time: Sales fell by 62 % at 11:00.
time: Sales fell by 62 % at 6 am.
number word: Sales fell by 62 %, for nine hours.
number word: Sales fell by 62 %, to thirty-two orders.
number word: Sales fell by half, to 31 orders.
number word: Hundreds of 80 orders fell away.
direction: Sales rose by 62 %.
direction: Sales were 62 % above the usual.
direction: Sales came to 31 orders, more than usual.
negation: Sales did not fall by 62 %.
negation: Sales didn't fall by 62 %.
metric: Sessions fell by 62 %.
metric: Net sales fell by 62 %.
metric: Traffic fell by 62 %.
metric: Profit fell by 62 %.
channel: Sales of Shopify fell by 62 %.
channel: Sales fell by 62 % as Google charged for it.
name: Sales fell by 62 % as Acme Payments broke.
name: Sales fell by 62 %, says Ann.
name: Sales fell by 62 %, as I see it.
name: Sales of N1 fell by 62 %.
link: Sales fell by 62 %, see evil.example for it.
characters: Sales fell by **62 %**.
characters: Sales fell by 62 % ![x](y).
characters: Sales fell by 62 % <b>.
characters: Sales fell by 62 % `x`.
characters: Sales fell by ٦٢ %.
characters: Sales fell by ½, to 31 orders.
characters: Продажи fell by 62 %.
characters: Sales\u200b fell by 62 %.
characters: Sales fell by 62 %\u202e.
empty: Sales fell.
empty: It happened on Tuesday at 10:00, and is over.
"""


def _lines(text: str) -> list[str]:
    return (
        text.encode("unicode_escape").replace(b"\\n", b"\n").replace(b"\\\\", b"\\").decode("unicode_escape").strip().split("\n")
    )


@pytest.mark.parametrize("text", _lines(STANDS))
def test_what_the_data_says_stands(text: str) -> None:
    assert problem_of(clean(text), facts(), UNITS) is None


@pytest.mark.parametrize("line", _lines(REFUSED))
def test_what_it_does_not_say_is_refused(line: str) -> None:
    problem, text = line.split(": ", 1)
    assert problem_of(clean(text), facts(), UNITS) == problem


def test_a_rise_a_standstill_and_a_long_text() -> None:
    up = facts(direction="up", actual=5000.0, kind="spike")
    assert problem_of("Sales rose by 56 %, to 5,000 EUR.", up, UNITS) is None
    assert problem_of("Sales fell by 56 %, to 5,000 EUR.", up, UNITS) == "direction"
    stuck = facts(kind="stuck", direction="up")
    assert problem_of("Sales repeat the same value, 1,235 EUR.", stuck, UNITS) is None
    assert problem_of("Sales rose to 1,235 EUR.", stuck, UNITS) == "direction"
    assert problem_of("Sales fell by 62 %. " * 40, facts(), UNITS) == "length"
    assert clean(" Sales\n fell\u00a0by ") == "Sales fell by"


_CLOSE = st.one_of(st.integers(0, 9_999), st.integers(1_000, 4_000), st.integers(20, 100))


@settings(max_examples=150, deadline=None)
@given(_CLOSE, st.sampled_from(["Sales came to {:,} EUR.", "Sales fell by {} %.", "Orders came to {:,}.", "Orders: {}, sadly."]))
def test_no_other_figure_stands(value: int, form: str) -> None:
    """Of any whole number only what rounds a figure of the data."""
    told = {"%": [61.54, 61.25], "EUR": [1234.56, 3210.0, 1975.44]}
    allowed = next((figures for mark, figures in told.items() if mark in form), [31.0, 80.0])
    stands = problem_of(form.format(value), facts(), UNITS) is None
    if stands:
        assert any(abs(value - figure) <= max(0.5, 0.01 * figure) for figure in allowed)
    elif any(value == round(figure) for figure in allowed):
        pytest.fail(f"{value} is in the data")


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=2 * MOST_CHARACTERS))
def test_any_text_is_judged(text: str) -> None:
    """Whatever a model answers: no exception, and nothing that is no sentence of the data."""
    assert problem_of(clean(text), facts(), UNITS) is not None
