"""Partitions made ahead, closed days put in order, and dropped at the end of retention."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
from psycopg.types.json import Jsonb

from analytics_assets.operations.pruning import prune_dagster
from analytics_assets.raw.page_archive import ArchiveError, write
from analytics_assets.resources import Database
from analytics_assets.settings import Settings
from analytics_assets.sql import query

_ROWS_AT_ONCE = 20_000
# Of these, days of an organisation.
_PIECES = {"hourly": 500, "events": 50}


def maintain(database: Database, settings: Settings) -> list[dict[str, Any]]:
    """Does the day's maintenance; each step commits by itself. Returns (table, action, partition, reason) rows.

    A partition whose data a later layer has not taken in stays, and says why.
    """
    keep_raw_from = datetime.now(UTC) - timedelta(days=settings.keep_raw_days)
    archived, archive_rows = _archive_raw(database, settings, keep_raw_from)
    steps: tuple[tuple[str, dict[str, Any]], ...] = (
        ("maintain_make_ahead", {}),
        ("maintain_close_hours", {}),
        ("maintain_drop_hours", {"keep_from": settings.keep_hourly_from()}),
        ("maintain_drop_days", {"keep_from": settings.keep_daily_from()}),
        ("maintain_drop_raw", {"keep_from": keep_raw_from, "archived": None if archived is None else Jsonb(archived)}),
        ("maintain_drop_logs", {"keep_from": datetime.now(UTC) - timedelta(days=settings.keep_logs_days)}),
        ("maintain_drop_events", {"keep_from": datetime.now(UTC) - timedelta(days=settings.keep_events_days)}),
    )
    rows = [row for name, parameters in steps for row in database.rows(query(name), parameters)]
    rows += archive_rows
    rows += [row for layer in settings.keep_days for row in _delete_rows(database, settings, layer)]
    pruned = prune_dagster(settings)
    return rows + [
        {"table": f"dagster.{table}", "action": "deleted", "partition": f"{count} rows", "reason": None}
        for table, count in pruned.items()
        if count
    ]


def _archive_raw(
    database: Database, settings: Settings, keep_from: datetime
) -> tuple[dict[str, int] | None, list[dict[str, Any]]]:
    """Pages by partition that are in the archive and may go (None without an archive), and what to say of it."""
    if settings.raw_archive is None:
        return None, []
    archived: dict[str, int] = {}
    said: list[dict[str, Any]] = []
    with database.connection() as connection:
        due = connection.execute(query("raw_partitions_due"), {"keep_from": keep_from}).fetchall()
    for part in due:
        try:
            with database.connection() as connection:
                archived[part["partition"]] = write(connection, settings.raw_archive, part)
            action, reason = "archived", f"{archived[part['partition']]} pages"
        except ArchiveError as error:
            action, reason = "not archived", str(error)
        said.append({"table": "raw_data_backup", "action": action, "partition": part["partition"], "reason": reason})
    return archived, said


def _delete_rows(database: Database, settings: Settings, layer: str) -> list[dict[str, Any]]:
    """Deletes piece by piece what organisations do not keep as long as the deployment, until nothing is left to delete."""
    lost: dict[str, int] = defaultdict(int)
    parameters = {"layer": layer, "default_days": settings.keep_days[layer], "most": _PIECES.get(layer, _ROWS_AT_ONCE)}
    while piece := database.rows(query("maintain_delete_rows"), parameters):
        for row in piece:
            lost[row["organization"]] += row["deleted"]
    return [
        {"table": layer, "action": "deleted", "partition": f"{count} rows of {slug}", "reason": None}
        for slug, count in sorted(lost.items())
    ]


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
