"""Assets ``hourly_aggregates`` and ``daily_aggregates``."""

from functools import partial

import dagster as dg

from analytics_assets.aggregates.previews import describe_aggregates
from analytics_assets.ledgered import SqlCheck, ledgered_asset
from analytics_assets.partition_keys import DAY, HOUR
from analytics_assets.partitions import hours_of_days, organization_days, organization_hours


def _columns(bucket: dg.TableColumn) -> dg.TableSchema:
    return dg.TableSchema(
        [
            dg.TableColumn("organization_id", "uuid", "Tenant: organizations.id"),
            dg.TableColumn("channel", "varchar(50)", "google_analytics, meta_ads, woocommerce, shopify, events"),
            dg.TableColumn("metric", "varchar(100)", "Of the catalogue, table metrics"),
            dg.TableColumn("value", "numeric", "Exact; money in the organisation's currency"),
            bucket,
            dg.TableColumn("metadata", "jsonb", "unit, and currency of money"),
            dg.TableColumn("updated_at", "timestamptz", "When the value was last written"),
        ]
    )


_HOURLY_LINEAGE = dg.TableColumnLineage(
    {
        "organization_id": [dg.TableColumnDep(dg.AssetKey("orders"), "organization_id")],
        "timestamp": [dg.TableColumnDep(dg.AssetKey("orders"), "bucket_at")],
        "value": [
            dg.TableColumnDep(dg.AssetKey("orders"), name)
            for name in ("items_sold", "gross_sales", "discounts", "shipping", "taxes", "is_counted", "customer_key", "currency")
        ]
        + [dg.TableColumnDep(dg.AssetKey(raw), "raw_data") for raw in ("raw_google_analytics", "raw_meta_ads")]
        + [dg.TableColumnDep(dg.AssetKey("event_tracking"), name) for name in ("event_name", "event_value", "session_id")],
    }
)
_DAILY_LINEAGE = dg.TableColumnLineage(
    {
        **{
            name: [dg.TableColumnDep(dg.AssetKey("hourly_aggregates"), name)] for name in ("organization_id", "channel", "metric")
        },
        "date": [
            dg.TableColumnDep(dg.AssetKey("hourly_aggregates"), "timestamp"),
            dg.TableColumnDep(dg.AssetKey("organizations"), "time_zone"),
        ],
        "value": [
            dg.TableColumnDep(dg.AssetKey("hourly_aggregates"), "value"),
            dg.TableColumnDep(dg.AssetKey("orders"), "customer_key"),
            dg.TableColumnDep(dg.AssetKey("event_tracking"), "visitor_id"),
            *(dg.TableColumnDep(dg.AssetKey(raw), "raw_data") for raw in ("raw_google_analytics", "raw_meta_ads")),
        ],
    }
)


_KNOWN_ONLY = SqlCheck(
    "known_organizations_only",
    "No row of an organisation, channel or metric that does not exist.",
    "rows of nobody",
)
_IN_RANGE = SqlCheck(
    "values_in_range",
    "No count is negative or a fraction, no money spent or refunded below 0, no value NaN or infinite.",
    "values that cannot be",
    blocking=True,
)

CHECKS = {
    "hourly_aggregates": [
        SqlCheck(
            "equals_recount_from_raw",
            "Orders, refunds and total sales of every computed hour equal a recount from the raw pages, written apart "
            "from the pipeline. Hours whose raw pages have left by retention are not judged.",
            "hours that differ from the raw pages",
            blocking=True,
        ),
        SqlCheck(
            "reports_equal_newest_answer",
            "Sessions and ad spend of every computed hour equal the newest answer of each account that covers it, read "
            "straight from its page.",
            "hours that differ from the newest answer",
        ),
        SqlCheck(
            "no_gap_in_processed_hours",
            "Between an organisation's first and last computed hour of the 31 days up to the run's end, every hour is computed.",
            "organisations with a gap in their hours",
        ),
        _KNOWN_ONLY,
        _IN_RANGE,
        SqlCheck(
            "usual_volume",
            "Orders, sessions and impressions of the last two days are within a fifth and five times the median of the same local "
            "hour one to four weeks earlier, where that is 25 or more.",
            "hours with a volume unlike that of earlier weeks",
            severity=dg.AssetCheckSeverity.WARN,
        ),
    ],
    "daily_aggregates": [
        SqlCheck(
            "day_equals_its_hours",
            "Every sum of a computed day equals the sum of its hours in the organisation's time zone, and its distinct "
            "customers a recount from the orders.",
            "daily values that differ from their hours",
            blocking=True,
        ),
        _KNOWN_ONLY,
        _IN_RANGE,
    ],
}

# Grain: organisation x channel x metric x local hour of the source, only hours in which something happened.
hourly_aggregates = ledgered_asset(
    name="hourly_aggregates",
    description="Metrics by organisation, channel and local hour of the source, summed exactly from orders, refunds "
    "and tracked events in the hour in which they happened.",
    deps=["orders", "raw_google_analytics", "raw_meta_ads", "event_tracking"],
    partitions_def=organization_hours,
    time_dimension=HOUR,
    table="public.hourly_aggregates",
    columns=_columns(dg.TableColumn("timestamp", "timestamptz", "UTC instant at which the hour begins")),
    lineage=_HOURLY_LINEAGE,
    kinds={"postgres", "sql"},
    layer="aggregates",
    sql_files=["functions/aggregate_hourly_data.sql", "views/hourly_source.sql", "functions/exchange_rate.sql"],
    statement="aggregate_hourly_data",
    describe=partial(describe_aggregates, "hourly"),
    checks=CHECKS["hourly_aggregates"],
)

# Grain: organisation x channel x metric x day of the organisation's time zone.
daily_aggregates = ledgered_asset(
    name="daily_aggregates",
    description="Metrics by organisation, channel and day of the organisation's time zone: sums of the hours, distinct "
    "counts from the orders. A day that is over is published only when each of its hours is computed.",
    deps=[
        dg.AssetDep("hourly_aggregates", partition_mapping=hours_of_days),
        dg.AssetDep("raw_google_analytics", partition_mapping=hours_of_days),
        dg.AssetDep("raw_meta_ads", partition_mapping=hours_of_days),
        dg.AssetDep("event_tracking", partition_mapping=hours_of_days),
    ],
    partitions_def=organization_days,
    time_dimension=DAY,
    table="public.daily_aggregates",
    columns=_columns(dg.TableColumn("date", "date", "Day of the organisation's time zone")),
    lineage=_DAILY_LINEAGE,
    kinds={"postgres", "sql"},
    layer="aggregates",
    sql_files=["functions/aggregate_daily_data.sql", "functions/take_in_reports.sql"],
    statement="aggregate_daily_data",
    describe=partial(describe_aggregates, "daily"),
    checks=CHECKS["daily_aggregates"],
)
