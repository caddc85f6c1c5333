"""What the aggregates say beside what the sandbox's world says: value by value, hour by hour and day by day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import psycopg

from analytics_assets.sandbox import ads, store_truth, traffic
from analytics_assets.sandbox.connect import organization_id
from analytics_assets.sandbox.world import SandboxOrganization, World, exchange_rate
from analytics_assets.sql import query

# (slug, channel, metric, instant or date)
Key = tuple[str, str, str, Any]
_MONEY = {"ad_spend", "ad_purchase_value"}


@dataclass
class Comparison:
    """Values compared and those that differ: (key, what the world says, what the tables say); None: no such row."""

    hours: int = 0
    days: int = 0
    by_channel: dict[str, Counter[str]] = field(default_factory=dict)
    differences: list[tuple[Key, Decimal | None, Decimal | None]] = field(default_factory=list)


def _converted(one: SandboxOrganization, metric: str, value: Decimal) -> Decimal:
    if metric in _MONEY and one.ad_currency != one.currency:
        return value * exchange_rate(one.ad_currency, one.currency)
    return value


def expected_hours(world: World, one: SandboxOrganization, now: datetime) -> dict[Key, Decimal]:
    """hourly_aggregates of an organisation as they must be when everything until ``now`` is synced; in its currency."""
    truths = {
        "google_analytics": traffic.hourly_truth(world, one, now),
        "meta_ads": ads.hourly_truth(world, one, now),
        "woocommerce": store_truth.hourly_truth_woocommerce(world, one, now),
        "shopify": store_truth.hourly_truth_shopify(world, one, now),
    }
    return {
        (one.slug, channel, metric, at): _converted(one, metric, value)
        for channel, truth in truths.items()
        for (metric, at), value in truth.items()
    }


def expected_days(world: World, one: SandboxOrganization, now: datetime, hours: dict[Key, Decimal]) -> dict[Key, Decimal]:
    """daily_aggregates likewise: sums of the hours by the organisation's days, and what only days know."""
    zone = ZoneInfo(one.time_zone)
    days: dict[Key, Decimal] = {}
    for (slug, channel, metric, at), value in hours.items():
        key = (slug, channel, metric, at.astimezone(zone).date())
        days[key] = days.get(key, Decimal(0)) + value
    truths = {
        "google_analytics": traffic.daily_truth(world, one, now),
        "meta_ads": ads.daily_truth(world, one, now),
        "woocommerce": store_truth.daily_truth_woocommerce(world, one, now),
        "shopify": store_truth.daily_truth_shopify(world, one, now),
    }
    for channel, truth in truths.items():
        for (metric, day), value in truth.items():
            days[one.slug, channel, metric, day] = _converted(one, metric, value)
    return days


def compare(
    connection: psycopg.Connection[dict[str, Any]],
    world: World,
    now: datetime,
    *,
    slugs: Collection[str] | None = None,
    channels: Collection[str] | None = None,
) -> Comparison:
    """Compares every value of both tables, both ways: what is missing differs, and what is too much.

    Days after ``now``'s own in UTC are left out: their partition does not exist yet.
    """
    chosen = [one for one in world.organizations if slugs is None or one.slug in slugs]
    ids = [organization_id(one) for one in chosen]
    last_day = now.astimezone(UTC).date()
    result = Comparison()
    hours = {key: value for one in chosen for key, value in expected_hours(world, one, now).items()}
    days: dict[Key, Decimal] = {}
    for one in chosen:
        mine = {key: value for key, value in hours.items() if key[0] == one.slug} if len(chosen) > 1 else hours
        days |= expected_days(world, one, now, mine)
    days = {key: value for key, value in days.items() if _date(key) <= last_day}
    for expected, name, kind in ((hours, "compare_hours", "hours"), (days, "compare_days", "days")):
        parameters = {"ids": ids} if kind == "hours" else {"ids": ids, "last_day": last_day}
        found = {
            (row["slug"], row["channel"], row["metric"], row["at"]): row["value"]
            for row in connection.execute(query(name), parameters)
        }
        for key in expected.keys() | found.keys():
            if channels is not None and key[1] not in channels:
                continue
            counter = result.by_channel.setdefault(key[1], Counter())
            counter[kind] += 1
            if expected.get(key) != found.get(key):
                counter["different"] += 1
                result.differences.append((key, expected.get(key), found.get(key)))
        setattr(result, kind, len(expected.keys() | found.keys()))
    result.differences.sort(key=lambda item: tuple(map(str, item[0])))
    return result


def _date(key: Key) -> date:
    day: date = key[3]
    return day
