"""What the rules look at, of all organisations of a run: days, funnels and cohorts as matrices, read by one statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from uuid import UUID

import numpy as np
import psycopg

from analytics_assets.insights.baseline import Bools, Floats
from analytics_assets.insights.rules.statistics import Integers
from analytics_assets.insights.series import METRICS
from analytics_assets.sql import query

#: Besides those in which incidents are looked for: what ads returned, as their platform attributes it.
RETURNS = ("ad_purchase_value", "ad_purchases")
_DELIVERED_AT_ONCE = "events"
WEEK = 7


@dataclass(frozen=True, eq=False)
class Organization:
    """Whom the rules judge. computed: which of the days are over and computed."""

    id: UUID
    slug: str
    currency: str
    time_zone: str
    computed: Bools
    dismissed: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Daily:
    """A metric of a channel by day. organization: its place among the evidence's."""

    organization: int
    channel: str
    metric: str
    unit: str


@dataclass(frozen=True)
class Step:
    """A step of a funnel, by day of entry, and the step that follows it."""

    organization: int
    funnel: str
    order: int
    name: str
    following: str


@dataclass(frozen=True)
class Cohort:
    """Cohorts of a kind at one age, by when they began."""

    organization: int
    kind: str
    period: str
    age: int


@dataclass(frozen=True)
class Goal:
    """What a metric of a channel (all: of all channels) shall come to in a calendar month. since: the day on which it was set."""

    organization: int
    name: str
    channel: str
    metric: str
    unit: str
    target: float
    since: int


@dataclass
class Evidence:
    """Day 0 of all matrices is ``start``, a Monday; they have ``days`` columns. NaN: not computed, not delivered, not final.

    cohorts: rows of (cohort_date as day numbers, which may be below 0; active; size).
    """

    organizations: list[Organization]
    start: date
    days: int
    daily: list[Daily] = field(default_factory=list)
    values: Floats = field(default_factory=lambda: np.empty((0, 0)))
    steps: list[Step] = field(default_factory=list)
    conversions: Floats = field(default_factory=lambda: np.empty((0, 0)))
    visitors: Floats = field(default_factory=lambda: np.empty((0, 0)))
    cohorts: list[Cohort] = field(default_factory=list)
    cells: list[tuple[Integers, Floats, Floats]] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)

    def weekly(self) -> Floats:
        """Totals of whole weeks, Monday to Sunday: (series, weeks); NaN where a day is missing."""
        weeks = self.days // WEEK
        totals: Floats = self.values[:, : weeks * WEEK].reshape(len(self.daily), weeks, WEEK).sum(axis=2)
        return totals

    def owner(self, labels: Sequence[Any]) -> Integers:
        return np.array([one.organization for one in labels], dtype=np.int64)


def _numbers(packed: bytes) -> Integers:
    return np.frombuffer(packed, dtype=">i4").astype(np.int64)


def _floats(packed: bytes) -> Floats:
    return np.frombuffer(packed, dtype=">f8").astype(np.float64)


def read_organizations(
    connection: psycopg.Connection[dict[str, Any]], window: Mapping[str, Any], days: int
) -> tuple[dict[str, str], list[Organization]]:
    """States of the ledger by organisation of a run that has something open, and those of them that are judged."""
    states: dict[str, str] = {}
    judged: list[Organization] = []
    for row in connection.execute(query("read_rule_organizations"), window, binary=True):
        states[str(row["organization_id"])] = row["state"]
        computed = np.zeros(days, dtype=np.bool_)
        computed[_numbers(row["days"] or b"")] = True
        dismissed = tuple((one["key"], float(one["at"])) for one in row["dismissed"] or ())
        if row["is_judged"]:
            judged.append(
                Organization(row["organization_id"], row["slug"], row["currency"], row["time_zone"], computed, dismissed)
            )
    return states, judged


def read_evidence(
    connection: psycopg.Connection[dict[str, Any]],
    organizations: list[Organization],
    window: Mapping[str, Any],
    start: date,
    days: int,
) -> Evidence:
    """One statement for all organisations and families."""
    evidence = Evidence(organizations, start, days)
    place = {one.id: number for number, one in enumerate(organizations)}
    rows = connection.execute(
        query("read_rule_series"),
        {**window, "ids": list(place), "metrics": [*METRICS, *RETURNS]},
        binary=True,
    ).fetchall()
    by_family: dict[str, list[dict[str, Any]]] = {"daily": [], "funnel": [], "cohort": [], "goal": []}
    for row in rows:
        by_family[row["family"]].append(row | {"place": place[row["organization_id"]]})
    _take_days(evidence, by_family["daily"])
    _take_funnels(evidence, by_family["funnel"])
    for row in by_family["goal"]:
        target, since = float(_floats(row["first"])[0]), int(_numbers(row["days"])[0])
        name, channel, metric = row["labels"]
        evidence.goals.append(Goal(row["place"], name, channel, metric, row["unit"], target, since))
    for row in by_family["cohort"]:
        kind, period, age = row["labels"]
        evidence.cohorts.append(Cohort(row["place"], kind, period, int(age)))
        evidence.cells.append((_numbers(row["days"]), _floats(row["first"]), _floats(row["second"])))
    return evidence


def _take_days(evidence: Evidence, rows: list[dict[str, Any]]) -> None:
    found = [(row, _numbers(row["days"])) for row in rows]
    # Of files that somebody imports the last day may be a part of itself.
    last: dict[tuple[int, str], int] = {}
    for row, at in found:
        channel = row["place"], row["labels"][0]
        last[channel] = max(last.get(channel, 0), int(at.max(initial=0)))
    evidence.values = np.full((len(rows), evidence.days), np.nan)
    for number, (row, at) in enumerate(found):
        channel, metric = row["labels"]
        evidence.daily.append(Daily(row["place"], channel, metric, row["unit"]))
        end = last[row["place"], channel] if row["delivered"] is None else row["delivered"]
        if channel == _DELIVERED_AT_ONCE:
            end = evidence.days
        values = np.zeros(evidence.days)
        values[at] = _floats(row["first"])
        usable = evidence.organizations[row["place"]].computed & (np.arange(evidence.days) < end)
        # A series begins with its first day that is not zero: what came before was not counted.
        usable &= np.cumsum(values != 0) > 0
        evidence.values[number] = np.where(usable, values, np.nan)


def _take_funnels(evidence: Evidence, rows: list[dict[str, Any]]) -> None:
    names = {(row["place"], row["labels"][0], int(row["labels"][1])): row["labels"][2] for row in rows}
    followed = [row for row in rows if (row["place"], row["labels"][0], int(row["labels"][1]) + 1) in names]
    evidence.conversions = np.full((len(followed), evidence.days), np.nan)
    evidence.visitors = np.full((len(followed), evidence.days), np.nan)
    for number, row in enumerate(followed):
        funnel, order, name = row["labels"]
        following = names[row["place"], funnel, int(order) + 1]
        evidence.steps.append(Step(row["place"], funnel, int(order), name, following))
        at = _numbers(row["days"])
        evidence.conversions[number, at] = _floats(row["first"])
        evidence.visitors[number, at] = _floats(row["second"])
