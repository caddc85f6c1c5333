"""Sensors and schedules, and the planner that turns the ledger's open buckets into few runs."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from analytics_assets.operations.stale import MOST_RUNS, OpenBucket, Request, plan_requests
from analytics_assets.settings import PROJECT_ROOT
from analytics_assets_tests.graph.runs import materialized, organization_keys_of, run_days, run_hours
from analytics_assets_tests.woocommerce import Connection, add_organization, daily, hourly, order, take_in

NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
DAY = NOW.replace(hour=0) - timedelta(days=3)
AT = DAY + timedelta(hours=10)
HOUR = timedelta(hours=1)
BRISK_QUEUE = """
run_coordinator:
  module: dagster.core.run_coordinator
  class: QueuedRunCoordinator
  config:
    dequeue_interval_seconds: 1
"""
BRISK_WORKSPACE = """
load_from:
  - python_module:
      module_name: analytics_assets_tests.graph.brisk_definitions
      location_name: analytics_assets
"""


def _sensor(name: str, instance: dg.DagsterInstance) -> dg.SensorResult | dg.SkipReason:
    from analytics_assets.definitions import defs
    from analytics_assets.resources import Database

    context = dg.build_sensor_context(
        instance=instance, resources={"database": Database()}, repository_def=defs.get_repository_def()
    )
    data = defs.resolve_sensor_def(name).evaluate_tick(context)
    if not data.run_requests and not data.dynamic_partitions_requests:
        return dg.SkipReason(data.skip_message)
    return dg.SensorResult(run_requests=data.run_requests, dynamic_partitions_requests=data.dynamic_partitions_requests)


def test_partitions_follow_the_registry(connection: Connection, instance: dg.DagsterInstance) -> None:
    add_organization(connection, "acme")
    add_organization(connection, "bolt")
    result = _sensor("organization_keys", instance)
    assert isinstance(result, dg.SensorResult)
    assert [request.partition_keys for request in result.dynamic_partitions_requests or []] == [["acme", "bolt"]]
    instance.add_dynamic_partitions("organization", ["acme", "bolt", "gone"])
    connection.execute("update organizations set is_active = false where slug = 'bolt'")
    connection.commit()
    result = _sensor("organization_keys", instance)
    assert isinstance(result, dg.SensorResult)
    assert [sorted(request.partition_keys) for request in result.dynamic_partitions_requests or []] == [["bolt", "gone"]]
    for key in ("bolt", "gone"):
        instance.delete_dynamic_partition("organization", key)
    assert isinstance(_sensor("organization_keys", instance), dg.SkipReason)


def test_the_asset_brings_partitions_in_step_and_warns_of_the_limit(
    connection: Connection, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    from analytics_assets.definitions import defs

    for number in range(12):
        add_organization(connection, f"shop-{number:02}")
    monkeypatch.setenv("ANALYTICS_HOURLY_START", "2016-01-01")
    job = defs.resolve_implicit_job_def_def_for_assets([dg.AssetKey("organizations")])
    assert job is not None
    result = job.get_subset(asset_selection={dg.AssetKey("organizations")}).execute_in_process(instance=instance)
    assert organization_keys_of(instance) == [f"shop-{number:02}" for number in range(12)]
    check = result.get_asset_check_evaluations()[0]
    assert not check.passed and check.severity == dg.AssetCheckSeverity.WARN
    assert re.search(
        r"12 keys x \d+ hours = 1,\d{3},\d{3} partitions .* organizations spread --cells 1`", check.description or ""
    )


@pytest.mark.parametrize(
    ("name", "start", "end"),
    [
        ("hourly_tick_schedule", "2026-05-01-09:00|acme", "2026-05-01-09:00|bolt"),
        ("daily_tick_schedule", "2026-04-30|acme", "2026-05-01|bolt"),
    ],
)
def test_a_tick_is_one_run_over_all_organisations(instance: dg.DagsterInstance, name: str, start: str, end: str) -> None:
    from analytics_assets.definitions import defs

    schedule = defs.resolve_schedule_def(name)
    at = datetime(2026, 5, 1, 10, 5 if name.startswith("hourly") else 20, tzinfo=UTC)
    empty = schedule.evaluate_tick(dg.build_schedule_context(instance, scheduled_execution_time=at))
    assert "no organisations" in (empty.skip_message or "")
    instance.add_dynamic_partitions("organization", ["acme", "bolt"])
    data = schedule.evaluate_tick(dg.build_schedule_context(instance, scheduled_execution_time=at))
    assert len(data.run_requests or []) == 1
    tags = (data.run_requests or [])[0].tags
    assert (tags["dagster/asset_partition_range_start"], tags["dagster/asset_partition_range_end"]) == (start, end)


def test_late_data_is_computed_again_and_only_that(connection: Connection, instance: dg.DagsterInstance, tmp_path: Path) -> None:
    add_organization(connection, "acme")
    add_organization(connection, "bolt")
    take_in(connection, tmp_path, "acme", "orders", [order(1, AT, "10.00")])
    run_hours(instance, DAY, DAY + timedelta(hours=23))
    run_days(instance, DAY, DAY)
    connection.execute("update organizations set created_at = now()")
    connection.commit()
    assert isinstance(_sensor("stale_partitions", instance), dg.SkipReason)

    take_in(connection, tmp_path, "acme", "orders", [order(1, AT, "7.00", modified=AT + HOUR)])
    result = _sensor("stale_partitions", instance)
    assert isinstance(result, dg.SensorResult)
    requests = result.run_requests or []
    assert [(request.job_name, [key.to_user_string() for key in request.asset_selection or []]) for request in requests] == [
        ("hourly_tick", ["raw_woocommerce", "orders", "hourly_aggregates", "ai_insights"])
    ]
    assert requests[0].tags["dagster/asset_partition_range_start"] == f"{AT:%Y-%m-%d-%H:%M}|acme"
    assert requests[0].tags["dagster/asset_partition_range_end"] == f"{AT:%Y-%m-%d-%H:%M}|acme"
    assert isinstance(_sensor("stale_partitions", instance), dg.SkipReason), "claimed: not requested at every tick"

    run_hours(instance, AT, AT, keys=("acme", "acme"))
    result = _sensor("stale_partitions", instance)
    assert isinstance(result, dg.SensorResult)
    assert [request.job_name for request in result.run_requests or []] == ["daily_tick"]


def test_hours_that_no_tick_took_are_requested(connection: Connection, instance: dg.DagsterInstance) -> None:
    add_organization(connection, "acme")
    # The suite may have begun in another hour.
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    connection.execute("update organizations set created_at = %s", (now - 5 * HOUR,))
    connection.commit()
    instance.add_dynamic_partitions("organization", ["acme"])
    result = _sensor("stale_partitions", instance)
    assert isinstance(result, dg.SensorResult)
    tags = (result.run_requests or [])[0].tags
    assert tags["dagster/asset_partition_range_start"] == f"{now - 5 * HOUR:%Y-%m-%d-%H:%M}|acme"
    assert tags["dagster/asset_partition_range_end"] == f"{now - 2 * HOUR:%Y-%m-%d-%H:%M}|acme"


class TestPlan:
    """plan_requests, by itself."""

    def test_a_range_is_one_run_from_the_most_upstream_open_asset_on(self) -> None:
        open_buckets = [OpenBucket("hourly_aggregates", "a", AT + i * HOUR, False) for i in range(3)]
        assert plan_requests(open_buckets, ["a"]) == [Request(("hourly_aggregates", "ai_insights"), ("a",), AT, AT + 2 * HOUR)]
        open_buckets += [OpenBucket("orders", "a", AT + i * HOUR, False) for i in range(3)]
        assert plan_requests(open_buckets, ["a"]) == [
            Request(("orders", "hourly_aggregates", "ai_insights"), ("a",), AT, AT + 2 * HOUR)
        ]

    def test_a_run_is_of_the_open_assets_and_what_follows_them(self) -> None:
        chains = {
            ("raw_google_analytics",): ("raw_google_analytics", "hourly_aggregates", "ai_insights"),
            ("raw_shopify", "raw_meta_ads"): ("raw_meta_ads", "raw_shopify", "orders", "hourly_aggregates", "ai_insights"),
            ("orders", "hourly_aggregates"): ("orders", "hourly_aggregates", "ai_insights"),
            ("ai_insights",): ("ai_insights",),
            ("daily_aggregates",): ("daily_aggregates", "rule_insights"),
            ("funnel_analysis", "cohort_analysis"): ("cohort_analysis", "funnel_analysis", "rule_insights"),
        }
        for assets, chain in chains.items():
            assert plan_requests([OpenBucket(asset, "a", AT, False) for asset in assets], ["a"]) == [
                Request(chain, ("a",), AT, AT)
            ]

    def test_a_gap_makes_two_runs(self) -> None:
        buckets = [OpenBucket("orders", "a", AT, False), OpenBucket("orders", "a", AT + 3 * HOUR, False)]
        assert [(request.first, request.last) for request in plan_requests(buckets, ["a"])] == [
            (AT, AT),
            (AT + 3 * HOUR, AT + 3 * HOUR),
        ]

    def test_failed_buckets_run_apart(self) -> None:
        buckets = [OpenBucket("orders", "a", AT, True), OpenBucket("orders", "a", AT + HOUR, False)]
        assert len(plan_requests(buckets, ["a"])) == 2

    def test_many_organisations_share_a_run(self) -> None:
        keys = [f"k{number:03}" for number in range(500)]
        requests = plan_requests([OpenBucket("orders", key, AT, False) for key in keys], keys)
        assert requests == [Request(("orders", "hourly_aggregates", "ai_insights"), tuple(keys), AT, AT)]

    def test_scattered_work_of_many_organisations_stays_few_runs(self) -> None:
        keys = [f"k{number:03}" for number in range(200)]
        buckets = [OpenBucket("hourly_aggregates", key, AT + (number % 30) * HOUR, False) for number, key in enumerate(keys)]
        requests = plan_requests(buckets, keys)
        assert len(requests) <= MOST_RUNS
        covered = {
            (key, request.first + i * HOUR)
            for request in requests
            for key in request.keys
            for i in range(int((request.last - request.first) / HOUR) + 1)
        }
        assert {(bucket.partition_key, bucket.bucket) for bucket in buckets} <= covered

    def test_hours_here_and_there_are_few_runs(self) -> None:
        """Joined over the shortest gaps: what lies between is up to date, and costs a read."""
        hours = [AT + number * 3 * HOUR + (number // 20) * 100 * HOUR for number in range(60)]
        requests = plan_requests([OpenBucket("orders", "a", hour, False) for hour in hours], ["a"])
        assert len(requests) == MOST_RUNS // 2
        assert all(any(request.first <= hour <= request.last for request in requests) for hour in hours)
        assert max(request.last - request.first for request in requests) < 60 * HOUR

    def test_keys_that_dagster_does_not_have_yet_wait(self) -> None:
        assert plan_requests([OpenBucket("orders", "new", AT, False)], ["a"]) == []


def test_the_daemon_computes_what_is_imported(connection: Connection, instance: dg.DagsterInstance, tmp_path: Path) -> None:
    """Nothing is called by hand: pages are imported, the real daemon's sensors do the rest, down to the day. (They look more
    often than they do in production: a minute of waiting for the next look showed nothing.)"""
    add_organization(connection, "acme")
    connection.execute("update organizations set created_at = %s", (DAY,))
    take_in(connection, tmp_path, "acme", "orders", [order(1, AT, "10.00"), order(2, AT + HOUR, "2.50")])
    with (Path(os.environ["DAGSTER_HOME"]) / "dagster.yaml").open("a") as settings:
        settings.write(BRISK_QUEUE)
    (tmp_path / "workspace.yaml").write_text(BRISK_WORKSPACE)
    output = (tmp_path / "daemon.log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "dagster._daemon", "run", "-w", str(tmp_path / "workspace.yaml"), "--log-level", "warning"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)},
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and not daily(connection, "acme", "total_sales").get(DAY.date()):
            connection.rollback()
            assert process.poll() is None, "the daemon ended"
            time.sleep(0.2)
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    output.close()
    assert str(daily(connection, "acme", "total_sales").get(DAY.date())) == "12.50", (tmp_path / "daemon.log").read_text()[-5000:]
    assert len(hourly(connection, "acme", "total_sales")) == 2
    assert f"{AT:%Y-%m-%d-%H:%M}|acme" in materialized(instance, "hourly_aggregates")


def test_work_of_a_key_that_dagster_does_not_have_yet_is_not_put_off(
    connection: Connection, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    """Claimed a moment before its key was added, a new organisation's hours waited five minutes for their next turn."""
    add_organization(connection, "acme")
    take_in(connection, tmp_path, "acme", "orders", [order(1, AT, "10.00")])
    assert isinstance(_sensor("stale_partitions", instance), dg.SkipReason)
    instance.add_dynamic_partitions("organization", ["acme"])
    assert isinstance(_sensor("stale_partitions", instance), dg.SensorResult)
