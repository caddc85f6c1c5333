"""Windows of reports: local days and the instants between which they lie."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_assets.sources.report_values import is_number
from analytics_assets.sources.report_windows import LocalDays, known_zone

# Whole hours, half and three quarters, both hemispheres, clocks that change by half an hour, at midnight, on both sides of
# the date line.
ZONES = (
    "UTC", "Europe/Berlin", "America/New_York", "America/St_Johns", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Adelaide",
    "Australia/Lord_Howe", "America/Havana", "America/Santiago", "Asia/Beirut", "Africa/Cairo", "Pacific/Kiritimati",
    "Pacific/Chatham", "Pacific/Marquesas",
)  # fmt: skip
days = st.dates(date(2015, 1, 1), date(2035, 12, 31))


def window(zone: str, first: str, last: str | None = None) -> tuple[datetime, datetime]:
    return LocalDays(date.fromisoformat(first), date.fromisoformat(last or first)).window(ZoneInfo(zone))


@pytest.mark.parametrize(
    ("zone", "day", "start", "hours"),
    [
        ("Europe/Berlin", "2026-07-01", "2026-06-30T22:00", 24),
        ("Europe/Berlin", "2026-03-29", "2026-03-28T23:00", 23),
        ("Europe/Berlin", "2026-10-25", "2026-10-24T22:00", 25),
        ("Asia/Kolkata", "2026-11-20", "2026-11-19T18:30", 24),
        ("Asia/Kathmandu", "2026-11-20", "2026-11-19T18:15", 24),
        ("Australia/Lord_Howe", "2026-10-04", "2026-10-03T13:30", 23.5),
        ("Australia/Lord_Howe", "2026-04-05", "2026-04-04T13:00", 24.5),
        # There is no midnight: the clock goes from 23:59 to 1:00, and the day begins with the change.
        ("Africa/Cairo", "2026-04-24", "2026-04-23T22:00", 23),
        # There are two: the day begins with the first.
        ("America/Havana", "2026-11-01", "2026-11-01T04:00", 25),
    ],
)
def test_a_day_has_the_hours_that_the_clock_gives_it(zone: str, day: str, start: str, hours: float) -> None:
    first, end = window(zone, day)
    assert (first, end - first) == (datetime.fromisoformat(start).replace(tzinfo=UTC), timedelta(hours=hours))


@given(st.sampled_from(ZONES), days, st.integers(0, 95))
def test_days_and_their_window_are_the_same_thing(zone: str, first: date, more: int) -> None:
    there = LocalDays(first, first + timedelta(days=more))
    start, end = there.window(ZoneInfo(zone))
    assert LocalDays.touched(start, end, ZoneInfo(zone)) == there
    assert len(there) == len(list(there)) == more + 1
    assert all(day in there for day in there)
    assert first - timedelta(days=1) not in there and there.last + timedelta(days=1) not in there


@given(st.sampled_from(ZONES), days)
def test_the_window_of_the_next_day_begins_where_that_of_the_day_ends(zone: str, day: date) -> None:
    following = day + timedelta(days=1)
    assert LocalDays(day, day).window(ZoneInfo(zone))[1] == LocalDays(following, following).window(ZoneInfo(zone))[0]


@given(st.sampled_from(ZONES), st.sampled_from(ZONES), days, st.integers(0, 40))
def test_a_window_of_another_zone_is_covered(zone: str, other: str, first: date, more: int) -> None:
    start, end = LocalDays(first, first + timedelta(days=more)).window(ZoneInfo(zone))
    covered = LocalDays.touched(start, end, ZoneInfo(other)).window(ZoneInfo(other))
    assert covered[0] <= start and end <= covered[1]
    # By no more than the days at both ends.
    assert covered[1] - covered[0] < end - start + timedelta(days=2, hours=3)


@pytest.mark.parametrize("name", [None, "", 5, "Mars/Olympus", "../etc/passwd", "/etc/localtime", "Europe/Berlin\x00", "Europe"])
def test_no_zone(name: object) -> None:
    assert known_zone(name) is None


def test_a_zone() -> None:
    assert known_zone("Australia/Lord_Howe") == ZoneInfo("Australia/Lord_Howe")


@pytest.mark.parametrize("value", ["0", "-1.50", "12.", ".5", "1E+7", "1.0e-2", "9" * 100])
def test_numbers(value: str) -> None:
    assert is_number(value)


@pytest.mark.parametrize(
    "value", ["", "NaN", "Infinity", "1,5", "0x1", "1e999", "٣", "1\n", " 1", "--1", ".", "9" * 101, 5, None]
)
def test_no_numbers(value: object) -> None:
    assert not is_number(value)
