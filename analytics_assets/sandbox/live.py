"""A running world of the sandbox and the database that follows it, synced by the project's own engine and computed by the
statements that the assets run: for tests and benchmarks."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg

from analytics_assets.sandbox.compare import Comparison, compare
from analytics_assets.sandbox.connect import organization_id
from analytics_assets.sandbox.faults import Fault
from analytics_assets.sandbox.state import Sandbox
from analytics_assets.sandbox.world import World
from analytics_assets.sources.engine import Engine
from analytics_assets.sources.registry import listed, resume
from analytics_assets.sources.results import SyncReport
from analytics_assets.sql import query

Connection = psycopg.Connection[dict[str, Any]]


@dataclass
class LiveWorld:
    """A world, its server at ``base``, and the database. The environment must name the database and the server."""

    connection: Connection
    sandbox: Sandbox
    base: str

    @property
    def world(self) -> World:
        return self.sandbox.world

    @property
    def now(self) -> datetime:
        return self.sandbox.clock.now()

    @property
    def ids(self) -> list[UUID]:
        return [organization_id(one) for one in self.world.organizations]

    def engine(self, **options: Any) -> Engine:
        """An engine whose clock is the sandbox's."""
        return Engine(clock=self.sandbox.clock.now, **options)

    def sync(self, **options: Any) -> SyncReport:
        """One pass over what is due."""
        return asyncio.run(self.engine().run(**options))

    def due(self) -> None:
        """Everything that is not stopped is due now."""
        self.connection.execute(query("make_sources_due"), {"ids": self.ids})
        self.connection.commit()

    def resume(self) -> int:
        """What an operator does when the vendors are themselves again: resumes what waits for one. Returns how many."""
        stopped = [row for row in listed(self.connection) if row["status"] == "stopped"]
        for row in stopped:
            resume(self.connection, row)
        return len(stopped)

    def fault(self, kind: str, **options: Any) -> Fault:
        """Sets a fault."""
        return self.sandbox.faults.add(Fault(kind, **options))

    def logs(self, since: datetime, slugs: Collection[str]) -> list[dict[str, Any]]:
        """The logs of these organisations' syncs that began at ``since`` or later, by the database's clock."""
        found = self.connection.execute(query("sync_outcomes"), {"since": since, "slugs": list(slugs)}).fetchall()
        self.connection.commit()
        return found

    def compute(self) -> None:
        """Orders, hours and days of the whole world."""
        start = datetime.combine(self.world.first_day - timedelta(days=2), datetime.min.time(), UTC)
        # To the end of the running day of every zone: by the database's clock it is over, and waits for its hours.
        end = self.now.replace(hour=0, minute=0) + timedelta(hours=40)
        for statement in ("ingest_orders", "aggregate_hourly_data"):
            self._run(statement, start, end)
        self._run("aggregate_daily_data", start + timedelta(days=1), end.replace(hour=0))

    def _run(self, statement: str, start: datetime, end: datetime) -> None:
        self.connection.execute(query(statement), {"ids": self.ids, "start": start, "end": end, "run_id": None})
        self.connection.commit()

    def compare(self, **options: Any) -> Comparison:
        """The aggregates beside the world's truth."""
        return compare(self.connection, self.world, self.now, **options)
