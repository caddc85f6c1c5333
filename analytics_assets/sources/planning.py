"""Which windows of which streams a sync reads. Pure functions of the policies, of what is covered, and of the clock.

Reports are read in whole local days of the account, since vendors restate the last ones; entities by time of modification,
from where the last window ended, less an overlap. A window that was broken off goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from analytics_assets.sources.connector import JSON, Purpose, StreamPolicy, Task

# A report's pages belong together: those of an answer begun longer ago are not continued, but asked for again.
_REPORT_RESUMES_FOR = timedelta(minutes=15)
_ENTITY_RESUMES_FOR = timedelta(days=2)


@dataclass(frozen=True)
class StreamState:
    """A row of sync_streams. Instants UTC; covered: complete without a gap."""

    stream: str
    purpose: Purpose
    window_start: datetime
    window_end: datetime
    updated_at: datetime
    position: JSON | None = None
    fetch_id: UUID | None = None
    covered_from: datetime | None = None
    covered_to: datetime | None = None

    @staticmethod
    def of(row: Mapping[str, Any]) -> StreamState:
        """From a row with these columns."""
        return StreamState(**{name: row[name] for name in StreamState.__dataclass_fields__})


@dataclass(frozen=True)
class Step:
    """A window to be read, from a position on where it is resumed."""

    task: Task
    policy: StreamPolicy
    position: JSON | None = None
    fetch_id: UUID | None = None

    def halves(self, time_zone: str) -> tuple[Step, Step] | None:
        """The window in two, for a vendor that will not give so much at once; None where it cannot be cut."""
        start, end = self.task.start, self.task.end
        if self.policy.kind == "report":
            zone = ZoneInfo(time_zone)
            first, last = start.astimezone(zone).date(), end.astimezone(zone).date()
            if (last - first).days < 2:
                return None
            cut = local_midnight(first + (last - first) // 2, zone)
        else:
            if end - start < timedelta(hours=2):
                return None
            cut = (start + (end - start) / 2).replace(microsecond=0)
        return Step(replace(self.task, end=cut), self.policy), Step(replace(self.task, start=cut), self.policy)


def local_midnight(day: date, zone: ZoneInfo) -> datetime:
    """The instant (UTC) at which a local day begins."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def _day_windows(first: date, end: date, zone: ZoneInfo, widest: timedelta) -> Iterable[tuple[datetime, datetime]]:
    step = max(1, widest.days)
    while first < end:
        stop = min(end, first + timedelta(days=step))
        yield local_midnight(first, zone), local_midnight(stop, zone)
        first = stop


def _windows(start: datetime, end: datetime, widest: timedelta) -> Iterable[tuple[datetime, datetime]]:
    while start < end:
        stop = min(end, start + widest)
        yield start, stop
        start = stop


def _resumed(steps: list[Step], state: StreamState | None, now: datetime) -> list[Step]:
    """The same steps, the first of them from where it was broken off."""
    if state is None or state.position is None or not steps:
        return steps
    step = steps[0]
    longest = _REPORT_RESUMES_FOR if step.policy.kind == "report" else _ENTITY_RESUMES_FOR
    if now - state.updated_at > longest:
        return steps
    begun = replace(step.task, start=state.window_start, end=state.window_end)
    if step.policy.kind == "report":
        return [replace(step, position=state.position, fetch_id=state.fetch_id), *steps[1:]] if begun == step.task else steps
    if not (state.window_start <= step.task.start + step.policy.widest and state.window_end <= now):
        return steps
    rest = [
        Step(replace(later.task, start=max(later.task.start, state.window_end)), later.policy)
        for later in steps
        if later.task.end > state.window_end
    ]
    return [Step(begun, step.policy, state.position, state.fetch_id), *rest]


def _report_steps(
    policy: StreamPolicy, state: StreamState | None, now: datetime, zone: ZoneInfo, history_from: date, reread: bool
) -> list[Step]:
    tomorrow = now.astimezone(zone).date() + timedelta(days=1)
    back = policy.reread if reread else policy.each_sync
    if back is None:
        return []
    first = max(tomorrow - timedelta(days=back.days), history_from)
    if policy.each_sync is not None:
        if state is None or state.covered_to is None:
            first = min(first, history_from)
        else:
            # After days without a sync the gap is read as well; see _entity_steps.
            first = min(first, min(state.covered_to, state.updated_at).astimezone(zone).date())
    purpose: Purpose = "reread" if reread else "incremental"
    return [
        Step(Task(policy.stream, start, end, purpose), policy)
        for start, end in _day_windows(first, tomorrow, zone, policy.widest)
    ]


def _entity_steps(
    policy: StreamPolicy, state: StreamState | None, now: datetime, zone: ZoneInfo, history_from: date
) -> list[Step]:
    end = now.replace(microsecond=0)
    if policy.each_sync is None:
        return []
    if state is None or state.covered_to is None:
        start = local_midnight(history_from, zone)
    else:
        # When it was stored, by the server's clock: one ahead of its time covers nothing of what comes after.
        start = min(state.covered_to, state.updated_at) - policy.each_sync
        if state.covered_to > end:
            # This worker's clock was ahead, or its server's as well, and has been put right: nothing tells since when. As each
            # sync read its last ten minutes alone until that time had come, what had changed before them was lost.
            start = min(start, end - (policy.reread or policy.each_sync))
    return [Step(Task(policy.stream, a, b), policy) for a, b in _windows(min(start, end - policy.each_sync), end, policy.widest)]


def plan_sync(
    policies: Sequence[StreamPolicy],
    states: Iterable[StreamState],
    *,
    now: datetime,
    time_zone: str,
    history_from: date,
    is_reread: bool,
) -> list[Step]:
    """What a sync reads: every stream up to now, and with ``is_reread`` also what vendors restate.

    A stream that was never read is read from ``history_from`` (a local day of the account) on.
    """
    zone, found = ZoneInfo(time_zone), {(state.stream, state.purpose): state for state in states}
    steps: list[Step] = []
    for policy in policies:
        state = found.get((policy.stream, "incremental"))
        if policy.kind == "report":
            # The re-read covers what each sync reads anew.
            again = is_reread and policy.reread is not None
            mine = _report_steps(policy, state, now, zone, history_from, again)
            steps += _resumed(mine, found.get((policy.stream, "reread")) if again else state, now)
            continue
        steps += _resumed(_entity_steps(policy, state, now, zone, history_from), state, now)
        if is_reread and policy.reread is not None and state is not None and state.covered_to is not None:
            end = now.replace(microsecond=0)
            steps.append(Step(Task(policy.stream, end - policy.reread, end, "reread"), policy))
    return steps


def plan_range(
    policies: Sequence[StreamPolicy],
    states: Iterable[StreamState],
    *,
    start: datetime,
    end: datetime,
    now: datetime,
    time_zone: str,
) -> list[Step]:
    """What a backfill of [start, end) reads: every stream, in the widest windows that the vendor allows.

    Of reports the local days that the range touches; of entities what was modified from its start on until now, since an
    order of those hours may have been changed at any time after.
    """
    zone, found = ZoneInfo(time_zone), {(state.stream, state.purpose): state for state in states}
    steps: list[Step] = []
    for policy in policies:
        if policy.each_sync is None:
            continue
        if policy.kind == "report":
            first = start.astimezone(zone).date()
            last = (min(end, now) - timedelta(microseconds=1)).astimezone(zone).date()
            windows = _day_windows(first, last + timedelta(days=1), zone, policy.widest)
        else:
            windows = _windows(start, now.replace(microsecond=0), policy.widest)
        mine = [Step(Task(policy.stream, a, b, "backfill"), policy) for a, b in windows]
        steps += _resumed(mine, found.get((policy.stream, "backfill")), now)
    return steps
