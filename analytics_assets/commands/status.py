"""analytics status: what is late, and what to do."""

import json
import sys
from datetime import timedelta
from typing import Annotated, Any

import typer

from analytics_assets.commands.console import fail, moment, out, print_table, span
from analytics_assets.database import connect
from analytics_assets.operations.status import OPEN, Status, read_status
from analytics_assets.organizations import registry
from analytics_assets.organizations.registry import OrganizationError
from analytics_assets.sql import query

_MOST_LINES = 40
_WHAT_TO_DO = {
    "wait": "it is tried again by itself, at the time of next try",
    "authorize": "`analytics sources authorize --organization SLUG --type TYPE` takes new credentials",
    "test": "`analytics sources test --organization SLUG --type TYPE` says what is wrong, and has it go on when it answers",
    "ui": "syncing stands still: does Dagster's daemon run, and sensor source_freshness? `analytics ui`, or `analytics sources sync --due`",
    "keys": "no event for a day: does the website still send? `analytics keys list --organization SLUG`",
}


def _source_row(row: dict[str, Any]) -> tuple[Any, ...]:
    return (
        row["organization"],
        row["source_type"],
        row["source_name"],
        row["failure_kind"] or row["status"],
        moment(row["last_success_at"]) or "never",
        span(row["late_by"]) if row["late_by"] >= timedelta(minutes=1) else "",
        row["failures"] or "",
        moment(row["next_try_at"]),
        row["what_to_do"],
    )


def _print(status: Status) -> None:
    sources = status.sources
    print_table(
        f"{len(sources)} sources, {len(status.late)} late",
        ["organization", "type", "name", "status", "last success", "late by", "failures", "next try", "what to do"],
        [_source_row(row) for row in sources[:_MOST_LINES]],
        right=["late by", "failures"],
    )
    if len(sources) > _MOST_LINES:
        out.print(f"and {len(sources) - _MOST_LINES} more, less late: --organization SLUG, --late or --json tells them")
    for word in sorted({row["what_to_do"] for row in sources} & set(_WHAT_TO_DO)):
        out.print(f"{word}: {_WHAT_TO_DO[word]}", markup=False, soft_wrap=True)
    organizations = [row for row in status.organizations if any(row[name] for name in OPEN)]
    if not organizations:
        out.print("no hour or day is stale, failed or waiting")
        return
    print_table(
        f"{len(organizations)} organisations with hours or days that are not done",
        ["organization", *(name.replace("_", " ") for name in OPEN)],
        [(row["organization"], *(row[name] or "" for name in OPEN)) for row in organizations[:_MOST_LINES]],
        right=[name.replace("_", " ") for name in OPEN],
    )
    if len(organizations) > _MOST_LINES:
        out.print(f"and {len(organizations) - _MOST_LINES} more")
    for row in status.failed[:_MOST_LINES]:
        out.print(f"{row['organization']}: {row['first_error']}", markup=False, soft_wrap=True)
    if status.failed:
        out.print(
            "failed: `analytics quarantine list --organization SLUG` shows records that could not be read; a failed hour or day"
        )
        out.print(
            "is tried again by itself, and at once by `analytics backfill --organization SLUG --from DAY --to DAY`",
            soft_wrap=True,
        )


def status_command(
    organization: Annotated[str | None, typer.Option(help="Only this organisation (slug)")] = None,
    late: Annotated[bool, typer.Option("--late", help="Only what is late, and organisations with failed hours or days")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as JSON on standard output")] = False,
) -> None:
    """Say what is late, failed and open, the worst first. Exit status 1: a source is late, or an hour or day failed. Times are UTC."""
    with connect() as connection:
        if organization is not None:
            try:
                registry.get(connection, organization)
            except OrganizationError as error:
                fail(str(error))
        status = read_status(connection, organization, late=late)
        alerts = connection.execute(query("alerts_told")).fetchone()
    if as_json:
        json.dump(status.as_json(), sys.stdout, indent=1)
        print()
    else:
        _print(status)
        if organization is None and alerts and (alerts["open"] or alerts["untold"]):
            untold = f", {alerts['untold']} notices not delivered yet" if alerts["untold"] else ""
            why = f" ({alerts['problem']})" if alerts["problem"] else ""
            out.print(f"{alerts['open']} alerts open{untold}{why}", markup=False, soft_wrap=True)
    if status.late or status.failed:
        raise typer.Exit(1)
