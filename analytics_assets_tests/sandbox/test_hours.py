"""The hours of local days, above all of those on which clocks change."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_assets.sandbox.hours import QUARTER, local_hours

ZONES = (
    "Europe/Berlin", "Asia/Kolkata", "America/New_York", "Australia/Adelaide", "Australia/Lord_Howe", "Asia/Kathmandu",
    "America/Havana", "Asia/Beirut", "Atlantic/Azores",
)  # fmt: skip


@given(st.sampled_from(ZONES), st.dates(date(2015, 1, 1), date(2027, 12, 31)))
def test_hours_fill_the_day_one_after_another(zone: str, day: date) -> None:
    hours = local_hours(zone, day)
    assert [one.hour for one in hours] == sorted({one.hour for one in hours})
    assert [one.end for one in hours[:-1]] == [one.start for one in hours[1:]]
    assert hours[-1].end == local_hours(zone, day + timedelta(days=1))[0].start
    for one in hours:
        local = datetime.fromtimestamp(one.start, ZoneInfo(zone))
        assert (local.date(), local.hour, one.start % QUARTER) == (day, one.hour, 0)
        last = datetime.fromtimestamp(one.end - 1, ZoneInfo(zone))
        assert (last.date(), last.hour) == (day, one.hour)


@pytest.mark.parametrize(
    ("zone", "day", "missing", "odd"),
    [
        ("Europe/Berlin", date(2026, 3, 29), {2}, {}),
        ("Europe/Berlin", date(2026, 10, 25), set(), {2: 7200}),
        ("America/Havana", date(2026, 3, 8), {0}, {}),
        ("America/Havana", date(2026, 11, 1), set(), {0: 7200}),
        # Half an hour: what is left of the hour, and an hour and a half.
        ("Australia/Lord_Howe", date(2026, 10, 4), set(), {2: 1800}),
        ("Australia/Lord_Howe", date(2026, 4, 5), set(), {1: 5400}),
    ],
)
def test_clock_changes(zone: str, day: date, missing: set[int], odd: dict[int, int]) -> None:
    hours = local_hours(zone, day)
    assert set(range(24)) - {one.hour for one in hours} == missing
    assert {one.hour: one.length for one in hours if one.length != 3600} == odd


def test_instants_of_half_hour_zones_and_of_the_doubled_hour() -> None:
    first = local_hours("Asia/Kolkata", date(2026, 11, 20))[0]
    assert datetime.fromtimestamp(first.start, UTC) == datetime(2026, 11, 19, 18, 30, tzinfo=UTC)
    doubled = local_hours("Europe/Berlin", date(2026, 10, 25))[2]
    assert datetime.fromtimestamp(doubled.start, UTC) == datetime(2026, 10, 25, 0, 0, tzinfo=UTC)
