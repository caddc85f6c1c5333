"""Asset ``raw_woocommerce``: verbatim response pages."""

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

_COLUMNS = dg.TableSchema(
    [
        dg.TableColumn("organization_id", "uuid"),
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


@dg.asset(
    description="Response pages of WooCommerce (orders, refunds, customers), verbatim, in raw_data_backup. A partition "
    "covers the pages with records of that hour, whenever they were fetched.",
    deps=["organizations"],
    partitions_def=organization_hours,
    backfill_policy=single_run,
    kinds={"postgres", "woocommerce", "sql"},
    owners=["team:analytics"],
    tags={"layer": "raw"},
    group_name="raw",
    code_version=version_of("functions/register_raw_pages.sql"),
    output_required=False,
    metadata={"dagster/table_name": "public.raw_data_backup", "dagster/column_schema": _COLUMNS},
    check_specs=[
        dg.AssetCheckSpec(
            COMPUTED_CHECK, asset="raw_woocommerce", description="The pages of every partition of the run are registered."
        )
    ],
)
def raw_woocommerce(
    context: dg.AssetExecutionContext, config: Scope, database: Database
) -> Iterator[dg.MaterializeResult]:
    """Grain: one response page. Registers in the ledger how many pages each organisation and hour has."""

    def compute(
        connection: psycopg.Connection[dict[str, Any]], ids: list[UUID], start: datetime, end: datetime
    ) -> list[dict[str, Any]]:
        return connection.execute(
            query("register_raw_pages"),
            {"source": "woocommerce", "ids": ids, "start": start, "end": end, "run_id": context.run.run_id},
        ).fetchall()

    def describe(ids: list[UUID], start: datetime, end: datetime) -> dict[str, Any]:
        pages = database.rows(query("preview_raw_pages"), {"ids": ids, "source": "woocommerce", "start": start, "end": end})
        return {
            "preview": dg.MetadataValue.table(
                [dg.TableRecord({name: str(value) for name, value in row.items()}) for row in pages],
                schema=dg.TableSchema([dg.TableColumn(name) for name in ("organization", "stream", "pages", "records", "window")]),
            )
        }

    yield from materialize_partitions(
        context, database, config, time_dimension="hour", compute=compute, describe=describe
    )
