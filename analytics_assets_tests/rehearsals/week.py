"""A week of the sandbox's time with everything that goes wrong in one, and at its end the tables beside the truth.

    python -m analytics_assets_tests.rehearsals.week [--organizations 100] [--days 7] [--step-hours 2] [--seed 7]

PostgreSQL and Dagster's daemon are processes of its own. Sensors, schedules and runs are the project's; played is only what
time does: the sandbox's clock, hours after which a source is due and a failed bucket has its next turn, minutes after which
the lease of a dead worker ends, and whoever starts a dead process again. No source is resumed, no run cancelled, no row touched.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from analytics_assets.database import connect
from analytics_assets.events import keys
from analytics_assets.funnels import registry as funnels
from analytics_assets.funnels.definitions import make_funnel
from analytics_assets.instance import open_instance
from analytics_assets.migrations import migrate
from analytics_assets.organizations import registry
from analytics_assets.sandbox.app import running, vendor_environment
from analytics_assets.sandbox.connect import connect_world, organization_id
from analytics_assets.sandbox.state import Sandbox
from analytics_assets.sandbox.world import Clock, make_world
from analytics_assets_tests.conftest import MEMORY
from analytics_assets_tests.events.serving import serving
from analytics_assets_tests.rehearsals.clock import CLOCK_FILE
from analytics_assets_tests.rehearsals.dagster_processes import DagsterProcesses, make_home
from analytics_assets_tests.rehearsals.forked import ForkedProcesses
from analytics_assets_tests.rehearsals.own_server import own_server
from analytics_assets_tests.rehearsals.plan import KILLS, clock_change_week, make_plan
from analytics_assets_tests.rehearsals.rehearsal import NeverSettled, Rehearsal
from analytics_assets_tests.rehearsals.result import Result, judge
from analytics_assets_tests.rehearsals.traffic import Site, Traffic

_STEPS = ("Visit: page=/", "Product Viewed", "Product Added", "Checkout Started", "Order Completed")


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def rehearse(
    *, organizations: int, hours: int, step_hours: int, start: datetime, kills: tuple[str, ...], orders_per_day: int = 4,
    tracked: int = 1, cells: int = 0, seed: int = 7, is_forked: bool = False,
    before: timedelta = timedelta(days=2), say: Callable[[str], None] = lambda _: None,
) -> Result:  # fmt: skip
    """Runs one and judges it. tracked: organisations whose websites' visitors are sent too; before: how long there is a world
    already; cells: shared partition keys; is_forked: see
    ``forked``, instead of the real daemon."""
    first_day = (start - before).date()
    world = make_world(organizations, first_day, orders_per_day=orders_per_day)
    sandbox = Sandbox(world=world, clock=Clock(start))
    plan = make_plan(start, hours, step_hours, [one.slug for one in world.organizations], kills, seed)
    log = logging.getLogger("uvicorn.error")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="analytics-rehearsal-", dir=MEMORY)))
        server = stack.enter_context(own_server(folder.parent, max_connections="100"))
        base = stack.enter_context(running(sandbox))
        make_home(folder / "dagster")
        kept = {f"ANALYTICS_KEEP_{name}_DAYS": "36500" for name in ("RAW", "HOURLY", "DAILY", "EVENTS", "LOGS", "DAGSTER")}
        begin = (first_day - timedelta(days=4)).isoformat()
        stack.enter_context(
            _environment(
                {
                    **vendor_environment(base), **kept, "DATABASE_URL": server.url, "DAGSTER_HOME": str(folder / "dagster"),
                    "ANALYTICS_HOME": str(folder / "home"), "ANALYTICS_HOURLY_START": begin, "ANALYTICS_DAILY_START": begin,
                    CLOCK_FILE: str(folder / "clock"), "XDG_RUNTIME_DIR": str(folder),
                }
            )
        )  # fmt: skip
        with connect() as connection:
            migrate(connection)
            connect_world(connection, world, base, last_day=plan[-1].until.date() + timedelta(days=2))
            if cells:
                registry.spread(connection, cells)
            sites = []
            for one in world.organizations[:: max(1, organizations // tracked)][:tracked]:
                funnels.store(connection, one.slug, make_funnel("checkout", "session", None, list(_STEPS)))
                sites.append(Site(organization_id(one), one.store, keys.create(connection, organization_id(one), "rehearsal")))
            connection.commit()
        with open_instance():
            pass  # Dagster's tables and partition keys are there before two processes make them at once
        collector = stack.enter_context(serving())
        # Workers that are killed break off requests, which the sandbox's server calls an exception of its own.
        stack.callback(log.setLevel, log.level)
        log.setLevel(logging.CRITICAL)
        processes = (ForkedProcesses if is_forked else DagsterProcesses)(folder / "dagster")
        stack.callback(processes.stop)
        rehearsal = Rehearsal(server, processes, sandbox, Traffic(collector, first_day, sites), folder / "clock", seed, say)
        rehearsal.set_clock(start)
        try:
            rehearsal.live(plan)
        except (NeverSettled, AssertionError):
            say(processes.log.read_text(errors="replace")[-4000:])
            raise
        processes.stop()
        result = rehearsal.result
        result.organizations, result.hours = organizations, hours
        result.faults.update(sandbox.faults.made)
        say("comparing with the sandbox's truth, and with a rebuild from raw pages")
        with connect() as connection:
            judge(result, connection, world, rehearsal.traffic, sandbox.clock.now())
        return result


def main() -> int:
    """Runs it. Returns the exit status: 1 where a value differs, or something waited for a human."""
    parser = argparse.ArgumentParser(prog="python -m analytics_assets_tests.rehearsals.week")
    parser.add_argument("--organizations", type=int, default=100)
    parser.add_argument("--days", type=float, default=7)
    parser.add_argument("--step-hours", type=int, default=2)
    parser.add_argument("--orders-per-day", type=int, default=4)
    parser.add_argument("--tracked", type=int, default=10, help="organisations whose websites' visitors are sent too")
    parser.add_argument("--cells", type=int, default=2, help="partition keys that the organisations share; 0: one each")
    parser.add_argument("--kills", type=int, default=24, help="in all, the kinds in turn")
    parser.add_argument("--forked", action="store_true", help="workers forked from one process instead of the real daemon")
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    # Ended from outside, it leaves no process behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    start = clock_change_week(datetime.now(UTC))
    try:
        result = rehearse(
            organizations=arguments.organizations, hours=round(arguments.days * 24), step_hours=arguments.step_hours, start=start,
            kills=tuple(KILLS[number % len(KILLS)] for number in range(arguments.kills)), tracked=arguments.tracked,
            orders_per_day=arguments.orders_per_day, cells=arguments.cells, seed=arguments.seed, is_forked=arguments.forked,
            say=lambda text: print(text, file=sys.stderr, flush=True),
        )  # fmt: skip
    except NeverSettled as error:
        print(f"does not hold: {error}", file=sys.stderr)
        return 1
    result.show()
    return 0 if result.holds else 1


if __name__ == "__main__":
    sys.exit(main())
