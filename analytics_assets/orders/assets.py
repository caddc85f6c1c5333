"""Asset ``orders``: orders, refunds and customers as entities, newest version wins."""

from datetime import datetime
from typing import Any
from uuid import UUID

import dagster as dg

from analytics_assets.ledgered import SqlCheck, ledgered_asset
from analytics_assets.partition_keys import HOUR
from analytics_assets.partitions import organization_hours
from analytics_assets.resources import Database
from analytics_assets.sql import query

_MONEY = "In currency, exact"
_COLUMNS = dg.TableSchema(
    [
        dg.TableColumn("organization_id", "uuid", "Tenant: organizations.id"),
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
_LINEAGE = dg.TableColumnLineage(
    {
        column.name: [
            dg.TableColumnDep(dg.AssetKey(raw), "organization_id" if column.name == "organization_id" else "raw_data")
            for raw in ("raw_woocommerce", "raw_shopify")
        ]
        for column in _COLUMNS.columns
    }
)


def _describe(database: Database, ids: list[UUID], start: datetime, end: datetime) -> dict[str, Any]:
    found = database.rows(query("preview_orders"), {"ids": ids, "start": start, "end": end})
    names = ("organization", "order", "status", "occurred_at", "items", "total", "currency")
    return {
        "preview": dg.MetadataValue.table(
            [dg.TableRecord({name: str(row[name]) for name in names}) for row in found],
            schema=dg.TableSchema([dg.TableColumn(name) for name in names]),
        )
    }


CHECKS = {
    "orders": [
        SqlCheck(
            "raw_pages_processed",
            "Every raw page with records of the run's hours is taken in: its records are entities, or in quarantine.",
            "raw pages or records that are neither taken in nor quarantined",
        ),
        SqlCheck(
            "amounts_add_up",
            "Gross sales - discounts + shipping + taxes = total for every order, and no refunds beyond the order.",
            "orders whose amounts contradict each other",
        ),
        SqlCheck(
            "sales_add_up",
            "The sales of every Shopify order make its current total: no page of its ledger is missing.",
            "orders whose sales do not make their total",
        ),
    ]
}

# Grain: one order (refund, customer). Broken records go to quarantine and fail their hours for that organisation.
orders = ledgered_asset(
    name="orders",
    description="Orders, refunds and customers of the stores, one row an entity in its newest version. An order changed "
    "later (cancelled, edited) marks the hour in which it happened as stale, and is counted there.",
    deps=["raw_woocommerce", "raw_shopify"],
    partitions_def=organization_hours,
    time_dimension=HOUR,
    table="public.orders",
    columns=_COLUMNS,
    lineage=_LINEAGE,
    kinds={"postgres", "sql"},
    layer="entities",
    sql_files=[
        "functions/ingest_orders.sql",
        "functions/apply_orders.sql",
        "functions/ingest_shopify.sql",
        "functions/ingest_woocommerce_orders.sql",
        "functions/ingest_woocommerce_refunds.sql",
        "functions/ingest_woocommerce_customers.sql",
        "functions/parsing.sql",
    ],
    statement="ingest_orders",
    describe=_describe,
    checks=CHECKS["orders"],
)
