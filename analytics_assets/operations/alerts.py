"""The sensor that tells operators of sources that do not come right by themselves."""

import dagster as dg

from analytics_assets.operations.notifier import deliver
from analytics_assets.resources import Database
from analytics_assets.settings import AlertSettings
from analytics_assets.sql import query


@dg.sensor(
    target=dg.AssetSelection.assets("data_sources"),
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Opens an alert when a source failed three syncs in a row (ANALYTICS_ALERT_AFTER_FAILURES), waits for an operator, or "
    "is not synced at all; resolves it by itself; tells both, once each, to ANALYTICS_ALERT_WEBHOOK_URL and "
    "ANALYTICS_ALERT_SLACK_URL. It requests no runs: source_freshness does.",
)
def operator_alerts(context: dg.SensorEvaluationContext, database: Database) -> dg.SkipReason:
    """Alerts and their notices change in one transaction; what could not be told is due again later."""
    settings = AlertSettings.load()
    changed = database.rows(
        query("sync_operator_alerts"), {"threshold": settings.after_failures, "channels": list(settings.channels)}
    )[0]
    result = deliver(database, settings)
    for channel, problem in result.problems.items():
        context.log.warning("alerts could not be told by %s: %s; they are sent again by themselves", channel, problem)
    told = f"{result.delivered} notices delivered" if settings.channels else "nobody is told: no address is set"
    return dg.SkipReason(f"{changed['opened']} alerts opened, {changed['resolved']} resolved; {told}")
