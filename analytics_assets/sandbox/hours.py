"""The hours of a local day as reports name them: by the number on the wall clock."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

#: Reports move on by quarters of an hour: every zone's hours begin at one.
QUARTER = 900


@dataclass(frozen=True, slots=True)
class LocalHour:
    """An hour of the wall clock.

    Attributes:
        hour: 0 to 23.
        start, end: seconds since 1970 UTC, half-open. Where clocks go back the two hours of one number are one, from the
            start of the first one; where they go forward by half an hour, what is left of the hour.
    """

    hour: int
    start: int
    end: int

    @property
    def length(self) -> int:
        """Seconds."""
        return self.end - self.start


def _first_second(zone: ZoneInfo, day: date, hour: int) -> int | None:
    """None: the clock skips that hour. The time of a gap is read with the offset from before it (fold=0), which is the
    instant of the change; only where that change goes into the very same hour does the hour exist."""
    at = int(datetime(day.year, day.month, day.day, hour, tzinfo=zone).timestamp())
    local = datetime.fromtimestamp(at, zone)
    return at if (local.date(), local.hour) == (day, hour) else None


@lru_cache(maxsize=8192)
def local_hours(time_zone: str, day: date) -> tuple[LocalHour, ...]:
    """The hours that a local day has: 24, or 23 where the clock skips one."""
    zone = ZoneInfo(time_zone)
    starts = [(hour, at) for hour in range(24) if (at := _first_second(zone, day, hour)) is not None]
    tomorrow = day + timedelta(days=1)
    next_day = next(at for hour in range(24) if (at := _first_second(zone, tomorrow, hour)) is not None)
    ends = [at for _, at in starts[1:]] + [next_day]
    return tuple(LocalHour(hour, start, end) for (hour, start), end in zip(starts, ends, strict=True))


def local_date(time_zone: str, at: datetime) -> date:
    """The date on the wall clock at an instant."""
    return at.astimezone(ZoneInfo(time_zone)).date()


def days_between(first: date, last: date) -> Iterator[date]:
    """The days from first to last, both included."""
    for number in range((last - first).days + 1):
        yield first + timedelta(days=number)
