"""A small world for the tests of its stores and shops."""

from __future__ import annotations

from datetime import UTC, date, datetime

from analytics_assets.sandbox.state import Sandbox
from analytics_assets.sandbox.world import Clock, make_world

FIRST_DAY = date(2026, 10, 12)
#: Two weeks after the clocks of Europe went back, three after those of Lord Howe went forward.
NOW = datetime(2026, 11, 8, 14, 25, 36, tzinfo=UTC)
WORLD = make_world(11, FIRST_DAY, orders_per_day=8)
BERLIN, KOLKATA, OLDER, HOWE, STRIPPED = (WORLD.organizations[n - 1] for n in (1, 2, 6, 9, 10))


def fresh(now: datetime = NOW) -> Sandbox:
    """A server's state with a clock that stands still."""
    return Sandbox(WORLD, Clock(now))
