"""The sensor that has due sources synced."""

from datetime import UTC, datetime

import dagster as dg

from analytics_assets.resources import Database
from analytics_assets.sources.schedules import source_sync
from analytics_assets.sql import query

_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]


@dg.sensor(
    job=source_sync,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Has sources synced that are due by their own frequency, one run at a time. The run takes the longest due "
    "first, works within a time budget, and gives a slow source its place for a limited time only: who is left over is first "
    "in the next one.",
)
def source_freshness(context: dg.SensorEvaluationContext, database: Database) -> dg.SensorResult | dg.SkipReason:
    """Requests one pass when something is due and none is under way. The cursor counts the passes."""
    counts = database.rows(query("source_counts"))[0]
    waiting = counts["due"] + counts["reread_due"] + counts["dead"]
    if not waiting:
        return dg.SkipReason(f"none of {counts['sources']} sources is due")
    under_way = context.instance.get_runs(dg.RunsFilter(job_name=source_sync.name, statuses=_UNFINISHED), limit=1)
    if under_way:
        return dg.SkipReason(f"{waiting} sources are due; run {under_way[0].run_id} is at work on them")
    number = int(context.cursor or 0) + 1
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                run_key=f"sync-{number}-{datetime.now(UTC):%Y%m%d%H%M%S}",
                tags={"analytics/requested_by": "source_freshness", "analytics/sources_due": str(waiting)},
            )
        ],
        cursor=str(number),
    )
