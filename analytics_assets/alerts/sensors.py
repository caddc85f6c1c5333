"""The sensor that tells of alerts."""

import dagster as dg

from analytics_assets.alerts.receivers import Receivers
from analytics_assets.alerts.sending import deliver
from analytics_assets.resources import Database


@dg.sensor(
    target=dg.AssetSelection.assets("performance_alerts"),
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells of alerts that opened, were resolved or withdrawn: one message an organisation, outside of each rule's quiet hours, "
    "to ANALYTICS_ALERT_WEBHOOK_URL, ANALYTICS_ALERT_SLACK_URL and ANALYTICS_ALERT_EMAIL_TO. It requests no runs.",
)
def alert_notices(context: dg.SensorEvaluationContext, database: Database) -> dg.SkipReason:
    """What could not be told is due again later."""
    receivers = Receivers.load()
    if not receivers.channels:
        return dg.SkipReason("nobody is told: no address is set")
    result = deliver(database, receivers)
    for channel, problem in result.problems.items():
        context.log.warning("alerts could not be told by %s: %s; they are sent again by themselves", channel, problem)
    return dg.SkipReason(f"{result.delivered} notices delivered in {result.messages} messages")
