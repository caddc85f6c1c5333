"""The ticks: every hour the hour that ended, for all organisations in one run; every hour the days that it touches."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg

from analytics_assets.operations.stale import DAY_ASSETS, HOUR_ASSETS
from analytics_assets.partition_keys import ORGANIZATION, day_key, hour_key, range_tags

hourly_tick = dg.define_asset_job(
    "hourly_tick",
    selection=dg.AssetSelection.assets(*HOUR_ASSETS),
    description="One hour (or a range) of all organisations: raw pages, orders, tracked events, hourly aggregates, insights, and their "
    "checks.",
    executor_def=dg.in_process_executor,
)
daily_tick = dg.define_asset_job(
    "daily_tick",
    selection=dg.AssetSelection.assets(*DAY_ASSETS),
    description="Days of all organisations, each in its own time zone: daily aggregates, cohorts, funnels, insights by rules, alerts, and their checks.",
    executor_def=dg.in_process_executor,
)


def _organization_range(context: dg.ScheduleEvaluationContext) -> tuple[str, str] | None:
    keys = context.instance.get_dynamic_partitions(ORGANIZATION)
    return (keys[0], keys[-1]) if keys else None


@dg.schedule(
    job=hourly_tick,
    cron_schedule="5 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Five past every hour: the hour that ended, of every organisation, in one run.",
)
def hourly_tick_schedule(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Requests one run over all partition keys."""
    organizations = _organization_range(context)
    if organizations is None:
        yield dg.SkipReason("no organisations yet: `analytics organizations add`")
        return
    hour = context.scheduled_execution_time.astimezone(UTC).replace(minute=0) - timedelta(hours=1)
    yield dg.RunRequest(
        run_key=f"hour-{hour:%Y%m%d%H}",
        tags=range_tags(hour_key(hour, organizations[0]), hour_key(hour, organizations[1])),
    )


@dg.schedule(
    job=daily_tick,
    cron_schedule="20 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Twenty past every hour: yesterday and today (UTC) of every organisation. Hourly, since some "
    "organisation's midnight lies in nearly every hour, and since dashboards show the running day. Cohorts get the rows of a week or month that has begun by it too.",
)
def daily_tick_schedule(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Requests one run over all partition keys."""
    organizations = _organization_range(context)
    if organizations is None:
        yield dg.SkipReason("no organisations yet: `analytics organizations add`")
        return
    now = context.scheduled_execution_time.astimezone(UTC)
    today = datetime(now.year, now.month, now.day, tzinfo=UTC)
    yield dg.RunRequest(
        run_key=f"day-{now:%Y%m%d%H}",
        tags=range_tags(day_key(today - timedelta(days=1), organizations[0]), day_key(today, organizations[1])),
    )
