"""analytics import, quarantine and rates: what comes in, and what could not."""

import csv
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg
import typer
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from analytics_assets.commands.console import err, fail, out, print_table
from analytics_assets.database import connect
from analytics_assets.raw.files import FileError
from analytics_assets.raw.importer import ImportRefused, ImportReport, Target, import_files, open_target
from analytics_assets.sql import query

quarantine_app = typer.Typer(no_args_is_help=True, help="Pages and records that could not be taken in.")
rates_app = typer.Typer(no_args_is_help=True, help="Exchange rates, for orders in another currency than the organisation's.")


def import_with_progress(connection: "psycopg.Connection[dict[str, object]]", target: Target, files: list[Path]) -> ImportReport:
    """Imports files under a progress bar over their bytes."""
    total = sum(file.stat().st_size for file in files)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    ) as progress:
        task = progress.add_task(f"importing {target.stream.name}", total=total)
        return import_files(connection, target, files, lambda count: progress.advance(task, count))


def import_command(
    organization: Annotated[str, typer.Option(help="Slug of the organisation")],
    source: Annotated[str, typer.Option(help="woocommerce")],
    stream: Annotated[str, typer.Option(help="orders, refunds or customers")],
    files: Annotated[
        list[Path],
        typer.Argument(help="Response pages: JSON or JSON lines, plain or gzipped", exists=True, dir_okay=False, readable=True),
    ],
    source_name: Annotated[str | None, typer.Option(help="Which store, where an organisation has several")] = None,
    time_zone: Annotated[str | None, typer.Option(help="The store's zone; the organisation's by default")] = None,
    currency: Annotated[str | None, typer.Option(help="The store's currency; the organisation's by default")] = None,
) -> None:
    """Take response pages from files into raw_data_backup. A page that is there already is not stored again."""
    with connect() as connection:
        try:
            target = open_target(connection, organization, source, stream, source_name, time_zone, currency)
            report = import_with_progress(connection, target, files)
        except (ImportRefused, FileError) as error:
            fail(str(error))
    out.print(
        f"{report.pages} pages: {report.stored} stored with {report.records} records, {report.known} known already, "
        f"{report.quarantined_pages} in quarantine"
    )
    if report.first_hour and report.last_hour:
        zone = ZoneInfo(target.time_zone)
        first, last = report.first_hour.astimezone(zone).date(), report.last_hour.astimezone(zone).date()
        out.print(
            f"records from {first} to {last}; next: analytics backfill --organization {organization} "
            f"--from {first} --to {last + timedelta(days=1)}",
            soft_wrap=True,
        )
    if report.quarantined:
        print_table("set aside", ["file", "line", "reason"], report.quarantined[:20], right=["line"])
        err.print("see them with `analytics quarantine list`")
        raise typer.Exit(1 if report.pages == report.quarantined_pages else 0)


@quarantine_app.command("list")
def quarantine_list(
    organization: Annotated[str | None, typer.Option(help="Slug; all by default")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Resolved ones too")] = False,
) -> None:
    """List what could not be taken in, and why."""
    with connect() as connection:
        rows = connection.execute(query("list_quarantine"), {"slug": organization, "all": all_}).fetchall()
    print_table(
        f"{len(rows)} in quarantine",
        ["id", "organization", "source", "stream", "level", "where", "reason", "since", "resolution"],
        [
            (
                row["id"],
                row["organization"],
                row["source"],
                row["stream"],
                row["level"],
                row["place"],
                row["reason"],
                f"{row['quarantined_at']:%Y-%m-%d %H:%M}",
                row["resolution"],
            )
            for row in rows
        ],
    )


@quarantine_app.command("discard")
def quarantine_discard(identifier: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Leave a broken record or page out for good. Its hours are computed again without it."""
    try:
        key = UUID(identifier)
    except ValueError:
        fail(f"{identifier!r} is no id; see `analytics quarantine list`", 2)
    with connect() as connection:
        row = connection.execute("select public.discard_quarantined(%s) as reason", (key,)).fetchone()
    if row is None or row["reason"] is None:
        fail(f"nothing open in quarantine with id {key}")
    out.print(f"discarded: {escape(row['reason'])}")


def _rate(
    from_currency: str | None, to_currency: str | None, on: str | None, rate: str | None, where: str
) -> tuple[str, str, date, Decimal]:
    try:
        day, value = date.fromisoformat(on or ""), Decimal(rate or "")
    except (ValueError, InvalidOperation):
        fail(f"{where}: expected a date such as 2011-01-31 and a rate such as 0.8547, not {on!r} and {rate!r}", 2)
    return (from_currency or "").upper(), (to_currency or "").upper(), day, value


def _store_rates(rates: list[tuple[str, str, date, Decimal]]) -> None:
    with connect() as connection:
        try:
            with connection.cursor() as cursor:
                cursor.execute("create temp table new_rates (like public.exchange_rates including defaults) on commit drop")
                with cursor.copy("copy pg_temp.new_rates (from_currency, to_currency, rate_date, rate) from stdin") as copy:
                    for rate in rates:
                        copy.write_row(rate)
                changed = cursor.execute(query("store_rates"), prepare=False).fetchone()
        except (psycopg.errors.CheckViolation, psycopg.errors.DataError) as error:
            fail(f"a rate is not allowed: {error.diag.message_primary}. Codes are ISO 4217, rates above 0.")
    out.print(f"{len(rates)} rates, {changed['changed'] if changed else 0} of them new or changed")


@rates_app.command("add")
def rates_add(from_currency: str, to_currency: str, on: Annotated[str, typer.Argument(metavar="DATE")], rate: str) -> None:
    """One unit of FROM_CURRENCY is worth RATE units of TO_CURRENCY on DATE and up to six days after."""
    _store_rates([_rate(from_currency, to_currency, on, rate, "rate")])


@rates_app.command("import")
def rates_import(
    file: Annotated[Path, typer.Argument(help="CSV with from_currency,to_currency,date,rate", exists=True, dir_okay=False)],
) -> None:
    """Take rates from a CSV file with a header line."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            wanted = {"from_currency", "to_currency", "date", "rate"}
            if not wanted <= set(reader.fieldnames or []):
                fail(f"{file}: expected the columns {', '.join(sorted(wanted))}", 2)
            rates = [
                _rate(row["from_currency"], row["to_currency"], row["date"], row["rate"], f"{file}:{number}")
                for number, row in enumerate(reader, 2)
            ]
    except (UnicodeDecodeError, csv.Error) as error:
        fail(f"{file} is no CSV file in UTF-8: {error}", 2)
    _store_rates(rates)
