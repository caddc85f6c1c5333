"""Partitions: organisation x hour and organisation x day.

An hour is an hour of UTC; it holds the local hours of the sources that begin in it (those of half-hour zones begin at
:30). A day is a day of each organisation's own time zone, named by its date. The organisation dimension holds partition
keys (``organizations.partition_key``): by default every organisation's slug, or cells that several share.
"""

from __future__ import annotations

import warnings
from datetime import datetime

import dagster as dg

from analytics_assets.partition_keys import DAY, HOUR, ORGANIZATION
from analytics_assets.settings import Settings

_settings = Settings.load()

organization_partitions = dg.DynamicPartitionsDefinition(name=ORGANIZATION)
hour_partitions = dg.HourlyPartitionsDefinition(start_date=datetime.combine(_settings.hourly_start, datetime.min.time()))
# The running day too: dashboards show today.
day_partitions = dg.DailyPartitionsDefinition(
    start_date=datetime.combine(_settings.daily_start, datetime.min.time()), end_offset=1
)
organization_hours = dg.MultiPartitionsDefinition({HOUR: hour_partitions, ORGANIZATION: organization_partitions})
organization_days = dg.MultiPartitionsDefinition({DAY: day_partitions, ORGANIZATION: organization_partitions})

# Partition mappings over several dimensions and backfill policies are in beta: known and wanted.
warnings.filterwarnings("ignore", r".*(backfill_policy|BackfillPolicy|PartitionMapping)", dg.BetaWarning)

single_run = dg.BackfillPolicy.single_run()
# A local day lies within the UTC days around it: zones go from -12 to +14 hours.
hours_of_days = dg.MultiPartitionMapping(
    {
        HOUR: dg.DimensionPartitionMapping(
            DAY,
            dg.TimeWindowPartitionMapping(start_offset=-1, end_offset=1, allow_nonexistent_upstream_partitions=True),
        ),
        ORGANIZATION: dg.DimensionPartitionMapping(ORGANIZATION, dg.IdentityPartitionMapping()),
    }
)
