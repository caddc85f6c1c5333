"""analytics narratives: which organisations have their insights worded by a language model, and what that comes to."""

from typing import Annotated

import typer

from analytics_assets.commands.console import fail, moment, out, print_table
from analytics_assets.database import connect
from analytics_assets.narratives.settings import Narrator
from analytics_assets.organizations.registry import OrganizationError, get
from analytics_assets.sql import query

app = typer.Typer(
    no_args_is_help=True, help="Insights in a language model's words: which organisations agree, what was asked, what it cost."
)
_Organization = Annotated[str, typer.Option(help="Slug")]
_OFF = "off: set ANALYTICS_NARRATIVE_KEY and ANALYTICS_NARRATIVE_MODEL"


def _consent(organization: str, given: bool) -> None:
    with connect() as connection:
        try:
            found = get(connection, organization)
        except OrganizationError as error:
            fail(str(error))
        connection.execute(query("set_narrative_consent"), {"organization_id": found.id, "given": given})


@app.command("allow")
def allow_command(organization: _Organization) -> None:
    """Note that the organisation agrees: figures of its insights may be sent to the model. No name, id or text of its own is."""
    _consent(organization, True)
    out.print(f"{organization}: its high and critical insights are worded from now on" + ("" if Narrator.load() else f"; {_OFF}"))


@app.command("forbid")
def forbid_command(organization: _Organization) -> None:
    """Note that it does not: nothing is sent any more. What is written stays until its figures change."""
    _consent(organization, False)
    out.print(f"{organization}: nothing is sent any more")


@app.command("write")
def write_command() -> None:
    """Word what is due now, as the sensor does every minute."""
    from analytics_assets.narratives.writing import write
    from analytics_assets.resources import Database

    narrator = Narrator.load()
    if narrator is None:
        fail(_OFF)
    out.print(str(write(Database(), narrator)), markup=False, soft_wrap=True)


@app.command("status")
def status_command() -> None:
    """Show model, limits, who agreed, and what came of the calls of the last 30 days."""
    narrator = Narrator.load()
    with connect() as connection:
        spent = connection.execute(query("narratives_spent")).fetchone() or {}
        agreed = connection.execute(query("list_narrative_consents")).fetchall()
        outcomes = connection.execute(query("narrative_outcomes")).fetchall()
    if narrator is None:
        out.print(_OFF)
    else:
        out.print(
            f"{narrator.model}: today {spent['tokens']:,} of {narrator.day_tokens:,} tokens, "
            f"{spent['dollars']:.2f} of {narrator.day_dollars:.2f} US dollars (UTC)",
            soft_wrap=True,
        )
    if spent["paused_until"] is not None:
        out.print(f"the last calls failed; the next is made after {moment(spent['paused_until'])} UTC", soft_wrap=True)
    print_table("agreed", ["organization", "since"], [(row["organization"], moment(row["updated_at"])) for row in agreed])
    print_table(
        "calls of 30 days",
        ["outcome", "reason", "calls", "tokens", "US dollars", "last (UTC)"],
        [
            (row["outcome"], row["reason"], row["calls"], row["tokens"], f"{row['dollars']:.4f}", moment(row["last"]))
            for row in outcomes
        ],
        right=["calls", "tokens", "US dollars"],
    )
