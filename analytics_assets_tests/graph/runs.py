"""Drives real runs of the project's jobs on a real instance."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import dagster as dg

from analytics_assets.instance import sync_organizations
from analytics_assets.partition_keys import ORGANIZATION, day_key, hour_key, range_tags


def run_hours(
    instance: dg.DagsterInstance,
    first: datetime,
    last: datetime,
    assets: Sequence[str] = ("raw_woocommerce", "orders", "hourly_aggregates"),
    keys: tuple[str, str] | None = None,
) -> dg.ExecuteInProcessResult:
    """One run of the hour's job over a range of hours (both included) of all organisation keys, or of a range of them."""
    return _run(instance, "hourly_tick", hour_key, first, last, assets, keys)


def run_days(
    instance: dg.DagsterInstance,
    first: datetime,
    last: datetime,
    keys: tuple[str, str] | None = None,
    assets: Sequence[str] = ("daily_aggregates", "cohort_analysis"),
) -> dg.ExecuteInProcessResult:
    """One run of the day's job."""
    return _run(instance, "daily_tick", day_key, first, last, assets, keys)


def _run(
    instance: dg.DagsterInstance, job: str, make_key: Any, first: datetime, last: datetime, assets: Sequence[str], keys: Any
) -> dg.ExecuteInProcessResult:
    from analytics_assets.definitions import defs

    order = sync_organizations(instance)
    start, end = keys or (order[0], order[-1])
    return defs.resolve_job_def(job).execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(name) for name in assets],
        tags=range_tags(make_key(first, start), make_key(last, end)),
        raise_on_error=False,
    )


def materialized(instance: dg.DagsterInstance, asset: str) -> set[str]:
    """Partition keys that Dagster holds for done."""
    return set(instance.get_materialized_partitions(dg.AssetKey(asset)))


def check_results(result: dg.ExecuteInProcessResult) -> dict[tuple[str, str], Any]:
    """Evaluations of a run by (asset, check)."""
    return {
        (evaluation.asset_key.to_user_string(), evaluation.check_name): evaluation
        for evaluation in result.get_asset_check_evaluations()
    }


def organization_keys_of(instance: dg.DagsterInstance) -> list[str]:
    """Dagster's organization partitions."""
    return list(instance.get_dynamic_partitions(ORGANIZATION))
