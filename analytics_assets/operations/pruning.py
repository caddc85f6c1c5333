"""Dagster's own storage kept small: what is past its time and superseded is deleted, in bounded pieces."""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg
from psycopg.rows import dict_row
from sqlalchemy.engine import make_url

from analytics_assets.database import conninfo, dagster_url, no_connection
from analytics_assets.settings import Settings
from analytics_assets.sql import query

_EVENTS_AT_ONCE = 50_000
# A thousand organisations in 64 cells write 117 MB a day, most of it plans and results that the next tick supersedes.
_SUPERSEDED_DAYS = 1
_LOG_DAYS = 3


def prune_dagster(settings: Settings, events_at_once: int = _EVENTS_AT_ONCE, now: datetime | None = None) -> dict[str, int]:
    """Deletes events, ticks, check executions and runs that nothing needs any more, as of ``now``.

    Plans and results of partitions that newer ones have superseded go after a day; logs of runs that succeeded, results of
    assets without partitions and check executions after three days; everything else after ``keep_dagster_days``, which also bounds
    both. Stay: the newest event of each kind of every asset and partition (materializations, observations, plans without a result),
    the newest tick of each schedule and sensor, the newest execution of each check, and runs that any event is left of.
    Returns rows deleted by table; empty where Dagster has no tables yet. Each piece commits by itself.

    Raises DatabaseError where Dagster's database does not answer.
    """
    keep_days = settings.keep_dagster_days
    times = {
        "now": now or datetime.now(UTC),
        "keep_days": keep_days,
        "log_days": min(_LOG_DAYS, keep_days),
        "superseded_days": min(_SUPERSEDED_DAYS, keep_days),
    }
    try:
        connection = psycopg.connect(
            conninfo(make_url(dagster_url(settings))), row_factory=dict_row, autocommit=True, connect_timeout=15
        )
    except psycopg.Error as error:
        raise no_connection(error, "Dagster's own storage") from None
    with connection:
        (found,) = connection.execute(
            "select to_regclass('event_logs') is not null and to_regclass('job_ticks') is not null as there"
        ).fetchall()
        if not found["there"]:
            return {}
        (bounds,) = connection.execute("select min(id) - 1 as first, max(id) as last from event_logs").fetchall()
        deleted = {"event_logs": 0}
        for after in range(bounds["first"] or 0, bounds["last"] or 0, events_at_once):
            (piece,) = connection.execute(
                query("prune_dagster_events"),
                {"after": after, "to": after + events_at_once, **times},
            ).fetchall()
            deleted["event_logs"] += piece["deleted"]
        for row in connection.execute(query("prune_dagster_rest"), times).fetchall():
            deleted[row["table"]] = row["deleted"]
        return deleted
