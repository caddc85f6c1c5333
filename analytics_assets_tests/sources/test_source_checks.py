"""The checks of what was synced live: silent on sound data, and each finds its own fault."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from analytics_assets.aggregates.assets import CHECKS as AGGREGATE_CHECKS
from analytics_assets.ledgered import evaluate
from analytics_assets.orders.assets import CHECKS as ORDER_CHECKS
from analytics_assets.resources import Database
from analytics_assets_tests.sources.live import Connection, Live, live

CHECKS = {(asset, check.name): check for asset, checks in (ORDER_CHECKS | AGGREGATE_CHECKS).items() for check in checks}


def _fired(world: Live) -> set[str]:
    start = datetime.combine(world.world.first_day - timedelta(days=1), datetime.min.time(), UTC)
    end = world.now.replace(hour=0) + timedelta(days=1)
    return {name for (asset, name), check in CHECKS.items() if not evaluate(check, asset, Database(), None, start, end).passed}


@pytest.fixture(scope="module")
def faults() -> dict[str, tuple[str, set[str]]]:
    """A statement that breaks the data, and the checks that must fire."""
    return {
        "sessions changed": (
            "update public.hourly_facts set value = value + 1 where ctid = (select ctid from public.hourly_facts"
            ' where metric_id = 1 and channel_id = 1 order by organization_id, "timestamp" limit 1) returning 1',
            {"reports_equal_newest_answer", "day_equals_its_hours"},
        ),
        "spend lost": (
            'delete from public.hourly_facts where metric_id = 27 and "timestamp" = (select min("timestamp")'
            " from public.hourly_facts where metric_id = 27 and organization_id not in (select o.id from public.organizations o"
            " join public.data_sources s on s.organization_id = o.id where s.currency <> o.currency))"
            " and organization_id not in (select o.id from public.organizations o join public.data_sources s"
            " on s.organization_id = o.id where s.currency <> o.currency) returning 1",
            {"reports_equal_newest_answer", "day_equals_its_hours"},
        ),
        "a sale lost": (
            "delete from public.order_sales where (organization_id, sale_id) = (select organization_id, min(sale_id)"
            " from public.order_sales where is_counted and total > 0 group by 1 order by 1 limit 1) returning 1",
            {"sales_add_up"},
        ),
    }


@pytest.fixture
def world(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    with live(connection, monkeypatch, 3, 3, orders_per_day=8) as found:
        found.sync()
        found.compute()
        yield found


def test_each_fault_is_found_and_sound_data_is_silent(world: Live, faults: dict[str, tuple[str, set[str]]]) -> None:
    assert _fired(world) == set()
    # Late figures come with answers of another, narrower window: the newest one that covers an hour is the truth.
    world.sandbox.clock.set(world.now + timedelta(hours=5))
    world.due()
    world.sync()
    world.compute()
    assert _fired(world) == set()
    for fault, (statement, expected) in faults.items():
        assert world.connection.execute(statement).fetchall(), fault
        world.connection.commit()
        assert _fired(world) == expected, fault
        # Computed anew from what is stored, all is well again; a lost sale is read again.
        world.rows("update public.partition_ledger set input_version = input_version + 1, status = 'stale' returning 1")
        if "sale" in fault:
            world.rows("update public.raw_data_backup set processed = false where source = 'shopify' returning 1")
        world.compute()
        assert _fired(world) == set(), fault
