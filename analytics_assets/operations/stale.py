"""From the ledger's open buckets to as few runs as will compute them. Pure functions over rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

RAW_ASSETS = ("raw_google_analytics", "raw_meta_ads", "raw_woocommerce", "raw_shopify")
HOUR_ASSETS = (*RAW_ASSETS, "orders", "event_tracking", "hourly_aggregates", "ai_insights")
DAY_ASSETS = ("daily_aggregates", "cohort_analysis", "funnel_analysis", "rule_insights", "performance_alerts")
# What follows an asset on the same partitions.
_DOWNSTREAM = {
    "raw_google_analytics": ("hourly_aggregates", "ai_insights"),
    "raw_meta_ads": ("hourly_aggregates", "ai_insights"),
    "raw_woocommerce": ("orders", "hourly_aggregates", "ai_insights"),
    "raw_shopify": ("orders", "hourly_aggregates", "ai_insights"),
    "orders": ("hourly_aggregates", "ai_insights"),
    "event_tracking": ("hourly_aggregates", "ai_insights"),
    "hourly_aggregates": ("ai_insights",),
    "daily_aggregates": ("rule_insights",),
    "cohort_analysis": ("rule_insights",),
    "funnel_analysis": ("rule_insights",),
}
# Beyond so many runs it is cheaper to compute whole rectangles: what is up to date in them costs a read, no write.
MOST_RUNS = 20


@dataclass(frozen=True)
class OpenBucket:
    """A bucket of one organisation's partition that is not done."""

    asset: str
    partition_key: str
    bucket: datetime
    failed: bool


@dataclass(frozen=True)
class Request:
    """One run: assets over partition keys (first and last in Dagster's order) and buckets, both ends included."""

    assets: tuple[str, ...]
    keys: tuple[str, ...]
    first: datetime
    last: datetime


def _selection(assets: set[str]) -> tuple[str, ...]:
    """What has to run, in its order: the open assets and what follows them on the same partitions."""
    wanted = assets.union(*(_DOWNSTREAM.get(asset, ()) for asset in assets))
    chain = tuple(asset for asset in (*HOUR_ASSETS, *DAY_ASSETS) if asset in wanted)
    if not chain:
        raise ValueError(f"no asset of the ledger among {sorted(assets)}")
    return chain


def _ranges(buckets: Iterable[datetime], step: timedelta) -> list[tuple[datetime, datetime]]:
    found: list[tuple[datetime, datetime]] = []
    for bucket in sorted(set(buckets)):
        if found and bucket - found[-1][1] <= step:
            found[-1] = found[-1][0], bucket
        else:
            found.append((bucket, bucket))
    return found


def _few(ranges: list[tuple[datetime, datetime]], most: int) -> list[tuple[datetime, datetime]]:
    """The same, joined over the shortest gaps until there are so many at most."""
    gaps = sorted(range(1, len(ranges)), key=lambda place: ranges[place][0] - ranges[place - 1][1], reverse=True)
    cuts = [0, *sorted(gaps[: most - 1]), len(ranges)]
    return [(ranges[first][0], ranges[following - 1][1]) for first, following in pairwise(cuts)]


def plan_requests(open_buckets: Iterable[OpenBucket], key_order: list[str]) -> list[Request]:
    """The runs that compute the open buckets.

    One run for each organisation key, selection of assets and unbroken range; keys with the same range share a run
    where they are many. Buckets that failed before run apart, so that their partitions look failed and hold back no
    others. ``key_order`` is the order of Dagster's organization dimension; keys that are not in it are left for later.
    """
    position = {key: index for index, key in enumerate(key_order)}
    assets_of: dict[tuple[bool, str, datetime, bool], set[str]] = defaultdict(set)
    for item in open_buckets:
        if item.partition_key in position:
            daily = item.asset in DAY_ASSETS
            assets_of[daily, item.partition_key, item.bucket, item.failed].add(item.asset)

    buckets_of: dict[tuple[bool, tuple[str, ...], bool, str], list[datetime]] = defaultdict(list)
    for (daily, key, bucket, failed), assets in assets_of.items():
        buckets_of[daily, _selection(assets), failed, key].append(bucket)

    keys_of: dict[tuple[tuple[str, ...], bool, datetime, datetime], list[str]] = defaultdict(list)
    for (daily, selection, failed, key), buckets in buckets_of.items():
        for first, last in _ranges(buckets, timedelta(days=1) if daily else timedelta(hours=1)):
            keys_of[selection, failed, first, last].append(key)

    requests: list[Request] = []
    for (selection, failed, first, last), keys in keys_of.items():
        keys.sort(key=position.__getitem__)
        if len(keys) > MOST_RUNS and not failed:
            requests.append(Request(selection, tuple(keys), first, last))
        else:
            requests.extend(Request(selection, (key,), first, last) for key in keys)
    if len(requests) > MOST_RUNS:
        requests = _merged(requests, position)
    return sorted(requests, key=lambda request: (request.first, request.assets, request.keys))


def _merged(requests: list[Request], position: dict[str, int]) -> list[Request]:
    """Few rectangles over all keys concerned, a chain of assets each. (Sixty hours here and there were sixty runs.)"""
    merged: list[Request] = []
    for chain, step in ((HOUR_ASSETS, timedelta(hours=1)), (DAY_ASSETS, timedelta(days=1))):
        mine = [request for request in requests if request.assets[-1] in chain]
        if not mine:
            continue
        selection = _selection({asset for request in mine for asset in request.assets})
        keys = tuple(sorted({key for request in mine for key in request.keys}, key=position.__getitem__))
        buckets: list[datetime] = []
        for request in mine:
            at = request.first
            while at <= request.last:
                buckets.append(at)
                at += step
        ranges = _few(_ranges(buckets, step), MOST_RUNS // 2)
        merged.extend(Request(selection, keys, first, last) for first, last in ranges)
    return merged
