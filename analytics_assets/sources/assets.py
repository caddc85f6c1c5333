"""Asset ``data_sources``: the connected sources, and the syncing of those that are due."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from analytics_assets.ledgered import GROUP, SqlCheck, evaluate
from analytics_assets.operations.status import read_status, status_table
from analytics_assets.resources import Database
from analytics_assets.sources.engine import Engine
from analytics_assets.sources.results import Result, SyncReport
from analytics_assets.sql import query, version_of

_PROGRESS_EVERY = 50
_SHOWN = 30

_COLUMNS = dg.TableSchema(
    [
        dg.TableColumn("organization_id", "uuid", "Tenant: organizations.id"),
        dg.TableColumn("id", "uuid"),
        dg.TableColumn("source_type", "varchar(50)", "google_analytics, meta_ads, woocommerce, shopify, events"),
        dg.TableColumn("source_name", "varchar(255)"),
        dg.TableColumn("connection_config", "jsonb", "Settings in clear, secrets sealed"),
        dg.TableColumn("time_zone", "text", "The account's; hours of its facts are hours of this zone"),
        dg.TableColumn("currency", "text", "The account's"),
        dg.TableColumn("sync_frequency_minutes", "integer"),
        dg.TableColumn("sync_status", "varchar(20)", "idle, running, success, failed"),
        dg.TableColumn("last_sync_at", "timestamptz", "Begin of the last complete sync"),
        dg.TableColumn("last_error", "text", "Why the last sync failed; empty after one that did not"),
    ]
)

CHECKS = [
    SqlCheck(
        "sources_fresh",
        "Every active source was synced within two of its own periods (sync_frequency_minutes).",
        "sources late",
    ),
    SqlCheck(
        "no_operator_needed",
        "No source waits for an operator: new credentials, a permission, a corrected setting.",
        "sources waiting for an operator",
    ),
]


class SyncPass(dg.Config):
    """A pass over the sources. budget_seconds: no further source is begun after that; what is under way is finished."""

    budget_seconds: float = 240.0
    places: int = 64


def _table(database: Database) -> dg.TableMetadataValue:
    with database.connection() as connection:
        return status_table(read_status(connection, most=_SHOWN).sources)


def figures(report: SyncReport) -> dict[str, Any]:
    """What a pass did, for metadata and the command line."""
    return {
        "syncs": report.syncs,
        **{f"syncs_{kind}": count for kind, count in sorted(report.outcomes.items())},
        "pages": report.pages,
        "records": report.records,
        "created": report.created,
        "updated": report.updated,
        "seconds": round(report.seconds, 2),
    }


@dg.asset(
    description="The sources that organisations have connected: one row an account at a vendor. Materializing it syncs every "
    "source that is due by its own frequency, many side by side, each page stored before the next is asked for; its sensor "
    "does so all the time. The metadata show what was read, and which sources are late or broken.",
    deps=["organizations"],
    kinds={"postgres", "python"},
    owners=["team:analytics"],
    tags={"layer": "registry"},
    group_name=GROUP,
    code_version=version_of("functions/sync_sources.sql", "functions/store_source_pages.sql", "functions/take_in_reports.sql"),
    metadata={
        "dagster/table_name": "public.data_sources",
        "dagster/column_schema": _COLUMNS,
        "dagster/column_lineage": dg.TableColumnLineage(
            {"organization_id": [dg.TableColumnDep(dg.AssetKey("organizations"), "id")]}
        ),
    },
    # Of the whole: that syncing goes on. Which source of whom is late is told by the check.
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=2), warn_window=timedelta(minutes=45)),
    check_specs=[dg.AssetCheckSpec(check.name, asset="data_sources", description=check.description) for check in CHECKS],
)
def data_sources(context: dg.AssetExecutionContext, config: SyncPass, database: Database) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Grain: one row a connected source. Syncs what is due, within the budget; the longest due first."""
    done = 0

    def progress(result: Result) -> None:
        nonlocal done
        done += 1
        if result.failure is not None:
            context.log.warning("%s: %s: %s", result.claim.label, result.failure.kind, result.error)
        elif done % _PROGRESS_EVERY == 0:
            context.log.info("%s sources synced", done)

    report = asyncio.run(Engine(places=config.places).run(budget_seconds=config.budget_seconds, on_result=progress))
    counts = database.rows(query("source_counts"))[0]
    now = datetime.now(UTC)
    with database.held() as held:
        checks = [evaluate(check, "data_sources", held, None, now - timedelta(days=1), now) for check in CHECKS]
    context.log.info(
        "%s syncs, %s pages, %s records in %.1f s: %s",
        report.syncs,
        report.pages,
        report.records,
        report.seconds,
        ", ".join(f"{kind} {count}" for kind, count in report.outcomes.items()) or "nothing was due",
    )
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": counts["sources"],
            **{f"run_{name}": value for name, value in figures(report).items()},
            **{f"sources_{name}": counts[name] for name in ("healthy", "retrying", "waiting_for_operator", "paused", "due")},
            "sources": _table(database),
        },
        check_results=checks,
    )
