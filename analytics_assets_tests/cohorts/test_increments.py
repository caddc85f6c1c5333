"""A day that waits in the ledger is added to the rows that there are; a day computed again counts its periods anew."""

from datetime import UTC, date, datetime, timedelta
from random import Random
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics_assets_tests.cohorts.histories import rounds, worlds_of
from analytics_assets_tests.cohorts.model import Facts, Visitor, cells
from analytics_assets_tests.cohorts.test_definitions_hold import PROPERTY, ZONES, moments_of, today_of
from analytics_assets_tests.cohorts.world import World, clear, compute, set_today, table_cells
from analytics_assets_tests.woocommerce import Connection

MONDAY = datetime(2026, 9, 14, 12, tzinfo=UTC)


@settings(PROPERTY, max_examples=2)
@given(seed=st.integers(0, 2**32), zones=st.lists(st.sampled_from(ZONES), min_size=2, max_size=2), store=st.booleans())
def test_days_alone_equal_the_definitions(
    connection: Connection, organizations: list[UUID], seed: int, zones: list[str], store: bool
) -> None:
    """Two organisations, of which each has its own days that wait; after each few changes each day by itself, in any order."""
    random = Random(seed)
    clear(connection)
    moments = moments_of(random, datetime.now(UTC) - timedelta(hours=15))
    worlds = worlds_of(connection, organizations, zones)
    for days in rounds(random, worlds, moments, [store] * 2):
        for day in days:
            compute(connection, random.sample(organizations, 2), day, day)
    for world in worlds:
        assert table_cells(connection, world.id) == cells(world.facts, today_of(connection, world.facts.zone))


@pytest.fixture
def shop(connection: Connection, organizations: list[UUID]) -> World:
    """Three users of one week, two of whom came back a week later; today is a Wednesday."""
    set_today(connection, date(2026, 9, 16))
    world = World(connection, organizations[0], Facts("UTC"))
    for user, weeks in (("a", (2, 1)), ("b", (2, 1)), ("c", (2,)), ("d", (1,))):
        world.put_visitor(user, Visitor([MONDAY - timedelta(weeks=count) for count in weeks], user))
    settle(world)
    return world


def settle(world: World) -> None:
    """Computes each day touched by itself; the rows are then those of the definitions."""
    for day in sorted(world.take_dirty()):
        compute(world.connection, [world.id], day, day)
    assert table_cells(world.connection, world.id) == cells(world.facts, date(2026, 9, 16))


_DAMAGE = [
    pytest.param("delete from public.cohort_analysis where period_number = 1 and period_type = 'week'", id="rows lost"),
    pytest.param("update public.cohort_analysis set active_users = cohort_size where period_number = 1", id="too many"),
]


@pytest.mark.parametrize("statement", _DAMAGE)
def test_a_day_computed_again_mends_its_rows(shop: World, statement: str) -> None:
    """A single one, with nothing new."""
    shop.connection.execute(statement)
    compute(shop.connection, [shop.id], (MONDAY - timedelta(weeks=1)).date(), (MONDAY - timedelta(weeks=1)).date())
    settle(shop)


@pytest.mark.parametrize("statement", _DAMAGE)
def test_what_cannot_be_added_to_is_counted_anew(shop: World, statement: str) -> None:
    """A user more comes to a row that is not there, or that has all of them already: found out, and mended."""
    shop.connection.execute(statement)
    user = shop.facts.visitors["c"]
    shop.put_visitor("c", Visitor([*user.visits, MONDAY - timedelta(days=6)], "c"))
    # (The day of the first visit comes with it; the last one is the one to which something is added.)
    day = (MONDAY - timedelta(days=6)).date()
    shop.take_dirty()
    compute(shop.connection, [shop.id], day, day)
    settle(shop)
