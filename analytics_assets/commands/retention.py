"""analytics retention: organisations that keep a layer for less time than the deployment."""

from enum import StrEnum
from typing import Annotated

import psycopg
import typer

from analytics_assets.commands.console import fail, out, print_table
from analytics_assets.database import connect
from analytics_assets.organizations.registry import OrganizationError, get
from analytics_assets.settings import Settings
from analytics_assets.sql import query

app = typer.Typer(no_args_is_help=True, help="How long data is kept: by the settings, and shorter for single organisations.")


class Layer(StrEnum):
    """What has a retention of its own."""

    raw = "raw"
    hourly = "hourly"
    daily = "daily"
    events = "events"
    logs = "logs"
    quarantine = "quarantine"


def _set(organization: str, layer: Layer, days: int | None) -> None:
    with connect() as connection:
        try:
            found = get(connection, organization)
            connection.execute(query("set_retention"), {"organization_id": found.id, "layer": layer.value, "days": days})
        except OrganizationError as error:
            fail(str(error))
        except psycopg.errors.CheckViolation:
            fail(f"--days {days}: 8 to 36500 (missing hours of the last seven days are computed again)", 2)


@app.command("set")
def set_command(
    organization: Annotated[str, typer.Option(help="Slug")],
    layer: Annotated[Layer, typer.Option()],
    days: Annotated[int, typer.Option(help="Whole days of the organisation's time zone; at least 8")],
) -> None:
    """Keep a layer of an organisation for so many days, if the deployment does not drop it sooner."""
    _set(organization, layer, days)
    out.print(f"{organization} keeps {layer.value} for {days} days; what is older leaves with the next `analytics maintain`")


@app.command("reset")
def reset_command(
    organization: Annotated[str, typer.Option(help="Slug")],
    layer: Annotated[Layer, typer.Option()],
) -> None:
    """Keep a layer of an organisation as long as the deployment does. What has left does not come back."""
    _set(organization, layer, None)
    out.print(f"{organization} keeps {layer.value} as long as the deployment")


@app.command("list")
def list_command() -> None:
    """Show how long each layer is kept, and by whom for less."""
    kept = Settings.load().keep_days
    with connect() as connection:
        rows = connection.execute(query("list_retention")).fetchall()
    print_table(
        "days kept",
        ["organization", "layer", "days"],
        [("(all)", layer, days) for layer, days in kept.items()]
        + [(row["organization"], row["layer"], row["keep_days"]) for row in rows],
        right=["days"],
    )
