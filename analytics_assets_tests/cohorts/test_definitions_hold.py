"""Random histories, taken in piece by piece, against the definitions in plain Python, cell by cell."""

from datetime import UTC, date, datetime, timedelta
from random import Random
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics_assets_tests.cohorts.model import Facts, cells
from analytics_assets_tests.cohorts.world import World, add_sources, changes, clear, compute, table_cells
from analytics_assets_tests.woocommerce import Connection, add_organization

ZONES = ["Europe/London", "America/St_Johns", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Kiritimati", "America/New_York"]
_PROPERTY = settings(
    max_examples=8, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture], print_blob=True
)


def today_of(connection: Connection, zone: str) -> date:
    """The running day of a zone, as the database has it."""
    row = connection.execute("select private.cohort_today(%s) as today", (zone,)).fetchone()
    assert row is not None
    today: date = row["today"]
    return today


def moments_of(random: Random, end: datetime) -> list[datetime]:
    """A handful of instants in the last months, close to midnights, ends of months and clock changes, so that they meet."""
    days = [end - timedelta(days=random.randrange(1, 100)) for _ in range(6)]
    return [
        day.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(minutes=random.randrange(-14 * 60, 14 * 60))
        for day in days
        for _ in range(2)
    ]


@pytest.fixture
def organizations(connection: Connection) -> list[UUID]:
    """Two, with a WooCommerce and a Shopify store each."""
    ids = [add_organization(connection, slug) for slug in ("acme", "bolt")]
    for organization in ids:
        add_sources(connection, organization)
    connection.commit()
    return ids


@_PROPERTY
@given(seed=st.integers(0, 2**32), zones=st.lists(st.sampled_from(ZONES), min_size=2, max_size=2), store=st.booleans())
def test_increments_equal_the_definitions(
    connection: Connection, organizations: list[UUID], seed: int, zones: list[str], store: bool
) -> None:
    """Two organisations in different zones; after each few changes the days touched are computed, in any order and in any
    pieces. The first may gain store orders only after tracked ones."""
    random = Random(seed)
    clear(connection)
    moments = moments_of(random, datetime.now(UTC) - timedelta(hours=15))
    worlds = []
    for organization, zone in zip(organizations, zones, strict=True):
        connection.execute("update public.organizations set time_zone = %s where id = %s", (zone, organization))
        worlds.append(World(connection, organization, Facts(zone)))
    steps = [changes(random, world, moments, store or i == 0, 32) for i, world in enumerate(worlds)]
    for _ in range(4):
        for step in steps:
            for _ in range(8):
                next(step)
        days = sorted(set().union(*(world.take_dirty() for world in worlds)))
        random.shuffle(days)
        while days:
            first = days.pop()
            last = max(first, random.choice([first, *days]))
            compute(connection, random.sample(organizations, 2), first, last)
            days = [day for day in days if not first <= day <= last]
    for world in worlds:
        found, expected = table_cells(connection, world.id), cells(world.facts, today_of(connection, world.facts.zone))
        assert found == expected
        assert expected or not world.facts.visitors
