"""Funnels over ten million events of a thousand shops, beside DuckDB and ClickHouse's engine on the same rows.

    python -m benchmarks.funnels [--organizations 1000] [--events 10000000] [--bot 40000] [--rounds 3] [--json FILE]

Four steps, a window of 24 hours, the known user else the session, dated in each organisation's days. Runs on a database of
its own: on the server of DATABASE_URL, or on an embedded server in a temporary folder (some 8 GB for the size by default).
DuckDB answers the same question, its rows are compared with ours one by one; several formulations are tried, the least
CPU and the least time of any count. chdb answers an easier one by its own windowFunnel: how far each actor came over all days. Neither keeps its result.
CPU seconds are those of all of the server's processes, parallel workers too. The peers come with the extra ``bench``.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg.sql
from rich.table import Table

from analytics_assets.migrations import migrate
from benchmarks.command import FAILURES, Command, Goal, WrongResult, cost_table
from benchmarks.funnel_events import DAYS, END, START, add_bot, fill, remove_bot
from benchmarks.funnel_peers import ClickHouse, Duck, PeerError, load_peers
from benchmarks.processes import ServerMeter, keep_to_cores
from benchmarks.server import Connection, Cost, best, throw_away_database

_FIRST, _LAST = (START - timedelta(days=1)).date(), END.date()
_OURS = "select * from public.aggregate_funnels(%(ids)s, %(first)s, %(last)s)"
_EMPTY = "truncate public.funnel_analysis, public.partition_ledger"
# The days before the last two are done, and these two are not.
_OPEN_TWO_DAYS = """
with gone as (delete from public.funnel_analysis where date between %(first)s and %(last)s)
delete from public.partition_ledger where bucket between %(first)s and %(last)s
"""
_MARK_TWO_DAYS = """
select private.mark_stale('funnel_analysis', array_agg(o.id), array_agg(d.bucket))
from public.organizations o
cross join generate_series(%(first)s::timestamp, %(last)s::timestamp, interval '1 day') as g (day)
cross join lateral (select g.day at time zone 'UTC' as bucket) d
"""
_RESULT = """
select organization_id::text as organization, date::text as date,
       array_agg(visitors order by step_order) as reached
from public.funnel_analysis group by 1, 2
"""


@dataclass
class Report:
    """What a run found."""

    setting: dict[str, Any]
    costs: dict[str, Cost] = field(default_factory=dict)
    goals: list[Goal] = field(default_factory=list)


class Benchmark:
    """One run over one database."""

    def __init__(self, connection: Connection, arguments: argparse.Namespace, progress: Callable[[str], None]) -> None:
        self._connection = connection
        self._arguments = arguments
        self._progress = progress
        self._meter = ServerMeter(connection)
        self.report = Report({name: getattr(arguments, name) for name in ("organizations", "events", "bot", "rounds")})
        self._ids: list[Any] = []

    def _run(self, statement: str, **parameters: Any) -> list[dict[str, Any]]:
        cursor = self._connection.execute(psycopg.sql.SQL(statement), parameters or None)
        return cursor.fetchall() if cursor.description else []

    def _ours(self, ids: list[Any] | None = None, first: Any = _FIRST, last: Any = _LAST) -> int:
        rows = self._run(_OURS, ids=ids or self._ids, first=first, last=last)
        return sum(row["rows_written"] for row in rows)

    def _measure(self, name: str, work: Callable[[], object], before: Callable[[], object] = lambda: None) -> Cost:
        costs = []
        for number in range(1, self._arguments.rounds + 1):
            self._progress(f"{name}, round {number} of {self._arguments.rounds}")
            before()
            cpu = self._meter.spent()
            started = time.perf_counter()
            work()
            wall = time.perf_counter() - started
            spent = self._meter.spent()
            costs.append(Cost(None if spent is None or cpu is None else spent - cpu, wall, 0))
        self.report.costs[name] = best(costs)
        return self.report.costs[name]

    def _measure_peer(self, name: str, work: Callable[[], object]) -> Cost:
        costs = []
        for number in range(1, self._arguments.rounds + 1):
            self._progress(f"{name}, round {number} of {self._arguments.rounds}")
            before = resource.getrusage(resource.RUSAGE_SELF)
            started = time.perf_counter()
            work()
            wall = time.perf_counter() - started
            after = resource.getrusage(resource.RUSAGE_SELF)
            costs.append(Cost(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall, 0))
        self.report.costs[name] = best(costs)
        return self.report.costs[name]

    def fill(self, folder: Path) -> Path:
        """Migrations, events, and the same events in a file for the peers."""
        self._progress("migrations")
        migrate(self._connection)
        self._run("select set_config('timezone', 'UTC', false)")
        self.report.setting["events"] = fill(
            self._connection, self._arguments.organizations, self._arguments.events, self._progress
        )
        self._ids = [row["id"] for row in self._run("select id from public.organizations order by id")]
        self._progress("the same events for the peers")
        file = folder / "events.csv"
        with file.open("wb") as target, self._connection.cursor() as cursor:
            with cursor.copy(
                "copy (select e.organization_id, e.visitor_id, e.user_id, e.session_id, e.event_name,"
                ' (extract(epoch from e."timestamp") * 1000000)::bigint, o.time_zone'
                " from public.event_tracking e join public.organizations o on o.id = e.organization_id) to stdout (format csv)"
            ) as copy:
                for block in copy:
                    target.write(block)
        return file

    def full(self, file: Path) -> None:
        """The whole history of all organisations, in all engines."""
        peers: list[tuple[Duck | ClickHouse, Cost]] = []
        duck, house = Duck(file), ClickHouse(file)
        for name in duck.FORMULATIONS:
            peers.append((duck, self._measure_peer(f"DuckDB, {name}", lambda name=name: duck.run(name))))  # type: ignore[misc]
        self._measure_peer("chdb, windowFunnel over all days of an actor", house.run)
        theirs = duck.rows()
        house.close()
        duck.close()
        fastest = best([cost for _, cost in peers])
        ours = self._measure("ours, 90 days, counted, stored and noted in the ledger", self._ours, lambda: self._run(_EMPTY))
        found = {(row["organization"], row["date"]): tuple(row["reached"]) for row in self._run(_RESULT)}
        if found != theirs:
            wrong = sum(found.get(key) != theirs.get(key) for key in found.keys() | theirs.keys())
            raise WrongResult(f"{wrong} of {len(theirs)} days differ from DuckDB's")
        self._measure("ours, again, nothing to do", self._ours)
        self._goal("full history, CPU over DuckDB's", ours.seconds / fastest.seconds, 3, "x")
        self._goal("full history, wall over DuckDB's", ours.wall / fastest.wall, 3, "x")

    def daily(self) -> None:
        """Two days of all organisations, as the tick computes them; and one actor with very many events."""
        last = END.date() - timedelta(days=1)
        days: dict[str, Any] = {"first": last - timedelta(days=1), "last": last}
        two = self._measure(
            "ours, two days of all organisations", lambda: self._ours(**days), lambda: self._run(_OPEN_TWO_DAYS, **days)
        )
        self._measure(
            "ours, two days, marked, nothing changed", lambda: self._ours(**days), lambda: self._run(_MARK_TWO_DAYS, **days)
        )
        self._goal("two days of all organisations, wall", two.wall, 1, "s")
        one = self._ids[:1]
        alone = self._measure("ours, 90 days of one organisation", lambda: self._ours(one), lambda: self._run(_EMPTY))
        add_bot(self._connection, self._arguments.bot)
        busy = self._measure(
            f"the same, with an actor of {self._arguments.bot:,} events", lambda: self._ours(one), lambda: self._run(_EMPTY)
        )
        remove_bot(self._connection)
        self._goal(f"an actor of {self._arguments.bot:,} events adds, wall", busy.wall - alone.wall, 1, "s")

    def _goal(self, what: str, figure: float, goal: float, unit: str) -> None:
        self.report.goals.append(Goal(what, f"{figure:.2f} {unit}", f"<= {goal:g} {unit}", figure <= goal))

    def table(self) -> Table:
        """All of it, for a terminal."""
        setting, costs = self.report.setting, self.report.costs
        duck = best([cost for name, cost in costs.items() if name.startswith("DuckDB")])
        return cost_table(
            title=f"{setting['events']:,} events of {setting['organizations']:,} organisations, {DAYS} days, 4 steps, 24 h window,"
            f" best of {setting['rounds']}",
            caption="Ours writes its rows, their keys and the ledger; the peers keep nothing. x DuckDB: of its best formulation.",
            costs=costs,
            goals=self.report.goals,
            columns={
                "x DuckDB (CPU)": lambda cost: f"{cost.seconds / duck.seconds:.2f}",
                "x DuckDB (wall)": lambda cost: f"{cost.wall / duck.wall:.2f}",
            },
            figure="x DuckDB (CPU)",
        )


def main(given: list[str] | None = None) -> int:
    """Runs it. Returns the exit status: 0 also where a goal is missed, 1 where it could not run or a result is wrong."""
    command = Command("funnels", __doc__)
    command.number("--organizations", 1000, 1, 100_000)
    command.number("--events", 10_000_000, 1000, 100_000_000)
    command.number("--bot", 40_000, 1, 1_000_000, help="events of one actor")
    command.number("--rounds", 3, 1, 20)
    arguments = command.parse(given)
    try:
        load_peers()
        keep_to_cores(2)
        with throw_away_database() as connection, tempfile.TemporaryDirectory(prefix="analytics-bench-") as folder:
            benchmark = Benchmark(connection, arguments, command.progress)
            benchmark.full(benchmark.fill(Path(folder)))
            benchmark.daily()
    except (*FAILURES, PeerError) as error:
        return command.fail(error)
    return command.finish(arguments, benchmark.table(), asdict(benchmark.report))


if __name__ == "__main__":
    sys.exit(main())
