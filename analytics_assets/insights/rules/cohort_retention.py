"""Rule ``cohort_retention``: the newest cohort comes back more or less than the eleven before it at the same age."""

from __future__ import annotations

from datetime import timedelta

import numpy as np

from analytics_assets.insights.rules.evidence import WEEK, Cohort, Evidence
from analytics_assets.insights.rules.statistics import Integers, compare_share, windows
from analytics_assets.insights.rules.testing import Hit, Rule, Tests, Told, told_day
from analytics_assets.insights.wording import number

NAME = "cohort_retention"
COHORTS = 11
_COHORTS_SEEN = 8
LEAST_MEMBERS = 100
MINIMUM_CHANGE = 0.10
_WHO = {
    "signup": ("who signed up", "came back"),
    "first_purchase": ("who first bought", "bought again"),
    "first_visit": ("who first came", "came back"),
}


def _places(evidence: Evidence, period: str, began: Integers) -> Integers:
    """Numbers of weeks or months, from cohort dates as numbers of days."""
    start = np.datetime64(evidence.start)
    if period == "week":
        return began // WEEK
    months: Integers = (start + began).astype("datetime64[M]").astype(np.int64)
    return months


def _last_days(evidence: Evidence, period: str, place: Integers, age: int) -> Integers:
    """The day with which the period ends in which cohorts have that age."""
    if period == "week":
        return (place + age + 1) * WEEK - 1
    ends = (place + age + 1).astype("datetime64[M]").astype("datetime64[D]")
    days: Integers = (ends - np.datetime64(evidence.start)).astype(np.int64) - 1
    return days


def _test_period(evidence: Evidence, period: str) -> Tests:
    rows = [row for row, one in enumerate(evidence.cohorts) if one.period == period]
    places = [_places(evidence, period, evidence.cells[row][0]) for row in rows]
    filled = [one for one in places if len(one)]
    base = min((int(one.min()) for one in filled), default=0)
    width = max((int(one.max()) for one in filled), default=base) - base + 1
    active, size = np.full((len(rows), width), np.nan), np.full((len(rows), width), np.nan)
    for number_, (row, place) in enumerate(zip(rows, places, strict=True)):
        active[number_, place - base] = evidence.cells[row][1]
        size[number_, place - base] = evidence.cells[row][2]
    parts, wholes = windows(active, COHORTS + 1), windows(size, COHORTS + 1)
    seen = (~np.isnan(wholes[..., :-1])).sum(axis=-1)
    share = compare_share(parts[..., -1], wholes[..., -1], parts[..., :-1], wholes[..., :-1])
    with np.errstate(divide="ignore", invalid="ignore"):
        effect = share.rate / share.base - 1
    column = np.arange(parts.shape[1]) + COHORTS + base
    ages = np.array([evidence.cohorts[row].age for row in rows], dtype=np.int64)
    day = np.stack([_last_days(evidence, period, column, int(age)) for age in ages]) if rows else np.empty((0, len(column)))
    tested = (np.nan_to_num(wholes[..., -1]) >= LEAST_MEMBERS) & (seen >= _COHORTS_SEEN) & (day >= 0) & (day < evidence.days)
    tests = Tests.of(
        tested,
        evidence.owner(evidence.cohorts)[rows] if rows else np.empty(0, dtype=np.int64),
        day.astype(np.int64),
        share.p,
        effect,
        np.abs(effect) / MINIMUM_CHANGE,
        {
            "part": parts[..., -1],
            "whole": wholes[..., -1],
            "base_part": np.nansum(parts[..., :-1], axis=-1),
            "base_whole": np.nansum(wholes[..., :-1], axis=-1),
            "began": np.broadcast_to(column, effect.shape),
        },
    )
    tests.row = np.array(rows, dtype=np.int64)[tests.row]
    return tests


def _test(evidence: Evidence) -> Tests:
    return Tests.joined([_test_period(evidence, period) for period in ("week", "month")])


def _began(evidence: Evidence, one: Cohort, place: int) -> int:
    """Number of the day with which a cohort's period begins."""
    return (
        place * WEEK
        if one.period == "week"
        else int((np.datetime64(place, "M").astype("datetime64[D]") - np.datetime64(evidence.start)).astype(int))
    )


def _tell(evidence: Evidence, tests: Tests, hit: Hit) -> Told:
    lead = hit.entries[0]
    one = evidence.cohorts[int(tests.row[lead])]
    shares = tests.shares(lead)
    place = int(tests.figures["began"][lead])
    began, earliest, latest = (_began(evidence, one, at) for at in (place, place - COHORTS, place - 1))
    who, did = _WHO[one.kind]
    first = _began(evidence, one, place + one.age)
    label = {"source": "cohort", "cohort_type": one.kind, "period_type": one.period, "age": one.age}
    newest = {name: str(evidence.start + timedelta(days=began)) for name in ("from", "to")}
    before = {"from": str(evidence.start + timedelta(days=earliest)), "to": str(evidence.start + timedelta(days=latest))}
    ages = sorted(evidence.cohorts[int(tests.row[entry])].age for entry in hit.entries)
    return Told(
        title=f"Those {who} in the {one.period} of {told_day(evidence, began)}: {abs(shares.change):.0f} % {'more' if hit.up else 'fewer'} {did}",
        sentences=[
            f"Of the {number(shares.whole)} {who} in the {one.period} from {told_day(evidence, began)} on "
            f"({evidence.organizations[hit.organization].time_zone}), {number(shares.part)} {did} in {one.period} {one.age} after it: "
            f"{100 * shares.rate:.1f} %, {abs(shares.change):.0f} % {'above' if hit.up else 'below'} the {100 * shares.base:.1f} % of the {COHORTS} cohorts before "
            f"at the same age ({number(shares.base_part)} of {number(shares.base_whole)}).",
        ]
        + ([f"So it is in {one.period}s {', '.join(str(age) for age in ages)} after the first."] if len(ages) > 1 else []),
        advice=[
            "Find what these members had in common that others did not (campaign, product, country), and do more of it."
            if hit.up
            else "Compare where these members came from and what they bought first with those before; write to them before the next period ends."
        ],
        first=first,
        last=hit.day,
        counts=[
            {**label, "column": "active_users", "value": shares.part, **newest},
            {**label, "column": "cohort_size", "value": shares.whole, **newest},
            {**label, "column": "active_users", "value": shares.base_part, **before},
            {**label, "column": "cohort_size", "value": shares.base_whole, **before},
        ],
        figures={
            "cohort_type": one.kind,
            "period_type": one.period,
            "cohort_date": newest["from"],
            "age": one.age,
            "ages": ages,
            "rate": round(shares.rate, 6),
            "expected_rate": round(shares.base, 6),
            "change_percent": round(shares.change, 1),
            "baseline_cohorts": COHORTS,
        },
    )


RULE = Rule(
    name=NAME,
    test=_test,
    tell=_tell,
    key=lambda evidence, tests, entry: (
        f"{evidence.cohorts[int(tests.row[entry])].kind}|{evidence.cohorts[int(tests.row[entry])].period}"
    ),
    place=lambda evidence, tests, entry: float(tests.p[entry]),
    kind=lambda up: "opportunity" if up else "recommendation",
)
