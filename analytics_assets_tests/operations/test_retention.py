"""Retention by row and of Dagster's storage: what leaves, and what must not."""

from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from analytics_assets.operations.maintenance import maintain
from analytics_assets.operations.pruning import prune_dagster
from analytics_assets.resources import Database
from analytics_assets.settings import Settings
from analytics_assets_tests.command_line import analytics
from analytics_assets_tests.events.model import Message
from analytics_assets_tests.events.staging import store
from analytics_assets_tests.woocommerce import Connection, add_organization, compute, daily, hourly, order, take_in

TODAY = datetime.combine(datetime.now(UTC).date(), time.min, UTC)
START = TODAY - timedelta(days=24)


def count(connection: Connection, statement: str, *parameters: Any) -> int:
    (row,) = connection.execute(f"select count(*) as n from {statement}", parameters).fetchall()
    connection.commit()
    return int(row["n"])


def keep(slug: str, layer: str, days: int) -> None:
    told = analytics("retention", "set", "--organization", slug, "--layer", layer, "--days", str(days))
    assert told.returncode == 0, told.stderr


def run_maintenance() -> dict[tuple[str, str], str]:
    return {(row["table"], row["partition"]): row["action"] for row in maintain(Database(), Settings.load())}


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata"])
def test_one_organization_keeps_less(connection: Connection, tmp_path: Path, zone: str) -> None:
    """Whole days of its zone, whose date changes at another hour than the date of UTC: from 18:30 on the test was a day behind."""
    today = datetime.combine(datetime.now(ZoneInfo(zone)).date(), time.min, UTC)
    start, end = today - timedelta(days=24), today - timedelta(days=1)
    ids = [add_organization(connection, slug, zone) for slug in ("acme", "umbra")]
    for slug in ("acme", "umbra"):
        orders = [order(day, start + timedelta(days=day, hours=13), "2.00", zone=zone) for day in range(20)]
        take_in(connection, tmp_path, slug, "orders", *([each] for each in orders))
    compute(connection, ids, start - timedelta(days=1), end)
    late = (start + timedelta(days=4)).date()
    connection.execute(
        "update public.partition_ledger set status = 'stale', input_version = input_version + 1"
        " where asset = 'daily_aggregates' and bucket = %s",
        (start + timedelta(days=4),),
    )
    connection.execute("select private.ensure_partitions('raw_data_backup', %s, %s)", (start, end))
    connection.execute("update public.raw_data_backup set fetched_at = window_start")
    connection.execute(
        "update public.raw_data_backup set processed = false where window_start < %s", (start + timedelta(days=1),)
    )
    connection.commit()
    days_before = daily(connection, "acme", "orders")
    for layer in ("raw", "hourly"):
        keep("acme", layer, 10)
    done = run_maintenance()
    assert any(table == "hourly" and "of acme" in what for table, what in done)
    left = hourly(connection, "acme", "orders")
    cut = today - timedelta(days=11)
    # What is not rolled up stays, as long as it takes.
    old = {hour for hour in left if hour < cut}
    assert {hour.date() for hour in old} == {late}
    assert len([hour for hour in left if hour >= today - timedelta(days=10)]) == 6
    assert len(hourly(connection, "umbra", "orders")) == 20
    # Of raw pages stays what is not processed.
    pages = "public.raw_data_backup p join public.organizations o on o.id = p.organization_id where o.slug = %s"
    assert count(connection, f"{pages} and fetched_at < %s", "acme", cut) == 1
    assert count(connection, pages, "umbra") == 20
    # Days are as they were, also when they are computed again: their hours are gone, not empty.
    compute(connection, ids[:1], start - timedelta(days=1), end)
    assert daily(connection, "acme", "orders") == days_before
    again = run_maintenance()
    keep("acme", "daily", 12)
    last = run_maintenance()
    assert any(table == "daily" for table, _ in last) and not any(table == "daily" for table, _ in again)
    assert len(daily(connection, "acme", "orders")) in (7, 8, 9)
    assert daily(connection, "umbra", "orders") == days_before
    assert "hourly" not in {table for table, _ in run_maintenance()}


def test_logs_and_quarantine_leave_what_is_open_stays(connection: Connection) -> None:
    acme = add_organization(connection, "acme")
    source = "(select id from public.data_sources)"
    connection.execute(
        "insert into public.data_sources (organization_id, source_type, source_name, time_zone, currency)"
        " values (%s, 'shopify', 's', 'UTC', 'EUR')",
        (acme,),
    )
    connection.execute("select private.ensure_partitions('sync_logs', now() - interval '200 days', now())")
    connection.execute(
        f"insert into public.sync_logs (organization_id, started_at, data_source_id, sync_type, status)"
        f" select %s, now() - d * interval '1 day', {source}, 'full', 'completed' from generate_series(0, 199) d",
        (acme,),
    )
    connection.execute(
        "insert into public.quarantine (organization_id, source, stream, level, reason, content_sha256, quarantined_at, resolution,"
        " resolved_at) select %s, 'shopify', 'orders', 'page', 'r', sha256(d::text::bytea), now() - d * interval '1 day',"
        " case when d %% 2 = 0 then 'discarded' end, case when d %% 2 = 0 then now() - d * interval '1 day' end"
        " from generate_series(1, 200) d",
        (acme,),
    )
    connection.commit()
    run_maintenance()
    assert count(connection, "public.sync_logs") == 90
    assert count(connection, "public.quarantine where resolution is null") == 100
    assert count(connection, "public.quarantine where resolution is not null") == 44
    keep("acme", "logs", 8)
    run_maintenance()
    assert count(connection, "public.sync_logs") == 8


def test_events_leave_when_all_layers_have_them(connection: Connection) -> None:
    acme, umbra = add_organization(connection, "acme"), add_organization(connection, "umbra")
    at = START + timedelta(hours=9)
    for organization in (acme, umbra):
        store(
            connection,
            [Message(f"m{day}", at + timedelta(days=day), organization, user="u") for day in range(20)],
        )
    keep("acme", "events", 10)
    assert not [1 for table, _ in run_maintenance() if table == "events"]
    ids = [acme, umbra]
    connection.execute("select count(*) from public.summarize_events(%s, %s, %s)", (ids, START, TODAY))
    compute(connection, ids, START, TODAY)
    assert not [1 for table, _ in run_maintenance() if table == "events"]  # funnels and cohorts are open
    for function in ("aggregate_cohorts", "aggregate_funnels"):
        connection.execute(f"select count(*) from public.{function}(%s, %s, %s)", (ids, START.date(), TODAY.date()))
    connection.commit()
    before = daily(connection, "acme", "events")
    assert [1 for table, what in run_maintenance() if table == "events" and what.endswith("of acme")]
    events = "public.event_tracking where organization_id = %s"
    assert count(connection, events, acme) == 6 and count(connection, events, umbra) == 20
    assert count(connection, "public.visitor_sessions where organization_id = %s", acme) == 6
    assert count(connection, "public.event_messages where organization_id = %s", acme) == 6
    assert kept_from(connection, acme) > kept_from(connection, umbra)
    assert daily(connection, "acme", "events") == before


def kept_from(connection: Connection, organization: UUID) -> datetime:
    statement = "select coalesce(nullif(private.events_kept_of(%s), '-infinity'), 'epoch') as at"
    (row,) = connection.execute(statement, (organization,)).fetchall()
    found: datetime = row["at"]
    return found


def test_a_retention_that_cannot_be(connection: Connection) -> None:
    add_organization(connection, "acme")
    told = analytics("retention", "set", "--organization", "acme", "--layer", "raw", "--days", "3")
    assert told.returncode == 2 and "8 to 36500" in told.stderr
    assert analytics("retention", "set", "--organization", "nobody", "--layer", "raw", "--days", "9").returncode == 1
    keep("acme", "raw", 9)
    assert "acme" in analytics("retention", "list").stdout
    assert analytics("retention", "reset", "--organization", "acme", "--layer", "raw").returncode == 0
    assert "acme" not in analytics("retention", "list").stdout


def test_dagsters_storage_keeps_the_newest_of_every_partition(connection: Connection, instance: dg.DagsterInstance) -> None:
    parts = dg.StaticPartitionsDefinition(["a", "b"])

    @dg.asset(partitions_def=parts)
    def kept(context: dg.AssetExecutionContext) -> None:
        if "fail" in context.run.tags:
            raise dg.Failure("asked for", allow_retries=False)

    def run(partition: str, **tags: str) -> str:
        result = dg.materialize([kept], instance=instance, partition_key=partition, tags=tags, raise_on_error=False)
        return result.run_id

    first, newest_a, newest_b, failed = run("a"), run("a"), run("b"), run("b", fail="1")
    connection.execute('update dagster.event_logs set "timestamp" = "timestamp" - interval \'40 days\'')
    connection.execute("update dagster.runs set update_timestamp = update_timestamp - interval '40 days'")
    connection.commit()
    young = run("a")
    before = count(connection, "dagster.event_logs where run_id = %s", young)
    statuses = instance.event_log_storage.get_latest_storage_id_by_partition(
        dg.AssetKey("kept"), dg.DagsterEventType.ASSET_MATERIALIZATION
    )
    deleted = prune_dagster(Settings.load(), events_at_once=7)
    assert deleted["event_logs"] > 20 and deleted["runs"] == 2
    left = connection.execute(
        "select run_id, partition, dagster_event_type as kind from dagster.event_logs where run_id <> %s order by id", (young,)
    ).fetchall()
    assert {(row["run_id"], row["partition"], row["kind"].removeprefix("ASSET_")) for row in left} >= {
        (newest_b, "b", "MATERIALIZATION"),
        (failed, "b", "MATERIALIZATION_PLANNED"),
    }
    assert first not in {row["run_id"] for row in left} and newest_a not in {row["run_id"] for row in left}
    assert not [row for row in left if row["partition"] is None]
    assert count(connection, "dagster.event_logs where run_id = %s", young) == before
    assert statuses == instance.event_log_storage.get_latest_storage_id_by_partition(
        dg.AssetKey("kept"), dg.DagsterEventType.ASSET_MATERIALIZATION
    )
    assert prune_dagster(Settings.load())["event_logs"] == 0
    # A day later what is superseded leaves, results with their plans, and the log of the run that made it stays.
    run("a")
    connection.execute(
        'update dagster.event_logs set "timestamp" = "timestamp" - interval \'2 days\' where run_id = %s', (young,)
    )
    connection.commit()
    assert prune_dagster(Settings.load())["event_logs"] == 2
    assert count(connection, "dagster.event_logs where run_id = %s", young) == before - 2
