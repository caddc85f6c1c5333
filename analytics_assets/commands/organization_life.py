"""analytics organizations delete: the end of a tenant's life."""

from typing import Annotated

import typer

from analytics_assets.commands.console import fail, out, print_table, progress_bar
from analytics_assets.database import connect
from analytics_assets.instance import open_instance
from analytics_assets.organizations import deletion
from analytics_assets.organizations.registry import OrganizationError


def delete_command(
    slug: Annotated[str, typer.Argument(help="Its slug; the id of one whose deletion was interrupted at its very end")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for the slug to be typed")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go")] = False,
) -> None:
    """Delete an organisation and every row of it, for good. Interrupted, it goes on when called again."""
    with connect() as connection:
        try:
            organization, name = deletion.find(connection, slug)
            counts = deletion.count_rows(connection, organization)
            connection.commit()
            found = [(table, count) for table, count in counts.items() if count]
            print_table(f"{name} ({organization}): {sum(counts.values()):,} rows", ["table", "rows"], found, right=["rows"])
            if dry_run:
                return
            if not yes and typer.prompt(f"Type {name} to delete all of it for good", err=True) != name:
                fail("not what was asked for: nothing was deleted")
            with progress_bar() as bar:
                task = bar.add_task("deleting", total=None)
                deleted = deletion.delete(
                    connection,
                    organization,
                    lambda table, done, of: bar.update(task, description=table, completed=done, total=of),
                )
        except OrganizationError as error:
            fail(str(error))
    with open_instance():  # brings Dagster's partitions in step
        out.print(f"{name} is deleted: {deleted:,} rows, and its partition key where no other organisation has it")
