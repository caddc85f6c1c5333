"""Keeps Dagster's organization partitions in step with the table, also for organisations that were removed."""

from typing import Any

import dagster as dg

from analytics_assets.organizations.registry import partition_keys
from analytics_assets.partition_keys import ORGANIZATION
from analytics_assets.partitions import organization_partitions
from analytics_assets.resources import Database


@dg.sensor(
    description="Adds a partition key for every new organisation and removes those that no active organisation has.",
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def organization_keys(context: dg.SensorEvaluationContext, database: Database) -> dg.SensorResult | dg.SkipReason:
    """Compares the table with the instance; requests no run."""
    with database.connection() as connection:
        wanted = partition_keys(connection)
    present = set(context.instance.get_dynamic_partitions(ORGANIZATION))
    added = [key for key in wanted if key not in present]
    removed = sorted(present - set(wanted))
    if not added and not removed:
        return dg.SkipReason(f"{len(wanted)} partition keys, all in step")
    requests: list[Any] = []
    if added:
        requests.append(organization_partitions.build_add_request(added))
    if removed:
        requests.append(organization_partitions.build_delete_request(removed))
    context.log.info("partition keys added: %s; removed: %s", added[:20], removed[:20])
    return dg.SensorResult(dynamic_partitions_requests=requests)
