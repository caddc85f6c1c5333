"""Names of partitions: pure functions, for whoever must not load the definitions.

Partition definitions are made of the settings when ``partitions`` is imported; a command that moves a setting (a backfill
that reaches further back) has to do so before.
"""

from __future__ import annotations

from datetime import datetime

ORGANIZATION = "organization"
HOUR = "hour"
DAY = "day"
HOUR_FORMAT = "%Y-%m-%d-%H:%M"
DAY_FORMAT = "%Y-%m-%d"
# Dagster's recommended limit of partitions per asset.
PARTITION_LIMIT = 100_000


def hour_key(moment: datetime, organization: str) -> str:
    """Partition key of an hour (UTC) of an organisation."""
    return f"{moment.strftime(HOUR_FORMAT)}|{organization}"


def day_key(moment: datetime, organization: str) -> str:
    """Partition key of a day of an organisation; the date is what counts."""
    return f"{moment.strftime(DAY_FORMAT)}|{organization}"


def range_tags(start_key: str, end_key: str) -> dict[str, str]:
    """Run tags that make one run of a rectangle of partitions, both corners included."""
    return {"dagster/asset_partition_range_start": start_key, "dagster/asset_partition_range_end": end_key}
