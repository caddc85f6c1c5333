"""How many partitions the registry makes."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg

from analytics_assets.partition_keys import PARTITION_LIMIT
from analytics_assets.settings import Settings


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
