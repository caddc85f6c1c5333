"""analytics storage: bytes by table and by organisation, and where they go."""

import json
from typing import Annotated

import typer

from analytics_assets.commands.console import fail, out, print_table
from analytics_assets.database import connect
from analytics_assets.operations.storage import organization_sizes, table_sizes
from analytics_assets.organizations.registry import OrganizationError, get
from analytics_assets.settings import Settings

_SHOWN = 20
_UNITS = ("B", "kB", "MB", "GB", "TB")


def size(count: int | None) -> str:
    """Bytes for people: 1.5 GB is 1.5 * 1024^3."""
    if count is None:
        return "-"
    value, unit = float(count), 0
    while abs(value) >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if unit == 0 or abs(value) >= 100 else f"{value:.1f} {_UNITS[unit]}"


def storage_command(
    organization: Annotated[str | None, typer.Option(help="Slug; the largest twenty by default")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All figures in bytes, all organisations")] = False,
) -> None:
    """Show bytes per table and per organisation, the growth a month, and what it comes to in a year."""
    settings = Settings.load()
    with connect() as connection:
        try:
            if organization:
                get(connection, organization)
        except OrganizationError as error:
            fail(str(error))
        tables = table_sizes(connection, settings)
        organizations = organization_sizes(connection, organization)
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "tables": [table.as_dict() for table in tables],
                    "organizations": [{"organization": row["organization"], "estimated": row["total"]} for row in organizations],
                }
            )
        )
        return
    shown = [table for table in tables if table.total >= 1 << 20] or tables[:_SHOWN]
    total = sum(table.total for table in tables)
    growing = [table for table in tables if table.per_month is not None]
    columns = ["table", "partitions", "total", "rows", "indexes", "TOAST", "a month", "in a year"]
    print_table(
        f"{size(total)} in {len(tables)} tables" + (f" (the {len(shown)} above 1 MB)" if len(shown) < len(tables) else ""),
        columns,
        [
            (
                table.table,
                table.partitions,
                size(table.total),
                size(table.heap),
                size(table.indexes),
                size(table.toast),
                size(table.per_month),
                size(table.in_a_year),
            )
            for table in shown
        ],
        right=columns[1:],
    )
    if growing:
        grown = total + sum((table.in_a_year or 0) - table.total for table in growing)
        out.print(
            f"growth: {size(sum(table.per_month or 0 for table in growing))} a month by the partitions that closed in the last "
            f"90 days; forecast with retention: {size(grown)} in a year",
            soft_wrap=True,
        )
    listed = organizations[:_SHOWN]
    out.print(f"[bold]organisations, an estimate by a sample of each partition[/bold] ({len(listed)} of {len(organizations)})")
    print_table(
        "",
        ["organization", "total"],
        [(row["organization"], size(row["total"])) for row in listed],
        right=["total"],
    )
