"""Assets ``raw_google_analytics``, ``raw_meta_ads``, ``raw_woocommerce``, ``raw_shopify``: verbatim response pages.

Syncing brings new pages in by itself (asset ``data_sources``). Materializing one of these by hand, or backfilling a range
of it, asks the vendor again, in windows as wide as it allows; runs of the ticks and of the stale-partitions sensor take in
what is there, and ask again only where an hour failed.
"""

import asyncio
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import dagster as dg

from analytics_assets.ledgered import SqlCheck, ledgered_asset
from analytics_assets.partition_keys import HOUR
from analytics_assets.partitions import organization_hours
from analytics_assets.resources import Database
from analytics_assets.runs import Scope
from analytics_assets.sources.engine import Engine
from analytics_assets.sources.results import Range
from analytics_assets.sql import query

_REQUESTED_BY = "analytics/requested_by"
_SCHEDULE = "dagster/schedule_name"

_LINEAGE = dg.TableColumnLineage(
    {
        "organization_id": [dg.TableColumnDep(dg.AssetKey("data_sources"), "organization_id")],
        "source": [dg.TableColumnDep(dg.AssetKey("data_sources"), "source_type")],
        "time_zone": [dg.TableColumnDep(dg.AssetKey("data_sources"), "time_zone")],
    }
)


def _columns(streams: str) -> dg.TableSchema:
    return dg.TableSchema(
        [
            dg.TableColumn("organization_id", "uuid", "Tenant: organizations.id"),
            dg.TableColumn("source", "varchar(50)"),
            dg.TableColumn("stream", "text", streams),
            dg.TableColumn("raw_data", "jsonb", "The page as the vendor sent it"),
            dg.TableColumn("fetched_at", "timestamptz"),
            dg.TableColumn("window_start", "timestamptz", "Begin of the window, or first instant of the records, on the page"),
            dg.TableColumn("window_end", "timestamptz", "End of the window, or last instant of the records, on the page"),
            dg.TableColumn("time_zone", "text", "Zone of the account when the page was fetched"),
            dg.TableColumn("processed", "boolean", "Whether its records are taken in, or quarantined"),
            dg.TableColumn("content_sha256", "bytea", "Over the bytes as received: a page is stored once"),
        ]
    )


def _describe(source_type: str, database: Database, ids: list[UUID], start: datetime, end: datetime) -> dict[str, Any]:
    pages = database.rows(query("preview_raw_pages"), {"ids": ids, "source": source_type, "start": start, "end": end})
    names = ("organization", "stream", "pages", "records", "window")
    return {
        "preview": dg.MetadataValue.table(
            [dg.TableRecord({name: str(row[name]) for name in names}) for row in pages],
            schema=dg.TableSchema([dg.TableColumn(name) for name in names]),
        )
    }


def asks_vendors(tags: dict[str, str]) -> bool:
    """Whether a run is an operator's (by hand, or a backfill), and not one of the ticks or the sensor."""
    return _SCHEDULE not in tags and tags.get(_REQUESTED_BY) not in ("stale_partitions", "backfill_of_what_is_there")


def _read(
    source_type: str,
    context: dg.AssetExecutionContext,
    scope: Scope,
    database: Database,
    ids: list[UUID],
    start: datetime,
    end: datetime,
) -> dict[str, Any]:
    """Asks the vendor for the range, of the organisations that have a live source; which of them failed, and why."""
    wanted = database.rows(
        query("sources_to_read"),
        {"ids": ids, "source_type": source_type, "all": asks_vendors(dict(context.run.tags)), "start": start, "end": end},
    )
    failed: dict[UUID, str] = {}
    if wanted:
        context.log.info("asking %s about %s sources, %s to %s UTC", source_type, len(wanted), start, end)
        report = asyncio.run(Engine().run(source_ids=[row["id"] for row in wanted], forced=True, wanted=Range(start, end)))
        context.log.info("%s pages of %s syncs in %.1f s: %s", report.pages, report.syncs, report.seconds, dict(report.outcomes))
        failed = dict(report.failed_organizations)
        for row in wanted:
            if row["id"] in report.left:
                failed.setdefault(row["organization_id"], "the source is being synced by another worker; it is tried again")
    return {
        "source_type": source_type,
        "failed_ids": list(failed),
        "failed_reasons": [reason[:1000] for reason in failed.values()],
    }


def _checks(source_type: str) -> list[SqlCheck]:
    def check(name: str, description: str, what: str, severity: dg.AssetCheckSeverity) -> SqlCheck:
        return SqlCheck(name, description, what, severity=severity, shared="raw", parameters={"source": source_type})

    return [
        check(
            "nothing_set_aside",
            "No page and no record of the range waits in quarantine.",
            "pages or records in quarantine",
            dg.AssetCheckSeverity.ERROR,
        ),
        check(
            "pages_fit_their_source",
            "The newest page of each stream belongs to a source of its organisation, in that source's currency and time zone.",
            "streams that do not fit their source",
            dg.AssetCheckSeverity.ERROR,
        ),
        check(
            "hours_are_covered",
            "A source whose last sync succeeded has every stream read up to that sync.",
            "streams that fall behind their syncs",
            dg.AssetCheckSeverity.ERROR,
        ),
        check(
            "payload_keeps_its_shape",
            "In the newest page of each stream no field is gone that stood in every record of earlier pages, and none has another "
            "type. Runs over more than twenty organisations look at each once in 24 hours.",
            "fields gone or of another type",
            dg.AssetCheckSeverity.WARN,
        ),
    ]


CHECKS = {f"raw_{source}": _checks(source) for source in ("google_analytics", "meta_ads", "woocommerce", "shopify")}


def _raw_asset(source_type: str, vendor: str, streams: str, what: str) -> dg.AssetsDefinition:
    # Grain: one response page; the ledger has the number of pages of each organisation and hour.
    return ledgered_asset(
        name=f"raw_{source_type}",
        description=f"Response pages of {vendor} ({what}), verbatim, in raw_data_backup. A partition covers the pages that "
        "speak of that hour, whenever they were fetched. Materializing or backfilling it by hand asks the vendor again.",
        deps=["data_sources"],
        partitions_def=organization_hours,
        time_dimension=HOUR,
        table="public.raw_data_backup",
        columns=_columns(streams),
        lineage=_LINEAGE,
        kinds={"postgres", source_type.partition("_")[0]},
        layer="raw",
        sql_files=["functions/register_raw_pages.sql", "functions/store_source_pages.sql"],
        statement="register_raw_pages",
        describe=partial(_describe, source_type),
        checks=CHECKS[f"raw_{source_type}"],
        prepare=partial(_read, source_type),
    )


raw_google_analytics = _raw_asset(
    "google_analytics", "Google Analytics 4", "hourly, hourly_engagement, daily", "hourly and daily reports"
)
raw_meta_ads = _raw_asset("meta_ads", "Meta Ads", "hourly, daily", "hourly delivery and daily conversions and reach")
raw_woocommerce = _raw_asset("woocommerce", "WooCommerce", "orders, refunds, customers, order_ids", "orders, refunds, customers")
raw_shopify = _raw_asset("shopify", "Shopify", "orders, bulk_orders", "orders with their agreements and sales")
RAW = [raw_google_analytics, raw_meta_ads, raw_woocommerce, raw_shopify]
