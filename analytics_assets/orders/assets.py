"""Asset ``orders``: orders, refunds and customers as entities, newest version wins."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

import dagster as dg
import psycopg

from analytics_assets.database import Database
from analytics_assets.partitions import organization_hours, single_run
from analytics_assets.runs import COMPUTED_CHECK, Scope, materialize_partitions
from analytics_assets.sql import query, version_of

_MONEY = "In currency, exact"
_COLUMNS = dg.TableSchema(
    [
        dg.TableColumn("organization_id", "uuid"),
        dg.TableColumn("order_id", "text", "The store's id"),
        dg.TableColumn("status", "text", "In its newest version"),
        dg.TableColumn("is_counted", "boolean", "Whether it counts: not pending, failed, cancelled, draft or trash"),
        dg.TableColumn("bucket_at", "timestamptz", "Start of the store's local hour in which it counts"),
        dg.TableColumn("occurred_at", "timestamptz", "Paid, or placed while unpaid"),
        dg.TableColumn("modified_at", "timestamptz", "Of the newest version"),
        dg.TableColumn("customer_key", "text", "Registered id, or hash of a guest's e-mail address"),
        dg.TableColumn("currency", "text"),
        dg.TableColumn("items_sold", "numeric"),
        dg.TableColumn("gross_sales", "numeric", _MONEY),
        dg.TableColumn("discounts", "numeric", _MONEY),
        dg.TableColumn("shipping", "numeric", _MONEY),
        dg.TableColumn("taxes", "numeric", _MONEY),
        dg.TableColumn("total", "numeric", _MONEY),
    ]
)
_RAW = dg.AssetKey("raw_woocommerce")
_LINEAGE = dg.TableColumnLineage(
    {
        name: [dg.TableColumnDep(_RAW, "raw_data")]
        for name in (
            "order_id", "status", "is_counted", "bucket_at", "occurred_at", "modified_at", "customer_key", "currency",
            "items_sold", "gross_sales", "discounts", "shipping", "taxes", "total",
        )
    }
)


@dg.asset(
    description="Orders, refunds and customers of the stores, one row an entity in its newest version. An order changed "
    "later (cancelled, edited) marks the hour in which it happened as stale, and is counted there.",
    deps=["raw_woocommerce"],
    partitions_def=organization_hours,
    backfill_policy=single_run,
    kinds={"postgres", "sql"},
    owners=["team:analytics"],
    tags={"layer": "entities"},
    group_name="orders",
    code_version=version_of(
        "functions/ingest_woocommerce.sql", "functions/ingest_woocommerce_orders.sql",
        "functions/ingest_woocommerce_refunds.sql", "functions/ingest_woocommerce_customers.sql", "functions/parsing.sql",
    ),
    output_required=False,
    metadata={
        "dagster/table_name": "public.orders",
        "dagster/column_schema": _COLUMNS,
        "dagster/column_lineage": _LINEAGE,
    },
    check_specs=[
        dg.AssetCheckSpec(
            COMPUTED_CHECK,
            asset="orders",
            description="Every organisation of the run was taken in; names those with broken records, and what to do.",
        )
    ],
)
def orders(context: dg.AssetExecutionContext, config: Scope, database: Database) -> Iterator[dg.MaterializeResult]:
    """Grain: one order (refund, customer). Broken records go to quarantine and fail their hours for that organisation."""

    def compute(
        connection: psycopg.Connection[dict[str, Any]], ids: list[UUID], start: datetime, end: datetime
    ) -> list[dict[str, Any]]:
        return connection.execute(
            query("ingest_woocommerce"), {"ids": ids, "start": start, "end": end, "run_id": context.run.run_id}
        ).fetchall()

    def describe(ids: list[UUID], start: datetime, end: datetime) -> dict[str, Any]:
        found = database.rows(query("preview_orders"), {"ids": ids, "start": start, "end": end})
        return {
            "preview": dg.MetadataValue.table(
                [dg.TableRecord({name: str(value) for name, value in row.items()}) for row in found],
                schema=dg.TableSchema(
                    [dg.TableColumn(name) for name in ("organization", "order", "status", "occurred_at", "items", "total", "currency")]
                ),
            ),
            "dagster/column_lineage": _LINEAGE,
        }

    yield from materialize_partitions(
        context, database, config, time_dimension="hour", compute=compute, describe=describe
    )
