"""What a run reads, finds and hands over to be stored."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import dagster as dg
import numpy as np
from psycopg import IsolationLevel
from psycopg.types.json import Jsonb

from analytics_assets.insights.baseline import DAY, score_series
from analytics_assets.insights.grouping import insights_of
from analytics_assets.insights.incidents import ALARM, Incident, find_incidents
from analytics_assets.insights.series import Batch, Organization, Series, read_batches, read_organizations
from analytics_assets.insights.wording import describe
from analytics_assets.resources import Database
from analytics_assets.runs import Scope

# An incident may have begun so long before an hour that it covers: three days, and the hours of its quiet.
_JUDGED_DAYS = 4
# So long before that, alarms are followed without being told: what was said then silences its echo.
_FOLLOWED_DAYS = 10
# Baselines reach back 21 days, the dispersion of what departs from them 14 days more; what is there of it is read.
_HISTORY_DAYS = 49
# An hour is in the baselines of so many days after it, and in their dispersion.
_AFTER_DAYS = 35


@dataclass(frozen=True)
class Window:
    """Of a run over [start, end): where its series begin (a midnight of UTC), from where on incidents are judged, and until when."""

    start: datetime
    end: datetime
    history_from: datetime
    judged_from: datetime
    until: datetime

    @property
    def size(self) -> int:
        return max(int((self.until - self.history_from).total_seconds() // 3600), 0)

    def hour(self, at: datetime) -> int:
        return int((at - self.history_from).total_seconds() // 3600)


def window_of(start: datetime, end: datetime, now: datetime) -> Window:
    """The hours that matter to a run. The hour that is not over yet is left out, whatever is asked for."""
    day = start.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    until = min(now.astimezone(UTC).replace(minute=0, second=0, microsecond=0), end + timedelta(days=_AFTER_DAYS))
    return Window(start, end, day - timedelta(days=_HISTORY_DAYS), day - timedelta(days=_JUDGED_DAYS), until)


def find_in(batch: Batch, window: Window) -> list[dict[str, Any]]:
    """The insights of a batch's organisations, as they are stored."""
    values = batch.values
    # Days before the first value: nothing is to be computed of them.
    empty = int(np.argmax(~np.isnan(values).all(axis=0))) // DAY * DAY
    values, begin = values[:, empty:], window.history_from + timedelta(hours=empty)
    judged_from = window.hour(window.judged_from) - empty
    scores = score_series(values, batch.is_count, ALARM)
    followed_from = max(judged_from - _FOLLOWED_DAYS * DAY, 0)
    incidents: dict[Organization, list[tuple[Series, Incident]]] = defaultdict(list)
    for incident in find_incidents(values, scores, followed_from):
        series = batch.series[incident.row]
        incidents[series.organization].append((series, incident))
    return [
        describe(insight, begin)
        for found in incidents.values()
        for insight in insights_of(found, begin)
        if insight.incident.detected >= judged_from
    ]


def find(database: Database, ids: list[UUID], start: datetime, end: datetime, now: datetime) -> dict[str, Any]:
    """Parameters for the query store_insights: what is found of the organisations with something open, all read at one instant."""
    window = window_of(start, end, now)
    parameters = {
        "ids": ids,
        "start": start,
        "end": end,
        "history_from": window.history_from,
        "judged_from": window.judged_from,
        "until": window.until,
    }
    found: list[dict[str, Any]] = []
    with database.connection() as connection:
        connection.rollback()
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        organizations = read_organizations(connection, parameters, window.size)
        if organizations and window.size:
            for batch in read_batches(connection, organizations, parameters, window.size):
                found.extend(find_in(batch, window))
    return {
        "judged_from": window.judged_from,
        "judged_to": window.until,
        "states": Jsonb({str(one.id): one.state for one in organizations.values()}),
        "found": Jsonb(found),
    }


def prepare(
    context: dg.AssetExecutionContext, scope: Scope, database: Database, ids: list[UUID], start: datetime, end: datetime
) -> dict[str, Any]:
    """For the factory of assets: the step between the reading of series and the writing of insights."""
    return find(database, ids, start, end, datetime.now(UTC))
