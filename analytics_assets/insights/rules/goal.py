"""Rule ``goal_at_risk``: a month that is likely to end below its goal, by what it has so far and a forecast of what is left of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from analytics_assets.insights.baseline import Bools, Floats
from analytics_assets.insights.rules.evidence import WEEK, Evidence, Goal
from analytics_assets.insights.rules.statistics import Integers
from analytics_assets.insights.rules.testing import Hit, Rule, Tests, Told, dated, told_day
from analytics_assets.insights.wording import channel_name, number

NAME = "goal_at_risk"
#: The goal is told of below this probability of reaching it, and until it is above the other.
AT_RISK, CLEAR = 0.20, 0.35
#: Of the goal: what the forecast lacks at least.
MINIMUM_SHORTFALL = 0.02
DRAWS = 400
PROFILE_DAYS = 56
LEVEL_DAYS = 14
_SEED = 11
_CHUNK = 100


@dataclass(frozen=True)
class Forecast:
    """Of n months: the probability of reaching the goal, and the total at its end (middle, and the bounds of 8 in 10)."""

    probability: Floats
    middle: Floats
    low: Floats
    high: Floats


def forecast(history: Floats, weekdays: Integers, following: Integers, so_far: Floats, goals: Floats) -> Forecast:
    """Bootstrap of the remaining days of n series.

    A day is forecast by its weekday's mean over the 56 days before, at the level of the last 14; how far it departs is drawn from
    blocks of seven days of the 56, so that what departs together stays together.

    Args:
        history: (n, 56); weekdays: of its days; following: weekdays of the remaining days.
        so_far: what the month has.
    """
    means = np.stack([history[:, weekdays == day].mean(axis=1) for day in range(WEEK)], axis=1)
    usual = means[:, weekdays]
    recent = usual[:, -LEVEL_DAYS:].sum(axis=1)
    level = np.where(recent > 0, history[:, -LEVEL_DAYS:].sum(axis=1) / np.where(recent > 0, recent, 1.0), 1.0)
    ratio = np.where(usual > 0, history / np.where(usual > 0, usual, 1.0), 1.0)
    rest = len(following)
    blocks = -(-rest // WEEK)
    starts = np.random.default_rng(_SEED).integers(0, PROFILE_DAYS - WEEK + 1, (DRAWS, blocks))
    drawn = (starts[..., None] + np.arange(WEEK)).reshape(DRAWS, -1)[:, :rest]
    expected = means[:, following] * level[:, None]
    totals = so_far[:, None] + np.einsum("nr,ndr->nd", expected, ratio[:, drawn])
    low, middle, high = np.quantile(totals, (0.1, 0.5, 0.9), axis=1)
    return Forecast((totals >= goals[:, None]).mean(axis=1), middle, low, high)


def _row(evidence: Evidence, goal: Goal) -> tuple[Floats, list[str]]:
    """The goal's series by day, and its channels; of several channels those that there are."""
    chosen = [
        (row, one.channel)
        for row, one in enumerate(evidence.daily)
        if one.organization == goal.organization and one.metric == goal.metric and goal.channel in ("all", one.channel)
    ]
    if not chosen:
        return np.full(evidence.days, np.nan), []
    values = evidence.values[[row for row, _ in chosen]]
    # (A channel that began later had nothing before; a day on which none of them has a value is missing.)
    begun = np.cumsum(~np.isnan(values), axis=1) > 0
    total: Floats = np.where(begun & np.isnan(values), np.nan, np.nan_to_num(values)).sum(axis=0)
    return np.where(np.isnan(values).all(axis=0), np.nan, total), [channel for _, channel in chosen]


def _test(evidence: Evidence) -> Tests:
    goals = evidence.goals
    values = np.array([_row(evidence, goal)[0] for goal in goals]).reshape(len(goals), evidence.days)
    dates = np.datetime64(evidence.start) + np.arange(evidence.days)
    month = dates.astype("datetime64[M]")
    first = ((month.astype("datetime64[D]") - dates).astype(np.int64)) + np.arange(evidence.days)
    after = (((month + 1).astype("datetime64[D]") - dates).astype(np.int64)) + np.arange(evidence.days)
    target, since = np.array([goal.target for goal in goals]), np.array([goal.since for goal in goals], dtype=np.int64)
    risky: Bools = np.zeros(len(goals), dtype=np.bool_)
    found: dict[str, list[Floats]] = {
        name: [] for name in ("row", "day", "p", "size", "middle", "low", "high", "so_far", "first", "after")
    }
    for day in range(PROFILE_DAYS - 1, evidence.days) if goals else ():
        begin, end = int(first[day]), int(after[day])
        if begin < 0 or begin == day:
            risky = np.zeros(len(goals), dtype=np.bool_)
        # Not before a quarter of the month, nor when nothing is left of it.
        if begin < 0 or 4 * (day - begin + 1) < end - begin or day == end - 1:
            continue
        history = slice(day - PROFILE_DAYS + 1, day + 1)
        whole = ~np.isnan(values[:, history]).any(axis=1) & (since <= day)
        for chosen in np.array_split(np.flatnonzero(whole), max(1, -(-int(whole.sum()) // _CHUNK))):
            so_far = values[chosen, begin : day + 1].sum(axis=1)
            weekdays, following = np.arange(history.start, day + 1) % WEEK, np.arange(day + 1, end) % WEEK
            one = forecast(values[chosen, history], weekdays, following, so_far, target[chosen])
            risky[chosen] = at_risk(one.probability, risky[chosen])
            short = (target[chosen] - one.middle) / target[chosen] / MINIMUM_SHORTFALL
            figures = (chosen, np.full(len(chosen), day), one.probability, np.where(risky[chosen], short, 0.0))
            others = (one.middle, one.low, one.high, so_far, np.full(len(chosen), begin), np.full(len(chosen), end))
            for name, part in zip(found, (*figures, *others), strict=True):
                found[name].append(part)
    flat = {name: np.concatenate(parts) if parts else np.empty(0) for name, parts in found.items()}
    row = flat.pop("row").astype(np.int64)
    return Tests(
        row,
        evidence.owner(goals)[row],
        flat.pop("day").astype(np.int64),
        flat.pop("p"),
        np.full(len(row), -1.0),
        flat.pop("size"),
        flat,
    )


def at_risk(probability: Floats, before: Bools) -> Bools:
    """Whether each goal is told of, given whether it was on the day before."""
    return np.asarray((probability < AT_RISK) | (before & (probability <= CLEAR)))


def _month(evidence: Evidence, tests: Tests, entry: int) -> str:
    return f"{evidence.start + timedelta(days=int(tests.figures['first'][entry])):%Y-%m}"


def _tell(evidence: Evidence, tests: Tests, hit: Hit) -> Told:
    lead = hit.entries[0]
    goal = evidence.goals[int(tests.row[lead])]
    channels = _row(evidence, goal)[1]
    figure = {name: float(values[lead]) for name, values in tests.figures.items()}
    begin, end = int(figure["first"]), int(figure["after"])
    organization = evidence.organizations[hit.organization]
    unit = f" {organization.currency}" if goal.unit == "money" else ""
    name = goal.metric.replace("_", " ")
    where = "all channels" if goal.channel == "all" else channel_name(goal.channel)
    short = 100 * (1 - figure["middle"] / goal.target)
    rest, probability = end - 1 - hit.day, float(tests.p[lead])
    needed = max(goal.target - figure["so_far"], 0.0) / rest
    usual = (figure["middle"] - figure["so_far"]) / rest
    likely = "less than 1 %" if probability < 0.01 else f"{100 * probability:.0f} %"
    return Told(
        title=f"Goal {goal.name} at risk: {name} of {where} head for {short:.0f} % less",
        sentences=[
            f"By {told_day(evidence, hit.day)} ({organization.time_zone}), day {hit.day - begin + 1} of {end - begin} of the month, {name} of "
            f"{where} came to {number(figure['so_far'])}{unit} of {number(goal.target)}{unit}, and head for {number(figure['middle'])}{unit} "
            f"(8 of 10 forecasts: {number(figure['low'])} to {number(figure['high'])}{unit}), {short:.0f} % below the goal.",
            f"By weekday and the level of the last {LEVEL_DAYS} days it will be reached with a probability of {likely}: the {rest} days left would "
            f"have to bring {number(needed)}{unit} each, where {number(usual)}{unit} are to be expected.",
        ],
        advice=["Bring forward what was planned for later (a campaign, a mailing), or set the goal to what can be reached."],
        first=begin,
        last=hit.day,
        counts=[
            {"source": "daily", "channels": channels, "metric": goal.metric, "value": round(figure["so_far"], 4)}
            | dated(evidence, begin, hit.day)
        ],
        figures={
            "goal": goal.name,
            "channel": goal.channel,
            "metric": goal.metric,
            "unit": goal.unit,
            "target": goal.target,
            "probability": round(probability, 4),
            "forecast": round(figure["middle"], 2),
            "interval": [round(figure["low"], 2), round(figure["high"], 2)],
        },
        stake=goal.target - figure["middle"] if goal.unit == "money" else None,
    )


# One a goal and month: a new month is a new goal.
RULE = Rule(
    name=NAME,
    test=_test,
    tell=_tell,
    key=lambda evidence, tests, entry: f"{evidence.goals[int(tests.row[entry])].name}|{_month(evidence, tests, entry)}",
    place=lambda evidence, tests, entry: 0.0,
    kind=lambda up: "recommendation",
    level=CLEAR,
    controlled=False,
)
