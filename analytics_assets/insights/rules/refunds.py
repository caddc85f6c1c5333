"""Rule ``refunds_rose``: a shop gives back more of its orders than in the eight weeks before.

By shop and not by product: the model holds orders and refunds without their lines.
"""

from __future__ import annotations

import numpy as np

from analytics_assets.insights.rules.evidence import WEEK, Evidence
from analytics_assets.insights.rules.statistics import compare_share, nothing_missing, windows
from analytics_assets.insights.rules.testing import Hit, Rule, Tests, Told, dated, told_day
from analytics_assets.insights.wording import channel_name, number

NAME = "refunds_rose"
WEEKS = 8
LEAST_REFUNDS = 20
MINIMUM_CHANGE = 0.25


def _test(evidence: Evidence) -> Tests:
    weekly = evidence.weekly()
    place = {(one.organization, one.channel, one.metric): row for row, one in enumerate(evidence.daily)}
    rows, orders, amounts = [], [], []
    for (organization, channel, metric), row in place.items():
        of_orders = place.get((organization, channel, "orders"))
        if metric == "refunds_count" and of_orders is not None:
            rows.append(row)
            orders.append(of_orders)
            amounts.append(place.get((organization, channel, "refunds_amount"), row))
    given = windows(weekly[rows], WEEKS + 1)
    sold, money = windows(weekly[orders], WEEKS + 1), windows(weekly[amounts], WEEKS + 1)
    # Before a shop's first refund there was none.
    given = np.where(np.isnan(given) & ~np.isnan(sold), 0.0, given)
    share = compare_share(given[..., -1], sold[..., -1], given[..., :-1], sold[..., :-1])
    with np.errstate(divide="ignore", invalid="ignore"):
        effect = share.rate / share.base - 1
    tested = (
        nothing_missing(sold) & (np.nan_to_num(sold[..., -1]) > 0) & (np.nansum(given, axis=-1) / (WEEKS + 1) >= LEAST_REFUNDS)
    )
    day = (np.arange(given.shape[1]) + WEEKS + 1) * WEEK - 1
    return Tests.of(
        tested,
        evidence.owner([evidence.daily[row] for row in rows]),
        day,
        share.p,
        effect,
        np.where(effect > 0, effect / MINIMUM_CHANGE, 0.0),
        {
            "row": np.broadcast_to(np.array(rows, dtype=np.int64)[:, None], effect.shape),
            "part": given[..., -1],
            "whole": sold[..., -1],
            "base_part": given[..., :-1].sum(axis=-1),
            "base_whole": sold[..., :-1].sum(axis=-1),
            "money": money[..., -1],
            "has_money": np.broadcast_to((np.array(amounts) != np.array(rows))[:, None], effect.shape),
        },
    )


def _tell(evidence: Evidence, tests: Tests, hit: Hit) -> Told:
    lead = hit.entries[0]
    one = evidence.daily[int(tests.figures["row"][lead])]
    shares = tests.shares(lead)
    organization = evidence.organizations[hit.organization]
    channel = channel_name(one.channel)
    money = float(tests.figures["money"][lead]) if tests.figures["has_money"][lead] else None
    stake = None if money is None or np.isnan(money) else money * (1 - shares.base / shares.rate)
    first = hit.day - WEEK + 1
    week, before = dated(evidence, first, hit.day), dated(evidence, first - WEEKS * WEEK, first - 1)
    sentences = [
        f"From {told_day(evidence, first)} to {told_day(evidence, hit.day)} ({organization.time_zone}) {channel} gave back "
        f"{number(shares.part)} times on {number(shares.whole)} orders: {100 * shares.rate:.1f} in a hundred, {shares.change:.0f} % above the {100 * shares.base:.1f} of the "
        f"{WEEKS} weeks before ({number(shares.base_part)} on {number(shares.base_whole)}).",
    ]
    counts = [
        {"source": "daily", "channel": one.channel, "metric": metric, "value": round(value, 4), **days}
        for metric, value, days in (
            ("refunds_count", shares.part, week), ("orders", shares.whole, week), ("refunds_count", shares.base_part, before), ("orders", shares.base_whole, before),
        )
    ]  # fmt: skip
    if stake is not None and money is not None:
        sentences.append(
            f"Of the {number(money)} {organization.currency} given back, {number(stake)} {organization.currency} are beyond the usual rate."
        )
        counts.append({"source": "daily", "channel": one.channel, "metric": "refunds_amount", "value": round(money, 4), **week})
    return Told(
        title=f"Refunds of {channel}: {shares.change:.0f} % more for each order than usual",
        sentences=sentences,
        advice=[
            f"List the refunds of these days in {channel} by product and reason: one batch, size or delivery often stands behind them.",
            "Stop selling what is at fault, and write to those who have it on the way.",
        ],
        first=first,
        last=hit.day,
        counts=counts,
        figures={
            "channel": one.channel,
            "metric": "refunds_count",
            "rate": round(shares.rate, 6),
            "expected_rate": round(shares.base, 6),
            "change_percent": round(shares.change, 1),
            "baseline_weeks": WEEKS,
        },
        stake=stake,
    )


RULE = Rule(
    name=NAME,
    test=_test,
    tell=_tell,
    key=lambda evidence, tests, entry: f"{evidence.daily[int(tests.figures['row'][entry])].channel}|refunds_count",
    place=lambda evidence, tests, entry: 0.0,
    kind=lambda up: "recommendation",
)
