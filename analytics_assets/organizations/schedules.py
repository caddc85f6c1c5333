"""The registry is read once an hour, so that its check warns before the partitions are too many."""

import dagster as dg

registry_tick = dg.define_asset_job(
    "registry_tick",
    selection=dg.AssetSelection.assets("organizations"),
    description="The table of tenants: Dagster's partitions brought in step with it, and their number checked.",
    executor_def=dg.in_process_executor,
)
registry_tick_schedule = dg.ScheduleDefinition(
    name="registry_tick_schedule",
    job=registry_tick,
    cron_schedule="55 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Five to every hour: the tenants, before the tick of the hour.",
)
