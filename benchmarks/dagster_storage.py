"""What Dagster's own storage takes after thirty days of ticks of 1,000 organisations in 64 cells, pruned every day.

    python -m benchmarks.dagster_storage [--organizations 1000] [--cells 64] [--days 30] [--json FILE]

One run of each job is real: the project's definitions on its instance, executed in this process, written by its own event log into
PostgreSQL; so is a tick of each schedule and sensor. Each day is then made of copies of their rows, as many as the day has runs and
ticks, with ids, moments and partitions of their own, one hour after the other: half-hourly work of a year fits into minutes. At the
end of each day maintenance prunes as of that day's morning, ticks go as Dagster's daemon lets them go, and tables are analysed and vacuumed,
as autovacuum would. Counted is all of schema dagster: rows, indexes, TOAST, free room within.

(What the daemon and a process for each run add to a run, six events of the size of an engine's, is written to each real run before.)
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg.sql
from dagster._core.scheduler.instigation import InstigatorType, TickData, TickStatus
from rich.table import Table

from analytics_assets.commands.storage import size
from analytics_assets.database import connect
from analytics_assets.instance import sync_organizations
from analytics_assets.migrations import migrate
from analytics_assets.operations.pruning import prune_dagster
from analytics_assets.operations.stale import HOUR_ASSETS
from analytics_assets.partition_keys import DAY_FORMAT, HOUR_FORMAT, day_key, hour_key, range_tags
from analytics_assets.settings import PROJECT_ROOT, Settings
from analytics_assets.sql import query
from benchmarks.command import FAILURES, Command, Goal, WrongResult
from benchmarks.dagster_statements import COPY, ORGANIZATIONS, PARTITIONS, PLAN, SIZES, TEMPLATES
from benchmarks.server import Connection, database_url, throw_away_database, throw_away_settings

_GOAL = 1 << 30
#: Runs a day. (Sources are due every quarter of an hour.)
_RUNS = {
    "hourly_tick": 24,
    "daily_tick": 24,
    "live_sessions": 288,
    "source_sync": 96,
    "registry_tick": 24,
    "maintenance": 1,
    "restatement": 1,
}
#: Ticks a day, and how many of them request a run.
_TICKS = {
    "source_freshness": (InstigatorType.SENSOR, 2880, 96), "stale_partitions": (InstigatorType.SENSOR, 2880, 0),
    "operator_alerts": (InstigatorType.SENSOR, 1440, 0), "organization_keys": (InstigatorType.SENSOR, 1440, 0),
    "hourly_tick_schedule": (InstigatorType.SCHEDULE, 24, 24), "daily_tick_schedule": (InstigatorType.SCHEDULE, 24, 24),
    "live_sessions_schedule": (InstigatorType.SCHEDULE, 288, 288), "registry_tick_schedule": (InstigatorType.SCHEDULE, 24, 24),
    "maintenance_schedule": (InstigatorType.SCHEDULE, 1, 1), "restatement_schedule": (InstigatorType.SCHEDULE, 1, 1),
}  # fmt: skip
_DAEMON_EVENTS = 6
_TABLES = ("event_logs", "asset_event_tags", "asset_check_executions", "runs", "run_tags", "job_ticks")


def _run(connection: Connection, statement: str, **parameters: Any) -> None:
    connection.execute(psycopg.sql.SQL(statement), parameters or None)


def _real_runs(connection: Connection, command: Command, now: datetime) -> None:
    """One run of each job and one tick of each schedule and sensor, as they are written."""
    from analytics_assets.definitions import defs

    with dg.DagsterInstance.get() as instance:
        keys = sync_organizations(instance)
        hour, today = now - timedelta(hours=2), now.replace(hour=0)
        ranges = {
            "hourly_tick": range_tags(hour_key(hour, keys[0]), hour_key(hour, keys[-1])),
            "daily_tick": range_tags(day_key(today - timedelta(days=1), keys[0]), day_key(today, keys[-1])),
        }
        for name in _RUNS:
            result = defs.resolve_job_def(name).execute_in_process(
                instance=instance,
                tags={**ranges.get(name, {}), "dagster/run_key": f"{name}-{now:%Y%m%d%H}", "analytics/requested_by": name},
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                raise_on_error=False,
            )
            if not result.success:
                raise WrongResult(f"the run of {name} failed: {result.run_id}")
            run = instance.get_run_by_id(result.run_id)
            for _ in range(_DAEMON_EVENTS):
                instance.report_engine_event("Started process for run (pid: 12345).", run)
            command.progress(f"{name} has run")
        for name, (kind, _, requesting) in _TICKS.items():
            for status in [TickStatus.SKIPPED] * (kind == InstigatorType.SENSOR) + [TickStatus.SUCCESS] * (requesting > 0):
                requested = status == TickStatus.SUCCESS
                instance.create_tick(
                    TickData(
                        instigator_origin_id=name,
                        instigator_name=name,
                        instigator_type=kind,
                        status=status,
                        timestamp=now.timestamp(),
                        end_timestamp=now.timestamp() + 1,
                        selector_id=name.ljust(40, "0"),
                        run_ids=["00000000-0000-0000-0000-000000000000"] * requested,
                        run_keys=[f"{name}-{now:%Y%m%d%H}"] * requested,
                        skip_reason=None if requested else "none of 4000 sources is due",
                        cursor=now.isoformat(),
                    )
                )


def _live(connection: Connection, settings: Settings, days: int, command: Command) -> tuple[list[int], dict[str, int], int]:
    """Bytes at the end of each day, rows that pruning deleted, partitions that were materialized."""
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    _real_runs(connection, command, now)
    for statement in filter(None, map(str.strip, TEMPLATES.split(";"))):
        _run(connection, statement)
    moved = {
        "hour": (now - timedelta(hours=2)).strftime(HOUR_FORMAT),
        "today": now.strftime(DAY_FORMAT),
        "yesterday": (now - timedelta(days=1)).strftime(DAY_FORMAT),
    }
    ticks = {
        name: {"SKIPPED": count - requesting if kind == InstigatorType.SENSOR else 0, "SUCCESS": requesting}
        for name, (kind, count, requesting) in _TICKS.items()
    }
    parameters = {**moved, "runs": psycopg.types.json.Jsonb(_RUNS), "ticks": psycopg.types.json.Jsonb(ticks)}
    first_day = now.replace(hour=0) - timedelta(days=days)
    sizes: list[int] = []
    deleted: dict[str, int] = {}
    for number in range(days):
        day = first_day + timedelta(days=number)
        (newest,) = connection.execute("select coalesce(max(id), 0) as id from dagster.event_logs").fetchall()
        for statement in filter(None, map(str.strip, PLAN.split(";"))):
            _run(connection, statement, **parameters, day=day.replace(tzinfo=None), first_id=newest["id"])
        for statement in COPY:
            _run(connection, statement, **parameters, day=day.replace(tzinfo=None))
        morning = day + timedelta(days=1, hours=2, minutes=40)
        # As the daemon's purge does it, by dagster.yaml.
        _run(
            connection,
            "delete from dagster.job_ticks where type = 'SENSOR' and"
            " \"timestamp\" < %(at)s::timestamp - case status when 'SKIPPED' then interval '1 day' else interval '14 days' end",
            at=morning.replace(tzinfo=None),
        )
        for table in _TABLES:
            connection.execute(psycopg.sql.SQL("analyze dagster.{}").format(psycopg.sql.Identifier(table)))
        for table, count in prune_dagster(settings, now=morning).items():
            deleted[table] = deleted.get(table, 0) + count
        for table in _TABLES:
            connection.execute(psycopg.sql.SQL("vacuum dagster.{}").format(psycopg.sql.Identifier(table)))
        (total,) = connection.execute(psycopg.sql.SQL("select sum(total) as total from (" + SIZES + ") s")).fetchall()
        sizes.append(int(total["total"]))
        command.progress(f"day {number + 1}: {size(sizes[-1])}")
    (found,) = connection.execute(psycopg.sql.SQL(PARTITIONS)).fetchall()
    return sizes, deleted, int(found["partitions"])


def main(given: list[str] | None = None) -> int:
    """Runs it. Returns the exit status."""
    command = Command("dagster_storage", __doc__)
    command.number("--organizations", 1000)
    command.number("--cells", 64)
    command.number("--days", 30, most=30)
    arguments = command.parse(given)
    try:
        settings = throw_away_settings()
        os.environ["ANALYTICS_HOME"] = str(settings.home)
        os.environ.pop("DAGSTER_DATABASE_URL", None)
        with throw_away_database(settings) as connection, tempfile.TemporaryDirectory(prefix="analytics-bench-") as home:
            os.environ["DATABASE_URL"] = database_url(settings)
            shutil.copy(PROJECT_ROOT / "dagster.yaml", Path(home))
            os.environ["DAGSTER_HOME"] = home
            with connect() as other:
                migrate(other)
            _run(connection, ORGANIZATIONS, organizations=arguments.organizations)
            connection.execute(query("spread_organizations"), {"cells": arguments.cells})
            sizes, deleted, partitions = _live(connection, Settings.load(), arguments.days, command)
            tables = connection.execute(psycopg.sql.SQL(SIZES)).fetchall()
            (keys,) = connection.execute("select count(distinct partition_key) as n from public.organizations").fetchall()
    except FAILURES as error:
        return command.fail(error)
    wanted = keys["n"] * arguments.days * 24 * len(HOUR_ASSETS)
    goal = Goal("", size(sizes[-1]), f"< {size(_GOAL)}", sizes[-1] < _GOAL)
    table = Table(
        title=f"Dagster's storage after {arguments.days} days of {arguments.organizations:,} organisations in {arguments.cells} cells",
        caption=f"{deleted.get('event_logs', 0):,} events pruned on the way; the newest materialization of {partitions:,} partitions is there,"
        f" {wanted:,} of them of hours",
        title_justify="left",
        caption_justify="left",
    )
    for name in ("", "total", "of it indexes", "rows", "goal", "met"):
        table.add_column(name, justify="left" if name in ("", "met") else "right")
    for row in tables:
        if row["total"] >= 1 << 20:
            table.add_row(row["table"], size(row["total"]), size(row["indexes"]), f"{row['rows']:,}", "", "")
    table.add_section()
    table.add_row("all of it", goal.figure, "", "", *goal.cells())
    command.finish(arguments, table, {"days": sizes, "deleted": deleted, "partitions": partitions})
    if partitions < wanted:
        return command.fail(WrongResult(f"{wanted - partitions} partitions of hours have lost their newest materialization"))
    return 0 if goal.met else 1


if __name__ == "__main__":
    sys.exit(main())
