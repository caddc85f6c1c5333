"""Random histories, taken in piece by piece, against the definitions in plain Python, cell by cell."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from random import Random
from uuid import UUID

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from analytics_assets_tests.cohorts.histories import changes, rounds, worlds_of
from analytics_assets_tests.cohorts.model import Facts, cells
from analytics_assets_tests.cohorts.world import World, clear, compute, load, set_today, table_cells, versions
from analytics_assets_tests.woocommerce import Connection

ZONES = ["Europe/London", "America/St_Johns", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Kiritimati", "America/New_York"]
PROPERTY = settings(
    max_examples=6,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    print_blob=True,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
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


@PROPERTY
@given(seed=st.integers(0, 2**32), zones=st.lists(st.sampled_from(ZONES), min_size=2, max_size=2), store=st.booleans())
def test_increments_equal_the_definitions(
    connection: Connection, organizations: list[UUID], seed: int, zones: list[str], store: bool
) -> None:
    """Two organisations in different zones; after each few changes the days touched are computed, in any order and in any
    pieces. The first may gain store orders only after tracked ones."""
    random = Random(seed)
    clear(connection)
    moments = moments_of(random, datetime.now(UTC) - timedelta(hours=15))
    worlds = worlds_of(connection, organizations, zones)
    for days in rounds(random, worlds, moments, [True, store]):
        while days:
            first = days.pop()
            last = max(first, random.choice([first, *days]))
            compute(connection, random.sample(organizations, 2), first, last)
            days = [day for day in days if not first <= day <= last]
    for world in worlds:
        found, expected = table_cells(connection, world.id), cells(world.facts, today_of(connection, world.facts.zone))
        assert found == expected
        assert expected or not world.facts.visitors


def history(connection: Connection, organization: UUID, zone: str, seed: int, end: datetime) -> World:
    """A random history that ends before an instant, its rows in the tables."""
    connection.execute("update public.organizations set time_zone = %s where id = %s", (zone, organization))
    random = Random(seed)
    world = World(connection, organization, Facts(zone))
    for _ in changes(random, world, moments_of(random, end), True, 40):
        pass
    return world


@settings(PROPERTY, max_examples=4)
@given(seed=st.integers(0, 2**32), zone=st.sampled_from(["Asia/Kolkata", "Pacific/Kiritimati", "UTC"]))
def test_a_week_later_is_a_week_later(connection: Connection, organizations: list[UUID], seed: int, zone: str) -> None:
    """All timestamps and today seven days on (in zones whose clocks never change): weekly rows move by seven days and
    nothing else changes."""
    found = []
    for shift in (timedelta(0), timedelta(days=7)):
        clear(connection)
        set_today(connection, date(2026, 9, 20) + shift)
        world = history(connection, organizations[0], zone, seed, datetime(2026, 9, 19, 9, tzinfo=UTC) + shift)
        days = world.take_dirty()
        compute(connection, organizations, min(days), max(days))
        cells_found = table_cells(connection, world.id)
        found.append({(k, c - shift, n): cell for (k, p, c, n), cell in cells_found.items() if p == "week"})
    assert found[0] == found[1] != {}


@settings(PROPERTY, max_examples=4)
@given(seed=st.integers(0, 2**32), zone=st.sampled_from(ZONES))
def test_order_and_repetition_do_not_matter(connection: Connection, organizations: list[UUID], seed: int, zone: str) -> None:
    """The same facts in another order of arrival, and their days in any order and alone, make the same rows; computed
    again, and with every visit reported twice, not one row is written."""
    clear(connection)
    world = history(connection, organizations[0], zone, seed, datetime.now(UTC) - timedelta(hours=15))
    days = sorted(world.take_dirty())
    compute(connection, organizations, days[0], days[-1])
    expected = table_cells(connection, world.id)
    assert expected == cells(world.facts, today_of(connection, zone))

    clear(connection)
    random = Random(seed)
    world = load(connection, world.id, world.facts, random)
    days = sorted(world.take_dirty())
    random.shuffle(days)
    for day in days:
        compute(connection, [world.id], day, day)
    assert table_cells(connection, world.id) == expected

    for name, visitor in list(world.facts.visitors.items()):
        world.put_visitor(name, replace(visitor, visits=visitor.visits * 2))
    rerun = [compute(connection, organizations[:1], min(days), max(days))]
    before = versions(connection)
    rerun.append(compute(connection, organizations[:1], min(days), max(days)))
    assert sum(row["rows_written"] + row["rows_deleted"] for rows in rerun for row in rows) == 0
    assert versions(connection) == before
