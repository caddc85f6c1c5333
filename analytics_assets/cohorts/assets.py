"""Asset ``cohort_analysis``."""

import dagster as dg

from analytics_assets.cohorts.previews import describe_cohorts
from analytics_assets.ledgered import SqlCheck, ledgered_asset
from analytics_assets.partition_keys import DAY
from analytics_assets.partitions import hours_of_days, organization_days

# What each source says of a row. (An asset that is added here is depended on, and stands in the lineage.)
_SOURCES = {
    "orders": {
        "organization_id": ("organization_id",),
        "cohort_date": ("occurred_at",),
        "period_number": ("occurred_at",),
        "cohort_size": ("customer_key", "is_counted"),
        "active_users": ("customer_key", "is_counted"),
        "revenue": ("total", "currency"),
    },
    "event_tracking": {
        "cohort_date": ("timestamp",),
        "period_number": ("timestamp",),
        "cohort_size": ("user_id",),
        "active_users": ("user_id",),
        "revenue": ("event_value", "currency"),
    },
}

_COLUMNS = dg.TableSchema(
    [
        dg.TableColumn("organization_id", "uuid", "Tenant: organizations.id"),
        dg.TableColumn("cohort_type", "varchar(50)", "signup, first_purchase, first_visit"),
        dg.TableColumn("period_type", "varchar(20)", "week (begins on Monday) or month, in the organisation's time zone"),
        dg.TableColumn("cohort_date", "date", "Start of the period in which the members signed up, first bought or first came"),
        dg.TableColumn("period_number", "integer", "Period starts after cohort_date; 0 to the running one, at most 104 or 36"),
        dg.TableColumn("cohort_size", "integer", "Distinct members; the same in every row of the cohort"),
        dg.TableColumn("active_users", "integer", "Members active in that calendar period; all of them in period 0"),
        dg.TableColumn("retention_rate", "numeric(5,4)", "active_users / cohort_size, half up"),
        dg.TableColumn("revenue", "numeric", "Orders less refunds of the members in that period, organisation's currency"),
        dg.TableColumn("is_complete", "boolean", "Whether the period is over"),
        dg.TableColumn("created_at", "timestamptz", "When the row was first written"),
    ]
)
_LINEAGE = dg.TableColumnLineage(
    {
        column: [
            dg.TableColumnDep(dg.AssetKey(source), name)
            for source, columns in _SOURCES.items()
            for name in columns.get(column, ())
        ]
        + ([dg.TableColumnDep(dg.AssetKey("organizations"), "time_zone")] if column == "cohort_date" else [])
        for column in _SOURCES["orders"]
    }
)

CHECKS = {
    "cohort_analysis": [
        SqlCheck(
            "rows_keep_the_definitions",
            "In the run's weeks and months every cohort has its row, none beyond the running period, the same size in each; "
            "all of it is active in period 0, at rate 1, and never more than all; a row is complete when its period is over.",
            "rows that break the definitions",
            blocking=True,
        ),
        SqlCheck(
            "sizes_equal_recount",
            "Cohorts that begin in the run's weeks and months have the size of their members, and on each of the run's days "
            "that is over and computed as many signed up, first bought and first came as a recount from customers, orders and "
            "visitors finds.",
            "cohorts of another size than their sources say",
        ),
        SqlCheck(
            "revenue_equals_orders",
            "In each of the run's weeks that is computed, the revenue over all first_purchase cohorts is what their members paid "
            "less what they got back, recounted from orders, refunds and sales: so it is over all cells.",
            "weeks whose revenue is not that of their orders",
        ),
    ]
}

# Grain: organisation x cohort type x week or month x cohort x period number.
cohort_analysis = ledgered_asset(
    name="cohort_analysis",
    description="Retention and revenue of everybody who signed up, first bought or first came in the same week or month, by "
    "calendar periods of the organisation's time zone. A day's run takes in what changed on that day, wherever it moves "
    "a member, and brings in the periods that have begun since.",
    deps=[dg.AssetDep(name, partition_mapping=hours_of_days) for name in _SOURCES],
    partitions_def=organization_days,
    time_dimension=DAY,
    table="public.cohort_analysis",
    columns=_COLUMNS,
    lineage=_LINEAGE,
    kinds={"postgres", "sql"},
    layer="cohorts",
    sql_files=[
        "functions/aggregate_cohorts.sql",
        "functions/cohort_scope.sql",
        "functions/cohort_orders.sql",
        "functions/cohort_visits.sql",
        "functions/cohort_members.sql",
        "functions/cohort_choice.sql",
        "functions/cohort_cells.sql",
        "functions/exchange_rate.sql",
    ],
    statement="aggregate_cohorts",
    describe=describe_cohorts,
    checks=CHECKS["cohort_analysis"],
)
