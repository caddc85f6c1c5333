"""What it costs that a month leaves: whole partitions of hours, days, raw pages, events and logs, with all that is asked before.

    python -m benchmarks.retention [--organizations 1000] [--metrics 10] [--pages 8] [--events 300000] [--json FILE]

A month that is long past, made by the server alone: hours of so many metrics of every organisation and what they are made of, days, as many
raw pages a day, tracked events of all of them, logs of a sync a day; computed, by the ledger. Then the statements of the daily
maintenance drop it, a month at once: they look whether a later layer has everything, drop the partitions, and delete what the
ledger and the digests say of them. Seconds are CPU of the backend. Beside it: the same rows of hours deleted.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg.sql

from analytics_assets.migrations import migrate
from analytics_assets.sql import query
from benchmarks.command import FAILURES, Command, Goal, WrongResult, cost_table
from benchmarks.server import Connection, Cost, Meter, throw_away_database

_GOAL = 1.0
_FILL = (
    """insert into public.organizations (id, slug, name, time_zone)
select md5('organisation ' || i)::uuid, 'organisation-' || i, 'Organisation ' || i,
       (array['UTC', 'Europe/Berlin', 'America/New_York', 'Asia/Kolkata'])[1 + i %% 4]
from generate_series(1, %(organizations)s) i""",
    """select private.ensure_partitions(s.parent, %(start)s, %(end)s) from private.partition_steps s
where s.parent in ('hourly_facts', 'metric_observations', 'daily_facts', 'daily_observations', 'raw_data_backup', 'event_tracking',
                   'visitor_sessions', 'sync_logs')""",
    "select private.ensure_partitions('partition_ledger', %(start)s::timestamptz - interval '2 days', %(end)s::timestamptz + interval '2 days')",
    """insert into public.hourly_facts (organization_id, "timestamp", metric_id, channel_id, value)
select o.id, h.at, m.metric_id, 1, (extract(epoch from h.at)::bigint / 3600 * m.metric_id) %% 9973
from generate_series(%(start)s, %(end)s::timestamptz - interval '1 hour', interval '1 hour') as h (at)
cross join public.organizations o
cross join (select metric_id from public.metrics where hourly and kind = 'sum' order by 1 limit %(metrics)s) m""",
    """insert into public.metric_observations (organization_id, bucket_at, data_source_id, metric_id, channel_id, value)
select f.organization_id, f."timestamp", f.organization_id, f.metric_id, f.channel_id, f.value from public.hourly_facts f
order by f."timestamp" """,
    """insert into public.daily_facts (organization_id, date, metric_id, channel_id, value)
select o.id, d.at::date, m.metric_id, 1, 240
from generate_series(%(start)s, %(end)s::timestamptz - interval '1 day', interval '1 day') as d (at)
cross join public.organizations o
cross join (select metric_id from public.metrics where hourly and kind = 'sum' order by 1 limit %(metrics)s) m""",
    """insert into public.raw_data_backup (organization_id, fetched_at, window_start, window_end, data_source_id, processed, source, stream,
    content_sha256, raw_data)
select o.id, p.at, p.at - interval '1 hour', p.at, o.id, true, 'woocommerce', 'orders', sha256(convert_to(o.id || ' ' || p.at, 'UTF8')),
       jsonb_build_array(jsonb_build_object('id', extract(epoch from p.at), 'total', '19.99', 'currency', 'EUR', 'note', repeat(md5(o.id::text), 24)))
from generate_series(%(start)s, %(end)s::timestamptz - interval '1 minute', interval '1 day' / %(pages)s) as p (at)
cross join public.organizations o""",
    """insert into public.raw_page_digests (organization_id, source, stream, content_sha256, data_source_id, first_fetched_at, last_fetched_at)
select p.organization_id, p.source, p.stream, p.content_sha256, p.data_source_id, p.fetched_at, p.fetched_at
from public.raw_data_backup p""",
    """insert into public.event_tracking (organization_id, "timestamp", id, session_id, visitor_id, event_name)
select md5('organisation ' || 1 + i %% %(organizations)s)::uuid,
       %(start)s + (%(end)s::timestamptz - %(start)s) * i / %(events)s, md5('event ' || i)::uuid, 's' || i / 10, 'v' || i / 30, 'Product Viewed'
from generate_series(0, %(events)s - 1) i""",
    """insert into public.event_messages (organization_id, id)
select e.organization_id, e.id from public.event_tracking e""",
    """insert into public.visitor_sessions (organization_id, visitor_id, session_id, started_at, last_activity, events, page_views, is_own)
select e.organization_id, e.visitor_id, e.session_id, min(e."timestamp"), max(e."timestamp"), count(*), 0, false
from public.event_tracking e group by 1, 2, 3""",
    """insert into public.sync_logs (organization_id, started_at, data_source_id, sync_type, status)
select o.id, d.at, o.id, 'incremental', 'completed'
from generate_series(%(start)s, %(end)s::timestamptz - interval '1 day', interval '1 day') as d (at) cross join public.organizations o""",
    """insert into public.partition_ledger (organization_id, asset, bucket, status, computed_version, computed_at, row_count)
select o.id, a.asset, h.at, 'done', 1, now(), 10
from generate_series(%(start)s::timestamptz - interval '1 hour', %(end)s::timestamptz - interval '1 hour', interval '1 hour') as h (at)
cross join public.organizations o cross join (values ('hourly_aggregates'), ('event_tracking'), ('orders')) as a (asset)""",
    """insert into public.partition_ledger (organization_id, asset, bucket, status, computed_version, computed_at, row_count)
select o.id, 'daily_aggregates', d.at, 'done', 1, now(), 10
from generate_series(%(start)s::timestamptz - interval '1 day', %(end)s::timestamptz + interval '1 day', interval '1 day') as d (at)
cross join public.organizations o""",
)
#: What leaves, in the order of the daily maintenance: query, tables that are empty afterwards.
_LAYERS = {
    "hours and observations": ("maintain_drop_hours", ("hourly_facts", "metric_observations")),
    "days": ("maintain_drop_days", ("daily_facts",)),
    "raw pages": ("maintain_drop_raw", ("raw_data_backup", "raw_page_digests")),
    "logs": ("maintain_drop_logs", ("sync_logs",)),
    "events and sessions": ("maintain_drop_events", ("event_tracking", "visitor_sessions", "event_messages")),
}


def _count(connection: Connection, table: str) -> int:
    statement = psycopg.sql.SQL("select count(*) as n from public.{}").format(psycopg.sql.Identifier(table))
    (row,) = connection.execute(statement).fetchall()
    return int(row["n"])


def _measure(connection: Connection, command: Command, sizes: dict[str, int]) -> tuple[dict[str, Cost], dict[str, int]]:
    """Costs of what leaves by layer, and rows of each before."""
    now = datetime.now(UTC)
    end = (now.replace(day=1, hour=0, minute=0, second=0, microsecond=0) - timedelta(days=65)).replace(day=1)
    start = (end - timedelta(days=1)).replace(day=1)
    parameters: dict[str, Any] = {**sizes, "start": start, "end": end}
    for statement in _FILL:
        connection.execute(psycopg.sql.SQL(statement), parameters)
    connection.execute("vacuum (analyze)")
    command.progress(f"{start:%B %Y} is there")
    meter = Meter(connection)
    costs: dict[str, Cost] = {}
    rows = {name: sum(_count(connection, table) for table in tables) for name, (_, tables) in _LAYERS.items()}
    deleting: list[Cost] = []
    with connection.transaction(force_rollback=True):
        deleting.append(meter.measure(lambda: connection.execute("delete from public.hourly_facts")))
    costs["hours alone, deleted row by row"] = deleting[0]
    rows["hours alone, deleted row by row"] = _count(connection, "hourly_facts")
    for name, (statement_name, tables) in _LAYERS.items():
        given = {"keep_from": end.date() if name == "days" else end, "archived": None}
        told: list[dict[str, Any]] = []
        costs[name] = meter.measure(
            lambda s=statement_name, g=given, t=told: t.extend(connection.execute(query(s), g).fetchall())  # type: ignore[misc]
        )
        stays = [row for row in told if row["action"] != "dropped"]
        left = {table: _count(connection, table) for table in tables}
        if stays or not told or any(left.values()):
            raise WrongResult(f"{name}: {stays[:3]} of {len(told)} partitions stay, rows left: {left}")
        command.progress(f"{name}: {len(told)} partitions dropped")
    return costs, rows


def main(given: list[str] | None = None) -> int:
    """Runs it. Returns the exit status."""
    command = Command("retention", __doc__)
    command.number("--organizations", 1000)
    command.number("--metrics", 10, most=30)
    command.number("--pages", 8, most=96)
    command.number("--events", 300_000)
    arguments = command.parse(given)
    sizes = {name: getattr(arguments, name) for name in ("organizations", "metrics", "pages", "events")}
    try:
        with throw_away_database() as connection:
            migrate(connection)
            costs, rows = _measure(connection, command, sizes)
    except FAILURES as error:
        return command.fail(error)
    goals = [
        Goal(f"{name}: {rows[name]:,} rows", f"{costs[name].seconds:.2f} s", f"< {_GOAL:.0f} s", costs[name].seconds < _GOAL)
        for name in _LAYERS
    ]
    table = cost_table(
        f"a month of {arguments.organizations:,} organisations leaves",
        "CPU of the backend",
        costs,
        goals,
        {"log MB": lambda cost: f"{cost.wal / 1e6:,.1f}"},
    )
    command.finish(
        arguments, table, {name: {"seconds": cost.seconds, "wal": cost.wal, "rows": rows[name]} for name, cost in costs.items()}
    )
    return 0 if all(goal.met for goal in goals) else 1


if __name__ == "__main__":
    sys.exit(main())
