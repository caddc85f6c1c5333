"""Rule ``trend``: a metric that grows or falls week by week."""

from __future__ import annotations

import numpy as np

from analytics_assets.insights.baseline import Floats
from analytics_assets.insights.rules.evidence import WEEK, Daily, Evidence
from analytics_assets.insights.rules.statistics import nothing_missing, two_sided, windows
from analytics_assets.insights.rules.testing import Hit, Rule, Tests, Told, dated, told_day
from analytics_assets.insights.series import METRICS
from analytics_assets.insights.wording import channel_name, number

NAME = "trend"
WEEKS = 8
#: Logarithm of a week beside the one before.
MINIMUM_SLOPE = 0.02
#: Of counts, a week on average: below it a percentage says nothing.
LEAST_A_WEEK = 20.0
# Weeks resemble the week before, and eight of them are too few to measure by how much: with the error of independent weeks 0.10 to
# 0.18 of organisations without a trend were told of one, where a day's level was half or four fifths the day's before.
_MEMORY = 1.2
# Of Theil and Sen's 28 slopes of eight weeks, those between which the true one lies in 95 of 100 (Kendall's distribution).
_LOW, _HIGH = 5, 22
_MOST_OTHERS = 5
# What rises and falls together, and what it means. In the order of METRICS the first leads.
_SUBJECTS = {
    "sales": {
        "total_sales",
        "orders",
        "gross_sales",
        "items_sold",
        "purchase_revenue",
        "purchases",
        "customers_new",
        "checkouts",
    },
    "refunds": {"refunds_amount", "refunds_count", "cancelled_orders"},
    "ads": {"ad_spend", "clicks_all", "impressions", "link_clicks"},
    "discounts": {"discounts"},
}
_ADVICE = {
    ("sales", True): "Keep stock and support in step, and find what brings the growth, so that it can be fed.",
    ("sales", False): "Compare by product, campaign and country what fell, before prices or budgets are changed.",
    ("visits", True): "See where the visitors come from, and whether they buy as the others do.",
    (
        "visits",
        False,
    ): "Compare sources of traffic: a search position, a campaign that ended, or a tag that is missing on new pages.",
    ("refunds", True): "See which products and reasons stand behind the refunds, and stop selling what is at fault.",
    ("refunds", False): "Nothing to do; note what was changed, so that it is kept.",
    ("ads", True): "Compare spend and its return with what was planned for these weeks.",
    ("ads", False): "See whether budgets, bids or rejected ads hold the campaigns back.",
    ("discounts", True): "Compare what the discounts bring with what they cost; look for codes that are passed around.",
    ("discounts", False): "Nothing to do, unless discounts were meant to run.",
}


def _subject(metric: str) -> str:
    return next((name for name, metrics in _SUBJECTS.items() if metric in metrics), "visits")


def slopes(totals: Floats) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Of windows (..., 8) of weekly totals: slope and p-value by least squares of log(y + 0.5), and Theil and Sen's with its interval.

    The null hypothesis: no slope; two-sided t with 6 degrees of freedom, the standard error with an allowance for the weeks' memory.
    """
    logs = np.log(np.maximum(totals, 0) + 0.5)
    x = np.arange(WEEKS) - (WEEKS - 1) / 2
    square = float((x**2).sum())
    slope = (logs * x).sum(axis=-1) / square
    residual = logs - logs.mean(axis=-1, keepdims=True) - slope[..., None] * x
    error = _MEMORY * np.sqrt((residual**2).sum(axis=-1) / (WEEKS - 2) / square)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = two_sided(slope / np.maximum(error, 1e-12), WEEKS - 2)
    first, second = np.triu_indices(WEEKS, 1)
    pairs = np.sort((logs[..., second] - logs[..., first]) / (second - first), axis=-1)
    return slope, p, np.median(pairs, axis=-1), pairs[..., _LOW], pairs[..., _HIGH]


def _test(evidence: Evidence) -> Tests:
    weekly = evidence.weekly()
    chosen = np.array([one.metric in METRICS for one in evidence.daily], dtype=np.bool_)
    is_count = np.array([one.unit != "money" for one in evidence.daily], dtype=np.bool_)
    window = windows(weekly, WEEKS)
    tested = chosen[:, None] & nothing_missing(window) & (np.nan_to_num(window).min(axis=-1, initial=np.inf) > 0)
    tested &= ~is_count[:, None] | (np.nan_to_num(window).mean(axis=-1) >= LEAST_A_WEEK)
    row, column = np.nonzero(tested)
    kept = window[row, column]
    slope, p, middle, low, high = slopes(kept)
    # Theil and Sen's slope has to have the same sign, with all of its interval.
    agreed = (low * high > 0) & (np.sign(slope) == np.sign(middle))
    size = np.where(agreed, np.abs(slope) / MINIMUM_SLOPE, 0.0)
    day = (column + WEEKS) * WEEK - 1
    figures = {"slope": middle, "low": low, "high": high, "weeks": kept}
    return Tests(
        row, evidence.owner(evidence.daily)[row], day, p, np.where(slope > 0, 1.0, -1.0) * np.abs(np.expm1(slope)), size, figures
    )


def _label(evidence: Evidence, tests: Tests, entry: int) -> Daily:
    return evidence.daily[int(tests.row[entry])]


def _percent(slope: float) -> float:
    return 100 * float(np.expm1(slope))


def _tell(evidence: Evidence, tests: Tests, hit: Hit) -> Told:
    lead = hit.entries[0]
    one, weeks = _label(evidence, tests, lead), tests.figures["weeks"][lead]
    last = hit.day
    first = last - WEEKS * WEEK + 1
    organization = evidence.organizations[hit.organization]
    unit = f" {organization.currency}" if one.unit == "money" else ""
    name, channel = one.metric.replace("_", " "), channel_name(one.channel)
    change, low, high = (_percent(float(tests.figures[figure][lead])) for figure in ("slope", "low", "high"))
    verb = "grow" if hit.up else "fall"
    others = [_label(evidence, tests, entry) for entry in hit.entries[1:]]
    sentences = [
        f"From {told_day(evidence, first)} to {told_day(evidence, last)} ({organization.time_zone}) {name} of {channel} "
        f"{'grew' if hit.up else 'fell'} by {abs(change):.1f} % a week (95 % interval {low:+.1f} to {high:+.1f} %): "
        f"{number(weeks[0])}{unit} in the first of the {WEEKS} weeks, {number(weeks[-1])}{unit} in the last."
    ]
    if others:
        sentences.append(f"With it go {', '.join(other.metric.replace('_', ' ') for other in others[:_MOST_OTHERS])}.")
    counts = [
        {"source": "daily", "channel": one.channel, "metric": one.metric, "value": round(float(weeks[number_]), 4)}
        | dated(evidence, first + number_ * WEEK, first + number_ * WEEK + WEEK - 1)
        for number_ in (0, WEEKS - 1)
    ]
    return Told(
        title=f"{name[0].upper()}{name[1:]} of {channel} {verb} by {abs(change):.1f} % a week, for {WEEKS} weeks",
        sentences=sentences,
        advice=[_ADVICE[_subject(one.metric), hit.up]],
        first=first,
        last=last,
        counts=counts,
        figures={
            "channel": one.channel,
            "metric": one.metric,
            "unit": one.unit,
            "percent_a_week": round(change, 2),
            "interval": [round(low, 2), round(high, 2)],
            "weeks": [round(float(value), 4) for value in weeks],
            "with": [other.metric for other in others],
        },
        stake=abs(float(weeks[-1] - weeks[0])) if one.unit == "money" else None,
    )


RULE = Rule(
    name=NAME,
    test=_test,
    tell=_tell,
    key=lambda evidence, tests, entry: (
        f"{_label(evidence, tests, entry).channel}|{_subject(_label(evidence, tests, entry).metric)}"
    ),
    place=lambda evidence, tests, entry: METRICS.index(_label(evidence, tests, entry).metric),
    kind=lambda up: "trend",
)
