"""Partitions computed from the command line, through Dagster's own runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from analytics_assets.database import connect
from analytics_assets.instance import process_tag
from analytics_assets.operations.stale import DAY_ASSETS, HOUR_ASSETS, RAW_ASSETS
from analytics_assets.organizations.registry import Organization
from analytics_assets.settings import Settings, home_folder, note
from analytics_assets.sql import query

if TYPE_CHECKING:
    import dagster as dg

# A month of hours a run: progress shows, and what is broken off costs little.
_HOURS_A_RUN = timedelta(days=31)
_DAYS_A_RUN = timedelta(days=366)
_WORST = 20
# What a run has to say stands in its own log; the terminal shows progress.
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class BackfillError(ValueError):
    """A range or asset that cannot be backfilled; the message says which and why."""


@dataclass(frozen=True)
class Piece:
    """One run to be: assets over organisations that share a range. Instants UTC, the end not included."""

    assets: tuple[str, ...]
    organizations: tuple[Organization, ...]
    start: datetime
    end: datetime

    @property
    def partitions(self) -> int:
        step = timedelta(days=1) if self.assets[-1] in DAY_ASSETS else timedelta(hours=1)
        keys = len({organization.partition_key for organization in self.organizations})
        return int((self.end - self.start) / step) * keys * len(self.assets)


@dataclass
class BackfillReport:
    """What a backfill did. open_partitions: (organization, asset, bucket, status, error), at most twenty."""

    runs: list[str] = field(default_factory=list)
    partitions: int = 0
    open_count: int = 0
    open_partitions: list[dict[str, Any]] = field(default_factory=list)
    failed_runs: list[str] = field(default_factory=list)


def local_range(first: date, end: date, time_zone: str) -> tuple[datetime, datetime]:
    """The UTC hours that the local days [first, end) touch, as a half-open range of whole hours."""
    zone = ZoneInfo(time_zone)
    start = datetime.combine(first, datetime.min.time(), zone).astimezone(UTC)
    stop = datetime.combine(end, datetime.min.time(), zone).astimezone(UTC)
    return start.replace(minute=0), stop if stop.minute == 0 else stop.replace(minute=0) + timedelta(hours=1)


def _pieces(
    assets: tuple[str, ...], organizations: Sequence[Organization], start: datetime, end: datetime, longest: timedelta
) -> list[Piece]:
    pieces = []
    while start < end:
        stop = min(end, start + longest)
        pieces.append(Piece(assets, tuple(organizations), start, stop))
        start = stop
    return pieces


def plan(
    organizations: Sequence[Organization], first: date, end: date, assets: Sequence[str], *, together: bool = False
) -> list[Piece]:
    """The runs that compute the local days [first, end) of organisations: hours first, then days.

    Organisations whose days touch the same hours share a run; ``together``: all of them share runs over the hours that any
    of them needs. Hours that have not ended yet are left out.
    Raises BackfillError.
    """
    unknown = sorted(set(assets) - set(HOUR_ASSETS) - set(DAY_ASSETS))
    if unknown:
        raise BackfillError(f"no asset {', '.join(unknown)}; there are {', '.join((*HOUR_ASSETS, *DAY_ASSETS))}")
    if first >= end:
        raise BackfillError(f"--from {first} is not before --to {end} (the day --to itself is not included)")
    now = datetime.now(UTC)
    if first > now.date():
        raise BackfillError(f"--from {first} lies in the future")
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    pieces: list[Piece] = []
    hour_assets = tuple(name for name in HOUR_ASSETS if name in assets)
    if hour_assets:
        by_range: dict[tuple[datetime, datetime], list[Organization]] = {}
        for organization in organizations:
            start, stop = local_range(first, end, organization.time_zone)
            by_range.setdefault((start, min(stop, this_hour)), []).append(organization)
        if together and by_range:
            whole = min(start for start, _ in by_range), max(stop for _, stop in by_range)
            by_range = {whole: list(organizations)}
        for (start, stop), members in sorted(by_range.items(), key=lambda item: item[0]):
            pieces += _pieces(hour_assets, members, start, stop, _HOURS_A_RUN)
    day_assets = tuple(name for name in DAY_ASSETS if name in assets)
    if day_assets:
        start = datetime.combine(first, datetime.min.time(), UTC)
        stop = min(datetime.combine(end, datetime.min.time(), UTC), this_hour.replace(hour=0) + timedelta(days=1))
        pieces += _pieces(day_assets, organizations, start, stop, _DAYS_A_RUN)
    return pieces


def assets_of(organizations: Sequence[Organization]) -> list[str]:
    """What there is to compute for these organisations: everything but the raw assets of vendors that none of them has,
    events where none of them tracks any, funnels and alerts where they have none.

    An asset without data costs Dagster as many events as one with data: a year of hours of one shop took twice as long.
    """
    ids = [item.id for item in organizations]
    with connect() as connection:
        rows = connection.execute(query("source_types"), {"organization_ids": ids}).fetchall()
        funnels = connection.execute(query("count_funnels"), {"organization_ids": ids}).fetchall()[0]["funnels"]
        rules = connection.execute(query("count_alert_rules"), {"organization_ids": ids}).fetchall()[0]["rules"]
    present = {"event_tracking" if row["source_type"] == "events" else f"raw_{row['source_type']}" for row in rows}
    left_out = {name for name in (*RAW_ASSETS, "event_tracking") if name not in present}
    if not funnels:
        left_out.add("funnel_analysis")
    if not rules:
        left_out.add("performance_alerts")
    return [name for name in (*HOUR_ASSETS, *DAY_ASSETS) if name not in left_out]


def reach_back(pieces: Sequence[Piece]) -> list[str]:
    """Lets partitions begin early enough for the pieces; returns a line for each setting that had to move.

    Must be called before the definitions are loaded: partitions are made of the settings.
    """
    current = Settings.load()
    moved = []
    for variable, start, assets in (
        ("ANALYTICS_HOURLY_START", current.hourly_start, HOUR_ASSETS),
        ("ANALYTICS_DAILY_START", current.daily_start, DAY_ASSETS),
    ):
        needed = min((piece.start.date() for piece in pieces if piece.assets[-1] in assets), default=start)
        if needed >= start:
            continue
        if os.environ.get(variable, "").strip():
            raise BackfillError(f"partitions begin at {start}, the backfill at {needed}: set {variable}={needed} or earlier")
        note(variable, needed.isoformat())
        moved.append(f"partitions now begin at {needed} ({variable}, noted in {home_folder() / 'settings.json'})")
    return moved


def _was_interrupted(result: dg.ExecuteInProcessResult) -> bool:
    """Whether Ctrl-C ended the run. Dagster takes the signal while a run executes, fails the run and returns: a backfill
    that did not ask went on with its next run."""
    errors = [getattr(event.event_specific_data, "error", None) for event in result.all_events if event.is_failure]
    return any(error is not None and "Interrupt" in (error.cls_name or "") for error in errors)


def _execute(instance: dg.DagsterInstance, piece: Piece, key_order: list[str], report: BackfillReport, ask_vendors: bool) -> None:
    """Runs one piece; where an asset yields no output because some of its partitions failed, what lies downstream of it
    runs on its own."""
    import dagster as dg

    from analytics_assets.definitions import defs
    from analytics_assets.partition_keys import day_key, hour_key, range_tags

    daily = piece.assets[-1] in DAY_ASSETS
    make_key, step = (day_key, timedelta(days=1)) if daily else (hour_key, timedelta(hours=1))
    keys = sorted({organization.partition_key for organization in piece.organizations}, key=key_order.index)
    # A range covers every key between its ends: only neighbours share one.
    groups: list[list[str]] = []
    for key in keys:
        if groups and key_order.index(key) == key_order.index(groups[-1][-1]) + 1:
            groups[-1].append(key)
        else:
            groups.append([key])
    job = defs.resolve_job_def("daily_tick" if daily else "hourly_tick")
    for group in groups:
        members = [organization.slug for organization in piece.organizations if organization.partition_key in group]
        waiting = list(piece.assets)
        while waiting:
            result = job.execute_in_process(
                instance=instance,
                asset_selection=[dg.AssetKey(name) for name in waiting],
                tags={
                    **range_tags(make_key(piece.start, group[0]), make_key(piece.end - step, group[-1])),
                    **process_tag(),
                    "analytics/requested_by": "backfill" if ask_vendors else "backfill_of_what_is_there",
                },
                run_config={
                    "ops": {name: {"config": {"organizations": members}} for name in waiting},
                    **_QUIET,
                },
                raise_on_error=False,
            )
            if _was_interrupted(result):
                raise KeyboardInterrupt
            report.runs.append(result.run_id)
            if not result.success:
                report.failed_runs.append(result.run_id)
            began = {event.step_key for event in result.all_events if event.is_step_start}
            left = [name for name in waiting if name not in began]
            if left == waiting:
                break
            waiting = left


def materialize_registry(instance: dg.DagsterInstance) -> None:
    """Runs the asset of the organisations, which stands at the head of the graph."""
    from analytics_assets.definitions import defs

    result = defs.resolve_job_def("registry_tick").execute_in_process(
        instance=instance, tags=process_tag(), run_config=_QUIET, raise_on_error=False
    )
    if _was_interrupted(result):
        raise KeyboardInterrupt


def backfill(
    instance: dg.DagsterInstance,
    key_order: list[str],
    pieces: Sequence[Piece],
    on_piece: Callable[[Piece], None] = lambda _: None,
    *,
    ask_vendors: bool = True,
) -> BackfillReport:
    """Executes the pieces in this process, one run each, and asks the ledger what is done.

    Rows and ledger of a run change in one transaction, so that a backfill that was broken off is done again with the
    same result. ``on_piece`` hears of each piece when it is done.
    ``ask_vendors``: whether the raw assets read the range from the vendors again, for organisations with live sources.
    """
    report = BackfillReport()
    for piece in pieces:
        _execute(instance, piece, key_order, report, ask_vendors)
        report.partitions += piece.partitions
        on_piece(piece)
    with connect() as connection:
        for piece in pieces:
            rows = connection.execute(
                query("open_partitions"),
                {
                    "assets": list(piece.assets),
                    "organization_ids": [organization.id for organization in piece.organizations],
                    "start": piece.start,
                    "end": piece.end,
                    "most": _WORST,
                },
            ).fetchall()
            report.open_count += rows[0]["found"] if rows else 0
            report.open_partitions += rows[: _WORST - len(report.open_partitions)]
    return report
