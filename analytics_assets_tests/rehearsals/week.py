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
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg

from analytics_assets.database import DatabaseError, connect
from analytics_assets.events import keys
from analytics_assets.funnels import registry as funnels
from analytics_assets.funnels.definitions import make_funnel
from analytics_assets.instance import open_instance
from analytics_assets.migrations import migrate
from analytics_assets.organizations import registry
from analytics_assets.sandbox.app import running, vendor_environment
from analytics_assets.sandbox.connect import connect_world, organization_id
from analytics_assets.sandbox.state import Sandbox
from analytics_assets.sandbox.world import Clock, World, make_world
from analytics_assets.sql import query
from analytics_assets_tests.conftest import MEMORY
from analytics_assets_tests.events.serving import serving
from analytics_assets_tests.rehearsals.clock import CLOCK_FILE
from analytics_assets_tests.rehearsals.dagster_processes import DagsterProcesses, make_home
from analytics_assets_tests.rehearsals.forked import ForkedProcesses
from analytics_assets_tests.rehearsals.own_server import OwnServer, own_server
from analytics_assets_tests.rehearsals.plan import KILLS, Step, clock_change_week, make_plan
from analytics_assets_tests.rehearsals.result import Result, judge
from analytics_assets_tests.rehearsals.traffic import Site, Traffic

_STEPS = ("Visit: page=/", "Product Viewed", "Product Added", "Checkout Started", "Order Completed")
_PATIENCE = 240.0
_OPEN_RUNS = "status in ('QUEUED', 'NOT_STARTED', 'STARTING', 'STARTED', 'CANCELING')"


class NeverSettled(RuntimeError):
    """Something waits for a human, or for ever; the message says what is open."""


class Rehearsal:
    """One, over a world."""

    def __init__(
        self, server: OwnServer, processes: DagsterProcesses | ForkedProcesses, sandbox: Sandbox, traffic: Traffic, clock: Path, seed: int,
        say: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.server, self.processes, self.sandbox, self.traffic, self.say = server, processes, sandbox, traffic, say
        self.result, self._clock, self._dice = Result(), clock, random.Random(seed)
        self._began = time.monotonic()
        self._connection: psycopg.Connection[dict[str, Any]] | None = None

    @property
    def world(self) -> World:
        return self.sandbox.world

    def rows(self, statement: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Rows of a statement; done again while the server is down."""
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                if self._connection is None:
                    self._connection = connect(autocommit=True)
                cursor = self._connection.execute(statement, parameters)
                return cursor.fetchall() if cursor.description else []
            except (DatabaseError, psycopg.OperationalError):
                self._connection = None
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)

    def set_clock(self, at: datetime) -> None:
        """For the sandbox and for the engine in Dagster's processes."""
        self.sandbox.clock.set(at)
        temporary = self._clock.with_suffix(".new")
        temporary.write_text(at.isoformat())
        temporary.replace(self._clock)

    def live(self, steps: list[Step]) -> None:
        """All steps, and the night after the last of them, when all is well again."""
        for number, step in enumerate(steps, 1):
            self._step(step)
            self.say(f"{number} of {len(steps)}: {step.until:%a %d %b %H:%M} UTC{f', {step.kill} killed' if step.kill else ''}")
        self.sandbox.faults.clear()
        # By the server's time the days that are running at its end are over, wherever that is, and wait for their last hour.
        end = steps[-1].until.replace(hour=0) + timedelta(hours=40)
        for is_night in (True, False):
            self._pass_time(is_night=is_night, until=end)
            self._until("that everything is synced", self._is_synced)
            sent = self.traffic.send(self.sandbox.clock.now(), all_of_it=True)
        assert sent, "the collector does not take what is left"
        self._until("that everything is computed", self._is_computed)
        self.result.seconds = time.monotonic() - self._began

    def _step(self, step: Step) -> None:
        self.set_clock(step.until)
        self.sandbox.faults.clear()
        for fault in step.faults:
            self.sandbox.faults.add(fault)
        self.traffic.send(step.until)
        self._pass_time(is_night=step.is_night)
        if step.kill:
            self._kill(step.kill)
        self._until("that everything is synced", self._is_synced)
        # Computing goes on beside the next hours, as it does in life; it may not fall behind without end.
        self._until("room for more runs", lambda: self._open_runs() <= 8)
        self.result.steps += 1

    def _pass_time(self, *, is_night: bool, until: datetime | None = None) -> None:
        """What hours do: they are over, and whatever waits for its time is due. (The sensor looks for hours that no tick took within
        the week before the machine's time, and of organisations that were customers by then: for this look alone they were.)"""
        begin = datetime.combine(self.world.first_day - timedelta(days=1), datetime.min.time(), UTC)
        hours = {
            "assets": ["orders", "event_tracking", "hourly_aggregates"],
            "start": begin,
            "end": until or self.sandbox.clock.now(),
        }
        with connect() as connection:
            connection.execute("update public.organizations set created_at = %s", (begin,))
            connection.execute(query("mark_missing_hours"), hours)
            connection.execute("update public.organizations set created_at = now()")
        self.rows("update public.data_sources set next_sync_at = now() where is_active")
        self.rows("update public.partition_ledger set next_attempt_at = now() where status <> 'done' and next_attempt_at > now()")
        if is_night:
            self.rows("update public.data_sources set reread_at = reread_at - interval '1 day'")
            self.rows("select private.request_rereads()")
            self.rows("update public.data_sources set reread_due_at = now() where reread_due_at is not null")
            self.result.nights += 1

    def _kill(self, kind: str) -> None:
        """In the midst of a sync, or of computing: after some requests, or some buckets."""
        asked = sum(self.sandbox.counts.values()) + self._dice.randint(1, 2 * len(self.world.organizations))
        until = time.monotonic() + 60

        def in_midst() -> bool:
            return sum(self.sandbox.counts.values()) >= asked or self._is_synced()

        while not (in_midst() and (kind != "worker" or self.processes.workers())) and time.monotonic() < until:
            self._look_after()
            time.sleep(0.05)
        if kind == "worker":
            if not self.processes.kill_worker():
                return
        elif kind == "daemon":
            self.processes.kill_daemon()
        elif kind == "machine":
            self.processes.kill_all()
        else:
            self.server.kill()
            self.result.recoveries.append(self.server.start())
        self.result.kills[kind] += 1
        # Three minutes later: who prolongs a lease while it works, has done so.
        self.rows(
            "update public.data_sources set lease_until = now() - interval '1 second'"
            " where lease_owner is not null and lease_until < now() + interval '3 minutes'"
        )

    def _look_after(self) -> None:
        """What a service manager does: starts the daemon again when it has ended."""
        if not self.processes.is_up:
            self.processes.start()
            self.result.daemon_starts += 1

    def _is_synced(self) -> bool:
        row = self.rows(
            "select count(*) filter (where is_active and lease_owner is null and (next_sync_at <= now() or reread_due_at <= now() and failures = 0)"
            " and coalesce(failure_kind, 'retry') in ('retry', 'throttled')) + count(lease_owner) as open from public.data_sources where is_connected"
        )[0]
        if row["open"]:
            # A lease whose worker is dead ends after three minutes.
            self._end_dead_leases()
        return not row["open"]

    def _end_dead_leases(self) -> None:
        if not self.processes.workers():
            self.rows("update public.data_sources set lease_until = now() - interval '1 second' where lease_until > now()")

    def _open_runs(self) -> int:
        return int(self.rows(f"select count(*) as n from dagster.runs where {_OPEN_RUNS}")[0]["n"])

    def _is_computed(self) -> bool:
        """Nothing of the rehearsed time waits in the ledger, and no run is under way."""
        if self._open_runs():
            return False
        open_buckets = self.rows("select count(*) as n from public.partition_ledger where status <> 'done'")[0]["n"]
        if open_buckets:
            self.rows(
                "update public.partition_ledger set next_attempt_at = now() where status <> 'done' and next_attempt_at > now()"
            )
        return not open_buckets

    def _until(self, what: str, look: Callable[[], bool]) -> None:
        until = time.monotonic() + _PATIENCE
        while True:
            self._look_after()
            if look():
                return
            if time.monotonic() > until:
                raise NeverSettled(f"waited {_PATIENCE:.0f} s for it {what}: {self._what_is_open()}")
            time.sleep(0.3)

    def _what_is_open(self) -> str:
        found = {
            "sources": "select source_type, sync_status, failure_kind, left(last_error, 200) as error, count(*) from public.data_sources"
            " where lease_owner is not null or next_sync_at <= now() group by 1, 2, 3, 4 limit 10",
            "runs": f"select status, pipeline_name, count(*) from dagster.runs where {_OPEN_RUNS} group by 1, 2",
            "ledger": "select asset, status, left(error, 200) as error, min(bucket), max(bucket), count(*)"
            " from public.partition_ledger where status <> 'done' group by 1, 2, 3 limit 10",
        }
        return "; ".join(f"{name} {self.rows(statement)}" for name, statement in found.items())


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
        begin = (first_day - timedelta(days=2)).isoformat()
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
