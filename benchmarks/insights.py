"""What an hour's tick of insights costs: reading the series, scoring them, storing what departs.

    python -m benchmarks.insights [--organizations 1000] [--days 28] [--json FILE]

Thirty hourly series an organisation, seasonal and noisy, made by the server; the newest hour is open, as at a tick. Goal: 30,000
series x 28 days, with the writes, within 60 s on 2 cores. The server's reading is measured by itself and is part of finding too.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from analytics_assets.database import connect
from analytics_assets.insights.finding import find, window_of
from analytics_assets.insights.series import METRICS
from analytics_assets.migrations import migrate
from analytics_assets.resources import Database
from analytics_assets.sql import query
from benchmarks.command import FAILURES, Command, Goal, WrongResult, cost_table
from benchmarks.server import Connection, Cost, Meter, database_url, throw_away_database, throw_away_settings

_SERIES = 30
_GOAL = 60.0
_ORGANIZATIONS = """
insert into public.organizations (slug, name, time_zone, currency)
select 'shop-' || n, 'shop', 'UTC', 'EUR' from generate_series(1, %(organizations)s) n"""
_PARTITIONS = """
select private.ensure_partitions('hourly_facts', %(start)s, %(end)s), private.ensure_partitions('partition_ledger', %(start)s, %(end)s)"""
# Channels in turn, so that thirty series come of the metrics that are looked at.
_FACTS = """
insert into public.hourly_facts (organization_id, "timestamp", metric_id, channel_id, value)
select o.id, h, s.metric_id, s.channel_id,
       greatest(0, round(60 * (1 + 0.6 * cos(extract(hour from h) / 24 * 6.283)) + 15 * (random() + random() + random() - 1.5)))
from public.organizations o
cross join generate_series(%(start)s::timestamptz, %(end)s::timestamptz - interval '1 hour', interval '1 hour') h
cross join (
    select m.metric_id, c.channel_id from public.metrics m cross join public.channels c
    where m.metric = any (%(metrics)s) and c.channel in ('google_analytics', 'events')
    order by c.channel_id, m.metric_id limit %(series)s
) s"""
_COMPUTED = """
insert into public.partition_ledger (organization_id, asset, bucket, status, input_version, computed_version, computed_at)
select o.id, 'hourly_aggregates', h, 'done', 1, 1, now()
from public.organizations o
cross join generate_series(%(start)s::timestamptz, %(end)s::timestamptz - interval '1 hour', interval '1 hour') h"""


def _measure(connection: Connection, organizations: int, days: int, command: Command) -> tuple[dict[str, Cost], int]:
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    start = end - timedelta(days=days)
    parameters = {
        "organizations": organizations,
        "start": start,
        "end": end,
        "metrics": list(METRICS),
        "series": _SERIES,
    }
    for statement in (_ORGANIZATIONS, _PARTITIONS, _FACTS, _COMPUTED):
        connection.execute(statement, parameters)
    connection.execute("analyze")
    command.progress(f"{organizations * _SERIES:,} series of {days} days are there")
    ids = [row["id"] for row in connection.execute("select id from public.organizations")]
    meter, first = Meter(connection), end - timedelta(hours=1)
    window = window_of(first, end, end)
    read = {"ids": ids, "history_from": window.history_from, "until": window.until, "metrics": list(METRICS)}
    rows: list[Any] = []
    costs = {"reading, in the server": meter.measure(lambda: rows.extend(connection.execute(query("read_insight_series"), read)))}
    if len(rows) != organizations * _SERIES:
        raise WrongResult(f"{len(rows)} series were read, {organizations * _SERIES} are there")
    rows.clear()
    cpu, wall = time.process_time(), time.perf_counter()
    found = find(Database(), ids, first, end, end)
    costs["finding: read and scored"] = Cost(time.process_time() - cpu, time.perf_counter() - wall, 0)
    command.progress("found")
    store = {"ids": ids, "start": first, "end": end, "run_id": None, **found}
    stored: list[Any] = []
    costs["storing"] = meter.measure(lambda: stored.extend(connection.execute(query("store_insights"), store)))
    if len(stored) != organizations:
        raise WrongResult(f"{len(stored)} organisations were closed, {organizations} are there")
    return costs, sum(row["insights_new"] for row in stored)


def main(given: list[str] | None = None) -> int:
    """Runs it. Returns the exit status."""
    command = Command("insights", __doc__)
    command.number("--organizations", 1000)
    command.number("--days", 28)
    arguments = command.parse(given)
    try:
        settings = throw_away_settings()
        os.environ["ANALYTICS_HOME"] = str(settings.home)
        with throw_away_database(settings) as connection:
            os.environ["DATABASE_URL"] = database_url(settings)
            with connect() as other:
                migrate(other)
            costs, new = _measure(connection, arguments.organizations, arguments.days, command)
    except FAILURES as error:
        return command.fail(error)
    series = arguments.organizations * _SERIES
    tick = costs["finding: read and scored"].wall + costs["storing"].wall
    goal = _GOAL * series * arguments.days / (30_000 * 28)
    goals = [
        Goal("a tick with its writes", f"{tick:.1f} s", f"<= {goal:.1f} s", tick <= goal),
        Goal("time per series", f"{1000 * tick / series:.2f} ms", "", True),
        Goal("new insights", f"{new}", "", True),
    ]
    title = f"insights of {series:,} series x {arguments.days} days"
    table = cost_table(title, "goal: 60 s for 30,000 series x 28 days on 2 cores, by the clock", costs, goals)
    command.finish(arguments, table, {name: {"cpu": cost.cpu, "wall": cost.wall} for name, cost in costs.items()})
    return 0 if all(one.met for one in goals) else 1


if __name__ == "__main__":
    sys.exit(main())
