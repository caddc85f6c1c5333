"""Funnels by their definitions, in plain Python and by trying everything: slow, and written apart from the SQL."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

from psycopg.types.json import Jsonb

from analytics_assets_tests.woocommerce import Connection


def noon_in_berlin(days_ago: int) -> datetime:
    """Noon of a day of an organisation in Berlin, in UTC. (Counted by UTC's days, tests met one day more from 23:00 UTC on.)"""
    today = datetime.now(ZoneInfo("Europe/Berlin"))
    return (today.replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=days_ago)).astimezone(UTC)


@dataclass(frozen=True)
class Event:
    """An event as event_tracking has it. user: whether the visitor is known."""

    at: datetime
    visitor: str = "v"
    session: str = "s"
    user: bool = False
    name: str = "Page Viewed"
    kind: str = "track"
    page: str | None = None
    properties: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Funnel:
    """A funnel's definition. steps: as the column steps has them."""

    steps: Sequence[Mapping[str, Any]]
    window: timedelta = timedelta(days=1)
    unit: str = "session"
    name: str = "f"


#: (funnel, date, step) -> (visitors, conversions)
Counts = dict[tuple[str, date, int], tuple[int, int]]


def matches(step: Mapping[str, Any], event: Event) -> bool:
    """Whether an event is of a step: all its filters hold."""
    if step.get("event") not in (None, event.name) or step.get("type") not in (None, event.kind):
        return False
    if "page" in step:
        if event.page is None:
            return False
        # Only the star is special: fnmatch's other signs are taken as they are.
        pattern = step["page"].replace("[", "[[]").replace("?", "[?]")
        if not any(fnmatchcase(text, pattern) for text in (event.page, urlsplit(event.page).path or "/")):
            return False
    return all(event.properties.get(name) == value for name, value in (step.get("properties") or {}).items())


def depth(events: Sequence[Event], steps: Sequence[Mapping[str, Any]], entry: int, window: timedelta) -> int:
    """How many steps the best try from an entry reaches, each by an event of its own, in order, within the window."""
    end = events[entry].at + window

    def further(done: int, at: datetime, used: frozenset[int]) -> int:
        if done == len(steps):
            return done
        found = (
            further(done + 1, event.at, used | {number})
            for number, event in enumerate(events)
            if number not in used and at <= event.at <= end and matches(steps[done], event)
        )
        return max(found, default=done)

    return further(1, events[entry].at, frozenset({entry}))


def counts(events: Iterable[Event], funnels: Iterable[Funnel], zone: str) -> Counts:
    """What funnel_analysis should hold."""
    found: Counts = {}
    known = list(events)
    for funnel in funnels:
        actors: dict[tuple[str, ...], list[Event]] = defaultdict(list)
        for event in known:
            by_user = funnel.unit == "user" and event.user
            actors[(event.visitor,) if by_user else (event.visitor, event.session)].append(event)
        runs: dict[tuple[tuple[str, ...], date], int] = {}
        for actor, mine in actors.items():
            for number, event in enumerate(mine):
                if matches(funnel.steps[0], event):
                    run = actor, event.at.astimezone(ZoneInfo(zone)).date()
                    runs[run] = max(runs.get(run, 0), depth(mine, funnel.steps, number, funnel.window))
        for day in {day for _, day in runs}:
            depths = [deep for (_, on), deep in runs.items() if on == day]
            reached = [sum(deep >= step for deep in depths) for step in range(1, len(funnel.steps) + 1)]
            for step, visitors in enumerate(reached, 1):
                found[funnel.name, day, step] = visitors, reached[step] if step < len(reached) else visitors
    return found


def add_events(connection: Connection, organization: UUID, events: Iterable[Event]) -> None:
    """Puts events down as the collector would, each with an id of its own."""
    rows = list(events)
    if not rows:
        return
    months = {event.at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0) for event in rows}
    for month in sorted(months):
        connection.execute("select private.ensure_partitions('event_tracking', %s, %s)", (month, month + timedelta(seconds=1)))
    with connection.cursor() as cursor:
        cursor.executemany(
            'insert into event_tracking (organization_id, "timestamp", id, event_type, session_id, visitor_id, user_id,'
            " event_name, page_url, metadata) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                (
                    organization, event.at, uuid4(), event.kind, event.session, event.visitor,
                    event.visitor if event.user else None, event.name, event.page, Jsonb({"properties": dict(event.properties)}),
                )
                for event in rows
            ],
        )  # fmt: skip


def add_funnel(connection: Connection, organization: UUID, funnel: Funnel) -> dict[str, Any]:
    """Stores a funnel's definition; returns what store_funnel says of it."""
    row = connection.execute(
        "select * from private.store_funnel(%s, %s, %s, %s, %s)",
        (organization, funnel.name, int(funnel.window.total_seconds()), funnel.unit, Jsonb(list(funnel.steps))),
    ).fetchone()
    assert row is not None
    return row


def compute(connection: Connection, ids: Sequence[UUID], first: date, last: date) -> dict[str, int]:
    """Runs aggregate_funnels; returns its figures, summed."""
    rows = connection.execute("select * from aggregate_funnels(%s, %s, %s)", (list(ids), first, last)).fetchall()
    return {name: sum(row[name] for row in rows) for name in ("rows_written", "rows_deleted", "days")}


def table(connection: Connection, organization: UUID) -> Counts:
    """What funnel_analysis holds of an organisation."""
    return {
        (row["funnel_name"], row["date"], row["step_order"]): (row["visitors"], row["conversions"])
        for row in _rows(connection, organization)
    }


def _rows(connection: Connection, organization: UUID) -> Iterator[dict[str, Any]]:
    yield from connection.execute("select * from funnel_analysis where organization_id = %s", (organization,))
