"""analytics demo: sample shops, or pages from a folder, through the whole graph."""

import json
import re
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer

from analytics_assets.backfill import BackfillError, assets_of, local_range, plan, reach_back
from analytics_assets.commands.console import fail, out, print_table
from analytics_assets.commands.data import import_with_progress
from analytics_assets.commands.run import migrate_database, run_pieces
from analytics_assets.database import connect
from analytics_assets.operations.stale import DAY_ASSETS, HOUR_ASSETS, RAW_ASSETS
from analytics_assets.organizations import registry
from analytics_assets.raw.files import read_chunks
from analytics_assets.raw.importer import open_target
from analytics_assets.settings import home_folder
from analytics_assets.sql import query

_STREAMS = ("orders", "refunds", "customers")
_SAMPLE_DAYS = 14


@dataclass(frozen=True)
class _Tenant:
    slug: str
    name: str
    time_zone: str
    currency: str
    files: dict[str, list[Path]]


def _sample_tenants() -> list[_Tenant]:
    """Writes the sample shops' pages up to their own yesterday; the same on every call of a day."""
    from analytics_assets.sandbox.shop import SAMPLE_SHOPS, write_shop

    tenants = []
    for shop in SAMPLE_SHOPS:
        yesterday = datetime.now(ZoneInfo(shop.time_zone)).date() - timedelta(days=1)
        # A fixed beginning: pages of days that were written before come out the same.
        anchor = home_folder() / "demo" / shop.slug / "first_day"
        anchor.parent.mkdir(parents=True, exist_ok=True)
        if not anchor.exists():
            anchor.write_text((yesterday - timedelta(days=_SAMPLE_DAYS - 1)).isoformat())
        first = date.fromisoformat(anchor.read_text().strip())
        files = write_shop(shop, first, yesterday, anchor.parent)
        tenants.append(
            _Tenant(shop.slug, shop.name, shop.time_zone, shop.currency, {name: [path] for name, path in files.items()})
        )
    return tenants


def _first_currency(files: list[Path]) -> str | None:
    for file in files:
        for chunk in read_chunks(file):
            try:
                page = json.loads(chunk.content)
            except ValueError:
                continue
            if isinstance(page, list) and page and isinstance(page[0], dict) and "currency" in page[0]:
                return str(page[0]["currency"]).upper()
    return None


def _tenants_of_folder(folder: Path, time_zone: str, currency: str | None) -> list[_Tenant]:
    """A folder with pages is one organisation; a folder of such folders is one organisation each."""
    tenants = []
    for place in [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]:
        files = {
            stream: sorted(
                path
                for path in place.iterdir()
                if path.is_file() and stream in path.name and re.search(r"\.jsonl?(\.gz)?$", path.name)
            )
            for stream in _STREAMS
        }
        if any(files.values()):
            slug = re.sub(r"[^a-z0-9]+", "-", place.resolve().name.lower()).strip("-")[:50] or "demo"
            found = currency or _first_currency(files["orders"]) or "USD"
            tenants.append(_Tenant(slug, place.resolve().name, time_zone, found, files))
    if not tenants:
        fail(f"no pages in {folder}: expected files such as orders.jsonl.gz, refunds.jsonl.gz, customers.json", 2)
    return tenants


def _is_done(organizations: Sequence[registry.Organization], first: date, end: date) -> bool:
    """Whether the ledger has every partition of the range done."""
    assets = assets_of(organizations)
    hour_assets = [name for name in assets if name in HOUR_ASSETS and name not in RAW_ASSETS]
    day_assets = [name for name in assets if name in DAY_ASSETS]
    this_hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    with connect() as connection:
        for organization in organizations:
            start, stop = local_range(first, end, organization.time_zone)
            row = connection.execute(
                query("count_done"),
                {
                    "organization_id": organization.id,
                    "hour_assets": list(hour_assets),
                    "day_assets": list(day_assets),
                    "start": start,
                    "end": min(stop, this_hour),
                    "first": first,
                    "last": end,
                },
            ).fetchone()
            hours = int((min(stop, this_hour) - start).total_seconds() // 3600)
            days = (min(end, this_hour.date() + timedelta(days=1)) - first).days
            if row is None or row["hours"] < hours * len(hour_assets) or row["days"] < days * len(day_assets):
                return False
    return True


def demo_command(
    data: Annotated[
        Path | None, typer.Option(help="Folder with response pages; sample shops by default", exists=True, file_okay=False)
    ] = None,
    time_zone: Annotated[str, typer.Option(help="Zone of the organisations in --data")] = "UTC",
    currency: Annotated[
        str | None, typer.Option(help="Currency of the organisations in --data; their first order's by default")
    ] = None,
) -> None:
    """Take sample shops and live organisations of the sandbox, or pages from a folder, through the graph, and sum up."""
    with ExitStack() as stack:
        _demo(data, time_zone, currency, stack)


def _demo(data: Path | None, time_zone: str, currency: str | None, stack: ExitStack) -> None:
    timings: list[tuple[str, float, str]] = []

    def timed(what: str, started: float, note: str) -> None:
        timings.append((what, time.monotonic() - started, note))

    started = time.monotonic()
    report = migrate_database(quiet=True)
    timed("database", started, f"PostgreSQL {report.server_version // 10_000}, {len(report.applied)} files of sql/ applied")

    started = time.monotonic()
    tenants = _tenants_of_folder(data, time_zone, currency) if data else _sample_tenants()
    timed("pages", started, "generated" if data is None else f"found in {data}")

    started = time.monotonic()
    stored = pages = 0
    spans: dict[str, tuple[date, date]] = {}
    organizations: list[registry.Organization] = []
    with connect() as connection:
        for tenant in tenants:
            try:
                organization, _ = registry.add(connection, tenant.slug, tenant.name, tenant.time_zone, tenant.currency)
            except registry.OrganizationError as error:
                fail(str(error))
            organizations.append(organization)
            for stream, files in tenant.files.items():
                if files:
                    target = open_target(connection, tenant.slug, "woocommerce", stream)
                    imported = import_with_progress(connection, target, files)
                    stored, pages = stored + imported.stored, pages + imported.pages
            row = connection.execute(
                query("span_of_pages"), {"organization_id": organization.id, "time_zone": tenant.time_zone}
            ).fetchone()
            if row is None or row["first"] is None:
                fail(f"{tenant.slug}: no page could be taken in; see `analytics quarantine list --organization {tenant.slug}`")
            spans[tenant.slug] = (
                row["first"],
                min(row["last"], datetime.now(ZoneInfo(tenant.time_zone)).date()) + timedelta(days=1),
            )
    timed("import", started, f"{stored} of {pages} pages are new")

    live = tracked = None
    if data is None:
        # The servers' libraries are no matter of the other commands.
        from analytics_assets.commands.demo_events import show, tracked_demo
        from analytics_assets.commands.demo_live import live_demo
        from analytics_assets.sandbox.shop import SAMPLE_SHOPS

        started = time.monotonic()
        tracked = tracked_demo(list(zip(SAMPLE_SHOPS, organizations, strict=True)), min(span[0] for span in spans.values()))
        sent = tracked.send()
        timed("events", started, f"{sent:,} messages of website visitors through a collector")
        live = stack.enter_context(live_demo())
    first, end = min(span[0] for span in spans.values()), max(span[1] for span in spans.values())
    if tracked is not None:
        end = max(end, tracked.end)
    try:
        pieces = plan(organizations, first, end, assets_of(organizations), together=live is not None)
        if live is not None:
            pieces += plan(live.organizations, *live.span, assets_of(live.organizations), together=True)
        for line in reach_back(pieces):
            out.print(line, soft_wrap=True)
    except BackfillError as error:
        fail(str(error))
    if live is not None:
        started = time.monotonic()
        read = live.sync()
        timed("sync", started, f"{read} pages from four vendors for {len(live.organizations)} organisations, over HTTP")

    started = time.monotonic()
    if _is_done(organizations, first, end) and (live is None or _is_done(live.organizations, *live.span)):
        timed("compute", started, "everything is computed: nothing to do")
        open_count = 0
    else:
        # What was synced is there: the raw assets need not ask the vendors again.
        result = run_pieces(pieces, registry=True, ask_vendors=False)
        open_count = result.open_count
        timed("compute", started, f"{result.partitions} partitions in {len(result.runs)} runs, {open_count} not done")
    _summary(organizations, timings)
    if tracked is not None:
        out.print()
        show(organizations[0])
        out.print()
        if not tracked.check():
            fail("the aggregates differ from what the websites' visitors did")
    if live is not None:
        out.print()
        if not live.check():
            fail("the aggregates differ from what the sandbox's vendors say")
    _where_next()
    if open_count:
        fail("some partitions are not done; see `analytics organizations list` and `analytics quarantine list`")


def _summary(organizations: list[registry.Organization], timings: list[tuple[str, float, str]]) -> None:
    with connect() as connection:
        rows: list[dict[str, Any]] = connection.execute(
            query("demo_summary"), {"organization_ids": [organization.id for organization in organizations]}
        ).fetchall()
    out.print()
    print_table(
        "what was computed",
        [
            "organization",
            "zone",
            "hours",
            "days",
            "first day",
            "last day",
            "orders",
            "items",
            "gross sales",
            "refunds",
            "refunded",
            "total sales",
            "new customers",
            "",
        ],
        [
            (
                row["slug"],
                row["time_zone"],
                f"{row['hours']:,}",
                f"{row['days']:,}",
                row["first_day"],
                row["last_day"],
                f"{row['orders']:,}",
                f"{row['items']:,}",
                f"{row['gross']:,}",
                f"{row['refunds']:,}",
                f"{row['refunded']:,}",
                f"{row['total']:,}",
                f"{row['new_customers']:,}",
                row["currency"],
            )
            for row in rows
        ],
        right=["hours", "days", "orders", "items", "gross sales", "refunds", "refunded", "total sales", "new customers"],
    )
    out.print()
    print_table(
        "how long it took",
        ["part", "seconds", ""],
        [(what, f"{seconds:.1f}", note) for what, seconds, note in timings],
        right=["seconds"],
    )


def _where_next() -> None:
    out.print()
    out.print("where to look next")
    out.print("  make ui                        the lineage, partitions by organisation and hour, plots, checks")
    out.print("  .venv/bin/analytics --help     the commands; `organizations list` tells what is computed for whom")
    out.print("  any SQL client                 hourly_aggregates, daily_aggregates, metric_ratios, partition_ledger")
