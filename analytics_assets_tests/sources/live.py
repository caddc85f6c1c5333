"""Organisations of the sandbox in a test's database, synced over HTTP by the project's own engine."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest

from analytics_assets.sandbox.app import running, vendor_environment
from analytics_assets.sandbox.compare import Comparison, compare
from analytics_assets.sandbox.connect import VENDORS, connect_world, organization_id
from analytics_assets.sandbox.faults import Fault
from analytics_assets.sandbox.state import Sandbox
from analytics_assets.sandbox.world import Clock, World, make_world
from analytics_assets.sources.engine import Engine, SyncReport

Connection = psycopg.Connection[dict[str, Any]]
# A Sunday on which clocks go back in Europe lies in the week before.
NOW = datetime(2026, 10, 28, 15, 0, tzinfo=UTC)


@dataclass
class Live:
    """A world, its server, and the database that is to follow it."""

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
    def ids(self) -> list[Any]:
        return [organization_id(one) for one in self.world.organizations]

    def engine(self, **options: Any) -> Engine:
        """An engine whose clock is the sandbox's."""
        return Engine(clock=self.sandbox.clock.now, **options)

    def sync(self, **options: Any) -> SyncReport:
        """One pass over what is due."""
        return asyncio.run(self.engine().run(**options))

    def due(self) -> None:
        """Everything is due now."""
        self.connection.execute("update public.data_sources set next_sync_at = now()")
        self.connection.commit()

    def fault(self, kind: str, **options: Any) -> Fault:
        """Sets a fault."""
        return self.sandbox.faults.add(Fault(kind, **options))

    def compute(self) -> None:
        """Orders, hours and days of the whole world, by the statements that the assets run."""
        start = datetime.combine(self.world.first_day - timedelta(days=2), datetime.min.time(), UTC)
        # To the end of the running day of every zone: by the database's clock it is over, and waits for its hours.
        end = self.now.replace(hour=0, minute=0) + timedelta(hours=40)
        for function in ("ingest_orders", "aggregate_hourly_data"):
            self.connection.execute(f"select count(*) from public.{function}(%s, %s, %s)", (self.ids, start, end))
            self.connection.commit()
        self.connection.execute(
            "select count(*) from public.aggregate_daily_data(%s, %s, %s)",
            (self.ids, self.world.first_day - timedelta(days=1), self.now.date()),
        )
        self.connection.commit()

    def compare(self, **options: Any) -> Comparison:
        """The aggregates beside the world's truth."""
        return compare(self.connection, self.world, self.now, **options)

    def rows(self, statement: str, *parameters: Any) -> list[dict[str, Any]]:
        """Rows of a statement."""
        found = self.connection.execute(statement, parameters).fetchall()
        self.connection.commit()
        return found

    def state(self) -> dict[str, list[str]]:
        """Everything that does not depend on when it was fetched, as comparable text."""
        statements = {
            "orders": "select to_jsonb(t) - '{fetched_at}'::text[] as row from public.orders t",
            "sales": "select to_jsonb(t) as row from public.order_sales t",
            "refunds": "select to_jsonb(t) - '{fetched_at}'::text[] as row from public.refunds t",
            "customers": "select to_jsonb(t) as row from public.customers t",
            "hours": "select to_jsonb(t) as row from public.metric_observations t",
            "days": "select to_jsonb(t) as row from public.daily_observations t",
            "hourly": "select to_jsonb(t) - '{updated_at}'::text[] as row from public.hourly_facts t",
            "daily": "select to_jsonb(t) - '{updated_at}'::text[] as row from public.daily_facts t",
        }
        return {
            name: sorted(str(sorted(row["row"].items())) for row in self.rows(statement))
            for name, statement in statements.items()
        }


@contextmanager
def live(
    connection: Connection,
    monkeypatch: pytest.MonkeyPatch,
    count: int,
    days: int,
    *,
    now: datetime = NOW,
    first_day: date | None = None,
    vendors: tuple[str, ...] = VENDORS,
    **options: Any,
) -> Iterator[Live]:
    """A running sandbox whose organisations are connected."""
    world = make_world(count, first_day or (now - timedelta(days=days)).date(), **options)
    sandbox = Sandbox(world=world, clock=Clock(now))
    with running(sandbox) as base:
        for name, value in vendor_environment(base).items():
            monkeypatch.setenv(name, value)
        connect_world(connection, world, base, vendors=vendors, last_day=now.date() + timedelta(days=40))
        yield Live(connection, sandbox, base)
