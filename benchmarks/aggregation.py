"""Aggregation of a day by hour: ours against the plan's way, a pandas round trip and the bare GROUP BY.

    python -m benchmarks.aggregation [--organizations 1000] [--metrics 30] [--observations 4] [--json FILE]

Runs on a database of its own: on the server of DATABASE_URL, or on an embedded server in a temporary folder.
What counts are CPU seconds of the backend, the least of a few rounds, each from a fresh state and without
parallel workers (what they spend would not show). Exits with 0 also where a goal is missed, 1 where it could
not run or a result is wrong, 2 on a usage error. The goals are meant for the size that it has by default: of
a small one too little is spent to be counted in hundredths of a second.
"""

from __future__ import annotations

import argparse
import io
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import psycopg
import psycopg.sql
from rich.table import Table

from analytics_assets.migrations import migrate
from benchmarks.command import FAILURES, Command, Goal, WrongResult, cost_table
from benchmarks.server import Connection, Cost, Meter, best, throw_away_database

_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)

_FILL_ORGANIZATIONS = """
insert into public.organizations (id, slug, name, time_zone)
select md5('organisation ' || i)::uuid, 'organisation-' || i, 'Organisation ' || i,
       (array['UTC', 'Europe/Berlin', 'America/New_York', 'Asia/Ho_Chi_Minh', 'Asia/Kolkata',
              'Australia/Adelaide', 'Asia/Kathmandu', 'America/Los_Angeles'])[1 + i %% 8]
from generate_series(1, %(organizations)s) i
"""
# Hour by hour, as it comes in. The values are the same at every run.
_FILL_OBSERVATIONS = """
insert into public.metric_observations
    (organization_id, bucket_at, data_source_id, metric_id, channel_id, value)
select md5('organisation ' || i)::uuid, %(day)s + h * interval '1 hour', md5('source ' || s)::uuid,
       m.metric_id, 1,
       ((i * 7919::bigint + h * 104729 + m.metric_id * 1299709 + s * 15485863) %% 100003)::numeric / 100
from generate_series(0, 23) h, generate_series(1, %(organizations)s) i,
     (select metric_id from public.metrics where hourly and kind = 'sum' order by 1 limit %(metrics)s) m,
     generate_series(1, %(observations)s) s
"""
_CHANGE_ONE_PERCENT = """
update public.metric_observations set value = value + 1
where bucket_at >= %(day)s and bucket_at < %(day)s + interval '1 day'
  and (metric_id * 31 + extract(hour from bucket_at)::integer * 7 + get_byte(uuid_send(organization_id), 0)
       + get_byte(uuid_send(data_source_id), 0)) %% 100 = 0
"""
_OURS = "select * from public.aggregate_hourly_data(%(ids)s, %(from_time)s, %(to_time)s)"
_BARE = """
select count(*), sum(value)
from (select organization_id, metric_id, channel_id, bucket_at, sum(value) as value
      from public.metric_observations
      where bucket_at >= %(day)s and bucket_at < %(day)s + interval '1 day'
      group by 1, 2, 3, 4) s
"""
_BARE_PLANS = {
    "along the key (as our functions set it)": """
        select set_config('enable_hashagg', 'off', false), set_config('jit', 'off', false)""",
    "hashed": """
        select set_config('enable_sort', 'off', false), set_config('enable_indexscan', 'off', false),
               set_config('jit', 'off', false), set_config('work_mem', '256MB', false)""",
}
# Their seconds would not show in the backend's.
_NO_WORKERS = """
select set_config('max_parallel_workers_per_gather', '0', false),
       set_config('max_parallel_maintenance_workers', '0', false), set_config('timezone', 'UTC', false)
"""
_BARE_INSERT = """
insert into bench.lean (organization_id, metric_id, channel_id, "timestamp", value)
select organization_id, metric_id, channel_id, bucket_at, sum(value)
from public.metric_observations
where bucket_at >= %(day)s and bucket_at < %(day)s + interval '1 day'
group by 1, 2, 3, 4
"""
_MAKE_LEAN = """
drop table if exists bench.lean;
create table bench.lean (like public.hourly_facts including defaults);
alter table bench.lean add primary key (organization_id, metric_id, channel_id, "timestamp")
"""
# The plan's table and function. Put right: no partition of an unpartitioned table, the unique key that its
# ON CONFLICT needs, numeric without a scale, the sum in place of the average, the hour of the event in place
# of that of the fetch.
_MAKE_PLAN = """
drop table if exists bench.hourly_aggregates;
create table bench.hourly_aggregates (
    id uuid primary key default gen_random_uuid(),
    organization_id uuid not null references public.organizations (id) on delete cascade,
    channel varchar(50) not null,
    metric varchar(100) not null,
    value numeric not null,
    timestamp timestamp with time zone not null,
    metadata jsonb default '{}',
    created_at timestamp with time zone default now(),
    updated_at timestamp with time zone default now(),
    unique (organization_id, channel, metric, timestamp)
);
create index on bench.hourly_aggregates (organization_id, timestamp);
create index on bench.hourly_aggregates (channel, metric);
create index on bench.hourly_aggregates (timestamp);
create or replace function bench.aggregate_hourly_data(
    org_id uuid, from_time timestamptz, to_time timestamptz) returns void
language plpgsql as $$
begin
    insert into bench.hourly_aggregates (organization_id, channel, metric, value, timestamp)
    select o.organization_id, c.channel, m.metric, sum(o.value), date_trunc('hour', o.bucket_at)
    from public.metric_observations o
    join public.channels c using (channel_id)
    join public.metrics m using (metric_id)
    where o.organization_id = org_id and o.bucket_at >= from_time and o.bucket_at < to_time
    group by o.organization_id, c.channel, m.metric, date_trunc('hour', o.bucket_at)
    on conflict (organization_id, channel, metric, timestamp)
        do update set value = excluded.value, updated_at = now();
end $$
"""
_PLAN = "select bench.aggregate_hourly_data(%(id)s, %(from_time)s, %(to_time)s)"
_WRONG_ROWS = """
with truth as (
    select organization_id, metric_id, channel_id, bucket_at as "timestamp", sum(value) as value
    from public.metric_observations where bucket_at >= %(day)s and bucket_at < %(day)s + interval '1 day'
    group by 1, 2, 3, 4
), ours as (
    select organization_id, metric_id, channel_id, "timestamp", value from public.hourly_facts
), hours as (
    select organization_id, "timestamp" as bucket, count(*) as row_count from ours group by 1, 2
), ledger as (
    select organization_id, bucket, row_count from public.partition_ledger
    where asset = 'hourly_aggregates' and status = 'done' and computed_version = input_version
)
select (select count(*) from (table truth except table ours) a)
       + (select count(*) from (table ours except table truth) b)
       + (select count(*) from (table hours except table ledger) c) as wrong
"""
_PLAN_WRONG_ROWS = """
select count(*) as wrong
from (select organization_id, metric_id, channel_id, bucket_at as "timestamp", sum(value) as value
      from public.metric_observations where bucket_at >= %(day)s and bucket_at < %(day)s + interval '1 day'
      group by 1, 2, 3, 4) t
full join (select h.*, m.metric_id, c.channel_id from bench.hourly_aggregates h
           join public.metrics m using (metric) join public.channels c using (channel)) p
    using (organization_id, metric_id, channel_id, "timestamp")
where t.value is distinct from p.value
"""
_PANDAS_WRONG_ROWS = """
select count(*) as wrong
from bench.lean l
full join public.hourly_facts h using (organization_id, metric_id, channel_id, "timestamp")
where l.value is distinct from h.value
"""


@dataclass
class Report:
    """What a run found."""

    server: str
    setting: dict[str, Any]
    costs: dict[str, Cost] = field(default_factory=dict)
    notes: dict[str, float] = field(default_factory=dict)
    goals: list[Goal] = field(default_factory=list)


class Benchmark:
    """One run over one database."""

    def __init__(self, connection: Connection, arguments: argparse.Namespace, progress: Callable[[str], None]) -> None:
        self._connection = connection
        self._rounds: int = arguments.rounds
        self._progress = progress
        self._day = datetime.combine(datetime.now(UTC).date() - timedelta(days=10), datetime.min.time(), UTC)
        self._ids: list[Any] = []
        self._meter = Meter(connection)
        self._size = {name: getattr(arguments, name) for name in ("organizations", "metrics", "observations")}
        version = self._number("select current_setting('server_version_num')::integer as n")
        self.report = Report(
            server=f"PostgreSQL {version // 10_000}.{version % 10_000}",
            setting=self._size
            | {
                "rounds": self._rounds,
                "day": self._day.date().isoformat(),
                "cpu": self._meter.sees_cpu,
                "machine": platform.machine(),
                "python": platform.python_version(),
            },
        )

    # What is run

    def _run(self, statement: str, **parameters: Any) -> list[dict[str, Any]]:
        given = {"day": self._day, **parameters} if "%(" in statement else None
        cursor = self._connection.execute(psycopg.sql.SQL(statement), given)
        return cursor.fetchall() if cursor.description else []

    def _number(self, statement: str, **parameters: Any) -> int:
        return int(self._run(statement, **parameters)[0]["n"])

    def _ours(self, from_time: datetime | None = None, to_time: datetime | None = None) -> list[dict[str, Any]]:
        return self._run(_OURS, ids=self._ids, from_time=from_time or self._day, to_time=to_time or self._day + _DAY)

    def _plan(self) -> None:
        for organization_id in self._ids:
            self._run(_PLAN, id=organization_id, from_time=self._day, to_time=self._day + _DAY)

    def _round_trip(self) -> None:
        """The day through pandas: out by COPY, grouped, back by COPY, then an upsert."""
        buffer = io.BytesIO()
        columns = ["organization_id", "metric_id", "channel_id", "bucket_at", "value"]
        with self._connection.cursor() as cursor:
            with cursor.copy(
                "copy (select organization_id, metric_id, channel_id, bucket_at, value"
                " from public.metric_observations where bucket_at >= %s and bucket_at < %s)"
                " to stdout (format csv)",
                (self._day, self._day + _DAY),
            ) as copy:
                for block in copy:
                    buffer.write(block)
            buffer.seek(0)
            frame = pd.read_csv(buffer, names=columns)
            sums = frame.groupby(columns[:-1], as_index=False, sort=False)["value"].sum()
            cursor.execute("create temp table staging (like bench.lean including defaults)")
            with cursor.copy(
                'copy staging (organization_id, metric_id, channel_id, "timestamp", value) from stdin (format csv)'
            ) as copy:
                copy.write(sums.to_csv(header=False, index=False, float_format="%.2f"))
            cursor.execute(
                "insert into bench.lean table staging on conflict (organization_id, metric_id, channel_id,"
                ' "timestamp") do update set value = excluded.value, updated_at = now()'
            )
            cursor.execute("drop table staging")

    # Fresh states

    def _drop_facts(self) -> None:
        for row in self._run("select child from private.list_partitions('hourly_facts')"):
            self._run("select private.drop_partition(%(child)s)", child=row["child"])
        self._run("truncate public.partition_ledger, public.daily_facts")

    def _empty_partition(self) -> None:
        self._drop_facts()
        self._run("select private.ensure_partitions('hourly_facts', %(day)s, %(to_time)s)", to_time=self._day + _DAY)

    def _measure(
        self,
        name: str,
        work: Callable[[], object],
        before: Callable[[], object] = lambda: None,
        again: tuple[str, Callable[[], object]] | None = None,
    ) -> None:
        """The best of the rounds of a piece of work from its fresh state, and of what follows it."""
        costs: dict[str, list[Cost]] = {}
        for number in range(1, self._rounds + 1):
            self._progress(f"{name}, round {number} of {self._rounds}")
            before()
            costs.setdefault(name, []).append(self._meter.measure(work))
            if again:
                costs.setdefault(again[0], []).append(self._meter.measure(again[1]))
        for key, values in costs.items():
            self.report.costs[key] = best(values)

    def _check(self, what: str, statement: str = _WRONG_ROWS) -> None:
        wrong = self._run(statement)[0]["wrong"]
        if wrong:
            raise WrongResult(f"{what}: {wrong} rows are wrong")

    # The parts

    def fill(self) -> None:
        """Organisations, and the observations of one past day."""
        self._progress("migrations")
        migrate(self._connection)
        self._run(_NO_WORKERS)
        self._run("create schema bench")
        self._run(_FILL_ORGANIZATIONS, **self._size)
        self._ids = [row["id"] for row in self._run("select id from public.organizations order by 1")]
        self._run(
            "select private.ensure_partitions('metric_observations', %(day)s, %(to_time)s)",
            to_time=self._day + _DAY,
        )
        self._progress("observations of one day")
        self._run(_FILL_OBSERVATIONS, **self._size)
        self._run("vacuum (analyze) public.metric_observations")
        self._run("vacuum (analyze) public.organizations")
        self.report.notes["observations"] = self._number("select count(*) as n from public.metric_observations")

    def compare(self) -> None:
        """Ours, the bare statements, the plan's way, pandas."""
        day = {"day": self._day}
        self._measure("bare GROUP BY, as the server plans it", lambda: self._run(_BARE, **day))
        for name, statement in _BARE_PLANS.items():
            self._run(statement)
            self._measure(f"bare GROUP BY, {name}", lambda: self._run(_BARE, **day))
            self._run("reset all")
            self._run(_NO_WORKERS)
        self._measure(
            "bare INSERT .. SELECT .. GROUP BY into a lean table",
            lambda: self._run(_BARE_INSERT, **day),
            before=lambda: self._run(_MAKE_LEAN),
        )

        self._measure(
            "ours, first run (day built aside)",
            self._ours,
            before=self._drop_facts,
            again=("ours, rerun, nothing changed", self._ours),
        )
        self._check("first run")
        # The distance in the log is everybody's: what others wrote is waited out.
        rerun = self.report.costs["ours, rerun, nothing changed"]
        for _ in range(5):
            if rerun.wal == 0:
                break
            rerun = replace(rerun, wal=min(rerun.wal, self._meter.measure(self._ours).wal))
        self.report.costs["ours, rerun, nothing changed"] = rerun
        # By the backend's own counter: others' writes do not show, nor does the record of the commit. Twice,
        # since a first reader may tidy a page.
        plans = [
            self._run(
                "explain (analyze, wal, timing off, format json) " + _OURS,
                ids=self._ids,
                from_time=self._day,
                to_time=self._day + _DAY,
            )[0]["QUERY PLAN"][0]["Plan"]
            for _ in range(2)
        ]
        self.report.notes["rerun_wal_bytes_by_explain"] = min(plan["WAL Bytes"] for plan in plans)
        self._measure(
            "ours, first run into an empty partition",
            self._ours,
            before=self._empty_partition,
            again=("ours, rerun after that", self._ours),
        )
        self._check("first run into an empty partition")

        self._measure(
            "the plan's way, first run",
            self._plan,
            before=lambda: self._run(_MAKE_PLAN),
            again=("the plan's way, rerun", self._plan),
        )
        self._check("the plan's way", _PLAN_WRONG_ROWS)
        self._measure("pandas round trip", self._round_trip, before=lambda: self._run(_MAKE_LEAN))
        self._check("the pandas round trip", _PANDAS_WRONG_ROWS)
        self._run("drop table bench.lean")

        written: list[int] = []
        self._measure(
            "ours, rerun after 1 % of the observations changed",
            lambda: written.append(sum(row["rows_written"] for row in self._ours())),
            before=lambda: self._run(_CHANGE_ONE_PERCENT),
        )
        self.report.notes["rows_rewritten_after_change"] = written[-1]
        self._check("rerun after a change")
        self._run("vacuum (analyze) public.metric_observations")

    def _bytes_a_row(self, table: str) -> float:
        rows = self._connection.execute(
            psycopg.sql.SQL("select pg_total_relation_size({}) as bytes, count(*) as rows from {}").format(
                psycopg.sql.Literal(table), psycopg.sql.Identifier(*table.split("."))
            )
        ).fetchall()
        return float(rows[0]["bytes"] / rows[0]["rows"])

    def _child(self) -> str:
        rows = self._run("select child from private.list_partitions('hourly_facts') where period_start = %(day)s")
        return f"partitions.{rows[0]['child']}"

    def sizes(self) -> None:
        """Bytes a row, written hour by hour; after closing; the plan's."""
        self._progress("hour by hour: 24 calls for all organisations")
        self._empty_partition()
        ticks = []
        for hour in range(24):
            start = self._day + hour * _HOUR
            ticks.append(self._meter.measure(lambda start=start: self._ours(start, start + _HOUR)))  # type: ignore[misc]
        self._check("hour by hour")
        self.report.costs["ours, one hour of all organisations (mean of 24)"] = Cost(
            None if ticks[0].cpu is None else sum(tick.cpu or 0 for tick in ticks) / 24,
            sum(tick.wall for tick in ticks) / 24,
            sum(tick.wal for tick in ticks) // 24,
        )
        self.report.notes["bytes_a_row_hour_by_hour"] = self._bytes_a_row(self._child())
        self._measure_once(
            "closing the day (cluster)",
            lambda: self._run("select * from public.close_hourly_partitions(%(to_time)s)", to_time=self._day + _DAY),
        )
        self.report.notes["bytes_a_row_closed"] = self._bytes_a_row(self._child())
        self._check("closed day")
        self._progress("the plan's table hour by hour")
        self._run(_MAKE_PLAN)
        for hour in range(24):
            self._run(
                "select bench.aggregate_hourly_data(id, %(from_time)s, %(to_time)s) from public.organizations",
                from_time=self._day + hour * _HOUR,
                to_time=self._day + (hour + 1) * _HOUR,
            )
        self.report.notes["bytes_a_row_plan"] = self._bytes_a_row("bench.hourly_aggregates")
        self._run("drop table bench.hourly_aggregates")

        def month() -> None:
            end = self._day + _DAY
            self._run(_OURS, ids=self._ids[:1], from_time=end - 31 * _DAY, to_time=end)

        self._measure_once("ours, one organisation over 31 days", month)
        self._measure_once("ours, one organisation over 31 days, rerun", month)

    def _measure_once(self, name: str, work: Callable[[], object]) -> None:
        self._progress(name)
        self.report.costs[name] = self._meter.measure(work)

    def drop(self) -> None:
        """The end of a day's retention: its roll-up, then its drop."""
        self._progress("the days around it, so that every zone's day is complete")
        self._drop_facts()
        self._ours(self._day - _DAY, self._day + 2 * _DAY)
        dates = {"from_date": (self._day - _DAY).date(), "to_date": (self._day + _DAY).date()}
        daily = "select * from public.aggregate_daily_data(%(ids)s, %(from_date)s, %(to_date)s)"
        self._measure_once("daily roll-up of 3 days", lambda: self._run(daily, ids=self._ids, **dates))
        self._measure_once("daily roll-up, rerun, nothing changed", lambda: self._run(daily, ids=self._ids, **dates))
        rows: list[dict[str, Any]] = []
        self._measure_once(
            "retention: checks, drop and ledger of 2 days",
            lambda: rows.extend(
                self._run(
                    "select * from public.cleanup_old_hourly_aggregates(%(keep_from)s)",
                    keep_from=self._day + _DAY,
                )
            ),
        )
        for row in rows:
            if not row["dropped"]:
                raise WrongResult(f"{row['partition']} was not dropped: {row['reason']}")
        walls = []
        for number in range(1, self._rounds + 1):
            self._progress(f"drop of one day, round {number} of {self._rounds}")
            self._drop_facts()
            self._ours()
            child = self._child().removeprefix("partitions.")
            walls.append(
                self._meter.measure(
                    lambda child=child: self._run(  # type: ignore[misc]
                        "select private.drop_partition(%(child)s)", child=child
                    )
                )
            )
        self.report.costs["drop of one day's partition"] = best(walls)

    # The result

    def judge(self) -> None:
        """Figures beside their goals. The bare GROUP BY is the fastest of its plans."""
        costs, notes = self.report.costs, self.report.notes
        first, rerun = costs["ours, first run (day built aside)"], costs["ours, rerun, nothing changed"]
        bare = min(cost.seconds for name, cost in costs.items() if name.startswith("bare GROUP BY"))
        goals = self.report.goals

        def at_least(what: str, figure: float, goal: float) -> None:
            goals.append(Goal(what, f"{figure:.1f} x", f">= {goal:g} x", figure >= goal))

        def at_most(what: str, figure: float, goal: float, unit: str, digits: int = 2) -> None:
            goals.append(Goal(what, f"{figure:.{digits}f} {unit}", f"<= {goal:g} {unit}", figure <= goal))

        plan_first, plan_rerun = costs["the plan's way, first run"], costs["the plan's way, rerun"]
        at_least("first run: the plan's CPU over ours", plan_first.seconds / first.seconds, 4)
        at_least("rerun: the plan's CPU over ours", plan_rerun.seconds / rerun.seconds, 9)
        at_least("first run: wall of pandas over ours", costs["pandas round trip"].wall / first.wall, 3)
        at_most("first run over the bare GROUP BY", first.seconds / bare, 1.7, "x")
        at_most("rerun over the bare GROUP BY", rerun.seconds / bare, 1.4, "x")
        at_most("log written by a rerun", rerun.wal, 0, "bytes", 0)
        at_most("table and index, hour by hour", notes["bytes_a_row_hour_by_hour"], 150, "bytes a row", 1)
        at_most("table and index, closed day", notes["bytes_a_row_closed"], 130, "bytes a row", 1)
        at_most("drop of a day", costs["drop of one day's partition"].wall, 0.2, "s")

    def table(self) -> Table:
        """All of it, for a terminal."""
        costs, notes = self.report.costs, self.report.notes
        bare = min(cost.seconds for name, cost in costs.items() if name.startswith("bare GROUP BY"))
        by = "CPU" if self._meter.sees_cpu else "wall"
        if self._meter.sees_cpu:
            seconds = "CPU: of the backend, no parallel workers."
        else:
            seconds = "The server's processes cannot be seen from here: ratios are of wall time."
        return cost_table(
            title=f"{self.report.server}: {notes['observations']:,.0f} observations of {len(self._ids):,}"
            f" organisations, best of {self._rounds}",
            caption=f"{seconds} x bare GROUP BY: of its fastest plan. WAL: distance of"
            " pg_current_wal_insert_lsn() over the call and its commit with nobody else at work, least of the"
            f" rounds; by EXPLAIN (WAL) the rerun wrote {notes['rerun_wal_bytes_by_explain']:.0f} bytes."
            f" The plan's table takes {notes['bytes_a_row_plan']:.0f} bytes a row, written hour by hour.",
            costs=costs,
            goals=self.report.goals,
            columns={
                "WAL MB": lambda cost: f"{cost.wal / 1e6:.1f}",
                f"x bare GROUP BY ({by})": lambda cost: f"{cost.seconds / bare:.2f}",
            },
            figure=f"x bare GROUP BY ({by})",
        )


def main(given: list[str] | None = None) -> int:
    """Runs it. Returns the exit status."""
    command = Command("aggregation", __doc__)
    # Fewer than 50 organisations are never built aside; the catalogue has 32 sums by the hour.
    command.number("--organizations", 1000, 50, 100_000)
    command.number("--metrics", 30, 1, 32)
    command.number("--observations", 4, 1, 100, help="per metric and hour")
    command.number("--rounds", 3, 1, 20)
    arguments = command.parse(given)
    try:
        with throw_away_database() as connection:
            benchmark = Benchmark(connection, arguments, command.progress)
            benchmark.fill()
            benchmark.compare()
            benchmark.sizes()
            benchmark.drop()
            benchmark.judge()
    except FAILURES as error:
        return command.fail(error)
    return command.finish(arguments, benchmark.table(), asdict(benchmark.report))


if __name__ == "__main__":
    sys.exit(main())
