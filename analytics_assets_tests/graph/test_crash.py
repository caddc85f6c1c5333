"""SIGKILL at any moment, then once more: the same tables as an undisturbed run."""

import os
import random
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from analytics_assets.instance import close_orphans
from analytics_assets_tests.graph.runs import materialized
from analytics_assets_tests.woocommerce import Connection, add_organization, order, refund, take_in

FIRST = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=12)
DAYS = 8
_KILLS = 4


def _tables(connection: Connection, slug: str) -> list[list[dict[str, Any]]]:
    found = []
    for statement in (
        'select metric_id, channel_id, "timestamp", value from hourly_facts f join organizations o on o.id = f.organization_id where o.slug = %s order by 1, 2, 3',
        "select metric_id, channel_id, date, value from daily_facts f join organizations o on o.id = f.organization_id where o.slug = %s order by 1, 2, 3",
        "select order_id, status, bucket_at, total, customer_key from orders f join organizations o on o.id = f.organization_id where o.slug = %s order by 1",
        "select asset, bucket, status, row_count from partition_ledger f join organizations o on o.id = f.organization_id"
        " where o.slug = %s and asset <> 'daily_aggregates' order by 1, 2",
    ):
        found.append(connection.execute(statement, (slug,)).fetchall())
    connection.rollback()
    return found


def _backfill(slug: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "analytics_assets.cli",
            "backfill",
            "--organization",
            slug,
            "--from",
            FIRST.date().isoformat(),
            "--to",
            (FIRST + timedelta(days=DAYS)).date().isoformat(),
        ],
        env=dict(os.environ),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_a_backfill_killed_again_and_again_ends_as_an_undisturbed_one(
    connection: Connection, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    chance = random.Random(11)
    pages = [
        [
            order(
                day * 100 + number,
                FIRST + timedelta(days=day, minutes=chance.randrange(1440)),
                f"{chance.randrange(1, 90)}.{chance.randrange(100):02}",
                customer=chance.randrange(1, 30),
            )
            for number in range(12)
        ]
        for day in range(DAYS)
    ]
    refunds = [[refund(9000 + day, FIRST + timedelta(days=day, hours=23), "0.50", parent=day * 100)] for day in range(DAYS)]
    for slug in ("calm", "killed"):
        add_organization(connection, slug)
        take_in(connection, tmp_path, slug, "orders", *pages)
        take_in(connection, tmp_path, slug, "refunds", *refunds)

    started = time.monotonic()
    assert _backfill("calm").wait(120) == 0
    whole = time.monotonic() - started
    for kill in range(_KILLS):
        process = _backfill("killed")
        # From the loading of the definitions to the last events.
        time.sleep(whole * (0.25 + 0.7 * kill / (_KILLS - 1)))
        process.kill()
        process.wait(20)
    assert _backfill("killed").wait(120) == 0

    calm, killed = _tables(connection, "calm"), _tables(connection, "killed")
    assert calm[0] and calm[1] and len(calm[2]) == 12 * DAYS
    assert killed == calm
    done = materialized(instance, "hourly_aggregates")
    assert {key for key in done if key.endswith("|killed")} == {
        key.replace("|calm", "|killed") for key in done if key.endswith("|calm")
    }
    close_orphans(instance)
    unfinished = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.NOT_STARTED]
    assert instance.get_runs(dg.RunsFilter(statuses=unfinished)) == [], "a killed run looks as if under way for ever"
