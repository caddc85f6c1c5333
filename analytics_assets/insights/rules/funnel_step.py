"""Rule ``funnel_step_fell``: a funnel's step from which fewer go on than in the four weeks before."""

from __future__ import annotations

import numpy as np

from analytics_assets.insights.rules.evidence import Evidence
from analytics_assets.insights.rules.statistics import compare_share, windows
from analytics_assets.insights.rules.testing import Hit, Rule, Tests, Told, dated, told_day
from analytics_assets.insights.wording import number

NAME = "funnel_step_fell"
DAYS = 28
_DAYS_SEEN = 20
LEAST_ENTRANTS = 200
MINIMUM_CHANGE = 0.10
LEVEL = 0.01


def _test(evidence: Evidence) -> Tests:
    parts, wholes = windows(evidence.conversions, DAYS + 1), windows(evidence.visitors, DAYS + 1)
    seen = (np.nan_to_num(wholes[..., :-1]) > 0).sum(axis=-1)
    # A large enough day is the exception: only these are compared.
    row, column = np.nonzero((np.nan_to_num(wholes[..., -1]) >= LEAST_ENTRANTS) & (seen >= _DAYS_SEEN))
    part, whole = parts[row, column], wholes[row, column]
    share = compare_share(part[:, -1], whole[:, -1], part[:, :-1], whole[:, :-1])
    effect = share.rate / share.base - 1
    tested = np.isfinite(share.p)
    figures = {
        "part": part[:, -1],
        "whole": whole[:, -1],
        "base_part": np.nansum(part[:, :-1], axis=1),
        "base_whole": np.nansum(whole[:, :-1], axis=1),
    }
    return Tests(
        row[tested],
        evidence.owner(evidence.steps)[row[tested]],
        (column + DAYS)[tested],
        share.p[tested],
        effect[tested],
        np.where(effect < 0, -effect / MINIMUM_CHANGE, 0.0)[tested],
        {name: values[tested] for name, values in figures.items()},
    )


def _tell(evidence: Evidence, tests: Tests, hit: Hit) -> Told:
    lead = hit.entries[0]
    one = evidence.steps[int(tests.row[lead])]
    shares = tests.shares(lead)
    missing = shares.whole * shares.base - shares.part
    zone = evidence.organizations[hit.organization].time_zone
    first = hit.day - DAYS
    label = {"source": "funnel", "funnel": one.funnel, "step": one.order}
    before, today = dated(evidence, first, hit.day - 1), dated(evidence, hit.day, hit.day)
    return Told(
        title=f"Funnel {one.funnel}: {abs(shares.change):.0f} % fewer go on from {one.name} to {one.following}",
        sentences=[
            f"Of the {number(shares.whole)} who reached {one.name} of the funnel {one.funnel} on {told_day(evidence, hit.day)} ({zone}), "
            f"{number(shares.part)} went on to {one.following}: {100 * shares.rate:.1f} %, {abs(shares.change):.0f} % below the {100 * shares.base:.1f} % of the "
            f"{DAYS} days before ({number(shares.base_part)} of {number(shares.base_whole)}).",
            f"At the usual rate {missing:,.0f} more would have gone on.",
        ],
        advice=[
            f"Go from {one.name} to {one.following} as a visitor would, on a telephone too, and look at what was changed last.",
            "Compare by device, browser and source of traffic: a fall in one of them points at a fault, in all of them at the offer.",
        ],
        first=hit.day,
        last=hit.day,
        counts=[
            {**label, "column": "conversions", "value": shares.part, **today},
            {**label, "column": "visitors", "value": shares.whole, **today},
            {**label, "column": "conversions", "value": shares.base_part, **before},
            {**label, "column": "visitors", "value": shares.base_whole, **before},
        ],
        figures={
            "funnel": one.funnel,
            "step": one.order,
            "step_name": one.name,
            "rate": round(shares.rate, 6),
            "expected_rate": round(shares.base, 6),
            "change_percent": round(shares.change, 1),
            "missing": round(missing, 1),
            "baseline_days": DAYS,
        },
    )


RULE = Rule(
    name=NAME,
    test=_test,
    tell=_tell,
    key=lambda evidence, tests, entry: (
        f"{evidence.steps[int(tests.row[entry])].funnel}|{evidence.steps[int(tests.row[entry])].order}"
    ),
    place=lambda evidence, tests, entry: 0.0,
    kind=lambda up: "recommendation",
    level=LEVEL,
)
