"""What a run of the asset ``rule_insights`` reads, finds and hands over to be stored."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID

import dagster as dg
from psycopg import IsolationLevel
from psycopg.types.json import Jsonb

from analytics_assets.insights.rules import cohort_retention, funnel_step, goal, refunds, trend, underfunded
from analytics_assets.insights.rules.episodes import LONGEST_DAYS, SAME_DAYS, insights_of
from analytics_assets.insights.rules.evidence import Evidence, read_evidence, read_organizations
from analytics_assets.resources import Database
from analytics_assets.runs import Scope

RULES = (trend.RULE, underfunded.RULE, funnel_step.RULE, cohort_retention.RULE, refunds.RULE, goal.RULE)
# An insight that a day can change began so long before it.
_JUDGED_DAYS = LONGEST_DAYS + SAME_DAYS
# A discovery rests on nine weeks.
_EVIDENCE_DAYS = 63
# A day is in the baselines of so many days after it: four months of the cohorts' ages by month.
_AFTER_DAYS = 130


@dataclass(frozen=True)
class Window:
    """Of a run over days: where evidence begins (a Monday), which first discoveries are judged (until excluded), until when it reads."""

    history_from: date
    judged_from: date
    judged_to: date
    until: date


def window_of(start: date, end: date, now: datetime) -> Window:
    """Of the days [start, end). The latest day that is over anywhere at ``now`` ends 14 hours ahead of UTC."""
    newest = (now.astimezone(UTC) + timedelta(hours=14)).date()
    judged_from = start - timedelta(days=_JUDGED_DAYS)
    judged_to = end + timedelta(days=_AFTER_DAYS)
    history = judged_from - timedelta(days=SAME_DAYS + _EVIDENCE_DAYS)
    return Window(
        history - timedelta(days=history.weekday()),
        judged_from,
        judged_to,
        min(judged_to + timedelta(days=_JUDGED_DAYS), newest),
    )


def find_in(evidence: Evidence, window: Window) -> list[dict[str, Any]]:
    """The insights that began in the window's judged days, as they are stored."""
    found = [(rule, rule.test(evidence)) for rule in RULES]
    first, end = (window.judged_from - evidence.start).days, (window.judged_to - evidence.start).days
    return [row for day, row in insights_of(evidence, found) if first <= day < end]


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def find(database: Database, ids: list[UUID], start: datetime, end: datetime, now: datetime) -> dict[str, Any]:
    """Parameters for the query store_rule_insights, all read at one instant. start, end: days, as midnights of UTC."""
    window = window_of(start.date(), end.date(), now)
    days = max((window.until - window.history_from).days, 0)
    parameters = {
        "ids": ids,
        "start": start,
        "end": end,
        "history_from": window.history_from,
        "judged_from": _midnight(window.judged_from),
        "judged_to": _midnight(window.judged_to),
        "until": window.until,
        "now": now,
    }
    found: list[dict[str, Any]] = []
    with database.connection() as connection:
        connection.rollback()
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        states, judged = read_organizations(connection, parameters, days)
        if judged:
            found = find_in(read_evidence(connection, judged, parameters, window.history_from, days), window)
    return {
        "judged_from": parameters["judged_from"],
        "judged_to": parameters["judged_to"],
        "states": Jsonb(states),
        "judged": [one.id for one in judged],
        "found": Jsonb(found),
    }


def prepare(
    context: dg.AssetExecutionContext, scope: Scope, database: Database, ids: list[UUID], start: datetime, end: datetime
) -> dict[str, Any]:
    """For the factory of assets: the step between the reading of series and the writing of insights."""
    return find(database, ids, start, end, datetime.now(UTC))
