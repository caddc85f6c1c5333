"""Each check finds the fault that it is there for, and says where."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import dagster as dg
import pytest

from analytics_assets_tests.graph.runs import check_results, run_days, run_hours
from analytics_assets_tests.woocommerce import Connection, add_organization, compute, order, refund, take_in

NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
DAY = NOW.replace(hour=0) - timedelta(days=3)
AT = DAY + timedelta(hours=10)


@pytest.fixture
def figures(connection: Connection, tmp_path: Path) -> list[UUID]:
    """Two organisations, a day each, computed by the SQL functions alone."""
    ids = [add_organization(connection, slug) for slug in ("acme", "bolt")]
    for slug in ("acme", "bolt"):
        take_in(connection, tmp_path, slug, "orders", [order(1, AT, "10.00", customer=5), order(2, AT, "5.00", customer=6)])
        take_in(connection, tmp_path, slug, "refunds", [refund(7, AT, "1.50", parent=1)])
    compute(connection, ids, DAY, DAY + timedelta(days=1))
    return ids


@pytest.fixture
def computed(figures: list[UUID], instance: dg.DagsterInstance) -> dg.DagsterInstance:
    """The same through runs."""
    assert run_hours(instance, DAY, DAY + timedelta(hours=23)).success
    assert run_days(instance, DAY, DAY).success
    return instance


_ACME = "(select id from organizations where slug = 'acme')"
_FAULTS = [
    (
        "a value changed",
        f"update hourly_facts set value = value + 1 where metric_id = 50 and organization_id = {_ACME}",
        {("hourly_aggregates", "equals_recount_from_raw"), ("daily_aggregates", "day_equals_its_hours")},
    ),
    (
        "a count changed",
        f"update hourly_facts set value = 9 where metric_id = 41 and organization_id = {_ACME}",
        {("hourly_aggregates", "equals_recount_from_raw"), ("daily_aggregates", "day_equals_its_hours")},
    ),
    (
        "rows lost",
        f"delete from hourly_facts where organization_id = {_ACME}",
        {("hourly_aggregates", "equals_recount_from_raw"), ("daily_aggregates", "day_equals_its_hours")},
    ),
    (
        "rows doubled into another hour",
        'insert into hourly_facts (organization_id, "timestamp", metric_id, channel_id, value)'
        f" select organization_id, \"timestamp\" + interval '1 hour', metric_id, channel_id, value from hourly_facts where organization_id = {_ACME}",
        {("hourly_aggregates", "equals_recount_from_raw"), ("daily_aggregates", "day_equals_its_hours")},
    ),
    (
        "a row of nobody",
        f"insert into hourly_facts (organization_id, \"timestamp\", metric_id, channel_id, value) values ('{uuid4()}', '{AT}', 41, 3, 1)",
        {("hourly_aggregates", "known_organizations_only")},
    ),
    (
        "a metric that is not in the catalogue",
        f"insert into hourly_facts (organization_id, \"timestamp\", metric_id, channel_id, value) values ({_ACME}, '{AT}', 999, 3, 1)",
        {("hourly_aggregates", "known_organizations_only")},
    ),
    (
        "a day's row of nobody",
        f"insert into daily_facts (organization_id, date, metric_id, channel_id, value) values ('{uuid4()}', '{DAY.date()}', 41, 3, 1)",
        {("daily_aggregates", "known_organizations_only")},
    ),
    (
        "a day's value changed",
        f"update daily_facts set value = value * 2 where metric_id = 43 and organization_id = {_ACME}",
        {("daily_aggregates", "day_equals_its_hours")},
    ),
    (
        "distinct customers wrong",
        f"update daily_facts set value = 3 where metric_id = 51 and organization_id = {_ACME}",
        {("daily_aggregates", "day_equals_its_hours")},
    ),
    ("a day lost", f"delete from daily_facts where organization_id = {_ACME}", {("daily_aggregates", "day_equals_its_hours")}),
    (
        "an hour lost from the ledger",
        f"delete from partition_ledger where asset = 'hourly_aggregates' and organization_id = {_ACME} and bucket = '{AT + timedelta(hours=4)}'",
        {("hourly_aggregates", "no_gap_in_processed_hours")},
    ),
    (
        "a page marked as not processed",
        f"update raw_data_backup set processed = false where stream = 'orders' and organization_id = {_ACME}",
        {("orders", "raw_pages_processed"), ("hourly_aggregates", "equals_recount_from_raw")},
    ),
    (
        "an order lost",
        f"delete from orders where order_id = '2' and organization_id = {_ACME}",
        {("orders", "raw_pages_processed"), ("daily_aggregates", "day_equals_its_hours")},
    ),
    ("a refund lost", f"delete from refunds where organization_id = {_ACME}", {("orders", "raw_pages_processed")}),
    (
        "amounts that do not add up",
        f"update orders set taxes = 3 where order_id = '2' and organization_id = {_ACME}",
        {("orders", "amounts_add_up")},
    ),
    (
        "more refunded than paid",
        f"update refunds set amount = 100 where organization_id = {_ACME}",
        {("orders", "amounts_add_up")},
    ),
]


@pytest.mark.parametrize(("statement", "expected"), [pytest.param(*fault[1:], id=fault[0]) for fault in _FAULTS])
def test_a_fault_is_found(connection: Connection, figures: list[UUID], statement: str, expected: set[tuple[str, str]]) -> None:
    from analytics_assets.aggregates import assets as aggregates
    from analytics_assets.ledgered import evaluate
    from analytics_assets.orders import assets as orders
    from analytics_assets.resources import Database

    connection.execute(statement)
    connection.commit()
    fired: dict[tuple[str, str], Any] = {}
    for module, names in ((orders, ("orders",)), (aggregates, ("hourly_aggregates", "daily_aggregates"))):
        for name in names:
            for check in module.CHECKS[name]:
                result = evaluate(check, name, Database(), ["acme", "bolt"], DAY, DAY + timedelta(days=1))
                if not result.passed:
                    fired[name, check.name] = result
    assert set(fired) == expected
    for result in fired.values():
        assert result.metadata["violations"].value >= 1
        named = {record.data["organization"] for record in result.metadata["worst"].records}
        assert "bolt" not in named


def test_nothing_fires_on_sound_data(connection: Connection, computed: dg.DagsterInstance) -> None:
    again = run_hours(computed, DAY, DAY + timedelta(hours=23))
    days = run_days(computed, DAY, DAY)
    results = {**check_results(again), **check_results(days)}
    assert len(results) == 29
    assert all(result.passed for result in results.values())


def test_a_blocking_check_stops_what_lies_downstream(connection: Connection, computed: dg.DagsterInstance) -> None:
    """Wrong at the source of truth: the recount differs although the run has just computed the hour."""
    connection.execute(
        "update raw_data_backup set raw_data = jsonb_set(raw_data, '{0,total}', '\"99.00\"') where stream = 'orders'"
    )
    connection.commit()
    result = run_hours(computed, AT, AT)
    check = check_results(result)["hourly_aggregates", "equals_recount_from_raw"]
    assert not check.passed and check.blocking
    assert check.metadata["violations"].value == 2
    assert not result.success


def test_checks_run_by_themselves(connection: Connection, computed: dg.DagsterInstance) -> None:
    from analytics_assets.definitions import defs

    connection.execute("update daily_facts set value = value * 2 where metric_id = 43")
    connection.commit()
    job = defs.resolve_implicit_job_def_def_for_assets([dg.AssetKey("daily_aggregates")])
    assert job is not None
    subset = job.get_subset(
        asset_selection=set(),
        asset_check_selection={dg.AssetCheckKey(dg.AssetKey("daily_aggregates"), "day_equals_its_hours")},
    )
    result = subset.execute_in_process(instance=computed, raise_on_error=False)
    evaluation = result.get_asset_check_evaluations()[0]
    assert not evaluation.passed and evaluation.metadata["violations"].value == 2
    assert result.asset_materializations_for_node("daily_aggregates") == []
