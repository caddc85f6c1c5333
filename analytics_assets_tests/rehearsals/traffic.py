"""The websites' visitors of a rehearsal: sent to a collector as they come, some of them a day late, none lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any
from uuid import UUID

import httpx

from analytics_assets.sandbox.shop_world import Shop
from analytics_assets.sandbox.track import TrackError, send
from analytics_assets.sandbox.visitors import Message, daily_users, hourly_truth, messages
from analytics_assets.sql import query
from analytics_assets_tests.conftest import Connection

_LATE_BY = timedelta(hours=20)
_ONE_IN = 8


@dataclass
class Site:
    """A website. key: its write key; late: messages that a client keeps back, and until when."""

    organization_id: UUID
    shop: Shop
    key: str
    since: datetime | None = None
    late: list[tuple[datetime, Message]] = field(default_factory=list)


def _is_late(message: Message) -> bool:
    return int(sha256(str(message["messageId"]).encode()).hexdigest()[:8], 16) % _ONE_IN == 0


@dataclass
class Traffic:
    """All of them. sent, late: messages; refused: attempts that the collector did not take, made again at the next step."""

    base: str
    first_day: date
    sites: list[Site]
    sent: int = 0
    late: int = 0
    refused: int = 0

    def send(self, now: datetime, *, all_of_it: bool = False) -> bool:
        """What has happened by now; whether the collector took it. all_of_it: also what is kept back."""
        took = True
        for site in self.sites:
            new = messages(site.shop, self.first_day, now, site.since)
            kept = [(now + _LATE_BY, message) for message in new if _is_late(message)]
            ripe = [message for at, message in site.late if all_of_it or at <= now]
            waiting = [(at, message) for at, message in site.late if not (all_of_it or at <= now)]
            sent = [message for message in new if all_of_it or not _is_late(message)] + ripe
            try:
                self.sent += send(self.base, site.key, sent)
            except (TrackError, httpx.HTTPError):
                self.refused += 1
                took = False
                continue
            self.late += len(ripe)
            site.since, site.late = now, waiting if all_of_it else waiting + kept
        return took

    def compare(self, connection: Connection, now: datetime) -> tuple[int, list[Any]]:
        """(values compared, those that differ) of channel events beside what the visitors did."""
        compared, different = 0, list[Any]()
        for site in self.sites:
            truth: dict[tuple[str, Any], Decimal] = {
                **hourly_truth(site.shop, self.first_day, now),
                **{("users_active", day): Decimal(n) for day, n in daily_users(site.shop, self.first_day, now).items()},
            }
            found: Mapping[tuple[str, Any], Decimal] = {
                (row["metric"], row["at"]): row["value"]
                for name in ("event_metrics", "event_users")
                for row in connection.execute(query(name), {"organization_id": site.organization_id}).fetchall()
            }
            for key in truth.keys() | found.keys():
                compared += 1
                expected, value = truth.get(key, Decimal(0)), found.get(key, Decimal(0))
                if expected != value:
                    different.append(((site.shop.slug, "events", *key), expected, value))
        connection.rollback()
        return compared, different
