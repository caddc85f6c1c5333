"""Syncing many organisations beside a bare loop that only downloads the same pages.

    python -m benchmarks.sources [--organizations 1000] [--days 3] [--orders-per-day 4] [--places 64] [--rounds 2]

Every organisation has a source at each of the four vendors. The sandbox answers from a process of its own, its clock
standing still. A first pass warms its memory and notes the requests; then passes of the engine (into emptied tables) and
bare loops of httpx over the very same requests take turns, with as many workers. Figures are medians; everything shares
two processors, and PostgreSQL and the sandbox take their part of them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from rich.console import Console
from rich.table import Table

from analytics_assets.database import connect
from analytics_assets.migrations import migrate
from analytics_assets.sandbox.app import vendor_environment
from analytics_assets.sandbox.connect import connect_world
from analytics_assets.sandbox.world import World, make_world
from benchmarks.processes import ServerMeter, keep_to_cores, run, sandbox, spent
from benchmarks.server import Connection, database_url, throw_away_database, throw_away_settings

_GOAL_RATE, _GOAL_MEMORY = 0.70, 300 * 1024 * 1024
_EMPTIED = (
    "raw_data_backup", "raw_page_digests", "raw_report_digests", "sync_streams", "sync_logs", "quarantine", "partition_ledger",
    "orders", "order_sales", "refunds", "customers", "metric_observations", "daily_observations",
)  # fmt: skip


def _all_due(connection: Connection) -> None:
    """Nothing was ever synced, and everything is due."""
    for table in _EMPTIED:
        connection.execute(psycopg.sql.SQL("truncate public.{}").format(psycopg.sql.Identifier(table)))
    connection.execute(
        "update public.data_sources set next_sync_at = now(), last_sync_at = null, failures = 0, failure_kind = null"
    )


def _row(name: str, figures: list[dict[str, Any]], count: str) -> list[str]:
    seconds = statistics.median(one["seconds"] for one in figures)
    cpu = statistics.median(one["cpu"] for one in figures)
    memory = statistics.median(one["memory"] for one in figures)
    others = [statistics.median(one[other] for one in figures) for other in ("sandbox_cpu", "server_cpu")]
    rate = statistics.median(one[count] / one["seconds"] for one in figures)
    return [name, f"{figures[0][count]:,}", f"{seconds:.1f}", f"{rate:,.0f}", f"{cpu:.1f}", *(f"{one:.1f}" for one in others),
            f"{memory / 2**20:,.0f} MB"]  # fmt: skip


def _measure(
    connection: Connection, world: World, arguments: argparse.Namespace, now: datetime, process: Any, noted: Path
) -> dict[str, list[dict[str, Any]]]:
    """The figures of every pass, by who made it."""
    server = ServerMeter(connection)
    err = Console(stderr=True)
    results: dict[str, list[dict[str, Any]]] = {"engine": [], "bare": [], "bare and json": []}

    def measured(name: str, module: str, *options: str) -> dict[str, Any]:
        before = spent(process), server.spent() or 0.0
        figures = run(module, *options)
        figures |= {"sandbox_cpu": spent(process) - before[0], "server_cpu": (server.spent() or 0.0) - before[1]}
        err.print(f"  {name}: {figures['seconds']:.1f} s")
        return figures

    engine = ["--places", str(arguments.places), "--now", now.isoformat()]
    bare = [str(noted), "--workers", str(arguments.places), "--pages"]
    warm = measured("first pass", "benchmarks.sync_pass", *engine, "--record", str(noted))
    wanted = {"completed": 4 * len(world.organizations)}
    if warm["outcomes"] != wanted:
        raise SystemExit(f"the first pass did not complete: {warm['outcomes']}, {warm['failures'][:3]}")
    for _ in range(arguments.rounds):
        _all_due(connection)
        results["engine"].append(measured("engine", "benchmarks.sync_pass", *engine))
        results["bare"].append(measured("bare loop", "benchmarks.download", *bare))
        results["bare and json"].append(measured("bare loop and json", "benchmarks.download", *bare, "--json"))
    return results


def _print(results: dict[str, list[dict[str, Any]]], title: str) -> bool:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("", "pages", "seconds", "pages/s", "CPU s", "sandbox CPU s", "PostgreSQL CPU s", "peak memory"):
        table.add_column(name, justify="left" if not name else "right")
    table.add_row(*_row("sources sync", results["engine"], "pages"))
    table.add_row(*_row("httpx alone, the same pages", results["bare"], "requests"))
    table.add_row(*_row("httpx and json.loads", results["bare and json"], "requests"))
    out = Console(width=140)
    out.print(table)
    ratio = statistics.median(
        (one["pages"] / one["seconds"]) / (other["requests"] / other["seconds"])
        for one, other in zip(results["engine"], results["bare"], strict=True)
    )
    memory = statistics.median(one["memory"] for one in results["engine"])
    growth = statistics.median(one["memory_growth"] for one in results["engine"])
    goals = Table(box=None, pad_edge=False)
    for name in ("goal", "measured", ""):
        goals.add_column(name)
    fast, small = ratio >= _GOAL_RATE, memory <= _GOAL_MEMORY
    goals.add_row(f"rate of the bare loop >= {_GOAL_RATE:.0%}", f"{ratio:.0%}", "met" if fast else "missed")
    goals.add_row(
        "memory <= 300 MB", f"{memory / 2**20:.0f} MB, {growth / 2**20:.0f} MB of it by the pass", "met" if small else "missed"
    )
    out.print()
    out.print(goals)
    return bool(fast and small)


def main() -> int:
    """Runs it. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sources")
    parser.add_argument("--organizations", type=int, default=1000)
    parser.add_argument("--days", type=int, default=3)
    parser.add_argument("--orders-per-day", type=int, default=4)
    parser.add_argument("--places", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    cores = keep_to_cores(2)
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    settings = throw_away_settings()
    os.environ["ANALYTICS_HOME"] = str(settings.home)
    with throw_away_database(settings) as connection, tempfile.TemporaryDirectory(prefix="analytics-bench-") as folder:
        os.environ["DATABASE_URL"] = database_url(settings)
        with connect() as other:
            migrate(other)
        with sandbox(arguments.organizations, arguments.days, arguments.orders_per_day, now) as (base, process):
            os.environ.update(vendor_environment(base))
            world = make_world(
                arguments.organizations, (now - timedelta(days=arguments.days)).date(), orders_per_day=arguments.orders_per_day
            )
            with connect() as other:
                count = connect_world(other, world, base)
            results = _measure(connection, world, arguments, now, process, Path(folder) / "requests.jsonl")
    title = f"{count:,} sources of {arguments.organizations:,} organisations, {arguments.places} at once, {cores} processors"
    return 0 if _print(results, title) else 1


if __name__ == "__main__":
    sys.exit(main())
