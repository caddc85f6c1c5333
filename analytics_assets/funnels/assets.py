"""Asset ``funnel_analysis``: how far visitors go along their organisation's funnels, by day of entry."""

import dagster as dg

from analytics_assets.funnels.previews import describe_funnels
from analytics_assets.ledgered import SqlCheck, ledgered_asset
from analytics_assets.partition_keys import DAY
from analytics_assets.partitions import hours_of_days, organization_days

_COLUMNS = dg.TableSchema(
    [
        dg.TableColumn("organization_id", "uuid", "Tenant: organizations.id"),
        dg.TableColumn("funnel_name", "varchar(100)", "Of the table funnels"),
        dg.TableColumn("date", "date", "Day of the organisation's time zone on which the runs were entered, for all steps"),
        dg.TableColumn("step_order", "integer", "1 to the number of steps; all of them stand where there is an entry"),
        dg.TableColumn("step_name", "varchar(100)"),
        dg.TableColumn("visitors", "integer", "Runs (actor x day of entry) that reached the step within the window"),
        dg.TableColumn("conversions", "integer", "Runs that went on to the next step; of the last step: all"),
        dg.TableColumn("conversion_rate", "numeric(5, 4)", "conversions / visitors"),
        dg.TableColumn("drop_off_rate", "numeric(5, 4)", "1 - conversion_rate; both 0 where there are no visitors"),
        dg.TableColumn("version", "integer", "Of the funnel whose steps were counted"),
        dg.TableColumn("is_final", "boolean", "The day and the window after it are over"),
    ]
)
_EVENTS = dg.AssetKey("event_tracking")
_LINEAGE = dg.TableColumnLineage(
    {
        "organization_id": [dg.TableColumnDep(_EVENTS, "organization_id")],
        "date": [dg.TableColumnDep(_EVENTS, "timestamp"), dg.TableColumnDep(dg.AssetKey("organizations"), "time_zone")],
        **{
            name: [
                dg.TableColumnDep(_EVENTS, column)
                for column in (
                    "timestamp",
                    "event_name",
                    "event_type",
                    "page_url",
                    "metadata",
                    "visitor_id",
                    "user_id",
                    "session_id",
                )
            ]
            for name in ("visitors", "conversions")
        },
    }
)

CHECKS = {
    "funnel_analysis": [
        SqlCheck(
            "steps_add_up",
            "Every day with an entry has all steps of its version; what goes on from a step is what reaches the next, never "
            "more than reached the step; who reaches the last step has completed it.",
            "days whose steps contradict each other",
            blocking=True,
        ),
        SqlCheck(
            "entries_equal_recount",
            "The runs that entered on every computed day equal a recount from the events, written apart from the pipeline. "
            "Days whose events have left by retention are not judged.",
            "days whose entries differ from their events",
        ),
        SqlCheck(
            "known_funnels_only",
            "No row of a funnel or version that does not exist, nor of an older one on a day that is computed and whose "
            "events are kept.",
            "days of no funnel, or of another version",
        ),
        SqlCheck(
            "days_become_final",
            "No computed day is open for more than a day after its window has passed, be it that no event came any more.",
            "days that are over and not final",
        ),
    ]
}

# Grain: organisation x funnel x day of entry x step, only days with an entry.
funnel_analysis = ledgered_asset(
    name="funnel_analysis",
    description="Funnels by organisation and day of its time zone: runs that reach each step in order within the window, dated "
    "by their entry. A day is computed until it is final: events mark the days from which they can be reached, and the day "
    "after its window has passed.",
    deps=[dg.AssetDep("event_tracking", partition_mapping=hours_of_days)],
    partitions_def=organization_days,
    time_dimension=DAY,
    table="public.funnel_analysis",
    columns=_COLUMNS,
    lineage=_LINEAGE,
    kinds={"postgres", "sql"},
    layer="analysis",
    sql_files=["functions/aggregate_funnels.sql", "functions/funnel_runs.sql"],
    statement="aggregate_funnels",
    describe=describe_funnels,
    checks=CHECKS["funnel_analysis"],
)
