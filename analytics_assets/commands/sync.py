"""analytics sources sync and backfill: the same passes that the sensor has done, from the terminal."""

import asyncio
from datetime import UTC, date, datetime
from typing import Annotated, Any
from uuid import UUID
from zoneinfo import ZoneInfo

import typer

from analytics_assets.commands.console import err, fail, out, print_table, progress_bar
from analytics_assets.database import connect
from analytics_assets.sources.engine import Engine
from analytics_assets.sources.planning import local_midnight
from analytics_assets.sources.results import Range, Result, SyncReport
from analytics_assets.sql import query

Organizations = Annotated[
    list[str] | None, typer.Option("--organization", help="Slug; may be given several times; all by default")
]
Types = Annotated[
    list[str] | None, typer.Option("--type", help="google_analytics, meta_ads, woocommerce, shopify; all by default")
]


def _chosen(slugs: list[str] | None, types: list[str] | None) -> list[dict[str, Any]]:
    """The active live sources of these organisations and types. Leaves where there are none."""
    with connect() as connection:
        rows = connection.execute(query("live_sources"), {"slugs": slugs or None}).fetchall()
    chosen = [row for row in rows if row["is_active"] and (not types or row["source_type"] in types)]
    if not chosen:
        whose = f" of {', '.join(slugs)}" if slugs else ""
        fail(f"no active live source{whose}{' of type ' + ', '.join(types) if types else ''}; see `analytics sources list`")
    return chosen


def _summary(report: SyncReport) -> None:
    outcomes = ", ".join(f"{kind} {count}" for kind, count in sorted(report.outcomes.items())) or "nothing was due"
    out.print(
        f"{report.syncs} syncs ({outcomes}): {report.pages:,} pages, {report.records:,} records, {report.seconds:.1f} s "
        f"({report.pages / max(report.seconds, 0.001):.0f} pages/s)"
    )
    if report.failures:
        print_table("failed", ["organization", "source", "kind", "why, and what to do"], report.failures)
    if report.left:
        err.print(f"{len(report.left)} sources are being synced by another worker")
    if report.failures or report.left:
        raise typer.Exit(1)


def _run(
    engine: Engine, ids: list[UUID] | None, *, forced: bool, wanted: Range | None = None, total: int | None = None
) -> SyncReport:
    with progress_bar() as progress:
        task = progress.add_task("sources", total=total)

        def done(result: Result) -> None:
            if not result.is_partial:
                progress.advance(task)

        return asyncio.run(engine.run(source_ids=ids, forced=forced, wanted=wanted, on_result=done))


def sync_command(
    organization: Organizations = None,
    type_: Types = None,
    due: Annotated[bool, typer.Option("--due", help="Only what is due by its own frequency")] = False,
    places: Annotated[int, typer.Option(help="Sources synced at once")] = 64,
) -> None:
    """Sync sources now, many side by side. Exit status 1 where some failed."""
    chosen = _chosen(organization, type_)
    _summary(_run(Engine(places=places), [row["id"] for row in chosen], forced=not due, total=None if due else len(chosen)))


def backfill_command(
    from_: Annotated[str, typer.Option("--from", help="First day, in each account's time zone")],
    to: Annotated[str, typer.Option("--to", help="Day after the last")],
    organization: Organizations = None,
    type_: Types = None,
) -> None:
    """Ask the vendors again for a range of days, in windows as wide as they allow; raw pages only.

    `analytics backfill` does the same and computes the aggregates too.
    """
    try:
        first, end = date.fromisoformat(from_), date.fromisoformat(to)
    except ValueError:
        fail(f"--from {from_} --to {to}: expected dates such as 2026-11-01", 2)
    if not first < end or first > datetime.now(UTC).date():
        fail(f"--from {from_} --to {to}: the first day is before the last, and not in the future", 2)
    by_zone: dict[str, list[dict[str, Any]]] = {}
    for row in _chosen(organization, type_):
        by_zone.setdefault(row["time_zone"], []).append(row)
    report = SyncReport()
    for zone, rows in sorted(by_zone.items()):
        wanted = Range(local_midnight(first, ZoneInfo(zone)), local_midnight(end, ZoneInfo(zone)))
        report.merge(_run(Engine(), [row["id"] for row in rows], forced=True, wanted=wanted, total=len(rows)))
    _summary(report)
