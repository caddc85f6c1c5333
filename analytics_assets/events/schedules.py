"""Live sessions are closed every five minutes."""

import dagster as dg

live_sessions = dg.define_asset_job(
    "live_sessions",
    selection=dg.AssetSelection.assets("realtime_sessions"),
    description="Sessions without activity for 30 minutes closed, those of more than 24 hours ago dropped.",
    executor_def=dg.in_process_executor,
)
live_sessions_schedule = dg.ScheduleDefinition(
    name="live_sessions_schedule",
    job=live_sessions,
    cron_schedule="*/5 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every five minutes: live sessions closed and dropped.",
)
