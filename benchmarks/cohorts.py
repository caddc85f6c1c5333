"""Cohorts of 1,000 organisations and 10 million events: the day's increment, and weekly retention beside DuckDB and chdb.

    python -m benchmarks.cohorts [--organizations 1000] [--actors 535000] [--events 10000000] [--rounds 3] [--json FILE]

Runs on a database of its own: on the server of DATABASE_URL, or on an embedded server in a temporary folder. DuckDB and
chdb run in this process and read the same rows from Parquet, exported before. What counts are CPU seconds, of the backend
without parallel workers and of this process with all its threads; the least of a few rounds. Exits with 0 also where a
goal is missed, 1 where it could not run or two engines do not say the same, 2 on a usage error.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg.sql
from rich.table import Table

from analytics_assets.migrations import migrate
from benchmarks import cohort_statements as statements
from benchmarks.command import FAILURES, Command, Goal, WrongResult, cost_table
from benchmarks.server import Connection, Cost, Meter, best, throw_away_database

_DAYS = 90
_DAILY_GOAL = 1.0
_RETENTION_GOAL = 3.0
_FROM_EVENTS = "DuckDB: from the events"


Cells = set[tuple[str, str, int, int]]


def _cells(rows: list[tuple[Any, ...]]) -> Cells:
    return {(str(a).strip('"'), str(b)[:10].strip('"'), int(c), int(d)) for a, b, c, d in rows}


class Benchmark:
    """One run over one database."""

    def __init__(
        self, connection: Connection, arguments: argparse.Namespace, folder: Path, progress: Callable[[str], None]
    ) -> None:
        self._connection = connection
        self._size = {name: getattr(arguments, name) for name in ("organizations", "actors", "events")}
        self._rounds: int = arguments.rounds
        self._folder = folder
        self._progress = progress
        self._meter = Meter(connection)
        self._today = datetime.now(UTC).date()
        self._last = self._today - timedelta(days=2)
        self._ids: list[Any] = []
        self.costs: dict[str, Cost] = {}
        self.counts: dict[str, int] = {}

    def _run(self, statement: str, **parameters: Any) -> list[dict[str, Any]]:
        cursor = self._connection.execute(psycopg.sql.SQL(statement), parameters or None)
        return cursor.fetchall() if cursor.description else []

    def _measure(self, name: str, work: Callable[[], object], rounds: int = 1) -> None:
        self._progress(name)
        self.costs[name] = best([self._meter.measure(work) for _ in range(rounds)])

    def _measure_here(self, name: str, work: Callable[[], list[tuple[Any, ...]]]) -> Cells:
        """Of an engine in this process: CPU of all its threads."""
        self._progress(name)
        found: list[tuple[Any, ...]] = []
        costs = []
        for _ in range(self._rounds):
            cpu, wall = time.process_time(), time.perf_counter()
            found = work()
            costs.append(Cost(time.process_time() - cpu, time.perf_counter() - wall, 0))
        self.costs[name] = best(costs)
        return _cells(found)

    def _compute(self, first: date, last: date) -> int:
        return int(self._run(statements.COMPUTE, ids=self._ids, first=first, last=last)[0]["n"])

    def fill(self) -> None:
        """Organisations, events, and what the collector leaves of them: all days but the last."""
        self._progress("migrations")
        migrate(self._connection)
        self._run(statements.NO_WORKERS)
        self._run("create schema bench")
        self._run(statements.FILL_ORGANIZATIONS, organizations=self._size["organizations"])
        self._ids = [row["id"] for row in self._run("select id from public.organizations order by 1")]
        self._start = datetime.combine(self._last - timedelta(days=_DAYS - 1), datetime.min.time(), UTC)
        self._progress("events")
        sessions = self._size["actors"] * 4.65
        self._run(
            statements.MAKE_EVENTS,
            start=self._start,
            organizations=self._size["organizations"],
            actors=self._size["actors"],
            days=_DAYS,
            each=max(1, round(self._size["events"] / sessions)),
        )
        self._progress("visitors and their days")
        self._run(statements.MAKE_DAYS)
        self._run(statements.MAKE_VISITORS)
        for table in ("visitor_days", "event_tracking"):
            self._run(
                "select private.ensure_partitions(%(table)s, %(first)s, %(last)s)",
                table=table,
                first=self._start - timedelta(days=2),
                last=self._start + timedelta(days=_DAYS + 3),
            )
        self._fill_days(self._start.date() - timedelta(days=2), self._last - timedelta(days=1))
        for what, statement in (
            ("events", "select count(*) as n from bench.events"),
            ("visitors", "select count(*) as n from bench.visitors"),
            ("days", "select count(*) as n from bench.days"),
        ):
            self.counts[what] = int(self._run(statement)[0]["n"])

    def _fill_days(self, first: date, last: date) -> None:
        for statement in (statements.FILL_VISITORS, statements.FILL_DAYS, statements.FILL_PURCHASES):
            self._run(statement, first=first, last=last)
        for table in ("visitors", "visitor_days", "event_tracking"):
            self._run(f"vacuum (analyze) public.{table}")

    def compute(self) -> None:
        """The full history at once, then one more day, then the same again."""
        first = self._start.date() - timedelta(days=2)
        self._measure(
            "full history, all cohorts: members, weeks, months, cells written",
            lambda: self._compute(first, self._last - timedelta(days=1)),
        )
        for table in ("cohort_members", "cohort_visits", "cohort_orders", "cohort_analysis"):
            self._run(f"vacuum (analyze) public.{table}")
        # Settled: what began since is there.
        self._compute(self._today - timedelta(days=1), self._today)
        self._fill_days(self._last, self._last + timedelta(days=2))
        self._measure("daily increment, all organisations", lambda: self._compute(self._last, self._last))
        # East of UTC a few events lie on the next day.
        self._compute(self._last + timedelta(days=1), self._last + timedelta(days=2))
        written: list[int] = []
        self._measure(
            "the same day again, nothing new",
            lambda: written.append(self._compute(self._last, self._last)),
            self._rounds,
        )
        if any(written):
            raise WrongResult(f"a rerun wrote {max(written)} rows")

    def retention(self) -> None:
        """Weekly retention over the full history: ours, and the engines beside it over the same rows."""
        import chdb
        import duckdb

        self._run("vacuum (analyze) public.cohort_visits")
        self._run("vacuum (analyze) public.visitor_days")
        ours = self._run(statements.CELLS)
        expected = {(r["organization_id"], r["cohort_date"], r["period_number"], r["active_users"]) for r in ours}
        kept: list[dict[str, Any]] = []
        self._measure("ours: from the weeks kept", lambda: kept.extend(self._run(statements.KEPT)), self._rounds)
        self._check("ours", expected, _cells([tuple(row.values()) for row in kept]))
        plain: list[dict[str, Any]] = []
        self._measure("plain SQL from the visitors' days", lambda: plain.extend(self._run(statements.PLAIN)), self._rounds)
        self._check("plain SQL", expected, _cells([tuple(row.values()) for row in plain]))

        files = {name: str(self._folder / f"{name}.parquet") for name in statements.EXPORTS}
        self._progress("export")
        for name, statement in statements.EXPORTS.items():
            statements.export(self._connection, statement, files[name])
        engine = duckdb.connect()
        engine.execute("set timezone = 'UTC'")
        self._progress("DuckDB, chdb")
        for name, statement in (
            ("DuckDB: from the same weeks", statements.KEPT_DUCKDB.format(file=files["weeks"])),
            ("DuckDB: from the visitors' days", statements.DUCKDB.format(day="date", file=files["days"])),
            (_FROM_EVENTS, statements.DUCKDB.format(day="timezone(time_zone, moment)", file=files["events"])),
        ):
            found = self._measure_here(name, lambda statement=statement: engine.execute(statement).fetchall())  # type: ignore[misc]
            self._check(name, expected, found)
        statement = statements.CHDB.format(day="date", file=files["days"])

        def ask_chdb() -> list[tuple[Any, ...]]:
            answer: bytes = chdb.query(statement, "JSONCompactEachRow").bytes()
            return [tuple(json.loads(line)) for line in answer.decode().splitlines()]

        self._check("chdb", expected, self._measure_here("chdb: from the visitors' days", ask_chdb))

    def _check(self, what: str, expected: Cells, found: Cells) -> None:
        if found != expected:
            raise WrongResult(
                f"{what}: {len(found ^ expected)} cells differ from cohort_analysis, e.g. {sorted(found ^ expected)[:3]}"
            )

    def goals(self) -> list[Goal]:
        """Figures beside their goals."""
        daily = self.costs["daily increment, all organisations"].seconds
        kept = self.costs["ours: from the weeks kept"].seconds
        found = [Goal("server time of the daily increment", f"{daily:.2f} s", f"< {_DAILY_GOAL:g} s", daily < _DAILY_GOAL)]
        names = ("DuckDB: from the same weeks", "DuckDB: from the visitors' days", _FROM_EVENTS, "chdb: from the visitors' days")
        for name in names:
            ratio = kept / self.costs[name].seconds
            goal = name.startswith("DuckDB")
            found.append(
                Goal(
                    f"weekly retention from the weeks kept over {name}",
                    f"{ratio:.2f} x",
                    f"<= {_RETENTION_GOAL:g} x" if goal else "",
                    ratio <= _RETENTION_GOAL or not goal,
                )
            )
        return found

    def table(self) -> Table:
        """All of it, for a terminal."""
        return cost_table(
            title=f"{self.counts['events']:,} events, {self.counts['days']:,} visitor-days of {self.counts['visitors']:,} users in"
            f" {len(self._ids):,} organisations, {_DAYS} days",
            caption="CPU: of the backend without parallel workers; of DuckDB and chdb all threads of this process. Their cells and"
            " ours are the same, each compared with cohort_analysis.",
            costs=self.costs,
            goals=self.goals(),
        )


def main(given: list[str] | None = None) -> int:
    """Runs it. Returns the exit status."""
    command = Command("cohorts", __doc__)
    command.number("--organizations", 1000)
    command.number("--actors", 535_000)
    command.number("--events", 10_000_000, help="about so many")
    command.number("--rounds", 3)
    arguments = command.parse(given)
    try:
        with tempfile.TemporaryDirectory(prefix="analytics-bench-") as folder, throw_away_database() as connection:
            benchmark = Benchmark(connection, arguments, Path(folder), command.progress)
            benchmark.fill()
            benchmark.compute()
            benchmark.retention()
    except FAILURES as error:
        return command.fail(error)
    figures = {"costs": {name: asdict(cost) for name, cost in benchmark.costs.items()}, "counts": benchmark.counts}
    return command.finish(arguments, benchmark.table(), figures | {"goals": [asdict(goal) for goal in benchmark.goals()]})


if __name__ == "__main__":
    sys.exit(main())
