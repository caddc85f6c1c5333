"""analytics organizations members: who belongs to a tenant."""

from typing import Annotated

import typer

from analytics_assets.commands.console import fail, out, print_table
from analytics_assets.database import connect
from analytics_assets.organizations import members
from analytics_assets.organizations.registry import OrganizationError

app = typer.Typer(no_args_is_help=True, help="Members of a tenant: added, listed, removed.")

SlugArgument = Annotated[str, typer.Argument(help="Slug of the organisation")]
UserArgument = Annotated[str, typer.Argument(help="The user's uuid")]
ForceOption = Annotated[bool, typer.Option("--force", help="Even where no owner is left")]


@app.command()
def add(
    slug: SlugArgument,
    user: UserArgument,
    role: Annotated[str, typer.Option(help="owner, admin, member, viewer; or a role of your own application's")] = "member",
    force: ForceOption = False,
) -> None:
    """Make a user a member, or give a member another role."""
    with connect() as connection:
        try:
            outcome = members.add(connection, slug, user, role, force)
        except OrganizationError as error:
            fail(str(error))
    out.print(f"{user} is {role} of {slug}: {outcome}")


@app.command()
def remove(slug: SlugArgument, user: UserArgument, force: ForceOption = False) -> None:
    """Remove a member."""
    with connect() as connection:
        try:
            members.remove(connection, slug, user, force)
        except OrganizationError as error:
            fail(str(error))
    out.print(f"{user} is no member of {slug} any more")


@app.command("list")
def list_(slug: SlugArgument) -> None:
    """List members with their roles."""
    with connect() as connection:
        try:
            rows = members.listed(connection, slug)
        except OrganizationError as error:
            fail(str(error))
    print_table(
        f"{len(rows)} members of {slug}",
        ["user", "role", "since (UTC)"],
        [(row["user_id"], row["role"], f"{row['created_at']:%Y-%m-%d %H:%M}") for row in rows],
    )
