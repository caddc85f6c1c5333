"""Each kind of fault that the sandbox knows, alone, during syncs of a hundred organisations.

    python -m benchmarks.faults [--organizations 100] [--days 2] [--orders-per-day 4] [--one-in 3] [KIND ...]

Every organisation has a source at each of the four vendors. While the fault lasts, two passes: it hits every third
organisation, at first half of its requests, then all of them. When it has ended, what waits for an operator is resumed, and
passes go on until everything is completed; then every hourly and daily value is compared with the sandbox's truth. Each
kind starts with an empty database of its own; the row "none" says how long the same takes undisturbed.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta

from rich.console import Console
from rich.table import Table

from analytics_assets.database import connect
from analytics_assets.migrations import migrate
from analytics_assets.sandbox.app import running, vendor_environment
from analytics_assets.sandbox.connect import connect_world
from analytics_assets.sandbox.faults import KINDS
from analytics_assets.sandbox.live import LiveWorld
from analytics_assets.sandbox.state import Sandbox
from analytics_assets.sandbox.world import Clock, World, make_world
from analytics_assets.settings import Settings
from benchmarks.fault_trial import NONE, Trial, run_trial
from benchmarks.server import database_url, throw_away_database, throw_away_settings

_COLUMNS = (
    "fault", "hit", "requests hit", "what the logs of those hit say", "spared: completed of due", "last of them, s",
    "resumed", "passes until caught up", "values compared", "different", "",
)  # fmt: skip
_NUMBERS = {"requests hit", "spared: completed of due", "last of them, s", "resumed", "passes until caught up", "values compared"}


def _trial(settings: Settings, world: World, now: datetime, kind: str, one_in: int) -> Trial:
    with throw_away_database(settings):
        os.environ["DATABASE_URL"] = database_url(settings)
        with connect() as connection:
            migrate(connection)
        sandbox = Sandbox(world=world, clock=Clock(now))
        with running(sandbox) as base, connect() as connection:
            os.environ.update(vendor_environment(base))
            connect_world(connection, world, base)
            return run_trial(LiveWorld(connection, sandbox, base), kind, one_in)


def _said(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()) if count)


def _row(trial: Trial) -> list[str]:
    said = _said(trial.syncs)
    remarks = _said(trial.remarks)
    return [
        trial.kind,
        f"{trial.hit} of {trial.organizations}",
        f"{trial.struck:,}",
        f"{said} ({remarks})" if remarks else said,
        f"{trial.spared_completed:,} of {trial.spared_due:,}",
        f"{trial.spared_seconds:.1f}",
        f"{trial.resumed:,}",
        "never" if trial.passes is None else str(trial.passes),
        f"{trial.hours + trial.days:,}",
        f"{trial.different:,}",
        "holds" if trial.holds else "does not hold",
    ]


def _print(trials: list[Trial]) -> None:
    table = Table(title="each fault alone", title_justify="left", box=None, pad_edge=False)
    for name in _COLUMNS:
        table.add_column(name, justify="right" if name in _NUMBERS or name == "different" else "left", overflow="fold")
    for trial in trials:
        table.add_row(*_row(trial))
    Console(width=190).print(table)


def main() -> int:
    """Runs it. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"{', '.join((NONE, *KINDS))}; all by default")
    parser.add_argument("--organizations", type=int, default=100)
    parser.add_argument("--days", type=int, default=2)
    parser.add_argument("--orders-per-day", type=int, default=4)
    parser.add_argument("--one-in", type=int, default=3, help="every so many-th organisation is hit")
    arguments = parser.parse_args()
    kinds = arguments.kinds or [NONE, *KINDS]
    if unknown := set(kinds) - {NONE, *KINDS}:
        parser.error(f"{sorted(unknown)[0]}: no kind of fault; there are {', '.join((NONE, *KINDS))}")
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    first_day = (now - timedelta(days=arguments.days)).date()
    world = make_world(arguments.organizations, first_day, orders_per_day=arguments.orders_per_day)
    settings = throw_away_settings()
    os.environ["ANALYTICS_HOME"] = str(settings.home)
    # What failed, and why, is counted from the logs in the database.
    logging.getLogger("analytics_assets.sources").setLevel(logging.CRITICAL)
    err, trials = Console(stderr=True), list[Trial]()
    for kind in kinds:
        trials.append(trial := _trial(settings, world, now, kind, arguments.one_in))
        err.print(f"  {kind}: {trial.seconds:.1f} s, {'holds' if trial.holds else f'does not hold: {trial}'}")
    _print(trials)
    return 0 if all(trial.holds for trial in trials) else 1


if __name__ == "__main__":
    sys.exit(main())
