"""What a day of insights by rules costs: reading the series, judging them, storing what is found.

    python -m benchmarks.rule_insights [--organizations 1000] [--json FILE]

Thirty daily series, a funnel of four steps and weekly cohorts an organisation, noisy and without a trend; yesterday is open. Goal, as
of the hour's tick: 30,000 series with the writes within 60 s on 2 cores. Of what is found without any effect, the share of
organisations with a new insight is shown.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from analytics_assets.database import connect
from analytics_assets.insights.rules.finding import find, window_of
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
select private.ensure_partitions('daily_facts', %(start)s, %(end)s), private.ensure_partitions('partition_ledger', %(start)s, %(end)s)"""
_FACTS = """
insert into public.daily_facts (organization_id, date, metric_id, channel_id, value)
select o.id, d::date, s.metric_id, s.channel_id, greatest(1, round(300 + 60 * (random() + random() + random() - 1.5)))
from public.organizations o
cross join generate_series(%(start)s::timestamptz, %(end)s::timestamptz - interval '1 day', interval '1 day') d
cross join (
    select m.metric_id, c.channel_id from public.metrics m cross join public.channels c
    where m.metric = any (%(metrics)s) and c.channel in ('google_analytics', 'events')
    order by c.channel_id, m.metric_id limit %(series)s
) s"""
_FUNNELS = """
insert into public.funnels (organization_id, funnel_name, version, unit, window_seconds, steps)
select o.id, 'shop', 1, 'session', 86400, '[{"name": "a", "event": "A"}, {"name": "b", "event": "B"}]' from public.organizations o"""
_STEPS = """
insert into public.funnel_analysis (organization_id, funnel_name, date, step_order, step_name, visitors, conversions, version, is_final)
select o.id, 'shop', d::date, s, 'step ' || s, 1200 / s, (1200 / s * (0.5 + 0.03 * random()))::integer, 1, true
from public.organizations o
cross join generate_series(%(start)s::timestamptz, %(end)s::timestamptz - interval '1 day', interval '1 day') d
cross join generate_series(1, 4) s"""
_COHORTS = """
insert into public.cohort_analysis (organization_id, cohort_type, period_type, cohort_date, period_number, cohort_size, active_users, is_complete)
select o.id, 'first_purchase', 'week', w::date, k, 400, 60 + (15 * random())::integer, w + (k + 1) * interval '7 days' <= %(end)s
from public.organizations o
cross join generate_series(date_trunc('week', %(start)s::timestamptz), %(end)s, interval '7 days') w
cross join generate_series(0, 8) k
where w + k * interval '7 days' < %(end)s"""
_COMPUTED = """
insert into public.partition_ledger (organization_id, asset, bucket, status, input_version, computed_version, computed_at)
select o.id, 'daily_aggregates', d, 'done', 1, 1, now()
from public.organizations o
cross join generate_series(%(start)s::timestamptz, %(end)s::timestamptz - interval '1 day', interval '1 day') d"""


def _measure(connection: Connection, organizations: int, command: Command) -> tuple[dict[str, Cost], int]:
    now = datetime.now(UTC)
    end = now.replace(hour=0, minute=0, second=0, microsecond=0)
    yesterday = end - timedelta(days=1)
    window = window_of(yesterday.date(), end.date(), now)
    parameters = {
        "organizations": organizations,
        "start": datetime.combine(window.history_from, datetime.min.time(), UTC),
        "end": end,
        "metrics": list(METRICS),
        "series": _SERIES,
    }
    for statement in (_ORGANIZATIONS, _PARTITIONS, _FACTS, _FUNNELS, _STEPS, _COHORTS, _COMPUTED):
        connection.execute(statement, parameters)
    connection.execute("analyze")
    command.progress(f"{organizations * _SERIES:,} series of {(window.until - window.history_from).days} days are there")
    ids = [row["id"] for row in connection.execute("select id from public.organizations")]
    meter = Meter(connection)
    read = {"ids": ids, "history_from": window.history_from, "until": window.until, "metrics": list(METRICS)}
    rows: list[Any] = []
    costs = {"reading, in the server": meter.measure(lambda: rows.extend(connection.execute(query("read_rule_series"), read)))}
    if sum(row["family"] == "daily" for row in rows) != organizations * _SERIES:
        raise WrongResult(f"{len(rows)} series were read, {organizations * _SERIES} of days are there")
    rows.clear()
    cpu, wall = time.process_time(), time.perf_counter()
    found = find(Database(), ids, yesterday, end, now)
    costs["finding: read and judged"] = Cost(time.process_time() - cpu, time.perf_counter() - wall, 0)
    command.progress("found")
    store = {"ids": ids, "start": yesterday, "end": end, "run_id": None, **found}
    stored: list[Any] = []
    costs["storing"] = meter.measure(lambda: stored.extend(connection.execute(query("store_rule_insights"), store)))
    if len(stored) != organizations:
        raise WrongResult(f"{len(stored)} organisations were closed, {organizations} are there")
    return costs, sum(row["insights_new"] for row in stored)


def main(given: list[str] | None = None) -> int:
    """Runs it. Returns the exit status."""
    command = Command("rule insights", __doc__)
    command.number("--organizations", 1000)
    arguments = command.parse(given)
    try:
        settings = throw_away_settings()
        os.environ["ANALYTICS_HOME"] = str(settings.home)
        with throw_away_database(settings) as connection:
            os.environ["DATABASE_URL"] = database_url(settings)
            with connect() as other:
                migrate(other)
            costs, new = _measure(connection, arguments.organizations, command)
    except FAILURES as error:
        return command.fail(error)
    series = arguments.organizations * _SERIES
    tick = costs["finding: read and judged"].wall + costs["storing"].wall
    goal = _GOAL * series / 30_000
    goals = [
        Goal("a day with its writes", f"{tick:.1f} s", f"<= {goal:.1f} s", tick <= goal),
        Goal("time per series", f"{1000 * tick / series:.2f} ms", "", True),
        Goal("new insights in eleven weeks of nothing", f"{new}", "", True),
    ]
    title = f"insights by rules of {series:,} daily series"
    table = cost_table(title, "goal: 60 s for 30,000 series on 2 cores, by the clock", costs, goals)
    command.finish(arguments, table, {name: {"cpu": cost.cpu, "wall": cost.wall} for name, cost in costs.items()})
    return 0 if all(one.met for one in goals) else 1


if __name__ == "__main__":
    sys.exit(main())
