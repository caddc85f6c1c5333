"""What row-level security costs a dashboard: its usual queries over 20 million hours of 1,000 organisations.

    python -m benchmarks.row_level_security [--organizations 1000] [--metrics 14] [--days 30] [--rounds 41] [--cap 20] [--json FILE]

Each query runs as role authenticated with a member's claims, once without a filter of its own and once with the dashboard's
``organization_id = ...``, in turn with the same query filtered by hand as a role that policies do not concern. It is planned anew
each time, as through a pool of connections that keeps no prepared statements. A round is a transaction; what counts is the CPU of
the backend for the query, planning included (what the client waits, where that cannot be seen), by the median of the rounds.
Beside it the plan's policies, put in place of ours for one transaction.

Runs on a database of its own: on the server of DATABASE_URL, or on an embedded server in a temporary folder. Exits with 0 also
where a goal is missed, 1 where it could not run or two ways do not find the same rows, 2 on a usage error.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import md5
from typing import Any
from uuid import UUID

import psycopg
import psycopg.sql
from rich.table import Table

from analytics_assets.database import connect
from analytics_assets.migrations import migrate
from benchmarks import row_level_statements as statements
from benchmarks.command import FAILURES, Command, Goal, WrongResult
from benchmarks.server import Connection, Meter, database_url, throw_away_database, throw_away_settings

_DAY = timedelta(days=1)
# The query's own filter, and how many times the query without row-level security it may take.
_GOALS = {"none": 1.5, "its own": 1.1}
_MEMBERSHIPS = (1, 20)
# A policy that takes longer than this is not asked a second time.
_SLOW = 0.5
_FEW = 5


@dataclass(frozen=True)
class Times:
    """Milliseconds of one way to ask, medians: of the backend's CPU (None where it cannot be seen), of what the client waited,
    and of what the server says of its planning."""

    cpu: float | None
    waited: float
    planning: float

    @property
    def spent(self) -> float:
        """What counts."""
        return self.waited if self.cpu is None else self.cpu


@dataclass(frozen=True)
class Line:
    """One query of one member, with and without its own filter.

    Attributes:
        plan: milliseconds under the plan's policies; None where they were cut off.
    """

    query: str
    memberships: int
    own: str
    rows: int
    by_hand: Times
    secured: Times
    plan: float | None

    @property
    def ratio(self) -> float:
        """Times the query without row-level security."""
        return self.secured.spent / self.by_hand.spent

    @property
    def met(self) -> bool:
        """Whether it stays within its goal."""
        return self.ratio <= _GOALS[self.own]


def _uuid(text: str) -> UUID:
    return UUID(md5(text.encode(), usedforsecurity=False).hexdigest())


class Benchmark:
    """One run over one database: a connection whose role policies do not concern, and one of a dashboard."""

    def __init__(
        self, owner: Connection, dashboard: Connection, arguments: argparse.Namespace, progress: Callable[[str], None]
    ) -> None:
        self._owner = owner
        self._dashboard = dashboard
        self._meters = {connection: Meter(connection) for connection in (owner, dashboard)}
        self._size = {name: getattr(arguments, name) for name in ("organizations", "metrics")}
        self._days: int = arguments.days
        self._rounds: int = arguments.rounds
        self._cap: int = arguments.cap
        self._progress = progress
        self._today = datetime.combine(datetime.now(UTC).date(), datetime.min.time(), UTC)
        self._first = self._today - (self._days - 1) * _DAY
        self.counts: dict[str, int] = {}
        self.lines: list[Line] = []

    def fill(self) -> None:
        """Organisations with members, hours, days and insights."""
        run = self._owner.execute
        self._progress("migrations")
        migrate(self._owner)
        run(statements.FILL_ORGANIZATIONS, self._size)
        run(statements.FILL_MEMBERS, self._size)
        run("select public.make_partitions_ahead()")
        for table in ("hourly_facts", "daily_facts"):
            run("select private.ensure_partitions(%s, %s, %s)", (table, self._first, self._today + _DAY))
        run("create schema bench")
        run(statements.MAKE_HOURS, self._size)
        for number in range(self._days):
            day = self._first + number * _DAY
            self._progress(f"hours of {day:%Y-%m-%d}")
            run(statements.FILL_TODAY if day == self._today else statements.FILL_HOURS, {"day": day, "number": number})
        self._progress("days, insights, statistics")
        run(statements.FILL_DAYS)
        run(statements.FILL_INSIGHTS)
        run("vacuum (analyze)")
        for table in ("hourly_facts", "daily_facts", "ai_insights"):
            rows = run(psycopg.sql.SQL("select count(*) as n from public.{}").format(psycopg.sql.Identifier(table))).fetchall()
            self.counts[table] = int(rows[0]["n"])

    def compare(self) -> None:
        """All queries, members and filters."""
        for memberships in _MEMBERSHIPS:
            user = _uuid(f"member of {memberships}")
            found = self._owner.execute(
                "select organization_id from public.organization_members where user_id = %s order by 1", (user,)
            ).fetchall()
            organizations = [row["organization_id"] for row in found]
            parameters = {
                "metric": "sessions",
                "first": self._first,
                "today": self._today,
                "until": self._today + _DAY,
                "first_day": self._first.date(),
                "until_day": self._today.date() + _DAY,
                "organization": organizations[0],
                "organizations": organizations,
                "claims": json.dumps({"sub": str(user), "role": "authenticated"}),
            }
            by_hand = statements.ONE if memberships == 1 else statements.SEVERAL
            for query in statements.QUERIES:
                self.lines.append(self._line(query, memberships, "none", statements.NO_FILTER, by_hand, parameters))
                self.lines.append(self._line(query, memberships, "its own", statements.ONE, statements.ONE, parameters))

    def _line(self, query: str, memberships: int, own: str, secured: str, by_hand: str, parameters: dict[str, Any]) -> Line:
        self._progress(f"{query}; member of {memberships}; filter: {own}")
        asked = psycopg.sql.SQL(statements.QUERIES[query]).format(own=psycopg.sql.SQL(secured))
        filtered = psycopg.sql.SQL(statements.QUERIES[query]).format(own=psycopg.sql.SQL(by_hand))
        ways = {"by hand": (self._owner, filtered, False), "secured": (self._dashboard, asked, True)}
        waits: dict[str, list[float]] = {name: [] for name in ways}
        spent: dict[str, list[float]] = {name: [] for name in ways}
        plannings: dict[str, list[float]] = {name: [] for name in ways}
        rows: dict[str, list[dict[str, Any]]] = {}
        for number in range(self._rounds + _FEW):
            # Each goes first every other time.
            for name in sorted(ways, reverse=bool(number % 2)):
                connection, statement, member = ways[name]
                with self._request(connection, parameters, member):
                    if number < _FEW:
                        plannings[name].append(self._planning(connection, statement, parameters))
                    else:
                        before = self._meters[connection].idle_milliseconds()
                        waited, rows[name] = self._timed(connection, statement, parameters)
                        waits[name].append(waited)
                        after = self._meters[connection].idle_milliseconds()
                        if before is not None and after is not None:
                            spent[name].append(after - before)
        plan, plan_rows = self._under_the_plan(asked, parameters)
        expected = rows["by hand"]
        for name, found in (("row-level security", rows["secured"]), ("the plan's policies", plan_rows)):
            if not expected or (found is not None and found != expected):
                raise WrongResult(f"{query}, member of {memberships}: by hand {len(expected)} rows; {name} find others")
        median = statistics.median
        times = {
            name: Times(median(spent[name]) if spent[name] else None, median(waits[name]), median(plannings[name]))
            for name in ways
        }
        return Line(query, memberships, own, len(expected), times["by hand"], times["secured"], plan)

    @contextmanager
    def _request(self, connection: Connection, parameters: dict[str, Any], member: bool) -> Iterator[None]:
        with connection.transaction():
            if member:
                connection.execute(statements.BECOME, parameters)
            yield

    @staticmethod
    def _timed(
        connection: Connection, statement: psycopg.sql.Composed, parameters: dict[str, Any]
    ) -> tuple[float, list[dict[str, Any]]]:
        started = time.perf_counter()
        found = connection.execute(statement, parameters, prepare=False).fetchall()
        return (time.perf_counter() - started) * 1000, found

    @staticmethod
    def _planning(connection: Connection, statement: psycopg.sql.Composed, parameters: dict[str, Any]) -> float:
        explain = psycopg.sql.SQL("explain (summary, format json) ") + statement
        said = connection.execute(explain, parameters, prepare=False).fetchall()[0]["QUERY PLAN"]
        return float(said[0]["Planning Time"])

    def _under_the_plan(
        self, statement: psycopg.sql.Composed, parameters: dict[str, Any]
    ) -> tuple[float | None, list[dict[str, Any]] | None]:
        """The best of a few, or of one where it is slow; nothing where it takes longer than the cap."""
        best: float | None = None
        rows: list[dict[str, Any]] | None = None
        with self._owner.transaction(force_rollback=True):
            self._owner.execute(statements.PLAN_POLICIES)
            self._owner.execute("select set_config('statement_timeout', %s, true)", (f"{self._cap}s",))
            self._owner.execute(statements.BECOME, parameters)
            try:
                for _ in range(_FEW):
                    waited, rows = self._timed(self._owner, statement, parameters)
                    best = waited if best is None else min(best, waited)
                    if waited > _SLOW * 1000:
                        break
            except psycopg.errors.QueryCanceled:
                return None, None
        return best, rows

    def table(self) -> Table:
        """All of it, for a terminal."""
        table = Table(
            title=f"{self.counts['hourly_facts']:,} hours, {self.counts['daily_facts']:,} days, {self.counts['ai_insights']:,} insights of"
            f" {self._size['organizations']:,} organisations; milliseconds, medians of {self._rounds} rounds in turn",
            caption="by hand: filtered by organization_id, without row-level security; RLS: as authenticated, under our policies. CPU: of"
            " the backend, planning included; waited: at the client. The plan's policies: what the client waits, the least of"
            f" {_FEW}, cut off after {self._cap} s.",
            title_justify="left",
            caption_justify="left",
        )
        for header in ("query", "member of", "filter"):
            table.add_column(header)
        ways = [f"{way}\n{what}" for way in ("by hand", "RLS") for what in ("CPU", "waited", "planning")]
        for header in ("rows", *ways, "ratio", "goal"):
            table.add_column(header, justify="right")
        table.add_column("met")
        table.add_column("plan's", justify="right")
        for line in self.lines:
            times = [figure for way in (line.by_hand, line.secured) for figure in (way.cpu, way.waited, way.planning)]
            figures = ["-" if figure is None else f"{figure:.2f}" for figure in times]
            plan = f"> {self._cap} s" if line.plan is None else f"{line.plan:,.1f}"
            goal = Goal("", "", f"<= {_GOALS[line.own]:g}", line.met)
            table.add_row(
                line.query,
                str(line.memberships),
                line.own,
                f"{line.rows:,}",
                *figures,
                f"{line.ratio:.2f}",
                *goal.cells(),
                plan,
                end_section=line.own == "its own",
            )
        return table


def main(given: list[str] | None = None) -> int:
    """Runs it. Returns the exit status."""
    command = Command("row_level_security", __doc__)
    command.number("--organizations", 1000, max(_MEMBERSHIPS))
    command.number("--metrics", 14, 1, 32, help="each in two channels")
    command.number("--days", 30, help="the last one is today")
    command.number("--rounds", 41)
    command.number("--cap", 20, metavar="SECONDS", help="longer than that the plan's policies may not take")
    arguments = command.parse(given)
    try:
        settings = throw_away_settings()
        with throw_away_database(settings) as owner:
            with connect(replace(settings, database_url=database_url(settings)), autocommit=True) as dashboard:
                benchmark = Benchmark(owner, dashboard, arguments, command.progress)
                benchmark.fill()
                benchmark.compare()
    except FAILURES as error:
        return command.fail(error)
    lines = [asdict(line) | {"ratio": line.ratio, "met": line.met} for line in benchmark.lines]
    return command.finish(arguments, benchmark.table(), {"counts": benchmark.counts, "lines": lines}, 170)


if __name__ == "__main__":
    sys.exit(main())
