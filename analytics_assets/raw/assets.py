"""Asset ``raw_woocommerce``: verbatim response pages."""

from datetime import datetime
from typing import Any
from uuid import UUID

import dagster as dg

from analytics_assets.database import Database
from analytics_assets.ledgered import ledgered_asset
from analytics_assets.partition_keys import HOUR
from analytics_assets.partitions import organization_hours
from analytics_assets.sql import query

_COLUMNS = dg.TableSchema(
    [
        dg.TableColumn("organization_id", "uuid", "Tenant: organizations.id"),
        dg.TableColumn("source", "varchar(50)"),
        dg.TableColumn("stream", "text", "orders, refunds, customers"),
        dg.TableColumn("raw_data", "jsonb", "The page as the vendor sent it"),
        dg.TableColumn("fetched_at", "timestamptz"),
        dg.TableColumn("window_start", "timestamptz", "First instant of the records on the page"),
        dg.TableColumn("window_end", "timestamptz", "Last instant of the records on the page"),
        dg.TableColumn("processed", "boolean", "Whether its records are taken in, or quarantined"),
        dg.TableColumn("content_sha256", "bytea", "Over the bytes as received: a page is stored once"),
    ]
)
_LINEAGE = dg.TableColumnLineage({"organization_id": [dg.TableColumnDep(dg.AssetKey("organizations"), "id")]})


def _describe(database: Database, ids: list[UUID], start: datetime, end: datetime) -> dict[str, Any]:
    pages = database.rows(query("preview_raw_pages"), {"ids": ids, "source": "woocommerce", "start": start, "end": end})
    names = ("organization", "stream", "pages", "records", "window")
    return {
        "preview": dg.MetadataValue.table(
            [dg.TableRecord({name: str(row[name]) for name in names}) for row in pages],
            schema=dg.TableSchema([dg.TableColumn(name) for name in names]),
        )
    }


# Grain: one response page; the ledger has the number of pages of each organisation and hour.
raw_woocommerce = ledgered_asset(
    name="raw_woocommerce",
    description="Response pages of WooCommerce (orders, refunds, customers), verbatim, in raw_data_backup. A partition "
    "covers the pages with records of that hour, whenever they were fetched.",
    deps=["organizations"],
    partitions_def=organization_hours,
    time_dimension=HOUR,
    table="public.raw_data_backup",
    columns=_COLUMNS,
    lineage=_LINEAGE,
    kinds={"postgres"},
    layer="raw",
    sql_files=["functions/register_raw_pages.sql"],
    statement="register_raw_woocommerce",
    describe=_describe,
    checks=[],
)
