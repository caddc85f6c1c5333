"""analytics funnels: definitions added, listed, removed; what they count, as bars."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from analytics_assets.commands.console import fail, out, print_table, say
from analytics_assets.database import connect
from analytics_assets.funnels import registry
from analytics_assets.funnels.definitions import FunnelError, make_funnel, read_funnel, step_text, window_text
from analytics_assets.organizations.registry import OrganizationError

app = typer.Typer(no_args_is_help=True, help="Funnels over tracked events: their steps, and how many go on from each.")

OrganizationOption = Annotated[str, typer.Option(help="Slug of the organisation")]
NameOption = Annotated[str, typer.Option(help="Name of the funnel")]
_BAR = 40
_EXAMPLE = (
    "analytics funnels add --organization SLUG --name checkout --step 'Product Viewed' --step 'Product Added'"
    " --step 'Thanks: page=/thanks*'"
)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OrganizationError as error:
        fail(str(error))


@app.command()
def add(
    organization: OrganizationOption,
    name: Annotated[str | None, typer.Option(help="Name of the funnel")] = None,
    step: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STEP",
            help="In their order. [NAME: ] [EVENT] [type=TYPE] [page=PATTERN] [where PROPERTY=VALUE [and ...]], such as "
            "'Product Viewed', 'Thanks: page=/thanks*', 'Shoes: Product Added where category=shoes'",
        ),
    ] = None,
    window: Annotated[
        str | None, typer.Option(help="From the entry to the last step: 30m, 24h, 7d. By default 24h of a session, 7d of a user")
    ] = None,
    unit: Annotated[str | None, typer.Option(help="Whose path it is: session, or the known user over all sessions")] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="JSON with name, unit, window and steps in place of the options", exists=True, dir_okay=False),
    ] = None,
) -> None:
    """Add a funnel, or change it: that makes a new version, and its days are computed anew. The same again changes nothing."""
    try:
        if file is not None:
            if name or step or window or unit:
                raise FunnelError(f"--file {file} says everything: leave --name, --step, --window and --unit out")
            funnel = read_funnel(file)
        else:
            if name is None or not step:
                raise FunnelError(f"expected --name and at least one --step, or --file. For example: {_EXAMPLE}")
            funnel = make_funnel(name, unit or "session", window, step)
    except FunnelError as error:
        fail(str(error), 2)
    with connect() as connection, _told():
        stored = registry.store(connection, organization, funnel)
    told = {
        "added": "added",
        "changed": f"changed: version {stored.version}",
        "restored": f"counted again, as version {stored.version}",
        "unchanged": f"is there already, as version {stored.version}",
    }[stored.change]
    say(f"funnel {funnel.name!r} of {organization} {told}")
    for number, one in enumerate(funnel.steps, 1):
        say(f"  {number}. {step_text(one)}")
    say(f"  per {funnel.unit}, within {window_text(funnel.window)} of the entry")
    if stored.marked:
        say(
            f"{stored.marked} days from {stored.first_day} on will be computed by the sensor stale_partitions. At once, and before "
            f"the first daily partition: analytics backfill --organization {organization} --from {stored.first_day} "
            f"--to {datetime.now(UTC).date() + timedelta(days=1)} --assets funnel_analysis"
        )


@app.command("list")
def list_(organization: Annotated[str | None, typer.Option(help="Only this organisation's")] = None) -> None:
    """List funnels with their steps and what is computed of their newest version."""
    with connect() as connection, _told():
        rows = registry.listed(connection, organization)
    if not rows:
        say(f"no funnels yet: {_EXAMPLE}")
        return
    print_table(
        f"{len(rows)} funnels",
        [
            "organization",
            "funnel",
            "version",
            "unit",
            "window",
            "steps",
            "days",
            "from",
            "to",
            "entries",
            "completed",
            "open days",
        ],
        [
            (
                row["organization"],
                row["funnel_name"],
                row["version"],
                row["unit"],
                window_text(timedelta(seconds=row["window_seconds"])),
                " > ".join(one["name"] for one in row["steps"]),
                row["days"],
                row["first_day"],
                row["last_day"],
                row["entries"] or 0,
                row["completed"] or 0,
                row["open_days"],
            )
            for row in rows
        ],
        right=["version", "days", "entries", "completed", "open days"],
    )


@app.command()
def show(
    organization: OrganizationOption,
    name: NameOption,
    first: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], metavar="DATE", help="First day; 30 days back by default")
    ] = None,
    to: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], metavar="DATE", help="Day after the last; tomorrow by default")
    ] = None,
) -> None:
    """Show a funnel over a range of the organisation's days, as bars. Versions that were counted in it stand apart."""
    end = (to or datetime.now(UTC) + timedelta(days=1)).date()
    start = first.date() if first else end - timedelta(days=30)
    if start >= end:
        fail(f"--from {start} is not before --to {end} (the day --to itself is not included)", 2)
    with connect() as connection, _told():
        known = {row["funnel_name"] for row in registry.listed(connection, organization)}
        rows = registry.pooled(connection, organization, name, start, end - timedelta(days=1))
    if not rows:
        if name not in known:
            fail(f"no funnel {name!r} of {organization}; see `analytics funnels list --organization {organization}`")
        say(f"funnel {name!r} of {organization}: no entry from {start} to {end - timedelta(days=1)} is computed")
        return
    for version in sorted({row["version"] for row in rows}, reverse=True):
        _show_version(name, organization, version, [row for row in rows if row["version"] == version])


def _show_version(name: str, organization: str, version: int, rows: list[dict[str, Any]]) -> None:
    entries, days = rows[0]["visitors"], rows[0]["days"]
    open_days = rows[0]["open_days"]
    first, last = _span(rows)
    note = f", {open_days} of them not final yet" if open_days else ""
    say(f"{name} of {organization}, version {version}: {first} to {last}, {days} days with entries{note}")
    width = min(30, max(len(row["step_name"]) for row in rows))
    for row in rows:
        share = row["visitors"] / entries if entries else 0.0
        on = "" if row is rows[-1] else f"   {_percent(row['conversions'], row['visitors'])} go on"
        line = f"{row['step_order']:>3}. {row['step_name'][:30]:<{width}}  "
        bar = "█" * max(round(share * _BAR), 1 if row["visitors"] else 0)
        out.print(Text(f"{line}{bar:<{_BAR}} {row['visitors']:>9,}  {_percent(row['visitors'], entries)}{on}"), soft_wrap=True)


def _span(rows: list[dict[str, Any]]) -> tuple[date, date]:
    return min(row["first_day"] for row in rows), max(row["last_day"] for row in rows)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole if whole else 0:5.1f} %"


@app.command()
def remove(organization: OrganizationOption, name: NameOption) -> None:
    """Count a funnel no more. Days whose events are still kept lose its rows, older ones keep them."""
    with connect() as connection, _told():
        marked = registry.remove(connection, organization, name)
    if marked is None:
        fail(f"no funnel {name!r} of {organization}; see `analytics funnels list --organization {organization}`")
    say(f"funnel {name!r} of {organization} removed; {marked} days lose its rows when they are computed next")
