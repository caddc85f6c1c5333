"""Checks of the registry and of what guards its tenants' tables."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg

from analytics_assets.ledgered import SqlCheck
from analytics_assets.partition_keys import PARTITION_LIMIT
from analytics_assets.settings import Settings

# Of the catalogue, not of rows: they speak of all organisations.
CHECKS = [
    SqlCheck(
        "rows_are_guarded",
        "Every table and partition has row-level security, no policy lets everybody in, and no view reads with its owner's rights.",
        "tables or views that are open",
    ),
    SqlCheck(
        "keys_hold",
        "Every table of tenants, and every partition, has a valid unique key that begins with organization_id.",
        "tables in which a row may stand twice",
    ),
]


def hours_of_window() -> int:
    """Hours from the start of the hourly partitions to now."""
    start = datetime.combine(Settings.load().hourly_start, datetime.min.time(), UTC)
    return max(1, int((datetime.now(UTC) - start).total_seconds() // 3600))


def cells_that_fit(hours: int) -> int:
    """The most partition keys that stay below the limit over a window of so many hours."""
    return max(1, PARTITION_LIMIT // hours)


def partition_limit_result(keys: int) -> dg.AssetCheckResult:
    """Warns before keys x hours pass Dagster's recommended limit, from 90 % of it on."""
    hours = hours_of_window()
    partitions = keys * hours
    advice = (
        f"Run `analytics organizations spread --cells {cells_that_fit(hours)}`, or start the hourly partitions later "
        "(ANALYTICS_HOURLY_START)."
    )
    return dg.AssetCheckResult(
        check_name="partition_limit",
        passed=partitions <= PARTITION_LIMIT * 0.9,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{keys} keys x {hours} hours = {partitions:,} partitions an asset, of {PARTITION_LIMIT:,} recommended."
        + ("" if partitions <= PARTITION_LIMIT * 0.9 else f" {advice}"),
        metadata={"keys": keys, "hours": hours, "partitions": partitions, "limit": PARTITION_LIMIT},
    )
