"""analytics organizations: tenants and their partition keys."""

from typing import Annotated

import typer

from analytics_assets.commands.console import err, fail, out, print_table
from analytics_assets.database import connect
from analytics_assets.organizations import registry
from analytics_assets.partition_keys import PARTITION_LIMIT

app = typer.Typer(no_args_is_help=True, help="Tenants: added, listed, spread over partition keys.")


def _warn_of_limit(keys: int) -> None:
    from analytics_assets.organizations.checks import cells_that_fit, hours_of_window

    hours = hours_of_window()
    if keys * hours > PARTITION_LIMIT * 0.9:
        err.print(
            f"[yellow]warning:[/yellow] {keys} partition keys x {hours} hours = {keys * hours:,} partitions; Dagster recommends "
            f"at most {PARTITION_LIMIT:,} an asset. `analytics organizations spread --cells {cells_that_fit(hours)}` stays below.",
            soft_wrap=True,
        )


@app.command()
def add(
    slug: Annotated[str, typer.Argument(help="Short name: lower-case letters, digits, hyphens")],
    name: Annotated[str | None, typer.Option(help="Name to show; the slug by default")] = None,
    time_zone: Annotated[str, typer.Option("--time-zone", "--timezone", help="IANA name; days are days of this zone")] = "UTC",
    currency: Annotated[str, typer.Option(help="ISO 4217 code; money is reported in it")] = "USD",
    partition_key: Annotated[
        str | None, typer.Option(help="Key of Dagster's organization dimension; the slug by default")
    ] = None,
) -> None:
    """Add an organisation. One that is there already with the same settings is left alone."""
    with connect() as connection:
        try:
            organization, is_new = registry.add(connection, slug, name, time_zone, currency.upper(), partition_key)
        except registry.OrganizationError as error:
            fail(str(error))
        keys = len(registry.partition_keys(connection))
    state = "added" if is_new else "is there already"
    out.print(
        f"{organization.slug} {state}: {organization.time_zone}, {organization.currency}, partition key {organization.partition_key}"
    )
    _warn_of_limit(keys)


@app.command("list")
def list_() -> None:
    """List organisations with what is computed for each."""
    with connect() as connection:
        rows = registry.listed(connection)
    if not rows:
        out.print("no organisations yet: `analytics organizations add SLUG --time-zone Europe/London --currency GBP`")
        return
    print_table(
        f"{len(rows)} organisations",
        [
            "slug",
            "name",
            "time zone",
            "currency",
            "partition key",
            "active",
            "sources",
            "hours",
            "days",
            "failed",
            "data from",
            "to (UTC)",
        ],
        [
            (
                row["slug"],
                row["name"],
                row["time_zone"],
                row["currency"],
                row["partition_key"],
                "yes" if row["is_active"] else "being deleted" if row["deleting_since"] else "no",
                row["sources"],
                row["hours_done"],
                row["days_done"],
                row["failed"],
                row["first_hour"] and f"{row['first_hour']:%Y-%m-%d %H:%M}",
                row["last_hour"] and f"{row['last_hour']:%Y-%m-%d %H:%M}",
            )
            for row in rows
        ],
        right=["sources", "hours", "days", "failed"],
    )


@app.command()
def spread(
    cells: Annotated[int, typer.Option(help="Number of shared keys; 0 gives every organisation its own again")],
) -> None:
    """Give organisations shared partition keys cell-01 ... cell-N. Run it while no backfill is under way."""
    with connect() as connection:
        try:
            sizes = registry.spread(connection, cells)
        except registry.OrganizationError as error:
            fail(str(error), 2)
    most, least = max(sizes.values(), default=0), min(sizes.values(), default=0)
    out.print(f"{sum(sizes.values())} organisations over {len(sizes)} partition keys, {least} to {most} in each")
    _warn_of_limit(len(sizes))


@app.command()
def deactivate(slug: str) -> None:
    """Take an organisation out of the schedules and Dagster's partitions; its data stays."""
    _set_active(slug, False)


@app.command()
def activate(slug: str) -> None:
    """Put an organisation back into the schedules and Dagster's partitions."""
    _set_active(slug, True)


def _set_active(slug: str, active: bool) -> None:
    with connect() as connection:
        try:
            registry.set_active(connection, slug, active)
        except registry.OrganizationError as error:
            fail(str(error))
    out.print(f"{slug} is {'active' if active else 'not active'}; Dagster's partitions follow within a minute")
