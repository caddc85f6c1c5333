"""The job that syncs what is due, and the nightly re-read of what vendors restate."""

import dagster as dg

from analytics_assets.resources import Database

source_sync = dg.define_asset_job(
    "source_sync",
    selection=dg.AssetSelection.assets("data_sources"),
    description="Syncs the sources that are due, the longest due first.",
    executor_def=dg.in_process_executor,
)


@dg.op(description="Has every source re-read what its vendor may have restated, each at a moment of its own.")
def request_rereads(context: dg.OpExecutionContext, database: Database) -> None:
    """Marks the sources; the next syncs read 30 days of Google Analytics, 28 of Meta, 48 hours of the stores anew."""
    marked = database.rows("select private.request_rereads() as sources")[0]["sources"]
    context.log.info("%s sources will be re-read within the hour", marked)


@dg.job(
    executor_def=dg.in_process_executor,
    description="Nightly: what vendors restate is read anew. Google Analytics 30 days, Meta Ads 28 days, WooCommerce and "
    "Shopify 48 hours, and WooCommerce's list of orders against deletions.",
)
def restatement() -> None:
    """The night's re-read."""
    request_rereads()


restatement_schedule = dg.ScheduleDefinition(
    job=restatement,
    cron_schedule="10 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Ten past three in the morning, UTC.",
)
