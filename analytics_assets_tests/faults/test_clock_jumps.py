"""A clock that jumps, the workers' or the server's, forward and back: nothing is lost, and nothing waits until that time has come."""

import asyncio
from datetime import timedelta

import pytest

from analytics_assets.resources import Database
from analytics_assets.sources.engine import Engine
from analytics_assets.sql import query
from analytics_assets_tests.sources.live import Connection, Live, live

HOUR = timedelta(hours=1)
STORES = ["woocommerce", "shopify"]


def _sync(world: Live, ahead: timedelta = timedelta()) -> None:
    """One pass of a worker whose clock is that far ahead of the vendors'."""
    world.due()
    report = asyncio.run(Engine(clock=lambda: world.now + ahead).run())
    assert set(report.outcomes) == {"completed"}, report.failures
    # The server's clock is right: what this one notes of when pages came is the vendors' time.
    world.rows("update public.sync_streams set updated_at = %s returning 1", world.now)


@pytest.mark.parametrize("jump", [timedelta(days=5), timedelta(days=-5), timedelta(minutes=50)])
def test_a_workers_clock_that_jumps_and_is_put_right_loses_nothing(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, jump: timedelta
) -> None:
    """Ahead by five days, each sync had covered five days to come: what changed in the stores until then was read as far as it
    had changed within the last ten minutes before a sync, and in the night."""
    with live(connection, monkeypatch, 2, 1, orders_per_day=60, vendors=("woocommerce", "shopify")) as world:
        _sync(world)
        world.sandbox.clock.set(world.now + HOUR)
        _sync(world, jump)
        for _ in range(3):
            world.sandbox.clock.set(world.now + HOUR)
            _sync(world)
        world.compute()
        found = world.compare(channels=STORES)
        assert found.hours > 200 and not found.differences[:5]


def test_what_a_server_with_a_clock_ahead_had_put_off_has_its_turn(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's clock was a year ahead for a moment: nothing was due for a year."""
    with live(connection, monkeypatch, 2, 2, orders_per_day=4) as world:
        assert world.sync().outcomes == {"completed": 8}
        world.compute()
        world.sandbox.clock.set(world.now + HOUR)
        # What its functions had written meanwhile; and a worker that had died.
        connection.execute(
            "update public.data_sources set next_sync_at = now() + interval '1 year', reread_due_at = now() + interval '1 year',"
            " reread_at = now() + interval '1 year'"
        )
        connection.execute("update public.sync_streams set covered_to = now() + interval '1 year' where purpose = 'incremental'")
        connection.execute(
            "update public.data_sources set lease_owner = gen_random_uuid(), lease_until = now() + interval '1 year', sync_status = 'running'"
            " where source_type = 'shopify'"
        )
        connection.execute(
            "update public.partition_ledger set status = 'stale', input_version = input_version + 1,"
            " next_attempt_at = now() + interval '1 year' where asset = 'hourly_aggregates'"
        )
        connection.commit()
        counts = Database().rows(query("source_counts"))[0]
        assert counts["due"] + counts["reread_due"] == 0 and counts["dead"] == 8, "the sensor starts a pass for the dead"
        assert world.sync().outcomes == {"completed": 8}
        assert world.rows("select count(*) as n from public.data_sources where next_sync_at > now() + interval '1 day'") == [
            {"n": 0}
        ]
        ahead = "select stream from public.sync_streams where covered_to > now() and stream in ('orders', 'refunds', 'customers')"
        assert world.rows(ahead) == []
        open_hours = world.rows(
            "select count(*) as n from public.partition_ledger where status <> 'done' and asset = 'hourly_aggregates'"
        )
        claimed = connection.execute(
            query("claim_open_buckets"),
            {"assets": ["hourly_aggregates"], "keys": [one.slug for one in world.world.organizations],
             "start": world.now - timedelta(days=9), "end": world.now + timedelta(days=3), "most": 100_000},
        ).fetchall()  # fmt: skip
        connection.commit()
        assert len(claimed) == open_hours[0]["n"] > 0
        # Read in this pass, and so again in a night: a time to come is none at which it was done.
        assert world.rows("select count(*) as n from public.data_sources where reread_due_at is not null") == [{"n": 0}]
        connection.execute("update public.data_sources set reread_at = now() + interval '1 year'")
        assert world.rows("select private.request_rereads() as n") == [{"n": 8}]
        world.compute()
        assert not world.compare(channels=STORES).differences[:5]
        # A source that is synced once a month is not taken for one of those.
        connection.execute(
            "update public.data_sources set sync_frequency_minutes = 44640, next_sync_at = now() + interval '31 days', reread_due_at = null"
        )
        connection.commit()
        world.rows("select private.release_dead_leases() as n")
        assert world.rows("select count(*) as n from public.data_sources where next_sync_at > now() + interval '30 days'") == [
            {"n": 8}
        ]
