"""analytics live: who is there at this moment, refreshed in place."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from analytics_assets.commands.console import fail, out
from analytics_assets.database import connect
from analytics_assets.organizations.registry import Organization, OrganizationError, get
from analytics_assets.sql import query

_MINUTES = 30
_SHOWN = 8
_BAR_ROWS = 5
_EIGHTHS = " ▁▂▃▄▅▆▇█"
_FACETS = (
    ("page", "pages", 60),
    ("country", "countries", 12),
    ("device", "devices", 12),
    ("browser", "browsers", 24),
    ("referrer", "referrers", 40),
)


def _plain(value: str, width: int) -> Text:
    """What a client sent, for a terminal: no control characters, no longer than width."""
    text = "".join(character if character.isprintable() else "�" for character in value)
    return Text(text if len(text) <= width else text[: width - 1] + "…", no_wrap=True)


def _facet(rows: Sequence[dict[str, Any]], title: str, width: int) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False)
    table.add_column("")
    for name in ("visitors", "sessions", "events"):
        table.add_column(name, justify="right")
    for row in rows[:_SHOWN]:
        table.add_row(_plain(row["value"], width), str(row["visitors"]), str(row["sessions"]), str(row["events"]))
    if len(rows) > _SHOWN:
        table.add_row(Text(f"and {len(rows) - _SHOWN} more", style="dim"), "", "", "")
    return table


def bars(counts: Sequence[int], rows: int = _BAR_ROWS) -> list[str]:
    """Counts as columns of block characters, top line first; the greatest fills all lines, and none but 0 is invisible."""
    most = max([*counts, 1])
    heights = [0 if count == 0 else max(1, round(count * rows * 8 / most)) for count in counts]
    return [
        "".join(_EIGHTHS[max(0, min(8, height - 8 * row))] * 2 + " " for height in heights).rstrip()
        for row in reversed(range(rows))
    ]


def _minutes(rows: Sequence[dict[str, Any]], now: datetime) -> RenderableType:
    by_minute = {row["value"]: row["events"] for row in rows}
    minutes = [now - timedelta(minutes=back) for back in reversed(range(_MINUTES))]
    counts = [by_minute.get(f"{minute:%Y-%m-%d %H:%M}", 0) for minute in minutes]
    axis = f"{minutes[0]:%H:%M}{'':>{_MINUTES * 3 - 11}}{minutes[-1]:%H:%M} UTC"
    return Group(
        Text(f"events a minute: {counts[-1]} now, {max(counts)} at most, {sum(counts)} in {_MINUTES} minutes", style="bold"),
        *(Text(line, style="cyan", no_wrap=True) for line in bars(counts)),
        Text(axis, style="dim", no_wrap=True),
    )


def screen(organization: Organization, rows: Sequence[dict[str, Any]], now: datetime) -> RenderableType:
    """What is shown of an organisation: rows of public.live_activity at an instant (UTC)."""
    by_facet: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_facet.setdefault(row["facet"], []).append(row)
    head = Text(f"{organization.slug}  {now:%Y-%m-%d %H:%M:%S} UTC", style="bold")
    if "total" not in by_facet:
        nobody = "nobody is there: no event in the last 30 minutes"
        return Group(head, Text(nobody), *([_minutes(by_facet["minute"], now)] if "minute" in by_facet else []))
    total = by_facet["total"][0]
    there = f"{total['visitors']} active visitors, {total['sessions']} sessions with {total['events']} events so far"
    tables = [_facet(by_facet[facet], title, width) for facet, title, width in _FACETS if facet in by_facet]
    return Group(
        head,
        Text(there, style="green"),
        Text(),
        _minutes(by_facet.get("minute", []), now),
        Text(),
        Columns(tables, padding=(1, 4)),
    )


def live_command(
    organization: Annotated[str, typer.Option(help="Slug")],
    interval: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks")] = 2.0,
    once: Annotated[bool, typer.Option(help="Print once, and end")] = False,
) -> None:
    """Show who is there now: active visitors, pages, countries, devices, events a minute. Until Ctrl-C."""
    with connect() as connection:
        try:
            chosen = get(connection, organization)
        except OrganizationError as error:
            fail(str(error))
        connection.commit()

        def look() -> RenderableType:
            rows = connection.execute(query("live_activity"), {"organization_id": chosen.id}).fetchall()
            # Each look is a transaction of its own: within one, now() stands still.
            connection.commit()
            return screen(chosen, rows, datetime.now(UTC))

        if once:
            out.print(look())
            return
        try:
            with Live(look(), console=out, refresh_per_second=4, screen=out.is_terminal) as live:
                while True:
                    time.sleep(interval)
                    live.update(look(), refresh=True)
        except KeyboardInterrupt:
            pass
