"""analytics raw: raw pages out into the archive, and back."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated
from uuid import UUID

import typer

from analytics_assets.commands.console import fail, out, print_table
from analytics_assets.database import connect
from analytics_assets.organizations.registry import OrganizationError, get
from analytics_assets.raw.page_archive import ArchiveError, forget, restore, write
from analytics_assets.settings import Settings
from analytics_assets.sql import query

app = typer.Typer(no_args_is_help=True, help="Raw pages in the archive of ANALYTICS_RAW_ARCHIVE.")


def _archive() -> str:
    return Settings.load().raw_archive or fail(
        "no archive is set: ANALYTICS_RAW_ARCHIVE is a folder, a URL such as s3://bucket/raw, or local"
    )


def _day(text: str, option: str) -> datetime:
    try:
        return datetime.combine(date.fromisoformat(text), time.min, UTC)
    except ValueError:
        fail(f"{option} {text}: expected a date such as 2026-03-02", 2)


@app.command("archive")
def archive_command(
    older_than: Annotated[int, typer.Option(min=1, help="Days; only pages that are processed")],
) -> None:
    """Write days of raw pages to the archive, without dropping them. Daily maintenance does it before it drops them."""
    url, rows = _archive(), []
    keep_from = datetime.now(UTC) - timedelta(days=older_than)
    with connect() as connection:
        for part in connection.execute(query("raw_partitions_due"), {"keep_from": keep_from}).fetchall():
            try:
                rows.append((part["partition"], write(connection, url, part)))
            except ArchiveError as error:
                fail(str(error))
            connection.commit()
    print_table(f"{len(rows)} days archived", ["partition", "pages"], rows, right=["pages"])


@app.command("restore")
def restore_command(
    from_: Annotated[str, typer.Option("--from", help="First day of the fetches, UTC")],
    to: Annotated[str, typer.Option("--to", help="Day after the last")],
    organization: Annotated[str | None, typer.Option(help="Slug; all by default")] = None,
) -> None:
    """Bring raw pages back from the archive. Those that are there stay as they are; run again it stores nothing."""
    url = _archive()
    with connect() as connection:
        try:
            if organization:
                known = {str(get(connection, organization).id): organization}
            else:
                rows = connection.execute(query("list_organizations")).fetchall()
                known = {str(row["id"]): row["slug"] for row in rows}
            found = restore(connection, url, _day(from_, "--from"), _day(to, "--to"), known)
        except (ArchiveError, OrganizationError) as error:
            fail(str(error))
    out.print(f"{found.stored} pages of {found.partitions} days are back, {found.known} were there")
    if found.stored:
        out.print("they leave again with the next maintenance: rebuild what you need of them before (`analytics rebuild`)")


@app.command("forget")
def forget_command(
    organization_id: Annotated[str, typer.Argument(help="Its id: the organisation may be deleted already")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask")] = False,
) -> None:
    """Delete an organisation's pages from the archive, for good."""
    try:
        key = UUID(organization_id)
    except ValueError:
        fail(f"{organization_id!r} is no id; see `analytics organizations list`", 2)
    url = _archive()
    if not yes and not typer.confirm(f"Delete the archived pages of {key} for good?", err=True):
        fail("nothing was deleted")
    try:
        out.print(f"{forget(url, key)} files deleted")
    except ArchiveError as error:
        fail(str(error))
