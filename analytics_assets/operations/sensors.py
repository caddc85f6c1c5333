"""The sensor that computes what the ledger calls stale: late data, failed organisations, hours that no tick took."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from analytics_assets.aggregates.schedules import daily_tick, hourly_tick
from analytics_assets.operations.stale import DAY_ASSETS, HOUR_ASSETS, OpenBucket, Request, plan_requests
from analytics_assets.partition_keys import ORGANIZATION, day_key, hour_key, range_tags
from analytics_assets.resources import Database
from analytics_assets.settings import Settings
from analytics_assets.sql import query

_MOST_BUCKETS = 20_000
_LOOK_FOR_GAPS_EVERY = timedelta(minutes=10)
_GAPS_BACK = timedelta(days=7)


def _run_request(request: Request, now: datetime) -> dg.RunRequest:
    make_key = day_key if request.assets[-1] in DAY_ASSETS else hour_key
    start, end = make_key(request.first, request.keys[0]), make_key(request.last, request.keys[-1])
    return dg.RunRequest(
        run_key=f"{request.assets[0]}:{start}:{end}:{now:%Y%m%d%H%M%S}",
        job_name=daily_tick.name if request.assets[-1] in DAY_ASSETS else hourly_tick.name,
        asset_selection=[dg.AssetKey(name) for name in request.assets],
        tags={**range_tags(start, end), "analytics/requested_by": "stale_partitions"},
    )


@dg.sensor(
    jobs=[hourly_tick, daily_tick],
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Requests runs for the organisations and hours that the ledger calls stale or failed: orders changed "
    "later, events that came late, pages imported, a tick missed, a broken organisation to be tried again (after 5 minutes, then twice as "
    "long each time, at most 6 hours).",
)
def stale_partitions(context: dg.SensorEvaluationContext, database: Database) -> dg.SensorResult | dg.SkipReason:
    """Claims open buckets in the ledger (their next turn is put off in the same statement) and plans few runs."""
    settings = Settings.load()
    now = datetime.now(UTC)
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    hours_from = datetime.combine(settings.hourly_start, datetime.min.time(), UTC)
    days_from = datetime.combine(settings.daily_start, datetime.min.time(), UTC)
    last_look = datetime.fromisoformat(context.cursor) if context.cursor else datetime.min.replace(tzinfo=UTC)
    keys = list(context.instance.get_dynamic_partitions(ORGANIZATION))
    with database.connection() as connection:
        if now - last_look >= _LOOK_FOR_GAPS_EVERY:
            connection.execute(
                query("mark_missing_hours"),
                {
                    "assets": ["orders", "event_tracking", "hourly_aggregates", "ai_insights"],
                    "start": max(hours_from, this_hour - _GAPS_BACK),
                    # The tick of the last hour may still be under way.
                    "end": this_hour - timedelta(hours=1),
                },
            )
            connection.execute(
                query("mark_missing_rule_days"), {"start": max(days_from, this_hour - _GAPS_BACK), "end": this_hour}
            )
            # A day becomes final when its window has passed, also where no event comes any more.
            connection.execute(query("mark_final_funnels"), {"start": days_from, "end": now})
            last_look = now
        rows = [
            *connection.execute(
                query("claim_open_buckets"),
                {"assets": list(HOUR_ASSETS), "keys": keys, "start": hours_from, "end": this_hour, "most": _MOST_BUCKETS},
            ),
            *connection.execute(
                query("claim_open_buckets"),
                {"assets": list(DAY_ASSETS), "keys": keys, "start": days_from, "end": now, "most": _MOST_BUCKETS},
            ),
        ]
    requests = plan_requests(
        (OpenBucket(row["asset"], row["partition_key"], row["bucket"], row["status"] == "failed") for row in rows),
        keys,
    )
    if not requests:
        context.update_cursor(last_look.isoformat())
        return dg.SkipReason("nothing is stale")
    return dg.SensorResult(run_requests=[_run_request(request, now) for request in requests], cursor=last_look.isoformat())
