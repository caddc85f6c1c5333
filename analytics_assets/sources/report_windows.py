"""Windows of reports: whole days of an account's calendar, and the instants at which they begin and end.

Vendors are asked for dates and answer in the account's zone, while windows are kept as instants. The zone of the question
(as it is known here) and that of the answer (as the vendor has it now) may differ; so both directions take a zone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from analytics_assets.sources.planning import local_midnight

_DAY = timedelta(days=1)
# As private.is_time_zone has it: the database keeps no others.
_NAME = re.compile(r"[A-Za-z]+([_-][A-Za-z0-9]+)*(/[A-Za-z0-9_+-]+)*")


def known_zone(name: object) -> ZoneInfo | None:
    """The zone of an IANA name; None where there is none of that name."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None


@dataclass(frozen=True)
class LocalDays:
    """Days of the wall clock from ``first`` to ``last``, both included."""

    first: date
    last: date

    @classmethod
    def touched(cls, start: datetime, end: datetime, zone: ZoneInfo) -> LocalDays:
        """The days that [start, end) touches: of a window from midnight to midnight of the zone exactly its days, of any
        other one (the account has moved to another zone) no less than it covers."""
        return cls(start.astimezone(zone).date(), (end - timedelta(microseconds=1)).astimezone(zone).date())

    def window(self, zone: ZoneInfo) -> tuple[datetime, datetime]:
        """The instants (UTC, half-open) between which these days lie in a zone: of a day 23, 24 or 25 hours, where clocks
        change by half an hour 23.5 or 24.5."""
        return local_midnight(self.first, zone), local_midnight(self.last + _DAY, zone)

    def __len__(self) -> int:
        return (self.last - self.first).days + 1

    def __iter__(self) -> Iterator[date]:
        return (self.first + number * _DAY for number in range(len(self)))

    def __contains__(self, day: object) -> bool:
        return isinstance(day, date) and self.first <= day <= self.last

    def __str__(self) -> str:
        return f"{self.first} to {self.last}"
