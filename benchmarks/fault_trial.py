"""One kind of fault during the syncs of many organisations: who was hit, who was spared, and what was left when it ended."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from analytics_assets.sandbox.connect import VENDORS
from analytics_assets.sandbox.live import LiveWorld
from analytics_assets.sources.results import Range
from analytics_assets.sql import query

#: No fault at all: how long everybody takes undisturbed.
NONE = "none"
#: Of how many requests of an organisation that is hit, in the passes while the fault lasts.
SHARES = (0.5, 1.0)
MOST_PASSES = 5
# Seconds of Retry-After, of a time-out (the client waits for two), of a slow answer.
_SECONDS = {"slow": 0.5}
_USUAL_SECONDS = 30.0
# A list shifts between two pages: so it must have more than one.
_PAGE_SIZE = {"shifting": 3}
# Background reports and bulk operations are made for backfills alone.
_OF_BACKFILLS = {"failed_job"}
_HTTP = {"timeout": 2.0, "patience": 1.0}


@dataclass
class Trial:
    """What came of it.

    Attributes:
        hit, organizations: organisations that the fault hits, and all.
        struck: requests that it hit.
        syncs: logs of organisations that are hit, while the fault lasted, by what they say: completed, or a failure's kind.
        remarks: of those that completed: flags in their logs, and "restarted".
        spared_due, spared_completed: syncs of the others while the fault lasted: due, and completed.
        spared_seconds: from the begin of a pass to the end of the last of them; of the longest pass.
        untold: failed syncs whose log does not say why, and logs that were left open.
        resumed: sources that an operator had to resume.
        passes: until everything was completed after the fault had ended; None: it never was.
        hours, days, different: values compared with the world's truth, and those that differ.
        seconds: on the clock, the syncs alone.
    """

    kind: str
    organizations: int
    hit: int
    struck: int = 0
    syncs: Counter[str] = field(default_factory=Counter)
    remarks: Counter[str] = field(default_factory=Counter)
    spared_due: int = 0
    spared_completed: int = 0
    spared_seconds: float = 0.0
    untold: int = 0
    resumed: int = 0
    passes: int | None = None
    hours: int = 0
    days: int = 0
    different: int = 0
    seconds: float = 0.0
    differences: list[Any] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Nothing lost, nothing counted twice, nobody else late, everything told, caught up when it ended."""
        return (
            (self.struck > 0 or self.kind == NONE)
            and self.spared_completed == self.spared_due
            and self.untold == 0
            and self.passes is not None
            and self.hours > 0
            and self.different == 0
        )


def run_trial(live: LiveWorld, kind: str, one_in: int = 3) -> Trial:
    """Two passes while every ``one_in``-th organisation suffers, one more or several when the fault has ended, and the
    aggregates beside the truth."""
    slugs = [one.slug for one in live.world.organizations]
    hit = [] if kind == NONE else slugs[one_in - 1 :: one_in]
    spared = [slug for slug in slugs if slug not in set(hit)]
    trial = Trial(kind, len(slugs), len(hit))
    for share in SHARES:
        live.sandbox.faults.clear()
        for slug in hit:
            live.fault(kind, account=slug, share=share, seconds=_SECONDS.get(kind, _USUAL_SECONDS))
        with _pass(live, trial) as since:
            _sync(live, kind)
        _count_hit(trial, live.logs(since, hit))
        _count_spared(trial, live.logs(since, spared))
    trial.struck = live.sandbox.faults.made[kind]
    live.sandbox.faults.clear()
    trial.resumed = live.resume()
    for number in range(1, MOST_PASSES + 1):
        with _pass(live, trial) as since:
            _sync(live, kind)
            if kind in _OF_BACKFILLS:
                live.due()
                live.sync()
        if Counter(log["status"] for log in _last(live.logs(since, slugs))) == {"completed": len(VENDORS) * len(slugs)}:
            trial.passes = number
            break
    live.compute()
    found = live.compare()
    trial.hours, trial.days, trial.different = found.hours, found.days, len(found.differences)
    trial.differences = found.differences[:3]
    return trial


@contextmanager
def _pass(live: LiveWorld, trial: Trial) -> Iterator[datetime]:
    """Everything is due; yields when that was, by the database's clock."""
    live.due()
    row = live.connection.execute(query("database_now")).fetchone()
    live.connection.commit()
    assert row is not None
    began: datetime = row["now"]
    yield began
    row = live.connection.execute(query("database_now")).fetchone()
    live.connection.commit()
    assert row is not None
    trial.seconds += (row["now"] - began).total_seconds()


def _sync(live: LiveWorld, kind: str) -> None:
    engine = live.engine(page_size=_PAGE_SIZE.get(kind), http_options=_HTTP)
    if kind not in _OF_BACKFILLS:
        asyncio.run(engine.run())
        return
    start = datetime.combine(live.world.first_day, datetime.min.time(), live.now.tzinfo) - timedelta(days=1)
    asyncio.run(engine.run(wanted=Range(start, live.now)))


def _last(logs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last log of each source."""
    return list({(log["slug"], log["source_type"]): log for log in sorted(logs, key=lambda log: log["seconds"] or 0.0)}.values())


def _count_hit(trial: Trial, logs: list[dict[str, Any]]) -> None:
    for log in logs:
        is_told = log["status"] == "completed" or (log["failure_kind"] and log["error_message"])
        trial.untold += not is_told
        trial.syncs["completed" if log["status"] == "completed" else log["failure_kind"] or log["status"]] += 1
        if log["status"] == "completed":
            trial.remarks.update(log["flags"])
            trial.remarks["restarted"] += log["restarts"] > 0


def _count_spared(trial: Trial, logs: list[dict[str, Any]]) -> None:
    # One that failed and was synced again within the pass is one more that was due.
    trial.spared_due += max(len(VENDORS) * (trial.organizations - trial.hit), len(logs))
    completed = [log for log in logs if log["status"] == "completed"]
    trial.spared_completed += len(completed)
    trial.spared_seconds = max([trial.spared_seconds, *(log["seconds"] for log in completed)])
