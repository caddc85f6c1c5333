"""analytics insights: what an organisation is told, and what it answers."""

from datetime import datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer
from rich.text import Text

from analytics_assets.commands.console import fail, out, say
from analytics_assets.database import connect
from analytics_assets.organizations.registry import OrganizationError
from analytics_assets.organizations.registry import get as get_organization
from analytics_assets.sql import query

_STYLES = {"critical": "bold red", "high": "red", "medium": "yellow", "low": "dim"}
_MOST = 200
_SHOWN_ID = 8


def insights_command(
    organization: Annotated[str, typer.Option(help="Slug of the organisation")],
    everything: Annotated[bool, typer.Option("--all", help="Also read, dismissed, past and withdrawn ones")] = False,
    read: Annotated[str | None, typer.Option(metavar="ID", help="Mark as read; the first characters of the id will do")] = None,
    dismiss: Annotated[
        str | None, typer.Option(metavar="ID", help="Mark as of no use: what is like it has to be larger to be said again")
    ] = None,
) -> None:
    """List what departs from the organisation's usual course and what rules find, the gravest first; mark one as read or of no use."""
    if read is not None and dismiss is not None:
        fail("expected one of --read ID and --dismiss ID: who dismisses an insight has read it", 2)
    with connect() as connection:
        try:
            found = get_organization(connection, organization)
        except OrganizationError as error:
            fail(str(error))
        answered = read if read is not None else dismiss
        if answered is not None:
            _answer(connection, organization, found.id, answered, dismissed=dismiss is not None)
            connection.commit()
            return
        rows = connection.execute(
            query("list_insights"), {"organization_id": found.id, "everything": everything, "most": _MOST}
        ).fetchall()
    if not rows:
        more = "" if everything else "; --all shows what was read, dismissed, or is over"
        say(f"nothing departs from the usual course of {organization}{more}")
        return
    say(f"{len(rows)} insights of {organization}" + (f", the first {_MOST}" if len(rows) == _MOST else ""))
    for row in rows:
        _show(row, ZoneInfo(found.time_zone))


def _answer(connection: Any, slug: str, organization_id: Any, prefix: str, *, dismissed: bool) -> None:
    ids = (
        connection.execute(query("find_insight"), {"organization_id": organization_id, "prefix": prefix}).fetchall()
        if prefix
        else []
    )
    if len(ids) != 1:
        what = f"more than one insight of {slug} begins" if ids else f"no insight of {slug} begins"
        fail(f"{what} with {prefix!r}; see `analytics insights --organization {slug} --all`")
    row = connection.execute(
        query("answer_insight"), {"organization_id": organization_id, "id": ids[0]["id"], "dismissed": dismissed}
    ).fetchone()
    say(f"{'dismissed' if dismissed else 'read'}: {row['title']}")


def _show(row: dict[str, Any], zone: ZoneInfo) -> None:
    at = row["starts_at"]
    when = f"{at.astimezone(zone):%a %d %b %Y %H:%M}, " if isinstance(at, datetime) else ""
    state = row["state"] + (", read" if row["is_read"] else "")
    out.print()
    out.print(
        Text.assemble(
            (f"{row['severity']:<9}", _STYLES.get(row["severity"], "")),
            (row["title"], "bold"),
            f"  [{str(row['id'])[:_SHOWN_ID]}]",
        ),
        soft_wrap=True,
    )
    say(f"         {when}{state}, confidence {row['confidence_score']}")
    # A model's words stand before the template's, which they are made of.
    if row["narrative"]:
        say(f"         {row['narrative']} (worded by a language model)")
    say(f"         {row['description']}")
    for advice in row["recommendations"]:
        say(f"         - {advice}")
