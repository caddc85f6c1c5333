"""What the checks of an hour's tick cost, beside the statements of the tick itself.

    python -m benchmarks.checks [--organizations 1000] [--days 2] [--orders-per-day 24] [--json FILE]

Organisations of the sandbox with a source at each of four vendors, synced by the engine and computed; then the clock goes on by an hour,
everything is synced again, and one hour (and its day) is computed as the ticks do it, and checked as its runs check it. All are
seconds of CPU of the connections' backends, in the same run.

The SQL of an hour's tick is what its one sync writes and what its run computes: pages, their digests, reports' figures and the
ledger's marks are written as the vendors answer, and the run's raw assets only count what checks then judge. (Sources are synced
every quarter of an hour; one sync of the four is counted.) What the run's statements are alone stands beside it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from rich.table import Table

from analytics_assets.aggregates.assets import CHECKS as AGGREGATES
from analytics_assets.cohorts.assets import CHECKS as COHORTS
from analytics_assets.database import connect
from analytics_assets.events.assets import CHECKS as EVENTS
from analytics_assets.funnels.assets import CHECKS as FUNNELS
from analytics_assets.ledgered import SqlCheck, evaluate
from analytics_assets.migrations import migrate
from analytics_assets.orders.assets import CHECKS as ORDERS
from analytics_assets.raw.assets import CHECKS as RAW
from analytics_assets.resources import Held
from analytics_assets.sandbox.app import running, vendor_environment
from analytics_assets.sandbox.connect import connect_world
from analytics_assets.sandbox.live import LiveWorld
from analytics_assets.sandbox.state import Sandbox
from analytics_assets.sandbox.world import Clock, make_world
from analytics_assets.sql import query
from benchmarks.command import FAILURES, Command, Goal
from benchmarks.processes import ClientsMeter
from benchmarks.server import Connection, Cost, Meter, database_url, throw_away_database, throw_away_settings

_GOAL = 0.2
_SHOWN = 0.005
_HOURLY: dict[str, list[SqlCheck]] = {**RAW, **ORDERS, **EVENTS, "hourly_aggregates": AGGREGATES["hourly_aggregates"]}
_DAILY: dict[str, list[SqlCheck]] = {"daily_aggregates": AGGREGATES["daily_aggregates"], **COHORTS, **FUNNELS}


@contextmanager
def _world(connection: Connection, organizations: int, days: int, orders_per_day: int) -> Iterator[LiveWorld]:
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    world = make_world(organizations, (now - timedelta(days=days)).date(), orders_per_day=orders_per_day)
    sandbox = Sandbox(world=world, clock=Clock(now))
    with running(sandbox) as base, connect() as other:
        os.environ.update(vendor_environment(base))
        connect_world(other, world, base)
        yield LiveWorld(other, sandbox, base)


def _tick(connection: Connection, ids: list[UUID], start: datetime, end: datetime, statements: tuple[str, ...]) -> None:
    values: dict[str, Any] = {"ids": ids, "start": start, "end": end, "run_id": None, "failed_ids": [], "failed_reasons": []}
    with connection.transaction():
        for statement in statements:
            if statement == "register_raw_pages":
                for source_type in ("google_analytics", "meta_ads", "woocommerce", "shopify"):
                    connection.execute(query(statement), values | {"source_type": source_type}).fetchall()
            else:
                connection.execute(query(statement), values).fetchall()


def _measure(
    connection: Connection, world: LiveWorld, command: Command
) -> tuple[dict[str, Cost], dict[tuple[str, str], Cost], dict[tuple[str, str], str]]:
    """Costs of the ticks by name, of the checks by asset and name, and what checks found."""
    world.sync()
    # What autovacuum does while a thousand organisations come, one after the other: without it orders of all of them, taken in at once,
    # are joined by nested loops.
    connection.execute("analyze")
    world.compute()
    hour = world.now
    command.progress("synced and computed; an hour passes")
    world.sandbox.clock.set(hour + timedelta(hours=1))
    world.due()
    with ClientsMeter(connection) as clients:
        started = time.perf_counter()
        world.sync()
    costs = {"sync": Cost(clients.seconds, time.perf_counter() - started, 0)}
    connection.execute("analyze")
    command.progress("synced again")
    meter, database = Meter(connection), Held(connection)
    day = hour.replace(hour=0)
    ticks = {
        "hourly tick": (hour, hour + timedelta(hours=1), ("register_raw_pages", "ingest_orders", "summarize_events", "aggregate_hourly_data")),
        "daily tick": (day - timedelta(days=1), day + timedelta(days=1), ("aggregate_daily_data", "aggregate_cohorts", "aggregate_funnels")),
    }  # fmt: skip
    checked: dict[tuple[str, str], Cost] = {}
    found: dict[tuple[str, str], str] = {}
    for (name, (start, end, statements)), checks in zip(ticks.items(), (_HOURLY, _DAILY), strict=True):
        costs[name] = meter.measure(lambda s=start, e=end, t=statements: _tick(connection, world.ids, s, e, t))  # type: ignore[misc]
        for asset, several in checks.items():
            for check in several:
                results: list[Any] = []
                checked[asset, check.name] = meter.measure(
                    lambda c=check, a=asset, s=start, e=end, r=results: r.append(evaluate(c, a, database, None, s, e))  # type: ignore[misc]
                )
                if not results[0].passed:
                    found[asset, check.name] = str(results[0].description)
        command.progress(f"{name} computed and checked")
    return costs, checked, found


def main(given: list[str] | None = None) -> int:
    """Runs it. Returns the exit status."""
    command = Command("checks", __doc__)
    command.number("--organizations", 1000)
    command.number("--days", 2)
    command.number("--orders-per-day", 24)
    arguments = command.parse(given)
    try:
        settings = throw_away_settings()
        os.environ["ANALYTICS_HOME"] = str(settings.home)
        with throw_away_database(settings) as connection:
            os.environ["DATABASE_URL"] = database_url(settings)
            with connect() as other:
                migrate(other)
            with _world(connection, arguments.organizations, arguments.days, arguments.orders_per_day) as world:
                costs, checked, found = _measure(connection, world, command)
    except FAILURES as error:
        return command.fail(error)
    table = Table(title=f"checks of a tick of {arguments.organizations:,} organisations", title_justify="left")
    for name in ("", "CPU s", "wall s", "of the tick", "goal", "met"):
        table.add_column(name, justify="left" if name in ("", "met") else "right")
    goals = []
    for parts, checks in ((("sync", "hourly tick"), _HOURLY), (("daily tick",), _DAILY)):
        for name in parts:
            table.add_row(f"{name}: its statements", f"{costs[name].seconds:.2f}", f"{costs[name].wall:.2f}", "", "", "")
        mine = {key: one for key, one in checked.items() if key[0] in checks}
        tick, total = sum(costs[name].seconds for name in parts), sum(one.seconds for one in mine.values())
        for key, one in sorted(mine.items(), key=lambda item: -item[1].seconds):
            if one.seconds >= _SHOWN:
                table.add_row("  " + ".".join(key), f"{one.seconds:.2f}", f"{one.wall:.2f}", f"{one.seconds / tick:.1%}", "", "")
        goal = Goal(parts[-1], f"{total / tick:.0%}", f"<= {_GOAL:.0%}", total <= _GOAL * tick)
        goals.append(goal)
        table.add_row(f"{len(mine)} checks", f"{total:.2f}", "", goal.figure, *goal.cells())
        if len(parts) > 1:
            table.add_row("  of the run's statements alone", "", "", f"{total / costs[parts[-1]].seconds:.0%}", "", "")
        table.add_section()
    for key, description in found.items():
        command.progress(f"{'.'.join(key)}: {description}")
    figures = {name: cost.seconds for name, cost in costs.items()} | {".".join(key): one.seconds for key, one in checked.items()}
    command.finish(arguments, table, figures)
    return 0 if all(goal.met for goal in goals) else 1


if __name__ == "__main__":
    sys.exit(main())
