"""What a rehearsal goes through, by seeded dice: when which faults last, and when what is killed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from analytics_assets.sandbox.faults import Fault

#: What the vendors' troubles are that pass by themselves: (kind, only at this vendor). A credential that is revoked or lacks a
#: right waits for its owner by design, and Google's alone can be renewed without them.
FAULTS: tuple[tuple[str, str | None], ...] = (
    ("429", None), ("500", None), ("503", None), ("timeout", None), ("truncated", None), ("html", None), ("disconnect", None),
    ("slow", None), ("throttled", None), ("expired", "google_analytics"), ("shifting", None), ("reduce", None),
    ("sampled", None), ("thresholded", None), ("other_row", None), ("cut_off", None),
)  # fmt: skip
#: worker: a process that executes a run. daemon: Dagster's daemon alone. machine: daemon, code server and workers at once.
#: database: every process of PostgreSQL. Each is started again, by nobody who looks at what was left behind.
KILLS = ("worker", "daemon", "machine", "database")


def clock_change_week(before: datetime) -> datetime:
    """The midnight (UTC) at which the last whole week with two clock changes began: forward in Europe on the last Sunday of
    March, and back in Australia (on Lord Howe by half an hour) on the first one of April, seven days later."""
    for year in (before.year, before.year - 1):
        last = datetime(year, 3, 31, tzinfo=UTC)
        sunday = last - timedelta(days=(last.weekday() + 1) % 7)
        if sunday + timedelta(days=10) < before:
            return sunday
    raise ValueError(f"no such week in the year before {before}")


@dataclass(frozen=True)
class Step:
    """A piece of the simulated time: until when, which faults hit which organisations meanwhile, what is killed."""

    until: datetime
    faults: tuple[Fault, ...]
    kill: str | None
    is_night: bool


def make_plan(start: datetime, hours: int, step_hours: int, slugs: Sequence[str], kills: Sequence[str], seed: int) -> list[Step]:
    """Steps from start on. Kills are spread evenly over them; faults last in two of three steps, three kinds at a time, each
    for a third of the organisations, in a fifth to all of their requests."""
    dice = random.Random(seed)
    count = -(-hours // step_hours)
    if len(kills) > count:
        raise ValueError(f"{len(kills)} kills need as many steps; there are {count}")
    killed_at = {(number * count + count // 2) // len(kills): kill for number, kill in enumerate(kills)} if kills else {}
    kinds = list(FAULTS)
    dice.shuffle(kinds)
    steps = []
    for number in range(count):
        begin = start + timedelta(hours=number * step_hours)
        until = min(begin + timedelta(hours=step_hours), start + timedelta(hours=hours))
        faults: list[Fault] = []
        if number % 3 != 2:
            for _ in range(3):
                kind, vendor = kinds[0]
                kinds = [*kinds[1:], kinds[0]]
                # As often as not every request fails; Meta's "ask for less" of all of them would be one that never passes.
                share = 0.25 if kind == "reduce" else dice.choice((0.2, 0.5, 1.0))
                hit = dice.sample(list(slugs), max(1, len(slugs) // 3))
                faults += [Fault(kind, vendor=vendor, account=slug, share=share, seconds=0.5) for slug in hit]
        night = (begin - timedelta(hours=3)).date() != (until - timedelta(hours=3)).date()
        steps.append(Step(until, tuple(faults), killed_at.get(number), night))
    return steps
