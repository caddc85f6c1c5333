"""aggregate_funnels against the model, and what must hold without any expected number."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import count, permutations
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics_assets_tests.funnels.model import Counts, Event, Funnel, add_events, add_funnel, compute, counts, table
from analytics_assets_tests.woocommerce import Connection

# Days on which clocks change, by an hour, by half an hour, at midnight; and zones whose hours begin at :30 and :45.
ZONES = {
    "UTC": datetime(2026, 3, 1, tzinfo=UTC),
    "Europe/Berlin": datetime(2026, 3, 28, 23, tzinfo=UTC),
    "America/New_York": datetime(2025, 11, 2, 4, tzinfo=UTC),
    "Asia/Kolkata": datetime(2026, 2, 28, 18, 30, tzinfo=UTC),
    "Asia/Kathmandu": datetime(2026, 3, 31, 18, 15, tzinfo=UTC),
    "Australia/Lord_Howe": datetime(2026, 4, 4, 13, 30, tzinfo=UTC),
    "America/Havana": datetime(2025, 11, 2, 4, tzinfo=UTC),
}
FIRST, LAST = date(2025, 10, 25), date(2026, 4, 20)
SOME = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
FEW = settings(SOME, max_examples=12)
_slugs = (f"shop-{number}" for number in count())

NAMES = ("A", "B", "C")
STEPS: list[dict[str, object]] = [
    *[dict[str, object](name=name, event=name) for name in NAMES],
    {"name": "A as a page", "event": "A", "type": "page"},
    {"name": "any page", "type": "page"},
    {"name": "thanks", "page": "/thanks*"},
    {"name": "shoes", "event": "B", "properties": {"category": "shoes"}},
]
PAGES = (None, "https://shop.example/thanks?order=1", "https://shop.example/", "/thanks/you")


@st.composite
def events_of(draw: st.DrawFn, start: datetime, most: int = 14) -> list[Event]:
    """Events of a few actors, many at the same instant, around the start of a day."""
    steps = st.sampled_from([-90, -60, -30, 0, 0, 0, 15, 30, 60, 60, 120, 180, 600, 1380, 1440, 1500, 2880, 2940])
    return draw(
        st.lists(
            st.builds(
                Event,
                at=steps.map(lambda minutes: start + timedelta(minutes=minutes)),
                visitor=st.sampled_from(["v", "w"]),
                session=st.sampled_from(["s", "t"]),
                user=st.booleans(),
                name=st.sampled_from([*NAMES, "Z"]),
                kind=st.sampled_from(["track", "track", "page"]),
                page=st.sampled_from(PAGES),
                properties=st.sampled_from([{}, {}, {"category": "shoes"}, {"category": "hats"}]),
            ),
            max_size=most,
        )
    )


def _funnels(steps: Sequence[dict[str, object]], most: int = 4) -> st.SearchStrategy[Funnel]:
    return st.builds(
        Funnel,
        steps=st.lists(st.sampled_from(steps), min_size=1, max_size=most),
        window=st.sampled_from(
            [timedelta(seconds=1), timedelta(hours=1), timedelta(hours=24), timedelta(hours=25), timedelta(days=7)]
        ),
        unit=st.sampled_from(["user", "session"]),
    )


def funnels_of(steps: Sequence[dict[str, object]] = STEPS) -> st.SearchStrategy[list[Funnel]]:
    """One to three funnels, steps repeated and overlapping as they come."""
    return st.lists(_funnels(steps), min_size=1, max_size=3).map(
        lambda found: [replace(funnel, name=f"funnel {number}") for number, funnel in enumerate(found)]
    )


@pytest.fixture
def fresh(connection: Connection) -> Iterator[Connection]:
    """A connection of which nothing stays."""
    yield connection
    connection.rollback()


def _shop(connection: Connection, zone: str, events: Sequence[Event], funnels: Sequence[Funnel]) -> UUID:
    made = connection.execute(
        "insert into organizations (slug, time_zone) values (%s, %s) returning id", (next(_slugs), zone)
    ).fetchone()
    assert made is not None
    organization: UUID = made["id"]
    for funnel in funnels:
        add_funnel(connection, organization, funnel)
    add_events(connection, organization, events)
    return organization


def _counted(connection: Connection, zone: str, events: Sequence[Event], funnels: Sequence[Funnel]) -> Counts:
    organization = _shop(connection, zone, events, funnels)
    compute(connection, [organization], FIRST, LAST)
    return table(connection, organization)


class TestModel:
    @SOME
    @given(st.data())
    def test_all_organisations_at_once(self, fresh: Connection, data: st.DataObject) -> None:
        """Ties, repeated and overlapping steps, windows, clock changes: cell by cell, in one call for all."""
        expected: dict[UUID, Counts] = {}
        for zone in data.draw(st.lists(st.sampled_from(list(ZONES)), min_size=2, max_size=3)):
            events, funnels = data.draw(events_of(ZONES[zone])), data.draw(funnels_of())
            expected[_shop(fresh, zone, events, funnels)] = counts(events, funnels, zone)
        compute(fresh, list(expected), FIRST, LAST)
        assert {organization: table(fresh, organization) for organization in expected} == expected
        fresh.rollback()

    @SOME
    @given(st.data())
    def test_both_formulations_agree(self, fresh: Connection, data: st.DataObject) -> None:
        """Where every event is of one step at most, looking at instants as a whole gives what looking at events does."""
        zone = data.draw(st.sampled_from(list(ZONES)))
        events = data.draw(events_of(ZONES[zone], 25))
        steps = data.draw(st.permutations(STEPS[:3]))
        funnel = Funnel(steps, data.draw(st.sampled_from([timedelta(hours=1), timedelta(days=1)])), "user")
        once = _counted(fresh, zone, events, [funnel])
        fresh.execute(
            "create or replace function private.steps_overlap(steps jsonb) returns boolean"
            " language sql immutable set search_path = '' as 'select true'"
        )
        assert _counted(fresh, zone, events, [funnel]) == once == counts(events, [funnel], zone)
        fresh.rollback()

    @settings(SOME, max_examples=150)
    @given(st.lists(st.integers(1, 15), min_size=1, max_size=5), st.integers(0, 3))
    def test_an_instant_serves_as_many_steps_as_it_has_events_for(
        self, fresh: Connection, masks: list[int], from_step: int
    ) -> None:
        """The matching against trying every order of the events."""

        def served(order: Sequence[int]) -> int:
            step = from_step
            for mask in order:
                if step == 4 or not mask >> step & 1:
                    break
                step += 1
            return step

        row = fresh.execute("select private.steps_at_once(%s, %s, 4) as reached", (masks, from_step)).fetchone()
        assert row == {"reached": max(served(order) for order in permutations(masks))}


class TestInvariants:
    @FEW
    @given(st.data())
    def test_seven_days_later(self, fresh: Connection, data: st.DataObject) -> None:
        events, funnels = data.draw(events_of(ZONES["Asia/Kolkata"])), data.draw(funnels_of())
        later = [replace(event, at=event.at + timedelta(days=7)) for event in events]
        moved = {
            (name, day + timedelta(days=7), step): value
            for (name, day, step), value in _counted(fresh, "Asia/Kolkata", events, funnels).items()
        }
        assert _counted(fresh, "Asia/Kolkata", later, funnels) == moved
        fresh.rollback()

    @FEW
    @given(st.data(), st.randoms(use_true_random=False))
    def test_order_of_insertion_and_running_twice(self, fresh: Connection, data: st.DataObject, order: random.Random) -> None:
        events, funnels = data.draw(events_of(ZONES["UTC"])), data.draw(funnels_of())
        shuffled = order.sample(events, len(events))
        organization = _shop(fresh, "UTC", events, funnels)
        compute(fresh, [organization], FIRST, LAST)
        first = table(fresh, organization)
        assert compute(fresh, [organization], FIRST, LAST) == {"rows_written": 0, "rows_deleted": 0, "days": 0}
        assert table(fresh, organization) == first == _counted(fresh, "UTC", shuffled, funnels)
        fresh.rollback()

    @FEW
    @given(st.data())
    def test_another_organisation_with_the_same_ids(self, fresh: Connection, data: st.DataObject) -> None:
        start = ZONES["UTC"]
        events, others, funnels = data.draw(events_of(start)), data.draw(events_of(start)), data.draw(funnels_of())
        alone = _counted(fresh, "UTC", events, funnels)
        one, other = _shop(fresh, "UTC", events, funnels), _shop(fresh, "UTC", others, funnels)
        compute(fresh, [one, other], FIRST, LAST)
        assert table(fresh, one) == alone
        fresh.rollback()

    @FEW
    @given(st.data())
    def test_events_that_are_no_step(self, fresh: Connection, data: st.DataObject) -> None:
        events, funnels = data.draw(events_of(ZONES["UTC"])), data.draw(funnels_of(STEPS[:3]))
        noise = [replace(event, name="Z") for event in data.draw(events_of(ZONES["UTC"]))]
        assert _counted(fresh, "UTC", [*events, *noise], funnels) == _counted(fresh, "UTC", events, funnels)
        fresh.rollback()

    @FEW
    @given(st.data())
    def test_a_duplicated_event(self, fresh: Connection, data: st.DataObject) -> None:
        """A message that comes twice is stored once: the key holds it back. (One sent as two messages is two events; it
        changes nothing either where no step is asked for twice.)"""
        events = data.draw(events_of(ZONES["UTC"]))
        steps = data.draw(st.lists(st.sampled_from(STEPS[:3]), min_size=1, max_size=3, unique_by=lambda step: str(step["name"])))
        funnels = [Funnel(steps, timedelta(hours=1), "user")]
        assert _counted(fresh, "UTC", [*events, *events[:3]], funnels) == _counted(fresh, "UTC", events, funnels)
        fresh.rollback()

    @FEW
    @given(st.data())
    def test_a_larger_window_never_lowers_a_step_and_steps_only_narrow(self, fresh: Connection, data: st.DataObject) -> None:
        events = data.draw(events_of(ZONES["Europe/Berlin"], 20))
        (funnel, *_) = data.draw(funnels_of())
        windows = [timedelta(seconds=1), timedelta(minutes=30), timedelta(hours=24), timedelta(days=3)]
        funnels = [replace(funnel, window=window, name=str(number)) for number, window in enumerate(windows)]
        found = _counted(fresh, "Europe/Berlin", events, funnels)
        for (name, day, step), (visitors, conversions) in found.items():
            if name > "0":
                assert visitors >= found[str(int(name) - 1), day, step][0]
            following = found.get((name, day, step + 1))
            assert conversions <= visitors and conversions == (following[0] if following else visitors)
        assert {step for _, _, step in found} in (set(), set(range(1, len(funnel.steps) + 1)))
        fresh.rollback()


A, B, C = ({"name": name, "event": name} for name in NAMES)
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def _at(name: str, minutes: float = 0, **more: object) -> Event:
    return Event(NOON + timedelta(minutes=minutes), name=name, **more)  # type: ignore[arg-type]


CASES = {
    "the window counts from the entry, to the microsecond": (
        [_at("A"), _at("B", 60), _at("A", 600), Event(NOON + timedelta(minutes=660, microseconds=1), name="B", session="s")],
        Funnel([A, B], timedelta(hours=1)), [1, 1],
    ),
    "a microsecond too late": ([_at("A"), Event(NOON + timedelta(minutes=60, microseconds=1), name="B")], Funnel([A, B], timedelta(hours=1)), [1, 0]),
    "not per step": ([_at("A"), _at("B", 50), _at("C", 100)], Funnel([A, B, C], timedelta(hours=1)), [1, 1, 0]),
    "the deepest try counts, be it not the first": ([_at("A"), _at("A", 100), _at("B", 110)], Funnel([A, B], timedelta(hours=1)), [1, 1]),
    "of two tries that meet, the later has most of its window left": (
        [_at("A"), _at("A", 30), _at("B", 40), _at("C", 80)], Funnel([A, B, C], timedelta(hours=1)), [1, 1, 1],
    ),
    "order matters": ([_at("B"), _at("A", 1)], Funnel([A, B]), [1, 0]),
    "the same instant counts": ([_at("B"), _at("A"), _at("C")], Funnel([A, B, C]), [1, 1, 1]),
    "one event never serves two steps": ([_at("A")], Funnel([A, A]), [1, 0]),
    "two at one instant may": ([_at("A"), _at("A")], Funnel([A, A]), [1, 1]),
    "in either order": (
        [_at("A", kind="page"), _at("B", kind="track")],
        Funnel([{"name": "any", "event": "B"}, {"name": "page", "type": "page"}]), [1, 1],
    ),
    "the wider filter leaves the event that the narrower needs": (
        [_at("A", kind="page"), _at("A")], Funnel([{"name": "any", "event": "A"}, {"name": "page", "type": "page"}]), [1, 1],
    ),
    "a session's actor is visitor and session": ([_at("A"), _at("B", 1, visitor="w")], Funnel([A, B]), [1, 0]),
    "a known user goes on in the next session": (
        [_at("A", user=True), _at("B", 1, session="t", user=True)], Funnel([A, B], unit="user"), [1, 1],
    ),
    "nobody known does not": ([_at("A"), _at("B", 1, session="t")], Funnel([A, B], unit="user"), [1, 0]),
    "a pattern's other signs are themselves": (
        [_at("A", page="https://shop.example/a_b%20c"), _at("B", 1, page="https://shop.example/axb%20c")],
        Funnel([{"name": "p", "page": "/a_b%20c"}, {"name": "q", "page": "/a_b*"}]), [1, 0],
    ),
    "the path of an address without one": ([_at("A", page="https://shop.example")], Funnel([{"name": "p", "page": "/"}]), [1]),
    "a pattern over the whole address": (
        [_at("A", page="https://shop.example/x?step=2#top")], Funnel([{"name": "p", "page": "https://*step=2*"}]), [1],
    ),
}  # fmt: skip


def test_the_definitions_one_by_one(fresh: Connection) -> None:
    """All in one computation: an organisation for each."""
    made = {name: _shop(fresh, "UTC", events, [funnel]) for name, (events, funnel, _) in CASES.items()}
    compute(fresh, list(made.values()), FIRST, LAST)
    for name, (events, funnel, reached) in CASES.items():
        found = table(fresh, made[name])
        assert [found[funnel.name, NOON.date(), step][0] for step in range(1, len(reached) + 1)] == reached, name
        assert found == counts(events, [funnel], "UTC"), name


def test_twenty_steps_and_a_busy_actor(fresh: Connection) -> None:
    """The longest funnel, its steps all alike; and thousands of events of one actor, many at the same instant."""
    steps = [{"name": f"step {number}", "event": "A"} for number in range(20)]
    found = _counted(fresh, "UTC", [_at("A") for _ in range(19)], [Funnel(steps)])
    assert [found["f", NOON.date(), step][0] for step in (1, 19, 20)] == [1, 1, 0]

    events = [_at("ABC"[number % 3], number // 4 / 10) for number in range(3000)]
    found = _counted(fresh, "UTC", events, [Funnel([A, B, C, A, B, C]), Funnel([A, B, C], name="g")])
    assert found["f", NOON.date(), 6] == found["g", NOON.date(), 3] == (1, 1)


def test_an_entry_on_two_days_counts_on_both(fresh: Connection) -> None:
    events = [_at("A"), _at("A", 1440), _at("B", 1450)]
    found = _counted(fresh, "UTC", events, [Funnel([A, B], timedelta(days=2))])
    assert found["f", NOON.date(), 2] == found["f", NOON.date() + timedelta(days=1), 2] == (1, 1)
