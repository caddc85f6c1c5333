"""The tracked part of the demo: website visitors of the sample shops sent through a collector, and what became of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import httpx

from analytics_assets.commands import funnels
from analytics_assets.commands.console import err, fail, out, print_table
from analytics_assets.database import analytics_url, connect, conninfo
from analytics_assets.events import keys
from analytics_assets.events.supervisor import Supervisor
from analytics_assets.funnels import registry
from analytics_assets.funnels.definitions import make_funnel
from analytics_assets.listening import listen
from analytics_assets.organizations.registry import Organization
from analytics_assets.sandbox.shop_world import Shop
from analytics_assets.sandbox.track import TrackError, send
from analytics_assets.sandbox.visitors import daily_users, hourly_truth, messages
from analytics_assets.sql import query

_KEY_NAME, _FUNNEL = "demo", "checkout"
_STEPS = ("Visit: page=/", "Product Viewed", "Product Added", "Checkout Started", "Order Completed")


@dataclass(frozen=True)
class TrackedDemo:
    """Shops with their organisations, and what their visitors have done by the begin of this hour."""

    sites: Sequence[tuple[Shop, Organization]]
    first_day: date
    now: datetime

    @property
    def end(self) -> date:
        """The day after the running one, of any of the organisations."""
        return max(self.now.astimezone(ZoneInfo(one.time_zone)).date() for _, one in self.sites) + timedelta(days=1)

    def send(self) -> int:
        """Sends what the database does not have yet through a collector of its own; returns how many messages.

        Every website gets a funnel from its home page to the order.
        """
        count = 0
        funnel = make_funnel(_FUNNEL, "session", None, list(_STEPS))
        with collecting() as base, connect() as connection:
            for shop, organization in self.sites:
                registry.store(connection, organization.slug, funnel)
                row = connection.execute(query("last_event"), {"organization_id": organization.id}).fetchone()
                newest = row["newest"] if row else None
                # Once more what the last call may have broken off in: the collector knows what it has.
                since = newest - timedelta(hours=1) if newest else None
                sent = messages(shop, self.first_day, self.now, since)
                if not sent:
                    continue
                key = keys.create(connection, organization.id, _KEY_NAME)
                try:
                    count += send(base, key, sent)
                except (TrackError, httpx.HTTPError) as error:
                    fail(f"{organization.slug}: {error}")
                finally:
                    keys.revoke(connection, organization.id, _KEY_NAME)
        return count

    def check(self) -> bool:
        """Compares the hours and days of channel events with what the visitors did, and prints what was compared."""
        hours = days = 0
        different: list[tuple[Any, ...]] = []
        with connect() as connection:
            for shop, organization in self.sites:
                zone = ZoneInfo(organization.time_zone)
                truth: dict[tuple[str, Any], Decimal] = {
                    **hourly_truth(shop, self.first_day, self.now),
                    **{
                        ("users_active", day): Decimal(users)
                        for day, users in daily_users(shop, self.first_day, self.now).items()
                    },
                }
                found = {
                    (row["metric"], row["at"]): row["value"]
                    for name in ("event_metrics", "event_users")
                    for row in connection.execute(query(name), {"organization_id": organization.id})
                }
                for metric, at in truth.keys() | found.keys():
                    if not self._is_judged(at, zone):
                        continue
                    hours, days = (hours, days + 1) if metric == "users_active" else (hours + 1, days)
                    expected, value = truth.get((metric, at), Decimal(0)), found.get((metric, at), Decimal(0))
                    if expected != value:
                        different.append((organization.slug, metric, at, expected, value))
        print_table(
            f"{len(self.sites)} websites beside what their visitors did",
            ["channel", "hourly values", "daily values", "different"],
            [("events", f"{hours:,}", f"{days:,}", len(different))],
            right=["hourly values", "daily values", "different"],
        )
        if different:
            print_table("different", ["organization", "metric", "at", "visitors", "table"], sorted(different, key=str)[:20])
        return not different

    def _is_judged(self, at: Any, zone: ZoneInfo) -> bool:
        """Hours that have ended; days before the running one."""
        if isinstance(at, datetime):
            return at + timedelta(hours=1) <= self.now
        return bool(at < self.now.astimezone(zone).date())


def tracked_demo(sites: Sequence[tuple[Shop, Organization]], first_day: date) -> TrackedDemo:
    """The demo of so many websites."""
    return TrackedDemo(sites, first_day, datetime.now(UTC).replace(minute=0, second=0, microsecond=0))


@contextmanager
def collecting() -> Iterator[str]:
    """A collector on a free loopback port while the block runs; its address."""
    listener = listen("127.0.0.1", 0)
    try:
        supervisor = Supervisor(listener, conninfo(analytics_url()), 1, lambda text: err.print(text, markup=False))
        with supervisor.running():
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()


def show(organization: Organization) -> None:
    """Prints the organisation's funnel and its newest weekly cohorts."""
    funnels.show(organization.slug, _FUNNEL)
    with connect() as connection:
        cohorts = connection.execute(query("demo_cohorts"), {"organization_id": organization.id}).fetchall()
    if cohorts:
        weeks = sorted({row["period_number"] for row in cohorts})
        by_date: dict[date, dict[int, Any]] = {}
        for row in cohorts:
            by_date.setdefault(row["cohort_date"], {})[row["period_number"]] = row
        out.print()
        print_table(
            f"{organization.slug}: who came back, by week (* so far)",
            ["week of", "users", *(f"week {k}" for k in weeks)],
            [
                (
                    day,
                    next(iter(cells.values()))["cohort_size"],
                    *(
                        f"{cells[k]['retention_rate']:.0%}{'' if cells[k]['is_complete'] else ' *'}" if k in cells else ""
                        for k in weeks
                    ),
                )
                for day, cells in sorted(by_date.items())
            ],
            right=["users", *(f"week {k}" for k in weeks)],
        )
