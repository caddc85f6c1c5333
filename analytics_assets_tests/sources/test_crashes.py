"""Workers that die at any moment: what they had stored is kept, what they held is free again, and the end is the same."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime

import pytest

from analytics_assets.settings import PROJECT_ROOT
from analytics_assets_tests.sources.live import Connection, live

KILLS = 20


class Workers:
    """Starts workers, one at a time."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def run(self, kill_when: Callable[[], bool] | None = None) -> str:
        """One worker, to its end or killed as soon as a condition holds; how it ended.

        The moment is one of its progress: by the clock, a slow machine killed all twenty before their first page.
        """
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        child = int(self._line())
        # One that was quick has ended by itself.
        with suppress(ProcessLookupError):
            while kill_when is not None:
                os.kill(child, signal.SIGKILL if kill_when() else 0)
                time.sleep(0.002)
        return self._line()


@contextmanager
def workers(now: datetime) -> Iterator[Workers]:
    process = subprocess.Popen(
        [sys.executable, "-m", "analytics_assets_tests.sources.worker", now.isoformat()],
        cwd=PROJECT_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ,
    )  # fmt: skip
    try:
        assert process.stdout is not None and process.stdout.readline().strip() == "ready"
        yield Workers(process)
    finally:
        if process.stdin is not None:
            process.stdin.close()
        process.wait(30)


def test_a_worker_killed_twenty_times_leaves_what_an_undisturbed_one_does(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    roll = random.Random(20261124)
    with live(connection, monkeypatch, 8, 6, orders_per_day=16) as world, workers(world.now) as crew:
        ended, stored = [], []
        orphans: set[object] = set()
        for number in range(KILLS):
            asked = sum(world.sandbox.counts.values()) + roll.randint(1, 80)
            ended.append(crew.run(kill_when=lambda asked=asked: sum(world.sandbox.counts.values()) >= asked))  # type: ignore[misc]
            stored.append(world.rows("select count(*) as n from public.raw_data_backup")[0]["n"])
            held = world.rows("select count(*) as n from public.data_sources where lease_owner is not null")[0]["n"]
            running = world.rows("select count(*) as n from public.data_sources where sync_status = 'running'")[0]["n"]
            assert held == running
            orphans |= {row["id"] for row in world.rows("select id from public.sync_logs where status = 'started'")}
            # What the passing of three minutes does; and every second time all is due again, so that every worker has work.
            world.rows(
                "update public.data_sources set lease_until = now() - interval '1 second' where lease_owner is not null returning 1"
            )
            if number % 2:
                world.due()
        assert ended.count("killed") >= KILLS - 4
        assert stored == sorted(stored) and stored[0] < stored[-1]

        # A bulk operation that a dead worker has begun goes on at Shopify, and the next sync is told to wait for its end.
        for _ in range(10):
            world.due()
            assert crew.run() == "ended 0"
            waiting = world.rows("select distinct failure_kind from public.data_sources where sync_status <> 'success'")
            if not waiting:
                break
            assert waiting == [{"failure_kind": "throttled"}]
            time.sleep(1)
        # What a dead worker had opened is closed as such, and nothing else is: one that lives on also hears vendors' own refusals.
        closed = world.rows("select id, status, error_message from public.sync_logs")
        assert {row["id"] for row in closed if "worker ended" in (row["error_message"] or "")} == orphans
        assert len(orphans) >= 5 and {row["status"] for row in closed if row["id"] in orphans} == {"failed"}
        assert "started" not in {row["status"] for row in closed}
        assert world.rows("select distinct sync_status from public.data_sources") == [{"sync_status": "success"}]
        world.compute()
        assert not world.compare().differences[:5]
        disturbed = world.state()

        # The same world, synced by nobody before, and undisturbed.
        connection.execute(
            "truncate public.raw_data_backup, public.raw_page_digests, public.raw_report_digests, public.sync_streams,"
            " public.orders, public.order_sales, public.refunds, public.customers, public.metric_observations,"
            " public.daily_observations, public.hourly_facts, public.daily_facts, public.partition_ledger"
        )
        connection.commit()
        world.due()
        assert crew.run() == "ended 0"
        world.compute()
        assert world.state() == disturbed
