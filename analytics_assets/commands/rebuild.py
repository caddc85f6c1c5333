"""analytics rebuild: layers again from raw pages."""

from datetime import date
from typing import Annotated

import typer

from analytics_assets.commands.console import err, fail, out, print_table, progress_bar
from analytics_assets.database import PIPELINE_ROLE, connect
from analytics_assets.operations.rebuild import LAYERS, RebuildError, rebuild
from analytics_assets.organizations.registry import OrganizationError, get
from analytics_assets.sql import query

_SHOWN = 40


def _range(text: str) -> tuple[date, date]:
    first, _, end = text.partition("..")
    try:
        return date.fromisoformat(first), date.fromisoformat(end)
    except ValueError:
        fail(f"--range {text}: expected two dates such as 2026-03-01..2026-04-01, the second the day after the last", 2)


def rebuild_command(
    range_: Annotated[str, typer.Option("--range", metavar="FROM..TO", help="Days of the organisations; TO is not rebuilt")],
    organization: Annotated[list[str] | None, typer.Option(help="Slug; may be given several times")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every organisation")] = False,
    layer: Annotated[list[str] | None, typer.Option(help=f"{', '.join(LAYERS)}; all by default, in this order")] = None,
    from_: Annotated[str, typer.Option("--from", help="What it is made of: raw")] = "raw",
    check: Annotated[bool, typer.Option("--check", help="Only compare: nothing is changed. Status 1 where rows differ")] = False,
) -> None:
    """Compute layers again from raw pages, and put them in place of what differs. Readers see the old rows until then."""
    start, end = _range(range_)
    if from_ != "raw":
        fail(f"--from {from_}: layers are rebuilt from raw", 2)
    if bool(organization) == all_:
        fail("name organisations with --organization, or all of them with --all", 2)
    with connect(role=PIPELINE_ROLE) as connection:
        try:
            slugs = organization or [row["slug"] for row in connection.execute(query("list_organizations")).fetchall()]
            chosen = [get(connection, slug) for slug in dict.fromkeys(slugs)]
            with progress_bar() as bar:
                task = bar.add_task("organisations", total=len(chosen))
                found = rebuild(connection, chosen, start, end, layer or LAYERS, check, lambda count: bar.advance(task, count))
        except OrganizationError as error:
            fail(str(error))
        except RebuildError as error:
            fail(str(error), 2)
    tables = list(dict.fromkeys(row.table for row in found))
    sums = [
        (
            table,
            sum(row.rows for row in found if row.table == table),
            sum(row.missing for row in found if row.table == table),
            sum(row.wrong for row in found if row.table == table),
        )
        for table in tables
    ]
    columns = ["table", "rows from raw", "missing before", "wrong before"]
    print_table(f"{len(chosen)} organisations, {start} to {end}", columns, sums, right=columns[1:])
    differing = [row for row in found if row.missing or row.wrong]
    if differing:
        print_table(
            "differed" if not check else "differ",
            ["organization", "table", "missing", "wrong"],
            [(row.organization, row.table, row.missing, row.wrong) for row in differing[:_SHOWN]],
            right=["missing", "wrong"],
        )
    out.print(
        "every row is what its raw pages make of it"
        if not differing
        else "nothing was changed (--check)"
        if check
        else "swapped in"
    )
    failed = [row for row in found if row.error]
    for row in failed[:_SHOWN]:
        err.print(f"{row.organization} {row.table}: {row.error}", soft_wrap=True, markup=False)
    if failed or (check and differing):
        raise typer.Exit(1)
