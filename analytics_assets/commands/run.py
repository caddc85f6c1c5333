"""analytics migrate, backfill, maintain and stop."""

import time
from collections.abc import Sequence
from datetime import date
from typing import Annotated

import typer

from analytics_assets.backfill import (
    BackfillError,
    BackfillReport,
    Piece,
    assets_of,
    backfill,
    materialize_registry,
    plan,
    reach_back,
)
from analytics_assets.commands.console import err, fail, out, print_table, progress_bar
from analytics_assets.database import connect, stop_embedded
from analytics_assets.migrations import MigrationReport, migrate
from analytics_assets.organizations.registry import OrganizationError, get
from analytics_assets.settings import Settings, home_folder


def migrate_database(quiet: bool = False) -> MigrationReport:
    """Applies sql/ to the database of the settings."""
    with connect() as connection:
        return migrate(connection, on_file=lambda name: None if quiet else out.print(f"  applying {name}"))


def migrate_command() -> None:
    """Bring the database to what sql/ says. Safe to run twice, and from two processes at once."""
    report = migrate_database()
    major, minor = divmod(report.server_version, 10_000)
    what = f"{len(report.applied)} files applied" if report.applied else "nothing to do"
    out.print(f"PostgreSQL {major}.{minor}: {what} in {report.seconds:.1f} s")


def run_pieces(pieces: Sequence[Piece], registry: bool = False, ask_vendors: bool = True) -> BackfillReport:
    """Executes a plan under a progress bar; the registry of organisations before it where asked for."""
    from analytics_assets.instance import open_instance, sync_organizations

    with open_instance() as instance, progress_bar() as progress:
        if registry:
            materialize_registry(instance)
        task = progress.add_task("partitions", total=sum(piece.partitions for piece in pieces))

        def done(piece: Piece) -> None:
            progress.advance(task, piece.partitions)
            if not err.is_terminal:
                err.print(f"  {', '.join(piece.assets)}: {piece.start:%Y-%m-%d %H:%M} to {piece.end:%Y-%m-%d %H:%M} UTC")

        return backfill(instance, sync_organizations(instance), pieces, done, ask_vendors=ask_vendors)


def _day(text: str, option: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        fail(f"{option} {text}: expected a date such as 2010-12-01", 2)


def backfill_command(
    organization: Annotated[list[str], typer.Option(help="Slug; may be given several times")],
    from_: Annotated[str, typer.Option("--from", help="First day, in the organisation's time zone")],
    to: Annotated[str, typer.Option("--to", help="Day after the last")],
    assets: Annotated[
        str | None, typer.Option(help="Comma-separated; all that the organisations have data for by default")
    ] = None,
    read: Annotated[bool, typer.Option(help="Ask the vendors of live sources again, in wide windows")] = True,
) -> None:
    """Compute a range of days of organisations through Dagster's own runs. Exit status 1 where partitions stay open."""
    first, end = _day(from_, "--from"), _day(to, "--to")
    named = [name.strip() for name in assets.split(",") if name.strip()] if assets else None
    try:
        with connect() as connection:
            organizations = [get(connection, slug) for slug in dict.fromkeys(organization)]
        pieces = plan(organizations, first, end, named or assets_of(organizations))
        for line in reach_back(pieces):
            out.print(line, soft_wrap=True)
    except OrganizationError as error:
        fail(str(error))
    except BackfillError as error:
        fail(str(error), 2)
    inactive = [item.slug for item in organizations if not item.is_active]
    if inactive:
        fail(f"{', '.join(inactive)} is not active: `analytics organizations activate {inactive[0]}`")
    if not pieces:
        fail("nothing to compute: no hour of that range has ended yet", 2)
    started = time.monotonic()
    report = run_pieces(pieces, ask_vendors=read)
    seconds = time.monotonic() - started
    out.print(f"{report.partitions} partitions in {len(report.runs)} runs, {seconds:.0f} s; {report.open_count} not done")
    if report.open_partitions:
        print_table(
            "not done"
            + ("" if report.open_count <= len(report.open_partitions) else f" (the first {len(report.open_partitions)})"),
            ["organization", "asset", "bucket (UTC)", "status", "why, and what to do"],
            [
                (row["organization"], row["asset"], f"{row['bucket']:%Y-%m-%d %H:%M}", row["status"], row["error"])
                for row in report.open_partitions
            ],
        )
    if report.failed_runs:
        err.print(f"failed runs: {', '.join(report.failed_runs[:5])}; see them with `analytics ui`")
    if report.open_count or report.failed_runs:
        raise typer.Exit(1)


def maintain_command() -> None:
    """Make partitions ahead, put closed days in order, drop what is past its retention."""
    from analytics_assets.operations.maintenance import maintain
    from analytics_assets.resources import Database

    rows = maintain(Database(), Settings.load())
    print_table(
        f"{len(rows)} partitions touched",
        ["table", "partition", "action", "why"],
        [(row["table"], row["partition"], row["action"], row["reason"]) for row in rows],
    )


def stop_command() -> None:
    """Stop the embedded PostgreSQL of this project, if it runs. The next command starts it again."""
    out.print("stopped" if stop_embedded(home_folder()) else "the embedded server does not run")
