"""A migration while the project works: it waits for the run under way, what comes after waits for it, and nothing is lost."""

import asyncio
import shutil
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from analytics_assets.database import connect
from analytics_assets.migrations import MigrationReport, migrate
from analytics_assets.sources.results import SyncReport
from analytics_assets.sql import SQL_ROOT
from analytics_assets_tests.sources.live import Connection, live

_TABLES = ("data_sources", "sync_streams", "raw_data_backup", "orders", "hourly_facts", "daily_facts", "partition_ledger")


def _newer(folder: Path, number: int) -> Path:
    """The project's sql with one more migration, which wants every table for itself, and a function that is replaced."""
    root = folder / f"sql-{number}"
    shutil.copytree(SQL_ROOT, root)
    for before in range(1, number + 1):
        (root / "migrations" / f"2999010100000{before}_columns.sql").write_text(
            "".join(f"alter table public.{table} add column later_{before} integer;\n" for table in _TABLES)
        )
    for name in ("store_source_pages", "aggregate_hourly_data"):
        with (root / "functions" / f"{name}.sql").open("a") as file:
            file.write(f"-- As of version {number}.\n")
    return root


def _wait_for_lock(connection: Connection, is_alive: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while True:
        row = connection.execute(
            "select count(*) as n from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
            " and query like 'alter table%'"
        ).fetchone()
        connection.rollback()
        if row is not None and row["n"]:
            return
        assert is_alive() and time.monotonic() < until, "the migration did not wait"
        time.sleep(0.02)


def test_a_migration_while_sources_are_synced_and_hours_computed(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with live(connection, monkeypatch, 2, 2, orders_per_day=10) as world, connect() as looking:
        assert world.sync().outcomes == {"completed": 8}
        world.sandbox.clock.set(world.now + timedelta(hours=2))
        world.due()
        done: list[MigrationReport | SyncReport] = []

        def migrated(number: int) -> threading.Thread:
            def work() -> None:
                with connect() as mine:
                    done.append(migrate(mine, _newer(tmp_path, number)))

            thread = threading.Thread(target=work)
            thread.start()
            return thread

        # Hours are being computed, and not committed yet.
        start = world.now - timedelta(days=3)
        connection.execute(
            "select * from public.ingest_orders(%s, %s, %s)", (world.ids, start.replace(hour=0), world.now)
        ).fetchall()
        connection.execute(
            "select * from public.aggregate_hourly_data(%s, %s, %s)", (world.ids, start.replace(hour=0), world.now)
        ).fetchall()
        first = migrated(1)
        _wait_for_lock(looking, first.is_alive)
        # A pass begins behind both.
        behind = threading.Thread(target=lambda: done.append(asyncio.run(world.engine().run())))
        behind.start()
        connection.commit()
        first.join(60)
        behind.join(60)
        assert not first.is_alive() and not behind.is_alive() and len(done) == 2
        # And one while a pass is in the midst of it, whose connections know the tables as they were.
        world.sandbox.clock.set(world.now + timedelta(hours=2))
        world.due()
        world.fault("slow", seconds=0.2)
        asked = sum(world.sandbox.counts.values())
        midst = threading.Thread(target=lambda: done.append(asyncio.run(world.engine().run())))
        midst.start()
        while sum(world.sandbox.counts.values()) < asked + 8:
            assert midst.is_alive()
        second = migrated(2)
        second.join(60)
        midst.join(60)
        assert not second.is_alive() and not midst.is_alive() and len(done) == 4
        reports = [one for one in done if isinstance(one, SyncReport)]
        assert [one.outcomes for one in reports] == [{"completed": 8}] * 2, [one.failures for one in reports]
        assert {"migrations/29990101000001_columns.sql", "migrations/29990101000002_columns.sql"} <= {
            name for one in done if isinstance(one, MigrationReport) for name in one.applied
        }
        world.compute()
        assert not world.compare(channels=["google_analytics", "woocommerce", "shopify"]).differences[:5]
