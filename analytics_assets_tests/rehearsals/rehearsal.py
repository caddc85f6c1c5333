"""A rehearsal: the sandbox's time goes by, things go wrong and are killed, and nobody looks after what is left behind."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from analytics_assets.database import DatabaseError, connect
from analytics_assets.sandbox.state import Sandbox
from analytics_assets.sandbox.world import World
from analytics_assets.sql import query
from analytics_assets_tests.rehearsals.dagster_processes import DagsterProcesses
from analytics_assets_tests.rehearsals.forked import ForkedProcesses
from analytics_assets_tests.rehearsals.own_server import OwnServer
from analytics_assets_tests.rehearsals.plan import Step
from analytics_assets_tests.rehearsals.result import OPEN_BUCKETS, Result
from analytics_assets_tests.rehearsals.traffic import Traffic

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
        self._struck: datetime | None = None

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
        self._until("that everything is synced", self._is_tried)
        # Computing goes on beside the next hours, as it does in life; it may not fall behind without end.
        self._until("room for more runs", lambda: self._open_runs() <= 8)
        self.result.steps += 1

    def _pass_time(self, *, is_night: bool, until: datetime | None = None) -> None:
        """What hours do: they are over, and whatever waits for its time is due. (The sensor looks for hours that no tick took within
        the week before the machine's time, and of organisations that were customers by then: for this look alone they were.)"""
        begin = datetime.combine(self.world.first_day - timedelta(days=2), datetime.min.time(), UTC)
        hours = {
            "assets": ["orders", "event_tracking", "hourly_aggregates"],
            "start": begin,
            "end": until or self.sandbox.clock.now(),
        }
        with connect() as connection:
            connection.execute("update public.organizations set created_at = %s", (begin,))
            connection.execute(query("mark_missing_hours"), hours)
            connection.execute("update public.organizations set created_at = now()")
        found = self.rows("update public.data_sources set next_sync_at = now() where is_active returning next_sync_at")
        self._struck = found[0]["next_sync_at"]
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
            return sum(self.sandbox.counts.values()) >= asked or self._is_tried()

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

    def _is_tried(self) -> bool:
        """Every source was synced since the hour struck, or failed: one that fails is due again after a minute, for ever while its
        vendor's trouble lasts."""
        row = self.rows(
            "select count(*) as open from public.data_sources where is_connected"
            " and (next_sync_at <= %(since)s or failures = 0 and (lease_owner is not null or next_sync_at <= now()))",
            {"since": self._struck},
        )[0]
        if row["open"]:
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
        open_buckets = self.rows(OPEN_BUCKETS, {"first": self.world.first_day, "last": self.sandbox.clock.now().date()})
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
