"""analytics erase: what is known of one person goes, and what was counted stays."""

from typing import Annotated

import typer

from analytics_assets.commands.console import fail, out, print_counts, progress_bar
from analytics_assets.database import connect
from analytics_assets.organizations.registry import OrganizationError
from analytics_assets.personal_data.erasure import ErasureError, erase


def _shown(counts: dict[str, int]) -> dict[str, str]:
    return {table: f"{rows:,}" for table, rows in counts.items()}


def erase_command(
    organization: Annotated[str, typer.Option(help="Slug of the organisation")],
    user_id: Annotated[
        list[str] | None, typer.Option(help="An id of the person, as the site sends it or a store has it; may be repeated")
    ] = None,
    email: Annotated[list[str] | None, typer.Option(help="An e-mail address of the person; may be repeated")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change")] = False,
) -> None:
    """Erase one person: ids become random, records on raw pages are redacted, aggregates stay. Interrupted, call it again."""
    if not user_id and not email:
        fail("whom? Give --user-id or --email, or both", code=2)
    with connect() as connection, progress_bar() as bar:
        task = bar.add_task("erasing", total=None)
        try:
            erased = erase(
                connection,
                organization,
                user_id or [],
                email or [],
                dry_run,
                lambda table, done, of: bar.update(task, description=table, completed=done, total=of),
            )
        except (OrganizationError, ErasureError) as error:
            fail(str(error))
    verb = "would change" if dry_run else "changed"
    if erased.resumed is not None:
        print_counts(f"an erasure that had been interrupted was completed first: rows {verb}", _shown(erased.resumed))
    if erased.counts:
        print_counts(f"{organization}: one person, rows {verb} by table", _shown(erased.counts))
        out.print(
            "nothing was changed (dry run)" if dry_run else "erased; what comes of this person from now on is renamed as it comes"
        )
    elif erased.known_before:
        out.print(f"{organization}: this person was erased before; nothing else was found")
    else:
        fail(
            f"nothing is known of that person in {organization}; ids are case-sensitive, see that both are written as the site sends them"
        )
