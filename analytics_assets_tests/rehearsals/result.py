"""What came of a rehearsal: every table beside the sandbox's truth and beside a rebuild from raw pages, and a table of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from analytics_assets.commands.console import print_table
from analytics_assets.operations.rebuild import Compared, rebuild
from analytics_assets.organizations.registry import get
from analytics_assets.sandbox.compare import compare
from analytics_assets.sandbox.connect import VENDORS
from analytics_assets.sandbox.world import World
from analytics_assets_tests.conftest import Connection
from analytics_assets_tests.rehearsals.traffic import Traffic

_SHOWN = 20
#: What waits in the ledger; but for days before the world and after its last, of which some hours never come.
OPEN_BUCKETS = """
select 'ledger: ' || asset || ' ' || status || ' ' || bucket || ' ' || coalesce(error, '') as line from public.partition_ledger
where status <> 'done' and not (asset = 'daily_aggregates' and status = 'waiting' and (bucket < %(first)s or bucket > %(last)s))"""


@dataclass
class Result:
    """Counts of what happened, and what differs.

    Attributes:
        kills, faults: by kind; faults by the requests that they hit.
        recoveries: seconds in which the killed database answered again.
        daemon_starts: of the daemon, the first one included.
        compared: values beside the truth, by channel; differences: (key, truth, table).
        recounted: rows by table as a rebuild makes them; wrong: tables of organisations where they were others.
        waiting: sources that wait for an operator, partitions that stay open, runs without an end.
    """

    organizations: int = 0
    hours: int = 0
    steps: int = 0
    nights: int = 0
    seconds: float = 0.0
    kills: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    recoveries: list[float] = field(default_factory=list)
    daemon_starts: int = 0
    syncs: Counter[str] = field(default_factory=Counter)
    restated: int = 0
    recomputed: int = 0
    runs: Counter[str] = field(default_factory=Counter)
    messages: int = 0
    late_messages: int = 0
    compared: Counter[str] = field(default_factory=Counter)
    differences: list[Any] = field(default_factory=list)
    recounted: Counter[str] = field(default_factory=Counter)
    wrong: list[Compared] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Every table equals the truth, and nothing waits for a human."""
        return bool(self.compared) and bool(self.recounted) and not (self.differences or self.wrong or self.waiting)

    def show(self) -> None:
        """Prints it."""
        rows: list[tuple[str, str]] = [
            ("organisations", f"{self.organizations:,}"),
            ("hours simulated", f"{self.hours:,} in {self.steps} steps, {self.nights} nights"),
            ("duration", f"{self.seconds / 60:.1f} minutes"),
            ("killed", _said(self.kills)),
            ("database up again after", f"{max(self.recoveries, default=0.0):.1f} s at most"),
            ("starts of the daemon", f"{self.daemon_starts}"),
            ("requests hit by faults", f"{self.faults.total():,}: {_said(self.faults)}"),
            ("syncs", f"{self.syncs.total():,}: {_said(self.syncs)}"),
            ("records restated by vendors", f"{self.restated:,}"),
            ("partitions computed again", f"{self.recomputed:,}"),
            ("runs of Dagster", _said(self.runs)),
            ("messages of visitors", f"{self.messages:,}, {self.late_messages:,} of them a day late"),
            ("values beside the truth", f"{self.compared.total():,}: {_said(self.compared)}"),
            ("different", f"{len(self.differences):,}"),
            ("rows beside a rebuild from raw", f"{self.recounted.total():,}: {_said(self.recounted)}"),
            ("different", f"{sum(one.missing + one.wrong for one in self.wrong):,}"),
            ("waiting for a human", f"{len(self.waiting)}"),
            ("", "holds" if self.holds else "does not hold"),
        ]
        print_table("rehearsal", ["what", "how many"], rows)
        if self.differences:
            print_table("different", ["organization, channel, metric, at", "truth", "table"],
                        [(" ".join(map(str, key)), truth, found) for key, truth, found in self.differences[:_SHOWN]])  # fmt: skip
        if self.wrong:
            print_table("another than rebuilt", ["table", "organization", "rows", "missing", "wrong", "error"],
                        [(one.table, one.organization, one.rows, one.missing, one.wrong, one.error) for one in self.wrong[:_SHOWN]])  # fmt: skip
        for line in self.waiting[:_SHOWN]:
            print(line)


def _said(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()) if count) or "none"


def _counts(connection: Connection, statement: str) -> Counter[str]:
    return Counter({row["name"]: int(row["n"]) for row in connection.execute(statement).fetchall()})


def judge(result: Result, connection: Connection, world: World, traffic: Traffic, now: datetime) -> None:
    """Compares all tables, and counts what happened."""
    found = compare(connection, world, now, channels=VENDORS)
    for channel, counts in found.by_channel.items():
        result.compared[channel] = counts["hours"] + counts["days"]
    connection.rollback()
    values, different = traffic.compare(connection, now)
    result.compared["events"] = values
    result.differences = [*found.differences, *different]
    everyone = [get(connection, one.slug) for one in world.organizations]
    for one in rebuild(connection, everyone, world.first_day - timedelta(days=1), now.date() + timedelta(days=2), check=True):
        result.recounted[one.table] += one.rows
        if one.missing or one.wrong or one.error:
            result.wrong.append(one)
    connection.rollback()
    result.syncs = _counts(connection, "select status as name, count(*) as n from public.sync_logs group by 1")
    result.runs = _counts(connection, "select lower(status) as name, count(*) as n from dagster.runs group by 1")
    row = connection.execute(
        "select (select sum(records_updated) from public.sync_logs) as restated,"
        " (select sum(greatest(computed_version - 1, 0)) from public.partition_ledger) as recomputed"
    ).fetchone()
    assert row is not None
    result.restated, result.recomputed = int(row["restated"] or 0), int(row["recomputed"] or 0)
    result.messages, result.late_messages = traffic.sent, traffic.late
    result.waiting = [
        row["line"]
        for row in connection.execute(
            "select o.slug || ' ' || s.source_type || ': ' || s.failure_kind || ', ' || s.last_error as line"
            " from public.data_sources s join public.organizations o on o.id = s.organization_id where s.failure_kind is not null"
            " union all select 'run ' || run_id || ' ' || status from dagster.runs where status not in ('SUCCESS', 'FAILURE', 'CANCELED')"
            " union all select 'sync log of ' || started_at || ' never ended' from public.sync_logs where status = 'started'"
            " union all select 'quarantine: ' || reason from public.quarantine"
        ).fetchall()
    ]
    open_buckets = connection.execute(OPEN_BUCKETS, {"first": world.first_day, "last": now.date()}).fetchall()
    result.waiting += [row["line"] for row in open_buckets]
    connection.rollback()
