"""Marks of the ledger beside a run that is under way."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from analytics_assets.database import connect
from analytics_assets_tests.woocommerce import Connection, add_organization, order, take_in

HOUR = datetime.now(UTC).replace(hour=9, minute=0, second=0, microsecond=0) - timedelta(days=3)


def test_a_first_mark_behind_a_run_that_has_read_already(connection: Connection, tmp_path: Path) -> None:
    """The run saw no row of the hour; the mark made one while the run waited to write its own. It is still to be computed."""
    acme = add_organization(connection, "acme")
    take_in(connection, tmp_path, "acme", "orders", [order(1, HOUR)])
    connection.execute("select count(*) from public.ingest_orders(%s, %s, %s)", ([acme], HOUR, HOUR + timedelta(hours=1)))
    connection.execute("delete from public.partition_ledger")
    connection.commit()
    ledger = "select status, input_version, computed_version from public.partition_ledger where asset = 'hourly_aggregates' and bucket = %s"
    found: list[Any] = []

    def run() -> None:
        with connect() as other:
            other.execute(
                "select count(*) from public.aggregate_hourly_data(%s, %s, %s)", ([acme], HOUR, HOUR + timedelta(hours=1))
            )
            other.commit()
            found.append(other.execute(ledger, (HOUR,)).fetchall())

    connection.execute("select private.mark_stale('hourly_aggregates', array[%s], array[%s])", (acme, HOUR))
    runner = threading.Thread(target=run)
    runner.start()
    until = time.monotonic() + 30
    with connect(autocommit=True) as watching:
        while not watching.execute("select from pg_locks where not granted").fetchall():
            assert not found and time.monotonic() < until
            time.sleep(0.01)
    connection.commit()
    runner.join(30)
    assert found == [[{"status": "stale", "input_version": 2, "computed_version": None}]]
    assert connection.execute(
        "select count(*) as n from public.aggregate_hourly_data(%s, %s, %s)", ([acme], HOUR, HOUR + timedelta(hours=1))
    ).fetchone() == {"n": 1}
    connection.commit()
    assert connection.execute(ledger, (HOUR,)).fetchall() == [{"status": "done", "input_version": 2, "computed_version": 2}]
