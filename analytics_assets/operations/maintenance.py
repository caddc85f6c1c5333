"""Partitions made ahead, closed days put in order, and dropped at the end of retention."""

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from analytics_assets.database import Database
from analytics_assets.settings import Settings
from analytics_assets.sql import query


def maintain(database: Database, settings: Settings) -> list[dict[str, Any]]:
    """Does the day's maintenance; each step commits by itself. Returns (table, action, partition, reason) rows.

    A partition whose data a later layer has not taken in stays, and says why.
    """
    steps: tuple[tuple[str, dict[str, Any]], ...] = (
        ("maintain_make_ahead", {}),
        ("maintain_close_hours", {}),
        ("maintain_drop_hours", {"keep_from": settings.keep_hourly_from()}),
        ("maintain_drop_days", {"keep_from": settings.keep_daily_from()}),
        ("maintain_drop_raw", {"keep_from": datetime.now(UTC) - timedelta(days=settings.keep_raw_days)}),
        ("maintain_drop_events", {"keep_from": datetime.now(UTC) - timedelta(days=settings.keep_events_days)}),
    )
    return [row for name, parameters in steps for row in database.rows(query(name), parameters)]


@dg.op(description="Makes partitions ahead, closes past days, drops what is past its retention.")
def maintain_partitions(context: dg.OpExecutionContext, database: Database) -> None:
    """Logs every partition that was touched, and every one that should have gone and stays."""
    rows = maintain(database, Settings.load())
    for row in rows:
        context.log.info(
            "%s: %s %s%s", row["table"], row["partition"], row["action"], f" ({row['reason']})" if row["reason"] else ""
        )
    context.log.info("%s partitions touched", len(rows))


@dg.job(
    executor_def=dg.in_process_executor,
    description="Daily: partitions made ahead, closed days clustered, those past retention dropped once rolled up.",
)
def maintenance() -> None:
    """The day's maintenance."""
    maintain_partitions()


maintenance_schedule = dg.ScheduleDefinition(
    job=maintenance,
    cron_schedule="40 2 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Twenty to three in the morning, UTC.",
)
