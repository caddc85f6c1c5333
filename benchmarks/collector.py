"""The collector of tracked events beside its two bare limits.

    python -m benchmarks.collector [--organizations 10] [--clients 50] [--size 100] [--seconds 6] [--rounds 3]

Fifty clients post batches (of ten organisations, many visitors each) as fast as they are answered: of 100 messages, as a server's
library collects them (the default of segment-analytics-python). In turns with that: the
same load on a starlette endpoint that only parses; one process that COPYs the same rows into a table of event_tracking's form,
with its keys, from bytes that are ready, as many in a commit as the collector has; single events a request. Then 70 % of
the rate that was reached, for the time of an answer from the moment at which its request was due. Everything, the load and PostgreSQL
too, shares two processors. Figures are medians of the rounds, ratios those within a round.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import orjson
import psutil
import psycopg.sql
from rich.console import Console
from rich.table import Table

from analytics_assets.database import connect
from analytics_assets.events import keys
from analytics_assets.events.limits import COMMIT_EVENTS
from analytics_assets.events.protocol import Sender, events_of, read
from analytics_assets.events.wire import COPY_STATEMENT, HEADER, TRAILER, encoded
from analytics_assets.migrations import migrate
from analytics_assets.organizations import registry
from analytics_assets.sql import query
from benchmarks.event_bodies import batches
from benchmarks.processes import ServerMeter, keep_to_cores, run, spent
from benchmarks.server import Connection, database_url, throw_away_database, throw_away_settings

_GOAL_RATE, _GOAL_P99, _SHARE = 0.50, 250.0, 0.70
_EMPTIED = (
    "event_tracking", "visitor_sessions", "live_sessions", "visitors", "visitor_days", "event_identities", "event_messages",
    "partition_ledger", "quarantine",
)  # fmt: skip
_seeds = count(int(time.time()) % 30_000)


@contextmanager
def _collector() -> Iterator[tuple[int, psutil.Process]]:
    """The collector in processes of its own; yields its port and its worker."""
    command = [sys.executable, "-m", "analytics_assets.cli", "collector", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://[\d.]+:(\d+)", process.stdout.readline())
            if found is None:
                raise SystemExit("the collector did not start; what it says stands above")
            (worker,) = psutil.Process(process.pid).children()
            yield int(found[1]), worker
        finally:
            process.terminate()


@contextmanager
def _parse_only() -> Iterator[tuple[int, psutil.Process]]:
    with subprocess.Popen([sys.executable, "-m", "benchmarks.parse_only"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline()), psutil.Process(process.pid)
        finally:
            process.terminate()


class _Load:
    """Runs of the load, with what they cost the process that is loaded and PostgreSQL."""

    def __init__(self, arguments: argparse.Namespace, write_keys: list[str], server: ServerMeter) -> None:
        self._arguments = arguments
        self._keys = write_keys
        self._server = server

    def run(self, target: tuple[int, psutil.Process], size: int, path: str = "/v1/batch", rate: float = 0.0) -> dict[str, Any]:
        """Posts batches of that size for the seconds of a round."""
        port, process = target
        before = spent(process), self._server.spent() or 0.0
        options = [
            f"--size={size}", f"--seconds={self._arguments.seconds}", f"--clients={self._arguments.clients}", f"--rate={rate}",
            f"--path={path}", f"--seed={next(_seeds)}",
        ]  # fmt: skip
        figures = run("benchmarks.event_load", "127.0.0.1", str(port), *self._keys, *options)
        if figures["refused"]:
            raise SystemExit(f"{figures['refused']:.0f} of {figures['requests']:.0f} requests were not answered with 200")
        return figures | {"process_cpu": spent(process) - before[0], "server_cpu": (self._server.spent() or 0.0) - before[1]}


def _rows(organization_id: Any, size: int, seed: int) -> tuple[int, bytes]:
    """Rows of as many messages, ready for COPY into pg_temp.staged_events."""
    now = datetime.now(UTC)
    sender = Sender(str(organization_id), organization_id.bytes, now, now - timedelta(days=365))
    (body,) = batches(1, size, seed)
    found = read(*events_of(orjson.loads(body), None), sender)
    return len(found.rows), b"".join([HEADER, *[encoded(row, number) for number, row in found.rows], TRAILER])


_FORM = """
create table public.bench_events (like public.event_tracking including all);
create temp table bench_rows (like public.event_tracking);
"""
_AS_STORED = """
insert into pg_temp.bench_rows
    (organization_id, "timestamp", received_at, id, event_value, event_type, session_id, visitor_id, user_id, anonymous_id, known_as,
     event_name, event_category, event_action, event_label, currency, page_url, metadata)
select s.organization_id, s."timestamp", s.received_at, s.id, s.event_value, s.event_type,
       's_' || left(md5(coalesce(s.user_id, s.anonymous_id)), 24), coalesce(s.user_id, s.anonymous_id), s.user_id, s.anonymous_id,
       null, s.event_name, s.event_category, s.event_action, s.event_label, s.currency, s.page_url, s.metadata
from pg_temp.staged_events s
"""


class _BareCopy:
    """COPY of rows as event_tracking holds them, from bytes in memory, over one connection."""

    def __init__(self, connection: Connection, organization_id: Any, server: ServerMeter) -> None:
        self._connection = connection
        self._organization_id = organization_id
        self._server = server
        connection.execute(_FORM)
        connection.execute(query("stage_events"))

    def run(self, seconds: float) -> dict[str, Any]:
        """As many commits as fit into the seconds."""
        chunks = [self._chunk() for _ in range(30)]
        done, spent_seconds, cpu = 0, 0.0, self._server.spent() or 0.0
        own = time.process_time()
        while spent_seconds < seconds:
            started = time.perf_counter()
            for size, data in chunks:
                with self._connection.cursor() as cursor:
                    with cursor.copy("copy public.bench_events from stdin (format binary)") as copy:
                        copy.write(data)
                done += size
                if (passed := spent_seconds + time.perf_counter() - started) >= seconds:
                    break
            spent_seconds += time.perf_counter() - started
            if passed < seconds:
                # The same rows once more; making others would take longer than storing them.
                self._connection.execute("truncate public.bench_events")
        server_cpu = (self._server.spent() or 0.0) - cpu
        self._connection.execute("truncate public.bench_events")
        return {
            "events_per_second": done / spent_seconds,
            "total": done,
            "process_cpu": time.process_time() - own,
            "server_cpu": server_cpu,
        }

    def _chunk(self) -> tuple[int, bytes]:
        connection = self._connection
        size, staged = _rows(self._organization_id, COMMIT_EVENTS, next(_seeds) + 100_000)
        with connection.transaction():
            with connection.cursor() as cursor, cursor.copy(COPY_STATEMENT) as copy:
                copy.write(staged)
            connection.execute(_AS_STORED)
            with connection.cursor() as cursor, cursor.copy("copy pg_temp.bench_rows to stdout (format binary)") as copy:
                data = b"".join(bytes(part) for part in copy)
            connection.execute("truncate pg_temp.bench_rows")
        return size, data


def _emptied(connection: Connection) -> None:
    for table in _EMPTIED:
        connection.execute(psycopg.sql.SQL("truncate public.{}").format(psycopg.sql.Identifier(table)))


def _measure(connection: Connection, arguments: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """The figures of every round, by what was measured."""
    with connect() as other:
        organizations = [
            registry.add(other, f"shop-{number}", None, "Europe/Berlin", "EUR")[0].id for number in range(arguments.organizations)
        ]
        write_keys = [keys.create(other, organization_id, "benchmark") for organization_id in organizations]
    server = ServerMeter(connection)
    load = _Load(arguments, write_keys, server)
    bare = _BareCopy(connection, organizations[0], server)
    err = Console(stderr=True)
    results: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("collector", "parse", "copy", "single", "parse single", "calm")
    }

    def note(name: str, figures: dict[str, Any]) -> dict[str, Any]:
        results[name].append(figures)
        err.print(f"  {name}: {figures['events_per_second']:,.0f} events/s")
        return figures

    with _collector() as collector, _parse_only() as parse_only:
        for _ in range(arguments.rounds):
            _emptied(connection)
            reached = note("collector", load.run(collector, arguments.size))
            note("parse", load.run(parse_only, arguments.size))
            note("copy", bare.run(arguments.seconds))
            note("calm", load.run(collector, arguments.size, rate=_SHARE * reached["events_per_second"]))
            note("single", load.run(collector, 1))
            note("parse single", load.run(parse_only, 1))
    return results


_TITLES = {
    "collector": "collector, batches of {size}",
    "copy": "COPY of the same rows, one process",
    "parse": "starlette that only parses, batches of {size}",
    "calm": "collector at 70 % of that rate",
    "single": "collector, one event a request",
    "parse single": "starlette that only parses, one event a request",
}


def _print(results: dict[str, list[dict[str, Any]]], title: str, size: int) -> bool:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("", "events/s", "median ms", "p99 ms", "process µs/event", "PostgreSQL µs/event"):
        table.add_column(name, justify="left" if not name else "right")
    for name, words in _TITLES.items():
        figures = results[name]

        def middle(key: str, figures: list[dict[str, Any]] = figures) -> float | None:
            values = [one[key] for one in figures if key in one]
            return statistics.median(values) if values else None

        def per_event(key: str, figures: list[dict[str, Any]] = figures) -> str:
            return f"{statistics.median(1e6 * one[key] / one['total'] for one in figures):.0f}"

        times = [middle("median_ms"), middle("p99_ms")]
        table.add_row(
            words.format(size=size), f"{middle('events_per_second'):,.0f}", *("" if one is None else f"{one:,.1f}" for one in times),
            per_event("process_cpu"), "" if name.startswith("parse") else per_event("server_cpu"),
        )  # fmt: skip
    out = Console(width=140)
    out.print(table)
    rounds = zip(results["collector"], results["copy"], results["parse"], strict=True)
    ratio = statistics.median(
        one["events_per_second"] / min(other["events_per_second"] for other in others) for one, *others in rounds
    )  # fmt: skip
    p99 = statistics.median(one["p99_ms"] for one in results["calm"])
    goals = Table(box=None, pad_edge=False)
    for name in ("goal", "measured", ""):
        goals.add_column(name)
    fast, calm = ratio >= _GOAL_RATE, p99 < _GOAL_P99
    goals.add_row(f"rate of the slower limit >= {_GOAL_RATE:.0%}", f"{ratio:.0%}", "met" if fast else "missed")
    goals.add_row(f"p99 at {_SHARE:.0%} of the rate < {_GOAL_P99:.0f} ms", f"{p99:.0f} ms", "met" if calm else "missed")
    out.print()
    out.print(goals)
    return bool(fast and calm)


def main() -> int:
    """Runs it. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.collector")
    parser.add_argument("--organizations", type=int, default=10)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--size", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    cores = keep_to_cores(2)
    settings = throw_away_settings()
    os.environ["ANALYTICS_HOME"] = str(settings.home)
    with throw_away_database(settings) as connection, tempfile.TemporaryDirectory(prefix="analytics-bench-"):
        os.environ["DATABASE_URL"] = database_url(settings)
        with connect() as other:
            migrate(other)
        results = _measure(connection, arguments)
    title = f"{arguments.clients} clients of {arguments.organizations} organisations, {cores} processors"
    return 0 if _print(results, title, arguments.size) else 1


if __name__ == "__main__":
    sys.exit(main())
