"""analytics alerts: rules added, listed, removed; what is active, since when, and who acknowledged it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer

from analytics_assets.alerts import registry
from analytics_assets.alerts.receivers import Receivers
from analytics_assets.alerts.rules import RuleError, limit_text, make_rule, quiet_text
from analytics_assets.commands.console import fail, print_table, say
from analytics_assets.database import connect
from analytics_assets.organizations.registry import OrganizationError

app = typer.Typer(no_args_is_help=True, help="Alerts: limits that an organisation sets to its numbers, and what is beyond them.")

OrganizationOption = Annotated[str, typer.Option(help="Slug of the organisation")]
NameOption = Annotated[str, typer.Option(help="Name of the rule")]
_EXAMPLE = "analytics alerts add --organization SLUG --name 'few orders' --channel woocommerce --metric orders --below 10"


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OrganizationError as error:
        fail(str(error))
    except RuleError as error:
        fail(str(error), 2)


@app.command()
def add(
    organization: OrganizationOption,
    name: NameOption,
    channel: Annotated[str, typer.Option(help="Such as woocommerce, shopify, google_analytics; all: over all of them")],
    metric: Annotated[str, typer.Option(help="Of the catalogue, ratios such as conversion_rate or aov among them")],
    above: Annotated[str | None, typer.Option(metavar="NUMBER", help="Fires above this value")] = None,
    below: Annotated[str | None, typer.Option(metavar="NUMBER", help="Fires below this value")] = None,
    change: Annotated[
        str | None,
        typer.Option(metavar="PERCENT", help="Against the same hour, or weekday, a week before: 50 for a rise, -30 for a fall"),
    ] = None,
    goal: Annotated[
        str | None, typer.Option(metavar="NUMBER", help="Fires where the month heads for less, by its days so far")
    ] = None,
    grain: Annotated[str | None, typer.Option(help="hour or day; hour by default")] = None,
    clear: Annotated[
        str | None, typer.Option(metavar="NUMBER", help="Clears at this; by default 5 % inside the threshold")
    ] = None,
    confirm: Annotated[int, typer.Option(help="Hours or days in a row; a fifth beyond the threshold one is enough")] = 2,
    minimum: Annotated[
        str | None,
        typer.Option(metavar="NUMBER", help="Of a change or ratio: judged where there is so much to compare with; 20 by default"),
    ] = None,
    quiet: Annotated[
        str | None, typer.Option(metavar="HH:MM-HH:MM", help="Nobody is told in these hours of the organisation's clock")
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], metavar="DATE", help="Judges from that day on; the last 24 hours by default"),
    ] = None,
) -> None:
    """Add a rule. The same again changes nothing."""
    with connect() as connection, _told():
        rule = make_rule(
            name=name, channel=channel, metric=metric, grain=grain or "", limits={"above": above, "below": below, "change": change, "goal": goal},
            clear=clear, confirm=confirm, minimum=minimum, quiet=quiet, since=since.date() if since else None,
            catalogue=registry.catalogue(connection),
        )  # fmt: skip
        added = registry.store(connection, organization, rule)
        row = next(row for row in registry.listed(connection, organization) if row["name"] == rule.name)
    say(f"rule {rule.name!r} of {organization} {'added' if added else 'is there already'}")
    say(f"  {rule.metric} of {rule.channel} by {rule.grain}: {limit_text(row)}, clears at {_number(row['clear_threshold'])}")
    if not Receivers.load().channels:
        say("nobody is told yet: set ANALYTICS_ALERT_WEBHOOK_URL, ANALYTICS_ALERT_SLACK_URL or ANALYTICS_ALERT_EMAIL_TO")


def _number(value: Any) -> str:
    return f"{value.normalize():f}"


@app.command("list")
def list_(organization: Annotated[str | None, typer.Option(help="Only this organisation's")] = None) -> None:
    """List rules, and since when each is broken."""
    with connect() as connection, _told():
        rows = registry.listed(connection, organization)
    if not rows:
        say(f"no rules yet: {_EXAMPLE}")
        return
    print_table(
        f"{len(rows)} rules",
        ["organization", "rule", "channel", "metric", "grain", "fires", "clears at", "confirm", "minimum", "quiet", "state"],
        [
            (
                row["organization"], row["name"], row["channel"], row["metric"], row["grain"], limit_text(row), _number(row["clear_threshold"]),
                row["confirm"], _number(row["minimum_base"]) if row["minimum_base"] else "", quiet_text(row), _state(row),
            )
            for row in rows
        ],
        right=["clears at", "confirm", "minimum"],
    )  # fmt: skip


def _state(row: dict[str, Any]) -> str:
    if not row["is_active"]:
        return "off"
    return f"active since {_at(row['active_since'], row['grain'], row['time_zone'])}" if row["active_since"] else "quiet"


def _at(bucket: datetime, grain: str, zone: str) -> str:
    """An hour by the organisation's clock, a day by its date (which a bucket keeps as midnight UTC)."""
    return f"{bucket.astimezone(UTC):%Y-%m-%d}" if grain == "day" else f"{bucket.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M}"


@app.command()
def remove(organization: OrganizationOption, name: NameOption) -> None:
    """Remove a rule. Its active alert ends; what it found stays."""
    with connect() as connection, _told():
        ended = registry.remove(connection, organization, name)
    if ended is None:
        fail(f"no rule {name!r} of {organization}; see `analytics alerts list --organization {organization}`")
    say(f"rule {name!r} of {organization} removed" + (f"; {ended} active alert ended" if ended else ""))


@app.command()
def show(
    organization: OrganizationOption,
    everything: Annotated[bool, typer.Option("--all", help="Those that are over too")] = False,
    most: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many")] = 50,
) -> None:
    """Show what is active, since when, and who acknowledged it."""
    with connect() as connection, _told():
        rows = registry.shown(connection, organization, everything=everything, most=most)
    if not rows:
        say(f"no alert of {organization}{'' if everything else ' is active'}")
        return
    print_table(
        f"{sum(row['is_active'] for row in rows)} active alerts of {organization} ({rows[0]['time_zone']})",
        ["state", "since", "what", "acknowledged", "untold"],
        [
            (
                "withdrawn" if row["withdrawn_at"] else "active" if row["is_active"] else "resolved",
                _at(row["fired_bucket"] or row["created_at"], row["grain"] if row["fired_bucket"] else "hour", row["time_zone"]),
                row["message"],
                f"{row['acknowledged_by'] or 'a service'}, {_at(row['acknowledged_at'], 'hour', row['time_zone'])}"
                if row["is_acknowledged"]
                else "",
                row["untold"] or "",
            )
            for row in rows
        ],
        right=["untold"],
    )
