"""Rule ``underfunded_channel``: ads of a channel return more than the others', and more than before, on a small share of the spend."""

from __future__ import annotations

import numpy as np

from analytics_assets.insights.baseline import Floats
from analytics_assets.insights.rules.evidence import WEEK, Evidence
from analytics_assets.insights.rules.statistics import Integers, nothing_missing
from analytics_assets.insights.rules.testing import Hit, Rule, Tests, Told, dated, told_day
from analytics_assets.insights.wording import channel_name, number

NAME = "underfunded_channel"
DAYS = 28
MOST_SHARE = 0.20
#: Return on spend beside the organisation's.
MINIMUM_RETURN = 1.25
#: The null hypothesis: at most so many times the others' return.
NULL_RETURN = 1.10
LEAST_ORDERS = 30
LEAST_MARGINAL = 0.6
DRAWS = 400
_SLOPE_DAYS = 56
_SLOPE_SEEN = 28
_LEAST_SPREAD = 0.05
_SEED = 7
# Who counts sales without having brought the visitors: stores first, then the organisation's own tracking.
_OWN = (("woocommerce", "total_sales"), ("shopify", "total_sales"))
_OWN_TRACKED = ("events", "purchase_revenue")


def _blocks() -> Integers:
    """Draws of four seven-day blocks of 28 days, as days: (draws, 28). The same at every run."""
    starts = np.random.default_rng(_SEED).integers(0, DAYS - WEEK + 1, (DRAWS, DAYS // WEEK))
    drawn: Integers = (starts[..., None] + np.arange(WEEK)).reshape(DRAWS, DAYS)
    return drawn


def bootstrapped(value: Floats, spend: Floats, others_value: Floats, others_spend: Floats) -> Floats:
    """One-sided p-values of (n, 28) days: that the return is at most 1.10 times that of the other channels."""
    draws = _blocks()
    sums = [one[:, draws].sum(axis=2) for one in (value, spend, others_value, others_spend)]
    below = sums[0] * sums[3] <= NULL_RETURN * sums[2] * sums[1]
    p: Floats = (1 + below.sum(axis=1)) / (DRAWS + 1)
    return p


def marginal(spend: Floats, value: Floats) -> Floats:
    """Slope of log value on log spend over (n, 56) days; NaN where spend hardly varies or too few days have both."""
    both = (np.nan_to_num(spend) > 0) & (np.nan_to_num(value) > 0)
    x, y = (np.where(both, np.log(np.where(both, one, 1.0)), 0.0) for one in (spend, value))
    seen = both.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_x, mean_y = x.sum(axis=1) / seen, y.sum(axis=1) / seen
        dx = np.where(both, x - mean_x[:, None], 0.0)
        square = (dx**2).sum(axis=1)
        slope = (dx * (y - mean_y[:, None])).sum(axis=1) / square
        usable = (seen >= _SLOPE_SEEN) & (np.sqrt(square / seen) >= _LEAST_SPREAD)
    return np.where(usable, slope, np.nan)


def _sum(parts: list[Floats], days: int) -> Floats:
    return np.sum([np.nan_to_num(one) for one in parts], axis=0) if parts else np.zeros(days)


def _channels(evidence: Evidence) -> dict[int, list[str]]:
    """By organisation, the channels of ads whose return is reported."""
    there = {(one.organization, one.channel, one.metric) for one in evidence.daily}
    found: dict[int, list[str]] = {}
    for one in evidence.daily:
        if one.metric == "ad_spend" and (one.organization, one.channel, "ad_purchase_value") in there:
            found.setdefault(one.organization, []).append(one.channel)
    return found


def _series(evidence: Evidence) -> tuple[list[int], Integers, dict[str, Floats]]:
    """Of each channel of an organisation that has several with ads: its days, the others', and what the shop itself counted."""
    place = {(one.organization, one.channel, one.metric): row for row, one in enumerate(evidence.daily)}
    values = evidence.values
    rows: list[int] = []
    found: dict[str, list[Floats]] = {name: [] for name in ("spend", "value", "orders", "all_spend", "all_value", "own")}
    for organization, channels in _channels(evidence).items():
        if len(channels) < 2:
            continue
        own = [values[place[organization, *one]] for one in _OWN if (organization, *one) in place]
        tracked = place.get((organization, *_OWN_TRACKED))
        counted = np.maximum(_sum(own, evidence.days), np.nan_to_num(values[tracked]) if tracked is not None else 0.0)
        spend_rows, value_rows = (
            [place[organization, one, name] for one in channels] for name in ("ad_spend", "ad_purchase_value")
        )
        for channel in channels:
            rows.append(place[organization, channel, "ad_spend"])
            found["spend"].append(values[rows[-1]])
            # Before a channel's first sale there was none: a gap is where spend has one.
            found["value"].append(
                np.where(
                    np.isnan(values[rows[-1]]), np.nan, np.nan_to_num(values[place[organization, channel, "ad_purchase_value"]])
                )
            )
            orders = place.get((organization, channel, "ad_purchases"))
            found["orders"].append(np.zeros(evidence.days) if orders is None else np.nan_to_num(values[orders]))
            found["all_spend"].append(_sum([values[row] for row in spend_rows], evidence.days))
            found["all_value"].append(_sum([values[row] for row in value_rows], evidence.days))
            found["own"].append(counted)
    stacked = {name: np.array(parts).reshape(len(rows), evidence.days) for name, parts in found.items()}
    return rows, evidence.owner([evidence.daily[row] for row in rows]), stacked


def _test(evidence: Evidence) -> Tests:
    rows, owner, days = _series(evidence)
    parts: list[Tests] = []
    for end in range(2 * DAYS, evidence.days // WEEK * WEEK + 1, WEEK):
        now, before = slice(end - DAYS, end), slice(end - 2 * DAYS, end - DAYS)
        whole = nothing_missing(days["spend"][:, end - 2 * DAYS : end])
        sums = {name: np.nan_to_num(one[:, now]).sum(axis=1) for name, one in days.items()}
        earlier = {name: np.nan_to_num(days[name][:, before]).sum(axis=1) for name in ("spend", "value")}
        with np.errstate(divide="ignore", invalid="ignore"):
            tested = (
                whole & (sums["spend"] > 0) & (sums["spend"] < MOST_SHARE * sums["all_spend"]) & (sums["orders"] >= LEAST_ORDERS)
            )
            # Where the platforms together claim more than was sold, only their own attribution speaks.
            tested &= (sums["own"] >= sums["all_value"]) & (sums["all_value"] > sums["value"])
            times = (sums["value"] / sums["spend"]) / (sums["all_value"] / sums["all_spend"])
            risen = sums["value"] * earlier["spend"] > earlier["value"] * sums["spend"]
        slope = marginal(days["spend"][:, end - _SLOPE_DAYS : end], days["value"][:, end - _SLOPE_DAYS : end])
        chosen = np.flatnonzero(tested)
        one, spend = np.nan_to_num(days["value"][chosen, now]), np.nan_to_num(days["spend"][chosen, now])
        p = bootstrapped(one, spend, days["all_value"][chosen, now] - one, days["all_spend"][chosen, now] - spend)
        large = risen & (np.nan_to_num(slope) >= LEAST_MARGINAL)
        effect = times[chosen] - 1
        size = np.where(large[chosen], effect / (MINIMUM_RETURN - 1), 0.0)
        figures = {name: sums[name][chosen] for name in ("spend", "value", "orders", "all_spend", "all_value", "own")}
        figures |= {"slope": slope[chosen], "before_spend": earlier["spend"][chosen], "before_value": earlier["value"][chosen]}
        figures["row"] = np.array(rows, dtype=np.int64)[chosen]
        parts.append(Tests(figures["row"], owner[chosen], np.full(len(chosen), end - 1), p, effect, size, figures))
    if parts:
        return Tests.joined(parts)
    nothing = np.empty(0, dtype=np.int64)
    return Tests(nothing, nothing, nothing, np.empty(0), np.empty(0), np.empty(0))


def _tell(evidence: Evidence, tests: Tests, hit: Hit) -> Told:
    lead = hit.entries[0]
    one = evidence.daily[int(tests.row[lead])]
    figure = {name: float(values[lead]) for name, values in tests.figures.items()}
    organization = evidence.organizations[hit.organization]
    channel, currency = channel_name(one.channel), organization.currency
    returned, others = (
        figure["value"] / figure["spend"],
        (figure["all_value"] - figure["value"]) / (figure["all_spend"] - figure["spend"]),
    )
    before = figure["before_value"] / figure["before_spend"] if figure["before_spend"] > 0 else 0.0
    share = 100 * figure["spend"] / figure["all_spend"]
    first = hit.day - DAYS + 1
    now, earlier = dated(evidence, first, hit.day), dated(evidence, first - DAYS, first - 1)
    counts = [
        {"source": "daily", "channel": one.channel, "metric": metric, "value": round(figure[name], 4), **days}
        for metric, name, days in (
            ("ad_spend", "spend", now), ("ad_purchase_value", "value", now), ("ad_purchases", "orders", now),
            ("ad_spend", "before_spend", earlier), ("ad_purchase_value", "before_value", earlier),
        )
    ] + [
        {"source": "daily", "channels": _channels(evidence)[hit.organization], "metric": metric, "value": round(figure[name], 4), **now}
        for metric, name in (("ad_spend", "all_spend"), ("ad_purchase_value", "all_value"))
    ]  # fmt: skip
    return Told(
        title=f"Ads of {channel} return {returned:.2f} for each {currency} on {share:.0f} % of the spend",
        sentences=[
            f"From {told_day(evidence, first)} to {told_day(evidence, hit.day)} ({organization.time_zone}) {channel} had "
            f"{number(figure['spend'])} of {number(figure['all_spend'])} {currency} spent on ads ({share:.0f} %), and returned {returned:.2f} "
            f"for each {currency}, the other channels {others:.2f}; in the {DAYS} days before it returned {before:.2f}.",
            "It is what the platform attributes to itself, within what the shop sold; whether more spend returns as much, a test will tell.",
        ],
        advice=[
            f"Raise the budget of {channel} by a fifth for two weeks, leave all else as it is, and compare the shop's own sales."
        ],
        first=first,
        last=hit.day,
        counts=counts,
        figures={
            "channel": one.channel,
            "metric": "roas",
            "return": round(returned, 4),
            "others_return": round(others, 4),
            "return_before": round(before, 4),
            "share_of_spend": round(share / 100, 4),
            "marginal_slope": round(figure["slope"], 3),
        },
        stake=figure["value"] - others * figure["spend"],
    )


RULE = Rule(
    name=NAME,
    test=_test,
    tell=_tell,
    key=lambda evidence, tests, entry: f"{evidence.daily[int(tests.row[entry])].channel}|roas",
    place=lambda evidence, tests, entry: 0.0,
    kind=lambda up: "opportunity",
)
