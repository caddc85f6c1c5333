"""Assets ``hourly_aggregates`` and ``daily_aggregates``."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

import dagster as dg
import psycopg

from analytics_assets.aggregates.previews import describe_aggregates
from analytics_assets.database import Database
from analytics_assets.partitions import hours_of_days, organization_days, organization_hours, single_run
from analytics_assets.runs import COMPUTED_CHECK, Scope, materialize_partitions
from analytics_assets.sql import query, version_of


def _columns(bucket: dg.TableColumn) -> dg.TableSchema:
    return dg.TableSchema(
        [
            dg.TableColumn("organization_id", "uuid", "Whose"),
            dg.TableColumn("channel", "varchar(50)", "google_analytics, meta_ads, woocommerce, shopify, events"),
            dg.TableColumn("metric", "varchar(100)", "Of the catalogue, table metrics"),
            dg.TableColumn("value", "numeric", "Exact; money in the organisation's currency"),
            bucket,
            dg.TableColumn("metadata", "jsonb", "unit, and currency of money"),
            dg.TableColumn("updated_at", "timestamptz", "When the value was last written"),
        ]
    )


def _computed(asset: str) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        COMPUTED_CHECK,
        asset=asset,
        description="Every organisation of the run is computed; names those that are not, why, and what to do.",
    )


_HOURLY_LINEAGE = dg.TableColumnLineage(
    {
        "organization_id": [dg.TableColumnDep(dg.AssetKey("orders"), "organization_id")],
        "timestamp": [dg.TableColumnDep(dg.AssetKey("orders"), "bucket_at")],
        "value": [
            dg.TableColumnDep(dg.AssetKey("orders"), name)
            for name in ("items_sold", "gross_sales", "discounts", "shipping", "taxes", "is_counted", "customer_key", "currency")
        ],
    }
)
_DAILY_LINEAGE = dg.TableColumnLineage(
    {
        **{
            name: [dg.TableColumnDep(dg.AssetKey("hourly_aggregates"), name)]
            for name in ("organization_id", "channel", "metric")
        },
        "date": [
            dg.TableColumnDep(dg.AssetKey("hourly_aggregates"), "timestamp"),
            dg.TableColumnDep(dg.AssetKey("organizations"), "time_zone"),
        ],
        "value": [
            dg.TableColumnDep(dg.AssetKey("hourly_aggregates"), "value"),
            dg.TableColumnDep(dg.AssetKey("orders"), "customer_key"),
        ],
    }
)


@dg.asset(
    description="Metrics by organisation, channel and local hour of the source, summed exactly from orders and refunds "
    "in the hour in which they happened.",
    deps=["orders"],
    partitions_def=organization_hours,
    backfill_policy=single_run,
    kinds={"postgres", "sql"},
    owners=["team:analytics"],
    tags={"layer": "aggregates"},
    group_name="aggregates",
    code_version=version_of("functions/aggregate_hourly_data.sql", "views/hourly_source.sql", "functions/exchange_rate.sql"),
    output_required=False,
    metadata={
        "dagster/table_name": "public.hourly_aggregates",
        "dagster/column_schema": _columns(dg.TableColumn("timestamp", "timestamptz", "UTC instant at which the hour begins")),
        "dagster/column_lineage": _HOURLY_LINEAGE,
    },
    check_specs=[_computed("hourly_aggregates")],
)
def hourly_aggregates(
    context: dg.AssetExecutionContext, config: Scope, database: Database
) -> Iterator[dg.MaterializeResult]:
    """Grain: organisation x channel x metric x local hour of the source, only hours in which something happened."""

    def compute(
        connection: psycopg.Connection[dict[str, Any]], ids: list[UUID], start: datetime, end: datetime
    ) -> list[dict[str, Any]]:
        return connection.execute(
            query("aggregate_hourly_data"), {"ids": ids, "start": start, "end": end, "run_id": context.run.run_id}
        ).fetchall()

    yield from materialize_partitions(
        context,
        database,
        config,
        time_dimension="hour",
        compute=compute,
        describe=lambda ids, start, end: describe_aggregates(database, "hourly", ids, start, end)
        | {"dagster/column_lineage": _HOURLY_LINEAGE},
    )


@dg.asset(
    description="Metrics by organisation, channel and day of the organisation's time zone: sums of the hours, distinct "
    "counts from the orders. A day that is over is published only when each of its hours is computed.",
    deps=[dg.AssetDep("hourly_aggregates", partition_mapping=hours_of_days)],
    partitions_def=organization_days,
    backfill_policy=single_run,
    kinds={"postgres", "sql"},
    owners=["team:analytics"],
    tags={"layer": "aggregates"},
    group_name="aggregates",
    code_version=version_of("functions/aggregate_daily_data.sql"),
    output_required=False,
    metadata={
        "dagster/table_name": "public.daily_aggregates",
        "dagster/column_schema": _columns(dg.TableColumn("date", "date", "Day of the organisation's time zone")),
        "dagster/column_lineage": _DAILY_LINEAGE,
    },
    check_specs=[_computed("daily_aggregates")],
)
def daily_aggregates(
    context: dg.AssetExecutionContext, config: Scope, database: Database
) -> Iterator[dg.MaterializeResult]:
    """Grain: organisation x channel x metric x day of the organisation's time zone."""

    def compute(
        connection: psycopg.Connection[dict[str, Any]], ids: list[UUID], start: datetime, end: datetime
    ) -> list[dict[str, Any]]:
        return connection.execute(
            query("aggregate_daily_data"), {"ids": ids, "start": start, "end": end, "run_id": context.run.run_id}
        ).fetchall()

    yield from materialize_partitions(
        context,
        database,
        config,
        time_dimension="day",
        compute=compute,
        describe=lambda ids, start, end: describe_aggregates(database, "daily", ids, start, end)
        | {"dagster/column_lineage": _DAILY_LINEAGE},
    )
