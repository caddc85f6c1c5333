"""analytics organizations delete, export, import: a tenant goes, or moves."""

from pathlib import Path
from typing import Annotated

import typer

from analytics_assets.commands.console import fail, out, print_counts, progress_bar
from analytics_assets.database import connect
from analytics_assets.instance import open_instance
from analytics_assets.organizations import archive, deletion
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
            found = {table: count for table, count in counts.items() if count}
            print_counts(f"{name} ({organization}): {sum(counts.values()):,} rows", found)
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


def export_command(
    slug: Annotated[str, typer.Argument(help="Slug of the organisation")],
    output: Annotated[Path, typer.Option(help="An empty folder, or one to be made")],
) -> None:
    """Write all rows of an organisation to a folder that `import` reads again. Secrets and write keys are left out."""
    with connect() as connection:
        try:
            counts = archive.export(connection, slug, output)
        except OrganizationError as error:
            fail(str(error))
    found = {table: count for table, count in counts.items() if count}
    print_counts(f"{slug}: {sum(counts.values()):,} rows in {output}", found)
    out.print(f"left out: {'; '.join(archive.LEFT_OUT)}")


def import_command(
    folder: Annotated[Path, typer.Argument(help="A folder that `export` has written", exists=True, file_okay=False)],
    as_: Annotated[str | None, typer.Option("--as", metavar="SLUG", help="Another slug; the id stays")] = None,
) -> None:
    """Bring an exported organisation back, all of it or nothing."""
    with connect() as connection:
        try:
            slug, counts = archive.read_in(connection, folder, as_)
        except OrganizationError as error:
            fail(str(error))
    found = {table: count for table, count in counts.items() if count}
    print_counts(f"{slug}: {sum(counts.values()):,} rows taken in", found)
    out.print("its sources need their secrets (`analytics sources authorize`), its websites new keys (`analytics keys create`)")
