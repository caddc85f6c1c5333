"""Organisations of the sandbox in a test's database, synced over HTTP by the project's own engine."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from analytics_assets.sandbox.app import running, vendor_environment
from analytics_assets.sandbox.connect import VENDORS, connect_world
from analytics_assets.sandbox.live import Connection, LiveWorld
from analytics_assets.sandbox.state import Sandbox
from analytics_assets.sandbox.world import Clock, make_world

__all__ = ["NOW", "Connection", "Live", "live"]

# A Sunday on which clocks go back in Europe lies in the week before.
NOW = datetime(2026, 10, 28, 15, 0, tzinfo=UTC)


@dataclass
class Live(LiveWorld):
    """A world, its server, and the database that is to follow it."""

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
