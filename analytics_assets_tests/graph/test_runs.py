"""Real runs over organisation x hour: what is done looks done, what failed does not."""

import base64
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from analytics_assets.partition_keys import hour_key
from analytics_assets_tests.graph.runs import check_results, materialized, run_days, run_hours
from analytics_assets_tests.woocommerce import Connection, add_organization, daily, hourly, order, refund, take_in

NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
DAY = NOW.replace(hour=0) - timedelta(days=3)
AT = DAY + timedelta(hours=10)


def _shops(connection: Connection, folder: Path, *slugs: str) -> None:
    for number, slug in enumerate(slugs):
        add_organization(connection, slug)
        take_in(
            connection, folder, slug, "orders", [order(1, AT, f"{number + 1}0.00"), order(2, AT + timedelta(hours=1), "5.00")]
        )
        take_in(connection, folder, slug, "refunds", [refund(7, AT + timedelta(hours=2), "1.50", parent=1)])


def test_one_run_computes_all_organisations_and_hours(
    connection: Connection, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    _shops(connection, tmp_path, "acme", "bolt", "cove")
    result = run_hours(instance, DAY, DAY + timedelta(hours=23))
    assert result.success
    for asset in ("raw_woocommerce", "orders", "hourly_aggregates"):
        assert materialized(instance, asset) == {
            hour_key(DAY + timedelta(hours=hour), slug) for slug in ("acme", "bolt", "cove") for hour in range(24)
        }
    assert hourly(connection, "bolt", "total_sales") == {
        AT: Decimal("20.00"),
        AT + timedelta(hours=1): Decimal("5.00"),
        AT + timedelta(hours=2): Decimal("-1.50"),
    }
    checks = check_results(result)
    assert set(checks) == {
        ("raw_woocommerce", "organizations_computed"),
        ("raw_woocommerce", "no_failed_partitions"),
        ("raw_woocommerce", "nothing_set_aside"),
        ("raw_woocommerce", "pages_fit_their_source"),
        ("raw_woocommerce", "hours_are_covered"),
        ("raw_woocommerce", "payload_keeps_its_shape"),
        ("orders", "organizations_computed"),
        ("orders", "no_failed_partitions"),
        ("orders", "raw_pages_processed"),
        ("orders", "amounts_add_up"),
        ("orders", "sales_add_up"),
        ("hourly_aggregates", "organizations_computed"),
        ("hourly_aggregates", "no_failed_partitions"),
        ("hourly_aggregates", "equals_recount_from_raw"),
        ("hourly_aggregates", "reports_equal_newest_answer"),
        ("hourly_aggregates", "no_gap_in_processed_hours"),
        ("hourly_aggregates", "known_organizations_only"),
        ("hourly_aggregates", "values_in_range"),
        ("hourly_aggregates", "usual_volume"),
    }
    assert all(check.passed for check in checks.values())
    assert run_days(instance, DAY, DAY).success
    assert daily(connection, "cove", "total_sales") == {DAY.date(): Decimal("33.50")}


def test_a_materialization_shows_counts_preview_and_plot(
    connection: Connection, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    _shops(connection, tmp_path, "acme")
    result = run_hours(instance, AT, AT)
    metadata: Any = result.asset_materializations_for_node("hourly_aggregates")[-1].metadata
    assert metadata["dagster/partition_row_count"].value == 9
    assert "| acme           | woocommerce | total_sales" in metadata["preview"].value
    assert metadata["run_organizations"].value == 1 and metadata["run_rows_written"].value == 9
    picture = metadata["plot"].value.split("base64,")[1].rstrip(")")
    assert base64.b64decode(picture).startswith(b"\x89PNG")
    assert metadata["dagster/column_lineage"].value.deps_by_column["value"]
    orders: Any = result.asset_materializations_for_node("orders")[-1].metadata
    assert orders["dagster/partition_row_count"].value == 1
    rows = connection.execute(
        "select distinct asset, run_id::text as run_id from partition_ledger where status = 'done' order by 1"
    ).fetchall()
    assert [(row["asset"], row["run_id"]) for row in rows] == [
        (asset, result.run_id) for asset in ("hourly_aggregates", "orders", "raw_woocommerce")
    ]
    assert orders["preview"].records[0].data["order"] == "1"


def test_the_event_written_last_shows_what_the_run_did(
    connection: Connection, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    """An asset's page opens with its last event; in a run of a month that was one of 720 without metadata."""
    _shops(connection, tmp_path, "acme")
    assert run_hours(instance, DAY - timedelta(days=5), DAY + timedelta(hours=23)).success
    for asset in ("raw_woocommerce", "orders", "hourly_aggregates"):
        event = instance.get_latest_materialization_event(dg.AssetKey(asset))
        assert event is not None and event.asset_materialization is not None
        metadata = event.asset_materialization.metadata
        assert {"preview", "run_partitions", "dagster/partition_row_count"} <= set(metadata)
        assert metadata["run_partitions"].value == 144


def test_a_broken_organisation_fails_alone(connection: Connection, instance: dg.DagsterInstance, tmp_path: Path) -> None:
    """A run that yields its output records every key of its range as done, the failed ones too."""
    _shops(connection, tmp_path, "acme", "bolt", "cove")
    take_in(connection, tmp_path, "bolt", "orders", [order(3, AT, "twelve"), order(4, AT + timedelta(hours=3), "4.00")])
    result = run_hours(instance, AT, AT + timedelta(hours=4))

    assert result.success, "one organisation's input stops nobody else"
    broken = hour_key(AT, "bolt")
    done = materialized(instance, "orders")
    assert broken not in done and hour_key(AT, "acme") in done and hour_key(AT + timedelta(hours=3), "bolt") in done
    check = check_results(result)["orders", "organizations_computed"]
    assert not check.passed
    assert "bolt" in check.description and 'order 3: total is "twelve", which is not a number' in check.description
    assert [record.data["organization"] for record in check.metadata["worst"].records] == ["bolt"]
    ledger = connection.execute(
        "select o.slug, l.status, l.error from partition_ledger l join organizations o on o.id = l.organization_id"
        " where l.asset = 'orders' and l.bucket = %s order by 1",
        (AT,),
    ).fetchall()
    assert [(row["slug"], row["status"]) for row in ledger] == [("acme", "done"), ("bolt", "failed"), ("cove", "done")]
    assert "analytics quarantine discard" in ledger[1]["error"]

    # What lies downstream runs for all; the broken hour keeps its own failure.
    assert run_hours(instance, AT, AT + timedelta(hours=4), ["hourly_aggregates"]).success
    assert broken not in materialized(instance, "hourly_aggregates")
    assert hourly(connection, "acme", "orders")[AT] == 1
    assert AT not in hourly(connection, "bolt", "orders")
    assert hourly(connection, "bolt", "orders")[AT + timedelta(hours=3)] == 1

    # A run of the failed key alone fails, and looks failed.
    alone = run_hours(instance, AT, AT, ["orders"], keys=("bolt", "bolt"))
    assert not alone.success
    assert "order 3" in str(getattr(alone.failure_data_for_node("orders"), "error", ""))

    # The day of the broken organisation is not published, the others' are.
    assert run_hours(instance, DAY, DAY + timedelta(hours=23), ["hourly_aggregates"]).success
    assert run_days(instance, DAY, DAY).success
    assert daily(connection, "bolt", "orders") == {} and daily(connection, "acme", "orders") == {DAY.date(): 2}

    # The corrected order arrives: everything is done.
    take_in(connection, tmp_path, "bolt", "orders", [order(3, AT, "12.00", modified=AT + timedelta(hours=5))])
    assert run_hours(instance, DAY, DAY + timedelta(hours=23)).success
    assert run_days(instance, DAY, DAY).success
    assert broken in materialized(instance, "hourly_aggregates")
    assert daily(connection, "bolt", "orders") == {DAY.date(): 4}


def test_organisations_may_share_a_partition(connection: Connection, instance: dg.DagsterInstance, tmp_path: Path) -> None:
    _shops(connection, tmp_path, "acme", "bolt")
    connection.execute("update organizations set partition_key = 'cell-01'")
    connection.commit()
    assert run_hours(instance, AT, AT).success
    assert materialized(instance, "orders") == {hour_key(AT, "cell-01")}
    assert hourly(connection, "acme", "orders") == {AT: 1} and hourly(connection, "bolt", "orders") == {AT: 1}


def test_run_config_names_one_organisation_of_a_shared_partition(
    connection: Connection, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    from analytics_assets.definitions import defs

    _shops(connection, tmp_path, "acme", "bolt")
    connection.execute("update organizations set partition_key = 'cell-01'")
    connection.commit()
    instance.add_dynamic_partitions("organization", ["cell-01"])
    assets = ("raw_woocommerce", "orders", "hourly_aggregates")
    result = defs.resolve_job_def("hourly_tick").execute_in_process(
        instance=instance,
        partition_key=hour_key(AT, "cell-01"),
        run_config={"ops": {name: {"config": {"organizations": ["bolt"]}} for name in assets}},
    )
    assert result.success
    assert hourly(connection, "acme", "orders") == {} and hourly(connection, "bolt", "orders") == {AT: 1}


def _tables(connection: Connection) -> list[Any]:
    return [
        connection.execute(statement).fetchall()
        for statement in (
            'select organization_id, metric_id, channel_id, "timestamp", value from hourly_facts order by 1, 2, 3, 4',
            "select organization_id, asset, bucket, status, row_count from partition_ledger where status = 'done' order by 1, 2, 3",
            "select organization_id, order_id, bucket_at, total from orders order by 1, 2",
        )
    ]


@pytest.mark.parametrize("at_statement", ["ingest_orders", "aggregate_hourly_data"])
def test_a_run_that_dies_leaves_nothing_half_done(
    connection: Connection, instance: dg.DagsterInstance, tmp_path: Path, at_statement: str
) -> None:
    """The connection is cut in the middle of a statement, as SIGKILL of the server's backend does."""
    _shops(connection, tmp_path, "acme", "bolt")
    connection.execute(
        "create function pg_temp_die() returns trigger language plpgsql as $$"
        " begin perform pg_terminate_backend(pg_backend_pid()); return new; end $$"
    )
    table = "orders" if at_statement == "ingest_orders" else "hourly_facts"
    connection.execute(f"create trigger die before insert on {table} for each row execute function pg_temp_die()")
    connection.commit()
    before = _tables(connection)
    result = run_hours(instance, DAY, DAY + timedelta(hours=23))
    assert not result.success
    connection.rollback()
    if at_statement == "ingest_orders":
        after = _tables(connection)
        assert after[0] == before[0] == [] and after[2] == []
        assert {row["asset"] for row in after[1]} <= {"raw_woocommerce"}
    else:
        assert _tables(connection)[0] == []
    connection.execute(f"drop trigger die on {table}")
    connection.commit()
    assert run_hours(instance, DAY, DAY + timedelta(hours=23)).success
    assert hourly(connection, "acme", "orders") == {AT: 1, AT + timedelta(hours=1): 1}
    first = _tables(connection)
    assert run_hours(instance, DAY, DAY + timedelta(hours=23)).success
    assert _tables(connection) == first


def test_a_day_whose_hours_are_not_there_waits_and_does_not_fail(
    connection: Connection, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    """Demanded again and again, the day before a backfill's first one made a failed run every few hours for ever."""
    _shops(connection, tmp_path, "acme")
    assert run_hours(instance, AT, AT + timedelta(hours=2)).success
    result = run_days(instance, DAY, DAY)
    assert result.success
    check = check_results(result)["daily_aggregates", "organizations_computed"]
    assert not check.passed and check.severity == dg.AssetCheckSeverity.WARN
    assert "21 of 24 hours are not computed" in check.description
    assert materialized(instance, "daily_aggregates") == set() and daily(connection, "acme", "orders") == {}
    row = connection.execute("select status, next_attempt_at from partition_ledger where asset = 'daily_aggregates'").fetchone()
    assert row == {"status": "waiting", "next_attempt_at": None}

    assert run_hours(instance, DAY, DAY + timedelta(hours=23)).success
    row = connection.execute(
        "select status, next_attempt_at <= clock_timestamp() as due from partition_ledger where asset = 'daily_aggregates'"
    ).fetchone()
    assert row == {"status": "stale", "due": True}
    assert run_days(instance, DAY, DAY).success
    assert daily(connection, "acme", "orders") == {DAY.date(): 2}
